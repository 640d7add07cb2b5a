//! What arrives over HTTP, and what goes back.

use std::{convert::Infallible, io, time::Duration};

use bytes::Bytes;
use cloud_provider_simulation::{
    control::PREFIX,
    server::{respond, withhold},
};
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::Full;
use jiff::Timestamp;

use crate::{
    control,
    core::{Answer, Arrival},
    handle::Handle,
};

/// Answers a request by the cloud behind `handle`.
pub(crate) async fn answer(handle: &Handle, request: Request<Bytes>) -> io::Result<Response<Full<Bytes>>> {
    let (parts, body) = request.into_parts();
    if let Some(path) = parts.uri.path().strip_prefix(PREFIX) {
        let (status, body) = control::answer(handle, &parts, path, &body);
        return respond(status, "application/json", body);
    }
    let root = handle.lock().root.clone();
    let Some(arrival) = Arrival::of(&parts, &body, &root) else {
        tracing::debug!(path = parts.uri.path(), "request for no service");
        return respond(404, "text/plain", "Not Found".to_owned());
    };
    let wait = handle.lock().frame.latency(arrival.service.name(), &arrival.name());
    tokio::time::sleep(Duration::from_millis(wait)).await;
    let answer = handle.lock().answer(&arrival, Timestamp::now());
    write(answer).await
}

async fn write(answer: Answer) -> io::Result<Response<Full<Bytes>>> {
    match answer {
        Answer::Document { status, headers, body } => {
            let mut response = respond(status, "application/json", body)?;
            if status == 204 {
                response.headers_mut().remove(http::header::CONTENT_TYPE);
            }
            for (name, value) in headers {
                let name = HeaderName::try_from(name).map_err(io::Error::other)?;
                response.headers_mut().insert(name, HeaderValue::try_from(value).map_err(io::Error::other)?);
            }
            Ok(response)
        }
        Answer::Disconnect => withhold(),
        Answer::Hang => match std::future::pending::<Infallible>().await {},
    }
}
