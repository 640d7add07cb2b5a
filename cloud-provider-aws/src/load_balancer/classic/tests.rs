//! Rounds against the simulator.

use std::{collections::BTreeSet, sync::Arc};

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use cloud_provider::{
    cloud::{
        Gate, LoadBalancerStatus, LoadBalancers as _, Mode, Outcome, Reconciler, Scope, ServiceOutcome, ServiceState,
    },
    cluster::objects::{Node, Object as _, Service},
    metrics::Metrics,
};
use cloud_provider_aws_simulator::{ACCESS_KEY, Fault, Handle, Omission, Options, Policy, SECRET_KEY, Seed, Simulator};
use serde_json::{Value, json};

use super::{Classic, Shared};
use crate::{
    Environment,
    client::{self, Client, Endpoint, Endpoints, Imds},
    config,
};

const CLUSTER: &str = "demo";
const NAME: &str = "a1111111122223333444455555555555";
const NODE_GROUP: &str = "sg-0a1b2c3d4e5f60002";

/// A simulated account with a reconciler.
struct Account {
    simulator: Simulator,
    reconciler: Reconciler<Classic>,
}

impl Account {
    async fn start(nodes: usize) -> Self {
        Self::with(nodes, "", Policy::documented()).await
    }

    async fn with(nodes: usize, global: &str, policy: Policy) -> Self {
        let seed = Seed::cluster(CLUSTER, nodes);
        let (vpc, subnet) = (seed.vpcs[0].id.clone(), seed.subnets[0].id.clone());
        let simulator = Simulator::start(Options { seed, policy, ..Options::default() }).await.unwrap();
        let text = format!("[Global]\nVPC={vpc}\nSubnetID={subnet}\nKubernetesClusterID={CLUSTER}\n{global}\n");
        let settings = config::parse(Some(&text)).unwrap().0;
        let reconciler = Self::reconciler(&simulator, settings).await;
        Self { simulator, reconciler }
    }

    /// Another process: it remembers nothing.
    async fn restart(&mut self) {
        self.restart_with("").await;
    }

    async fn restart_with(&mut self, global: &str) {
        let seed = Seed::cluster(CLUSTER, 0);
        let (vpc, subnet) = (&seed.vpcs[0].id, &seed.subnets[0].id);
        let text = format!("[Global]\nVPC={vpc}\nSubnetID={subnet}\nKubernetesClusterID={CLUSTER}\n{global}\n");
        self.reconciler = Self::reconciler(&self.simulator, config::parse(Some(&text)).unwrap().0).await;
    }

