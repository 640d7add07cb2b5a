//! What every call has in common: attempts, and metrics.

use cloud_provider::Kind;
use cloud_provider_aws_simulator::Fault;

use crate::support::Cluster;

/// A read of each service, with its name in the call log and in metrics.
const READS: [(&str, &str, &str); 3] = [
    ("EC2", "DescribeAvailabilityZones", "EC2"),
    ("ELB", "DescribeLoadBalancers", "Elastic Load Balancing"),
    ("ELBv2", "DescribeLoadBalancers", "Elastic Load Balancing v2"),
];

async fn read(cluster: &Cluster, service: &str) -> Result<(), cloud_provider_aws::client::Error> {
    let client = &cluster.environment.client;
    match service {
        "EC2" => client.availability_zones().await.map(drop),
        "ELB" => client.classic_load_balancers().await.map(drop),
        _ => client.network_load_balancers().await.map(drop),
    }
}

/// aws.md 12.8, "SDK", and 10: a status is counted once for a call, not for each attempt.
#[tokio::test]
async fn a_failing_service_is_tried_three_times_and_a_refusal_once_and_each_counts_once() {
    let cluster = Cluster::new(0).await;
    for (service, action, sdk_id) in READS {
        let call = format!("{service}.{action}");
        for (code, status, attempts) in [("InternalFailure", 500, 3), ("InvalidParameterValue", 400, 1)] {
            cluster.handle.reset_calls();
            cluster.handle.fault(Fault::error(&call, code));
            let error = read(&cluster, service).await.unwrap_err();
            assert_eq!(error.status(), Some(status), "{error}");
            assert!(error.request_id().is_some(), "AWS's support asks for it");
            assert_eq!(cluster.count(&call), attempts, "{call} {code}");
            cluster.handle.clear_faults();
            let counted = format!(
                "cloudprovider_aws_api_response_status_total{{operation=\"{action}\",service=\"{sdk_id}\",status_code=\"{status}\"}} 1"
            );
            let metrics = cluster.metrics.render();
            assert!(metrics.contains(&counted), "{counted}\n{metrics}");
        }
        cluster.handle.fault(Fault::error(&call, "InternalFailure").times(2));
        read(&cluster, service).await.unwrap();
    }
}

#[tokio::test]
async fn throttling_is_counted_by_operation() {
    let cluster = Cluster::new(0).await;
    cluster.handle.fault(Fault::error("EC2.DescribeAvailabilityZones", "RequestLimitExceeded").times(3));
    let error = read(&cluster, "EC2").await.unwrap_err();
    assert_eq!(error.kind(), &Kind::Throttled { retry_after: None });
    let counted = "cloudprovider_aws_api_throttled_requests_total{operation_name=\"DescribeAvailabilityZones\"} 1";
    assert!(cluster.metrics.render().contains(counted), "{}", cluster.metrics.render());
}

/// The SDK tries again by itself: an attempt that it hides counts too. All reads of Elastic Load Balancing have one budget, each action
/// of EC2 its own.
#[tokio::test]
async fn after_a_refusal_the_calls_of_its_budget_wait_for_their_turn() {
    let cluster = Cluster::new(0).await;
    let client = &cluster.environment.client;
    let ten = async |what: &'static str| {
        let began = std::time::Instant::now();
        let call = async || match what {
            "subnets" => client.describe_subnets("vpc-1").await.map(drop),
            "target groups" => client.target_groups(None).await.map(drop),
            "registration" => client.register_targets("arn:no-such-group", &[]).await.or(Ok(())),
            service => read(&cluster, service).await,
        };
        for result in futures::future::join_all((0..10).map(|_| call())).await {
            result.unwrap();
        }
        began.elapsed()
    };
    for (service, code, same, other) in [
        ("EC2", "RequestLimitExceeded", "EC2", "subnets"),
        ("ELB", "Throttling", "ELB", "ELBv2"),
        ("ELBv2", "Throttling", "target groups", "registration"),
    ] {
        cluster.handle.fault(Fault::error(&format!("{service}.*"), code).times(1));
        read(&cluster, service).await.unwrap();
        let (slow, quick) = (ten(same).await, ten(other).await);
        assert!(slow.as_millis() >= 800, "{same}: ten calls took {slow:?}");
        assert!(quick.as_millis() < 800, "{other}: ten calls took {quick:?}");
    }
}
