//! What the account has to grant for each feature: what its calls needed. The page of permissions is made of that.

use std::{collections::BTreeSet, fmt::Write as _, net::Ipv4Addr, path::Path, sync::Arc};

use cloud_provider::{
    cloud::{
        Freshness, LoadBalancers as _, Mode, Routes as _, Scope, Volumes as _,
        routes::{Change, Creation},
    },
    cluster::objects::{Node, Object, Service},
};
use cloud_provider_aws::{client::Role, load_balancer::ElasticLoadBalancers, routes::Ec2Routes, volumes::EbsVolumes};
use cloud_provider_aws_simulator::{
    DOCUMENTED, Omission, Options, Policy, Seed, Simulator,
    model::{NetworkInterface, Volume},
};
use cloud_provider_testing::reference;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::{
    ecr,
    support::{Cluster, Setup, is_present, metadata_of, node},
    tagging::Bench,
};

type Actions = BTreeSet<String>;

async fn cluster(seed: Seed, config: &'static str, role: Option<Role>) -> Cluster {
    Cluster::with(Setup { seed, config, role, policy: Policy::all() }).await
}

async fn started() -> Cluster {
    cluster(Seed::cluster("demo", 3), "", None).await
}

async fn nodes() -> Actions {
    let cluster = started().await;
    for nodes in [cluster.nodes_by_id(), cluster.nodes_by_name()] {
        assert!(cluster.state(&nodes, Freshness::Live).await.iter().all(is_present));
        cluster.metadata(&nodes).await.iter().for_each(|answer| drop(metadata_of(answer).clone()));
    }
    let needed = cluster.handle.permissions();
    // Where instances do not say the ID of their zone, the zones are read.
    let cluster = started().await;
    let omission = Omission { action: "EC2.DescribeInstances".into(), element: "availabilityZoneId".into() };
    cluster.handle.adjust(|knobs| knobs.omissions = vec![omission]);
    cluster.metadata(&cluster.nodes_by_id()).await.iter().for_each(|answer| drop(metadata_of(answer).clone()));
    &needed | &cluster.handle.permissions()
}

async fn fargate() -> Actions {
    let mut seed = Seed::cluster("demo", 1);
    let subnet = seed.subnets[0].id.clone();
    seed.network_interfaces.push(NetworkInterface::new("eni-1", &subnet, Ipv4Addr::new(10, 0, 7, 7)));
    let cluster = cluster(seed, "", None).await;
    let node = node("f", Some("aws:///us-east-1a/1abc-2def/fargate-ip-10-0-7-7.ec2.internal"));
    metadata_of(&cluster.metadata(&[node]).await[0]);
    cluster.handle.permissions()
}

async fn role() -> Actions {
    let simulator = Simulator::start(Options { policy: Policy::all(), ..Options::default() }).await.unwrap();
    let role = Role {
        arn: "arn:aws:iam::123456789012:role/demo-control-plane".into(),
        account: "123456789012".into(),
        source_arn: None,
    };
    let settings = crate::support::settings(&simulator.url(), "us-east-1", Some(role));
    let credentials = Some(crate::support::credentials());
    let gate = cloud_provider::cloud::Gate::open();
    let metrics = cloud_provider::metrics::Metrics::new();
    let client = cloud_provider_aws::client::Client::with_credentials(&settings, credentials, gate, &metrics).await;
    client.availability_zones().await.unwrap();
    let own = |action: &String| action.starts_with("sts:");
    simulator.handle().permissions().into_iter().filter(own).collect()
}

async fn routes() -> Actions {
    let cluster = cluster(Seed::cluster("demo", 2), "[Global]\nRouteTableID=rtb-0a1b2c3d4e5f60002\n", None).await;
    let routes = Ec2Routes::new(&cluster.environment, Arc::new(cluster.environment.instances()));
    let nodes = cluster.nodes_by_id();
    let creation = Creation { node: nodes[0].clone(), destination: "10.200.1.0/24".parse().unwrap() };
    assert!(routes.apply(&[Change::Create(creation)]).await.iter().all(Result::is_ok));
    let listed = routes.list(&nodes).await.unwrap();
    assert!(routes.apply(&[Change::Delete(listed[0].clone())]).await.iter().all(Result::is_ok));
    cluster.handle.permissions()
}

