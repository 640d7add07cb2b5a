//! Sections "webhook" and "webhook serving".

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use clap::Args;

use super::{
    Errors,
    serving::{ServingSettings, Tls, port},
    values::{Int32s, NamedCertKey, Strings, address, flatten},
};
use crate::manager::names::is_enabled;

/// Section "webhook".
#[derive(Args, Clone, Debug)]
#[group(skip)]
#[command(next_help_heading = "Webhook flags")]
pub struct Webhook {
    /// Webhooks to serve: '*' is all, 'foo' enables, '-foo' disables the webhook foo
    #[arg(long)]
    pub webhooks: Vec<Strings>,
}

/// Section "webhook serving".
#[derive(Args, Clone, Debug)]
#[group(skip)]
#[command(next_help_heading = "Webhook serving flags")]
pub struct WebhookServing {
    /// Address to serve webhooks on; 0.0.0.0 and :: stand for all addresses
    #[arg(long, default_value = "0.0.0.0", value_parser = address)]
    pub webhook_bind_address: IpAddr,
    /// Port to serve webhooks on; 0 for none
    #[arg(long, default_value_t = 10260)]
    pub webhook_secure_port: i64,
    /// Serve webhooks over HTTP/1.1 only
    #[arg(long)]
    pub webhook_disable_http2_serving: bool,
    /// Directory of cloud-controller-manager-webhook.crt and .key, made self-signed if missing; empty to keep them in
    /// memory. Not used with --webhook-tls-cert-file and --webhook-tls-private-key-file
    #[arg(long, default_value = "")]
    pub webhook_cert_dir: String,
    /// File with the certificate for webhooks and its intermediate certificates; read again when it changes
    #[arg(long, default_value = "")]
    pub webhook_tls_cert_file: String,
    /// File with the private key of --webhook-tls-cert-file
    #[arg(long, default_value = "")]
    pub webhook_tls_private_key_file: String,
    /// Cipher suites to offer for webhooks, by IANA name; empty for the defaults
    #[arg(long)]
    pub webhook_tls_cipher_suites: Vec<Strings>,
    /// Key exchange mechanisms to offer for webhooks, by TLS number; empty for the defaults
    #[arg(long)]
    pub webhook_tls_curve_preferences: Vec<Int32s>,
    /// Oldest TLS version to offer for webhooks, as --tls-min-version
    #[arg(long, default_value = "")]
    pub webhook_tls_min_version: String,
    /// Certificate and key file for some server names of webhooks, as --tls-sni-cert-key. May be repeated
    #[arg(long)]
    pub webhook_tls_sni_cert_key: Vec<NamedCertKey>,
}

/// Validated settings of webhooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookSettings {
    /// The webhooks to serve.
    pub names: Vec<String>,
    /// Where to serve them.
    pub serving: ServingSettings,
}

impl Webhook {
    /// The known webhooks that are enabled, in their order.
    pub(super) fn validate(&self, known: &[&str], errors: &mut Errors) -> Vec<String> {
        let items = flatten(&self.webhooks);
        for item in items.iter().collect::<BTreeSet<_>>() {
            let name = item.strip_prefix('-').unwrap_or(item);
            if item != "*" && !known.contains(&name) {
                errors.add(format!("{name:?} is not in the list of known webhooks"));
            }
        }
        known.iter().filter(|name| is_enabled(&items, name, true)).map(|name| (*name).to_owned()).collect()
    }
}

impl WebhookServing {
    /// Settings, or none if nothing is served.
    pub(super) fn validate(&self, errors: &mut Errors) -> Option<ServingSettings> {
        if !(0..=65535).contains(&self.webhook_secure_port) {
            errors.add(format!(
                "--webhook-secure-port {} must be between 0 and 65535, inclusive. A value of 0 disables the webhook \
                 endpoint entirely.",
                self.webhook_secure_port
            ));
        }
        let port = port(self.webhook_secure_port)?;
        let tls = Tls {
            prefix: "webhook-",
            pair_name: "cloud-controller-manager-webhook",
            cert_dir: &self.webhook_cert_dir,
            cert_file: &self.webhook_tls_cert_file,
            key_file: &self.webhook_tls_private_key_file,
            cipher_suites: &self.webhook_tls_cipher_suites,
            min_version: &self.webhook_tls_min_version,
        };
        Some(ServingSettings {
            http2: !self.webhook_disable_http2_serving,
            sni_certificates: self.webhook_tls_sni_cert_key.clone(),
            cipher_suites: tls.cipher_suites(errors),
            curve_preferences: flatten(&self.webhook_tls_curve_preferences),
            min_version: tls.min_version(errors),
            ..ServingSettings::new(SocketAddr::new(self.webhook_bind_address, port), tls.certificate(errors))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_12_11_webhooks() {
        for (flag, enabled) in
            [("a,b", &["a", "b"][..]), ("a", &["a"]), ("a,-b", &["a"]), ("-b", &[]), ("*", &["a", "b"]), ("", &[])]
        {
            let mut errors = Errors::default();
            let webhook = Webhook { webhooks: vec![flag.parse().unwrap()] };
            assert_eq!(webhook.validate(&["a", "b"], &mut errors), enabled, "{flag:?}");
            assert!(errors.is_empty());
        }
    }

    #[test]
    fn unknown_webhooks_are_named_in_order() {
        let mut errors = Errors::default();
        Webhook { webhooks: vec!["y,*,-x,y".parse().unwrap()] }.validate(&["a"], &mut errors);
        assert_eq!(
            errors.to_string(),
            r#"["x" is not in the list of known webhooks, "y" is not in the list of known webhooks]"#
        );
    }
}
