//! The cloud on loopback, for controllers in processes of their own, with an endpoint that scripts it.
//!
//! Whoever holds the [`Backend`] scripts it directly. For others there is `/control`; bodies and answers are JSON.
//!
//! | Request | What it does |
//! |---|---|
//! | `GET /control/health` | `{"ready":true}` |
//! | `GET /control/calls` | calls and failures by operation |
//! | `DELETE /control/calls` | forgets all calls |
//! | `GET /control/machines` | all machines |
//! | `POST /control/machines` | `{"names":["a","b"]}` starts machines, answers their IDs |
//! | `PUT /control/machines/NAME` | `"running"` or `"stopped"` |
//! | `DELETE /control/machines/NAME` | terminates one |
//! | `GET /control/load-balancers` | all load balancers |
//! | `DELETE /control/load-balancers/NAME` | removes one by hand |
//! | `PUT /control/pace` | `{"latency_ms":20,"settling_ms":700}` |
//! | `POST /control/faults` | `{"operation":"SetBackends","fault":{"Error":"Transient"},"times":3}`; without an operation all are struck, without a number for ever; others are `"LostAnswer"`, `{"Throttle":{"retry_after":null}}`, `{"Delay":{"secs":2,"nanos":0}}` |
//! | `DELETE /control/faults` | ends all that goes wrong |

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use cloud_provider::error::{Error, Result};
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use super::backend::Backend;
use super::calls::{Fault, Operation, Request, Rule};
use super::instances::DescribeMachines;
use super::load_balancers::{ChangeLoadBalancer, DescribeLoadBalancer, ListNames};
use super::model::Power;
use super::routes::{ChangeRoute, DescribeRoutes};
use super::volumes::DescribeDisks;
use super::wire::{Failure, FailureKind};

/// Larger requests are refused; 5,000 backends have some 70 KiB.
const LARGEST: usize = 16 << 20;

/// A [`Backend`] that other processes reach. Dropping it closes all connections.
#[derive(Debug)]
pub struct Served {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Served {
    /// What controllers get as `Endpoint`, and the base of `/control`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A cloud config with which `memory-cloud-controller-manager` uses this cloud.
    pub fn cloud_config(&self) -> String {
        format!("[Global]\nEndpoint = {}\n", self.url())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Backend {
    /// Serves this cloud on loopback; port 0 is any that is free.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn serve(self: &Arc<Self>, port: u16) -> anyhow::Result<Served> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.context("listen on loopback")?;
        let address = listener.local_addr().context("find out the port")?;
        Ok(Served { address, task: tokio::spawn(accept(listener, Arc::clone(self))) })
    }
}

async fn accept(listener: TcpListener, backend: Arc<Backend>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, most likely: connections that end make room.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let backend = Arc::clone(&backend);
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let backend = Arc::clone(&backend);
                async move { Ok::<_, Infallible>(answer(&backend, request).await) }
            });
            if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
}

