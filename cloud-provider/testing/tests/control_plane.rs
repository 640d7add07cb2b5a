//! The control plane on the real programs.

use std::time::{Duration, Instant};

use cloud_provider_testing::control_plane::{self, ControlPlane, Options, Program};
use cloud_provider_testing::process::Signal;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};

fn config_map(name: &str) -> ConfigMap {
    ConfigMap { metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }, ..ConfigMap::default() }
}

async fn who(kubeconfig: &str) -> anyhow::Result<(String, Vec<String>)> {
    let api: Api<SelfSubjectReview> = Api::all(control_plane::client(kubeconfig).await?);
    let review = SelfSubjectReview { metadata: ObjectMeta::default(), status: None };
    let answer = api.create(&PostParams::default(), &review).await?;
    let user = answer.status.and_then(|status| status.user_info).unwrap_or_default();
    Ok((user.username.unwrap_or_default(), user.groups.unwrap_or_default()))
}

#[tokio::test]
async fn credentials_speak_for_admin_users_and_service_accounts() {
    let plane = control_plane::shared().await.unwrap();
    let (user, groups) = who(&plane.kubeconfig()).await.unwrap();
    assert_eq!(user, "admin");
    assert!(groups.contains(&"system:masters".to_owned()));

    let kubeconfig = plane.kubeconfig_for_user("jane", &["developers", "on-call"]).unwrap();
    let (user, groups) = who(&kubeconfig).await.unwrap();
    assert_eq!(user, "jane");
    assert!(groups.contains(&"developers".to_owned()) && groups.contains(&"on-call".to_owned()), "{groups:?}");

    for _ in 0..2 {
        let kubeconfig = plane.kubeconfig_for_service_account("kube-system", "some-controller").await.unwrap();
        let (user, groups) = who(&kubeconfig).await.unwrap();
        assert_eq!(user, "system:serviceaccount:kube-system:some-controller");
        assert!(groups.contains(&"system:serviceaccounts".to_owned()));
    }
}

#[tokio::test]
async fn users_without_a_role_are_forbidden_and_the_audit_tells_both() {
    let plane = control_plane::shared().await.unwrap();
    let admin = plane.client().await.unwrap();
    let namespace = control_plane::namespace(&admin, "audit").await.unwrap();

    let maps: Api<ConfigMap> = Api::namespaced(admin.clone(), &namespace);
    maps.create(&PostParams::default(), &config_map("one")).await.unwrap();
    let patch = serde_json::json!({"data": {"key": "value"}});
    maps.patch("one", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    maps.create(&PostParams::default(), &config_map("one")).await.unwrap_err();
    maps.get("one").await.unwrap();
    maps.delete("one", &DeleteParams::default()).await.unwrap();

    let jane = control_plane::client(&plane.kubeconfig_for_user("jane", &[]).unwrap()).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(jane, &namespace);
    let refused = maps.create(&PostParams::default(), &config_map("two")).await;
    assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 403));

    let audit = plane.audit();
    let counts = audit.accepted_writes(|request| request.namespace == namespace && request.user == "admin").unwrap();
    let told: Vec<(&str, &str, usize)> =
        counts.iter().map(|(kind, count)| (kind.verb.as_str(), kind.resource.as_str(), *count)).collect();
    let maps = "configmaps";
    assert_eq!(told, [("create", maps, 1), ("delete", maps, 1), ("patch", maps, 1)]);
    let forbidden = audit.forbidden(|request| request.namespace == namespace).unwrap();
    assert_eq!(forbidden.len(), 1);
    assert_eq!(forbidden[0].user, "jane");
}

#[tokio::test]
async fn a_restarted_api_server_keeps_address_data_and_audit() {
    let options = Options { audit_reads: true, ..Options::default() };
    let begun = Instant::now();
    let plane = ControlPlane::start(options).await.unwrap();
    eprintln!("ready after {:.1} s", begun.elapsed().as_secs_f64());
    let client = plane.client().await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    maps.create(&PostParams::default(), &config_map("kept")).await.unwrap();
    let before = plane.url();

    let begun = Instant::now();
    plane.restart_api_server().await.unwrap();
    eprintln!("ready again after {:.1} s", begun.elapsed().as_secs_f64());
    assert_eq!(plane.url(), before);
    maps.get("kept").await.unwrap();
    let reads = plane.audit().requests(|request| request.verb == "get" && request.name == "kept").unwrap();
    assert_eq!(reads.len(), 1);
    let nodes: Api<Node> = Api::all(client);
    assert!(nodes.list(&ListParams::default()).await.unwrap().items.is_empty());

    let dir = plane.dir().to_owned();
    let memory = plane.api_server().memory().unwrap();
    eprintln!("the API server held {} MiB at most", memory.peak >> 20);
    plane.stop();
    assert!(!dir.exists());
}

#[tokio::test]
async fn the_end_of_a_program_is_noticed_with_its_last_words() {
    let plane = ControlPlane::start(Options::default()).await.unwrap();
    plane.api_server().signal(Signal::KILL).unwrap();
    plane.api_server().wait(Duration::from_secs(10)).await.unwrap();
    let error = plane.check_running().unwrap_err().to_string();
    assert!(error.contains("kube-apiserver ended with signal 9") && error.contains("controller"), "{error}");
}

#[tokio::test]
async fn a_program_that_was_not_asked_for_is_an_error() {
    let plane = control_plane::shared().await.unwrap();
    assert!(plane.program(Program::Etcd).unwrap().is_file());
    assert!(plane.program(Program::ControllerManager).is_err());
}
