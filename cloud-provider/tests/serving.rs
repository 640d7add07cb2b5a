//! The secure port with delegated authentication and authorization, on a real API server.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test ends when something it needs is not there")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use cloud_provider::cluster::client::{Clients, Policy, Settings as ClientSettings};
use cloud_provider::manager::authn::{Access, Lookup};
use cloud_provider::manager::healthz::Checks;
use cloud_provider::manager::options::{
    AuthenticationSettings, AuthorizationSettings, RequestHeaders, ServingCertificate, ServingSettings,
};
use cloud_provider::manager::serving::{Routes, Server};
use cloud_provider::metrics::Metrics;
use cloud_provider_testing::control_plane::{Authority, ControlPlane, Identity, shared, unique};
use http::{Method, Request};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, RoleBinding, RoleRef, Subject};
use kube::api::{ObjectMeta, PostParams};
use kube::client::Body;
use kube::config::AuthInfo;
use kube::{Api, Client, Config};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const S: Duration = Duration::from_secs(1);

fn serving() -> ServingSettings {
    ServingSettings::new(([127, 0, 0, 1], 0).into(), ServingCertificate::InMemory)
}

/// The authority of a proxy in front of the server, and the file of its certificate.
fn front_proxy(control_plane: &ControlPlane) -> (Authority, PathBuf) {
    let front = Authority::new("front").unwrap();
    let ca = control_plane.dir().join(format!("{}.crt", unique("front")));
    std::fs::write(&ca, front.pem()).unwrap();
    (front, ca)
}

/// The defaults of the flags.
fn authentication() -> AuthenticationSettings {
    AuthenticationSettings {
        kubeconfig: None,
        token_cache_ttl: 10 * S,
        client_ca_file: None,
        request_headers: RequestHeaders {
            username: vec!["x-remote-user".into()],
            uid: Vec::new(),
            group: vec!["x-remote-group".into()],
            extra_prefix: vec!["x-remote-extra-".into()],
            client_ca_file: None,
            allowed_names: Vec::new(),
        },
        lookup: true,
        tolerate_lookup_failure: false,
    }
}

fn authorization() -> AuthorizationSettings {
    AuthorizationSettings {
        kubeconfig: None,
        allow_cache_ttl: 10 * S,
        deny_cache_ttl: S,
        always_allow_paths: ["/healthz", "/readyz", "/livez"].map(str::to_owned).to_vec(),
    }
}

/// A server that runs, and its checks.
struct Running {
    address: SocketAddr,
    checks: Checks,
    token: CancellationToken,
    tasks: JoinSet<()>,
}

impl Running {
    fn start(access: Access, lookup: Lookup) -> Running {
        let metrics = Metrics::new();
        let checks = Checks::new(&metrics);
        let server = Server::bind(&serving(), Routes::standard(&checks, &metrics), Some(access)).unwrap();
        let address = server.local_addr().unwrap();
        let token = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(server.run(token.clone()));
        tasks.spawn(lookup.run(token.clone()));
        Running { address, checks, token, tasks }
    }

    async fn stop(self) {
        self.token.cancel();
        tokio::time::timeout(5 * S, self.tasks.join_all()).await.expect("it ends in time");
    }

    /// Status and body of a request.
    async fn ask(&self, who: &Who, method: Method, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
        let mut config = Config::new(format!("https://{}", self.address).parse().unwrap());
        config.accept_invalid_certs = true;
        config.default_retry = false;
        config.auth_info = AuthInfo {
            client_certificate: who.files.as_ref().map(|(certificate, _)| certificate.display().to_string()),
            client_key: who.files.as_ref().map(|(_, key)| key.display().to_string()),
            token: who.token.clone().map(Into::into),
            ..AuthInfo::default()
        };
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let client = Client::try_from(config).unwrap();
        let response = client.send(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.headers()["cache-control"], "no-cache, private");
        let status = response.status().as_u16();
        let body = response.into_body().collect_bytes().await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn get(&self, who: &Who, path: &str) -> (u16, String) {
        self.ask(who, Method::GET, path, &[]).await
    }
}

/// The credentials of a request.
#[derive(Default)]
struct Who {
    files: Option<(PathBuf, PathBuf)>,
    token: Option<String>,
}

impl Who {
    fn certificate(control_plane: &ControlPlane, identity: &Identity) -> Who {
        let name = unique("client");
        let path = |ending: &str| control_plane.dir().join(format!("{name}.{ending}"));
        std::fs::write(path("crt"), &identity.certificate).unwrap();
        std::fs::write(path("key"), &identity.key).unwrap();
        Who { files: Some((path("crt"), path("key"))), token: None }
    }

