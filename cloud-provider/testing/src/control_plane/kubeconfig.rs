//! The text of kubeconfig files.

use k8s_openapi::ByteString;
use serde_json::json;

use super::certificates::Identity;

/// Who a kubeconfig speaks for.
#[derive(Debug, Clone)]
pub(super) enum Credential {
    Token(String),
    Certificate(Identity),
}

/// A kubeconfig with one cluster, one user and one context. It is JSON, which is YAML too.
pub(super) fn text(server: &str, authority: &str, user: &str, credential: &Credential) -> String {
    let data = |pem: &str| ByteString(pem.as_bytes().to_vec());
    let auth = match credential {
        Credential::Token(token) => json!({ "token": token }),
        Credential::Certificate(identity) => json!({
            "client-certificate-data": data(&identity.certificate),
            "client-key-data": data(&identity.key),
        }),
    };
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "local",
            "cluster": { "server": server, "certificate-authority-data": data(authority) },
        }],
        "users": [{ "name": user, "user": auth }],
        "contexts": [{ "name": "local", "context": { "cluster": "local", "user": user } }],
        "current-context": "local",
    });
    format!("{config:#}\n")
}
