//! Security groups.

use std::collections::BTreeMap;

use crate::{
    context::Context,
    ec2::{
        filters::{Filters, one},
        page, permissions, tag_set, tags,
    },
    error::ApiError,
    model::{Rule, SecurityGroup, Source},
    params::Params,
    state::{State, put_tags},
    xml::Xml,
};

const FILTERS: &[&str] = &[
    "description",
    "group-id",
    "group-name",
    "ip-permission.cidr",
    "ip-permission.from-port",
    "ip-permission.group-id",
    "ip-permission.protocol",
    "ip-permission.to-port",
    "owner-id",
    "vpc-id",
];

pub(crate) fn not_found(id: &str) -> ApiError {
    ApiError::new("InvalidGroup.NotFound", format!("The security group '{id}' does not exist"))
}

/// The group that a write names by its ID. One that reads do not show yet is refused, too.
pub(crate) fn named<'a>(context: &'a Context<'_>, params: &Params<'_>) -> Result<&'a SecurityGroup, ApiError> {
    let id = params.required("GroupId")?;
    if !id.starts_with("sg-") {
        return Err(ApiError::new("InvalidGroupId.Malformed", format!("Invalid id: \"{id}\" (expecting \"sg-...\")")));
    }
    context.visible_group(id).ok_or_else(|| not_found(id))
}

pub(crate) fn describe(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let (ids, names) = (params.list("GroupId"), params.list("GroupName"));
    let filters = Filters::of(params, FILTERS)?;
    if let Some(id) = ids.iter().find(|id| !id.starts_with("sg-")) {
        return Err(ApiError::new("InvalidGroupId.Malformed", format!("Invalid id: \"{id}\" (expecting \"sg-...\")")));
    }
    if let Some(id) = ids.iter().find(|id| context.visible_group(id).is_none()) {
        return Err(not_found(id));
    }
    if !names.is_empty() {
        // Only groups of a default VPC have usable names, and the account has no default VPC.
        return Err(ApiError::new("VPCIdNotSpecified", "No default VPC for this user"));
    }
    let account = context.state.account.clone();
    let found = context.state.security_groups.values().filter(|group| {
        (ids.is_empty() || ids.contains(&group.id.as_str()))
            && context.visible_group(&group.id).is_some()
            && filters.pass(&group.tags, |name| field(&account, group, name))
    });
    let (found, next) = page(params, found.collect(), |group: &SecurityGroup| &group.id, (5, 1000))?;
    let items = found.into_iter().map(|group| {
        Xml::new()
            .text("groupId", &group.id)
            .list("ipPermissionsEgress", "item", [permissions::everything_out()])
            .and(tag_set(&group.tags))
            .text("vpcId", &group.vpc)
            .text("securityGroupArn", context.state.arn("ec2", &format!("security-group/{}", group.id)))
            .text("ownerId", &account)
            .text("groupName", &group.name)
            .text("groupDescription", &group.description)
            .list("ipPermissions", "item", permissions::items(&group.ingress, &account))
    });
    Ok(Xml::new().list("securityGroupInfo", "item", items).maybe("nextToken", next))
}

fn field(account: &str, group: &SecurityGroup, name: &str) -> Vec<String> {
    let of_rules = |value: fn(&Rule) -> Option<String>| group.ingress.iter().filter_map(value).collect();
    match name {
        "description" => one(&group.description),
        "group-id" => one(&group.id),
        "group-name" => one(&group.name),
        "owner-id" => one(account),
        "vpc-id" => one(&group.vpc),
        "ip-permission.protocol" => of_rules(|rule| Some(rule.protocol.clone())),
        "ip-permission.from-port" => of_rules(|rule| rule.from_port.map(|port| port.to_string())),
        "ip-permission.to-port" => of_rules(|rule| rule.to_port.map(|port| port.to_string())),
        "ip-permission.cidr" => of_rules(|rule| match &rule.source {
            Source::Ipv4(cidr) => Some(cidr.to_string()),
            _ => None,
        }),
        "ip-permission.group-id" => of_rules(|rule| match &rule.source {
            Source::Group(id) => Some(id.clone()),
            _ => None,
        }),
        _ => Vec::new(),
    }
}

