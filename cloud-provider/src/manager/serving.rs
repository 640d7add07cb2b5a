//! The secure port: HTTPS with authentication and authorization in front of a few paths, everything bounded.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::pki_types::CertificateDer;
use serde_json::json;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::authn::{Access, Decision, Unauthorized};
use super::healthz::Checks;
use super::options::ServingSettings;
use crate::metrics::{self, Metrics};

#[cfg(test)]
mod tests;
mod tls;

pub use tls::Error as TlsError;
use tls::Tls;

/// Connections at once; others wait to be accepted.
const CONNECTIONS: usize = 256;
/// From accepting a connection to the end of its TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// For the headers of a request.
const HEADERS: Duration = Duration::from_secs(60);
/// How long a connection may be without a request, pings aside.
const IDLE: Duration = Duration::from_secs(60);
/// Headers of one request, in bytes.
const HEADER_BYTES: usize = 64 * 1024;
/// The body of one request, in bytes.
const BODY_BYTES: usize = 3 * 1024 * 1024;
/// From the headers of a request to its response.
const REQUEST: Duration = Duration::from_secs(60);
/// Pings on quiet HTTP/2 connections, and the time to answer one.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(15);
/// How long connections may still finish when the server ends.
const GRACE: Duration = Duration::from_secs(2);
/// How often the serving certificate is looked at.
const RELOAD: Duration = Duration::from_secs(10);
/// Pause after an error to accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A request whose body was read.
pub type Call = Request<Bytes>;
/// A response that is there as a whole.
pub type Answer = Response<Full<Bytes>>;

type Handler = Arc<dyn Fn(Call) -> BoxFuture<'static, Answer> + Send + Sync>;

/// Who answers, and how long that may take.
#[derive(Clone)]
struct Route {
    handler: Handler,
    limit: Duration,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The certificate or another TLS setting cannot be used.
    #[error("set up TLS")]
    Tls(#[from] TlsError),
    /// The address cannot be listened at.
    #[error("listen at {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

/// What is served at which path. Paths match exactly; one that ends in `/` also stands for all directly below it that
/// nothing else serves.
#[derive(Clone, Default)]
pub struct Routes {
    routes: BTreeMap<String, Route>,
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.routes.keys()).finish()
    }
}

impl Routes {
    /// Health at `/healthz`, `/livez` and `/readyz`; `/metrics` and `/metrics/slis`.
    pub fn standard(checks: &Checks, metrics: &Metrics) -> Routes {
        let mut routes = Routes::default();
        for endpoint in ["healthz", "livez", "readyz"] {
            let checks = checks.clone();
            routes.add(&format!("/{endpoint}"), move |call| {
                let checks = checks.clone();
                async move {
                    let report = checks.report(endpoint, call.uri().query()).await;
                    text(if report.healthy { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR }, report.text)
                }
            });
        }
        let all = metrics.clone();
        routes.add("/metrics", move |_| std::future::ready(exposition(all.render())));
        let health = metrics.clone();
        routes.add("/metrics/slis", move |call| {
            std::future::ready(match *call.method() {
                Method::DELETE => {
                    health.health().reset();
                    text(StatusCode::OK, "slis reset\n".to_owned())
                }
                _ => exposition(health.health().render()),
            })
        });
        routes
    }

    /// Serves `path`, each call within a minute; replaces what was served there.
    pub fn add<F>(&mut self, path: &str, handler: impl Fn(Call) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        self.add_slow(path, REQUEST, handler);
    }

    /// The same for what takes longer, up to `limit`.
    pub fn add_slow<F>(&mut self, path: &str, limit: Duration, handler: impl Fn(Call) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |call| handler(call).boxed());
        self.routes.insert(path.to_owned(), Route { handler, limit });
    }

    /// The paths, in order.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.routes.keys().map(String::as_str)
    }

    /// The answer to a call; status 404 where nothing is served.
    pub(super) async fn call(&self, call: Call) -> Answer {
        match self.find(call.uri().path()) {
            Some(Route { handler, .. }) => handler(call).await,
            None => text(StatusCode::NOT_FOUND, "404 page not found\n".to_owned()),
        }
    }

    fn find(&self, path: &str) -> Option<&Route> {
        let above = || path.rfind('/').and_then(|end| self.routes.get(&path[..=end]));
        self.routes.get(path).or_else(above)
    }
}

