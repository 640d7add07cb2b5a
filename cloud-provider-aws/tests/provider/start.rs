//! Finding out where the controller runs, credentials and endpoints.

use std::sync::Arc;

use crate::support::{Cluster, Setup, credentials, is_present, settings};
use cloud_provider::{
    Kind,
    cloud::{Freshness, Gate},
    metrics::Metrics,
};
use cloud_provider_aws::{
    Environment,
    client::{Client, Endpoint, Imds, Role},
    config,
};
use cloud_provider_aws_simulator::{Fault, Options, Policy, Seed, Simulator};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

async fn environment(simulator: &Simulator, config: &str) -> Result<Environment, cloud_provider::Error> {
    let settings = settings(&simulator.url(), "us-east-1", None);
    let client = Client::with_credentials(&settings, Some(credentials()), Gate::open(), &Metrics::new()).await;
    let imds = Imds::new(settings.endpoints.imds.as_ref());
    Environment::with_client(config::parse(Some(config)).unwrap().0, client, &imds, Arc::from("kubernetes")).await
}

#[tokio::test]
async fn on_the_cluster_everything_comes_from_our_own_instance() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let found = environment(&simulator, "").await.unwrap();
    assert_eq!((found.vpc.as_str(), found.cluster_id.as_str()), ("vpc-0a1b2c3d4e5f60001", "demo"));
    assert!(found.subnet.is_some());
    let imds = Imds::new(settings(&simulator.url(), "", None).endpoints.imds.as_ref());
    assert_eq!(imds.region().await.unwrap(), "us-east-1");
}

#[tokio::test]
async fn off_the_cluster_nothing_is_asked() {
    let simulator = Simulator::start(Options { seed: Seed::empty("us-east-1"), ..Options::default() }).await.unwrap();
    let config = "[Global]\nVPC=vpc-9\nSubnetID=subnet-9\nKubernetesClusterTag=legacy";
    let found = environment(&simulator, config).await.unwrap();
    assert_eq!((found.vpc.as_str(), found.subnet.as_deref()), ("vpc-9", Some("subnet-9")));
    assert!(found.cluster_id.uses_legacy_tag() && found.cluster_id.as_str() == "legacy");
    assert!(simulator.handle().counts().is_empty());
}

#[tokio::test]
async fn without_a_cluster_id_there_is_no_start() {
    let mut seed = Seed::default();
    seed.instances[0].tags.clear();
    let simulator = Simulator::start(Options { seed, ..Options::default() }).await.unwrap();
    let error = environment(&simulator, "").await.unwrap_err();
    assert_eq!(error.chain(), "AWS cloud failed to find ClusterID");
}

#[tokio::test]
async fn credentials_of_the_instance_profile_come_from_the_metadata_service() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let settings = settings(&simulator.url(), "us-east-1", None);
    // Credentials in the environment of whoever runs this test come first in the chain.
    if std::env::var_os("AWS_ACCESS_KEY_ID").is_some() || std::env::var_os("AWS_PROFILE").is_some() {
        return;
    }
    let client = Client::new(&settings, Gate::open(), &Metrics::new()).await.unwrap();
    assert_eq!(client.availability_zones().await.unwrap().len(), 3);
}

fn role(arn: &str) -> Option<Role> {
    Some(Role { arn: arn.into(), account: "123456789012".into(), source_arn: Some("arn:aws:eks:c".into()) })
}

#[tokio::test]
async fn a_role_is_taken_on_once_for_many_calls() {
    let role = role("arn:aws:iam::123456789012:role/demo-control-plane");
    let cluster = Cluster::with(Setup { role, policy: Policy::all(), ..Setup::default() }).await;
    for _ in 0..5 {
        assert!(cluster.state(&cluster.nodes_by_id(), Freshness::Live).await.iter().all(is_present));
    }
    // The one call was made for our own instance, before the log was emptied.
    assert_eq!(cluster.count("STS.AssumeRole"), 0);
    let calls = cluster.handle.calls();
    assert!(calls.iter().all(|call| call.access_key.as_deref() != Some(cloud_provider_aws_simulator::ACCESS_KEY)));
}

#[tokio::test]
async fn a_revoked_role_is_not_asked_for_by_every_call() {
    let simulator = Simulator::start(Options { policy: Policy::all(), ..Options::default() }).await.unwrap();
    let handle = simulator.handle();
    handle.fault(Fault::error("STS.AssumeRole", "AccessDenied"));
    let settings = settings(&simulator.url(), "us-east-1", role("arn:aws:iam::123456789012:role/demo-control-plane"));
    let client = Client::with_credentials(&settings, Some(credentials()), Gate::open(), &Metrics::new()).await;
    for _ in 0..50 {
        let error = client.availability_zones().await.unwrap_err();
        assert!(error.to_string().contains("AccessDenied"), "{error}");
    }
    assert!(handle.count("STS.AssumeRole") <= 3, "{}", handle.count("STS.AssumeRole"));
}

/// One request as it comes in; the answer is an error that is not tried again.
async fn one_request(listener: TcpListener) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&request).contains("Version=") {
        let read = stream.read(&mut buffer).await.unwrap();
        request.extend_from_slice(&buffer[..read]);
    }
    let body =
        "<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>no</Message></Error></Errors></Response>";
    let answer = format!("HTTP/1.1 403 Forbidden\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await.unwrap();
    String::from_utf8_lossy(&request).into_owned()
}

/// aws.md 12.4, "effective override".
#[tokio::test]
async fn an_override_decides_url_and_credential_scope() {
    for (signing_region, signing_name, scope) in [
        ("signing-1", "custom", "/signing-1/custom/aws4_request"),
        ("", "custom", "/eu-central-1/custom/aws4_request"),
        ("signing-1", "", "/signing-1/ec2/aws4_request"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut settings = settings(&url, "eu-central-1", None);
        settings.endpoints.ec2 =
            Some(Endpoint { url, signing_region: signing_region.into(), signing_name: signing_name.into() });
        let client = Client::with_credentials(&settings, Some(credentials()), Gate::open(), &Metrics::new()).await;
        let (request, answer) = tokio::join!(one_request(listener), client.availability_zones());
        assert!(request.contains(scope), "{scope}: {request}");
        let denied = Kind::Denied { permission: Some("ec2:DescribeAvailabilityZones".into()) };
        assert_eq!(answer.unwrap_err().kind(), &denied);
    }
}
