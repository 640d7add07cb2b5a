//! Several services on one load balancer, and load balancers of somebody else.

use super::*;
use crate::load_balancer::check::check;

const OWNER: &str = "kube_service_kubernetes_default_web";
const SECOND: &str = "kube_service_kubernetes_default_api";

/// The service `default/api` on port 8080, which shares the load balancer of `default/web`.
fn second(port: i32) -> Round {
    let ports = json!([{ "protocol": "TCP", "port": port, "nodePort": 31080 }]);
    Round::new(service("api", prefixed("load-balancer-id", "lb"), json!({ "ports": ports })))
}

/// What there is once `default/api` shares the load balancer of `default/web`.
fn shared() -> Observed {
    let mut observed = Round::new(service_with(json!({}))).made();
    let tree = observed.tree.as_mut().unwrap();
    tree.load_balancer.tags.push(SECOND.into());
    tree.tags.push(SECOND.into());
    let desired = second(8080).desired();
    let wanted = desired.wanted.unwrap();
    let port = &wanted.ports[0];
    add(tree, &port.listener, &port.pool, port.monitor.as_ref(), &wanted.members(port, None));
    observed
}

fn refusal(round: &Round, observed: &Observed) -> Option<String> {
    let desired = round.desired();
    check(&desired, desired.wanted.as_deref().unwrap(), observed, Mode::Full).err().map(|error| error.to_string())
}

#[test]
fn a_second_service_adds_its_tag_and_its_listeners() {
    let observed = Round::new(service_with(json!({}))).made();
    let round = second(8080);
    assert_eq!(refusal(&round, &observed), None);
    assert_eq!(
        round.plan(&observed),
        [
            format!("add tag {SECOND} to load balancer lb"),
            "create listener TCP 8080".into(),
            format!("create pool pool_0_{SECOND} (TCP, ROUND_ROBIN)"),
            format!("set the members of pool pool_0_{SECOND}: node-1, node-2"),
            format!("create monitor monitor_0_{SECOND} (TCP)"),
        ]
    );
    assert!(round.plan(&shared()).is_empty());
    assert!(Round::new(service_with(json!({}))).plan(&shared()).is_empty(), "the owner leaves it alone");
}

#[test]
fn a_service_moves_its_own_listeners_only() {
    let plan = second(9090).plan(&shared());
    assert_eq!(plan[0], "create listener TCP 9090");
    assert_eq!(plan[4..], [format!("delete pool pool_0_{SECOND}"), format!("delete listener listener_0_{SECOND}")]);
}

#[test]
fn a_port_that_another_service_has_is_refused_whatever_its_protocol_is_called() {
    let mut observed = Round::new(service_with(json!({}))).made();
    assert_eq!(refusal(&second(80), &observed).unwrap(), "the listener port 80 already exists on load balancer lb");
    observed.tree.as_mut().unwrap().listeners[0].protocol = "TERMINATED_HTTPS".into();
    assert!(refusal(&second(80), &observed).is_some(), "upstream takes it over");
    let udp = json!([{ "protocol": "UDP", "port": 80, "nodePort": 31080 }]);
    let round = Round::new(service("api", prefixed("load-balancer-id", "lb"), json!({ "ports": udp })));
    assert_eq!(refusal(&round, &observed), None);
}

#[test]
fn section_12_4_conflicts() {
    let owner = Round::new(service_with(json!({})));
    let mut observed = owner.made();
    assert_eq!(refusal(&owner, &observed), None, "tagged with its own name");
    observed.tree.as_mut().unwrap().listeners[0].tags.clear();
    assert_eq!(refusal(&owner, &observed), None, "untagged, and the load balancer is its own");
    assert!(refusal(&second(80), &observed).is_some(), "untagged, and it is not");
    observed.tree.as_mut().unwrap().listeners[0].tags = vec![SECOND.into()];
    assert!(refusal(&owner, &observed).is_some(), "tagged by another one");
}

