//! Persistent volumes of a cluster whose controller managers are processes of their own.

#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

use std::net::TcpListener;
use std::time::Duration;

use anyhow::ensure;
use cloud_provider_testing::ControlPlane;
use cloud_provider_testing::cloud::{Backend, Operation, controller};
use cloud_provider_testing::conformance::eventually;
use cloud_provider_testing::control_plane::Options;
use cloud_provider_testing::objects::persistent_volume;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::api::{Api, PostParams};
use serde_json::json;

const BINARY: &str = env!("CARGO_BIN_EXE_memory-cloud-controller-manager");
const ZONE: &str = "topology.kubernetes.io/zone";
const SOON: Duration = Duration::from_secs(60);

fn volume(name: &str, disk: &str) -> PersistentVolume {
    persistent_volume(name, json!({}), json!({"gcePersistentDisk": {"pdName": disk}})).unwrap()
}

fn zone(volume: &PersistentVolume) -> Option<&str> {
    volume.metadata.labels.as_ref()?.get(ZONE).map(String::as_str)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_labels_new_volumes_and_the_leader_those_that_exist() {
    let plane = ControlPlane::start(Options::default()).await.unwrap();
    let client = plane.client().await.unwrap();
    let kubeconfig = plane.write_kubeconfig("ccm", &plane.kubeconfig()).unwrap();
    let backend = Backend::new();
    let disk = backend.make_disk(["memory-1b".to_owned()].into());
    let cloud = backend.serve(0).await.unwrap();
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    volumes.create(&PostParams::default(), &volume("old", &disk)).await.unwrap();

    let start = |name: &str, flags: &[String]| {
        let program = controller(BINARY, name, &cloud, &plane, &kubeconfig).unwrap();
        program.args(flags).spawn().unwrap()
    };
    let leader = start("leader", &[]);
    eventually(SOON, || async {
        let log = leader.log_tail(1000);
        ensure!(log.contains("service-lb-controller"), "it does not lead yet");
        Ok(())
    })
    .await
    .unwrap();
    let name = "webhook";
    let identity = plane.authority().server(name, &["127.0.0.1"]).unwrap();
    let [certificate, key] = ["crt", "key"].map(|end| plane.dir().join(format!("{name}.{end}")));
    std::fs::write(&certificate, identity.certificate).unwrap();
    std::fs::write(&key, identity.key).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let flags = [
        "--webhooks=pvlabel".to_owned(),
        "--feature-gates=CloudControllerManagerWebhook=true".to_owned(),
        "--webhook-bind-address=127.0.0.1".to_owned(),
        format!("--webhook-secure-port={port}"),
        format!("--webhook-tls-cert-file={}", certificate.display()),
        format!("--webhook-tls-private-key-file={}", key.display()),
        "--controllers=*,pvlabel".to_owned(),
    ];
    let standby = start("standby", &flags);
    let configuration: MutatingWebhookConfiguration = serde_json::from_value(json!({
        "metadata": {"name": name},
        "webhooks": [{
            "name": "pvlabel.cloud-provider.test",
            "admissionReviewVersions": ["v1"],
            "clientConfig": {
                "url": format!("https://127.0.0.1:{port}/admit"),
                "caBundle": ByteString(plane.authority().pem().as_bytes().to_vec()),
            },
            "rules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["persistentvolumes"],
            }],
            "failurePolicy": "Ignore",
            "sideEffects": "None",
            "timeoutSeconds": 5,
        }],
    }))
    .unwrap();
    Api::all(client.clone()).create(&PostParams::default(), &configuration).await.unwrap();
    eventually(SOON, || async {
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        let created = volumes.create(&dry_run, &volume("new", &disk)).await?;
        ensure!(zone(&created) == Some("memory-1b"), "it is not labelled");
        Ok(())
    })
    .await
    .unwrap();
    standby.check_running().unwrap();
    assert_eq!(zone(&volumes.get("old").await.unwrap()), None, "who leads has no controller for it");
    assert!(backend.count(Operation::DescribeDisks) >= 1);

    leader.terminate(Duration::from_secs(20)).await.unwrap();
    eventually(SOON, || async {
        ensure!(zone(&volumes.get("old").await?) == Some("memory-1b"), "it is not labelled");
        Ok(())
    })
    .await
    .unwrap();
    standby.terminate(Duration::from_secs(20)).await.unwrap();
}
