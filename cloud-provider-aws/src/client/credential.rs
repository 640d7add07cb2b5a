//! Credentials: the SDKs' default chain, `RoleARN` on top of it, and the instance metadata service.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_config::{
    AppName, BehaviorVersion, Region, SdkConfig, default_provider::credentials::DefaultCredentialsChain,
    provider_config::ProviderConfig, retry::RetryConfig, timeout::TimeoutConfig,
};
use aws_credential_types::{
    Credentials,
    provider::{self, ProvideCredentials, SharedCredentialsProvider, error::CredentialsError, future},
};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use cloud_provider::Kind;
use tokio::time::Instant;

use super::{Endpoint, Error, Role, Service, Settings, error::chain};
use crate::metrics::ApiMetrics;

/// How long one attempt of a call may take.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// Tries of one call.
const ATTEMPTS: u32 = 3;
/// How long the credentials of a taken role live, as upstream asks for.
const ROLE_SESSION: Duration = Duration::from_secs(15 * 60);
/// Credentials with less time left are asked for anew.
const SHARED_UNTIL: Duration = Duration::from_secs(2 * 60);
/// The first and the longest time for which a failure to get credentials is not tried again.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The configuration that all clients share.
///
/// The region is given to the chain too, so that web identities work where `AWS_REGION` is not set. Attempts and time
/// limits are upstream's; `AWS_MAX_ATTEMPTS` and `AWS_RETRY_MODE` have no effect.
pub(super) async fn sdk_config(
    settings: &Settings,
    credentials: Option<SharedCredentialsProvider>,
    https: Option<SharedHttpClient>,
    metrics: ApiMetrics,
) -> SdkConfig {
    let region = Region::new(settings.region.clone());
    let mut config = base_config(region.clone(), https.clone()).await;
    let chain = match &settings.endpoints.imds {
        _ if credentials.is_some() => credentials,
        Some(endpoint) => {
            let mut provider = ProviderConfig::default().with_region(Some(region.clone()));
            if let Some(https) = https {
                provider = provider.with_http_client(https);
            }
            let chain = DefaultCredentialsChain::builder().configure(provider).region(region);
            let chain = chain.imds_client(imds_client(Some(endpoint))).build().await;
            Some(SharedCredentialsProvider::new(chain))
        }
        None => config.credentials_provider(),
    };
    if let Some(chain) = chain {
        config = with_credentials(config, Paused::new(chain));
    }
    if let Some(role) = &settings.role {
        let mut sts = aws_sdk_sts::config::Builder::from(&config);
        if let Some(endpoint) = &settings.endpoints.sts {
            sts = sts.endpoint_resolver(super::endpoints::Fixed::new(endpoint, &settings.region));
        }
        let sts = aws_sdk_sts::Client::from_conf(sts.build());
        let role = AssumedRole { role: role.clone(), sts, metrics };
        config = with_credentials(config, Paused::new(role));
    }
    config
}

async fn base_config(region: Region, https: Option<SharedHttpClient>) -> SdkConfig {
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_TIMEOUT).build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .region(region)
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        .timeout_config(timeouts);
    if let Ok(name) = AppName::new(concat!("kubernetes-cloud-provider-rs-", env!("CARGO_PKG_VERSION"))) {
        loader = loader.app_name(name);
    }
    if let Some(https) = https {
        loader = loader.http_client(https);
    }
    loader.load().await
}

fn with_credentials(config: SdkConfig, provider: impl ProvideCredentials + 'static) -> SdkConfig {
    config.into_builder().credentials_provider(SharedCredentialsProvider::new(provider)).build()
}

/// Takes on the role of `RoleARN` with the chain's credentials.
struct AssumedRole {
    role: Role,
    sts: aws_sdk_sts::Client,
    metrics: ApiMetrics,
}

