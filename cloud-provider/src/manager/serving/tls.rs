//! The TLS side of the secure port: certificates that are made, read and read again, and what is offered to clients.

use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    ALL_VERSIONS, DigitallySignedStruct, ProtocolVersion, ServerConfig, SignatureScheme, SupportedProtocolVersion,
};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use crate::manager::options::values::NamedCertKey;
use crate::manager::options::{ServingCertificate, ServingSettings, TlsVersion};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A certificate or key cannot be read or written.
    #[error("certificate {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: io::Error,
    },
    /// Only one of certificate and key is there.
    #[error("error reading {}, certificate and key must be supplied as a pair", missing.display())]
    Pair {
        /// The one that is missing.
        missing: PathBuf,
    },
    /// A file holds no certificate or key.
    #[error("no usable PEM in {}: {problem}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A certificate cannot be made.
    #[error("make a certificate")]
    Make(#[from] rcgen::Error),
    /// Key and certificate do not fit, or nothing is left to offer.
    #[error("use the TLS settings")]
    Use(#[from] rustls::Error),
}

/// The TLS side of a server.
pub(super) struct Tls {
    acceptor: TlsAcceptor,
    certificates: Arc<Certificates>,
}

impl Tls {
    /// Reads or makes the certificates.
    pub(super) fn new(settings: &ServingSettings) -> Result<Tls, Error> {
        let provider = Arc::new(provider(settings));
        let certificates = Arc::new(Certificates::load(settings, &provider)?);
        let config =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&versions(settings))?;
        let mut config = config
            .with_client_cert_verifier(Arc::new(AnyClient(Arc::clone(&provider))))
            .with_cert_resolver(Arc::clone(&certificates) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if settings.http2 {
            config.alpn_protocols.insert(0, b"h2".to_vec());
        }
        Ok(Tls { acceptor: TlsAcceptor::from(Arc::new(config)), certificates })
    }

    pub(super) fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }

    /// Reads certificates again whose files changed. What cannot be used stays as it was, until it can.
    pub(super) fn reload(&self) {
        self.certificates.reload();
    }
}

/// What to offer. rustls has TLS 1.2 and 1.3 with modern suites only: what it lacks is left out with a warning.
fn provider(settings: &ServingSettings) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    if !settings.cipher_suites.is_empty() {
        let name = |suite: &rustls::SupportedCipherSuite| {
            let name = suite.suite().as_str().unwrap_or_default();
            // rustls and IANA differ in the names of 1.3.
            name.replace("TLS13_", "TLS_")
        };
        let names: Vec<String> = provider.cipher_suites.iter().map(name).collect();
        // Go's ChaCha suites have an old name too.
        let is =
            |asked: &str, name: &str| name == asked || name.strip_suffix("_SHA256").is_some_and(|name| name == asked);
        for asked in settings.cipher_suites.iter().filter(|asked| !names.iter().any(|name| is(asked, name))) {
            warn!(suite = asked, "cipher suite is not supported, left out");
        }
        // As in Go, the list is about TLS 1.2: the suites of 1.3 are always on.
        provider.cipher_suites.retain(|suite| {
            let name = name(suite);
            suite.tls13().is_some() || settings.cipher_suites.iter().any(|asked| is(asked, &name))
        });
    }
    if !settings.curve_preferences.is_empty() {
        let number = |group: &dyn rustls::crypto::SupportedKxGroup| i32::from(u16::from(group.name()));
        let all = std::mem::take(&mut provider.kx_groups);
        for asked in &settings.curve_preferences {
            match all.iter().find(|group| number(**group) == *asked) {
                Some(group) => provider.kx_groups.push(*group),
                None => warn!(curve = asked, "key exchange is not supported, left out"),
            }
        }
    }
    provider
}

fn versions(settings: &ServingSettings) -> Vec<&'static SupportedProtocolVersion> {
    let only_newest = settings.min_version == TlsVersion::Tls13;
    ALL_VERSIONS.iter().copied().filter(|known| !only_newest || known.version == ProtocolVersion::TLSv1_3).collect()
}

/// The certificates of a server: one for everybody and some for server names.
struct Certificates {
    provider: Arc<CryptoProvider>,
    default: Pair,
    named: Vec<(Vec<String>, Pair)>,
}

/// A certificate and its key, and the files that they are from, if any.
struct Pair {
    files: Option<(PathBuf, PathBuf)>,
    current: RwLock<Current>,
}

struct Current {
    key: Arc<CertifiedKey>,
    /// What the files held when they were looked at last.
    fingerprint: u64,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").finish_non_exhaustive()
    }
}

