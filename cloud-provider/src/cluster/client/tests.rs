//! Against a scripted server on loopback; the real API server is for the tests in `tests/`.

use std::convert::Infallible;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::Api;
use kube::api::PostParams;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::*;

type Answer = Box<dyn Fn(&Request<hyper::body::Incoming>) -> Option<Response<Full<Bytes>>> + Send + Sync>;

/// Method, URI and credentials of a request.
type Seen = (Method, String, Option<String>);

/// A server that answers by `answer`, or never where that gives none; ends with the value.
struct Server {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start(answer: Answer) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<_>>> = Arc::default();
        let (answer, log) = (Arc::new(answer), Arc::clone(&seen));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                    let token = request.headers().get(header::AUTHORIZATION).map(|v| v.to_str().unwrap().to_owned());
                    log.lock().unwrap().push((request.method().clone(), request.uri().to_string(), token));
                    let response = answer(&request);
                    async move {
                        match response {
                            Some(response) => Ok::<_, Infallible>(response),
                            None => std::future::pending().await,
                        }
                    }
                });
                connections.spawn(async move {
                    drop(
                        hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service)
                            .await,
                    );
                });
            }
        });
        Server { url, seen, _tasks: tasks }
    }

    fn seen(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    fn settings(&self) -> Settings {
        Settings { master: Some(self.url.clone()), user_agent: user_agent("ccm", "v1"), ..Settings::default() }
    }
}

fn answer(status: u16, body: &str) -> Response<Full<Bytes>> {
    Response::builder().status(status).body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap()
}

fn namespace() -> Response<Full<Bytes>> {
    answer(200, r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"default"}}"#)
}

fn is_refused(error: &kube::Error, why: Refused) -> bool {
    matches!(error, kube::Error::Service(source) if source.downcast_ref() == Some(&why))
}

const QUICK: Policy =
    Policy { attempt: Duration::from_millis(300), total: Duration::from_secs(2), ..Policy::CONTROLLER };

async fn client(settings: Settings, metrics: &Metrics, policy: Policy) -> Client {
    Clients::new(settings, metrics).client("test", policy).await.unwrap()
}

#[tokio::test]
async fn requests_carry_the_user_agent_and_are_counted_as_client_go_counts_them() {
    let server = Server::start(Box::new(|request| {
        let agent = request.headers().get(header::USER_AGENT).unwrap().to_str().unwrap();
        assert!(agent.starts_with("ccm/v1 (linux/") && agent.ends_with(")/test"), "{agent}");
        Some(namespace())
    }))
    .await;
    let metrics = Metrics::new();
    let api: Api<Namespace> = Api::all(client(server.settings(), &metrics, QUICK).await);
    api.get("default").await.unwrap();
    let text = metrics.render();
    let host = server.url.trim_start_matches("http://");
    assert!(
        text.contains(&format!("rest_client_requests_total{{code=\"200\",host=\"{host}\",method=\"GET\"}} 1\n")),
        "{text}"
    );
    assert!(text.contains(&format!("rest_client_request_duration_seconds_count{{host=\"{host}\",verb=\"GET\"}} 1\n")));
}

