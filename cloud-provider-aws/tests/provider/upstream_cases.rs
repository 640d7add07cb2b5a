//! Upstream's cases about network load balancers that take more than one call to tell; aws.md 12.7.

use std::sync::Arc;

use cloud_provider::{
    cloud::{LoadBalancers as _, Mode, Scope},
    cluster::objects::{Node, Object, Service},
};
use cloud_provider_aws::load_balancer::ElasticLoadBalancers;
use cloud_provider_aws_simulator::{Fault, Policy, Seed};
use serde_json::{Value, json};

use crate::support::{Cluster, Setup};

const READ: &str = "ELBv2.DescribeTargetGroupAttributes";
const WRITE: &str = "ELBv2.ModifyTargetGroupAttributes";
const KEY: &str = "proxy_protocol_v2.enabled";

struct Bench {
    cluster: Cluster,
    balancers: ElasticLoadBalancers,
}

impl Bench {
    async fn new(nodes: usize) -> Self {
        Self::with(nodes, Policy::all()).await
    }

    async fn with(nodes: usize, policy: Policy) -> Self {
        let setup = Setup { seed: Seed::cluster("demo", nodes), policy, ..Setup::default() };
        let cluster = Cluster::with(setup).await;
        Self { balancers: ElasticLoadBalancers::new(&cluster.environment), cluster }
    }

    async fn sync_with(&self, service: &Service, nodes: Vec<Arc<Node>>) -> Result<(), String> {
        self.cluster.handle.reset_calls();
        let scope = Scope {
            id: self.balancers.scope(service),
            cluster_name: "kubernetes".into(),
            wanted: vec![Arc::new(service.clone())],
            unwanted: Vec::new(),
            nodes: nodes.into(),
        };
        let mut outcome = self.balancers.sync(&scope, Mode::Full).await;
        let result = outcome.services.remove(&service.key()).unwrap();
        result.error.map_or(Ok(()), |error| Err(error.chain()))
    }

    async fn sync(&self, service: &Service) -> Result<(), String> {
        self.sync_with(service, self.cluster.nodes_by_id()).await
    }

    /// The values of the attribute in all target groups.
    fn values(&self) -> Vec<String> {
        let state = self.cluster.handle.state();
        let groups = state["target_groups"].as_object().unwrap();
        groups.values().map(|group| group["attributes"][KEY].as_str().unwrap_or("absent").to_owned()).collect()
    }
}

fn service(protocol: &str, attributes: Option<&str>) -> Service {
    let port =
        |port: i32| json!({"name": format!("p{port}"), "protocol": protocol, "port": port, "nodePort": 30_000 + port});
    let mut annotations = serde_json::Map::new();
    annotations.insert("service.beta.kubernetes.io/aws-load-balancer-type".into(), json!("nlb"));
    if let Some(attributes) = attributes {
        let key = "service.beta.kubernetes.io/aws-load-balancer-target-group-attributes";
        annotations.insert(key.into(), json!(attributes));
    }
    let ports: Value = [80, 443].map(port).into_iter().collect();
    let service = json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "1", "annotations": annotations},
        "spec": {"type": "LoadBalancer", "sessionAffinity": "None", "externalTrafficPolicy": "Cluster", "ports": ports},
    });
    serde_json::from_value(service).unwrap()
}

#[tokio::test]
async fn section_12_7_target_group_attributes_are_validated_before_anything_is_called() {
    let bench = Bench::new(1).await;
    for (protocol, attributes, text) in [
        ("TCP", "proxy_protocol_v2.enabled=True", "invalid attribute value for \"proxy_protocol_v2.enabled\": True"),
        (
            "TCP",
            "preserve_client_ip.enabled=FALSE",
            "invalid attribute value for \"preserve_client_ip.enabled\": FALSE",
        ),
        ("TCP", "proxy_protocol_v2.enabled= true ", "invalid attribute value"),
        ("TCP", "proxy_protocol_v2.enabled=", "attribute value is empty for \"proxy_protocol_v2.enabled\""),
        (
            "TCP",
            "stickiness.enabled=true",
            "the attribute \"stickiness.enabled\" is not supported by the controller or is invalid",
        ),
        ("UDP", "preserve_client_ip.enabled=false", "client IP preservation can't be disabled for UDP ports"),
    ] {
        let error = bench.sync(&service(protocol, Some(attributes))).await.unwrap_err();
        assert!(error.contains("error validating target group attributes"), "{error}");
        assert!(error.contains(text), "{error}");
        assert!(bench.cluster.handle.counts().is_empty());
    }
    bench.sync(&service("UDP", Some("preserve_client_ip.enabled=true"))).await.unwrap();
}

