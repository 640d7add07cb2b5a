//! Octavia: load balancers with everything below them, and the states that they go through.

mod attributes;
mod listeners;
mod load_balancers;
mod members;
mod monitors;
mod offers;
mod ovn;
mod pools;
mod reading;
mod states;
mod vip;
mod writing;

use http::Method;

use crate::{
    policy::Access::{LoadBalancerAdmin as Manage, LoadBalancerRead as Read, LoadBalancerWrite as Write, Open},
    service::Action,
    state::Kind,
};

pub(crate) fn actions() -> Vec<&'static [Action]> {
    vec![GENERAL, LOAD_BALANCERS, LISTENERS, POOLS, MONITORS]
}

const GENERAL: &[Action] = &[
    Action::get("ListVersions", "", "", Open, offers::versions),
    Action::get(
        "ListProviders",
        "/v2.0/lbaas/providers",
        "os_load-balancer_api:provider:get_all",
        Read,
        offers::providers,
    ),
    Action::get("ListFlavors", "/v2.0/lbaas/flavors", "os_load-balancer_api:flavor:get_all", Read, offers::flavors),
    Action::get("ShowFlavor", "/v2.0/lbaas/flavors/{}", "os_load-balancer_api:flavor:get_one", Read, offers::flavor),
    Action::get(
        "ListZones",
        "/v2.0/lbaas/availabilityzones",
        "os_load-balancer_api:availability-zone:get_all",
        Read,
        offers::zones,
    ),
    Action::get(
        "ShowZone",
        "/v2.0/lbaas/availabilityzones/{}",
        "os_load-balancer_api:availability-zone:get_one",
        Read,
        offers::zone,
    ),
];

const LOAD_BALANCERS: &[Action] = &[
    Action::get(
        "ListLoadBalancers",
        "/v2.0/lbaas/loadbalancers",
        "os_load-balancer_api:loadbalancer:get_all",
        Read,
        |context, request| reading::list(context, request, Kind::LoadBalancers),
    ),
    Action::get(
        "ShowLoadBalancer",
        "/v2.0/lbaas/loadbalancers/{}",
        "os_load-balancer_api:loadbalancer:get_one",
        Read,
        |context, request| reading::show(context, request, Kind::LoadBalancers),
    ),
    Action::get(
        "ShowLoadBalancerStatus",
        "/v2.0/lbaas/loadbalancers/{}/status",
        "os_load-balancer_api:loadbalancer:get_status",
        Read,
        reading::status,
    ),
    Action::write(
        "CreateLoadBalancer",
        Method::POST,
        "/v2.0/lbaas/loadbalancers",
        "os_load-balancer_api:loadbalancer:post",
        Write,
        load_balancers::create,
    ),
    Action::write(
        "UpdateLoadBalancer",
        Method::PUT,
        "/v2.0/lbaas/loadbalancers/{}",
        "os_load-balancer_api:loadbalancer:put",
        Write,
        load_balancers::update,
    ),
    Action::write(
        "DeleteLoadBalancer",
        Method::DELETE,
        "/v2.0/lbaas/loadbalancers/{}",
        "os_load-balancer_api:loadbalancer:delete",
        Write,
        load_balancers::delete,
    ),
    Action::write(
        "FailoverLoadBalancer",
        Method::PUT,
        "/v2.0/lbaas/loadbalancers/{}/failover",
        "os_load-balancer_api:loadbalancer:put_failover",
        Manage,
        load_balancers::failover,
    ),
];

const LISTENERS: &[Action] = &[
    Action::get(
        "ListListeners",
        "/v2.0/lbaas/listeners",
        "os_load-balancer_api:listener:get_all",
        Read,
        |context, request| reading::list(context, request, Kind::Listeners),
    ),
    Action::get(
        "ShowListener",
        "/v2.0/lbaas/listeners/{}",
        "os_load-balancer_api:listener:get_one",
        Read,
        |context, request| reading::show(context, request, Kind::Listeners),
    ),
    Action::write(
        "CreateListener",
        Method::POST,
        "/v2.0/lbaas/listeners",
        "os_load-balancer_api:listener:post",
        Write,
        listeners::create,
    ),
    Action::write(
        "UpdateListener",
        Method::PUT,
        "/v2.0/lbaas/listeners/{}",
        "os_load-balancer_api:listener:put",
        Write,
        listeners::update,
    ),
    Action::write(
        "DeleteListener",
        Method::DELETE,
        "/v2.0/lbaas/listeners/{}",
        "os_load-balancer_api:listener:delete",
        Write,
        listeners::delete,
    ),
];

