//! EC2, query protocol of version 2016-11-15.

mod filters;
mod instances;
mod interfaces;
mod network;
mod permissions;
mod routes;
mod security_groups;
mod tags;
mod volumes;

use crate::{error::ApiError, model::Tags, params::Params, service::Action, xml::Xml};

pub(crate) const ACTIONS: &[Action] = &[
    Action::read("DescribeInstances", instances::describe),
    Action::read("DescribeInstanceTopology", instances::describe_topology),
    Action::write("ModifyInstanceAttribute", instances::modify_attribute),
    Action::read("DescribeAvailabilityZones", network::describe_zones),
    Action::read("DescribeVpcs", network::describe_vpcs),
    Action::read("DescribeSubnets", network::describe_subnets),
    Action::read("DescribeVolumes", volumes::describe),
    Action::read("DescribeNetworkInterfaces", interfaces::describe),
    Action::read("DescribeRouteTables", routes::describe),
    Action::write("CreateRoute", routes::create),
    Action::write("DeleteRoute", routes::delete),
    Action::read("DescribeSecurityGroups", security_groups::describe),
    Action::write("CreateSecurityGroup", security_groups::create),
    Action::write("DeleteSecurityGroup", security_groups::delete),
    Action::write("AuthorizeSecurityGroupIngress", permissions::authorize),
    Action::write("RevokeSecurityGroupIngress", permissions::revoke),
    Action::write("CreateTags", tags::create),
    Action::write("DeleteTags", tags::delete),
];

/// A page of `all`, which is sorted by `id`, and the token of the next one.
///
/// The token is the last ID of the page, so a page is right even if resources come and go in between.
fn page<'a, T>(
    params: &Params<'_>,
    mut all: Vec<&'a T>,
    id: impl Fn(&T) -> &str,
    limits: (i64, i64),
) -> Result<(Vec<&'a T>, Option<String>), ApiError> {
    let most = params.within("MaxResults", limits.0, limits.1)?;
    if let Some(token) = params.optional("NextToken").filter(|token| !token.is_empty()) {
        let last = hex::decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let last = last.ok_or_else(|| ApiError::new("InvalidNextToken", format!("The token '{token}' is invalid")))?;
        all.retain(|item| id(item) > last.as_str());
    }
    // Without a size, a page still has an end.
    let size = usize::try_from(most.unwrap_or(limits.1)).unwrap_or(usize::MAX);
    let next = if all.len() > size { all.get(size - 1).map(|last| hex::encode(id(last))) } else { None };
    all.truncate(size);
    Ok((all, next))
}

fn tag_set(tags: &Tags) -> Xml {
    let item = |(key, value)| Xml::new().text("key", key).text("value", value);
    Xml::new().list("tagSet", "item", tags.iter().map(item))
}

/// Refuses a call that asks for resources by ID if one of them is not there.
fn refuse_unknown<'a>(asked: &[&'a str], known: impl Fn(&str) -> bool, code: &str, what: &str) -> Result<(), ApiError> {
    let unknown: Vec<&'a str> = asked.iter().copied().filter(|id| !known(id)).collect();
    match unknown.as_slice() {
        [] => Ok(()),
        [one] => Err(ApiError::new(code, format!("The {what} ID '{one}' does not exist"))),
        many => Err(ApiError::new(code, format!("The {what} IDs '{}' do not exist", many.join(", ")))),
    }
}
