use std::sync::Mutex;

use http::header::CONTENT_LENGTH;
use hyper::client::conn::{http1, http2};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::manager::options::{ServingCertificate, TlsVersion};

/// Takes any server and remembers its certificate.
#[derive(Debug, Default)]
struct Remember(Mutex<Option<CertificateDer<'static>>>);

impl ServerCertVerifier for Remember {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.0.lock().unwrap() = Some(end_entity.clone().into_owned());
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("1.3 is on".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

fn settings() -> ServingSettings {
    ServingSettings {
        address: ([127, 0, 0, 1], 0).into(),
        http2: true,
        http2_max_streams: None,
        certificate: ServingCertificate::InMemory,
        sni_certificates: Vec::new(),
        cipher_suites: Vec::new(),
        curve_preferences: Vec::new(),
        min_version: TlsVersion::Tls12,
        reuse_port: false,
        reuse_address: false,
    }
}

struct Running {
    address: SocketAddr,
    token: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

fn start(settings: &ServingSettings) -> Running {
    let metrics = Metrics::new();
    let mut routes = Routes::standard(&Checks::new(&metrics), &metrics);
    routes.add("/echo", |call| async move { text(StatusCode::OK, call.body().len().to_string()) });
    routes.add("/slow", |_| async {
        sleep(Duration::from_millis(500)).await;
        text(StatusCode::OK, "done".to_owned())
    });
    let server = Server::bind(settings, routes, None).unwrap();
    let address = server.local_addr().unwrap();
    let token = CancellationToken::new();
    Running { address, task: tokio::spawn(server.run(token.clone())), token }
}

async fn connect(address: SocketAddr, protocols: &[&str]) -> (TlsStream<TcpStream>, CertificateDer<'static>) {
    let remember = Arc::new(Remember::default());
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().dangerous();
    let verifier = Arc::clone(&remember) as Arc<dyn ServerCertVerifier>;
    let mut config = config.with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let certificate = remember.0.lock().unwrap().clone().unwrap();
    (stream, certificate)
}

async fn ask(address: SocketAddr, request: Request<Full<Bytes>>) -> (StatusCode, Bytes) {
    let (stream, _) = connect(address, &["http/1.1"]).await;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    drop(sender);
    drop(connection.await);
    (status, body)
}

fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).header("host", "localhost").body(Full::default()).unwrap()
}

#[tokio::test]
async fn http_1_and_2_are_served_as_the_client_prefers_and_2_can_be_off() {
    let running = start(&settings());
    let (status, body) = ask(running.address, get("/healthz")).await;
    assert_eq!((status, &body[..]), (StatusCode::OK, &b"ok"[..]));
    let (stream, _) = connect(running.address, &["h2", "http/1.1"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get(format!("https://{}/healthz", running.address)).body(Full::<Bytes>::default()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), StatusCode::OK);
    drop(sender);
    drop(connection.await);

    let running = start(&ServingSettings { http2: false, ..settings() });
    let (stream, _) = connect(running.address, &["h2", "http/1.1"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[tokio::test]
async fn requests_are_bounded_in_headers_and_body() {
    let running = start(&settings());
    let body = Full::new(Bytes::from(vec![0; 1000]));
    let request = Request::post("/echo").header("host", "localhost").body(body).unwrap();
    assert_eq!(ask(running.address, request).await, (StatusCode::OK, Bytes::from_static(b"1000")));
    let request = Request::get("/echo").header("host", "localhost").header("x", "y".repeat(2 * HEADER_BYTES));
    let (status, _) = ask(running.address, request.body(Full::default()).unwrap()).await;
    assert_eq!(status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let (stream, _) = connect(running.address, &["http/1.1"]).await;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let head = format!("POST /echo HTTP/1.1\r\nhost: localhost\r\n{CONTENT_LENGTH}: {}\r\n\r\n", BODY_BYTES + 1);
    writer.write_all(head.as_bytes()).await.unwrap();
    let sent = tokio::spawn(async move {
        let _ = writer.write_all(&vec![0; BODY_BYTES + 1]).await;
        writer
    });
    let mut answer = vec![0; 12];
    reader.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 413");
    drop(sent.await);
}

#[tokio::test]
async fn what_is_not_tls_is_dropped_and_does_not_disturb_others() {
    let running = start(&settings());
    let mut plain = TcpStream::connect(running.address).await.unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    let _ = plain.read_to_end(&mut rest).await;
    assert!(!rest.starts_with(b"HTTP"));
    let idle: Vec<_> = futures::future::join_all((0..20).map(|_| TcpStream::connect(running.address))).await;
    assert_eq!(ask(running.address, get("/healthz")).await.0, StatusCode::OK);
    drop(idle);
}

#[tokio::test]
async fn a_rotated_certificate_is_served_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (cert_file, key_file) = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
    let put = || {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        std::fs::write(&cert_file, certificate.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        certificate.der().clone()
    };
    let first = put();
    let certificate = ServingCertificate::Files { cert_file: cert_file.clone(), key_file: key_file.clone() };
    let running = start(&ServingSettings { certificate, ..settings() });
    assert_eq!(connect(running.address, &[]).await.1, first);
    let second = put();
    tokio::time::pause();
    tokio::time::advance(RELOAD).await;
    tokio::time::resume();
    tokio::task::yield_now().await;
    assert_eq!(connect(running.address, &[]).await.1, second);
}

#[tokio::test]
async fn a_request_on_its_way_is_answered_when_the_server_ends() {
    let running = start(&settings());
    let address = running.address;
    let slow = tokio::spawn(async move { ask(address, get("/slow")).await });
    sleep(Duration::from_millis(200)).await;
    running.token.cancel();
    assert_eq!(slow.await.unwrap(), (StatusCode::OK, Bytes::from_static(b"done")));
    timeout(Duration::from_secs(3), running.task).await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}
