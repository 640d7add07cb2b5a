//! Whom the program trusts: the certificate authorities that Mozilla trusts for servers, as the crate `webpki-root-certs`
//! carries them, pinned in `Cargo.lock` like all else.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The crate that carries them; its licence is that of the data.
pub const PACKAGE: &str = "webpki-root-certs";

/// Where Go, OpenSSL and rustls look for them on Debian and its kin, and in upstream's images.
pub const PATH: &str = "etc/ssl/certs/ca-certificates.crt";

/// All of them as PEM.
pub fn bundle() -> String {
    let mut text = String::new();
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let encoded = STANDARD.encode(certificate);
        for line in encoded.as_bytes().chunks(64) {
            // Base64 is ASCII, and writing to a string does not fail.
            let _ = writeln!(text, "{}", String::from_utf8_lossy(line));
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use rustls::RootCertStore;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    use super::*;

    #[test]
    fn rustls_takes_every_certificate_of_the_bundle() {
        let text = bundle();
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<_, _>>().unwrap();
        assert!(certificates.len() > 100, "{}", certificates.len());
        let mut store = RootCertStore::empty();
        let (taken, ignored) = store.add_parsable_certificates(certificates);
        assert_eq!((taken, ignored), (webpki_root_certs::TLS_SERVER_ROOT_CERTS.len(), 0));
    }
}