pub(crate) fn create(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let name = params.required("GroupName")?;
    let description = params.required("GroupDescription")?;
    let Some(vpc) = params.optional("VpcId") else {
        return Err(ApiError::new("VPCIdNotSpecified", "No default VPC for this user"));
    };
    let new_tags = tags::at_creation(params, "security-group")?;
    if name.len() > 255 || name.starts_with("sg-") || name == "default" {
        return Err(params.invalid("groupName", name));
    }
    let allowed =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" ._-:/()#,@[]+=&;{}!$*".contains(&byte));
    for (what, text) in [("groupName", name), ("GroupDescription", description)] {
        if text.len() > 255 || !allowed(text) {
            let text = format!(
                "Value ({text}) for parameter {what} is invalid. Character sets beyond ASCII are not supported."
            );
            return Err(ApiError::new("InvalidParameterValue", text));
        }
    }
    if !context.state.vpcs.contains_key(vpc) {
        return Err(ApiError::new("InvalidVpcID.NotFound", format!("The vpc ID '{vpc}' does not exist")));
    }
    if context.state.security_groups.values().any(|group| group.vpc == vpc && group.name == name) {
        let text = format!("The security group '{name}' already exists for VPC '{vpc}'");
        return Err(ApiError::new("InvalidGroup.Duplicate", text));
    }
    if context.state.security_groups.len() >= context.knobs.quotas.security_groups {
        let text = "The maximum number of security groups for the VPC has been reached.";
        return Err(ApiError::new("SecurityGroupLimitExceeded", text));
    }
    let mut group = SecurityGroup {
        id: context.state.next_id("sg"),
        name: name.into(),
        description: description.into(),
        vpc: vpc.into(),
        ingress: Vec::new(),
        tags: BTreeMap::new(),
        created: Some(context.now),
    };
    put_tags(&mut group.tags, &new_tags, context.knobs.quotas.tags, "TagLimitExceeded")?;
    let answer = Xml::new()
        .text("groupId", &group.id)
        .and(tag_set(&group.tags))
        .text("securityGroupArn", context.state.arn("ec2", &format!("security-group/{}", group.id)));
    context.state.security_groups.insert(group.id.clone(), group);
    Ok(answer)
}

pub(crate) fn delete(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let group = named(context, params)?;
    let id = group.id.clone();
    if group.name == "default" {
        let text = format!("the specified group: \"{id}\" name: \"default\" cannot be deleted by a user");
        return Err(ApiError::new("CannotDelete", text));
    }
    let now = context.now;
    context.state.lingering_groups.retain(|(until, _)| now < *until);
    if is_used(context.state, &id) {
        return Err(ApiError::new("DependencyViolation", format!("resource {id} has a dependent object")));
    }
    context.state.security_groups.remove(&id);
    Ok(Xml::succeeded().text("groupId", id))
}

/// Whether a network interface, a load balancer or another group's rule holds the group.
fn is_used(state: &State, id: &str) -> bool {
    let is = |other: &String| other == id;
    state.all_interfaces().any(|(interface, _)| interface.groups.iter().any(is))
        || state.classic_load_balancers.values().any(|balancer| balancer.security_groups.contains(id))
        || state.load_balancers.values().any(|balancer| balancer.security_groups.contains(id))
        || state.lingering_groups.iter().any(|(_, groups)| groups.iter().any(is))
        || state
            .security_groups
            .values()
            .filter(|group| group.id != id)
            .any(|group| group.ingress.iter().any(|rule| matches!(&rule.source, Source::Group(other) if other == id)))
}