#[test]
fn sharing_has_its_limits() {
    let observed = shared();
    let third = || {
        Round::new(service(
            "third",
            prefixed("load-balancer-id", "lb"),
            json!({ "ports": [{ "protocol": "TCP", "port": 9000, "nodePort": 31900 }] }),
        ))
    };
    assert!(refusal(&third(), &observed).unwrap().contains("already shared with 2 services"));
    let more = Round { settings: Settings { max_shared_lb: 3, ..placed() }, ..third() };
    assert_eq!(refusal(&more, &observed), None);
    assert_eq!(refusal(&second(8080), &observed), None, "one that shares it already");
    let old = Round { version: Version(2, 4), ..more };
    assert!(refusal(&old, &observed).unwrap().contains("needs tags"));
}

#[test]
fn internal_services_share_where_that_is_allowed_and_nothing_leads_there_from_outside() {
    let internal = json!({
        "loadbalancer.openstack.org/load-balancer-id": "lb",
        "service.beta.kubernetes.io/openstack-internal-load-balancer": "true",
    });
    let ports = json!({ "ports": [{ "protocol": "TCP", "port": 8080, "nodePort": 31080 }] });
    let mut round = Round::new(service("api", internal, ports));
    let mut observed = Round::new(service_with(json!({}))).made();
    assert!(refusal(&round, &observed).unwrap().contains("cannot share"), "as upstream has it");
    round.settings.share_internal_load_balancers = true;
    assert!(refusal(&round, &observed).unwrap().contains("from outside"));
    observed.floating_ips.clear();
    assert_eq!(refusal(&round, &observed), None);
    assert!(refusal(&second(8080), &observed).unwrap().contains("has no floating IP"), "an external one");
}

#[test]
fn whoever_leaves_last_takes_the_load_balancer_along() {
    let leaving = |mut observed: Observed| {
        observed.left_behind.extend(observed.tree.take());
        observed
    };
    let owner = Round::new(service_with(json!({})));
    let plan = second(8080).removal(&leaving(shared()));
    assert_eq!(
        plan,
        [
            format!("delete pool pool_0_{SECOND}"),
            format!("delete listener listener_0_{SECOND}"),
            format!("remove tag {SECOND} from load balancer lb"),
        ]
    );
    let plan = owner.removal(&leaving(shared()));
    assert_eq!(plan.len(), 5, "two pools, two listeners and the tag: {plan:?}");
    assert_eq!(plan[4], format!("remove tag {OWNER} from load balancer lb"));
    let mut alone = shared();
    alone.tree.as_mut().unwrap().load_balancer.tags = vec![SECOND.into()];
    let plan = second(8080).removal(&leaving(alone));
    assert_eq!(plan, ["delete floating IP 203.0.113.7".to_owned(), format!("delete load balancer lb ({OWNER})")]);
}

#[test]
fn a_load_balancer_of_somebody_else_stays() {
    let mut observed = Round::new(service_with(json!({}))).made();
    let tree = observed.tree.as_mut().unwrap();
    tree.load_balancer.name = "mine".into();
    observed.left_behind.extend(observed.tree.take());
    let plan = Round::new(service_with(json!({}))).removal(&observed);
    assert!(
        plan.iter().all(|text| !text.contains("delete load balancer") && !text.contains("floating IP")),
        "{plan:?}"
    );
    assert_eq!(plan.last().unwrap(), &format!("remove tag {OWNER} from load balancer lb"));
}

#[test]
fn what_others_put_on_a_shared_load_balancer_stays() {
    let mut observed = shared();
    let tree = observed.tree.as_mut().unwrap();
    tree.load_balancer.name = "mine".into();
    let mut foreign = tree.listeners[0].clone();
    (foreign.id, foreign.protocol_port, foreign.tags) = ("foreign".into(), 25, Vec::new());
    tree.listeners.push(foreign);
    assert!(second(8080).plan(&observed).is_empty());
}
