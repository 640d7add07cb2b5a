//! Who we are: every form of authentication, renewal, and what is refused.

use cloud_provider::{Kind, cloud::Gate, metrics::Metrics};
use cloud_provider_openstack::{
    client::{Client, Service},
    config,
};
use cloud_provider_openstack_simulator::{Ids, Knobs, PASSWORD, Release, Simulator};

use crate::support::{Cloud, Setup, surroundings};

async fn connect(simulator: &Simulator, keys: &str) -> Result<Client, cloud_provider::Error> {
    let text = format!("[Global]\nauth-url = {}\n{keys}", simulator.auth_url());
    let (settings, _) = config::parse(Some(&text), &surroundings())?;
    Client::connect(settings.client, Gate::open(), &Metrics::new()).await
}

#[tokio::test]
async fn every_form_of_authentication_gets_a_token_for_the_project() {
    let simulator = Simulator::start(Default::default()).await.unwrap();
    let ids = Ids::default();
    let credential = ids.application_credential.as_str();
    for keys in [
        format!("username = demo\npassword = {PASSWORD}\ntenant-name = demo\ndomain-id = default"),
        format!("user-id = {}\npassword = {PASSWORD}\ntenant-id = {}", ids.user, ids.project),
        format!(
            "username = demo\npassword = {PASSWORD}\ntenant-name = demo\nuser-domain-name = Default\ntenant-domain-name = Default"
        ),
        format!("application-credential-id = {credential}\napplication-credential-secret = {PASSWORD}"),
        format!(
            "application-credential-name = controller\napplication-credential-secret = {PASSWORD}\nuser-id = {}",
            ids.user
        ),
        format!(
            "application-credential-name = controller\napplication-credential-secret = {PASSWORD}\nusername = demo\ndomain-name = Default"
        ),
        format!("trust-id = {}\ntrustee-id = {}\ntrustee-password = {PASSWORD}", ids.trust, ids.trustee),
    ] {
        let client = connect(&simulator, &keys).await.unwrap_or_else(|error| panic!("{keys}: {error:?}"));
        let session = client.session().await.unwrap();
        assert_eq!(session.project.as_deref(), Some(ids.project.as_str()), "{keys}");
        assert!(client.has(Service::Compute).await.unwrap() && client.extensions().await.is_ok(), "{keys}");
    }
    let password = format!("username = demo\npassword = {PASSWORD}\ntenant-name = demo\ndomain-id = default");
    let first = connect(&simulator, &password).await.unwrap();
    let token = first.session().await.unwrap().token.to_str().unwrap().to_owned();
    connect(&simulator, &format!("token = {token}\ntenant-id = {}", ids.project))
        .await
        .unwrap()
        .extensions()
        .await
        .unwrap();
}

#[tokio::test]
async fn a_wrong_password_is_denied_and_not_shown() {
    let simulator = Simulator::start(Default::default()).await.unwrap();
    let keys = "username = demo\npassword = h1dden-secret\ntenant-name = demo\ndomain-id = default";
    let error = connect(&simulator, keys).await.unwrap_err();
    assert!(matches!(error.kind(), Kind::Denied { .. }), "{error:?}");
    assert!(
        error.chain().starts_with("log in to OpenStack: ") && !format!("{error:?}").contains("h1dden"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_revoked_token_is_renewed_once_for_all() {
    let cloud = Cloud::new(3).await;
    cloud.handle.revoke_tokens();
    let nodes = cloud.nodes_by_id();
    let found = cloud.state(&nodes, cloud_provider::cloud::Freshness::Live).await;
    assert!(found.iter().all(Result::is_ok), "{found:?}");
    assert_eq!(cloud.calls_to("keystone."), 1);
}

#[tokio::test]
async fn a_dry_run_logs_in_and_reads_and_writes_nothing() {
    let cloud = Cloud::with(Setup { nodes: 1, gate: Some(Gate::dry_run()), ..Setup::default() }).await;
    let ports = cloud.client.ports(&[]).await.unwrap();
    let update = cloud_provider_openstack::client::network::PortUpdate {
        security_groups: Some(Vec::new()),
        ..Default::default()
    };
    let refused = cloud.client.update_port(&ports[0].id, &update, None).await.unwrap_err();
    assert_eq!((refused.kind(), cloud.handle.count("neutron.UpdatePort")), (&Kind::Refused, 0));
}

#[tokio::test]
async fn a_service_that_the_catalog_lacks_is_told() {
    let release = Release { catalog_without: ["load-balancer".to_owned()].into(), ..Release::default() };
    let cloud = Cloud::with(Setup { knobs: Knobs { release, ..Knobs::default() }, ..Setup::default() }).await;
    assert!(!cloud.client.has(Service::LoadBalancer).await.unwrap());
    let error = cloud.client.base(Service::LoadBalancer).await.unwrap_err();
    assert_eq!(error.kind(), &Kind::Unsupported, "{error:?}");
}

#[tokio::test]
async fn versions_of_octavia_are_read_at_its_root() {
    let cloud = Cloud::new(0).await;
    let versions = cloud.client.versions(Service::LoadBalancer).await.unwrap();
    assert_eq!(versions.last().unwrap().id, "v2.30");
}

#[tokio::test]
async fn an_auth_url_without_a_version_is_asked_for_its_versions() {
    let simulator = Simulator::start(Default::default()).await.unwrap();
    let text = format!(
        "[Global]\nauth-url = {}/identity\nusername = demo\npassword = {PASSWORD}\ntenant-name = demo\ndomain-id = default",
        simulator.url()
    );
    let (settings, _) = config::parse(Some(&text), &surroundings()).unwrap();
    Client::connect(settings.client, Gate::open(), &Metrics::new()).await.unwrap().extensions().await.unwrap();
}