    async fn reconciler(simulator: &Simulator, settings: config::Settings) -> Reconciler<Classic> {
        let endpoint = Some(Endpoint { url: simulator.url(), ..Endpoint::default() });
        let endpoints = Endpoints {
            ec2: endpoint.clone(),
            elb: endpoint.clone(),
            elbv2: endpoint.clone(),
            imds: endpoint,
            ..Endpoints::default()
        };
        let client_settings = client::Settings { region: "us-east-1".into(), endpoints, role: None };
        let credentials = SharedCredentialsProvider::new(Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "test"));
        let client =
            Client::with_credentials(&client_settings, Some(credentials), Gate::open(), &Metrics::default()).await;
        let imds = Imds::new(client_settings.endpoints.imds.as_ref());
        let environment = Environment::with_client(settings, client, &imds, Arc::from("kubernetes")).await.unwrap();
        Reconciler::new(Classic::new(Shared::new(&environment)))
    }

    fn handle(&self) -> Handle {
        self.simulator.handle()
    }

    fn nodes(&self) -> Vec<Arc<Node>> {
        let handle = self.handle();
        let control_plane = "i-0a1b2c3d4e5f60001";
        let ids = handle.instance_ids().into_iter().filter(|id| id != control_plane);
        ids.map(|id| {
            let node = json!({"metadata": {"name": id}, "spec": {"providerID": format!("aws:///us-east-1a/{id}")}});
            Arc::new(serde_json::from_value(node).unwrap())
        })
        .collect()
    }

    async fn round(&self, service: &Service, wanted: bool, mode: Mode) -> Outcome {
        let list = |yes: bool| if yes { vec![Arc::new(service.clone())] } else { Vec::new() };
        let scope = Scope {
            id: self.reconciler.scope(service),
            cluster_name: Arc::from("kubernetes"),
            wanted: list(wanted),
            unwanted: list(!wanted),
            nodes: self.nodes().into(),
        };
        self.reconciler.sync(&scope, mode).await
    }

    /// A full round that must succeed; gives the status.
    async fn ensure(&self, service: &Service) -> LoadBalancerStatus {
        let ServiceOutcome { state, error, .. } = only(self.round(service, true, Mode::Full).await, service);
        assert!(error.is_none(), "{}", error.unwrap().chain());
        match state {
            ServiceState::Present(status) => status,
            other => panic!("{other:?}"),
        }
    }

    async fn remove(&self, service: &Service) -> ServiceOutcome {
        only(self.round(service, false, Mode::Full).await, service)
    }

    fn of_kind(&self, kind: &str) -> Value {
        self.handle().state()[kind].take()
    }

    fn balancer(&self) -> Value {
        self.of_kind("classic_load_balancers")[NAME].take()
    }

    /// Groups and rules, as text, besides what the seed has.
    fn rules(&self, group: &str) -> BTreeSet<String> {
        let rules = self.of_kind("security_groups")[group]["ingress"].take();
        rules
            .as_array()
            .into_iter()
            .flatten()
            .map(|rule| {
                let mut rule = rule.clone();
                if let Some(rule) = rule.as_object_mut() {
                    rule.remove("id");
                }
                rule.to_string()
            })
            .collect()
    }

    fn own_group(&self) -> Option<String> {
        let groups = self.of_kind("security_groups");
        let mut groups = groups.as_object().unwrap().iter();
        groups.find(|(_, group)| group["name"] == format!("k8s-elb-{NAME}")).map(|(id, _)| id.clone())
    }

    fn writes(&self) -> Vec<String> {
        let calls = self.handle().calls().into_iter().filter(|call| !call.action.starts_with("Describe"));
        calls.map(|call| format!("{} {}", call.action, call.outcome)).collect()
    }

    fn reads(&self) -> Vec<String> {
        let calls = self.handle().calls().into_iter().filter(|call| call.action.starts_with("Describe"));
        calls.map(|call| format!("{}.{}", call.service, call.action)).collect()
    }

    /// What is left of the service.
    fn leftovers(&self) -> Vec<String> {
        let mut left: Vec<String> = Vec::new();
        left.extend(self.of_kind("classic_load_balancers").as_object().unwrap().keys().cloned());
        left.extend(self.own_group());
        left.extend(self.rules(NODE_GROUP).into_iter().filter(|rule| !rule.contains(NODE_GROUP)));
        left
    }
}

fn only(mut outcome: Outcome, service: &Service) -> ServiceOutcome {
    outcome.services.remove(&service.key()).unwrap()
}

fn web() -> Value {
    json!({
        "metadata": {
            "namespace": "default", "name": "web", "uid": "11111111-2222-3333-4444-5555555555556666", "annotations": {},
        },
        "spec": {
            "type": "LoadBalancer",
            "ports": [{"name": "http", "port": 80, "nodePort": 31000, "protocol": "TCP"}],
        },
    })
}

fn service(change: impl FnOnce(&mut Value)) -> Service {
    let mut service = web();
    change(&mut service);
    serde_json::from_value(service).unwrap()
}

fn annotated(pairs: &[(&str, &str)]) -> Service {
    service(|service| annotate(service, pairs))
}

fn annotate(service: &mut Value, pairs: &[(&str, &str)]) {
    for (key, value) in pairs {
        service["metadata"]["annotations"][format!("service.beta.kubernetes.io/aws-load-balancer-{key}")] =
            json!(value);
    }
}

#[tokio::test]
async fn a_service_gets_a_load_balancer_and_the_next_round_writes_nothing() {
    let account = Account::start(3).await;
    let service = service(|_| {});
    let status = account.ensure(&service).await;
    let balancer = account.balancer();
    assert_eq!(status, LoadBalancerStatus::hostname(balancer["dns_name"].as_str().unwrap()));
    assert_eq!(balancer["instances"].as_array().unwrap().len(), 3);
    assert_eq!(balancer["subnets"].as_array().unwrap().len(), 3);
    assert_eq!(balancer["health_check"]["target"], "TCP:31000");
    assert_eq!(balancer["tags"]["kubernetes.io/service-name"], "default/web");
    let own = account.own_group().unwrap();
    assert_eq!(balancer["security_groups"], json!([own]));
    assert_eq!(account.rules(&own).len(), 2);
    assert_eq!(account.rules(NODE_GROUP).iter().filter(|rule| rule.contains(&own)).count(), 1);

    account.ensure(&service).await;
    account.handle().reset_calls();
    account.ensure(&service).await;
    assert_eq!(account.writes(), [""; 0]);
    assert_eq!(account.reads(), ["ELB.DescribeLoadBalancers", "ELB.DescribeLoadBalancerAttributes"]);
}