impl Certificates {
    fn load(settings: &ServingSettings, provider: &Arc<CryptoProvider>) -> Result<Certificates, Error> {
        let default = match &settings.certificate {
            ServingCertificate::InMemory => {
                let (certificate, key) = self_signed()?;
                let der = PrivateKeyDer::try_from(key.serialize_der())
                    .map_err(|problem| rustls::Error::General(problem.into()))?;
                Pair::fixed(CertifiedKey::from_der(vec![certificate.der().clone()], der, provider)?)
            }
            ServingCertificate::Directory { cert_file, key_file } => {
                make_missing(cert_file, key_file)?;
                Pair::read(cert_file, key_file, provider)?
            }
            ServingCertificate::Files { cert_file, key_file } => Pair::read(cert_file, key_file, provider)?,
        };
        let named = settings.sni_certificates.iter().map(|NamedCertKey { cert_file, key_file, names }| {
            Ok((names.clone(), Pair::read(Path::new(cert_file), Path::new(key_file), provider)?))
        });
        let named = named.collect::<Result<_, Error>>()?;
        Ok(Certificates { provider: Arc::clone(provider), default, named })
    }

    fn reload(&self) {
        for pair in std::iter::once(&self.default).chain(self.named.iter().map(|(_, pair)| pair)) {
            pair.reload(&self.provider);
        }
    }

    fn for_name(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.named.iter().find_map(|(names, pair)| {
            let key = pair.key();
            let fits =
                if names.is_empty() { certifies(&key, name) } else { names.iter().any(|known| matches(known, name)) };
            fits.then_some(key)
        })
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        hello.server_name().and_then(|name| self.for_name(name)).or_else(|| Some(self.default.key()))
    }
}

/// Whether a name is this one, or one label under `*.` this one.
fn matches(known: &str, name: &str) -> bool {
    let under = known.strip_prefix("*.").zip(name.split_once('.'));
    known.eq_ignore_ascii_case(name) || under.is_some_and(|(domain, (_, rest))| domain.eq_ignore_ascii_case(rest))
}

fn certifies(key: &CertifiedKey, name: &str) -> bool {
    let certificate = key.end_entity_cert().ok().and_then(|der| ParsedCertificate::try_from(der).ok());
    let name = ServerName::try_from(name).ok();
    certificate.zip(name).is_some_and(|(certificate, name)| verify_server_name(&certificate, &name).is_ok())
}

impl Pair {
    fn fixed(key: CertifiedKey) -> Pair {
        Pair { files: None, current: RwLock::new(Current { key: Arc::new(key), fingerprint: 0 }) }
    }

    fn read(cert_file: &Path, key_file: &Path, provider: &CryptoProvider) -> Result<Pair, Error> {
        let fingerprint = fingerprint(cert_file, key_file);
        let key = Arc::new(read(cert_file, key_file, provider)?);
        let files = Some((cert_file.to_owned(), key_file.to_owned()));
        Ok(Pair { files, current: RwLock::new(Current { key, fingerprint }) })
    }

    fn key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).key)
    }

    fn reload(&self, provider: &CryptoProvider) {
        let Some((cert_file, key_file)) = &self.files else { return };
        let fingerprint = fingerprint(cert_file, key_file);
        if self.current.read().unwrap_or_else(PoisonError::into_inner).fingerprint == fingerprint {
            return;
        }
        let result = read(cert_file, key_file, provider);
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        // Also after a failure: it is told once, and tried again when the files change again.
        current.fingerprint = fingerprint;
        match result {
            Ok(key) => {
                info!(certificate = %cert_file.display(), "serving certificate read again");
                current.key = Arc::new(key);
            }
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "serving certificate changed but cannot be used");
            }
        }
    }
}

fn fingerprint(cert_file: &Path, key_file: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    (fs::read(cert_file).ok(), fs::read(key_file).ok()).hash(&mut hasher);
    hasher.finish()
}

