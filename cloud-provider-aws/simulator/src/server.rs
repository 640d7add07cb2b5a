//! What arrives over HTTP, and what goes back.

use std::{collections::BTreeMap, convert::Infallible, io, time::Duration};

use bytes::Bytes;
use cloud_provider_simulation::{
    control::PREFIX,
    form,
    server::{respond, withhold},
};
use http::{HeaderValue, Method, Response, request::Parts};
use http_body_util::Full;
use jiff::Timestamp;

use crate::{
    auth::Authorization,
    control,
    core::{Answer, Arrival},
    error::ApiError,
    handle::Handle,
    imds,
    service::Service,
};

/// Answers a request by the account behind `handle`.
pub(crate) async fn answer(handle: &Handle, request: http::Request<Bytes>) -> io::Result<Response<Full<Bytes>>> {
    let (parts, body) = request.into_parts();
    if let Some(path) = parts.uri.path().strip_prefix(PREFIX) {
        let (status, body) = control::answer(handle, &parts, path, &body);
        return respond(status, "application/json", body);
    }
    if imds::serves(parts.uri.path()) {
        let action = format!("{} {}", parts.method, parts.uri.path());
        let wait = handle.lock().frame.latency("IMDS", &action);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        let ttl = parts.headers.get("x-aws-ec2-metadata-token-ttl-seconds").cloned();
        let answer = handle.lock().answer_metadata(&parts, Timestamp::now());
        let mut response = write(answer, "text/plain").await?;
        if let Some(ttl) = ttl {
            response.headers_mut().insert("x-aws-ec2-metadata-token-ttl-seconds", ttl);
        }
        return Ok(response);
    }
    match arrival(parts, body) {
        Ok(arrival) => {
            let wait = handle.lock().frame.latency(arrival.service.name(), &arrival.action);
            tokio::time::sleep(Duration::from_millis(wait)).await;
            let answer = handle.lock().answer(&arrival, Timestamp::now());
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
        Answer::Disconnect => withhold(),
        Answer::Hang => match std::future::pending::<Infallible>().await {},
    }
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
    let mut parameters = fields(parts.uri.query().unwrap_or_default().as_bytes());
    match parts.method {
        Method::POST => parameters.extend(fields(&body)),
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

/// Decodes `application/x-www-form-urlencoded`; the last of a name counts.
fn fields(text: &[u8]) -> BTreeMap<String, String> {
    form::pairs(text).into_iter().collect()
}
