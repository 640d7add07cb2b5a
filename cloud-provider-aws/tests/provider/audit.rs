//! What `audit` finds, against the simulator: upstream's policy with the one permission that it needs.

use std::{collections::BTreeSet, sync::Arc};

use cloud_provider::{
    Kind,
    cloud::{LoadBalancers, Mode, Owned, Scope},
    cluster::objects::{Object, Service},
};
use cloud_provider_aws::{cluster_id::ClusterId, load_balancer::ElasticLoadBalancers};
use cloud_provider_aws_simulator::{Policy, Seed};
use serde_json::json;

use crate::support::{Cluster, Setup};

const PERMISSION: &str = "elasticloadbalancing:DescribeTags";
const ACTIONS: &[&str] = &[
    PERMISSION,
    "ec2:DescribeNetworkInterfaces",
    "elasticloadbalancing:DescribeTargetGroupAttributes",
    "elasticloadbalancing:ModifyTargetGroupAttributes",
    "elasticloadbalancing:SetSecurityGroups",
];

fn service(name: &str, uid: &str, kind: &str) -> Service {
    serde_json::from_value(json!({
        "metadata": {
            "name": name, "namespace": "shop", "uid": uid,
            "annotations": {"service.beta.kubernetes.io/aws-load-balancer-type": kind},
        },
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}]},
    }))
    .unwrap()
}

async fn make(cluster: &Cluster, balancers: &ElasticLoadBalancers, service: &Service) {
    let wanted = vec![Arc::new(service.clone())];
    let id = balancers.scope(service);
    let nodes = cluster.nodes_by_id().into();
    let scope = Scope { id, cluster_name: "kubernetes".into(), wanted, unwanted: Vec::new(), nodes };
    let outcome = balancers.sync(&scope, Mode::Full).await;
    assert!(outcome.services[&service.key()].error.is_none(), "{:?}", outcome.services[&service.key()].error);
}

async fn cluster(policy: Policy) -> Cluster {
    let seed = Seed::cluster("demo", 2);
    let config = "[Global]\nNLBSecurityGroupMode=Managed\n";
    Cluster::with(Setup { seed, config, policy, ..Setup::default() }).await
}

/// What no service of `services` claims.
fn left(owned: &[Owned], balancers: &ElasticLoadBalancers, services: &[&Service]) -> BTreeSet<String> {
    let claims: BTreeSet<String> = services.iter().flat_map(|service| balancers.claims(service)).collect();
    owned.iter().filter(|owned| !claims.contains(&owned.claim)).map(|owned| owned.what.clone()).collect()
}

#[tokio::test]
async fn an_audit_finds_all_that_was_made_for_services_of_this_cluster() {
    let cluster = cluster(Policy::documented().and(ACTIONS)).await;
    let balancers = ElasticLoadBalancers::new(&cluster.environment);
    let classic = service("cart", "11111111-2222-3333-4444-555555555555", "");
    let network = service("search", "66666666-7777-8888-9999-000000000000", "nlb");
    for service in [&classic, &network] {
        make(&cluster, &balancers, service).await;
    }
    let owned = balancers.owned("kubernetes").await.unwrap().unwrap();
    assert!(left(&owned, &balancers, &[&classic, &network]).is_empty(), "{owned:?}");
    let of_classic = left(&owned, &balancers, &[&network]);
    let kinds = |left: &BTreeSet<String>| {
        left.iter().map(|what| what.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&of_classic), ["classic load", "security group"], "{of_classic:?}");
    let of_network = left(&owned, &balancers, &[&classic]);
    assert_eq!(kinds(&of_network), ["network load", "security group", "target group"], "{of_network:?}");
    assert_eq!(of_classic.len() + of_network.len(), owned.len());
    let writes: Vec<_> = cluster.handle.calls().into_iter().map(|call| call.action).collect();
    assert!(writes.iter().any(|action| action == "DescribeTags"));
}

#[tokio::test]
async fn a_managed_group_is_its_load_balancers_whatever_the_cluster_is_called_in_this_run() {
    let mut cluster = cluster(Policy::documented().and(ACTIONS)).await;
    let balancers = ElasticLoadBalancers::new(&cluster.environment);
    let search = service("search", "66666666-7777-8888-9999-000000000000", "nlb");
    make(&cluster, &balancers, &search).await;
    cluster.environment.cluster_name = "another-name".into();
    let other_run = ElasticLoadBalancers::new(&cluster.environment);
    let owned = other_run.owned("another-name").await.unwrap().unwrap();
    assert_eq!(owned.len(), 3, "{owned:?}");
    assert_eq!(left(&owned, &other_run, &[&search]), BTreeSet::new());
    assert_eq!(left(&owned, &other_run, &[]).len(), 3);
}

#[tokio::test]
async fn what_the_aws_load_balancer_controller_made_is_not_ours() {
    let cluster = cluster(Policy::documented().and(ACTIONS)).await;
    let balancers = ElasticLoadBalancers::new(&cluster.environment);
    let mut state = cluster.handle.state();
    let mut group = state["security_groups"].as_object().unwrap().values().next().unwrap().clone();
    for (id, tagged) in [("sg-theirs", true), ("sg-ours", false)] {
        group["id"] = id.into();
        group["name"] = format!("k8s-shop-search-{}", if tagged { "0123456789" } else { "abcdef0123" }).into();
        group["tags"] = json!({"kubernetes.io/cluster/demo": "owned"});
        if tagged {
            group["tags"]["elbv2.k8s.aws/cluster"] = "demo".into();
        }
        state["security_groups"][id] = group.clone();
    }
    cluster.handle.set_state(state).unwrap();
    let owned = balancers.owned("kubernetes").await.unwrap().unwrap();
    assert_eq!(
        left(&owned, &balancers, &[]),
        ["security group sg-ours (k8s-shop-search-abcdef0123)".to_owned()].into()
    );
}

#[tokio::test]
async fn what_another_cluster_made_in_the_same_network_is_not_found() {
    let mut cluster = cluster(Policy::documented().and(ACTIONS)).await;
    let balancers = ElasticLoadBalancers::new(&cluster.environment);
    let mine = service("cart", "11111111-2222-3333-4444-555555555555", "");
    make(&cluster, &balancers, &mine).await;
    cluster.environment.cluster_id = ClusterId::new("", "other").unwrap().unwrap();
    let others = ElasticLoadBalancers::new(&cluster.environment);
    assert_eq!(others.owned("kubernetes").await.unwrap(), Some(Vec::new()));
    assert_eq!(balancers.owned("kubernetes").await.unwrap().unwrap().len(), 2);
}

#[tokio::test]
async fn an_audit_that_may_not_read_tags_names_the_permission() {
    let actions: Vec<&str> = ACTIONS.iter().copied().filter(|action| *action != PERMISSION).collect();
    let cluster = cluster(Policy::documented().and(&actions)).await;
    let balancers = ElasticLoadBalancers::new(&cluster.environment);
    assert_eq!(balancers.owned("kubernetes").await.unwrap(), Some(Vec::new()), "there is nothing to tell apart");
    make(&cluster, &balancers, &service("cart", "11111111-2222-3333-4444-555555555555", "")).await;
    let error = balancers.owned("kubernetes").await.unwrap_err();
    assert!(matches!(error.kind(), Kind::Denied { .. }), "{error:?}");
    assert!(error.to_string().contains(&format!("grant the permission {PERMISSION}")), "{error}");
}
