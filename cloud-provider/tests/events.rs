//! Events on a real API server, with no more rights than existing roles grant.

#![expect(clippy::unwrap_used, reason = "a test ends when something it needs is not there")]

use std::time::Duration;

use cloud_provider::cluster::events::{Severity, Sink, Subject};
use cloud_provider_testing::control_plane::{self, ControlPlane, Options, shared, unique};
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

const S: Duration = Duration::from_secs(1);

fn node(name: &str) -> Subject {
    Subject {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: name.into(),
        uid: format!("{name}-uid"),
        namespace: None,
    }
}

async fn events(client: &Client, about: &str) -> Vec<Event> {
    let api: Api<Event> = Api::namespaced(client.clone(), "default");
    api.list(&ListParams::default().fields(&format!("involvedObject.name={about}"))).await.unwrap().items
}

/// Waits until the events about an object are so many, with so many repeats in all.
async fn await_events(client: &Client, about: &str, number: usize, repeats: i32) -> Vec<Event> {
    let wait = async {
        loop {
            let events = events(client, about).await;
            if events.len() == number && events.iter().filter_map(|event| event.count).sum::<i32>() == repeats {
                return events;
            }
            sleep(S / 10).await;
        }
    };
    timeout(40 * S, wait).await.unwrap()
}

/// A client that may create, patch and update core events and nothing else, as upstream's roles have it.
async fn restricted(control_plane: &ControlPlane, client: &Client) -> Client {
    let name = unique("events");
    let role: ClusterRole = serde_json::from_value(serde_json::json!({
        "metadata": { "name": name },
        "rules": [{ "apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch", "update"] }],
    }))
    .unwrap();
    Api::all(client.clone()).create(&PostParams::default(), &role).await.unwrap();
    let binding: ClusterRoleBinding = serde_json::from_value(serde_json::json!({
        "metadata": { "name": name },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name }],
    }))
    .unwrap();
    Api::all(client.clone()).create(&PostParams::default(), &binding).await.unwrap();
    control_plane::client(&control_plane.kubeconfig_for_user(&name, &[]).unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn repeats_raise_a_count_and_an_event_that_the_server_forgot_is_made_anew() {
    let control_plane = shared().await.unwrap();
    let client = control_plane.client().await.unwrap();
    let (token, name) = (CancellationToken::new(), unique("node"));
    let sink = Sink::new(restricted(control_plane, &client).await);
    let recorder = sink.recorder("cloud-node-controller");
    let writer = tokio::spawn(sink.run(token.clone()));
    for _ in 0..3 {
        recorder.event(&node(&name), Severity::Normal, "Synced", "Node synced successfully");
    }
    recorder.event(&node(&name), Severity::Warning, "DeletingNodeFailed", "no");
    let written = await_events(&client, &name, 2, 4).await;
    let synced = written.iter().find(|event| event.reason.as_deref() == Some("Synced")).unwrap();
    assert_eq!((synced.count, synced.type_.as_deref()), (Some(3), Some("Normal")));
    assert_eq!(synced.metadata.namespace.as_deref(), Some("default"));
    assert_eq!(synced.involved_object.uid, Some(format!("{name}-uid")));
    assert_eq!(synced.source.as_ref().unwrap().component.as_deref(), Some("cloud-node-controller"));
    assert!(synced.metadata.name.as_ref().unwrap().starts_with(&format!("{name}.")));

    let api: Api<Event> = Api::namespaced(client.clone(), "default");
    api.delete(synced.metadata.name.as_ref().unwrap(), &DeleteParams::default()).await.unwrap();
    recorder.event(&node(&name), Severity::Normal, "Synced", "Node synced successfully");
    await_events(&client, &name, 2, 5).await;

    // What waits when the process ends is still written.
    recorder.event(&node(&name), Severity::Normal, "DeletingNode", "last words");
    token.cancel();
    writer.await.unwrap();
    assert_eq!(events(&client, &name).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_similar_events_become_one() {
    let control_plane = shared().await.unwrap();
    let client = control_plane.client().await.unwrap();
    let (token, name) = (CancellationToken::new(), unique("noisy"));
    let sink = Sink::new(client.clone());
    let recorder = sink.recorder("service-controller");
    let writer = tokio::spawn(sink.run(token.clone()));
    for number in 1..=20 {
        recorder.event(&node(&name), Severity::Warning, "SyncLoadBalancerFailed", format!("request {number} failed"));
    }
    let written = await_events(&client, &name, 10, 20).await;
    let combined = written.iter().find(|event| event.count == Some(11)).unwrap();
    assert_eq!(combined.message.as_deref(), Some("(combined from similar events): request 20 failed"));
    token.cancel();
    writer.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_away_for_a_moment_costs_no_event() {
    let control_plane = ControlPlane::start(Options::default()).await.unwrap();
    let client = control_plane.client().await.unwrap();
    let (token, name) = (CancellationToken::new(), unique("outage"));
    let sink = Sink::new(client.clone());
    let recorder = sink.recorder("cloud-node-controller");
    let writer = tokio::spawn(sink.run(token.clone()));
    control_plane.stop_api_server().unwrap();
    for reason in ["Synced", "DeletingNode"] {
        recorder.event(&node(&name), Severity::Normal, reason, "told while nobody listened");
    }
    sleep(S).await;
    control_plane.start_api_server().await.unwrap();
    await_events(&client, &name, 2, 2).await;
    token.cancel();
    writer.await.unwrap();
}