async fn volumes() -> Actions {
    let cluster = started().await;
    cluster.handle.add_volume(Volume::new("vol-1", "us-east-1a"));
    let volume = json!({"metadata": {"name": "pv"}, "spec": {"awsElasticBlockStore": {"volumeID": "vol-1"}}});
    let volume = Arc::new(serde_json::from_value(volume).unwrap());
    let located = EbsVolumes::new(cluster.environment.client.clone()).locate(&[volume]).await;
    assert!(located[0].as_ref().unwrap().is_some());
    cluster.handle.permissions()
}

async fn tagging() -> Actions {
    let mut bench = Bench::new(1).await;
    let ids = bench.create_workers().await;
    bench.nodes.synced().await;
    bench.cluster.handle.reset_calls();
    let controller = bench.controller(&[("key", "value")]);
    let _token = bench.run(controller);
    bench.until("the instance is tagged", |_| bench.tag(&ids[0], "key").is_some()).await;
    bench.api().delete(&format!("node-of-{}", ids[0]), &DeleteParams::default()).await.unwrap();
    bench.until("the tag goes", |_| bench.tag(&ids[0], "key").is_none()).await;
    bench.cluster.handle.permissions()
}

async fn images() -> Actions {
    let simulator = Simulator::start(Options { policy: Policy::all(), ..Options::default() }).await.unwrap();
    let image = "123456789012.dkr.ecr.us-east-1.amazonaws.com/app";
    ecr::ask(&simulator, &json!({"image": image})).await.auth("123456789012.dkr.ecr.us-east-1.amazonaws.com");
    simulator.handle().permissions()
}

async fn public_images() -> Actions {
    let simulator = Simulator::start(Options { policy: Policy::all(), ..Options::default() }).await.unwrap();
    ecr::ask(&simulator, &json!({"image": "public.ecr.aws/nginx"})).await.auth("public.ecr.aws");
    simulator.handle().permissions()
}

/// What `audit` reads: the resources of services of both kinds, and routes.
async fn audit() -> Actions {
    let config = "[Global]\nNLBSecurityGroupMode = Managed\nRouteTableID = rtb-0a1b2c3d4e5f60002\n";
    let cluster = cluster(Seed::cluster("demo", 2), config, None).await;
    let balancers = ElasticLoadBalancers::new(&cluster.environment);
    for (kind, uid) in [("", "11111111-2222-3333-4444-555555555555"), ("nlb", "66666666-7777-8888-9999-000000000000")] {
        let service = json!({
            "metadata": {
                "name": format!("web{kind}"), "namespace": "default", "uid": uid,
                "annotations": {"service.beta.kubernetes.io/aws-load-balancer-type": kind},
            },
            "spec": {"type": "LoadBalancer", "ports": ports(&[(80, 30080)])},
        });
        let service: Service = serde_json::from_value(service).unwrap();
        let (id, nodes) = (balancers.scope(&service), cluster.nodes_by_id().into());
        let wanted = vec![Arc::new(service)];
        let scope = Scope { id, cluster_name: "kubernetes".into(), wanted, unwanted: vec![], nodes };
        let outcome = balancers.sync(&scope, Mode::Full).await;
        assert!(outcome.services.values().all(|service| service.error.is_none()), "{outcome:?}");
    }
    cluster.handle.reset_calls();
    assert_eq!(balancers.owned("kubernetes").await.unwrap().unwrap().len(), 5);
    Ec2Routes::new(&cluster.environment, Arc::new(cluster.environment.instances())).list(&[]).await.unwrap();
    cluster.handle.permissions()
}