#[tokio::test]
async fn a_request_that_was_turned_away_is_sent_again_when_the_server_says_so() {
    let first = AtomicBool::new(true);
    let server = Server::start(Box::new(move |request| {
        if first.swap(false, Ordering::SeqCst) {
            let mut turned_away = answer(429, "{}");
            turned_away.headers_mut().insert(header::RETRY_AFTER, "1".parse().unwrap());
            return Some(turned_away);
        }
        assert_eq!(request.method(), Method::POST);
        Some(answer(201, r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}"#))
    }))
    .await;
    let metrics = Metrics::new();
    let api: Api<ConfigMap> = Api::default_namespaced(client(server.settings(), &metrics, QUICK).await);
    let start = Instant::now();
    api.create(&PostParams::default(), &ConfigMap::default()).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(server.seen(), 2);
    assert!(metrics.render().contains("rest_client_request_retries_total{code=\"429\""));
}

#[tokio::test]
async fn no_answer_and_errors_without_a_hint_are_left_to_the_callers_back_off() {
    for (status, retry_after) in [(500, None), (503, None), (503, Some("3600"))] {
        let server = Server::start(Box::new(move |_| {
            let mut failed = answer(status, "{}");
            if let Some(seconds) = retry_after {
                failed.headers_mut().insert(header::RETRY_AFTER, seconds.parse().unwrap());
            }
            Some(failed)
        }))
        .await;
        let api: Api<Namespace> = Api::all(client(server.settings(), &Metrics::new(), QUICK).await);
        assert!(api.get("default").await.is_err());
        assert_eq!(server.seen(), 1, "{status} {retry_after:?}");
    }
    let silent = Server::start(Box::new(|_| None)).await;
    let metrics = Metrics::new();
    let api: Api<Namespace> = Api::all(client(silent.settings(), &metrics, QUICK).await);
    let start = Instant::now();
    let error = api.get("default").await.unwrap_err();
    assert!(error.to_string().contains("no answer from the API server within 300ms"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(silent.seen(), 1);
    assert!(metrics.render().contains("code=\"<error>\""));
}

#[tokio::test]
async fn a_dry_run_sends_no_write() {
    let server = Server::start(Box::new(|_| Some(namespace()))).await;
    let settings = Settings { access: Access::ReadOnly, ..server.settings() };
    let client = client(settings, &Metrics::new(), QUICK).await;
    Api::<Namespace>::all(client.clone()).get("default").await.unwrap();
    let api: Api<ConfigMap> = Api::default_namespaced(client);
    let errors = [
        api.create(&PostParams::default(), &ConfigMap::default()).await.map(drop).unwrap_err(),
        api.delete("a", &kube::api::DeleteParams::default()).await.map(drop).unwrap_err(),
        api.patch("a", &kube::api::PatchParams::default(), &kube::api::Patch::Merge("{}")).await.map(drop).unwrap_err(),
    ];
    assert!(errors.iter().all(|error| is_refused(error, Refused::DryRun)), "{errors:?}");
    assert_eq!(server.seen(), 1);
}

#[tokio::test]
async fn no_write_leaves_after_the_gate_closed() {
    let server = Server::start(Box::new(|_| Some(namespace()))).await;
    let open = Arc::new(AtomicBool::new(true));
    let gate: Gate = {
        let open = Arc::clone(&open);
        Arc::new(move || open.load(Ordering::SeqCst))
    };
    let clients = Clients::new(server.settings(), &Metrics::new()).gated(gate);
    let api: Api<Namespace> = Api::all(clients.client("test", QUICK).await.unwrap());
    api.create(&PostParams::default(), &Namespace::default()).await.unwrap();
    open.store(false, Ordering::SeqCst);
    let error = api.create(&PostParams::default(), &Namespace::default()).await.unwrap_err();
    assert!(is_refused(&error, Refused::NotLeading), "{error}");
    api.get("default").await.unwrap();
    assert_eq!(server.seen(), 2);
}

#[tokio::test]
async fn the_limit_slows_requests_but_not_watches() {
    let server = Server::start(Box::new(|_| Some(namespace()))).await;
    let settings = Settings { limit: Some(Limit { qps: 10.0, burst: 1 }), ..server.settings() };
    let metrics = Metrics::new();
    let client = client(settings, &metrics, QUICK).await;
    let api: Api<Namespace> = Api::all(client.clone());
    let start = Instant::now();
    for _ in 0..4 {
        api.get("default").await.unwrap();
    }
    assert!(start.elapsed() >= Duration::from_millis(290), "{:?}", start.elapsed());
    let start = Instant::now();
    for _ in 0..10 {
        let watch = Request::get("/api/v1/namespaces?watch=true&timeoutSeconds=1").body(Vec::new()).unwrap();
        client.request_text(watch).await.unwrap();
    }
    assert!(start.elapsed() < Duration::from_millis(900), "{:?}", start.elapsed());
    assert!(metrics.render().contains("rest_client_rate_limiter_duration_seconds_count"));
}

/// A kubeconfig for `url` with these lines about its user.
fn kubeconfig(url: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n\
         clusters: [{{name: k, cluster: {{server: \"{url}\"}}}}]\nusers:\n- name: u\n  user: {{{user}}}\n"
    )
}

#[tokio::test]
async fn tokens_that_rotate_are_read_again() {
    let server = Server::start(Box::new(|request| {
        let token = request.headers().get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
        Some(if token.as_deref() == Some("Bearer new") { namespace() } else { answer(401, "{}") })
    }))
    .await;
    let dir = tempfile::tempdir().unwrap();
    let (path, token) = (dir.path().join("kubeconfig"), dir.path().join("token"));
    std::fs::write(&token, "old\n").unwrap();
    // The file wins over the token beside it, as in client-go.
    std::fs::write(&path, kubeconfig(&server.url, "token: inline, tokenFile: token")).unwrap();
    let settings = Settings { kubeconfig: Some(path.clone()), user_agent: "a".into(), ..Settings::default() };
    let api: Api<Namespace> = Api::all(client(settings, &Metrics::new(), QUICK).await);
    assert!(api.get("default").await.is_err());
    assert_eq!(server.seen.lock().unwrap()[0].2.as_deref(), Some("Bearer old"), "without the line end");

    std::fs::write(&token, "new\n").unwrap();
    move_clock(6).await;
    api.get("default").await.expect("after a refusal the files are looked at soon, and the request is sent again");

    std::fs::write(&path, kubeconfig(&server.url, "token: inline")).unwrap();
    api.get("default").await.expect("not looked at yet");
    move_clock(61).await;
    assert!(api.get("default").await.is_err());
    assert_eq!(server.seen.lock().unwrap().last().unwrap().2.as_deref(), Some("Bearer inline"));

    std::fs::remove_file(&path).unwrap();
    move_clock(61).await;
    assert!(matches!(api.get("default").await, Err(kube::Error::Api(_))), "a file that is gone changes nothing");
}

#[tokio::test]
async fn a_plugin_is_asked_again_when_its_credentials_are_refused() {
    let server = Server::start(Box::new(|request| {
        let token = request.headers().get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
        Some(if token.as_deref() == Some("Bearer new") { namespace() } else { answer(401, "{}") })
    }))
    .await;
    let dir = tempfile::tempdir().unwrap();
    let (path, credential) = (dir.path().join("kubeconfig"), dir.path().join("credential"));
    // Without a time of its end.
    let put = |token: &str| {
        let credential_of = format!(
            r#"{{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{{"token":"{token}"}}}}"#
        );
        std::fs::write(&credential, credential_of).unwrap();
    };
    put("old");
    let plugin = format!(
        "exec: {{apiVersion: client.authentication.k8s.io/v1, command: cat, args: [\"{}\"], interactiveMode: Never}}",
        credential.display()
    );
    std::fs::write(&path, kubeconfig(&server.url, &plugin)).unwrap();
    let settings = Settings { kubeconfig: Some(path), user_agent: "a".into(), ..Settings::default() };
    let api: Api<Namespace> = Api::all(client(settings, &Metrics::new(), QUICK).await);
    assert!(api.get("default").await.is_err());
    put("new");
    move_clock(6).await;
    api.get("default").await.expect("after a refusal the plugin is asked again, and the request is sent again");
}

/// Moves tokio's clock while nothing is on its way.
async fn move_clock(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn what_cannot_be_used_is_said_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let failure =
        async |settings: Settings| Clients::new(settings, &Metrics::new()).client("test", QUICK).await.err().unwrap();
    let missing = dir.path().join("missing");
    let error = failure(Settings { kubeconfig: Some(missing.clone()), ..Settings::default() }).await;
    assert_eq!(error.to_string(), format!("read kubeconfig {}", missing.display()));
    let path = dir.path().join("kubeconfig");
    std::fs::write(&path, kubeconfig("http://127.0.0.1:1", "tokenFile: nowhere")).unwrap();
    let error = failure(Settings { kubeconfig: Some(path), ..Settings::default() }).await;
    assert_eq!(error.to_string(), format!("read {}", dir.path().join("nowhere").display()));
    let error = failure(Settings { master: Some("http://a b".into()), ..Settings::default() }).await;
    assert_eq!(error.to_string(), "--master \"http://a b\" is not a URL");
}

#[tokio::test]
async fn master_overrides_the_server_of_the_kubeconfig() {
    let server = Server::start(Box::new(|_| Some(namespace()))).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kubeconfig");
    std::fs::write(&path, kubeconfig("http://127.0.0.1:1", "token: t")).unwrap();
    let master = server.url.trim_start_matches("http://").to_owned();
    let settings = Settings { kubeconfig: Some(path), master: Some(master), ..server.settings() };
    Api::<Namespace>::all(client(settings, &Metrics::new(), QUICK).await).get("default").await.unwrap();
    assert_eq!(server.seen.lock().unwrap()[0].2.as_deref(), Some("Bearer t"));
}

#[tokio::test]
async fn a_broken_connection_is_tried_again_for_reads_only() {
    let metrics = Metrics::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let master = Some(listener.local_addr().unwrap().to_string());
    drop(listener);
    let settings = Settings { master, user_agent: "a".into(), ..Settings::default() };
    let policy = Policy { retries: 2, ..QUICK };
    let api: Api<Namespace> = Api::all(client(settings, &metrics, policy).await);
    assert!(api.get("default").await.is_err());
    assert!(api.create(&PostParams::default(), &Namespace::default()).await.is_err());
    let text = metrics.render();
    let count = |method: &str| {
        let line =
            text.lines().find(|line| line.starts_with("rest_client_requests_total{") && line.contains(method)).unwrap();
        line.rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!((count("GET").as_str(), count("POST").as_str()), ("3", "1"));
}

/// An API server that knows one service account by the tokens `t1`, `t2`, … and the main identity without one.
async fn issuer(
    answer_other: impl Fn(&Request<hyper::body::Incoming>, &str) -> Response<Full<Bytes>> + Send + Sync + 'static,
) -> Server {
    let issued = std::sync::atomic::AtomicUsize::new(0);
    let account = AtomicBool::new(false);
    Server::start(Box::new(move |request| {
        let accounts = "/api/v1/namespaces/kube-system/serviceaccounts";
        let path = request.uri().path();
        if path == format!("{accounts}/tagger/token") {
            if !account.load(Ordering::SeqCst) {
                return Some(failure(404, "no such account"));
            }
            let token = format!("t{}", issued.fetch_add(1, Ordering::SeqCst) + 1);
            let end = jiff::Timestamp::now() + Duration::from_secs(3600);
            let status = serde_json::json!({ "token": token, "expirationTimestamp": end.to_string() });
            let review = serde_json::json!({
                "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}, "status": status,
            });
            return Some(answer(201, &review.to_string()));
        }
        if path == accounts {
            account.store(true, Ordering::SeqCst);
            return Some(answer(201, r#"{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"tagger"}}"#));
        }
        let token = request.headers().get(header::AUTHORIZATION).map_or("", |value| value.to_str().unwrap());
        Some(answer_other(request, token))
    }))
    .await
}

fn failure(code: u16, message: &str) -> Response<Full<Bytes>> {
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": "x", "code": code,
    });
    answer(code, &status.to_string())
}

async fn tagger(server: &Server) -> Api<Namespace> {
    let settings = Settings { service_accounts: true, ..server.settings() };
    Api::all(Clients::new(settings, &Metrics::new()).controller("tagger", QUICK).await.unwrap())
}

impl Server {
    /// The credentials of the requests for namespaces, `-` for none.
    fn tokens(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        let asked = seen.iter().filter(|(_, uri, _)| uri.starts_with("/api/v1/namespaces/default"));
        asked.map(|(_, _, token)| token.as_deref().unwrap_or("-").trim_start_matches("Bearer ").to_owned()).collect()
    }

    fn token_requests(&self) -> usize {
        self.seen.lock().unwrap().iter().filter(|(_, uri, _)| uri.contains("/token")).count()
    }
}

#[tokio::test]
async fn a_controller_has_the_token_of_its_account_which_is_made_where_it_is_missing() {
    let server = issuer(|_, _| namespace()).await;
    let api = tagger(&server).await;
    assert_eq!(server.seen(), 0, "nothing happens before the first request");
    for _ in 0..3 {
        api.get("default").await.unwrap();
    }
    assert_eq!(server.tokens(), ["t1", "t1", "t1"]);
    assert_eq!(server.token_requests(), 2, "before and after the account was made");
    move_clock(2870).await;
    api.get("default").await.unwrap();
    move_clock(11).await;
    api.get("default").await.unwrap();
    assert_eq!(server.tokens()[3..], ["t1", "t2"], "renewed after 80 % of an hour");
}

#[tokio::test]
async fn a_token_that_is_refused_is_replaced_and_the_request_sent_again() {
    let server = issuer(|_, token| if token == "Bearer t1" { failure(401, "Unauthorized") } else { namespace() }).await;
    let api = tagger(&server).await;
    api.get("default").await.unwrap();
    assert_eq!(server.tokens(), ["t1", "t2"]);
    let never = issuer(|_, _| failure(401, "Unauthorized")).await;
    assert!(tagger(&never).await.get("default").await.is_err());
    assert_eq!(never.tokens(), ["t1", "t2"], "once");
}

#[tokio::test]
async fn what_the_account_may_not_do_is_done_with_the_main_identity_for_a_while() {
    let server = issuer(|request, token| match (request.method(), token) {
        (&Method::GET, "Bearer t1") => failure(
            403,
            "namespaces \"default\" is forbidden: User \"system:serviceaccount:kube-system:tagger\" cannot get resource \
             \"namespaces\" in API group \"\" in the namespace \"default\"",
        ),
        _ => namespace(),
    })
    .await;
    let api = tagger(&server).await;
    api.get("default").await.unwrap();
    api.get("default").await.unwrap();
    let patch = kube::api::Patch::Merge(serde_json::json!({}));
    api.patch("default", &kube::api::PatchParams::default(), &patch).await.unwrap();
    assert_eq!(server.tokens(), ["t1", "-", "-", "t1"], "refused once; what it may do, it does itself");
    move_clock(301).await;
    api.get("default").await.unwrap();
    assert_eq!(server.tokens()[4..], ["t1", "-"], "roles can be granted at any time");
}

#[tokio::test]
async fn what_something_else_forbids_is_not_tried_with_the_main_identity() {
    let server = issuer(|_, token| match token {
        "" => namespace(),
        _ => failure(403, "admission webhook \"policy\" denied the request: not today"),
    })
    .await;
    let error = tagger(&server).await.get("default").await.unwrap_err();
    assert!(error.to_string().contains("not today"), "{error}");
    assert_eq!(server.tokens(), ["t1"]);
}

#[tokio::test]
async fn without_a_token_the_main_identity_does_everything() {
    let server = Server::start(Box::new(|request| {
        Some(if request.uri().path().contains("serviceaccounts") { failure(403, "no") } else { namespace() })
    }))
    .await;
    let api = tagger(&server).await;
    api.get("default").await.unwrap();
    api.get("default").await.unwrap();
    assert_eq!((server.tokens(), server.token_requests()), (vec!["-".to_owned(); 2], 1));

    let off = issuer(|_, _| namespace()).await;
    let read_only = Settings { service_accounts: true, access: Access::ReadOnly, ..off.settings() };
    for settings in [off.settings(), read_only] {
        let client = Clients::new(settings, &Metrics::new()).controller("tagger", QUICK).await.unwrap();
        Api::<Namespace>::all(client).get("default").await.unwrap();
    }
    assert_eq!((off.tokens(), off.token_requests()), (vec!["-".to_owned(); 2], 0), "not asked for, or a dry run");
}

#[tokio::test]
async fn a_server_that_gives_no_token_for_a_moment_is_asked_again() {
    let first = AtomicBool::new(true);
    let server = Server::start(Box::new(move |request| {
        Some(match request.uri().path().contains("/token") {
            true if first.swap(false, Ordering::SeqCst) => failure(500, "a moment"),
            true => answer(201, r#"{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"audiences":[]},"status":{"token":"t","expirationTimestamp":"2020-01-01T00:00:00Z"}}"#),
            false => namespace(),
        })
    }))
    .await;
    let api = tagger(&server).await;
    api.get("default").await.unwrap();
    assert_eq!((server.tokens(), server.token_requests()), (vec!["t".to_owned()], 2));
    api.get("default").await.unwrap();
    assert_eq!(server.token_requests(), 2, "a life that is over at once is a wrong clock");
}

#[tokio::test]
async fn sizes_of_requests_and_responses_are_counted_but_those_of_watches_are_not() {
    let server = Server::start(Box::new(|_| Some(namespace()))).await;
    let metrics = Metrics::new();
    let client = client(server.settings(), &metrics, QUICK).await;
    Api::<Namespace>::all(client.clone()).get("default").await.unwrap();
    let watch = Request::get("/api/v1/namespaces?watch=true").body(kube::client::Body::empty()).unwrap();
    client.send(watch).await.unwrap().into_body().collect_bytes().await.unwrap();
    Api::<Namespace>::all(client).create(&PostParams::default(), &Namespace::default()).await.unwrap();
    let host = server.url.trim_start_matches("http://");
    let text = metrics.render();
    for line in [
        format!("rest_client_response_size_bytes_count{{host=\"{host}\",verb=\"GET\"}} 1\n"),
        format!("rest_client_response_size_bytes_sum{{host=\"{host}\",verb=\"GET\"}} 68\n"),
        format!("rest_client_request_size_bytes_count{{host=\"{host}\",verb=\"POST\"}} 1\n"),
        format!("rest_client_response_size_bytes_bucket{{host=\"{host}\",verb=\"GET\",le=\"1.6777216e+07\"}} 1\n"),
    ] {
        assert!(text.contains(&line), "{line}{text}");
    }
    assert_eq!(text.matches("rest_client_request_size_bytes_count{").count(), 1, "a read has no body");
}
