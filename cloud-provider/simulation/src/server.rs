//! HTTP on loopback: reads requests whole, hands them on, and writes what comes back.

use std::{future::Future, io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};

/// Larger requests are refused; the largest real ones (hundreds of IDs or members) have some 50 KiB.
const LARGEST: usize = 4 << 20;

/// A server. Dropping it ends it and all its connections.
pub struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    /// Binds an address on loopback, port 0 for a free one, before anything is served: what answers may need the address.
    ///
    /// # Errors
    /// If the address is not on loopback or cannot be bound.
    pub async fn bind(listen: SocketAddr) -> io::Result<TcpListener> {
        if !listen.ip().is_loopback() {
            let text = format!("{listen} is not on loopback, and the simulator must not be reachable from elsewhere");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        TcpListener::bind(listen).await
    }

    /// Serves on the current tokio runtime. An error of `answer` ends the connection without an answer.
    ///
    /// # Errors
    /// If the listener has no address.
    pub fn start<A, F>(listener: TcpListener, answer: A) -> io::Result<Self>
    where
        A: Fn(Request<Bytes>) -> F + Clone + Send + 'static,
        F: Future<Output = io::Result<Response<Full<Bytes>>>> + Send + 'static,
    {
        let address = listener.local_addr()?;
        Ok(Self { address, task: tokio::spawn(serve(listener, answer)) })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL, such as `http://127.0.0.1:4566`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve<A, F>(listener: TcpListener, answer: A)
where
    A: Fn(Request<Bytes>) -> F + Clone + Send + 'static,
    F: Future<Output = io::Result<Response<Full<Bytes>>>> + Send + 'static,
{
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
        let answer = answer.clone();
        connections.spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = answer.clone();
                async move {
                    let (parts, body) = request.into_parts();
                    let body = Limited::new(body, LARGEST).collect().await.map_err(io::Error::other)?.to_bytes();
                    answer(Request::from_parts(parts, body)).await
                }
            });
            let served = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            if let Err(error) = served {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
}

/// An answer with a type and a body.
///
/// # Errors
/// If the status is none.
pub fn respond(status: u16, content_type: &str, body: String) -> io::Result<Response<Full<Bytes>>> {
    Response::builder()
        .status(status)
        .header(http::header::CONTENT_TYPE, content_type)
        .body(Full::new(Bytes::from(body)))
        .map_err(io::Error::other)
}

/// Ends the connection without an answer.
///
/// # Errors
/// Always.
pub fn withhold<T>() -> io::Result<T> {
    Err(io::Error::other("the answer is withheld"))
}

/// Cuts a document in the middle.
pub fn truncate(document: &mut String) {
    let mut end = document.len() / 2;
    while !document.is_char_boundary(end) {
        end -= 1;
    }
    document.truncate(end);
}