    fn token(token: &str) -> Who {
        Who { files: None, token: Some(token.to_owned()) }
    }
}

/// The text of a token of a new service account of kube-system.
async fn service_account(client: &Client, name: &str) -> String {
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), "kube-system");
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    api.create(&PostParams::default(), &ServiceAccount { metadata, ..ServiceAccount::default() }).await.unwrap();
    let spec = TokenRequestSpec { expiration_seconds: Some(3600), ..TokenRequestSpec::default() };
    let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    api.create_token_request(name, &PostParams::default(), &request).await.unwrap().status.unwrap().token.unwrap()
}

fn subject(name: &str) -> Option<Vec<Subject>> {
    let (kind, namespace) = ("ServiceAccount".to_owned(), Some("kube-system".to_owned()));
    Some(vec![Subject { kind, name: name.to_owned(), namespace, api_group: None }])
}

fn role(kind: &str, name: &str) -> RoleRef {
    let api_group = "rbac.authorization.k8s.io".to_owned();
    RoleRef { api_group: Some(api_group), kind: kind.to_owned(), name: name.to_owned() }
}

async fn bind_cluster_role(client: &Client, account: &str, cluster_role: &str) {
    let metadata = ObjectMeta { name: Some(unique(account)), ..ObjectMeta::default() };
    let role_ref = role("ClusterRole", cluster_role);
    let binding = ClusterRoleBinding { metadata, role_ref, subjects: subject(account) };
    Api::all(client.clone()).create(&PostParams::default(), &binding).await.unwrap();
}

/// The client of a server's own identity.
async fn own_client(control_plane: &ControlPlane, account: &str) -> Client {
    let text = control_plane.kubeconfig_for_service_account("kube-system", account).await.unwrap();
    let path = control_plane.write_kubeconfig(&unique(account), &text).unwrap();
    let settings = ClientSettings { kubeconfig: Some(path), user_agent: "test".into(), ..ClientSettings::default() };
    Clients::new(settings, &Metrics::new()).client("serving", Policy::REVIEW).await.unwrap()
}

/// An identity with the roles that upstream's manifests give it, or with none.
async fn own(control_plane: &ControlPlane, client: &Client, roles: bool) -> Client {
    let account = unique("ccm");
    let own = own_client(control_plane, &account).await;
    if roles {
        bind_cluster_role(client, &account, "system:auth-delegator").await;
        let metadata = ObjectMeta { name: Some(unique("reader")), ..ObjectMeta::default() };
        let role_ref = role("Role", "extension-apiserver-authentication-reader");
        let binding = RoleBinding { metadata, role_ref, subjects: subject(&account) };
        Api::namespaced(client.clone(), "kube-system").create(&PostParams::default(), &binding).await.unwrap();
    }
    own
}

