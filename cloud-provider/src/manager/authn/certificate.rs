//! Client certificates: the chain, and the user in the subject.

use std::fmt;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

/// Certificate authorities, and the check of a chain against them.
#[derive(Clone)]
pub(super) struct Authority(Arc<dyn ClientCertVerifier>);

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// The part of a certificate's subject that names a user and their groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) common_name: String,
    pub(super) organizations: Vec<String>,
}

impl Authority {
    /// From a bundle of certificates in PEM.
    pub(super) fn from_pem(pem: &[u8]) -> Result<Authority, String> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| error.to_string())?;
            roots.add(certificate).map_err(|error| error.to_string())?;
        }
        if roots.is_empty() {
            return Err("no certificate found".to_owned());
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        verifier.map(Authority).map_err(|error| error.to_string())
    }

    /// Checks a chain, the client's certificate first, and reads its subject.
    pub(super) fn verify(&self, chain: &[CertificateDer<'_>]) -> Result<Subject, String> {
        let Some((own, intermediates)) = chain.split_first() else { return Err("no certificate".to_owned()) };
        self.0
            .verify_client_cert(own, intermediates, UnixTime::now())
            .map_err(|error| format!("verifying certificate failed: {error}"))?;
        subject(own).ok_or_else(|| "the subject of the certificate cannot be read".to_owned())
    }
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_ID: u8 = 0x06;
const VERSION: u8 = 0xa0;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const T61_STRING: u8 = 0x14;
const IA5_STRING: u8 = 0x16;
/// id-at-commonName and id-at-organizationName.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];

/// Reads the subject out of a certificate in DER that was verified before.
fn subject(certificate: &[u8]) -> Option<Subject> {
    let mut outer = Der(certificate).enter(SEQUENCE)?;
    let mut body = outer.enter(SEQUENCE)?;
    // Version (where there is one), serial number, signature algorithm, issuer, validity; then the subject.
    if body.peek() == Some(VERSION) {
        body.skip()?;
    }
    for _ in 0..4 {
        body.skip()?;
    }
    let mut names = body.enter(SEQUENCE)?;
    let mut subject = Subject::default();
    while !names.0.is_empty() {
        let mut set = names.enter(SET)?;
        while !set.0.is_empty() {
            let mut attribute = set.enter(SEQUENCE)?;
            let (tag, id) = attribute.next()?;
            let (kind, value) = attribute.next()?;
            if tag != OBJECT_ID || !matches!(kind, UTF8_STRING | PRINTABLE_STRING | T61_STRING | IA5_STRING) {
                continue;
            }
            match (id, std::str::from_utf8(value)) {
                (COMMON_NAME, Ok(name)) => name.clone_into(&mut subject.common_name),
                (ORGANIZATION, Ok(name)) => subject.organizations.push(name.to_owned()),
                _ => {}
            }
        }
    }
    Some(subject)
}

/// The rest of some DER, which is read value by value.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// Tag and content of the next value.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            let (digits, rest) =
                rest.split_at_checked(usize::from(first & 0x7f)).filter(|(digits, _)| digits.len() <= 4)?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    fn skip(&mut self) -> Option<()> {
        self.next().map(drop)
    }

    /// The content of the next value, which must have this tag.
    fn enter(&mut self, tag: u8) -> Option<Der<'a>> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| Der(content))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair};

    use super::*;

    fn certificate(names: DistinguishedName) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name = names;
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn user_and_groups_are_read_from_the_subject() {
        let mut names = DistinguishedName::new();
        names.push(DnType::CountryName, "DE");
        names.push(DnType::OrganizationName, DnValue::PrintableString("system:masters".try_into().unwrap()));
        names.push(DnType::CommonName, "admin ü");
        let subject = subject(&certificate(names)).unwrap();
        assert_eq!(subject, Subject { common_name: "admin ü".into(), organizations: vec!["system:masters".into()] });
        assert_eq!(super::subject(&certificate(DistinguishedName::new())), Some(Subject::default()));
    }

    #[test]
    fn every_organization_is_a_group() {
        let name = |id: &[u8], text: &str| {
            let value = [&[OBJECT_ID, id.len() as u8], id, &[UTF8_STRING, text.len() as u8], text.as_bytes()].concat();
            let attribute = [&[SEQUENCE, value.len() as u8], value.as_slice()].concat();
            [&[SET, attribute.len() as u8], attribute.as_slice()].concat()
        };
        let names = [name(ORGANIZATION, "one"), name(COMMON_NAME, "ann"), name(ORGANIZATION, "two")].concat();
        let nothing = [SEQUENCE, 0];
        let body = [&nothing[..], &nothing, &nothing, &nothing, &[SEQUENCE, names.len() as u8], &names].concat();
        let body = [&[SEQUENCE, 0x81, body.len() as u8], body.as_slice()].concat();
        let certificate = [&[SEQUENCE, 0x82, 0, body.len() as u8], body.as_slice()].concat();
        let expected = Subject { common_name: "ann".into(), organizations: vec!["one".into(), "two".into()] };
        assert_eq!(subject(&certificate), Some(expected));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_fail(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = subject(&bytes);
        }

        #[test]
        fn no_damage_to_a_certificate_makes_the_reader_fail(at in 0_usize..150, value in any::<u8>()) {
            let mut names = DistinguishedName::new();
            names.push(DnType::CommonName, "admin");
            let mut der = certificate(names);
            der[at] = value;
            let _ = subject(&der);
        }
    }
}