/// A service through its life: with each of these sets of annotations and these changes of its spec, with fewer nodes, and
/// without its load balancer.
async fn services(cluster: &Cluster, steps: &[(Value, Value)]) -> Actions {
    let balancers = ElasticLoadBalancers::new(&cluster.environment);
    let nodes = cluster.nodes_by_id();
    let round = async |service: &Service, nodes: &[Arc<Node>], wanted: bool, mode| {
        let id = balancers.scope(service);
        let service = vec![Arc::new(service.clone())];
        let (wanted, unwanted) = if wanted { (service, vec![]) } else { (vec![], service) };
        let scope = Scope { id, cluster_name: "kubernetes".into(), wanted, unwanted, nodes: nodes.into() };
        let outcome = balancers.sync(&scope, mode).await;
        for result in outcome.services.values() {
            assert!(result.error.is_none(), "{outcome:?}");
        }
    };
    let mut last = Service::default();
    for (annotations, spec) in steps {
        let annotations: serde_json::Map<_, _> = annotations
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, value)| (format!("service.beta.kubernetes.io/aws-load-balancer-{key}"), value.clone()))
            .collect();
        let mut service = json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "11111111-2222-3333-4444-555555555555", "annotations": annotations},
            "spec": {"type": "LoadBalancer", "sessionAffinity": "None", "externalTrafficPolicy": "Cluster"},
        });
        service["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        last = serde_json::from_value(service).unwrap();
        assert!(!last.key().name.is_empty());
        round(&last, &nodes, true, Mode::Full).await;
    }
    round(&last, &nodes[..1], true, Mode::Backends).await;
    round(&last, &nodes, true, Mode::Backends).await;
    round(&last, &nodes, false, Mode::Full).await;
    cluster.handle.permissions()
}

fn ports(ports: &[(i32, i32)]) -> Value {
    let port = |&(port, node): &(i32, i32)| json!({"name": format!("p{port}"), "protocol": "TCP", "port": port, "nodePort": node});
    ports.iter().map(port).collect()
}

fn certificate() -> String {
    Seed::cluster("demo", 0).certificates.remove(0)
}

async fn classic() -> Actions {
    let cluster = started().await;
    let subnets: Vec<String> = Seed::cluster("demo", 0).subnets.into_iter().map(|subnet| subnet.id).collect();
    let one = json!({"ports": ports(&[(80, 30080)])});
    let two = json!({"ports": ports(&[(80, 30080), (443, 30443)]), "loadBalancerSourceRanges": ["192.0.2.0/24"]});
    let rich = json!({
        "proxy-protocol": "*", "ssl-cert": certificate(), "ssl-ports": "443",
        "ssl-negotiation-policy": "ELBSecurityPolicy-TLS-1-2-2017-01", "cross-zone-load-balancing-enabled": "true",
        "connection-draining-enabled": "true", "healthcheck-interval": "20", "additional-resource-tags": "a=b",
    });
    let foreign = json!({"security-groups": "sg-0a1b2c3d4e5f60001", "subnets": subnets[0]});
    let steps = [(json!({}), one.clone()), (rich, two), (foreign, one.clone()), (json!({}), one)];
    services(&cluster, &steps).await
}

async fn network_with(config: &'static str, more: &[Value]) -> Actions {
    network_in(Seed::cluster("demo", 3), config, more).await
}

