use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use crate::{Kind, cloud::Gate, cluster::token_bucket::TokenBucket};

/// What a scripted transport answers: a status with headers and body, or no answer.
#[derive(Clone)]
enum Scripted {
    Answer(u16, Vec<(&'static str, String)>, String),
    Nothing(Stage),
}

fn answer(status: u16, body: &str) -> Scripted {
    Scripted::Answer(status, Vec::new(), body.to_owned())
}

fn with_header(status: u16, name: &'static str, value: &str) -> Scripted {
    Scripted::Answer(status, vec![(name, value.to_owned())], String::new())
}

#[derive(Default)]
struct Script {
    answers: Mutex<VecDeque<Scripted>>,
    seen: Mutex<Vec<(String, HeaderMap)>>,
}

impl Script {
    fn new(answers: impl IntoIterator<Item = Scripted>) -> Arc<Self> {
        Arc::new(Self { answers: Mutex::new(answers.into_iter().collect()), seen: Mutex::default() })
    }

    fn calls(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    fn urls(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|(url, _)| url.clone()).collect()
    }

    fn headers(&self, name: &str) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter().map(|(_, headers)| headers[name].to_str().unwrap().to_owned()).collect()
    }
}

#[async_trait]
impl Transport for Script {
    async fn send(
        &self,
        request: HttpRequest<Bytes>,
        _limits: Limits,
    ) -> std::result::Result<HttpResponse<Bytes>, Failure> {
        let seen = (format!("{} {}", request.method(), request.uri()), request.headers().clone());
        self.seen.lock().unwrap().push(seen);
        match self.answers.lock().unwrap().pop_front().expect("one more call than the script has answers") {
            Scripted::Nothing(stage) => Err(Failure::new(stage, "scripted")),
            Scripted::Answer(status, headers, body) => {
                let mut response = HttpResponse::builder().status(status);
                for (name, value) in headers {
                    response = response.header(name, value);
                }
                Ok(response.body(body.into()).unwrap())
            }
        }
    }
}

fn url(text: &str) -> Url {
    text.parse().unwrap()
}

fn client(script: &Arc<Script>) -> Client {
    Client::builder(script.clone(), Gate::open()).build()
}

fn get() -> Request {
    Request::new("thing_get", Method::GET, url("http://cloud/things/1"))
}

fn post() -> Request {
    Request::new("thing_create", Method::POST, url("http://cloud/things"))
}

#[tokio::test(start_paused = true)]
async fn what_may_be_repeated_is_tried_again_and_nothing_else() {
    let retry_after = with_header(503, "retry-after", "1");
    for (request, first, repeated) in [
        (get(), answer(503, ""), true),
        (get(), answer(500, ""), true),
        (get(), answer(429, ""), true),
        (get(), answer(404, ""), false),
        (get(), answer(409, ""), false),
        (get(), answer(501, ""), false),
        (get(), Scripted::Nothing(Stage::Connect), true),
        (get(), Scripted::Nothing(Stage::TimedOut), true),
        (get(), Scripted::Nothing(Stage::Broken), true),
        (get(), Scripted::Nothing(Stage::TooLarge), false),
        (get(), Scripted::Nothing(Stage::Unusable), false),
        (post(), answer(503, ""), false),
        (post(), answer(500, ""), false),
        (post(), retry_after, true),
        (post(), answer(429, ""), true),
        (post(), Scripted::Nothing(Stage::Connect), true),
        (post(), Scripted::Nothing(Stage::TimedOut), false),
        (post(), Scripted::Nothing(Stage::Broken), false),
        (post().idempotent(true), Scripted::Nothing(Stage::Broken), true),
        (post().busy(StatusCode::CONFLICT), answer(409, ""), true),
    ] {
        let script = Script::new([first, answer(200, "{}")]);
        let result = client(&script).send(request.clone()).await;
        assert_eq!((script.calls(), result.is_ok()), if repeated { (2, true) } else { (1, false) }, "{request:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_end_and_the_error_tells_how_many_there_were() {
    let script = Script::new(vec![answer(502, ""); 4]);
    let error = client(&script).send(get()).await.unwrap_err();
    assert_eq!((script.calls(), error.kind()), (4, &Kind::Transient));
    assert!(error.to_string().contains("(4 attempts in "), "{error}");
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_obeyed_where_it_fits_and_else_handed_on() {
    let script = Script::new([with_header(429, "retry-after", "7"), answer(200, "")]);
    let start = Instant::now();
    client(&script).send(get()).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(7));
    let script = Script::new([with_header(429, "retry-after", "600")]);
    let error = client(&script).send(get()).await.unwrap_err();
    assert_eq!(error.kind(), &Kind::Throttled { retry_after: Some(Duration::from_secs(600)) });
}

#[tokio::test(start_paused = true)]
async fn after_a_429_calls_to_this_service_wait_for_their_turn_and_those_to_others_do_not() {
    let script = Script::new(std::iter::once(answer(429, "")).chain(std::iter::repeat_n(answer(200, ""), 21)));
    let client = Client::builder(script.clone(), Gate::open()).retry(Retry::never()).build();
    let to = |path: &str| Request::new("list", Method::GET, url(&format!("http://cloud.example{path}")));
    client.send(to("/network/v2.0/ports")).await.unwrap_err();
    let start = Instant::now();
    for _ in 0..10 {
        client.send(to("/compute/v2.1/servers")).await.unwrap();
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    for _ in 0..11 {
        client.send(to("/network/v2.0/networks")).await.unwrap();
    }
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
}

#[test]
fn retry_after_has_two_forms() {
    let read = |text: &str| retry::retry_after(&HeaderMap::from_iter([(header::RETRY_AFTER, text.parse().unwrap())]));
    assert_eq!(read("120"), Some(Duration::from_secs(120)));
    assert_eq!(read("Fri, 31 Dec 1999 23:59:59 GMT"), Some(Duration::ZERO));
    let later = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(90);
    let later = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&later).unwrap();
    assert!(read(&later).is_some_and(|wait| wait.as_secs() > 80 && wait.as_secs() <= 90), "{later}");
    for odd in ["", "soon", "-1", "1e400", "NaN"] {
        assert_eq!(read(odd), None, "{odd}");
    }
}

#[tokio::test]
async fn the_gate_holds_writes_back_before_they_are_sent() {
    let script = Script::new([answer(200, "")]);
    let client = Client::builder(script.clone(), Gate::dry_run()).build();
    assert_eq!(client.send(post()).await.unwrap_err().kind(), &Kind::Refused);
    assert_eq!(script.calls(), 0);
    client.send(post().access(crate::cloud::Access::Read)).await.unwrap();
    assert_eq!(script.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_closes_while_a_request_waits_holds_it_back() {
    let gate = Gate::open();
    let leading = Arc::new(AtomicBool::new(true));
    let answer_of = leading.clone();
    gate.open_while(Arc::new(move || answer_of.load(Ordering::SeqCst)));
    let script = Script::new([with_header(429, "retry-after", "5")]);
    let client = Client::builder(script.clone(), gate).build();
    let sent = tokio::spawn(async move { client.send(post()).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    leading.store(false, Ordering::SeqCst);
    assert_eq!(sent.await.unwrap().unwrap_err().kind(), &Kind::Refused);
    assert_eq!(script.calls(), 1);
}

/// Gives tokens `t1`, `t2`, …
#[derive(Default)]
struct Counting {
    fetched: AtomicUsize,
    fails: AtomicBool,
    lifetime: Option<Duration>,
}

#[async_trait]
impl Fetch for Counting {
    type Value = String;

    async fn fetch(&self) -> crate::error::Result<Token<String>> {
        let number = 1 + self.fetched.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(10)).await;
        match self.fails.load(Ordering::SeqCst) {
            true => Err(crate::Error::new(Kind::Denied { permission: None }, "wrong password")),
            false => Ok(Token { value: format!("token{number}"), lifetime: self.lifetime }),
        }
    }
}

struct ByHeader(TokenCache<Counting>);

#[async_trait]
impl Authorization for ByHeader {
    async fn authorize(&self, request: &mut HttpRequest<Bytes>) -> crate::error::Result<u64> {
        let lease = self.0.get().await?;
        request.headers_mut().insert("x-auth-token", lease.value.parse().unwrap());
        Ok(lease.number)
    }

    fn refused(&self, proof: u64) {
        self.0.refuse(proof);
    }

    fn secrets(&self) -> Vec<String> {
        self.0.current().iter().map(|lease| (*lease.value).clone()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_replaced_once_and_a_second_refusal_is_the_answer() {
    let tokens = Arc::new(ByHeader(TokenCache::new(Counting::default())));
    let script = Script::new([answer(401, ""), answer(200, "")]);
    Client::builder(script.clone(), Gate::open()).authorization(tokens.clone()).build().send(post()).await.unwrap();
    assert_eq!(script.headers("x-auth-token"), ["token1", "token2"]);
    let script = Script::new([answer(401, ""), answer(401, "")]);
    let client = Client::builder(script.clone(), Gate::open()).authorization(tokens).build();
    let error = client.send(post()).await.unwrap_err();
    assert_eq!((error.kind(), script.calls()), (&Kind::Denied { permission: None }, 2));
}

#[tokio::test(start_paused = true)]
async fn many_callers_share_one_fetch_also_after_a_refusal() {
    let cache = TokenCache::new(Counting::default());
    let all = futures::future::join_all((0..50).map(|_| cache.get())).await;
    assert!(all.iter().all(|lease| *lease.as_ref().unwrap().value == "token1"));
    for _ in 0..50 {
        cache.refuse(1);
    }
    futures::future::join_all((0..50).map(|_| cache.get())).await;
    cache.refuse(1);
    assert_eq!(*cache.get().await.unwrap().value, "token2");
    assert_eq!(cache.source().fetched.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_early_by_one_caller_and_outlives_a_failed_renewal() {
    let cache = TokenCache::new(Counting { lifetime: Some(Duration::from_secs(3600)), ..Counting::default() });
    cache.get().await.unwrap();
    tokio::time::advance(Duration::from_secs(3400)).await;
    assert_eq!(*cache.get().await.unwrap().value, "token1");
    tokio::time::advance(Duration::from_secs(100)).await;
    cache.source().fails.store(true, Ordering::SeqCst);
    for _ in 0..5 {
        assert_eq!(*cache.get().await.unwrap().value, "token1", "the renewal failed, the token is good");
    }
    assert_eq!(cache.source().fetched.load(Ordering::SeqCst), 2);
    cache.source().fails.store(false, Ordering::SeqCst);
    tokio::time::advance(Duration::from_secs(2)).await;
    let all = futures::future::join_all((0..10).map(|_| cache.get())).await;
    let values: Vec<&str> = all.iter().map(|lease| lease.as_ref().unwrap().value.as_str()).collect();
    assert_eq!(values.iter().filter(|value| **value == "token3").count(), 1, "{values:?}");
    assert_eq!(cache.source().fetched.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn a_failed_fetch_is_not_repeated_for_a_pause_that_grows_to_a_minute() {
    let cache = TokenCache::new(Counting { fails: AtomicBool::new(true), ..Counting::default() });
    for _ in 0..600 {
        for _ in 0..5 {
            let error = cache.get().await.unwrap_err();
            assert!(error.chain().contains("wrong password"), "{}", error.chain());
        }
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    // 1 + 2 + 4 + … + 32 seconds, then once a minute.
    let asked = cache.source().fetched.load(Ordering::SeqCst);
    assert!((14..=17).contains(&asked), "{asked}");
}

#[tokio::test(start_paused = true)]
async fn requests_are_slowed_to_the_rate() {
    let script = Script::new(vec![answer(200, ""); 11]);
    let bucket = Arc::new(TokenBucket::new(10.0, 1));
    let client = Client::builder(script.clone(), Gate::open()).rate(bucket).build();
    let start = Instant::now();
    for _ in 0..11 {
        client.send(get()).await.unwrap();
    }
    assert!(start.elapsed() >= Duration::from_millis(990), "{:?}", start.elapsed());
}

#[tokio::test]
async fn redirections_stay_on_the_host_and_never_leave_tls() {
    for (from, to, followed) in [
        ("http://cloud/a", "/b", Some("GET http://cloud/b")),
        ("http://cloud/a", "https://cloud/b", Some("GET https://cloud/b")),
        ("https://cloud/a", "http://cloud/b", None),
        ("https://cloud/a", "https://elsewhere/b", None),
        ("https://cloud/a", "https://cloud:8443/b", None),
    ] {
        let script = Script::new([with_header(302, "location", to), answer(200, "")]);
        let request = Request::new("thing_get", Method::GET, url(from));
        let result = client(&script).send(request).await;
        assert_eq!(result.is_ok(), followed.is_some(), "{from} {to}");
        assert_eq!(script.urls().get(1).map(String::as_str), followed, "{from} {to}");
    }
    let script = Script::new(vec![with_header(302, "location", "/again"); 6]);
    assert!(client(&script).send(get()).await.is_err(), "a circle ends");
}

#[tokio::test]
async fn pages_are_followed_on_the_own_host_only_and_must_end() {
    fn read(response: &Response) -> Result<Page<u32>> {
        let value: Value = response.json()?;
        let entries = value["list"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as u32).collect();
        Ok(Page { entries, next: value["next"].as_str().map(str::to_owned) })
    }
    let page = |list: Value, next: Option<&str>| answer(200, &json!({"list": list, "next": next}).to_string());
    let first = || Request::new("thing_list", Method::GET, url("https://cloud/v2/things?limit=2"));

    let script = Script::new([
        page(json!([1, 2]), Some("?limit=2&marker=2")),
        page(json!([3, 4]), Some("http://inside:9696/v2/things?limit=2&marker=4")),
        page(json!([5]), None),
    ]);
    assert_eq!(pages(&client(&script), first(), read).await.unwrap(), [1, 2, 3, 4, 5]);
    assert_eq!(
        script.urls()[1..],
        ["GET https://cloud/v2/things?limit=2&marker=2", "GET https://cloud/v2/things?limit=2&marker=4"]
    );

    let script = Script::new([page(json!([1]), Some("?marker=1")), page(json!([]), Some("?marker=1"))]);
    assert_eq!(pages(&client(&script), first(), read).await.unwrap(), [1], "an empty page ends the list");

    let script = Script::new(vec![page(json!([1]), Some("?marker=1")); 3]);
    assert!(pages(&client(&script), first(), read).await.is_err(), "pages in a circle");

    let script = Script::new([page(json!([1]), Some("?marker=1")), answer(403, "")]);
    assert!(pages(&client(&script), first(), read).await.is_err(), "half a list proves nothing");
}

#[tokio::test(start_paused = true)]
async fn polling_is_bounded_and_lives_through_outages() {
    let polling = Polling { total: Duration::from_secs(60), ..Polling::default() };
    let looks = AtomicU64::new(0);
    let done = polling.until("thing 1", async || match looks.fetch_add(1, Ordering::SeqCst) {
        0 => Ok(Progress::Pending),
        1 => Err(crate::Error::transient("no answer")),
        2 => Err(crate::Error::new(Kind::Throttled { retry_after: Some(Duration::from_secs(5)) }, "later")),
        _ => Ok(Progress::Done("x")),
    });
    assert_eq!(done.await.unwrap(), "x");

    let start = Instant::now();
    let late = polling.until("thing 1", async || Ok(Progress::<()>::Pending)).await.unwrap_err();
    assert!(matches!(late.kind(), Kind::Pending { .. }) && start.elapsed() <= Duration::from_secs(60));
    let gone = polling.until("thing 1", async || Err::<Progress<()>, _>(crate::Error::not_found("thing 1"))).await;
    assert!(gone.unwrap_err().is_not_found(), "a failure that is none of the server's ends the wait");
}

#[derive(Default)]
struct Counted(Mutex<Vec<String>>);

impl Observer for Counted {
    fn attempt(&self, attempt: &Observed<'_>) {
        self.0.lock().unwrap().push(format!("attempt {} {:?}", attempt.attempts, attempt.status.map(|s| s.as_u16())));
    }

    fn call(&self, call: &Observed<'_>) {
        self.0.lock().unwrap().push(format!("{} {} failed {}", call.operation, call.attempts, call.failed));
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_and_calls_are_counted_and_a_tolerated_status_is_no_failure() {
    let counted = Arc::new(Counted::default());
    let script = Script::new([answer(503, ""), answer(404, ""), answer(200, "")]);
    let client = Client::builder(script, Gate::open()).observer(counted.clone()).build();
    let delete = Request::new("thing_delete", Method::DELETE, url("http://cloud/things/1"));
    let response = client.send(delete.tolerate(StatusCode::NOT_FOUND)).await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    client.send(get().unmeasured()).await.unwrap();
    let lines = counted.0.lock().unwrap().clone();
    assert_eq!(lines, ["attempt 1 Some(503)", "attempt 2 Some(404)", "thing_delete 2 failed false"]);
}

#[test]
fn statuses_have_their_kinds() {
    let kind = |status: u16| {
        let response = HttpResponse::builder().status(status).body(Bytes::new()).unwrap();
        Error::answered(&get(), &response, &Plain, []).kind().clone()
    };
    assert_eq!(kind(404), Kind::NotFound);
    assert_eq!(kind(409), Kind::Conflict);
    assert_eq!(kind(412), Kind::Conflict);
    assert_eq!(kind(403), Kind::Denied { permission: Some("thing_get".into()) });
    assert_eq!(kind(429), Kind::Throttled { retry_after: None });
    assert_eq!(kind(501), Kind::Unsupported);
    assert_eq!(kind(400), Kind::Invalid { field: "request".into() });
    assert_eq!(kind(413), Kind::Quota);
    for status in [500, 502, 503, 504, 302, 418] {
        assert_eq!(kind(status), Kind::Transient, "{status}");
    }
}

/// Repeats whatever was sent, as some services do in their messages.
struct Echoing;

impl Dialect for Echoing {
    fn explain(&self, _: StatusCode, _: &HeaderMap, body: &[u8]) -> Explanation {
        Explanation { message: String::from_utf8_lossy(body).into_owned(), ..Explanation::default() }
    }
}

#[tokio::test]
async fn secrets_are_in_no_error() {
    let tokens = Arc::new(ByHeader(TokenCache::new(Counting::default())));
    let script =
        Script::new([answer(400, "bad password s3cr3t with token1"), with_header(400, "x-request-id", "req-1")]);
    let client = Client::builder(script, Gate::open())
        .dialect(Arc::new(Echoing))
        .authorization(tokens)
        .secrets(["s3cr3t".to_owned()])
        .build();
    let request =
        Request::new("login", Method::GET, url("http://user:s3cr3t@cloud/a?token=s3cr3t&name=b&X-Signature=s3cr3t"));
    let error = client.send(request).await.unwrap_err();
    let (text, debug) = (error.to_string(), format!("{error:?}"));
    assert!(!text.contains("s3cr3t") && !debug.contains("s3cr3t") && !text.contains("token1"), "{text}");
    assert!(text.contains("bad password *** with ***") && text.contains("name=b"), "{text}");
    let error = crate::Error::from(client.send(get()).await.unwrap_err());
    assert_eq!(error.request_id(), Some("req-1"));
}

#[test]
fn headers_and_bodies_are_shown_without_secrets() {
    let mut headers = HeaderMap::new();
    let mut sensitive = HeaderValue::from_static("hidden");
    sensitive.set_sensitive(true);
    headers.insert("x-odd", sensitive);
    headers.insert("x-auth-token", HeaderValue::from_static("hidden"));
    headers.insert("accept", HeaderValue::from_static("application/json"));
    assert_eq!(redact::headers(&headers), "x-odd: ***, x-auth-token: ***, accept: application/json");
    let body = json!({"auth": {"identity": {"password": {"user": {"name": "u", "password": "hidden"}}}},
        "list": [{"adminPass": "hidden", "application_credential": {"secret": "hidden"}}], "name": "n", "token": null});
    let shown = redact::body(body.to_string().as_bytes());
    assert!(!shown.contains("hidden") && shown.contains("\"name\":\"n\""), "{shown}");
    assert_eq!(redact::body(b"hidden=1"), "(8 bytes)");
    assert_eq!(redact::body(b""), "");
}

#[tokio::test]
async fn the_production_transport_reads_no_answer_beyond_its_limit_and_tells_how_far_it_got() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        for answer in [
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n14\r\naaaaaaaaaaaaaaaaaaaa\r\n0\r\n\r\n",
            "garbage\r\n\r\n",
            "",
        ] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 1024];
            let _ = stream.read(&mut buffer).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    let https = Https::new(Settings { no_proxy: true, ..Settings::default() }).unwrap();
    let limits = Limits { time: Duration::from_secs(10), body: 10 };
    let send = async || {
        let request = HttpRequest::get(format!("http://{address}/")).body(Bytes::new()).unwrap();
        https.send(request, limits).await
    };
    assert_eq!(send().await.unwrap().body(), "hello");
    assert_eq!(send().await.unwrap_err().stage, Stage::TooLarge);
    assert_eq!(send().await.unwrap_err().stage, Stage::TooLarge);
    assert_eq!(send().await.unwrap_err().stage, Stage::Broken);
    assert_eq!(send().await.unwrap_err().stage, Stage::Broken);
    server.await.unwrap();
    assert_eq!(send().await.unwrap_err().stage, Stage::Connect);
}

#[test]
fn files_of_certificates_are_told_by_the_setting_that_names_them() {
    let settings = |pem| Settings { authorities: Some(pem), ..Settings::default() };
    let missing = Pem::File { setting: "ca-file", path: "/nowhere/ca.pem".into() };
    let error = Https::new(settings(missing)).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (&Kind::Invalid { field: "ca-file".into() }, "read /nowhere/ca.pem")
    );
    for text in ["", "hidden", "-----BEGIN CERTIFICATE-----\nhidden\n-----END CERTIFICATE-----\n"] {
        let error = Https::new(settings(Pem::Text { setting: "cafilecontents", text: text.into() })).unwrap_err();
        assert!(
            error.chain().contains("cafilecontents")
                || error.kind() == &Kind::Invalid { field: "cafilecontents".into() }
        );
        assert!(!error.chain().contains("hidden"), "{}", error.chain());
    }
}

#[tokio::test]
async fn a_server_is_trusted_by_the_given_authority_and_asks_for_our_certificate() {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    let folder = tempfile::tempdir().unwrap();
    let ca_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::new(params, ca_key);
    let issue = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        (certificate, key)
    };
    let (server, server_key) = issue("127.0.0.1");
    let (own, own_key) = issue("client");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(server_key.serialize_der()));
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![server.der().clone()], key)
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let serving = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut buffer = [0; 1024];
            let _ = stream.read(&mut buffer).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await;
            let _ = stream.shutdown().await;
        }
    });
    let (certificate, key) = (folder.path().join("own.pem"), folder.path().join("own.key"));
    std::fs::write(&certificate, own.pem()).unwrap();
    std::fs::write(&key, own_key.serialize_pem()).unwrap();
    let identity = Identity {
        certificate: Pem::File { setting: "cert-file", path: certificate },
        key: Pem::File { setting: "key-file", path: key },
    };
    let trusting = || Some(Pem::Text { setting: "cafilecontents", text: ca.pem() });
    let ask = async |settings: Settings| {
        let https = Https::new(Settings { no_proxy: true, ..settings }).unwrap();
        let request = HttpRequest::get(format!("https://{address}/")).body(Bytes::new()).unwrap();
        https.send(request, Limits { time: Duration::from_secs(10), body: 10 }).await
    };
    let both = ask(Settings { authorities: trusting(), identity: Some(identity.clone()), ..Settings::default() }).await;
    assert_eq!(both.unwrap().body(), "ok");
    assert!(ask(Settings { authorities: trusting(), ..Settings::default() }).await.is_err(), "no certificate of ours");
    assert!(
        ask(Settings { identity: Some(identity.clone()), ..Settings::default() }).await.is_err(),
        "not the system's authority"
    );
    let unchecked = ask(Settings { insecure: true, identity: Some(identity), ..Settings::default() }).await;
    assert_eq!(unchecked.unwrap().body(), "ok");
    serving.abort();
}

proptest! {
    #[test]
    fn nothing_in_an_answer_panics(
        status in 100u16..600,
        headers in prop::collection::vec((prop::sample::select(vec!["retry-after", "location", "x-request-id", "x-other"]), "[ -~]{0,40}"), 0..4),
        body in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let mut response = HttpResponse::builder().status(status);
        for (name, value) in &headers {
            response = response.header(*name, value);
        }
        let response = response.body(Bytes::from(body.clone())).unwrap();
        let error = Error::answered(&get(), &response, &Plain, []);
        prop_assert!(!error.to_string().is_empty());
        let _ = retry::retry_after(response.headers());
        let _ = redact::headers(response.headers());
        let _ = redact::body(&body);
    }

    #[test]
    fn no_link_to_a_next_page_leaves_the_host(link in ".{0,60}") {
        let here = url("https://cloud/v2/things?limit=2");
        if let Some(next) = pages::next(&here, &link) {
            prop_assert_eq!(next.origin(), here.origin());
        }
    }

    #[test]
    fn a_known_secret_is_in_no_shown_text(before in ".{0,20}", secret in "[a-zA-Z0-9]{4,20}", after in ".{0,20}") {
        let shown = redact::text(&format!("{before}{secret}{after}"), [secret.as_str()]);
        prop_assert!(!shown.contains(&secret) || redact::MASK.contains(&secret), "{}", shown);
    }
}