impl AssumedRole {
    async fn credentials(&self) -> provider::Result {
        let nanoseconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let Role { arn, account, source_arn } = self.role.clone();
        let request = self
            .sts
            .assume_role()
            .role_arn(arn)
            .role_session_name(format!("aws-go-sdk-{nanoseconds}"))
            .duration_seconds(i32::try_from(ROLE_SESSION.as_secs()).unwrap_or(i32::MAX))
            .customize()
            .mutate_request(move |request| {
                // Both let the role's trust policy tell confused deputies apart.
                let headers = request.headers_mut();
                let _ = headers.try_insert("x-amz-source-account", account.clone());
                if let Some(source_arn) = &source_arn {
                    let _ = headers.try_insert("x-amz-source-arn", source_arn.clone());
                }
            });
        let answer = Box::pin(request.send()).await.map_err(|error| {
            let error = Error::from_sdk(Service::Sts, "AssumeRole", &error);
            if let Some(status) = error.status().filter(|status| *status >= 400) {
                self.metrics.failed(Service::Sts, "AssumeRole", status);
            }
            tracing::warn!(role = %self.role.arn, %error, request_id = error.request_id(), "cannot take on the role");
            CredentialsError::provider_error(error)
        })?;
        let credentials = answer.credentials.ok_or_else(|| {
            let problem = "the answer has no credentials";
            CredentialsError::unhandled(Error::odd_answer(Service::Sts, "AssumeRole", problem))
        })?;
        Ok(Credentials::new(
            credentials.access_key_id,
            credentials.secret_access_key,
            Some(credentials.session_token),
            SystemTime::try_from(credentials.expiration).ok(),
            "RoleARN",
        ))
    }
}

impl ProvideCredentials for AssumedRole {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(Box::pin(self.credentials()))
    }
}

impl fmt::Debug for AssumedRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AssumedRole").field("role", &self.role.arn).finish_non_exhaustive()
    }
}

/// Shares credentials between the clients, and remembers a failure for a while, so that a revoked role is not asked for
/// by every single call. The pause doubles from one second to a minute. Credentials that do not expire are not kept
/// here: their source may change.
#[derive(Debug)]
struct Paused<P> {
    inner: P,
    /// Held while asking, so that clients that need credentials at the same time ask once.
    last: tokio::sync::Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    good: Option<Credentials>,
    failure: Option<Failure>,
}

#[derive(Debug)]
struct Failure {
    text: String,
    pause: Duration,
    until: Instant,
}

impl<P: ProvideCredentials> Paused<P> {
    fn new(inner: P) -> Self {
        Self { inner, last: tokio::sync::Mutex::default() }
    }

    async fn credentials(&self) -> provider::Result {
        let mut last = self.last.lock().await;
        if let Some(good) = last.good.as_ref().filter(|good| is_fresh(good)) {
            return Ok(good.clone());
        }
        if let Some(failure) = last.failure.as_ref().filter(|failure| Instant::now() < failure.until) {
            return Err(CredentialsError::provider_error(failure.text.clone()));
        }
        let result = self.inner.provide_credentials().await;
        let failure = result.as_ref().err().map(|error| {
            let longer = last.failure.as_ref().map(|failure| (failure.pause * 2).min(LONGEST_PAUSE));
            let pause = longer.unwrap_or(FIRST_PAUSE);
            Failure { text: chain(error), pause, until: Instant::now() + pause }
        });
        *last = Last { good: result.as_ref().ok().cloned(), failure };
        result
    }
}

/// Whether credentials expire, but not soon. The SDKs ask again ten seconds before the end.
fn is_fresh(credentials: &Credentials) -> bool {
    let left = credentials.expiry().and_then(|end| end.duration_since(SystemTime::now()).ok());
    left.is_some_and(|left| left > SHARED_UNTIL)
}

impl<P: ProvideCredentials> ProvideCredentials for Paused<P> {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }

    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.inner.fallback_on_interrupt()
    }
}

/// The instance metadata service of the machine we run on, version 2.
#[derive(Debug, Clone)]
pub struct Imds(aws_config::imds::Client);