async fn network_in(seed: Seed, config: &'static str, more: &[Value]) -> Actions {
    let cluster = cluster(seed, config, None).await;
    let one = json!({"ports": ports(&[(80, 30080)])});
    let two = json!({"ports": ports(&[(80, 30080), (443, 30443)]), "loadBalancerSourceRanges": ["192.0.2.0/24"]});
    let rich = json!({
        "ssl-cert": certificate(), "ssl-ports": "443", "cross-zone-load-balancing-enabled": "true",
        "healthcheck-healthy-threshold": "5", "additional-resource-tags": "a=b",
    });
    let other = json!({"healthcheck-protocol": "http"});
    let plain = json!({});
    let steps = [(&plain, &one), (&rich, &two), (&rich, &one), (&other, &one), (&plain, &one)];
    let steps = steps.into_iter().chain(more.iter().map(|annotations| (annotations, &one)));
    let network = |annotations: &Value| {
        let mut annotations = annotations.clone();
        annotations["type"] = json!("nlb");
        annotations
    };
    let steps: Vec<(Value, Value)> = steps.map(|(annotations, spec)| (network(annotations), spec.clone())).collect();
    services(&cluster, &steps).await
}

async fn network() -> Actions {
    network_with("", &[]).await
}

async fn managed_groups() -> Actions {
    let foreign = json!({"security-groups": "sg-0a1b2c3d4e5f60001"});
    network_with("[Global]\nNLBSecurityGroupMode = Managed\n", &[foreign, json!({})]).await
}

async fn target_group_attributes() -> Actions {
    network_with("", &[json!({"target-group-attributes": "proxy_protocol_v2.enabled=true"})]).await
}

async fn subnets() -> Actions {
    let first = json!({"subnets": Seed::cluster("demo", 0).subnets[0].id});
    network_with("[Global]\nReconcileLoadBalancerSubnets = true\n", &[first]).await
}

async fn extensions() -> Actions {
    let mut seed = Seed::cluster("demo", 3);
    for (subnet, number) in seed.subnets.iter_mut().zip(0..) {
        subnet.ipv6_cidr = Some(format!("2001:db8:0:{number}::/64").parse().unwrap());
    }
    let more = json!({"ip-address-type": "dualstack", "proxy-protocol": "*", "healthcheck-timeout": "5"});
    network_in(seed, "[Global]\nNLBExtensions = true\n", &[more]).await
}

async fn tags_read() -> Actions {
    let config = "[Global]\nReconcileLoadBalancerTags = true\n";
    let network = network_with(config, &[json!({"additional-resource-tags": "a=c"})]).await;
    &classic_tags_read().await | &network
}

async fn classic_tags_read() -> Actions {
    let cluster = cluster(Seed::cluster("demo", 3), "[Global]\nReconcileLoadBalancerTags = true\n", None).await;
    let one = json!({"ports": ports(&[(80, 30080)])});
    services(&cluster, &[(json!({}), one.clone()), (json!({"additional-resource-tags": "a=b"}), one)]).await
}

/// A feature, what turns it on, and what it takes.
struct Feature {
    name: &'static str,
    about: &'static str,
    actions: Actions,
    /// Whether a default start takes it, so that upstream's documented policy has to suffice.
    by_default: bool,
}

