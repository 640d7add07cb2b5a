//! The official SDKs for Rust talk to the simulator as they talk to AWS.
#![expect(clippy::unwrap_used, reason = "a test may end with a panic")]

use aws_config::{
    BehaviorVersion, Region, SdkConfig,
    imds::{self, credentials::ImdsCredentialsProvider},
    retry::RetryConfig,
};
use aws_credential_types::{Credentials, provider::ProvideCredentials as _};
use aws_sdk_ec2::{error::ProvideErrorMetadata, types as compute};
use aws_sdk_elasticloadbalancing::types as classic;
use aws_sdk_elasticloadbalancingv2::types as network;
use cloud_provider_aws_simulator::{ACCESS_KEY, Fault, Omission, Options, Policy, SECRET_KEY, Seed, Simulator};

async fn start(nodes: usize) -> Simulator {
    let options = Options { seed: Seed::cluster("demo", nodes), policy: Policy::all(), ..Options::default() };
    Simulator::start(options).await.unwrap()
}

/// One attempt for each call, so that refusals are seen and counted.
async fn config(simulator: &Simulator, credentials: Credentials) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(simulator.url())
        .retry_config(RetryConfig::standard().with_max_attempts(1))
        .credentials_provider(credentials)
        .load()
        .await
}

fn known() -> Credentials {
    Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "test")
}

#[track_caller]
fn code<T: std::fmt::Debug, E: ProvideErrorMetadata>(result: Result<T, E>) -> String {
    result.map_err(|error| error.code().unwrap_or_default().to_owned()).unwrap_err()
}

fn tag(key: &str, value: &str) -> compute::Tag {
    compute::Tag::builder().key(key).value(value).build()
}

#[tokio::test]
async fn ec2_client_reads_instances_and_writes_groups() {
    let simulator = start(1200).await;
    let client = aws_sdk_ec2::Client::new(&config(&simulator, known()).await);
    let mut pages = client.describe_instances().max_results(1000).into_paginator().send();
    let mut instances = Vec::new();
    while let Some(page) = pages.next().await {
        instances.extend(page.unwrap().reservations.unwrap().into_iter().flat_map(|each| each.instances.unwrap()));
    }
    assert_eq!(instances.len(), 1201);
    assert_eq!(simulator.handle().count("EC2.DescribeInstances"), 2);
    let node = instances.iter().find(|node| node.private_dns_name() == Some("ip-10-0-0-4.ec2.internal")).unwrap();
    assert_eq!(node.state().unwrap().name(), Some(&compute::InstanceStateName::Running));
    assert_eq!(node.placement().unwrap().availability_zone(), Some("us-east-1a"));
    let interface = &node.network_interfaces()[0];
    assert_eq!(interface.attachment().unwrap().device_index(), Some(0));
    assert_eq!(interface.private_ip_addresses()[0].private_ip_address(), Some("10.0.0.4"));
    assert_eq!(node.security_groups()[0].group_name(), Some("demo-nodes"));

    let unknown = client.describe_instances().instance_ids("i-00000000000000001").send().await;
    assert_eq!(code(unknown), "InvalidInstanceID.NotFound");
    let zones = client.describe_availability_zones().send().await.unwrap();
    assert_eq!(zones.availability_zones()[2].zone_id(), Some("use1-az3"));

    let tags = compute::TagSpecification::builder()
        .resource_type(compute::ResourceType::SecurityGroup)
        .tags(tag("kubernetes.io/cluster/demo", "owned"));
    let vpc = node.vpc_id().unwrap();
    let group = client.create_security_group().group_name("k8s-elb-a1").description("test").vpc_id(vpc);
    let group = group.tag_specifications(tags.build()).send().await.unwrap().group_id.unwrap();
    let range = compute::IpRange::builder().cidr_ip("0.0.0.0/0").description("anyone").build();
    let permission =
        compute::IpPermission::builder().ip_protocol("tcp").from_port(80).to_port(80).ip_ranges(range).build();
    let authorize = client.authorize_security_group_ingress().group_id(&group).ip_permissions(permission);
    authorize.clone().send().await.unwrap();
    assert_eq!(code(authorize.send().await), "InvalidPermission.Duplicate");
    let filter = compute::Filter::builder().name("group-name").values("k8s-elb-a1").build();
    let found = client.describe_security_groups().filters(filter).send().await.unwrap().security_groups.unwrap();
    assert_eq!(found[0].ip_permissions()[0].ip_ranges()[0].description(), Some("anyone"));
    assert_eq!(found[0].tags(), [tag("kubernetes.io/cluster/demo", "owned")]);
    client.delete_security_group().group_id(&group).send().await.unwrap();

    let table = client.describe_route_tables().send().await.unwrap().route_tables.unwrap().remove(0);
    let id = table.route_table_id().unwrap();
    let route = client.create_route().route_table_id(id).destination_cidr_block("100.64.0.0/24");
    route.instance_id(node.instance_id().unwrap()).send().await.unwrap();
    client.create_tags().resources(id).tags(tag("a", "b")).send().await.unwrap();
    let read = client.describe_route_tables().route_table_ids(id).send().await.unwrap().route_tables.unwrap();
    assert!(read[0].routes().iter().any(|route| route.state() == Some(&compute::RouteState::Active)));
    assert!(read[0].tags().contains(&tag("a", "b")));
}

