//! A cloud that another process serves.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use cloud_provider::error::{Error, Result};
use http::{Request as HttpRequest, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::calls::Request;
use super::wire::Failure;

/// How long a call may take, a delay that a fault makes included.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The way to the process that serves the cloud. Connections are kept.
pub(super) struct Remote {
    authority: String,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

impl Remote {
    /// By a URL such as `http://127.0.0.1:8080`. Nothing is connected yet.
    pub(super) fn new(url: &str) -> Result<Self> {
        let invalid = || Error::invalid("Endpoint", format!("{url:?} is no URL such as http://127.0.0.1:8080"));
        let uri: Uri = url.parse().map_err(|_| invalid())?;
        match (uri.scheme_str(), uri.authority()) {
            (Some("http"), Some(authority)) if authority.port().is_some() => {
                Ok(Self { authority: authority.to_string(), idle: Mutex::default() })
            }
            _ => Err(invalid()),
        }
    }

    /// Makes a call. A connection that breaks under it is a transient failure: nobody knows whether it was carried out.
    pub(super) async fn send<R: Request>(&self, request: &R) -> Result<R::Answer> {
        let failed = |why: &str| Error::transient(format!("{} {}: {why}", request.operation(), request.about()));
        let body = serde_json::to_vec(request).map_err(|error| failed("write the call").with_source(error))?;
        let exchange = tokio::time::timeout(TIMEOUT, self.exchange(R::PATH, body.into()));
        let (status, body) = match exchange.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(failed("talk to the cloud").with_source(error)),
            Err(_) => return Err(failed("no answer in time")),
        };
        if status == 200 {
            return serde_json::from_slice(&body).map_err(|error| failed("read the answer").with_source(error));
        }
        let failure: Failure =
            serde_json::from_slice(&body).map_err(|error| failed("read the failure").with_source(error))?;
        Err(failure.into())
    }

    async fn exchange(
        &self,
        path: &str,
        body: Bytes,
    ) -> Result<(u16, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let mut sender = match self.take() {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let request = HttpRequest::post(format!("/api/{path}"))
            .header(http::header::HOST, &self.authority)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        Ok((status, body))
    }

    /// A connection that is there and still good.
    fn take(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|sender| !sender.is_closed());
        let ready = idle.iter().position(SendRequest::is_ready)?;
        Some(idle.swap_remove(ready))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(&self.authority).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Ends with the connection, and so with the sender.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to the cloud ended");
            }
        });
        Ok(sender)
    }
}