#[tokio::test]
async fn section_12_7_target_group_attributes_follow_the_annotation_and_outlive_it() {
    let bench = Bench::new(1).await;
    bench.sync(&service("TCP", None)).await.unwrap();
    assert_eq!(
        (bench.cluster.count(READ), bench.cluster.count(WRITE)),
        (0, 0),
        "without the annotation nothing is asked"
    );
    let before = bench.values();

    // The last of equal keys counts.
    let wanted = service("TCP", Some("proxy_protocol_v2.enabled=false,proxy_protocol_v2.enabled=true"));
    bench.cluster.handle.fault(Fault::error(WRITE, "InternalFailure").times(3));
    bench.sync(&wanted).await.unwrap_err();
    bench.sync(&wanted).await.unwrap();
    assert_eq!(bench.values(), ["true", "true"], "a failure for one group is made up for");
    bench.sync(&wanted).await.unwrap();
    assert_eq!((bench.cluster.count(READ), bench.cluster.count(WRITE)), (2, 0), "one read for each group, no write");

    bench.sync(&service("TCP", None)).await.unwrap();
    assert_eq!(bench.values(), ["true", "true"], "what is taken out keeps its value");
    assert_eq!((bench.cluster.count(READ), bench.cluster.count(WRITE)), (0, 0));
    assert!(before.iter().all(|value| value != "true"), "{before:?}");
}

/// Upstream makes the rest too: its documented policy lacks these permissions.
#[tokio::test]
async fn without_access_to_attributes_of_target_groups_all_else_follows() {
    let bench = Bench::with(1, Policy::documented()).await;
    let wanted = service("TCP", Some("proxy_protocol_v2.enabled=true"));
    for _ in 0..2 {
        let error = bench.sync(&wanted).await.unwrap_err();
        assert!(error.contains("elasticloadbalancing:ModifyTargetGroupAttributes"), "{error}");
    }
    let listeners = |count: usize| {
        let state = bench.cluster.handle.state();
        let length = |of: &str| state[of].as_object().unwrap().len();
        assert_eq!((length("listeners"), length("target_groups")), (count, count), "{state}");
    };
    listeners(2);
    let mut fewer = wanted.clone();
    fewer.spec.ports.pop();
    bench.sync(&fewer).await.unwrap_err();
    listeners(1);
}

#[tokio::test]
async fn section_12_7_a_target_leaves_before_another_one_comes() {
    let bench = Bench::new(4).await;
    let nodes = bench.cluster.nodes_by_id();
    let wanted = service("TCP", None);
    bench.sync_with(&wanted, nodes[..2].to_vec()).await.unwrap();
    bench.sync_with(&wanted, nodes[2..].to_vec()).await.unwrap();
    let calls = bench.cluster.handle.calls();
    let mut moves =
        calls.iter().filter(|call| call.action.ends_with("registerTargets") || call.action == "RegisterTargets");
    let order: Vec<(&str, &String)> =
        moves.by_ref().map(|call| (call.action.as_str(), &call.parameters["TargetGroupArn"])).collect();
    assert_eq!(order.len(), 4, "{order:?}");
    for (_, group) in &order {
        let of_group: Vec<&str> = order.iter().filter(|(_, other)| other == group).map(|(action, _)| *action).collect();
        assert_eq!(of_group, ["DeregisterTargets", "RegisterTargets"]);
    }
}
