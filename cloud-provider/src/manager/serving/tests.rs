use std::sync::Mutex;

use http::header::CONTENT_LENGTH;
use hyper::client::conn::{http1, http2};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, ClientConfig, DigitallySignedStruct, NamedGroup, SignatureScheme, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::manager::options::values::NamedCertKey;
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
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, &algorithms)
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
    ServingSettings::new(([127, 0, 0, 1], 0).into(), ServingCertificate::InMemory)
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

/// What a client offers.
struct Offer<'a> {
    versions: &'a [&'static SupportedProtocolVersion],
    groups: Vec<&'static dyn SupportedKxGroup>,
    name: &'static str,
    protocols: &'a [&'a str],
}

impl Default for Offer<'_> {
    fn default() -> Self {
        let groups = aws_lc_rs::default_provider().kx_groups;
        Offer { versions: rustls::ALL_VERSIONS, groups, name: "localhost", protocols: &[] }
    }
}

async fn shake_hands(
    address: SocketAddr,
    offer: Offer<'_>,
) -> std::io::Result<(TlsStream<TcpStream>, CertificateDer<'static>)> {
    let remember = Arc::new(Remember::default());
    let provider = CryptoProvider { kx_groups: offer.groups, ..aws_lc_rs::default_provider() };
    let config = ClientConfig::builder_with_provider(Arc::new(provider));
    let config = config.with_protocol_versions(offer.versions).unwrap().dangerous();
    let verifier = Arc::clone(&remember) as Arc<dyn ServerCertVerifier>;
    let mut config = config.with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = offer.protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(offer.name).unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let certificate = remember.0.lock().unwrap().clone().unwrap();
    Ok((stream, certificate))
}

