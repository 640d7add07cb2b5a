//! A gateway in front of a public mock or a cloud's own services on loopback: it can add a header to every request, and notes
//! what came through, for those that keep no log of their own.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A request that was answered.
#[derive(Debug, Clone)]
pub struct Passed {
    /// Its method.
    pub method: Method,
    /// Its path, without a query.
    pub path: String,
    /// Its headers, without the one that was added.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// The status of the answer.
    pub status: StatusCode,
}

/// A running gateway: plain HTTP on loopback. Dropping it breaks all connections.
#[derive(Debug)]
pub struct Gateway {
    address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    /// Host and port of what is behind it.
    to: String,
    header: Option<(HeaderName, HeaderValue)>,
    passed: Mutex<Vec<Passed>>,
}

impl Gateway {
    /// A gateway to the server at `to`, such as `127.0.0.1:5000`, that adds `header` to every request.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(to: &str, header: (HeaderName, HeaderValue)) -> anyhow::Result<Self> {
        Self::serve(0, to, Some(header)).await
    }

    /// A gateway on this port of loopback that passes requests on as they are.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn on_port(port: u16, to: &str) -> anyhow::Result<Self> {
        Self::serve(port, to, None).await
    }

    async fn serve(port: u16, to: &str, header: Option<(HeaderName, HeaderValue)>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.context("listen on loopback")?;
        let address = listener.local_addr().context("find out the port")?;
        let state = Arc::new(State { to: to.to_owned(), header, passed: Mutex::default() });
        Ok(Self { address, task: tokio::spawn(accept(listener, Arc::clone(&state))), state })
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Looks at each request that was answered so far, in the order of the answers.
    pub fn visit(&self, mut each: impl FnMut(&Passed)) {
        let passed = self.state.passed.lock().unwrap_or_else(PoisonError::into_inner);
        passed.iter().for_each(&mut each);
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        Ok(self.pass_on(request).await.unwrap_or_else(|error| {
            let mut answer = Response::new(Full::new(Bytes::from(error.to_string())));
            *answer.status_mut() = StatusCode::BAD_GATEWAY;
            answer
        }))
    }

    async fn pass_on(&self, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
        let (mut parts, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        parts.headers.remove(header::CONNECTION);
        let headers = parts.headers.clone();
        if let Some((name, value)) = &self.header {
            parts.headers.insert(name, value.clone());
        }
        let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
        let stream = TcpStream::connect(&self.to).await?;
        let exchange = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = exchange.map_err(io::Error::other)?;
        let request = Request::from_parts(parts, Full::new(body.clone()));
        let answer = async move {
            let (parts, answer) = sender.send_request(request).await?.into_parts();
            Ok::<_, hyper::Error>(Response::from_parts(parts, Full::new(answer.collect().await?.to_bytes())))
        };
        // The connection ends with the answer, and only then.
        let (answer, _) = tokio::join!(answer, connection);
        let mut answer = answer.map_err(io::Error::other)?;
        for name in [header::TRANSFER_ENCODING, header::CONNECTION] {
            answer.headers_mut().remove(name);
        }
        let passed = Passed { method, path, headers, body, status: answer.status() };
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).push(passed);
        Ok(answer)
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        while connections.try_join_next().is_some() {}
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let state = Arc::clone(&state);
                async move { state.answer(request).await }
            });
            // A client that goes away is no error.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Endpoint;

    #[tokio::test]
    async fn what_comes_through_is_noted_and_gets_the_header() {
        let header = |value: &'static str| (HeaderName::from_static("x-account"), HeaderValue::from_static(value));
        // A gateway behind a gateway: the inner one leads nowhere, and still tells what it was asked.
        let inner = Gateway::start("127.0.0.1:1", header("inner")).await.unwrap();
        let to = inner.url().trim_start_matches("http://").to_owned();
        let outer = Gateway::start(&to, header("outer")).await.unwrap();
        let endpoint = Endpoint::new(&outer.url()).unwrap();
        let error = endpoint.send(http::Method::POST, "/", &[("x-one", "1")], "Action=Do").await.unwrap_err();
        assert!(error.to_string().contains("status 502"), "{error}");
        let mut seen = Vec::new();
        outer.visit(|passed| {
            seen.push((
                passed.method.clone(),
                passed.body.clone(),
                passed.status,
                passed.headers.contains_key("x-account"),
            ));
            assert_eq!(passed.headers["x-one"], "1");
        });
        assert_eq!(seen, [(Method::POST, Bytes::from("Action=Do"), StatusCode::BAD_GATEWAY, false)]);
    }
}
