//! The clients of the three services, and the one way through which every call goes.

use std::{error::Error as StdError, fmt, future::Future, sync::Arc, time::Duration};

use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::{http::SharedHttpClient, orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use cloud_provider::{
    Kind,
    cloud::{Access, Gate},
    metrics::Metrics,
    pace::Paces,
};
use tokio::time::Instant;

use super::{
    Error, Result, Service, Settings, credential,
    delay::CrossRequestDelay,
    endpoints,
    refusals::{Calls, Refusals, budget},
    trust,
};
use crate::metrics::ApiMetrics;

/// The AWS API of one region and account. Cheap to clone; clones share connections, credentials and pacing.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    region: String,
    ec2: aws_sdk_ec2::Client,
    elb: aws_sdk_elasticloadbalancing::Client,
    elbv2: aws_sdk_elasticloadbalancingv2::Client,
    gate: Gate,
    metrics: ApiMetrics,
    delay: CrossRequestDelay,
    paces: Arc<Paces<Calls>>,
}

impl Client {
    /// Makes the clients, with the credentials of the SDKs' default chain, and the proxies (`HTTPS_PROXY`, `NO_PROXY`) and
    /// certificate authorities (`AWS_CA_BUNDLE`, `ca_bundle` of the profile) of the environment. Credentials are only fetched by the first call.
    ///
    /// # Errors
    ///
    /// When the file of certificate authorities is of no use.
    pub async fn new(settings: &Settings, gate: Gate, metrics: &Metrics) -> cloud_provider::error::Result<Self> {
        let https = trust::https_client().await?;
        Ok(Self::build(settings, None, https, gate, metrics).await)
    }

    /// Makes the clients, with credentials from elsewhere than the default chain where some are given; a role of the
    /// settings is taken on with them.
    pub async fn with_credentials(
        settings: &Settings,
        credentials: Option<SharedCredentialsProvider>,
        gate: Gate,
        metrics: &Metrics,
    ) -> Self {
        Self::build(settings, credentials, None, gate, metrics).await
    }

    async fn build(
        settings: &Settings,
        credentials: Option<SharedCredentialsProvider>,
        https: Option<SharedHttpClient>,
        gate: Gate,
        metrics: &Metrics,
    ) -> Self {
        let metrics = ApiMetrics::new(metrics);
        let config = credential::sdk_config(settings, credentials, https, metrics.clone()).await;
        let region = &settings.region;
        let paces = Arc::default();
        let refusals = |service| Refusals::new(service, Arc::clone(&paces));
        let mut ec2 = aws_sdk_ec2::config::Builder::from(&config).interceptor(refusals(Service::Ec2));
        let mut elb = aws_sdk_elasticloadbalancing::config::Builder::from(&config).interceptor(refusals(Service::Elb));
        let mut elbv2 =
            aws_sdk_elasticloadbalancingv2::config::Builder::from(&config).interceptor(refusals(Service::ElbV2));
        if let Some(endpoint) = &settings.endpoints.ec2 {
            ec2 = ec2.endpoint_resolver(endpoints::Fixed::new(endpoint, region));
        }
        if let Some(endpoint) = &settings.endpoints.elb {
            elb = elb.endpoint_resolver(endpoints::Fixed::new(endpoint, region));
        }
        if let Some(endpoint) = &settings.endpoints.elbv2 {
            elbv2 = elbv2.endpoint_resolver(endpoints::Fixed::new(endpoint, region));
        }
        Self(Arc::new(Inner {
            region: region.clone(),
            ec2: aws_sdk_ec2::Client::from_conf(ec2.build()),
            elb: aws_sdk_elasticloadbalancing::Client::from_conf(elb.build()),
            elbv2: aws_sdk_elasticloadbalancingv2::Client::from_conf(elbv2.build()),
            gate,
            metrics,
            delay: CrossRequestDelay::default(),
            paces,
        }))
    }

    /// The region of all calls.
    pub fn region(&self) -> &str {
        &self.0.region
    }

    /// EC2's client; what it sends goes through [`Client::call`].
    pub(crate) fn ec2(&self) -> &aws_sdk_ec2::Client {
        &self.0.ec2
    }

