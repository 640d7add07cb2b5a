//! Signature Version 4: who calls, for which service and region, and whether the signature is theirs.

use http::request::Parts;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{error::ApiError, service::Service};

/// An access key that may call.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// Access key ID.
    pub access_key: String,
    /// Secret access key.
    pub secret_key: String,
    /// Session token; required in requests if set.
    #[serde(default)]
    pub session_token: Option<String>,
    /// Refused from then on.
    #[serde(default)]
    pub expires: Option<Timestamp>,
    /// Whose key it is; the account's user `controller` if empty.
    #[serde(default)]
    pub arn: String,
}

impl Default for Credential {
    fn default() -> Self {
        Self {
            access_key: crate::ACCESS_KEY.into(),
            secret_key: crate::SECRET_KEY.into(),
            session_token: None,
            expires: None,
            arn: String::new(),
        }
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Credential")
            .field("access_key", &self.access_key)
            .field("arn", &self.arn)
            .finish_non_exhaustive()
    }
}

/// The parts of an `Authorization` header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authorization {
    pub(crate) access_key: String,
    pub(crate) date: String,
    pub(crate) region: String,
    pub(crate) service: String,
    signed_headers: Vec<String>,
    signature: String,
}

impl Authorization {
    /// None without the header; an error if it is not of the shape that AWS asks for.
    pub(crate) fn of(parts: &Parts) -> Result<Option<Self>, ApiError> {
        let Some(header) = parts.headers.get(http::header::AUTHORIZATION) else { return Ok(None) };
        let incomplete = |what: &str| {
            ApiError::new("IncompleteSignature", format!("Authorization header requires {what}")).with_status(400)
        };
        let text = header.to_str().map_err(|_| incomplete("printable characters"))?;
        let fields = text.strip_prefix("AWS4-HMAC-SHA256 ").ok_or_else(|| incomplete("AWS4-HMAC-SHA256"))?;
        let field = |name: &str| {
            let mut all = fields.split(',').map(str::trim);
            all.find_map(|field| field.strip_prefix(name)?.strip_prefix('=')).ok_or_else(|| incomplete(name))
        };
        let scope: Vec<&str> = field("Credential")?.split('/').collect();
        let &[access_key, date, region, service, "aws4_request"] = scope.as_slice() else {
            return Err(incomplete("a credential scope of five parts"));
        };
        Ok(Some(Self {
            access_key: access_key.into(),
            date: date.into(),
            region: region.into(),
            service: service.into(),
            signed_headers: field("SignedHeaders")?.split(';').map(str::to_owned).collect(),
            signature: field("Signature")?.to_owned(),
        }))
    }

    /// Whether the request was signed with `secret`.
    pub(crate) fn is_signed_with(&self, secret: &str, parts: &Parts, body: &[u8]) -> bool {
        let Some(time) = parts.headers.get("x-amz-date").and_then(|value| value.to_str().ok()) else { return false };
        if !time.starts_with(&self.date) || !self.signed_headers.iter().any(|name| name == "host") {
            return false;
        }
        let scope = format!("{}/{}/{}/aws4_request", self.date, self.region, self.service);
        let request = hex::encode(Sha256::digest(self.canonical_request(parts, body)));
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{request}");
        let key = [self.date.as_str(), &self.region, &self.service, "aws4_request"]
            .iter()
            .fold(format!("AWS4{secret}").into_bytes(), |key, part| hmac(&key, part.as_bytes()).to_vec());
        hex::encode(hmac(&key, to_sign.as_bytes())) == self.signature
    }

    fn canonical_request(&self, parts: &Parts, body: &[u8]) -> String {
        let mut query: Vec<&str> = parts.uri.query().unwrap_or_default().split('&').filter(|p| !p.is_empty()).collect();
        query.sort_unstable();
        let mut headers = String::new();
        for name in &self.signed_headers {
            let values = parts.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            let words = values.map(|value| value.split_whitespace().collect::<Vec<_>>().join(" "));
            headers += &format!("{name}:{}\n", words.collect::<Vec<_>>().join(","));
        }
        let payload = hex::encode(Sha256::digest(body));
        let signed = self.signed_headers.join(";");
        format!("{}\n{}\n{}\n{headers}\n{signed}\n{payload}", parts.method, parts.uri.path(), query.join("&"))
    }
}