fn read(cert_file: &Path, key_file: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, Error> {
    let pem = |path: &Path| fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source });
    let unusable = |path: &Path, problem: String| Error::Pem { path: path.to_owned(), problem };
    let chain = CertificateDer::pem_slice_iter(&pem(cert_file)?).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| unusable(cert_file, error.to_string()))?;
    if chain.is_empty() {
        return Err(unusable(cert_file, "no certificate".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(&pem(key_file)?).map_err(|error| unusable(key_file, error.to_string()))?;
    Ok(CertifiedKey::from_der(chain, key, provider)?)
}

/// A certificate for this machine's own address, as upstream makes it.
fn self_signed() -> Result<(rcgen::Certificate, KeyPair), Error> {
    let mut params = CertificateParams::new(["localhost", "127.0.0.1", "::1"].map(str::to_owned))?;
    params.distinguished_name = DistinguishedName::new();
    let made = jiff::Timestamp::now().as_second();
    params.distinguished_name.push(DnType::CommonName, format!("localhost@{made}"));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    Ok((params.self_signed(&key)?, key))
}

/// Writes a self-signed pair where there is none. Half a pair is an error.
fn make_missing(cert_file: &Path, key_file: &Path) -> Result<(), Error> {
    match (cert_file.exists(), key_file.exists()) {
        (true, true) => return Ok(()),
        (true, false) => return Err(Error::Pair { missing: key_file.to_owned() }),
        (false, true) => return Err(Error::Pair { missing: cert_file.to_owned() }),
        (false, false) => {}
    }
    let (certificate, key) = self_signed()?;
    write(cert_file, &certificate.pem(), 0o644)?;
    write(key_file, &key.serialize_pem(), 0o600)?;
    info!(certificate = %cert_file.display(), "self-signed serving certificate made");
    Ok(())
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    let write = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
        options.open(path)?.write_all(text.as_bytes())
    };
    write().map_err(|source| Error::File { path: path.to_owned(), source })
}

/// Asks every client for a certificate and takes any whose key the client holds: whether it means something is
/// decided per request, by authorities that change while the server runs.
#[derive(Debug)]
struct AnyClient(Arc<CryptoProvider>);

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[rustls::DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_names_match_exactly_or_by_one_label() {
        for (known, name, fits) in [
            ("a.example", "a.example", true),
            ("A.example", "a.Example", true),
            ("*.example", "a.example", true),
            ("*.example", "a.b.example", false),
            ("*.example", "example", false),
            ("example", "a.example", false),
        ] {
            assert_eq!(matches(known, name), fits, "{known} {name}");
        }
    }

    fn settings() -> ServingSettings {
        ServingSettings::new(([127, 0, 0, 1], 0).into(), ServingCertificate::InMemory)
    }

    #[test]
    fn what_is_asked_for_and_supported_is_offered() {
        let suites = |list: &[&str]| {
            let settings =
                ServingSettings { cipher_suites: list.iter().map(|s| (*s).to_owned()).collect(), ..settings() };
            let provider = provider(&settings);
            provider.cipher_suites.iter().filter(|suite| suite.tls13().is_none()).count()
        };
        assert_eq!(suites(&["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_RSA_WITH_RC4_128_SHA"]), 1);
        assert_eq!(
            suites(&["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"]),
            2
        );
        assert_eq!(suites(&["TLS_RSA_WITH_RC4_128_SHA"]), 0);
        assert!(
            Tls::new(&ServingSettings { cipher_suites: vec!["TLS_RSA_WITH_RC4_128_SHA".into()], ..settings() }).is_ok()
        );

        let curves = provider(&ServingSettings { curve_preferences: vec![24, 25, 29], ..settings() });
        let curves: Vec<_> = curves.kx_groups.iter().map(|group| u16::from(group.name())).collect();
        assert_eq!(curves, [24, 29], "in the order asked for");
        assert!(Tls::new(&ServingSettings { curve_preferences: vec![1], ..settings() }).is_err(), "nothing is left");
        let newest = versions(&ServingSettings { min_version: TlsVersion::Tls13, ..settings() });
        assert_eq!((newest.len(), versions(&settings()).len()), (1, 2));
    }

    #[test]
    fn a_directory_gets_a_pair_that_is_used_again_and_half_a_pair_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (cert_file, key_file) = (dir.path().join("certs/ccm.crt"), dir.path().join("certs/ccm.key"));
        let certificate = ServingCertificate::Directory { cert_file: cert_file.clone(), key_file: key_file.clone() };
        let settings = ServingSettings { certificate, ..settings() };
        Tls::new(&settings).unwrap();
        let made = fs::read(&cert_file).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&key_file).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        Tls::new(&settings).unwrap();
        assert_eq!(fs::read(&cert_file).unwrap(), made);
        fs::remove_file(&key_file).unwrap();
        let error = Tls::new(&settings).err().unwrap().to_string();
        assert_eq!(
            error,
            format!("error reading {}, certificate and key must be supplied as a pair", key_file.display())
        );
    }

    #[test]
    fn a_changed_certificate_is_read_again_and_a_broken_one_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let (cert_file, key_file) = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
        let put = || {
            let (certificate, key) = self_signed().unwrap();
            fs::write(&cert_file, certificate.pem()).unwrap();
            fs::write(&key_file, key.serialize_pem()).unwrap();
            certificate.der().clone()
        };
        let first = put();
        let certificate = ServingCertificate::Files { cert_file: cert_file.clone(), key_file: key_file.clone() };
        let named = NamedCertKey {
            cert_file: cert_file.display().to_string(),
            key_file: key_file.display().to_string(),
            names: Vec::new(),
        };
        let tls = Tls::new(&ServingSettings { certificate, sni_certificates: vec![named], ..settings() }).unwrap();
        let current = || tls.certificates.default.key().cert[0].clone();
        assert_eq!(current(), first);
        let second = put();
        fs::write(&cert_file, "nothing").unwrap();
        tls.reload();
        assert_eq!(current(), first);
        let third = put();
        tls.reload();
        assert_eq!(current(), third);
        assert_ne!(second, third);
        assert!(tls.certificates.for_name("localhost").is_some_and(|key| key.cert[0] == third));
        assert!(tls.certificates.for_name("elsewhere").is_none());
    }
}
