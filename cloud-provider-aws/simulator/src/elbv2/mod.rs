//! Elastic Load Balancing v2, Network Load Balancers only, query protocol of version 2015-12-01.

mod attributes;
mod health_check;
mod listeners;
mod load_balancers;
mod tags;
mod target_groups;
mod targets;

use crate::{
    context::Context,
    error::ApiError,
    service::Action,
    state::{
        State,
        balancing::{LoadBalancer, TargetGroup},
    },
};

pub(crate) const ACTIONS: &[Action] = &[
    Action::read("DescribeLoadBalancers", load_balancers::describe),
    Action::write("CreateLoadBalancer", load_balancers::create),
    Action::write("DeleteLoadBalancer", load_balancers::delete),
    Action::write("SetSecurityGroups", load_balancers::set_groups),
    Action::write("SetSubnets", load_balancers::set_subnets),
    Action::write("SetIpAddressType", load_balancers::set_ip_address_type),
    Action::read("DescribeLoadBalancerAttributes", attributes::describe_of_load_balancer),
    Action::write("ModifyLoadBalancerAttributes", attributes::modify_of_load_balancer),
    Action::read("DescribeTargetGroups", target_groups::describe),
    Action::write("CreateTargetGroup", target_groups::create),
    Action::write("ModifyTargetGroup", target_groups::modify),
    Action::write("DeleteTargetGroup", target_groups::delete),
    Action::read("DescribeTargetGroupAttributes", attributes::describe_of_target_group),
    Action::write("ModifyTargetGroupAttributes", attributes::modify_of_target_group),
    Action::write("RegisterTargets", targets::register),
    Action::write("DeregisterTargets", targets::deregister),
    Action::read("DescribeTargetHealth", targets::describe_health),
    Action::read("DescribeListeners", listeners::describe),
    Action::write("CreateListener", listeners::create),
    Action::write("ModifyListener", listeners::modify),
    Action::write("DeleteListener", listeners::delete),
    Action::write("AddTags", tags::add),
    Action::write("RemoveTags", tags::remove),
    Action::read("DescribeTags", tags::describe),
];

fn invalid_configuration(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidConfigurationRequest", message)
}

/// An ARN of this service whose resource starts with `kind`.
fn check_arn(state: &State, arn: &str, kind: &str) -> Result<(), ApiError> {
    if arn.starts_with(&state.arn("elasticloadbalancing", &format!("{kind}/"))) {
        return Ok(());
    }
    Err(ApiError::validation(format!("'{arn}' is not a valid {kind} ARN")))
}

fn load_balancer<'a>(context: &'a mut Context<'_>, arn: &str) -> Result<&'a mut LoadBalancer, ApiError> {
    check_arn(context.state, arn, "loadbalancer")?;
    let missing = || ApiError::new("LoadBalancerNotFound", format!("Load balancer '{arn}' not found"));
    context.state.load_balancers.get_mut(arn).ok_or_else(missing)
}

fn target_group<'a>(context: &'a mut Context<'_>, arn: &str) -> Result<&'a mut TargetGroup, ApiError> {
    check_arn(context.state, arn, "targetgroup")?;
    if !context.state.target_groups.contains_key(arn) {
        return Err(target_group_missing());
    }
    context.state.target_groups.get_mut(arn).ok_or_else(target_group_missing)
}

fn target_group_missing() -> ApiError {
    ApiError::new("TargetGroupNotFound", "One or more target groups not found")
}

/// The load balancers whose listeners lead to a target group. A target group has no other link to them.
fn users<'a>(state: &'a State, target_group: &str) -> Vec<&'a str> {
    let listeners = state.listeners.values().filter(|listener| listener.target_group == target_group);
    let mut arns: Vec<&str> = listeners.map(|listener| listener.load_balancer.as_str()).collect();
    arns.sort_unstable();
    arns.dedup();
    arns
}
