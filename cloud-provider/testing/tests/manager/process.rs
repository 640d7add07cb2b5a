//! Starting the manager and asking its secure port.

use std::net::TcpListener;
use std::time::Duration;

use cloud_provider_testing::ControlPlane;
use cloud_provider_testing::process::{Process, Program};
use http::{Method, Request};
use kube::client::Body;
use kube::config::AuthInfo;
use kube::{Client, Config};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_memory-cloud-controller-manager");

/// A running manager.
pub(crate) struct Manager {
    pub(crate) process: Process,
    pub(crate) port: u16,
    client: Client,
    token: String,
}

/// Asks a port of a manager, whose certificate nobody signed.
fn client(port: u16, token: &str) -> Client {
    let mut config = Config::new(format!("https://127.0.0.1:{port}").parse().unwrap());
    config.accept_invalid_certs = true;
    config.default_retry = false;
    config.auth_info = AuthInfo { token: Some(token.to_owned().into()), ..AuthInfo::default() };
    Client::try_from(config).unwrap()
}

/// A port that is free now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Manager {
    /// Starts it with the rights of an administrator; who asks its port is one too.
    pub(crate) fn start(plane: &ControlPlane, name: &str, port: u16, flags: &[&str]) -> Manager {
        let kubeconfig = plane.write_kubeconfig(name, &plane.kubeconfig()).unwrap();
        let credentials = ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"];
        let process = Program::new(BINARY)
            .named(name)
            .log_dir(plane.dir())
            .arg("--cloud-provider=memory")
            .args(credentials.map(|flag| format!("--{flag}={}", kubeconfig.display())))
            .args(["--bind-address=127.0.0.1", "--configure-cloud-routes=false"])
            .arg(format!("--secure-port={port}"))
            .args(flags)
            .spawn()
            .unwrap();
        let client = client(port, plane.admin_token());
        Manager { process, port, client, token: plane.admin_token().to_owned() }
    }

    /// Status and body.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: &str) -> anyhow::Result<(u16, Vec<u8>)> {
        ask(&self.client, method, path, body).await
    }

    /// Status and body, from another port than the secure one.
    pub(crate) async fn ask_at(
        &self,
        port: u16,
        method: Method,
        path: &str,
        body: &str,
    ) -> anyhow::Result<(u16, Vec<u8>)> {
        ask(&client(port, &self.token), method, path, body).await
    }

    /// The text at a path that must be there.
    pub(crate) async fn get(&self, path: &str) -> String {
        let (status, body) = self.ask(Method::GET, path, "").await.unwrap();
        let text = String::from_utf8(body).unwrap();
        assert_eq!(status, 200, "{path}: {text}");
        text
    }

    /// Waits until it leads and its controllers run.
    pub(crate) async fn leads(&self) {
        cloud_provider_testing::conformance::eventually(Duration::from_secs(60), || async {
            self.process.check_running()?;
            let (_, body) = self.ask(Method::GET, "/healthz?verbose", "").await?;
            let text = String::from_utf8(body)?;
            anyhow::ensure!(text.contains("[+]service-lb-controller ok\n"), "{text}");
            Ok(())
        })
        .await
        .unwrap();
    }
}

async fn ask(client: &Client, method: Method, path: &str, body: &str) -> anyhow::Result<(u16, Vec<u8>)> {
    let request = Request::builder().method(method).uri(path).body(Body::from(body.as_bytes().to_vec()))?;
    let response = client.send(request).await?;
    anyhow::ensure!(response.headers()["cache-control"] == "no-cache, private", "{path} may be cached");
    let status = response.status().as_u16();
    Ok((status, response.into_body().collect_bytes().await?.to_vec()))
}
