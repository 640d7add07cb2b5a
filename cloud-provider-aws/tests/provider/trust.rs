//! The environment's proxy and certificate authorities, with the real program: EC2 is reached through a proxy, behind
//! which TLS ends with a certificate of an authority that no system knows.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use cloud_provider_aws_simulator::{ACCESS_KEY, Options, SECRET_KEY, Simulator};
use cloud_provider_testing::{
    conformance::eventually,
    process::{Process, Program},
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

const HOST: &str = "ec2.cloud.test";

/// An authority in PEM, and a server that speaks TLS with a certificate of it.
fn authority() -> (String, TlsAcceptor) {
    let (authority_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(params, authority_key);
    let certificate = CertificateParams::new(vec![HOST.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (pem, TlsAcceptor::from(Arc::new(config)))
}

/// What a proxy was asked to connect to.
type Asked = Arc<Mutex<Vec<String>>>;

/// One connection through the proxy: whatever the target, TLS ends here and the rest goes to `target`.
async fn tunnel(mut client: TcpStream, tls: TlsAcceptor, target: SocketAddr, asked: Asked) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    asked.lock().unwrap().push(head.lines().next().unwrap_or_default().to_owned());
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    let mut client = tls.accept(client).await?;
    copy_bidirectional(&mut client, &mut TcpStream::connect(target).await?).await.map(drop)
}

async fn proxy(tls: TlsAcceptor, target: SocketAddr) -> (String, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Asked::default();
    let log = asked.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(tunnel(client, tls.clone(), target, log.clone()));
        }
    });
    (url, asked)
}

/// The controller, which on its start looks up the instance that it runs on.
fn start(dir: &Path, simulator: &str, proxy: &str, bundle: &str) -> Process {
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let config = format!(
        "[ServiceOverride \"1\"]\nService=EC2\nRegion=us-east-1\nURL=https://{HOST}\nSigningRegion=us-east-1\n"
    );
    let nowhere = "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: c, cluster: {server: \
                   \"http://127.0.0.1:9\"}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u}]\n";
    Program::new(env!("CARGO_BIN_EXE_aws-cloud-controller-manager"))
        .arg("--cloud-provider=aws")
        .arg(format!("--cloud-config={}", write("cloud-config", &config)))
        .arg(format!("--kubeconfig={}", write("kubeconfig", nowhere)))
        .args(["--leader-elect=false", "--secure-port=0", "--configure-cloud-routes=false"])
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", simulator)
        .env("AWS_CA_BUNDLE", write("bundle.pem", bundle))
        .env("HTTPS_PROXY", proxy)
        .env("NO_PROXY", "127.0.0.1")
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxy_and_certificate_authorities_are_those_of_the_environment() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let target = simulator.url().trim_start_matches("http://").parse().unwrap();
    let ((pem, tls), (other, _)) = (authority(), authority());
    let (proxy, asked) = proxy(tls, target).await;
    let dir = tempfile::tempdir().unwrap();

    let process = start(dir.path(), &simulator.url(), &proxy, &pem);
    eventually(Duration::from_secs(30), async || {
        process.check_running()?;
        anyhow::ensure!(process.log().contains("found out where we run"), "{}", process.log_tail(10));
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(asked.lock().unwrap()[0], format!("CONNECT {HOST}:443 HTTP/1.1"));
    drop(process);

    for (bundle, words) in [(other.as_str(), "invalid peer certificate"), ("nothing", "there is no certificate in")] {
        let process = start(dir.path(), &simulator.url(), &proxy, bundle);
        let status = process.wait(Duration::from_secs(60)).await.unwrap();
        assert_eq!(status.code(), Some(255));
        assert!(process.log().contains(words), "{words}: {}", process.log_tail(10));
    }
}
