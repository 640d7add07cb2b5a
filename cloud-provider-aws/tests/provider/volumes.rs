//! Where EBS volumes are.

use std::sync::Arc;

use cloud_provider::{Kind, cloud::Volumes as _, cluster::objects::PersistentVolume};
use cloud_provider_aws::volumes::EbsVolumes;
use cloud_provider_aws_simulator::{Fault, Policy, model::Volume};
use serde_json::{Value, json};

use crate::support::{Cluster, Setup};

const DESCRIBE: &str = "EC2.DescribeVolumes";

fn volume(source: &Value) -> Arc<PersistentVolume> {
    Arc::new(serde_json::from_value(json!({"metadata": {"name": "pv"}, "spec": source})).unwrap())
}

fn ebs(id: &str) -> Arc<PersistentVolume> {
    volume(&json!({"awsElasticBlockStore": {"volumeID": id}}))
}

#[tokio::test]
async fn hundreds_of_volumes_take_a_call_per_two_hundred_and_a_bad_one_fails_alone() {
    let cluster = Cluster::new(0).await;
    for number in 0..250 {
        let zone = ["us-east-1a", "us-east-1b"][number % 2];
        cluster.handle.add_volume(Volume::new(&format!("vol-{number:017x}"), zone));
    }
    let mut asked: Vec<_> = (0..250).map(|number| ebs(&format!("aws://us-east-1c/vol-{number:017x}"))).collect();
    asked.extend([ebs("vol-0000000000000dead"), ebs("disk"), volume(&json!({"cinder": {"volumeID": "vol-1"}}))]);
    let volumes = EbsVolumes::new(cluster.environment.client.clone());
    let answers = volumes.locate(&asked).await;
    assert_eq!(cluster.count(DESCRIBE), 2);
    for (number, answer) in answers.iter().take(250).enumerate() {
        let location = answer.as_ref().unwrap().as_ref().unwrap();
        let zone = ["us-east-1a", "us-east-1b"][number % 2];
        assert_eq!(location.zones.iter().collect::<Vec<_>>(), [zone], "the zone is the cloud's, not that of the name");
        assert_eq!(location.region, "us-east-1");
        assert!(location.additional_labels.is_empty());
    }
    let [unknown, odd, foreign] = &answers[250..] else { panic!("one answer per volume") };
    assert!(unknown.as_ref().unwrap_err().is_not_found());
    let odd = odd.as_ref().unwrap_err();
    assert!(odd.chain().contains("Invalid format for AWS volume (disk)"), "{}", odd.chain());
    assert_eq!(foreign.as_ref().unwrap(), &None);
}

#[tokio::test]
async fn a_failed_call_is_an_error_of_its_volumes_with_the_request_id() {
    let cluster = Cluster::new(0).await;
    cluster.handle.add_volume(Volume::new("vol-1", "us-east-1a"));
    cluster.handle.fault(Fault::error(DESCRIBE, "InternalError"));
    let volumes = EbsVolumes::new(cluster.environment.client.clone());
    let answers = volumes.locate(&[ebs("vol-1"), volume(&json!({"cinder": {"volumeID": "vol-1"}}))]).await;
    let error = answers[0].as_ref().unwrap_err();
    assert_eq!(error.kind(), &Kind::Transient);
    assert!(error.request_id().is_some());
    assert_eq!(answers[1].as_ref().unwrap(), &None, "what is another cloud's is known without a call");
}

#[tokio::test]
async fn a_missing_permission_is_named() {
    let policy = Policy::documented().without(&["ec2:DescribeVolumes"]);
    let cluster = Cluster::with(Setup { policy, ..Setup::default() }).await;
    let volumes = EbsVolumes::new(cluster.environment.client.clone());
    let error = volumes.locate(&[ebs("vol-1")]).await.remove(0).unwrap_err();
    assert_eq!(error.kind(), &Kind::Denied { permission: Some("ec2:DescribeVolumes".into()) });
}

#[tokio::test]
async fn without_volumes_of_aws_nothing_is_asked() {
    let cluster = Cluster::new(0).await;
    let volumes = EbsVolumes::new(cluster.environment.client.clone());
    assert!(volumes.locate(&[]).await.is_empty());
    volumes
        .locate(&[ebs("disk"), volume(&json!({"csi": {"driver": "ebs.csi.aws.com", "volumeHandle": "vol-1"}}))])
        .await;
    assert_eq!(cluster.count(DESCRIBE), 0);
}
