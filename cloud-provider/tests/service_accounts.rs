//! `--use-service-account-credentials` on a real API server, with the role that upstream's manifests grant.

#![expect(clippy::unwrap_used, reason = "a test ends when something it needs is not there")]

use std::time::Duration;

use cloud_provider::cluster::client::{Clients, Policy, Settings};
use cloud_provider::metrics::Metrics;
use cloud_provider_testing::control_plane::{ControlPlane, Options, shared, unique};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::{Node, Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

/// The union of what the manifests of the providers grant (reference: core.md section 11).
fn upstreams_rules() -> Value {
    let rule = |group: &str, resources: &[&str], verbs: &[&str]| json!({ "apiGroups": [group], "resources": resources, "verbs": verbs });
    json!([
        rule("", &["events"], &["create", "patch", "update"]),
        rule("", &["nodes"], &["*"]),
        rule("", &["nodes/status"], &["patch", "update"]),
        rule("", &["services"], &["list", "watch", "patch", "update"]),
        rule("", &["services/status"], &["list", "watch", "patch", "update"]),
        rule("", &["serviceaccounts"], &["create", "get", "list", "watch"]),
        rule("", &["serviceaccounts/token"], &["create"]),
        rule("", &["persistentvolumes"], &["get", "list", "watch", "update"]),
        rule("", &["endpoints"], &["create", "get", "list", "watch", "update"]),
        rule("", &["configmaps"], &["get", "list", "watch"]),
        rule("", &["secrets"], &["get", "list", "watch"]),
        rule("coordination.k8s.io", &["leases"], &["get", "create", "update"]),
    ])
}

/// The clients of a process that runs as a new account of `kube-system` with these rules, and the account's name.
async fn process(control_plane: &ControlPlane, rules: Value) -> (Clients, String) {
    let admin = control_plane.client().await.unwrap();
    let account = unique("ccm");
    let role = json!({ "metadata": { "name": account }, "rules": rules });
    let role: ClusterRole = serde_json::from_value(role).unwrap();
    Api::all(admin.clone()).create(&PostParams::default(), &role).await.unwrap();
    let binding: ClusterRoleBinding = serde_json::from_value(json!({
        "metadata": { "name": account },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": account },
        "subjects": [{ "kind": "ServiceAccount", "name": account, "namespace": "kube-system" }],
    }))
    .unwrap();
    Api::all(admin).create(&PostParams::default(), &binding).await.unwrap();
    let text = control_plane.kubeconfig_for_service_account("kube-system", &account).await.unwrap();
    let path = control_plane.write_kubeconfig(&account, &text).unwrap();
    let settings =
        Settings { kubeconfig: Some(path), user_agent: "test".into(), service_accounts: true, ..Settings::default() };
    (Clients::new(settings, &Metrics::new()), account)
}

async fn user(client: &Client) -> String {
    let review: Api<SelfSubjectReview> = Api::all(client.clone());
    let answer = review.create(&PostParams::default(), &SelfSubjectReview::default()).await.unwrap();
    answer.status.unwrap().user_info.unwrap().username.unwrap()
}

fn named(account: &str) -> String {
    format!("system:serviceaccount:kube-system:{account}")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_controller_acts_as_its_own_account_with_the_roles_that_the_api_server_brings() {
    let control_plane = shared().await.unwrap();
    let (clients, main) = process(control_plane, upstreams_rules()).await;
    let accounts: Api<ServiceAccount> = Api::namespaced(control_plane.client().await.unwrap(), "kube-system");
    let node = clients.controller("node-controller", Policy::CONTROLLER).await.unwrap();
    assert_eq!(user(&node).await, named("node-controller"));
    accounts.get("node-controller").await.expect("it was made");
    Api::<Node>::all(node).list(&ListParams::default()).await.expect("the bootstrap role allows it");
    let service = clients.controller("service-controller", Policy::CONTROLLER).await.unwrap();
    assert_eq!(user(&service).await, named("service-controller"));
    Api::<Service>::all(service).list(&ListParams::default()).await.unwrap();
    let other = clients.client("shared-informers", Policy::CONTROLLER).await.unwrap();
    assert_eq!(user(&other).await, named(&main), "what belongs to no controller has the main identity");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_without_a_role_uses_the_main_identity_for_what_it_lacks() {
    let options = Options { audit_reads: true, ..Options::default() };
    let control_plane = ControlPlane::start(options).await.unwrap();
    let (clients, main) = process(&control_plane, upstreams_rules()).await;
    let client = clients.controller("tagging-controller", Policy::CONTROLLER).await.unwrap();
    for _ in 0..3 {
        Api::<Node>::all(client.clone()).list(&ListParams::default()).await.expect("the main identity may");
    }
    assert_eq!(user(&client).await, named("tagging-controller"), "for the rest it is itself");
    let error = Api::<ClusterRole>::all(client).list(&ListParams::default()).await.unwrap_err();
    assert!(error.to_string().contains(&named(&main)), "neither of them may: {error}");

    let lists = control_plane.audit().requests(|r| r.verb == "list" && r.resource == "nodes").unwrap();
    let by = |user: &str| {
        lists.iter().filter(|request| request.user == user).map(|request| request.code).collect::<Vec<_>>()
    };
    assert_eq!(by(&named("tagging-controller")), [403], "asked once");
    assert_eq!(by(&named(&main)), [200, 200, 200]);
    let own = lists.iter().find(|request| request.code == 403).unwrap();
    assert_eq!(own.user_agent, "test/system:serviceaccount:kube-system:tagging-controller");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_became_invalid_is_replaced() {
    let control_plane = shared().await.unwrap();
    let (clients, _) = process(control_plane, upstreams_rules()).await;
    let name = unique("cleaner");
    let client = clients.controller(&name, Policy::CONTROLLER).await.unwrap();
    assert_eq!(user(&client).await, named(&name));
    let accounts: Api<ServiceAccount> = Api::namespaced(control_plane.client().await.unwrap(), "kube-system");
    let first = accounts.get(&name).await.unwrap().metadata.uid;
    accounts.delete(&name, &DeleteParams::default()).await.unwrap();
    // The API server remembers for some seconds that a token was good.
    let made_again = async {
        while accounts.get_opt(&name).await.unwrap().is_none() {
            assert_eq!(user(&client).await, named(&name));
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), made_again).await.expect("made again, with a token of the new one");
    assert_ne!(accounts.get(&name).await.unwrap().metadata.uid, first);
    assert_eq!(user(&client).await, named(&name));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_the_right_to_make_tokens_is_enough() {
    let control_plane = shared().await.unwrap();
    let nodes = json!([{ "apiGroups": [""], "resources": ["nodes"], "verbs": ["list"] }]);
    let (clients, main) = process(control_plane, nodes).await;
    let client = clients.controller("node-controller", Policy::CONTROLLER).await.unwrap();
    assert_eq!(user(&client).await, named(&main));
    Api::<Node>::all(client).list(&ListParams::default()).await.unwrap();
}