/// Plain text as an answer.
pub fn text(status: StatusCode, text: String) -> Answer {
    let mut answer = Response::new(Full::new(text.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// JSON as an answer.
pub fn json(status: StatusCode, value: &serde_json::Value) -> Answer {
    let mut answer = Response::new(Full::new(value.to_string().into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn exposition(text: String) -> Answer {
    let mut answer = Response::new(Full::new(text.into()));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
    answer
}

/// A `Status` as the API server answers where it refuses.
pub(super) fn refusal(status: StatusCode, reason: &str, message: &str, details: bool) -> Answer {
    let mut value = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": status.as_u16(),
    });
    if details {
        value["details"] = json!({});
    }
    json(status, &value)
}

/// A server that listens.
pub struct Server {
    listener: TcpListener,
    tls: Arc<Tls>,
    shared: Arc<Shared>,
    http: auto::Builder<TokioExecutor>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("listener", &self.listener).finish_non_exhaustive()
    }
}

struct Shared {
    routes: Routes,
    /// None: everyone may see everything, as on upstream's webhook port.
    access: Option<Access>,
}

impl Server {
    /// Makes the certificate if need be and listens. `access` of none lets everyone see everything.
    ///
    /// # Errors
    /// A certificate or TLS setting that cannot be used, an address that is not free.
    pub fn bind(settings: &ServingSettings, routes: Routes, access: Option<Access>) -> Result<Server, Error> {
        let tls = Tls::new(settings)?;
        let listener = listen(settings).map_err(|source| Error::Listen { address: settings.address, source })?;
        let mut http = auto::Builder::new(TokioExecutor::new());
        http.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS).max_buf_size(HEADER_BYTES);
        http.http2()
            .timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(HEADER_BYTES).unwrap_or(u32::MAX))
            // As Go's server has it.
            .max_concurrent_streams(settings.http2_max_streams.unwrap_or(250))
            .keep_alive_interval(PING)
            .keep_alive_timeout(PONG);
        Ok(Server { listener, tls: Arc::new(tls), shared: Arc::new(Shared { routes, access }), http })
    }

    /// Where it listens, with the port that the system chose if none was asked for.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `token` is cancelled; what is being answered then may still finish for 2 s.
    pub async fn run(self, token: CancellationToken) {
        info!(address = ?self.listener.local_addr().ok(), "serving securely");
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        let mut reload = interval(RELOAD);
        reload.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stop = CancellationToken::new();
        loop {
            tokio::select! {
                biased;
                () = token.cancelled() => break,
                _ = reload.tick() => self.tls.reload(),
                Some(_) = connections.join_next() => {}
                (place, accepted) = self.accept(&places) => match accepted {
                    Ok((stream, peer)) => {
                        let (tls, shared, http) = (Arc::clone(&self.tls), Arc::clone(&self.shared), self.http.clone());
                        connections.spawn(connection(stream, peer, place, tls, shared, http, stop.clone()));
                    }
                    Err(error) => {
                        warn!(%error, "cannot accept a connection");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        stop.cancel();
        drop(self.listener);
        let _ = timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
    }

    async fn accept(
        &self,
        places: &Arc<Semaphore>,
    ) -> (Option<OwnedSemaphorePermit>, std::io::Result<(TcpStream, SocketAddr)>) {
        // Never closed, so there always is one in the end.
        let place = Arc::clone(places).acquire_owned().await.ok();
        (place, self.listener.accept().await)
    }
}

/// Listens as Go does: the unspecified address stands for both IP families, where there are both.
fn listen(settings: &ServingSettings) -> std::io::Result<TcpListener> {
    let bind = |address: SocketAddr| {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // Go's runtime sets it on every listener, so that --permit-address-sharing asks for nothing more, there and here.
        socket.set_reuseaddr(true)?;
        #[cfg(unix)]
        if settings.reuse_port {
            socket.set_reuseport(true)?;
        }
        socket.bind(address)?;
        socket.listen(1024)
    };
    let address = settings.address;
    if address.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        && let Ok(both) = bind(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), address.port()))
    {
        return Ok(both);
    }
    bind(address)
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    _place: Option<OwnedSemaphorePermit>,
    tls: Arc<Tls>,
    shared: Arc<Shared>,
    http: auto::Builder<TokioExecutor>,
    stop: CancellationToken,
) {
    let stream = match timeout(HANDSHAKE, tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return debug!(%peer, %error, "TLS handshake failed"),
        Err(_) => return debug!(%peer, "TLS handshake took too long"),
    };
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let chain: Arc<[CertificateDer<'static>]> = chain.iter().cloned().map(CertificateDer::into_owned).collect();
    let activity = Arc::new(Activity::default());
    let requests = Arc::clone(&activity);
    let service = service_fn(move |request| {
        let (shared, chain, running) = (Arc::clone(&shared), Arc::clone(&chain), requests.begin());
        async move {
            let answer = shared.answer(request, &chain).await;
            drop(running);
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        served = connection.as_mut() => {
            if let Err(error) = served {
                debug!(%peer, error, "connection ended");
            }
            return;
        }
        () = stop.cancelled() => {}
        () = activity.idle() => debug!(%peer, "connection without requests, closing it"),
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(GRACE, connection).await;
}

/// The requests of one connection. A client that says nothing must not keep its place among the connections.
#[derive(Default)]
struct Activity {
    begun: AtomicU64,
    running: AtomicUsize,
}

/// A request that is being answered.
struct InFlight(Arc<Activity>);

impl Activity {
    fn begin(self: &Arc<Self>) -> InFlight {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.running.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    /// Returns when there was no request for [`IDLE`].
    async fn idle(&self) {
        loop {
            let begun = self.begun.load(Ordering::Relaxed);
            sleep(IDLE).await;
            if self.running.load(Ordering::Relaxed) == 0 && self.begun.load(Ordering::Relaxed) == begun {
                return;
            }
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>, chain: &[CertificateDer<'_>]) -> Answer {
        let path = request.uri().path().to_owned();
        let limit = self.routes.find(&path).map_or(REQUEST, |route| route.limit);
        let answered = timeout(limit, self.checked(request, chain)).await;
        let mut answer = answered.unwrap_or_else(|_| {
            warn!(path, "request took too long");
            text(StatusCode::GATEWAY_TIMEOUT, "timed out\n".to_owned())
        });
        answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
        answer
    }

    async fn checked(&self, request: Request<Incoming>, chain: &[CertificateDer<'_>]) -> Answer {
        if let Some(access) = &self.access
            && let Err(refused) = admit(access, &request, chain).await
        {
            return refused;
        }
        let (parts, body) = request.into_parts();
        match Limited::new(body, BODY_BYTES).collect().await {
            Ok(body) => self.routes.call(Request::from_parts(parts, body.to_bytes())).await,
            Err(error) => text(StatusCode::PAYLOAD_TOO_LARGE, format!("{error}\n")),
        }
    }
}

/// Lets a request in, or says what to answer instead.
async fn admit(access: &Access, request: &Request<Incoming>, chain: &[CertificateDer<'_>]) -> Result<(), Answer> {
    let path = request.uri().path().to_owned();
    let verb = request.method().as_str().to_ascii_lowercase();
    let headers = request.headers().clone();
    let user = match access.authenticator.authenticate(&headers, chain).await {
        Ok(user) => user,
        Err(Unauthorized) => {
            return Err(refusal(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized", false));
        }
    };
    match access.authorizer.authorize(&user, &verb, &path).await {
        Decision::Allowed => Ok(()),
        Decision::Forbidden(reason) => {
            let mut message = format!("forbidden: User {:?} cannot {verb} path {path:?}", user.name);
            if !reason.is_empty() {
                message = format!("{message}: {reason}");
            }
            Err(refusal(StatusCode::FORBIDDEN, "Forbidden", &message, true))
        }
        Decision::Unknown(error) => {
            let message = format!("Internal Server Error: {path:?}: {error}\n");
            Err(text(StatusCode::INTERNAL_SERVER_ERROR, message))
        }
    }
}