impl Imds {
    /// A client of the default endpoint, of the one in `AWS_EC2_METADATA_SERVICE_ENDPOINT`, or of the override.
    pub fn new(endpoint: Option<&Endpoint>) -> Self {
        Self(imds_client(endpoint))
    }

    /// The region of this machine.
    ///
    /// # Errors
    ///
    /// When the service does not answer, or is switched off by `AWS_EC2_METADATA_DISABLED`.
    pub async fn region(&self) -> cloud_provider::error::Result<String> {
        #[derive(serde::Deserialize)]
        struct Document {
            region: String,
        }
        let text = self.get("/latest/dynamic/instance-identity/document").await?;
        serde_json::from_str::<Document>(&text)
            .map(|document| document.region)
            .map_err(|error| cloud_provider::Error::transient("read the instance identity document").with_source(error))
    }

    /// The ID of this machine.
    ///
    /// # Errors
    ///
    /// As for [`region`](Self::region).
    pub async fn instance_id(&self) -> cloud_provider::error::Result<String> {
        self.get("/latest/meta-data/instance-id").await
    }

    async fn get(&self, path: &str) -> cloud_provider::error::Result<String> {
        let context = || format!("get {path} from the instance metadata service");
        let disabled = std::env::var("AWS_EC2_METADATA_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true"));
        if disabled {
            let why = "it is switched off by AWS_EC2_METADATA_DISABLED";
            return Err(cloud_provider::Error::new(Kind::Unsupported, context()).with_source(why));
        }
        match Box::pin(self.0.get(path)).await {
            Ok(text) => Ok(text.into()),
            Err(error) => Err(cloud_provider::Error::transient(context()).with_source(chain(&error))),
        }
    }
}

fn imds_client(endpoint: Option<&Endpoint>) -> aws_config::imds::Client {
    let builder = aws_config::imds::Client::builder().max_attempts(ATTEMPTS);
    match endpoint.map(|endpoint| aws_config::imds::Client::builder().endpoint(&endpoint.url)) {
        Some(Ok(with_endpoint)) => with_endpoint.max_attempts(ATTEMPTS).build(),
        // The configuration checked the URL.
        Some(Err(_)) | None => builder.build(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[derive(Debug, Default)]
    struct Failing(AtomicU32);

    impl ProvideCredentials for Failing {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            self.0.fetch_add(1, Ordering::SeqCst);
            future::ProvideCredentials::ready(Err(CredentialsError::provider_error("trust revoked")))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_remembered_and_the_pause_grows_to_a_minute() {
        let provider = Paused::new(Failing::default());
        for _ in 0..600 {
            for _ in 0..5 {
                let error = provider.credentials().await.unwrap_err();
                assert!(chain(&error).contains("trust revoked"));
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        // 1 + 2 + 4 + … + 32 seconds, then once a minute.
        let asked = provider.inner.0.load(Ordering::SeqCst);
        assert!((14..=16).contains(&asked), "{asked}");
    }

    #[derive(Debug)]
    struct Giving(AtomicU32, Option<Duration>);

    impl ProvideCredentials for Giving {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            self.0.fetch_add(1, Ordering::SeqCst);
            let end = self.1.map(|left| SystemTime::now() + left);
            future::ProvideCredentials::ready(Ok(Credentials::new("a", "b", None, end, "test")))
        }
    }

    #[tokio::test]
    async fn credentials_are_shared_until_shortly_before_they_expire() {
        for (left, expected) in [(Some(ROLE_SESSION), 1), (Some(Duration::from_secs(60)), 3), (None, 3)] {
            let provider = Paused::new(Giving(AtomicU32::new(0), left));
            for _ in 0..3 {
                provider.credentials().await.unwrap();
            }
            assert_eq!(provider.inner.0.load(Ordering::SeqCst), expected, "{left:?}");
        }
    }
}