async fn answer(backend: &Backend, request: http::Request<Incoming>) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let answered = match Limited::new(body, LARGEST).collect().await {
        Ok(body) => route(backend, &parts.method, parts.uri.path(), &body.to_bytes()).await,
        Err(error) => Err(Error::invalid("body", error.to_string())),
    };
    let (status, body) = match answered {
        Ok(body) => (StatusCode::OK, body),
        Err(error) => (StatusCode::BAD_REQUEST, json(&Failure::from(&error)).unwrap_or_default()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

async fn route(backend: &Backend, method: &Method, path: &str, body: &[u8]) -> Result<Vec<u8>> {
    match path.strip_prefix("/api/") {
        Some(DescribeMachines::PATH) => call::<DescribeMachines>(backend, body).await,
        Some(DescribeDisks::PATH) => call::<DescribeDisks>(backend, body).await,
        Some(DescribeLoadBalancer::PATH) => call::<DescribeLoadBalancer>(backend, body).await,
        Some(ListNames::PATH) => call::<ListNames>(backend, body).await,
        Some(ChangeLoadBalancer::PATH) => call::<ChangeLoadBalancer>(backend, body).await,
        Some(DescribeRoutes::PATH) => call::<DescribeRoutes>(backend, body).await,
        Some(ChangeRoute::PATH) => call::<ChangeRoute>(backend, body).await,
        _ => {
            let parts: Vec<&str> = path.split('/').skip(1).collect();
            control(backend, method, &parts, body)
        }
    }
}

async fn call<R: Request>(backend: &Backend, body: &[u8]) -> Result<Vec<u8>> {
    let request: R = parse(body)?;
    json(&backend.answer(&request).await?)
}

/// How often an operation was called, and how often it failed.
#[derive(Debug, Default, Serialize)]
struct Counted {
    calls: u64,
    failed: u64,
}

#[derive(Deserialize)]
struct Names {
    names: Vec<String>,
}

#[derive(Deserialize)]
struct Pace {
    latency_ms: Option<u64>,
    settling_ms: Option<u64>,
}

#[derive(Deserialize)]
struct Script {
    operation: Option<Operation>,
    fault: ScriptedFault,
    times: Option<u32>,
}

/// [`Fault`] with a form in JSON.
#[derive(Deserialize)]
enum ScriptedFault {
    Throttle { retry_after: Option<Duration> },
    Error(FailureKind),
    LostAnswer,
    Delay(Duration),
}

impl From<Script> for Rule {
    fn from(script: Script) -> Self {
        let fault = match script.fault {
            ScriptedFault::Throttle { retry_after } => Fault::Throttle { retry_after },
            ScriptedFault::Error(kind) => Fault::Error(kind.into()),
            ScriptedFault::LostAnswer => Fault::LostAnswer,
            ScriptedFault::Delay(time) => Fault::Delay(time),
        };
        let rule = match script.operation {
            Some(operation) => Self::on(operation, fault),
            None => Self::always(fault),
        };
        script.times.into_iter().fold(rule, Self::times)
    }
}

fn control(backend: &Backend, method: &Method, path: &[&str], body: &[u8]) -> Result<Vec<u8>> {
    match (method, path) {
        (&Method::GET, ["control", "health"]) => json(&serde_json::json!({ "ready": true })),
        (&Method::GET, ["control", "calls"]) => {
            let mut counts: BTreeMap<String, Counted> = BTreeMap::new();
            for call in backend.calls() {
                let counted = counts.entry(call.operation.to_string()).or_default();
                counted.calls += 1;
                counted.failed += u64::from(call.failure.is_some());
            }
            json(&counts)
        }
        (&Method::DELETE, ["control", "calls"]) => json(&backend.forget_calls()),
        (&Method::GET, ["control", "machines"]) => json(&backend.machines()),
        (&Method::POST, ["control", "machines"]) => {
            let Names { names } = parse(body)?;
            json(&names.into_iter().map(|name| backend.start_machine(name)).collect::<Vec<_>>())
        }
        (&Method::PUT, ["control", "machines", name]) => json(&backend.set_power(name, parse::<Power>(body)?)),
        (&Method::DELETE, ["control", "machines", name]) => json(&backend.terminate(name)),
        (&Method::GET, ["control", "load-balancers"]) => json(&backend.load_balancers()),
        (&Method::DELETE, ["control", "load-balancers", name]) => json(&backend.remove_load_balancer(name)),
        (&Method::GET, ["control", "routes"]) => json(&backend.routes()),
        (&Method::PUT, ["control", "pace"]) => {
            let pace: Pace = parse(body)?;
            if let Some(ms) = pace.latency_ms {
                backend.set_latency(Duration::from_millis(ms));
            }
            if let Some(ms) = pace.settling_ms {
                backend.set_settling(Duration::from_millis(ms));
            }
            json(&())
        }
        (&Method::POST, ["control", "faults"]) => json(&backend.inject(parse::<Script>(body)?.into())),
        (&Method::DELETE, ["control", "faults"]) => json(&backend.heal()),
        _ => Err(Error::not_found(format!("there is no {method} /{}", path.join("/")))),
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| Error::invalid("body", error.to_string()))
}

fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::transient("write the answer").with_source(error))
}
