//! HTTP on loopback: reads a request, lets the account decide it, writes the answer.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Response, request::Parts};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use jiff::Timestamp;
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    auth::Authorization,
    control,
    core::{Answer, Arrival, Core},
    error::ApiError,
    imds,
    service::Service,
};

/// Larger requests are refused; the largest real ones (hundreds of IDs) have some 50 KiB.
const LARGEST: usize = 4 << 20;

/// The account, shared by the server and its handles.
pub(crate) type Shared = Arc<Mutex<Core>>;

/// A panic of another holder cannot leave the account half changed: writes replace it as a whole.
pub(crate) fn lock(core: &Shared) -> MutexGuard<'_, Core> {
    core.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves until it is dropped.
pub(crate) async fn serve(listener: TcpListener, core: Shared) {
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
        let core = Arc::clone(&core);
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let core = Arc::clone(&core);
                async move { answer(&core, request).await }
            });
            let served = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            if let Err(error) = served {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
}

async fn answer(core: &Shared, request: http::Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, LARGEST).collect().await.map_err(io::Error::other)?.to_bytes();
    if let Some(path) = parts.uri.path().strip_prefix(control::PREFIX) {
        let (status, body) = control::answer(core, &parts.method, path, parts.uri.query().unwrap_or_default(), &body);
        return respond(status, "application/json", body);
    }
    if imds::serves(parts.uri.path()) {
        let action = format!("{} {}", parts.method, parts.uri.path());
        let wait = lock(core).latency("IMDS", &action);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        let ttl = parts.headers.get("x-aws-ec2-metadata-token-ttl-seconds").cloned();
        let answer = lock(core).answer_metadata(&parts, Timestamp::now());
        let mut response = write(answer, "text/plain").await?;
        if let Some(ttl) = ttl {
            response.headers_mut().insert("x-aws-ec2-metadata-token-ttl-seconds", ttl);
        }
        return Ok(response);
    }
    match arrival(parts, body) {
        Ok(arrival) => {
            let wait = lock(core).latency(arrival.service.name(), &arrival.action);
            tokio::time::sleep(Duration::from_millis(wait)).await;
            let answer = lock(core).answer(&arrival, Timestamp::now());
            write(answer, arrival.service.content_type()).await
        }
        Err((service, error)) => {
            tracing::debug!(code = %error.code, "request for no service");
            let body = error.document(service, "00000000-0000-4000-8000-000000000000");
            respond(error.status, service.content_type(), body)
        }
    }
}

async fn write(answer: Answer, content_type: &'static str) -> io::Result<Response<Full<Bytes>>> {
    match answer {
        Answer::Document { status, body, request_id } => {
            let mut response = respond(status, content_type, body)?;
            if !request_id.is_empty() {
                let id = HeaderValue::try_from(request_id).map_err(io::Error::other)?;
                response.headers_mut().insert("x-amzn-requestid", id);
            }
            Ok(response)
        }
        // An error of the service ends the connection without an answer.
        Answer::Disconnect => Err(io::Error::other("the answer is withheld")),
        Answer::Hang => match std::future::pending::<Infallible>().await {},
    }
}

fn respond(status: u16, content_type: &'static str, body: String) -> io::Result<Response<Full<Bytes>>> {
    Response::builder()
        .status(status)
        .header(http::header::CONTENT_TYPE, content_type)
        .body(Full::new(Bytes::from(body)))
        .map_err(io::Error::other)
}

/// A JSON request names its service in a header. Else the service is told by the version; the credential scope decides how a refusal of another version looks.
fn arrival(parts: Parts, body: Bytes) -> Result<Arrival, (Service, ApiError)> {
    let authorization = Authorization::of(&parts);
    let by_scope = authorization.as_ref().ok().and_then(Option::as_ref);
    let by_scope = by_scope.and_then(|authorization| Service::of_signing_name(&authorization.service));
    let fallback = by_scope.unwrap_or(Service::Ec2);
    if parts.uri.path() != "/" {
        return Err((fallback, ApiError::new("InvalidAction", "There is nothing at this path").with_status(404)));
    }
    let target = parts.headers.get("x-amz-target").and_then(|target| target.to_str().ok()).map(str::to_owned);
    if let Some(target) = target {
        let Some((service, action)) = Service::of_target(&target) else {
            let text = format!("The target {target} is not known");
            return Err((Service::Ecr, ApiError::new("UnknownOperationException", text)));
        };
        let parameters = json(&body).map_err(|error| (service, ApiError::new("SerializationException", error)))?;
        return Ok(Arrival { service, action: action.to_owned(), parameters, authorization, parts, body });
    }
    let mut parameters = form(parts.uri.query().unwrap_or_default().as_bytes());
    match parts.method {
        Method::POST => parameters.extend(form(&body)),
        Method::GET => {}
        _ => return Err((fallback, ApiError::new("InvalidAction", "Only GET and POST are allowed").with_status(405))),
    }
    let action =
        parameters.get("Action").filter(|action| !action.is_empty()).cloned().ok_or_else(|| {
            (fallback, ApiError::new("MissingAction", "The request must contain the parameter Action"))
        })?;
    let version = parameters.get("Version").cloned().unwrap_or_default();
    let service = Service::of_version(&version)
        .ok_or_else(|| (fallback, ApiError::new("NoSuchVersion", format!("The version '{version}' is not known"))))?;
    Ok(Arrival { service, action, parameters, authorization, parts, body })
}

/// The members of a JSON object, each as text.
fn json(text: &[u8]) -> Result<BTreeMap<String, String>, String> {
    let members: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(text).map_err(|error| error.to_string())?;
    Ok(members.into_iter().map(|(name, value)| (name, value.to_string())).collect())
}

/// Decodes `application/x-www-form-urlencoded`.
pub(crate) fn form(text: &[u8]) -> BTreeMap<String, String> {
    let pairs = text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    let split = |pair: &[u8]| match pair.iter().position(|byte| *byte == b'=') {
        Some(at) => (decode(&pair[..at]), decode(&pair[at + 1..])),
        None => (decode(pair), String::new()),
    };
    pairs.map(split).collect()
}

fn decode(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|code| std::str::from_utf8(code).ok());
        match (first, code.and_then(|code| u8::from_str_radix(code, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = after;
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::form;

    #[test]
    fn forms_are_decoded() {
        let form = form(b"Action=DescribeTags&Tag.1.Value=a%2Fb+c%3D%C3%A9&Subnets=&x");
        assert_eq!(form["Tag.1.Value"], "a/b c=é");
        assert_eq!(form["Subnets"], "");
        assert_eq!(form["x"], "");
    }
}