const POOLS: &[Action] = &[
    Action::get("ListPools", "/v2.0/lbaas/pools", "os_load-balancer_api:pool:get_all", Read, |context, request| {
        reading::list(context, request, Kind::Pools)
    }),
    Action::get("ShowPool", "/v2.0/lbaas/pools/{}", "os_load-balancer_api:pool:get_one", Read, |context, request| {
        reading::show(context, request, Kind::Pools)
    }),
    Action::write(
        "CreatePool",
        Method::POST,
        "/v2.0/lbaas/pools",
        "os_load-balancer_api:pool:post",
        Write,
        pools::create,
    ),
    Action::write(
        "UpdatePool",
        Method::PUT,
        "/v2.0/lbaas/pools/{}",
        "os_load-balancer_api:pool:put",
        Write,
        pools::update,
    ),
    Action::write(
        "DeletePool",
        Method::DELETE,
        "/v2.0/lbaas/pools/{}",
        "os_load-balancer_api:pool:delete",
        Write,
        pools::delete,
    ),
    Action::get(
        "ListMembers",
        "/v2.0/lbaas/pools/{}/members",
        "os_load-balancer_api:member:get_all",
        Read,
        reading::members,
    ),
    Action::get(
        "ShowMember",
        "/v2.0/lbaas/pools/{}/members/{}",
        "os_load-balancer_api:member:get_one",
        Read,
        reading::member,
    ),
    Action::write(
        "CreateMember",
        Method::POST,
        "/v2.0/lbaas/pools/{}/members",
        "os_load-balancer_api:member:post",
        Write,
        members::create,
    ),
    Action::write(
        "UpdateMembers",
        Method::PUT,
        "/v2.0/lbaas/pools/{}/members",
        "os_load-balancer_api:member:put",
        Write,
        members::update_all,
    ),
    Action::write(
        "UpdateMember",
        Method::PUT,
        "/v2.0/lbaas/pools/{}/members/{}",
        "os_load-balancer_api:member:put",
        Write,
        members::update,
    ),
    Action::write(
        "DeleteMember",
        Method::DELETE,
        "/v2.0/lbaas/pools/{}/members/{}",
        "os_load-balancer_api:member:delete",
        Write,
        members::delete,
    ),
];

const MONITORS: &[Action] = &[
    Action::get(
        "ListHealthMonitors",
        "/v2.0/lbaas/healthmonitors",
        "os_load-balancer_api:healthmonitor:get_all",
        Read,
        |context, request| reading::list(context, request, Kind::HealthMonitors),
    ),
    Action::get(
        "ShowHealthMonitor",
        "/v2.0/lbaas/healthmonitors/{}",
        "os_load-balancer_api:healthmonitor:get_one",
        Read,
        |context, request| reading::show(context, request, Kind::HealthMonitors),
    ),
    Action::write(
        "CreateHealthMonitor",
        Method::POST,
        "/v2.0/lbaas/healthmonitors",
        "os_load-balancer_api:healthmonitor:post",
        Write,
        monitors::create,
    ),
    Action::write(
        "UpdateHealthMonitor",
        Method::PUT,
        "/v2.0/lbaas/healthmonitors/{}",
        "os_load-balancer_api:healthmonitor:put",
        Write,
        monitors::update,
    ),
    Action::write(
        "DeleteHealthMonitor",
        Method::DELETE,
        "/v2.0/lbaas/healthmonitors/{}",
        "os_load-balancer_api:healthmonitor:delete",
        Write,
        monitors::delete,
    ),
];
