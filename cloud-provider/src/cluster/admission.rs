//! Admission webhooks: what the API server asks (`admission.k8s.io/v1`) and what it is answered.

use async_trait::async_trait;
use k8s_openapi::ByteString;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use crate::error::Result;

/// The group and version of the only protocol there is.
const API_VERSION: &str = "admission.k8s.io/v1";

/// Decides about requests to the API server.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. Called concurrently, on every replica, whether it leads or not; dropped when the API server
    /// no longer waits.
    ///
    /// # Errors
    ///
    /// What makes a decision impossible: the API server hears of a broken webhook (500), and its `failurePolicy` decides.
    /// To forbid what was asked for is an answer, [`Response::denied`].
    async fn handle(&self, request: Request) -> Result<Response>;
}

/// What the API server asks about.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Request {
    /// Names this request and nothing else.
    pub uid: String,
    /// The kind of the object.
    pub kind: Kind,
    /// `status` and the like; empty for the object itself.
    #[serde(deserialize_with = "null_as_default")]
    pub sub_resource: String,
    /// The name of the object; empty while the API server has still to make one.
    pub name: String,
    /// The namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    pub operation: String,
    /// The object as it shall be; null for a deletion.
    pub object: Value,
    /// The object as it is; null for a creation.
    pub old_object: Value,
    /// Whether nothing will be stored.
    #[serde(deserialize_with = "null_as_default")]
    pub dry_run: bool,
}

/// The kind of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Kind {
    /// The API group; empty for the core group.
    pub group: String,
    /// The version.
    pub version: String,
    /// The kind.
    pub kind: String,
}

/// What the API server is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    uid: String,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<ByteString>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Status {
    code: u16,
    message: String,
    reason: &'static str,
}

impl Response {
    /// What was asked for may happen as it is.
    pub fn allowed() -> Self {
        Self { uid: String::new(), allowed: true, status: None, patch: None, patch_type: None, warnings: Vec::new() }
    }

    /// It may happen, with the object changed by `operations` of a JSON patch; none change nothing.
    pub fn patched(operations: &[Value]) -> Self {
        if operations.is_empty() {
            return Self::allowed();
        }
        let patch = ByteString(Value::from(operations).to_string().into_bytes());
        Self { patch: Some(patch), patch_type: Some("JSONPatch"), ..Self::allowed() }
    }

    /// It must not happen: `message` is what the user reads, whose client gets `reason`.
    pub fn denied(reason: Reason, message: impl Into<String>) -> Self {
        let (code, reason) = match reason {
            Reason::BadRequest => (400, "BadRequest"),
            Reason::Forbidden => (403, "Forbidden"),
        };
        Self { allowed: false, status: Some(Status { code, message: message.into(), reason }), ..Self::allowed() }
    }

    /// Also shows the user a warning.
    #[must_use]
    pub fn with_warning(mut self, warning: impl Into<String>) -> Self {
        self.warnings.push(warning.into());
        self
    }

    /// Whether what was asked for may happen.
    pub fn is_allowed(&self) -> bool {
        self.allowed
    }

    /// The review that answers the request `uid`.
    pub(crate) fn review(mut self, uid: String) -> Value {
        self.uid = uid;
        json!({"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": self})
    }
}

/// Why a request is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It is not what this webhook is for, or its object cannot be read (400).
    BadRequest,
    /// It is not allowed (403).
    Forbidden,
}

/// Reads the review that a webhook is sent; tells what is wrong with anything else.
pub(crate) fn read(body: &[u8]) -> std::result::Result<Request, String> {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Review {
        api_version: String,
        kind: String,
        request: Option<Request>,
    }
    if body.is_empty() {
        return Err("the request has no body".to_owned());
    }
    let review: Review =
        serde_json::from_slice(body).map_err(|error| format!("cannot decode an AdmissionReview: {error}"))?;
    if (review.api_version.as_str(), review.kind.as_str()) != (API_VERSION, "AdmissionReview") {
        return Err(format!("expected {API_VERSION} AdmissionReview, got {} {}", review.api_version, review.kind));
    }
    review.request.ok_or_else(|| "the AdmissionReview has no request".to_owned())
}

fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> std::result::Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_review_is_read_and_answered_with_its_uid() {
        let review = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "u1", "kind": {"group": "", "version": "v1", "kind": "PersistentVolume"}, "name": "a",
                "operation": "CREATE", "object": {"metadata": {}}, "oldObject": null, "dryRun": null, "options": {},
            },
        });
        let request = read(review.to_string().as_bytes()).unwrap();
        assert_eq!((request.kind.kind.as_str(), request.dry_run), ("PersistentVolume", false));
        let response = Response::patched(&[json!({"op": "remove", "path": "/a"})]).with_warning("w");
        assert_eq!(
            response.review(request.uid),
            json!({
                "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
                "response": {
                    "uid": "u1", "allowed": true, "warnings": ["w"], "patchType": "JSONPatch",
                    "patch": "W3sib3AiOiJyZW1vdmUiLCJwYXRoIjoiL2EifV0=",
                },
            })
        );
        assert_eq!(
            Response::denied(Reason::Forbidden, "no").review("u2".into())["response"],
            json!({"uid": "u2", "allowed": false, "status": {"code": 403, "message": "no", "reason": "Forbidden"}})
        );
        assert_eq!(Response::patched(&[]), Response::allowed());
    }

    #[test]
    fn what_is_no_review_is_told_apart() {
        for (body, problem) in [
            ("", "the request has no body"),
            ("{", "cannot decode an AdmissionReview: EOF while parsing an object at line 1 column 1"),
            ("[]", "expected admission.k8s.io/v1 AdmissionReview, got  "),
            (
                r#"{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":{}}"#,
                "expected admission.k8s.io/v1 AdmissionReview, got admission.k8s.io/v1beta1 AdmissionReview",
            ),
            (r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#, "the AdmissionReview has no request"),
        ] {
            assert_eq!(read(body.as_bytes()).unwrap_err(), problem, "{body}");
        }
    }
}