async fn start(own: Client, authentication: &AuthenticationSettings) -> Running {
    let (access, lookup) = Access::new(authentication, Some(own.clone()), &authorization(), Some(own)).await.unwrap();
    Running::start(access, lookup)
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_for_everyone_and_metrics_are_for_those_who_may_read_them() {
    let control_plane = shared().await.unwrap();
    let client = control_plane.client().await.unwrap();
    let server = start(own(control_plane, &client, true).await, &authentication()).await;
    let nobody = Who::default();
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(server.get(&nobody, path).await, (200, "ok".to_owned()));
    }
    server.checks.add("leaderElection", || Err("late".to_owned()));
    let (status, text) = server.get(&nobody, "/healthz?verbose").await;
    assert_eq!(status, 500);
    assert_eq!(text, "[-]leaderElection failed: reason withheld\nhealthz check failed\n");

    let (status, text) = server.get(&nobody, "/metrics").await;
    assert_eq!(status, 403);
    let refusal: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(refusal["message"], "forbidden: User \"system:anonymous\" cannot get path \"/metrics\"");
    assert_eq!(server.get(&nobody, "/nowhere").await.0, 403, "not even what exists is told");

    let account = unique("prometheus");
    let scraper = Who::token(&service_account(&client, &account).await);
    let (status, text) = server.get(&scraper, "/metrics").await;
    assert!(status == 403 && text.contains(&format!("system:serviceaccount:kube-system:{account}")), "{status} {text}");
    let rule = PolicyRule {
        non_resource_urls: Some(vec!["/metrics".into(), "/metrics/slis".into()]),
        verbs: vec!["get".into()],
        ..PolicyRule::default()
    };
    let metadata = ObjectMeta { name: Some(account.clone()), ..ObjectMeta::default() };
    let reader = ClusterRole { metadata, rules: Some(vec![rule]), ..ClusterRole::default() };
    Api::all(client.clone()).create(&PostParams::default(), &reader).await.unwrap();
    bind_cluster_role(&client, &account, &account).await;
    let granted = async {
        while server.get(&scraper, "/metrics").await.0 != 200 {
            tokio::time::sleep(S / 2).await;
        }
    };
    tokio::time::timeout(15 * S, granted).await.expect("a refusal is forgotten after its time");
    let (status, text) = server.get(&scraper, "/metrics").await;
    assert!(status == 200 && text.contains("process_resident_memory_bytes "), "{text}");
    let (status, text) = server.get(&scraper, "/metrics/slis").await;
    assert!(
        status == 200 && text.contains("kubernetes_healthcheck{name=\"leaderElection\",type=\"healthz\"} 0"),
        "{text}"
    );
    assert_eq!(server.ask(&scraper, Method::DELETE, "/metrics/slis", &[]).await.0, 403, "reading is not resetting");

    let liar = Who::token("made up");
    assert_eq!(server.get(&liar, "/metrics").await.0, 401);
    let (status, text) = server.get(&liar, "/healthz").await;
    assert_eq!(status, 401, "what was presented has to be good");
    assert!(text.contains("\"reason\":\"Unauthorized\""), "{text}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn client_certificates_of_the_cluster_are_believed_and_others_are_refused() {
    let control_plane = shared().await.unwrap();
    let client = control_plane.client().await.unwrap();
    let server = start(own(control_plane, &client, true).await, &authentication()).await;
    let sign = |user: &str, groups: &[&str]| {
        Who::certificate(control_plane, &control_plane.authority().client(user, groups).unwrap())
    };
    let master = sign("admin", &["system:masters"]);
    assert_eq!(server.get(&master, "/metrics").await.0, 200);
    assert_eq!(server.get(&master, "/nowhere").await, (404, "404 page not found\n".to_owned()));
    let reset = server.ask(&master, Method::DELETE, "/metrics/slis", &[]).await;
    assert_eq!(reset, (200, "slis reset\n".to_owned()));
    let (status, text) = server.get(&sign("ann", &["dev"]), "/metrics").await;
    assert!(status == 403 && text.contains("User \\\"ann\\\" cannot get path"), "{status} {text}");

    let stranger = Authority::new("stranger").unwrap().client("admin", &["system:masters"]).unwrap();
    let mut stranger = Who::certificate(control_plane, &stranger);
    assert_eq!(server.get(&stranger, "/metrics").await.0, 401);
    assert_eq!(server.get(&stranger, "/healthz").await.0, 401);
    stranger.token = Some(control_plane.admin_token().to_owned());
    assert_eq!(server.get(&stranger, "/metrics").await.0, 200, "one good credential is enough");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_headers_of_a_trusted_proxy_name_the_user_and_those_of_others_do_not() {
    let control_plane = shared().await.unwrap();
    let client = control_plane.client().await.unwrap();
    let (front, ca) = front_proxy(control_plane);
    let mut settings = authentication();
    settings.request_headers.client_ca_file = Some(ca);
    settings.request_headers.allowed_names = vec!["front-proxy-client".to_owned()];
    let server = start(own(control_plane, &client, true).await, &settings).await;
    let sign = |name: &str| Who::certificate(control_plane, &front.client(name, &[]).unwrap());
    let ann = [("x-remote-user", "ann"), ("x-remote-group", "system:masters")];
    let get = async |who: &Who, headers| server.ask(who, Method::GET, "/metrics", headers).await.0;
    assert_eq!(get(&sign("front-proxy-client"), &ann).await, 200);
    assert_eq!(get(&sign("front-proxy-client"), &ann[..1]).await, 403, "ann alone may not");
    assert_eq!(get(&sign("front-proxy-client"), &[]).await, 401, "a proxy is nobody itself");
    assert_eq!(get(&sign("another"), &ann).await, 401);
    assert_eq!(get(&Who::default(), &ann).await, 403, "anyone can send headers");
    let master = control_plane.authority().client("admin", &["system:masters"]).unwrap();
    let master = Who::certificate(control_plane, &master);
    assert_eq!(get(&master, &[]).await, 200, "client certificates still count");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_roles_it_degrades_as_upstream_does() {
    let control_plane = shared().await.unwrap();
    let client = control_plane.client().await.unwrap();
    let powerless = own(control_plane, &client, false).await;
    let refused =
        Access::new(&authentication(), Some(powerless.clone()), &authorization(), Some(powerless.clone())).await;
    let error = refused.err().unwrap();
    assert_eq!(error.to_string(), "unable to load configmap based request-header-client-ca-file");

    let tolerant = AuthenticationSettings { tolerate_lookup_failure: true, ..authentication() };
    let server = start(powerless, &tolerant).await;
    assert_eq!(server.get(&Who::default(), "/healthz").await, (200, "ok".to_owned()));
    let (status, text) = server.get(&Who::default(), "/metrics").await;
    assert!(status == 500 && text.contains("Internal Server Error: \"/metrics\""), "{status} {text}");
    assert_eq!(
        server.get(&Who::token(control_plane.admin_token()), "/metrics").await.0,
        401,
        "nobody can tell who it is"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_client_only_what_is_always_allowed_is_served() {
    let (access, lookup) = Access::new(&authentication(), None, &authorization(), None).await.unwrap();
    let server = Running::start(access, lookup);
    assert_eq!(server.get(&Who::default(), "/readyz").await, (200, "ok".to_owned()));
    assert_eq!(server.get(&Who::default(), "/metrics").await.0, 403);
    assert_eq!(server.get(&Who::token("any"), "/healthz").await.0, 200, "a token that nobody can review is ignored");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn authorities_of_a_flag_replace_those_of_the_cluster() {
    let control_plane = shared().await.unwrap();
    let client = control_plane.client().await.unwrap();
    let own_ca = Authority::new("own").unwrap();
    let ca = control_plane.dir().join(format!("{}.crt", unique("own")));
    std::fs::write(&ca, own_ca.pem()).unwrap();
    let settings = AuthenticationSettings { client_ca_file: Some(ca), ..authentication() };
    let server = start(own(control_plane, &client, true).await, &settings).await;
    let masters = |authority: &Authority| authority.client("admin", &["system:masters"]).unwrap();
    let known = Who::certificate(control_plane, &masters(&own_ca));
    assert_eq!(server.get(&known, "/metrics").await.0, 200);
    let clusters = Who::certificate(control_plane, &masters(control_plane.authority()));
    assert_eq!(server.get(&clusters, "/metrics").await.0, 401);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_look_up_nothing_of_the_cluster_is_read_or_believed() {
    let control_plane = shared().await.unwrap();
    let client = control_plane.client().await.unwrap();
    let powerless = own(control_plane, &client, false).await;
    let settings = AuthenticationSettings { lookup: false, ..authentication() };
    let server = start(powerless, &settings).await;
    let master = control_plane.authority().client("admin", &["system:masters"]).unwrap();
    let master = Who::certificate(control_plane, &master);
    assert_eq!(server.get(&master, "/metrics").await.0, 500, "a certificate of nobody known makes nobody");
    assert_eq!(server.get(&Who::default(), "/healthz").await.0, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_that_are_always_allowed_are_those_of_the_flag() {
    let control_plane = shared().await.unwrap();
    let client = control_plane.client().await.unwrap();
    let own = own(control_plane, &client, true).await;
    for (paths, metrics, slis) in [(&[][..], 403, 403), (&["/metrics"], 200, 403), (&["/metrics*"], 200, 200)] {
        let always_allow_paths = paths.iter().map(|path| (*path).to_owned()).collect();
        let authorization = AuthorizationSettings { always_allow_paths, ..authorization() };
        let (own, authentication) = (Some(own.clone()), authentication());
        let (access, lookup) = Access::new(&authentication, own.clone(), &authorization, own).await.unwrap();
        let server = Running::start(access, lookup);
        let nobody = Who::default();
        let got = (server.get(&nobody, "/metrics").await.0, server.get(&nobody, "/metrics/slis").await.0);
        assert_eq!(got, (metrics, slis), "{paths:?}");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_may_tell_uids_and_more_in_the_headers_of_the_flags() {
    let control_plane = shared().await.unwrap();
    let client = control_plane.client().await.unwrap();
    let (front, ca) = front_proxy(control_plane);
    let mut settings = authentication();
    settings.request_headers = RequestHeaders {
        username: vec!["x-user".into()],
        uid: vec!["x-uid".into()],
        group: vec!["x-team".into()],
        extra_prefix: vec!["x-more-".into()],
        client_ca_file: Some(ca),
        allowed_names: Vec::new(),
    };
    let server = start(own(control_plane, &client, true).await, &settings).await;
    let proxy = Who::certificate(control_plane, &front.client("any", &[]).unwrap());
    let get = async |headers| server.ask(&proxy, Method::GET, "/metrics", headers).await.0;
    assert_eq!(get(&[("x-user", "ann"), ("x-team", "system:masters"), ("x-uid", "7"), ("x-more-a", "b")]).await, 200);
    assert_eq!(get(&[("x-user", "ann"), ("x-remote-group", "system:masters")]).await, 403, "not a header of the flags");
    assert_eq!(get(&[("x-remote-user", "ann")]).await, 401);
    server.stop().await;
}