/// HMAC-SHA256 as in RFC 2104.
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0_u8; 64];
    if key.len() > block.len() {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().into()
}

/// The caller, if `authorization` is one of `known`, for this service and region, and signed by them.
pub(crate) fn caller<'a>(
    known: impl Iterator<Item = &'a Credential>,
    authorization: &Authorization,
    request: &Signed<'_>,
) -> Result<&'a Credential, ApiError> {
    let service = request.service;
    let mut known = known;
    let Some(credential) = known.find(|credential| credential.access_key == authorization.access_key) else {
        return Err(unknown_key(service));
    };
    let token = request.parts.headers.get("x-amz-security-token").and_then(|value| value.to_str().ok());
    if credential.session_token.as_deref() != token {
        return Err(unknown_key(service));
    }
    if credential.expires.is_some_and(|expires| expires <= request.now) {
        return Err(match service {
            Service::Ec2 => ApiError::new("RequestExpired", "Request has expired."),
            Service::Ecr | Service::EcrPublic => {
                ApiError::new("ExpiredTokenException", "The security token included in the request is expired")
            }
            _ => {
                ApiError::new("ExpiredToken", "The security token included in the request is expired").with_status(403)
            }
        });
    }
    // STS has one global endpoint, which is signed for us-east-1.
    // The public registry has one endpoint, in one region.
    let right_region = match service {
        Service::Sts => true,
        Service::EcrPublic => authorization.region == "us-east-1",
        _ => authorization.region == request.region,
    };
    if authorization.service != service.signing_name() || !right_region {
        let text = "Credential should be scoped to a valid region and a correct service.";
        return Err(refused_signature(service, text));
    }
    if request.verify && !authorization.is_signed_with(&credential.secret_key, request.parts, request.body) {
        let text = "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
                    Access Key and signing method. Consult the service documentation for details.";
        return Err(refused_signature(service, text));
    }
    Ok(credential)
}

/// What a signature is about.
pub(crate) struct Signed<'a> {
    pub(crate) service: Service,
    pub(crate) region: &'a str,
    pub(crate) now: Timestamp,
    pub(crate) parts: &'a Parts,
    pub(crate) body: &'a [u8],
    pub(crate) verify: bool,
}

fn unknown_key(service: Service) -> ApiError {
    match service {
        Service::Ec2 => auth_failure(),
        Service::Ecr | Service::EcrPublic => {
            ApiError::new("UnrecognizedClientException", "The security token included in the request is invalid.")
        }
        _ => ApiError::new("InvalidClientTokenId", "The security token included in the request is invalid.")
            .with_status(403),
    }
}

fn refused_signature(service: Service, text: &str) -> ApiError {
    match service {
        Service::Ec2 => auth_failure(),
        Service::Ecr | Service::EcrPublic => ApiError::new("InvalidSignatureException", text),
        _ => ApiError::new("SignatureDoesNotMatch", text).with_status(403),
    }
}

fn auth_failure() -> ApiError {
    ApiError::new("AuthFailure", "AWS was not able to validate the provided access credentials").with_status(401)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_agrees_with_rfc_4231() {
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hex::encode(hmac(b"Jefe", b"what do ya want for nothing?")), expected);
        let long = hex::encode(hmac(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First"));
        assert_eq!(long, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    }

    #[test]
    fn incomplete_headers_are_refused() {
        for header in
            ["Bearer x", "AWS4-HMAC-SHA256 Credential=a/b", "AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request"]
        {
            let request = http::Request::builder().header("authorization", header).body(()).unwrap();
            let error = Authorization::of(&request.into_parts().0).unwrap_err();
            assert_eq!(error.code, "IncompleteSignature", "{header}");
        }
    }
}
