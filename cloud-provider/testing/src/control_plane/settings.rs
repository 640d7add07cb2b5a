//! The files and flags that etcd and kube-apiserver start with.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rcgen::KeyPair;
use serde_json::json;

use super::certificates::Authority;

/// Where the API server listens, and what it authenticates with.
#[derive(Debug)]
pub(super) struct Settings {
    dir: PathBuf,
    pub(super) authority: Authority,
    pub(super) admin_token: String,
}

impl Settings {
    /// Makes authorities, keys, the admin's token and the audit policy, and writes them into `dir`.
    pub(super) fn write(dir: &Path, audit_reads: bool) -> anyhow::Result<Self> {
        let authority = Authority::new("kubernetes-ca")?;
        // Requests that come through an aggregating proxy are vouched for by an authority of their own.
        let front_proxy = Authority::new("front-proxy-ca")?;
        let server = authority.server(
            "kube-apiserver",
            &["127.0.0.1", "10.0.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"],
        )?;
        let service_accounts = KeyPair::generate().context("generate the key of service accounts")?;
        let admin_token = random_hex()?;

        let files = [
            ("ca.crt", authority.pem().to_owned()),
            ("front-proxy-ca.crt", front_proxy.pem().to_owned()),
            ("server.crt", server.certificate),
            ("server.key", server.key),
            ("service-accounts.key", service_accounts.serialize_pem()),
            ("service-accounts.pub", service_accounts.public_key_pem()),
            ("tokens.csv", format!("{admin_token},admin,admin,\"system:masters\"\n")),
            ("audit-policy.json", audit_policy(audit_reads)),
        ];
        for (name, text) in files {
            fs::write(dir.join(name), text).with_context(|| format!("write {name}"))?;
        }
        Ok(Self { dir: dir.to_owned(), authority, admin_token })
    }

    fn file(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    pub(super) fn audit_log(&self) -> PathBuf {
        self.dir.join("audit.log")
    }

    /// No fsync: the data lives as long as the test, and a test waits for every write.
    pub(super) fn etcd_args(&self, client: u16, peer: u16) -> Vec<String> {
        let client = format!("http://127.0.0.1:{client}");
        let peer = format!("http://127.0.0.1:{peer}");
        vec![
            format!("--data-dir={}", self.file("etcd")),
            "--name=default".into(),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
            "--unsafe-no-fsync".into(),
        ]
    }

    /// The `ServiceAccount` admission plugin is off since nobody makes the service accounts it wants to mount. With both
    /// client authorities the API server publishes `extension-apiserver-authentication`, which those read who delegate
    /// authentication to it.
    pub(super) fn api_server_args(&self, port: u16, etcd: u16) -> Vec<String> {
        vec![
            format!("--etcd-servers=http://127.0.0.1:{etcd}"),
            format!("--secure-port={port}"),
            "--bind-address=127.0.0.1".into(),
            "--advertise-address=127.0.0.1".into(),
            "--endpoint-reconciler-type=none".into(),
            format!("--cert-dir={}", self.dir.display()),
            format!("--tls-cert-file={}", self.file("server.crt")),
            format!("--tls-private-key-file={}", self.file("server.key")),
            "--service-cluster-ip-range=10.0.0.0/16".into(),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            format!("--service-account-key-file={}", self.file("service-accounts.pub")),
            format!("--service-account-signing-key-file={}", self.file("service-accounts.key")),
            "--disable-admission-plugins=ServiceAccount".into(),
            "--authorization-mode=RBAC".into(),
            format!("--token-auth-file={}", self.file("tokens.csv")),
            format!("--client-ca-file={}", self.file("ca.crt")),
            format!("--requestheader-client-ca-file={}", self.file("front-proxy-ca.crt")),
            "--requestheader-allowed-names=front-proxy-client".into(),
            "--requestheader-username-headers=X-Remote-User".into(),
            "--requestheader-group-headers=X-Remote-Group".into(),
            "--requestheader-extra-headers-prefix=X-Remote-Extra-".into(),
            format!("--audit-policy-file={}", self.file("audit-policy.json")),
            format!("--audit-log-path={}", self.audit_log().display()),
            // Written before the answer goes out, so that a reader never lags behind; and never rotated.
            "--audit-log-mode=blocking".into(),
            "--audit-log-maxsize=1000000".into(),
        ]
    }
}

/// Metadata of writes, and of reads where asked, when the answer is complete; a watch, which may never be, when it
/// begins.
fn audit_policy(reads: bool) -> String {
    let writes = json!({ "level": "Metadata", "verbs": ["create", "update", "patch", "delete", "deletecollection"] });
    let others = json!({
        "level": if reads { "Metadata" } else { "None" },
        "verbs": ["get", "list", "watch"],
    });
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": if reads { vec!["RequestReceived"] } else { vec!["RequestReceived", "ResponseStarted"] },
        "rules": [{ "level": "None", "nonResourceURLs": ["*"] }, writes, others],
    });
    format!("{policy:#}\n")
}

fn random_hex() -> anyhow::Result<String> {
    use std::io::Read as _;
    let mut bytes = [0; 16];
    let mut source = fs::File::open("/dev/urandom").context("open /dev/urandom")?;
    source.read_exact(&mut bytes).context("read /dev/urandom")?;
    Ok(hex::encode(bytes))
}
