//! Plain HTTP to servers on loopback: simulators and public mocks.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Uri, response::Parts};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long one request may take; mocks are slow with many instances.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A server.
#[derive(Debug, Clone)]
pub struct Endpoint {
    authority: String,
    base: String,
}

impl Endpoint {
    /// A server by its URL, such as `http://127.0.0.1:4566`.
    ///
    /// # Errors
    /// When it is no plain HTTP URL with a host.
    pub fn new(url: &str) -> anyhow::Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("{url:?} is no URL"))?;
        ensure!(uri.scheme_str() == Some("http"), "{url:?} does not begin with http://");
        let authority = uri.authority().with_context(|| format!("{url:?} names no host"))?;
        let authority = match authority.port() {
            Some(_) => authority.to_string(),
            None => format!("{authority}:80"),
        };
        Ok(Self { authority, base: uri.path().trim_end_matches('/').to_owned() })
    }

    /// Sends a request and returns the body of a successful answer.
    ///
    /// # Errors
    /// When there is no answer in time, or it is no success; with its body.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> anyhow::Result<String> {
        self.answer(method, path, headers, body).await.map(|(_, text)| text)
    }

    /// Sends a request and returns headers and body of a successful answer.
    ///
    /// # Errors
    /// See [`Endpoint::send`].
    pub async fn answer(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> anyhow::Result<(HeaderMap, String)> {
        let what = format!("{method} http://{}{}{path}", self.authority, self.base);
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        request = request.header(http::header::HOST, &self.authority);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).context("build a request")?;
        match tokio::time::timeout(TIMEOUT, self.exchange(request)).await {
            Ok(answer) => {
                let (head, text) = answer.with_context(|| what.clone())?;
                if !head.status.is_success() {
                    bail!("{what}: status {}: {}", head.status.as_u16(), text.trim());
                }
                Ok((head.headers, text))
            }
            Err(_) => bail!("{what}: no answer within {} s", TIMEOUT.as_secs()),
        }
    }

    /// One connection per request, which no control channel is too busy for.
    async fn exchange(&self, request: Request<Full<Bytes>>) -> anyhow::Result<(Parts, String)> {
        let stream = TcpStream::connect(&self.authority).await.context("connect")?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let exchange = async {
            let response = sender.send_request(request).await?;
            let (head, body) = response.into_parts();
            let body = body.collect().await?.to_bytes();
            anyhow::Ok((head, String::from_utf8_lossy(&body).into_owned()))
        };
        let mut connection = std::pin::pin!(connection);
        let mut exchange = std::pin::pin!(exchange);
        tokio::select! {
            answer = &mut exchange => answer,
            // The last bytes of an answer may still be on their way through the channel.
            ended = &mut connection => {
                ended?;
                exchange.await
            }
        }
    }

    /// GETs JSON.
    ///
    /// # Errors
    /// See [`Endpoint::send`]; also when the answer is no JSON.
    pub async fn get_json(&self, path: &str) -> anyhow::Result<serde_json::Value> {
        let text = self.send(Method::GET, path, &[], Bytes::new()).await?;
        serde_json::from_str(&text).with_context(|| format!("read the answer of {path}"))
    }

    /// Sends JSON and reads JSON.
    ///
    /// # Errors
    /// See [`Endpoint::send`]; also when the answer is no JSON.
    pub async fn send_json(
        &self,
        method: Method,
        path: &str,
        body: &serde_json::Value,
    ) -> anyhow::Result<serde_json::Value> {
        let headers = [("content-type", "application/json")];
        let text = self.send(method, path, &headers, body.to_string()).await?;
        serde_json::from_str(&text).with_context(|| format!("read the answer of {path}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_http_is_taken() {
        assert!(Endpoint::new("https://example.com").is_err());
        assert!(Endpoint::new("localhost:4566").is_err());
        assert_eq!(Endpoint::new("http://127.0.0.1").unwrap().authority, "127.0.0.1:80");
        assert_eq!(Endpoint::new("http://127.0.0.1:4566/").unwrap().base, "");
    }
}