async fn features() -> Vec<Feature> {
    let feature = |name, about, by_default, actions| Feature { name, about, actions, by_default };
    let all_network = network().await;
    let beyond = |actions: Actions| actions.difference(&all_network).cloned().collect::<Actions>();
    let classic_actions = classic().await;
    vec![
        feature(
            "Nodes",
            "always. `ec2:DescribeInstanceTopology` may be missing: nodes go without topology labels then",
            true,
            Box::pin(nodes()).await,
        ),
        feature(
            "Classic load balancers",
            "services without the annotation `aws-load-balancer-type`",
            true,
            classic_actions.clone(),
        ),
        feature("Network load balancers", "services with `aws-load-balancer-type: nlb`", true, all_network.clone()),
        feature("Routes", "unless `--configure-cloud-routes=false`", true, routes().await),
        feature("Nodes on Fargate", "nodes with provider IDs `…/fargate-…`", false, fargate().await),
        feature(
            "Security groups of network load balancers",
            "`NLBSecurityGroupMode = Managed`; besides what network load balancers take",
            false,
            beyond(managed_groups().await),
        ),
        feature(
            "Attributes of target groups",
            "the annotation `aws-load-balancer-target-group-attributes`; besides what network load balancers take",
            false,
            beyond(target_group_attributes().await),
        ),
        feature(
            "Tags of load balancers",
            "`ReconcileLoadBalancerTags = true`; besides what load balancers take",
            false,
            tags_read().await.difference(&(&classic_actions | &all_network)).cloned().collect(),
        ),
        feature(
            "Subnets of network load balancers",
            "`ReconcileLoadBalancerSubnets = true`; besides what network load balancers take",
            false,
            beyond(subnets().await),
        ),
        feature(
            "Extensions of network load balancers",
            "`NLBExtensions = true`; besides what network load balancers take. `SetIpAddressType` is for two IP families",
            false,
            beyond(extensions().await),
        ),
        feature("Tagging controller", "`--controllers=*,tagging`", false, Box::pin(tagging()).await),
        feature(
            "Labels of persistent volumes",
            "`--controllers=*,pvlabel` or `--webhooks=pvlabel`",
            false,
            volumes().await,
        ),
        feature(
            "Audit",
            "`audit` in front of the flags. It is run by an operator: these permissions are for the credentials that it runs with",
            false,
            audit().await,
        ),
        feature("Another role", "`RoleARN`: what the machine needs; the role needs all the rest", false, role().await),
        feature("Images", "`ecr-credential-provider` on nodes", false, images().await),
        feature(
            "Images of the public registry",
            "`ecr-credential-provider` for `public.ecr.aws`, where anonymous pulls do not suffice",
            false,
            public_images().await,
        ),
    ]
}

fn page(features: &[Feature]) -> String {
    let mut page = String::from(
        "<!-- Generated by cloud-provider-aws/tests/provider/permissions.rs from the calls of each feature; see CONTRIBUTING.md. -->\n\n\
         # AWS permissions\n\n\
         What each feature calls, and nothing else: the lists are what the simulator's IAM was asked while a test went through\n\
         the life of the feature. Upstream's documented policy for control planes holds all that a default start needs; the\n\
         features below that go past it name what to add. `Resource` is `*`; conditions on the cluster's tags work as with\n\
         upstream.\n\n",
    );
    let row = |feature: &Feature| {
        let missing: Vec<String> = feature
            .actions
            .iter()
            .filter(|action| !DOCUMENTED.contains(&action.as_str()))
            .map(|action| format!("`{action}`"))
            .collect();
        [feature.name.to_owned(), feature.about.to_owned(), missing.join(", ")]
    };
    page += &reference::table(["feature", "when", "not in upstream's documented policy"], features.iter().map(row));
    let union =
        features.iter().filter(|feature| feature.by_default).flat_map(|feature| &feature.actions).cloned().collect();
    _ = writeln!(page, "\n## All that is on by default\n\n{}", document(&union));
    for feature in features {
        _ = writeln!(page, "\n## {}\n\nWhen: {}.\n\n{}", feature.name, feature.about, document(&feature.actions));
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

fn document(actions: &Actions) -> String {
    let actions: Vec<String> = actions.iter().map(|action| format!("      {action:?}")).collect();
    let actions = actions.join(",\n");
    format!(
        "```json\n{{\n  \"Version\": \"2012-10-17\",\n  \"Statement\": [{{\n    \"Effect\": \"Allow\",\n    \"Action\": [\n{actions}\n    ],\n    \"Resource\": \"*\"\n  }}]\n}}\n```"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permissions_are_those_that_calls_need_and_the_documented_ones_suffice_by_default() {
    let features = Box::pin(features()).await;
    for feature in &features {
        assert!(!feature.actions.is_empty(), "{} calls nothing", feature.name);
        let foreign: Vec<_> = feature.actions.iter().filter(|action| !DOCUMENTED.contains(&action.as_str())).collect();
        assert!(!feature.by_default || foreign.is_empty(), "{}: {foreign:?}", feature.name);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/aws-permissions.md");
    reference::check(&path, &page(&features)).unwrap();
}
