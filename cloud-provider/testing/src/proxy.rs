//! A proxy in front of the API server that makes trouble on demand and notes every request.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::ControlPlane;

/// A request that came through.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its method.
    pub method: Method,
    /// Its path without the query.
    pub path: String,
    /// Whether it is a watch.
    pub watch: bool,
    /// When it came.
    pub at: Instant,
    /// The answer; `None` where there was none.
    pub status: Option<StatusCode>,
}

/// A running proxy: plain HTTP on loopback. Dropping it breaks all connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Script {
    seen: Vec<Seen>,
    /// What has had its conflict, by method and path.
    refused: HashSet<String>,
}

struct State {
    client: Client,
    upstream: String,
    cut: AtomicBool,
    conflicts: AtomicBool,
    script: Mutex<Script>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("upstream", &self.upstream).finish_non_exhaustive()
    }
}

impl Proxy {
    /// A proxy to the API server with the credentials in `kubeconfig`, which are those of everybody who comes through.
    ///
    /// # Errors
    /// When the kubeconfig cannot be used, or no port is free.
    pub async fn start(plane: &ControlPlane, kubeconfig: &str) -> anyhow::Result<Self> {
        let parsed = Kubeconfig::from_yaml(kubeconfig).context("read the kubeconfig")?;
        let mut config = Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default()).await?;
        // Those behind the proxy shall see every failure.
        config.default_retry = false;
        config.read_timeout = None;
        let upstream = plane.url().trim_start_matches("https://").to_owned();
        let state = Arc::new(State {
            client: Client::try_from(config).context("make a client")?,
            upstream,
            cut: AtomicBool::new(false),
            conflicts: AtomicBool::new(false),
            script: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listen on loopback")?;
        let address = listener.local_addr().context("find out the port")?;
        Ok(Self { address, task: tokio::spawn(accept(listener, Arc::clone(&state))), state })
    }

    /// A kubeconfig that leads here.
    pub fn kubeconfig(&self) -> String {
        serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
            "clusters": [{ "name": "proxy", "cluster": { "server": format!("http://{}", self.address) } }],
            "contexts": [{ "name": "proxy", "context": { "cluster": "proxy", "user": "proxy" } }],
            "users": [{ "name": "proxy", "user": {} }],
        })
        .to_string()
    }

    /// From now on, or no longer: no request is answered, its connection ends instead, and watches that run end too.
    pub fn cut(&self, cut: bool) {
        self.state.cut.store(cut, Ordering::SeqCst);
    }

    /// From now on, or no longer: the first PUT, PATCH or DELETE of each object, status apart, is answered with a
    /// conflict.
    pub fn conflict_on_first_writes(&self, conflicts: bool) {
        self.state.conflicts.store(conflicts, Ordering::SeqCst);
    }

    /// All requests so far, oldest first.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.lock().seen.clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends when the connections are to be cut.
    async fn until_cut(&self) {
        while !self.cut.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> io::Result<Response<Body>> {
        let seen = Seen {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            watch: request.uri().query().is_some_and(|query| query.contains("watch=true")),
            at: Instant::now(),
            status: None,
        };
        let nth = {
            let mut script = self.lock();
            script.seen.push(seen);
            script.seen.len() - 1
        };
        let answer = self.pass_on(request).await?;
        self.lock().seen[nth].status = Some(answer.status());
        Ok(answer)
    }

    async fn pass_on(&self, request: Request<Incoming>) -> io::Result<Response<Body>> {
        if self.cut.load(Ordering::SeqCst) {
            return Err(io::Error::other("cut off"));
        }
        // An API server that is away refuses connections, and so does this.
        drop(TcpStream::connect(&self.upstream).await?);
        let (mut parts, body) = request.into_parts();
        if self.is_first_write(&parts.method, parts.uri.path()) {
            return Ok(conflict());
        }
        parts.headers.remove(header::HOST);
        parts.headers.remove(header::CONNECTION);
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        self.client.send(Request::from_parts(parts, Body::from(body))).await.map_err(io::Error::other)
    }

    fn is_first_write(&self, method: &Method, path: &str) -> bool {
        let write = [Method::PUT, Method::PATCH, Method::DELETE].contains(method);
        write && self.conflicts.load(Ordering::SeqCst) && self.lock().refused.insert(format!("{method} {path}"))
    }
}

fn conflict() -> Response<Body> {
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Conflict", "code": 409,
        "message": "the object has been modified; please apply your changes to the latest version and try again",
    });
    let mut response = Response::new(Body::from(Bytes::from(status.to_string())));
    *response.status_mut() = StatusCode::CONFLICT;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        while connections.try_join_next().is_some() {}
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let serving = Arc::clone(&state);
            let service = service_fn(move |request| {
                let state = Arc::clone(&serving);
                async move { state.answer(request).await }
            });
            let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                // An error is an answer that was withheld.
                _ = served => {}
                () = async {
                    state.until_cut().await;
                    // Requests that come now are noted before their connection ends.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                } => {}
            }
        });
    }
}