#[tokio::test]
async fn a_dry_run_says_what_a_round_would_do_and_does_nothing() {
    let account = Account::start(1).await;
    let service = service(|_| {});
    let outcome = account.round(&service, true, Mode::DryRun).await;
    assert!(
        outcome.changes.iter().any(|change| change.what.starts_with("create internet-facing classic load balancer"))
    );
    assert_eq!(account.writes(), [""; 0]);
    let dry: Vec<String> = outcome.changes.into_iter().map(|change| change.what).collect();
    let done = account.round(&service, true, Mode::Full).await;
    let done: Vec<String> = done.changes.into_iter().map(|change| change.what).collect();
    assert_eq!(dry, done);
}

#[tokio::test]
async fn changes_of_the_service_reach_the_load_balancer() {
    let account = Account::start(2).await;
    account.ensure(&service(|_| {})).await;
    let certificate = Seed::cluster(CLUSTER, 0).certificates[0].clone();
    let changed = service(|s| {
        s["spec"]["ports"] = json!([
            {"name": "http", "port": 80, "nodePort": 31001, "protocol": "TCP"},
            {"name": "https", "port": 443, "nodePort": 31002, "protocol": "TCP"},
        ]);
        s["spec"]["loadBalancerSourceRanges"] = json!(["10.0.0.0/8"]);
        annotate(
            s,
            &[
                ("ssl-cert", &certificate),
                ("ssl-ports", "https"),
                ("ssl-negotiation-policy", "ELBSecurityPolicy-TLS-1-2-2017-01"),
                ("proxy-protocol", "*"),
                ("connection-idle-timeout", "90"),
                ("connection-draining-enabled", "true"),
                ("additional-resource-tags", "team=a"),
                ("healthcheck-interval", "20"),
            ],
        );
    });
    account.ensure(&changed).await;
    let balancer = account.balancer();
    assert_eq!(balancer["listeners"]["80"]["instance_port"], 31001);
    assert_eq!(balancer["listeners"]["443"]["protocol"], "SSL");
    assert_eq!(
        balancer["listeners"]["443"]["policies"],
        json!(["k8s-SSLNegotiationPolicy-ELBSecurityPolicy-TLS-1-2-2017-01"])
    );
    assert_eq!(balancer["backends"]["31001"], json!(["k8s-proxyprotocol-enabled"]));
    assert_eq!(balancer["attributes"]["idle_timeout"], 90);
    assert_eq!(balancer["attributes"]["draining"], true);
    assert_eq!(balancer["tags"]["team"], "a");
    assert_eq!(balancer["health_check"]["interval"], 20);
    let own = account.own_group().unwrap();
    assert_eq!(account.rules(&own).len(), 3);
    account.handle().reset_calls();
    account.ensure(&changed).await;
    assert_eq!(account.writes(), [""; 0]);

    account.ensure(&service(|_| {})).await;
    let balancer = account.balancer();
    assert_eq!(balancer["listeners"].as_object().unwrap().len(), 1);
    assert_eq!(balancer["backends"], json!({}));
    assert_eq!(balancer["attributes"]["idle_timeout"], 60);
    account.handle().reset_calls();
    account.ensure(&service(|_| {})).await;
    assert_eq!(account.writes(), [""; 0]);
}

/// The calls about tags since the last look, and whether any call was denied.
fn calls_about_tags(account: &Account) -> (usize, usize) {
    let counts = account.handle().counts();
    assert!(counts.values().all(|count| !count.failures.contains_key("AccessDenied")), "{counts:?}");
    account.handle().reset_calls();
    let calls = |action: &str| counts.get(action).map_or(0, |count| usize::try_from(count.calls).unwrap());
    (calls("ELB.DescribeTags"), calls("ELB.AddTags"))
}

