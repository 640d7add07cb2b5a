//! Section "secure serving", and what webhook serving has in common with it.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use clap::Args;

use super::{
    Errors, path,
    values::{Int32s, NamedCertKey, Strings, address, flatten},
};

/// The cipher suites that Go names; what the TLS library lacks of them is dropped when serving starts.
const CIPHER_SUITES: &[&str] = &[
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_RSA_WITH_RC4_128_SHA",
];

/// Section "secure serving".
#[derive(Args, Clone, Debug)]
#[group(skip)]
#[command(next_help_heading = "Secure serving flags")]
pub struct SecureServing {
    /// Address to serve on; 0.0.0.0 and :: stand for all addresses of both IP families
    #[arg(long, default_value = "0.0.0.0", value_parser = address)]
    pub bind_address: IpAddr,
    /// Port to serve HTTPS on, with authentication and authorization; 0 for no server, and so no health checks
    #[arg(long, default_value_t = 10258)]
    pub secure_port: i64,
    /// Serve HTTP/1.1 only
    #[arg(long)]
    pub disable_http2_serving: bool,
    /// Directory of cloud-controller-manager.crt and .key, made self-signed if missing; empty to keep them in memory.
    /// Not used with --tls-cert-file and --tls-private-key-file
    #[arg(long, default_value = "")]
    pub cert_dir: String,
    /// File with the serving certificate and its intermediate certificates; read again when it changes
    #[arg(long, default_value = "")]
    pub tls_cert_file: String,
    /// File with the private key of --tls-cert-file
    #[arg(long, default_value = "")]
    pub tls_private_key_file: String,
    /// Cipher suites to offer, by IANA name; empty for the defaults. Suites that the TLS library lacks are left out
    #[arg(long)]
    pub tls_cipher_suites: Vec<Strings>,
    /// Key exchange mechanisms to offer, by TLS number; empty for the defaults
    #[arg(long)]
    pub tls_curve_preferences: Vec<Int32s>,
    /// Oldest TLS version to offer: VersionTLS10, VersionTLS11, VersionTLS12 or VersionTLS13; empty for VersionTLS12,
    /// which is also the oldest that there is
    #[arg(long, default_value = "")]
    pub tls_min_version: String,
    /// Certificate and key file for some server names, 'cert,key' or 'cert,key:name,*.name'. May be repeated
    #[arg(long)]
    pub tls_sni_cert_key: Vec<NamedCertKey>,
    /// Streams that a client may open on one HTTP/2 connection; 0 for the default
    #[arg(long, default_value_t = 0)]
    pub http2_max_streams_per_connection: i64,
    /// Let other processes serve on the same port (SO_REUSEPORT)
    #[arg(long)]
    pub permit_port_sharing: bool,
    /// Let other processes serve on the port with another address, and do not wait for old connections (SO_REUSEADDR).
    /// It is so without this flag too, as in every Go program
    #[arg(long)]
    pub permit_address_sharing: bool,
}

/// The oldest TLS version to offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// 1.0; no longer offered, 1.2 is.
    Tls10,
    /// 1.1; no longer offered, 1.2 is.
    Tls11,
    /// 1.2.
    Tls12,
    /// 1.3.
    Tls13,
}

/// Where the serving certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServingCertificate {
    /// Made at start, self-signed, never written.
    InMemory,
    /// A pair of files that is made, self-signed, where it is missing.
    Directory {
        /// The certificate.
        cert_file: PathBuf,
        /// Its key.
        key_file: PathBuf,
    },
    /// A pair of files that must exist.
    Files {
        /// The certificate.
        cert_file: PathBuf,
        /// Its key.
        key_file: PathBuf,
    },
}

/// Validated settings of an HTTPS server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServingSettings {
    /// Address and port, which is not 0.
    pub address: SocketAddr,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
    /// Streams on one HTTP/2 connection; none for the default.
    pub http2_max_streams: Option<u32>,
    /// The default certificate.
    pub certificate: ServingCertificate,
    /// Certificates for server names.
    pub sni_certificates: Vec<NamedCertKey>,
    /// Cipher suites by name; empty for the defaults.
    pub cipher_suites: Vec<String>,
    /// Key exchange mechanisms by number; empty for the defaults.
    pub curve_preferences: Vec<i32>,
    /// The oldest version to offer.
    pub min_version: TlsVersion,
    /// Whether to set SO_REUSEPORT.
    pub reuse_port: bool,
}