async fn connect(address: SocketAddr, protocols: &[&str]) -> (TlsStream<TcpStream>, CertificateDer<'static>) {
    shake_hands(address, Offer { protocols, ..Offer::default() }).await.unwrap()
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

/// All places are taken by clients that finish the handshake and then say nothing, or only half a preface of HTTP/2.
#[tokio::test]
async fn clients_that_say_nothing_lose_their_place() {
    let running = start(&settings());
    let mut silent = Vec::new();
    for nth in 0..CONNECTIONS {
        // Cheap handshakes: there are many.
        let offer = Offer { protocols: &["http/1.1"], groups: vec![aws_lc_rs::kx_group::X25519], ..Offer::default() };
        let (mut stream, _) = shake_hands(running.address, offer).await.unwrap();
        if nth % 2 == 0 {
            stream.write_all(b"P").await.unwrap();
        }
        silent.push(stream);
    }
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    // Nothing else is to be done, so that the clock jumps on, and their places are free in the end.
    let mut rest = Vec::new();
    drop(silent[0].read_to_end(&mut rest).await);
    drop(silent[1].read_to_end(&mut rest).await);
    assert!(begun.elapsed() >= IDLE - Duration::from_secs(5), "{:?}", begun.elapsed());
    tokio::time::resume();
    assert_eq!(ask(running.address, get("/healthz")).await.0, StatusCode::OK);
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

fn suite(stream: &TlsStream<TcpStream>) -> CipherSuite {
    stream.get_ref().1.negotiated_cipher_suite().unwrap().suite()
}

#[tokio::test]
async fn the_oldest_version_is_what_the_flag_says_and_1_2_at_least() {
    for (min_version, old_is_served) in
        [(TlsVersion::Tls10, true), (TlsVersion::Tls11, true), (TlsVersion::Tls12, true), (TlsVersion::Tls13, false)]
    {
        let running = start(&ServingSettings { min_version, ..settings() });
        let old = Offer { versions: &[&TLS12], ..Offer::default() };
        assert_eq!(shake_hands(running.address, old).await.is_ok(), old_is_served, "{min_version:?}");
        let new = Offer { versions: &[&TLS13], ..Offer::default() };
        assert!(shake_hands(running.address, new).await.is_ok(), "{min_version:?}");
    }
}

#[tokio::test]
async fn only_the_cipher_suites_of_the_flag_are_offered_to_old_clients() {
    let cipher_suites =
        ["TLS_RSA_WITH_AES_128_CBC_SHA", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"].map(str::to_owned).to_vec();
    let running = start(&ServingSettings { cipher_suites, ..settings() });
    let old = Offer { versions: &[&TLS12], ..Offer::default() };
    let (stream, _) = shake_hands(running.address, old).await.unwrap();
    assert_eq!(suite(&stream), CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256);
    let cipher_suites = vec!["TLS_RSA_WITH_AES_128_CBC_SHA".to_owned()];
    let running = start(&ServingSettings { cipher_suites, ..settings() });
    let old = Offer { versions: &[&TLS12], ..Offer::default() };
    assert!(shake_hands(running.address, old).await.is_err(), "nothing is left for 1.2");
    assert!(shake_hands(running.address, Offer::default()).await.is_ok(), "1.3 has its own suites, as in Go");
}

#[tokio::test]
async fn only_the_key_exchanges_of_the_flag_are_offered() {
    // X25519 and secp256r1; 30 is what Go has and rustls has not.
    let running = start(&ServingSettings { curve_preferences: vec![30, 23], ..settings() });
    let with = |group: NamedGroup| {
        let groups = aws_lc_rs::default_provider().kx_groups;
        Offer { groups: groups.into_iter().filter(|known| known.name() == group).collect(), ..Offer::default() }
    };
    assert!(shake_hands(running.address, with(NamedGroup::secp256r1)).await.is_ok());
    assert!(shake_hands(running.address, with(NamedGroup::X25519)).await.is_err());
}

#[tokio::test]
async fn server_names_choose_certificates_and_every_file_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let put = |file: &str, name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
        let path = |ending: &str| dir.path().join(format!("{file}.{ending}"));
        std::fs::write(path("crt"), certificate.pem()).unwrap();
        std::fs::write(path("key"), key.serialize_pem()).unwrap();
        let text = |ending| path(ending).display().to_string();
        (certificate.der().clone(), text("crt"), text("key"))
    };
    let (one, cert_file, key_file) = put("one", "one.example");
    let own_name = NamedCertKey { cert_file, key_file, names: Vec::new() };
    let (two, cert_file, key_file) = put("two", "two.example");
    let named = NamedCertKey { cert_file, key_file, names: vec!["*.elsewhere.example".to_owned()] };
    let running = start(&ServingSettings { sni_certificates: vec![own_name, named], ..settings() });
    let served = async |name| shake_hands(running.address, Offer { name, ..Offer::default() }).await.unwrap().1;
    assert_eq!(served("one.example").await, one);
    assert_eq!(served("a.elsewhere.example").await, two);
    let other = served("two.example").await;
    assert!(other != one && other != two, "the flag's names count, not those in the certificate");
    let (newer, _, _) = put("one", "one.example");
    tokio::time::pause();
    tokio::time::advance(RELOAD).await;
    tokio::time::resume();
    tokio::task::yield_now().await;
    assert_eq!(served("one.example").await, newer);
}

#[tokio::test]
async fn a_port_is_shared_only_by_those_that_permit_it() {
    let sharing = ServingSettings { reuse_port: true, ..settings() };
    let first = start(&sharing);
    let same = ServingSettings { address: first.address, ..sharing };
    let bind = |settings: &ServingSettings| Server::bind(settings, Routes::default(), None);
    assert!(bind(&same).is_ok());
    let error = bind(&ServingSettings { reuse_port: false, ..same }).err().unwrap();
    assert_eq!(error.to_string(), format!("listen at {}", first.address));
}

/// The kernel keeps the address of a closed connection for a minute. As in Go's programs, that holds up no restart.
#[tokio::test]
async fn an_address_is_taken_over_from_connections_that_linger() {
    let running = start(&settings());
    let address = running.address;
    let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
    // Whoever closes first lingers: here the server, which gets no greeting.
    client.write_all(b"this is not TLS").await.unwrap();
    let mut rest = Vec::new();
    _ = client.read_to_end(&mut rest).await;
    drop(client);
    running.token.cancel();
    running.task.await.unwrap();
    assert!(TcpSocket::new_v4().unwrap().bind(address).is_err(), "nothing lingers");
    assert!(Server::bind(&ServingSettings { address, ..settings() }, Routes::default(), None).is_ok());
}

#[tokio::test]
async fn streams_of_one_connection_are_limited() {
    let running = start(&ServingSettings { http2_max_streams: Some(2), ..settings() });
    let (stream, _) = connect(running.address, &["h2"]).await;
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let ask = |path: &str| Request::get(format!("https://{}{path}", running.address)).body(Full::<Bytes>::default());
    // The first answer comes after the server's settings.
    sender.send_request(ask("/healthz").unwrap()).await.unwrap();
    let start = tokio::time::Instant::now();
    let slow: Vec<_> = (0..4).map(|_| sender.send_request(ask("/slow").unwrap())).collect();
    futures::future::join_all(slow).await;
    assert!(start.elapsed() >= Duration::from_millis(950), "two at a time: {:?}", start.elapsed());
    drop(sender);
    drop(connection.await);
}