#[tokio::test]
async fn changed_tags_are_written_once_and_never_read() {
    let account = Account::start(1).await;
    account.ensure(&service(|_| {})).await;
    for (tags, adds) in [("team=a", 1), ("team=a", 0), ("team=b,stage=test", 1), ("team=b", 0), ("team=a", 1)] {
        account.ensure(&annotated(&[("additional-resource-tags", tags)])).await;
        assert_eq!(calls_about_tags(&account), (0, adds), "{tags}");
    }
    assert_eq!(account.balancer()["tags"]["team"], "a");
    assert_eq!(account.balancer()["tags"]["stage"], "test");
}

#[tokio::test]
async fn after_a_start_tags_are_written_only_together_with_something_else() {
    let mut account = Account::start(1).await;
    let tagged = annotated(&[("additional-resource-tags", "team=a")]);
    account.ensure(&tagged).await;
    account.restart().await;
    account.handle().reset_calls();
    account.ensure(&tagged).await;
    assert_eq!(account.writes(), [""; 0]);
    // What is presumed is known: a change is seen.
    account.ensure(&annotated(&[("additional-resource-tags", "team=b")])).await;
    assert_eq!(calls_about_tags(&account), (0, 1));

    account.restart().await;
    account.ensure(&annotated(&[("additional-resource-tags", "team=c"), ("connection-idle-timeout", "90")])).await;
    assert_eq!(calls_about_tags(&account), (0, 1));
    assert_eq!(account.balancer()["tags"]["team"], "c");
}

#[tokio::test]
async fn a_round_that_ends_after_its_first_write_has_written_the_tags() {
    let mut account = Account::start(1).await;
    account.ensure(&service(|_| {})).await;
    let changed = service(|s| {
        s["spec"]["loadBalancerSourceRanges"] = json!(["10.0.0.0/8"]);
        annotate(s, &[("additional-resource-tags", "team=a"), ("connection-idle-timeout", "90")]);
    });
    account.handle().fault(Fault::error("*.Authorize*", "InternalError"));
    assert!(only(account.round(&changed, true, Mode::Full).await, &changed).error.is_some());
    assert_eq!(account.balancer()["tags"]["team"], "a");
    account.handle().clear_faults();
    account.restart().await;
    account.ensure(&changed).await;
    assert_eq!(account.balancer()["attributes"]["idle_timeout"], 90);
}

#[tokio::test]
async fn tags_are_compared_in_every_round_where_the_configuration_asks_for_it() {
    let mut account = Account::start(1).await;
    let read = &["elasticloadbalancing:DescribeTags"];
    account.handle().set_policy(Policy::documented().and(read));
    account.ensure(&service(|_| {})).await;
    let tagged = annotated(&[("additional-resource-tags", "team=a")]);
    account.restart_with("ReconcileLoadBalancerTags=true").await;
    account.handle().reset_calls();
    account.ensure(&tagged).await;
    assert_eq!(calls_about_tags(&account), (1, 1));
    account.ensure(&tagged).await;
    assert_eq!(calls_about_tags(&account), (1, 0));
    // Without the permission it is asked for once, and then done without.
    account.handle().set_policy(Policy::documented());
    account.ensure(&tagged).await;
    account.ensure(&tagged).await;
    assert_eq!(account.handle().counts()["ELB.DescribeTags"].failures["AccessDenied"], 1);
}