impl ServingSettings {
    /// The defaults of the flags, at an address and with a certificate.
    pub fn new(address: SocketAddr, certificate: ServingCertificate) -> Self {
        Self {
            address,
            http2: true,
            http2_max_streams: None,
            certificate,
            sni_certificates: Vec::new(),
            cipher_suites: Vec::new(),
            curve_preferences: Vec::new(),
            min_version: TlsVersion::Tls12,
            reuse_port: false,
        }
    }
}

/// The TLS flags, which the webhook server has too, by what they are called there.
pub(super) struct Tls<'a> {
    /// `webhook-` or nothing.
    pub(super) prefix: &'a str,
    /// The file names in the directory, without their endings.
    pub(super) pair_name: &'a str,
    pub(super) cert_dir: &'a str,
    pub(super) cert_file: &'a str,
    pub(super) key_file: &'a str,
    pub(super) cipher_suites: &'a [Strings],
    pub(super) min_version: &'a str,
}

impl Tls<'_> {
    pub(super) fn certificate(&self, errors: &mut Errors) -> ServingCertificate {
        let prefix = self.prefix;
        match (path(self.cert_file), path(self.key_file), path(self.cert_dir)) {
            (Some(cert_file), Some(key_file), _) => ServingCertificate::Files { cert_file, key_file },
            (None, None, None) => ServingCertificate::InMemory,
            (None, None, Some(directory)) => ServingCertificate::Directory {
                cert_file: directory.join(format!("{}.crt", self.pair_name)),
                key_file: directory.join(format!("{}.key", self.pair_name)),
            },
            (None, Some(_), _) => {
                errors.add(format!("--{prefix}tls-private-key-file needs --{prefix}tls-cert-file"));
                ServingCertificate::InMemory
            }
            (Some(_), None, _) => {
                errors.add(format!("--{prefix}tls-cert-file needs --{prefix}tls-private-key-file"));
                ServingCertificate::InMemory
            }
        }
    }

    pub(super) fn cipher_suites(&self, errors: &mut Errors) -> Vec<String> {
        let suites = flatten(self.cipher_suites);
        for suite in suites.iter().filter(|suite| !CIPHER_SUITES.contains(&suite.as_str())) {
            errors.add(format!("Cipher suite {suite} not supported or doesn't exist"));
        }
        suites
    }

    pub(super) fn min_version(&self, errors: &mut Errors) -> TlsVersion {
        match self.min_version {
            "VersionTLS10" => TlsVersion::Tls10,
            "VersionTLS11" => TlsVersion::Tls11,
            "" | "VersionTLS12" => TlsVersion::Tls12,
            "VersionTLS13" => TlsVersion::Tls13,
            other => {
                errors.add(format!("unknown tls version {other:?}"));
                TlsVersion::Tls12
            }
        }
    }
}

/// The port, or none for 0 and for what is out of range.
pub(super) fn port(port: i64) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port != 0)
}

impl SecureServing {
    /// Settings, or none if nothing is served.
    pub(super) fn validate(&self, errors: &mut Errors) -> Option<ServingSettings> {
        if !(0..=65535).contains(&self.secure_port) {
            errors.add(format!(
                "--secure-port {} must be between 0 and 65535, inclusive. 0 for turning off secure port",
                self.secure_port
            ));
        }
        let http2_max_streams = u32::try_from(self.http2_max_streams_per_connection);
        if http2_max_streams.is_err() {
            errors.add("--http2-max-streams-per-connection cannot be negative or above 4294967295");
        }
        let port = port(self.secure_port)?;
        let tls = Tls {
            prefix: "",
            pair_name: "cloud-controller-manager",
            cert_dir: &self.cert_dir,
            cert_file: &self.tls_cert_file,
            key_file: &self.tls_private_key_file,
            cipher_suites: &self.tls_cipher_suites,
            min_version: &self.tls_min_version,
        };
        Some(ServingSettings {
            http2: !self.disable_http2_serving,
            http2_max_streams: http2_max_streams.ok().filter(|streams| *streams != 0),
            sni_certificates: self.tls_sni_cert_key.clone(),
            cipher_suites: tls.cipher_suites(errors),
            curve_preferences: flatten(&self.tls_curve_preferences),
            min_version: tls.min_version(errors),
            reuse_port: self.permit_port_sharing,
            ..ServingSettings::new(SocketAddr::new(self.bind_address, port), tls.certificate(errors))
        })
    }
}