#[tokio::test]
async fn classic_client_makes_and_removes_a_load_balancer() {
    let simulator = start(2).await;
    let client = aws_sdk_elasticloadbalancing::Client::new(&config(&simulator, known()).await);
    let listener = classic::Listener::builder().protocol("tcp").load_balancer_port(80).instance_port(30080);
    let create = client
        .create_load_balancer()
        .load_balancer_name("a1")
        .listeners(listener.build().unwrap())
        .subnets("subnet-0a1b2c3d4e5f61001")
        .tags(classic::Tag::builder().key("kubernetes.io/service-name").value("default/web").build().unwrap());
    let dns = create.send().await.unwrap().dns_name.unwrap();
    for id in simulator.handle().instance_ids() {
        let instance = classic::Instance::builder().instance_id(id).build();
        let register = client.register_instances_with_load_balancer().load_balancer_name("a1");
        register.instances(instance).send().await.unwrap();
    }
    let attributes = classic::LoadBalancerAttributes::builder()
        .connection_settings(classic::ConnectionSettings::builder().idle_timeout(90).build().unwrap())
        .build();
    let modify = client.modify_load_balancer_attributes().load_balancer_name("a1").load_balancer_attributes(attributes);
    modify.send().await.unwrap();
    let read = |client: &aws_sdk_elasticloadbalancing::Client| {
        client.describe_load_balancers().load_balancer_names("a1").send()
    };
    let found = read(&client).await.unwrap().load_balancer_descriptions.unwrap().remove(0);
    assert_eq!(found.dns_name(), Some(dns.as_str()));
    assert_eq!(found.instances().len(), 3);
    assert_eq!(found.health_check().unwrap().target(), "TCP:30080");
    assert_eq!(found.listener_descriptions()[0].listener().unwrap().protocol(), "TCP");

    let omission = Omission { action: "ELB.DescribeLoadBalancers".into(), element: "HealthCheck".into() };
    simulator.handle().adjust(|knobs| knobs.omissions.push(omission));
    let found = read(&client).await.unwrap().load_balancer_descriptions.unwrap().remove(0);
    assert!(found.health_check().is_none(), "as moto answers");

    client.delete_load_balancer().load_balancer_name("a1").send().await.unwrap();
    assert_eq!(code(read(&client).await), "LoadBalancerNotFound");
}

#[tokio::test]
async fn network_client_makes_and_removes_a_load_balancer() {
    let simulator = start(3).await;
    simulator.handle().adjust(|knobs| knobs.delays.provisioning_ms = 300);
    let client = aws_sdk_elasticloadbalancingv2::Client::new(&config(&simulator, known()).await);
    let mapping = network::SubnetMapping::builder().subnet_id("subnet-0a1b2c3d4e5f61001").build();
    let create = client
        .create_load_balancer()
        .name("n1")
        .r#type(network::LoadBalancerTypeEnum::Network)
        .subnet_mappings(mapping)
        .set_security_groups(Some(Vec::new()))
        .tags(network::Tag::builder().key("a").value("b").build());
    let made = create.send().await.unwrap().load_balancers.unwrap().remove(0);
    assert_eq!(made.state().unwrap().code(), Some(&network::LoadBalancerStateEnum::Provisioning));
    let arn = made.load_balancer_arn().unwrap();
    let group = client
        .create_target_group()
        .name("t1")
        .protocol(network::ProtocolEnum::Tcp)
        .port(30080)
        .vpc_id(made.vpc_id().unwrap())
        .health_check_protocol(network::ProtocolEnum::Http)
        .health_check_path("/healthz");
    let group = group.send().await.unwrap().target_groups.unwrap().remove(0);
    let group_arn = group.target_group_arn().unwrap();
    let mut register = client.register_targets().target_group_arn(group_arn);
    for id in simulator.handle().instance_ids() {
        register = register.targets(network::TargetDescription::builder().id(id).port(30080).build());
    }
    register.send().await.unwrap();
    let forward = network::Action::builder().r#type(network::ActionTypeEnum::Forward).target_group_arn(group_arn);
    let listener = client
        .create_listener()
        .load_balancer_arn(arn)
        .protocol(network::ProtocolEnum::Tcp)
        .port(80)
        .default_actions(forward.build());
    listener.clone().send().await.unwrap();
    assert_eq!(code(listener.protocol(network::ProtocolEnum::TcpUdp).send().await), "IncompatibleProtocols");
    let health = client.describe_target_health().target_group_arn(group_arn).send().await.unwrap();
    assert_eq!(health.target_health_descriptions().len(), 4);
    let groups = client.describe_target_groups().load_balancer_arn(arn).send().await.unwrap().target_groups.unwrap();
    assert_eq!(groups[0].load_balancer_arns(), [arn]);
    assert_eq!(code(client.delete_target_group().target_group_arn(group_arn).send().await), "ResourceInUse");
    tokio::time::sleep(std::time::Duration::from_millis(350)).await;
    let read = client.describe_load_balancers().names("n1").send().await.unwrap().load_balancers.unwrap().remove(0);
    assert_eq!(read.state().unwrap().code(), Some(&network::LoadBalancerStateEnum::Active));
    client.delete_load_balancer().load_balancer_arn(arn).send().await.unwrap();
    client.delete_target_group().target_group_arn(group_arn).send().await.unwrap();
    assert_eq!(code(client.describe_load_balancers().names("n1").send().await), "LoadBalancerNotFound");
}

