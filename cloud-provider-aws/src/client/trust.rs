//! The certificate authorities of `AWS_CA_BUNDLE`, or of `ca_bundle` in the profile.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aws_config::profile;
use aws_runtime::env_config::file::EnvConfigFiles;
use aws_smithy_http_client::{
    Builder, ConnectorBuilder,
    proxy::ProxyConfig,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::{
    http::{HttpClient, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector},
    runtime_components::RuntimeComponents,
};
use aws_types::os_shim_internal::{Env, Fs};
use cloud_provider::{Error, error::Result};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::time::Instant;

const VARIABLE: &str = "AWS_CA_BUNDLE";
const PROFILE_KEY: &str = "ca_bundle";
/// How often the file is looked at again.
const LOOK: Duration = Duration::from_secs(10);

/// A client that trusts the authorities in the file of `AWS_CA_BUNDLE`, else of `ca_bundle` in the profile, and no others, as
/// the Go SDK's does; `None` where neither is set. Proxies are those of the environment, as in the SDKs' own client.
///
/// # Errors
///
/// When the file cannot be read or holds no certificate.
pub(super) async fn https_client() -> Result<Option<SharedHttpClient>> {
    let env = Env::real();
    let file = match env.get(VARIABLE).ok().filter(|path| !path.is_empty()) {
        Some(path) => Some(File { setting: VARIABLE, path: PathBuf::from(path) }),
        None => of_profile(&env, &Fs::real()).await,
    };
    file.map(|file| Bundle::open(file).map(SharedHttpClient::new)).transpose()
}

/// The file that the chosen profile names. Files of profiles that cannot be read are for the SDKs to complain about.
async fn of_profile(env: &Env, fs: &Fs) -> Option<File> {
    let profiles = profile::load(fs, env, &EnvConfigFiles::default(), None).await.ok()?;
    let path = profiles.get(PROFILE_KEY).filter(|path| !path.is_empty())?;
    Some(File { setting: PROFILE_KEY, path: PathBuf::from(path) })
}

/// A file of authorities, and the setting that names it.
#[derive(Debug)]
struct File {
    setting: &'static str,
    path: PathBuf,
}

/// A client that follows changes of its file. A file that went bad changes nothing.
#[derive(Debug)]
struct Bundle {
    file: File,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    looked: Instant,
    authorities: Vec<String>,
    client: SharedHttpClient,
}

impl Bundle {
    fn open(file: File) -> Result<Self> {
        let authorities = file.read()?;
        let client = file.client(&authorities)?;
        Ok(Self { file, current: Mutex::new(Current { looked: Instant::now(), authorities, client }) })
    }

    fn client(&self) -> SharedHttpClient {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.looked.elapsed() >= LOOK {
            current.looked = Instant::now();
            if let Err(error) = self.reload(&mut current) {
                tracing::warn!(error = %error.chain(), "the certificate authorities stay as they were");
            }
        }
        current.client.clone()
    }

    fn reload(&self, current: &mut Current) -> Result<()> {
        let authorities = self.file.read()?;
        if authorities != current.authorities {
            current.client = self.file.client(&authorities)?;
            current.authorities = authorities;
            tracing::info!(path = %self.file.path.display(), "read the certificate authorities again");
        }
        Ok(())
    }
}

impl HttpClient for Bundle {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        self.client().http_connector(settings, components)
    }
}

impl File {
    fn client(&self, authorities: &[String]) -> Result<SharedHttpClient> {
        let mut store = TrustStore::empty();
        for authority in authorities {
            store.add_pem_certificate(authority.as_bytes());
        }
        let context = TlsContext::builder().with_trust_store(store).build();
        let context =
            context.map_err(|error| Error::invalid(self.setting, "use the certificates").with_source(error))?;
        Ok(Builder::new().build_with_connector_fn(move |settings, components| {
            let mut builder = ConnectorBuilder::default()
                .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
                .tls_context(context.clone())
                .proxy_config(ProxyConfig::from_env());
            builder.set_connector_settings(settings.cloned());
            if let Some(components) = components {
                builder.set_sleep_impl(components.sleep_impl());
            }
            builder.build()
        }))
    }

    /// The certificates in it, each still in PEM. What is no certificate is passed over; the SDK would panic on it.
    fn read(&self) -> Result<Vec<String>> {
        const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
        const END: &str = "-----END CERTIFICATE-----";
        let problem = |what: &str| Error::invalid(self.setting, format!("{what} {}", self.path.display()));
        let text = std::fs::read(&self.path).map_err(|error| problem("read").with_source(error))?;
        let certificate = |block: &str| {
            let block = block.get(block.rfind(BEGIN)?..)?;
            let certificate = CertificateDer::from_pem_slice(block.as_bytes()).ok()?;
            RootCertStore::empty().add(certificate).ok().map(|()| block.to_owned())
        };
        let found: Vec<String> = String::from_utf8_lossy(&text).split_inclusive(END).filter_map(certificate).collect();
        if found.is_empty() { Err(problem("there is no certificate in")) } else { Ok(found) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority(name: &str) -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap().pem()
    }

    #[test]
    fn a_bundle_is_read_past_what_is_no_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bundle.pem");
        let (a, b) = (authority("a"), authority("b"));
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let file = File { setting: VARIABLE, path: path.clone() };
        std::fs::write(&path, format!("# corporate\n{a}\n{broken}{b}")).unwrap();
        assert_eq!(file.read().unwrap(), [a.trim(), b.trim()]);
        std::fs::write(&path, broken).unwrap();
        assert!(file.read().unwrap_err().chain().contains("there is no certificate in"));
        std::fs::remove_file(&path).unwrap();
        assert!(file.read().is_err());
    }

    #[tokio::test]
    async fn the_chosen_profile_names_a_bundle() {
        let config = "[default]\nca_bundle = /default.pem\n[profile other]\nca_bundle = /other.pem\n[profile none]\n";
        let fs = Fs::from_slice(&[("/config", config)]);
        for (profile, expected) in
            [(None, Some("/default.pem")), (Some("other"), Some("/other.pem")), (Some("none"), None)]
        {
            let file = ("AWS_CONFIG_FILE", "/config");
            let chosen = profile.map(|profile| ("AWS_PROFILE", profile));
            let env = Env::from_slice(&[file, chosen.unwrap_or(("UNUSED", ""))]);
            let found = of_profile(&env, &fs).await.map(|file| file.path);
            assert_eq!(found, expected.map(PathBuf::from), "{profile:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_bundle_is_read_again_when_it_changed_and_kept_when_it_went_bad() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bundle.pem");
        let authorities = |bundle: &Bundle| bundle.current.lock().unwrap().authorities.clone();
        let (a, b) = (authority("a"), authority("b"));
        std::fs::write(&path, &a).unwrap();
        let bundle = Bundle::open(File { setting: VARIABLE, path: path.clone() }).unwrap();
        for (text, expected) in [(b.as_str(), &b), ("", &b), (a.as_str(), &a)] {
            std::fs::write(&path, text).unwrap();
            let before = authorities(&bundle);
            bundle.client();
            assert_eq!(authorities(&bundle), before, "not looked at so soon");
            tokio::time::advance(LOOK).await;
            bundle.client();
            assert_eq!(authorities(&bundle), [expected.trim()]);
        }
    }
}