    /// The classic load balancers' client; what it sends goes through [`Client::call`].
    pub(crate) fn elb(&self) -> &aws_sdk_elasticloadbalancing::Client {
        &self.0.elb
    }

    /// The network load balancers' client; what it sends goes through [`Client::call`].
    pub(crate) fn elbv2(&self) -> &aws_sdk_elasticloadbalancingv2::Client {
        &self.0.elbv2
    }

    /// Sends one request, which the SDK tries up to three times, each for 30 seconds at most.
    ///
    /// In order: waits for what earlier throttling asks for and for its turn among calls of its kind, asks the gate, sends, records the metrics, and gives a
    /// failure its kind. `operation` is the name of the API's action.
    pub(crate) fn call<T, E>(
        &self,
        service: Service,
        operation: &'static str,
        access: Access,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
    ) -> impl Future<Output = Result<T>> + Send
    where
        T: Send,
        E: ProvideErrorMetadata + StdError + Send + 'static,
    {
        // The SDKs' futures take many kilobytes; they do not belong into those of our callers.
        let request = Box::pin(request);
        async move {
            self.admit(service, operation, access).await?;
            match request.await {
                Ok(answer) => {
                    tracing::trace!(operation, "called AWS");
                    Ok(answer)
                }
                Err(error) => Err(self.failed(operation, service, Error::from_sdk(service, operation, &error))),
            }
        }
    }

    /// Times one logical request, with all its pages, under one of upstream's names such as `describe_instance`.
    pub(crate) async fn timed<T>(&self, request: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let start = Instant::now();
        let result = work.await;
        self.0.metrics.request(request, start.elapsed(), result.is_ok());
        result
    }

    async fn admit(&self, service: Service, operation: &'static str, access: Access) -> Result<()> {
        let delay = self.0.delay.before_request(Instant::now());
        if delay > Duration::ZERO {
            tracing::warn!(operation, ?delay, "waiting before a call to AWS, since earlier calls were throttled");
            tokio::time::sleep(delay).await;
        }
        let waited = self.0.paces.turn(&budget(service, operation)).await;
        if waited > Duration::ZERO {
            tracing::debug!(operation, ?waited, "waited for the turn of a call to AWS");
        }
        let refused =
            |error: cloud_provider::Error| Error::of_kind(service, operation, Kind::Refused, error.to_string());
        self.0.gate.admit(access, operation).map_err(refused)
    }

    fn failed(&self, operation: &'static str, service: Service, error: Error) -> Error {
        if error.code() == Some("RequestLimitExceeded") {
            self.0.delay.throttled();
            self.0.metrics.throttled(operation);
        }
        if let Some(status) = error.status().filter(|status| *status >= 400) {
            self.0.metrics.failed(service, operation, status);
        }
        tracing::debug!(operation, %error, request_id = error.request_id(), "a call to AWS failed");
        error
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("region", &self.0.region).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client of an address where nobody listens.
    async fn client(gate: Gate) -> Client {
        let endpoint = Some(super::super::Endpoint { url: "http://127.0.0.1:9".into(), ..Default::default() });
        let endpoints = super::super::Endpoints { ec2: endpoint, ..Default::default() };
        let settings = Settings { region: "us-east-1".into(), endpoints, role: None };
        let credentials = aws_credential_types::Credentials::new("a", "b", None, None, "test");
        Client::with_credentials(&settings, Some(SharedCredentialsProvider::new(credentials)), gate, &Metrics::new())
            .await
    }

    async fn write(client: &Client) -> Error {
        let request = client.ec2().delete_security_group().group_id("sg-1").send();
        client.call(Service::Ec2, "DeleteSecurityGroup", Access::Write, request).await.unwrap_err()
    }

    #[tokio::test]
    async fn a_closed_gate_holds_writes_back_and_lets_reads_through() {
        let client = client(Gate::dry_run()).await;
        let error = write(&client).await;
        assert_eq!(error.kind(), &Kind::Refused);
        assert!(error.to_string().contains("dry run"), "{error}");
        // A read gets as far as the address where nobody listens.
        assert_eq!(client.availability_zones().await.unwrap_err().kind(), &Kind::Transient);
    }
}