#[tokio::test]
async fn nodes_come_and_go() {
    let account = Account::start(2).await;
    let service = service(|_| {});
    account.ensure(&service).await;
    account.handle().add_instances(1);
    account.handle().reset_calls();
    let outcome = account.round(&service, true, Mode::Backends).await;
    assert_eq!(account.balancer()["instances"].as_array().unwrap().len(), 3);
    assert_eq!(outcome.changes.len(), 1);
    assert!(!account.reads().iter().any(|read| read.contains("Attributes") || read.contains("Subnets")));
    let gone = account.nodes()[0].metadata.name.clone().unwrap();
    account.handle().delete_instance(&gone);
    only(account.round(&service, true, Mode::Backends).await, &service);
    assert_eq!(account.balancer()["instances"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn nothing_is_left_after_removal() {
    let account = Account::start(2).await;
    let service = service(|_| {});
    account.ensure(&service).await;
    let outcome = account.remove(&service).await;
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    assert_eq!(outcome.state, ServiceState::Absent);
    assert_eq!(account.leftovers(), [""; 0]);
    account.handle().reset_calls();
    assert_eq!(account.remove(&service).await.state, ServiceState::Absent);
    assert_eq!(account.writes(), [""; 0]);
}

#[tokio::test]
async fn leftovers_go_also_when_somebody_removed_the_load_balancer() {
    let account = Account::start(2).await;
    let service = service(|_| {});
    account.ensure(&service).await;
    assert!(account.handle().remove_load_balancer(NAME));
    assert_eq!(account.remove(&service).await.state, ServiceState::Absent);
    assert_eq!(account.leftovers(), [""; 0]);
}

#[tokio::test]
async fn a_load_balancer_that_somebody_removed_comes_back() {
    let account = Account::start(2).await;
    let service = service(|_| {});
    account.ensure(&service).await;
    assert!(account.handle().remove_load_balancer(NAME));
    let outcome = only(account.round(&service, true, Mode::Backends).await, &service);
    assert!(outcome.error.unwrap().to_string().contains("not found"));
    account.ensure(&service).await;
    assert_eq!(account.balancer()["instances"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_group_that_is_still_held_is_waited_for() {
    let account = Account::start(1).await;
    let service = service(|_| {});
    account.ensure(&service).await;
    account.handle().adjust(|knobs| knobs.delays.groups_released_ms = 300);
    let outcome = account.remove(&service).await;
    assert_eq!(outcome.state, ServiceState::Unsettled);
    assert!(outcome.error.unwrap().retry_after().is_some());
    tokio::time::sleep(std::time::Duration::from_millis(350)).await;
    assert_eq!(account.remove(&service).await.state, ServiceState::Absent);
    assert_eq!(account.leftovers(), [""; 0]);
}

/// Upstream takes the element for granted and crashes.
#[tokio::test]
async fn an_answer_without_health_check_is_no_crash() {
    let account = Account::start(1).await;
    let service = service(|_| {});
    let element = Omission { action: "ELB.DescribeLoadBalancers".into(), element: "HealthCheck".into() };
    account.handle().adjust(|knobs| knobs.omissions.push(element));
    account.ensure(&service).await;
    account.handle().reset_calls();
    account.ensure(&service).await;
    assert_eq!(account.writes(), ["ConfigureHealthCheck ok"]);
}

#[tokio::test]
async fn other_groups_replace_the_own_one_and_it_comes_back() {
    let account = Account::start(1).await;
    account.ensure(&service(|_| {})).await;
    let own = account.own_group().unwrap();
    let default = "sg-0a1b2c3d4e5f60001";
    let other = annotated(&[("security-groups", default)]);
    account.ensure(&other).await;
    assert_eq!(account.balancer()["security_groups"], json!([default]));
    assert_eq!(account.own_group(), None);
    let rules = account.rules(NODE_GROUP);
    assert!(rules.iter().any(|rule| rule.contains(default)) && !rules.iter().any(|rule| rule.contains(&own)));
    account.handle().reset_calls();
    account.ensure(&other).await;
    assert_eq!(account.writes(), [""; 0]);
    account.ensure(&service(|_| {})).await;
    assert!(!account.rules(NODE_GROUP).iter().any(|rule| rule.contains(default)));
    account.ensure(&other).await;
    assert_eq!(account.remove(&other).await.state, ServiceState::Absent);
    assert_eq!(account.leftovers(), [""; 0]);
    assert!(!account.of_kind("security_groups")[default].is_null());
}

#[tokio::test]
async fn groups_of_nodes_stay_as_they_are_where_the_configuration_says_so() {
    let account = Account::with(1, "DisableSecurityGroupIngress=true", Policy::documented()).await;
    let service = service(|_| {});
    let before = account.rules(NODE_GROUP);
    account.ensure(&service).await;
    assert_eq!(account.rules(NODE_GROUP), before);
    assert_eq!(account.remove(&service).await.state, ServiceState::Absent);
}

#[tokio::test]
async fn a_full_group_of_nodes_is_a_quota_with_advice() {
    let account = Account::start(1).await;
    account.handle().fault(Fault::error("EC2.AuthorizeSecurityGroupIngress", "RulesPerSecurityGroupLimitExceeded"));
    let outcome = only(account.round(&service(|_| {}), true, Mode::Full).await, &service(|_| {}));
    let error = outcome.error.unwrap();
    assert_eq!(error.kind(), &cloud_provider::Kind::Quota);
    assert!(error.chain().contains("DisableSecurityGroupIngress"), "{}", error.chain());
}

/// Every single write fails once, in turn: the next rounds reach the same end, and nothing is left after removal.
#[tokio::test]
async fn a_failure_of_any_write_is_made_up_for() {
    let certificate = Seed::cluster(CLUSTER, 0).certificates[0].clone();
    let service = annotated(&[
        ("ssl-cert", &certificate),
        ("ssl-negotiation-policy", "ELBSecurityPolicy-2016-08"),
        ("proxy-protocol", "*"),
        ("connection-idle-timeout", "90"),
    ]);
    let account = Account::start(1).await;
    account.ensure(&service).await;
    let calls: BTreeSet<String> = account
        .handle()
        .calls()
        .into_iter()
        .filter(|call| !call.action.starts_with("Describe"))
        .map(|call| format!("{}.{}", call.service, call.action))
        .collect();
    let end = |account: &Account| {
        let mut balancer = account.balancer();
        for volatile in ["security_groups", "dns_name", "created", "instances"] {
            balancer[volatile] = Value::Null;
        }
        (balancer, account.rules(NODE_GROUP).len(), account.own_group().is_some())
    };
    let expected = end(&account);
    account.remove(&service).await;
    let removal = ["EC2.RevokeSecurityGroupIngress", "ELB.DeleteLoadBalancer", "EC2.DeleteSecurityGroup"];
    assert!(calls.len() >= 9, "{calls:?}");
    for call in &calls {
        account.handle().fault(Fault::error(call, "OperationNotPermitted").times(1));
        let outcome = only(account.round(&service, true, Mode::Full).await, &service);
        assert!(outcome.error.is_some(), "{call}");
        account.ensure(&service).await;
        assert_eq!(end(&account), expected, "{call}");
        assert_eq!(account.remove(&service).await.state, ServiceState::Absent, "{call}");
        assert_eq!(account.leftovers(), [""; 0], "{call}");
    }
    for call in calls.iter().map(String::as_str).chain(removal) {
        account.handle().fault(Fault::error(call, "OperationNotPermitted").times(1));
        only(account.round(&service, true, Mode::Full).await, &service);
        account.handle().fault(Fault::error(call, "OperationNotPermitted").times(1));
        let first = account.remove(&service).await;
        if first.state != ServiceState::Absent {
            assert!(first.error.is_some(), "{call}");
            account.handle().clear_faults();
            assert_eq!(account.remove(&service).await.state, ServiceState::Absent, "{call}");
        }
        account.handle().clear_faults();
        assert_eq!(account.leftovers(), [""; 0], "{call}");
    }
}

#[tokio::test]
async fn a_wrong_service_fails_before_anything_is_read() {
    let account = Account::start(1).await;
    let wrong = service(|s| s["spec"]["sessionAffinity"] = json!("ClientIP"));
    let outcome = only(account.round(&wrong, true, Mode::Full).await, &wrong);
    assert_eq!(outcome.error.unwrap().to_string(), "unsupported load balancer affinity: ClientIP");
    assert!(account.handle().calls().is_empty());
}

#[tokio::test]
async fn a_group_that_other_load_balancers_have_too_keeps_its_rule() {
    let global = "sg-0a1b2c3d4e5f60001";
    let account = Account::with(1, &format!("ElbSecurityGroup={global}"), Policy::documented()).await;
    let (one, two) = (
        service(|_| {}),
        service(|s| {
            s["metadata"]["uid"] = json!("99999999-2222-3333-4444-5555555555556666");
            s["metadata"]["name"] = json!("other");
        }),
    );
    account.ensure(&one).await;
    account.ensure(&two).await;
    let has_rule = || account.rules(NODE_GROUP).iter().any(|rule| rule.contains(global));
    assert_eq!(account.remove(&two).await.state, ServiceState::Absent);
    assert!(has_rule());
    assert_eq!(account.remove(&one).await.state, ServiceState::Absent);
    assert!(!has_rule());
    assert!(!account.of_kind("security_groups")[global].is_null());
}