#[tokio::test]
async fn credentials_of_sts_and_of_the_metadata_service_are_good() {
    let simulator = start(0).await;
    let sts = aws_sdk_sts::Client::new(&config(&simulator, known()).await);
    let role = "arn:aws:iam::123456789012:role/demo-control-plane";
    let assumed = sts.assume_role().role_arn(role).role_session_name("test").send().await.unwrap().credentials.unwrap();
    let web = sts.assume_role_with_web_identity().role_arn(role).role_session_name("web");
    let web = web.web_identity_token("head.claims.signature").send().await.unwrap().credentials.unwrap();
    let mut all: Vec<(Credentials, &str)> = [(assumed, "test"), (web, "web")]
        .into_iter()
        .map(|(made, session)| {
            let token = Some(made.session_token);
            (Credentials::new(made.access_key_id, made.secret_access_key, token, None, "sts"), session)
        })
        .collect();

    let metadata = imds::Client::builder().endpoint(simulator.url()).unwrap().build();
    for (path, expected) in [
        ("/latest/meta-data/instance-id", "i-0a1b2c3d4e5f60001"),
        ("/latest/meta-data/placement/region", "us-east-1"),
        ("/latest/meta-data/placement/availability-zone", "us-east-1a"),
    ] {
        assert_eq!(metadata.get(path).await.unwrap().as_ref(), expected, "{path}");
    }
    let document = metadata.get("/latest/dynamic/instance-identity/document").await.unwrap();
    assert!(document.as_ref().contains("\"region\": \"us-east-1\""), "{}", document.as_ref());
    let of_role = ImdsCredentialsProvider::builder().imds_client(metadata).build();
    all.push((of_role.provide_credentials().await.unwrap(), "i-0a1b2c3d4e5f60001"));

    for (credentials, session) in all {
        let sts = aws_sdk_sts::Client::new(&config(&simulator, credentials).await);
        let arn = sts.get_caller_identity().send().await.unwrap().arn.unwrap();
        assert_eq!(arn, format!("arn:aws:sts::123456789012:assumed-role/demo-control-plane/{session}"));
    }
}

#[tokio::test]
async fn wrong_keys_are_refused_as_each_service_does() {
    let simulator = start(0).await;
    let wrong_secret = config(&simulator, Credentials::new(ACCESS_KEY, "wrong", None, None, "test")).await;
    let unknown = config(&simulator, Credentials::new("AKIANOBODY", SECRET_KEY, None, None, "test")).await;
    for config in [&wrong_secret, &unknown] {
        assert_eq!(code(aws_sdk_ec2::Client::new(config).describe_vpcs().send().await), "AuthFailure");
    }
    let client = aws_sdk_elasticloadbalancing::Client::new(&wrong_secret);
    assert_eq!(code(client.describe_load_balancers().send().await), "SignatureDoesNotMatch");
    let client = aws_sdk_elasticloadbalancingv2::Client::new(&unknown);
    assert_eq!(code(client.describe_load_balancers().send().await), "InvalidClientTokenId");
    simulator.handle().remove_credential(ACCESS_KEY);
    let client = aws_sdk_sts::Client::new(&config(&simulator, known()).await);
    assert_eq!(code(client.get_caller_identity().send().await), "InvalidClientTokenId");
}

#[tokio::test]
async fn client_retries_what_aws_means_to_be_retried() {
    let simulator = start(0).await;
    let config = config(&simulator, known()).await;
    let retry = RetryConfig::standard().with_max_attempts(3).with_initial_backoff(std::time::Duration::from_millis(5));
    let config = config.into_builder().retry_config(retry).build();
    let client = aws_sdk_ec2::Client::new(&config);
    let handle = simulator.handle();
    for fault in [
        Fault::error("EC2.DescribeVpcs", "RequestLimitExceeded"),
        Fault::error("EC2.DescribeVpcs", "InternalError"),
        Fault::lost_answer("EC2.DescribeVpcs"),
    ] {
        handle.reset_calls();
        handle.fault(fault.clone().times(2));
        client.describe_vpcs().send().await.unwrap();
        assert_eq!(handle.count("EC2.DescribeVpcs"), 3, "{fault:?}");
    }
    handle.fault(Fault::error("EC2.DescribeVpcs", "InvalidParameterValue").times(1));
    handle.reset_calls();
    assert_eq!(code(client.describe_vpcs().send().await), "InvalidParameterValue");
    assert_eq!(handle.count("EC2.DescribeVpcs"), 1);
}
