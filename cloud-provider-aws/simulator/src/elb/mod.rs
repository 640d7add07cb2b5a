//! Classic Elastic Load Balancing, query protocol of version 2012-06-01.

mod attributes;
mod backends;
mod listeners;
mod load_balancers;
mod policies;
mod tags;

use crate::{
    context::Context, error::ApiError, params::Params, service::Action, state::balancing::ClassicLoadBalancer,
};

pub(crate) use load_balancers::{check_name, scheme};
pub(crate) use tags::{items as tag_items, read as read_tags};

pub(crate) const ACTIONS: &[Action] = &[
    Action::read("DescribeLoadBalancers", load_balancers::describe),
    Action::write("CreateLoadBalancer", load_balancers::create),
    Action::write("DeleteLoadBalancer", load_balancers::delete),
    Action::write("AttachLoadBalancerToSubnets", load_balancers::attach_subnets),
    Action::write("DetachLoadBalancerFromSubnets", load_balancers::detach_subnets),
    Action::write("ApplySecurityGroupsToLoadBalancer", load_balancers::apply_groups),
    Action::write("CreateLoadBalancerListeners", listeners::create),
    Action::write("DeleteLoadBalancerListeners", listeners::delete),
    Action::write("SetLoadBalancerPoliciesOfListener", policies::set_of_listener),
    Action::write("CreateLoadBalancerPolicy", policies::create),
    Action::write("DeleteLoadBalancerPolicy", policies::delete),
    Action::read("DescribeLoadBalancerPolicies", policies::describe),
    Action::write("SetLoadBalancerPoliciesForBackendServer", policies::set_for_backend),
    Action::write("ConfigureHealthCheck", backends::configure_health_check),
    Action::write("RegisterInstancesWithLoadBalancer", backends::register),
    Action::write("DeregisterInstancesFromLoadBalancer", backends::deregister),
    Action::read("DescribeInstanceHealth", backends::describe_health),
    Action::read("DescribeLoadBalancerAttributes", attributes::describe),
    Action::write("ModifyLoadBalancerAttributes", attributes::modify),
    Action::write("AddTags", tags::add),
    Action::write("RemoveTags", tags::remove),
    Action::read("DescribeTags", tags::describe),
];

fn not_found(name: &str) -> ApiError {
    ApiError::new("LoadBalancerNotFound", format!("There is no ACTIVE Load Balancer named '{name}'"))
}

fn invalid_configuration(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidConfigurationRequest", message).with_status(409)
}

/// The load balancer that a request names.
fn named<'a>(context: &'a mut Context<'_>, params: &Params<'_>) -> Result<&'a mut ClassicLoadBalancer, ApiError> {
    let name = params.required("LoadBalancerName")?;
    context.state.classic_load_balancers.get_mut(name).ok_or_else(|| not_found(name))
}

/// A page of `all`, which is sorted by `id`, and the marker of the next one; as in EC2, but with other names.
pub(crate) fn page<'a, T>(
    params: &Params<'_>,
    mut all: Vec<&'a T>,
    id: impl Fn(&T) -> &str,
) -> Result<(Vec<&'a T>, Option<String>), ApiError> {
    let size = usize::try_from(params.within("PageSize", 1, 400)?.unwrap_or(400)).unwrap_or(usize::MAX);
    if let Some(marker) = params.optional("Marker").filter(|marker| !marker.is_empty()) {
        let last = hex::decode(marker).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let last = last.ok_or_else(|| params.invalid("Marker", marker))?;
        all.retain(|item| id(item) > last.as_str());
    }
    let next = if all.len() > size { all.get(size - 1).map(|last| hex::encode(id(last))) } else { None };
    all.truncate(size);
    Ok((all, next))
}
