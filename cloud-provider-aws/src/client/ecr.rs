//! Tokens of container registries, for the credential plugin.
//!
//! The only call, GetAuthorizationToken, is put on the SDKs' own stack (credentials, signature, retries, endpoints of the
//! environment). Their crates for the two services would add a quarter of a million lines for it.

use std::fmt;

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_runtime::{
    auth::{SigV4OperationSigningConfig, sigv4},
    retries::classifiers::AwsErrorCodeClassifier,
};
use aws_sdk_sts::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
use aws_smithy_runtime::client::{
    orchestrator::operation::Operation,
    retries::classifiers::{HttpStatusCodeClassifier, TransientErrorClassifier},
};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        auth::{
            AuthSchemeOptionResolverParams, SharedAuthScheme, SharedAuthSchemeOptionResolver,
            static_resolver::StaticAuthSchemeOptionResolver,
        },
        identity::SharedIdentityResolver,
        orchestrator::{HttpRequest, HttpResponse, OrchestratorError},
        runtime_components::RuntimeComponentsBuilder,
        runtime_plugin::StaticRuntimePlugin,
    },
};
use aws_smithy_types::{base64, body::SdkBody, config_bag::Layer, error::ErrorMetadata};
use aws_types::{SigningName, region::SigningRegion, service_config::ServiceConfigKey};
use cloud_provider::{Kind, error::Result};
use serde::Deserialize;

use super::{Error, Service, credential::ATTEMPT_TIMEOUT, trust};

const OPERATION: &str = "GetAuthorizationToken";
/// The name of the session when a service account's role is taken on. Upstream's.
const SESSION: &str = "ecr-credential-provider";

/// A registry's token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// User and password in base64, where the answer has them.
    pub text: Option<String>,
    /// When it ends, in seconds since 1970.
    pub expires: Option<i64>,
}

impl Token {
    /// User and password, or what is wrong with them.
    pub fn decoded(&self) -> Option<std::result::Result<String, String>> {
        let decode = |text: &String| {
            let bytes = base64::decode(text).map_err(|error| error.to_string())?;
            String::from_utf8(bytes).map_err(|_| "it is not text".to_owned())
        };
        self.text.as_ref().map(decode)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// Who asks for a token.
#[derive(Debug, Clone)]
pub enum Caller {
    /// The machine: the SDKs' default chain.
    Default,
    /// A role that was taken on.
    Role(Credentials),
}

impl Caller {
    /// Takes on a role with the token of a service account. Nothing signs the call: the token proves who asks.
    ///
    /// # Errors
    ///
    /// When the role does not trust the token, or STS does not answer.
    pub async fn assume(region: Option<&str>, role: &str, token: &str) -> Result<Self> {
        const OPERATION: &str = "AssumeRoleWithWebIdentity";
        let sts = aws_sdk_sts::Client::new(&config(region).await?);
        let request = sts.assume_role_with_web_identity().role_arn(role).role_session_name(SESSION);
        let request = Box::pin(request.web_identity_token(token).send());
        let answer = request.await.map_err(|error| Error::from_sdk(Service::Sts, OPERATION, &error))?;
        let taken = answer
            .credentials
            .ok_or_else(|| Error::odd_answer(Service::Sts, OPERATION, "the answer has no credentials"))?;
        let (key, secret, session) = (taken.access_key_id, taken.secret_access_key, taken.session_token);
        Ok(Self::Role(Credentials::new(key, secret, Some(session), None, "serviceAccountToken")))
    }
}

/// A token for the private registries of the caller's account and those that let it in; `None` where the answer names none.
///
/// # Errors
///
/// When there is no region or no credentials, or the call fails.
pub async fn private_token(region: Option<&str>, caller: Caller) -> Result<Option<Token>> {
    token(Service::Ecr, region, caller).await
}

/// A token for the public registry; `None` where the answer names none.
///
/// # Errors
///
/// As for [`private_token`].
pub async fn public_token(region: &str, caller: Caller) -> Result<Option<Token>> {
    token(Service::EcrPublic, Some(region), caller).await
}

async fn token(service: Service, region: Option<&str>, caller: Caller) -> Result<Option<Token>> {
    let config = config(region).await?;
    let credentials = match caller {
        Caller::Default => config.credentials_provider(),
        Caller::Role(credentials) => Some(SharedCredentialsProvider::new(credentials)),
    };
    let credentials = credentials.ok_or_else(|| local(service, "there are no credentials"))?;
    let region = config.region().ok_or_else(|| {
        local(service, "neither the image nor the environment (AWS_REGION, the profile, the machine) names a region")
    })?;
    let endpoint = endpoint(service, &config, region).await?;
    let answer = call(service, &config, &endpoint, region, credentials).await?;
    Ok(answer.authorization_data.and_then(Data::first))
}

/// Upstream's settings: the SDKs' defaults, with a limit of 30 seconds for each attempt.
async fn config(region: Option<&str>) -> Result<SdkConfig> {
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_TIMEOUT).build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts);
    if let Some(region) = region {
        loader = loader.region(Region::new(region.to_owned()));
    }
    if let Some(https) = trust::https_client().await? {
        loader = loader.http_client(https);
    }
    Ok(loader.load().await)
}

/// Where the service is: as the environment says, for this service or for all, or by the rules of the SDKs.
async fn endpoint(service: Service, config: &SdkConfig, region: &Region) -> Result<String> {
    let key = ServiceConfigKey::builder().service_id(service.sdk_id()).env("AWS_ENDPOINT_URL").profile("endpoint_url");
    let own = key.build().ok().and_then(|key| config.service_config()?.load_config(key));
    if let Some(url) = own.or_else(|| config.endpoint_url().map(str::to_owned)) {
        return Ok(url);
    }
    let (fips, dual_stack) = (config.use_fips().unwrap_or_default(), config.use_dual_stack().unwrap_or_default());
    let host = host(service, fips, dual_stack);
    Ok(format!("https://{host}.{region}.{}", suffix(service, region, dual_stack).await?))
}

/// The first part of the service's host names, as in its endpoint rules.
fn host(service: Service, fips: bool, dual_stack: bool) -> &'static str {
    match (service, fips, dual_stack) {
        (Service::EcrPublic, false, _) => "api.ecr-public",
        (Service::EcrPublic, true, _) => "api.ecr-public-fips",
        (_, false, false) => "api.ecr",
        (_, false, true) => "ecr",
        (_, true, false) => "api.ecr-fips",
        (_, true, true) => "ecr-fips",
    }
}

/// The domain of the region's partition, which the endpoint rules of STS know.
async fn suffix(service: Service, region: &Region, dual_stack: bool) -> Result<String> {
    let problem = |problem: &dyn fmt::Display| local(service, format!("find the endpoint of {region}: {problem}"));
    let params = Params::builder().region(region.as_ref()).use_dual_stack(dual_stack).build();
    let params = params.map_err(|error| problem(&error))?;
    let resolver = DefaultResolver::new();
    let found = ResolveEndpoint::resolve_endpoint(&resolver, &params).await.map_err(|error| problem(&error))?;
    let suffix = found.url().strip_prefix(&format!("https://sts.{region}.")).map(str::to_owned);
    suffix.ok_or_else(|| problem(&"it is not a region").into())
}

/// Sends the one call.
async fn call(
    service: Service,
    config: &SdkConfig,
    endpoint: &str,
    region: &Region,
    credentials: SharedCredentialsProvider,
) -> super::Result<Answer> {
    let (name, target) = match service {
        Service::EcrPublic => ("ecr-public", "SpencerFrontendService.GetAuthorizationToken"),
        _ => ("ecr", "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"),
    };
    let mut operation = Operation::builder()
        .service_name(service.sdk_id())
        .operation_name(OPERATION)
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .runtime_plugin(signing(name, region, credentials))
        .standard_retry(config.retry_config().unwrap_or(&RetryConfig::standard()))
        .retry_classifier(AwsErrorCodeClassifier::<ErrorMetadata>::new())
        .retry_classifier(TransientErrorClassifier::<ErrorMetadata>::new())
        .retry_classifier(HttpStatusCodeClassifier::default())
        .timeout_config(config.timeout_config().cloned().unwrap_or_else(TimeoutConfig::disabled));
    if let Some(https) = config.http_client() {
        operation = operation.http_client(https);
    }
    let operation = operation.serializer(move |()| request(target)).deserializer(read).build();
    Box::pin(operation.invoke(())).await.map_err(|error| Error::from_sdk(service, OPERATION, &error))
}

/// Signature version 4 with `credentials`.
fn signing(name: &'static str, region: &Region, credentials: SharedCredentialsProvider) -> StaticRuntimePlugin {
    let mut layer = Layer::new("signing");
    layer.store_put(SigningName::from_static(name));
    layer.store_put(SigningRegion::from(region.clone()));
    layer.store_put(SigV4OperationSigningConfig::default());
    layer.store_put(AuthSchemeOptionResolverParams::new(()));
    let options = StaticAuthSchemeOptionResolver::new(vec![sigv4::SCHEME_ID]);
    let components = RuntimeComponentsBuilder::new("signing")
        .with_auth_scheme(SharedAuthScheme::new(sigv4::SigV4AuthScheme::new()))
        .with_auth_scheme_option_resolver(Some(SharedAuthSchemeOptionResolver::new(options)))
        .with_identity_resolver(sigv4::SCHEME_ID, SharedIdentityResolver::new(credentials));
    StaticRuntimePlugin::new().with_config(layer.freeze()).with_runtime_components(components)
}

/// JSON 1.1: everything is a POST, the header names the action.
fn request(target: &'static str) -> std::result::Result<HttpRequest, BoxError> {
    let mut request = HttpRequest::new(SdkBody::from("{}"));
    request.set_method("POST")?;
    request.set_uri("/")?;
    let headers = request.headers_mut();
    headers.insert("content-type", "application/x-amz-json-1.1");
    headers.insert("x-amz-target", target);
    headers.insert("user-agent", concat!("ecr-credential-provider/", env!("CARGO_PKG_VERSION")));
    Ok(request)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    authorization_data: Option<Data>,
}

/// Private registries answer with a list of one, the public one without a list.
#[derive(Deserialize)]
#[serde(untagged)]
enum Data {
    Many(Vec<Authorization>),
    One(Authorization),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Authorization {
    authorization_token: Option<String>,
    expires_at: Option<f64>,
}

impl Data {
    fn first(self) -> Option<Token> {
        let first = match self {
            Self::Many(many) => many.into_iter().next()?,
            Self::One(one) => one,
        };
        #[expect(clippy::cast_possible_truncation, reason = "a cast of what is out of range gives the nearest end")]
        let expires = first.expires_at.map(|seconds| seconds as i64);
        Some(Token { text: first.authorization_token, expires })
    }
}

/// Says nothing: there are passwords in it.
impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

fn read(response: &HttpResponse) -> std::result::Result<Answer, OrchestratorError<ErrorMetadata>> {
    let body = response.body().bytes().unwrap_or_default();
    if response.status().is_success() {
        return serde_json::from_slice(body).map_err(OrchestratorError::other);
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Refusal {
        #[serde(rename = "__type")]
        code: String,
        #[serde(alias = "Message")]
        message: String,
    }
    let refusal: Refusal = serde_json::from_slice(body).unwrap_or_default();
    let header = response.headers().get("x-amzn-errortype").unwrap_or_default();
    let code = if refusal.code.is_empty() { header } else { &refusal.code };
    // `com.amazonaws.ecr#ServerException:http://…`
    let code = code.split(':').next().unwrap_or_default();
    let code = code.rsplit('#').next().unwrap_or_default();
    let mut error = ErrorMetadata::builder();
    if !code.is_empty() {
        error = error.code(code);
    }
    if !refusal.message.is_empty() {
        error = error.message(refusal.message);
    }
    Err(OrchestratorError::operation(error.build()))
}

/// A failure on our side of the call.
fn local(service: Service, problem: impl Into<String>) -> Error {
    Error::of_kind(service, OPERATION, Kind::Invalid { field: "region".into() }, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn endpoints_are_those_of_the_sdks_rules() {
        let url = async |service, region: &'static str, fips, dual_stack| {
            let config = SdkConfig::builder().use_fips(fips).use_dual_stack(dual_stack).build();
            endpoint(service, &config, &Region::new(region)).await
        };
        for (service, region, fips, dual_stack, expected) in [
            (Service::Ecr, "us-west-2", false, false, "https://api.ecr.us-west-2.amazonaws.com"),
            (Service::Ecr, "us-west-2", false, true, "https://ecr.us-west-2.api.aws"),
            (Service::Ecr, "us-west-2", true, false, "https://api.ecr-fips.us-west-2.amazonaws.com"),
            (Service::Ecr, "us-west-2", true, true, "https://ecr-fips.us-west-2.api.aws"),
            (Service::Ecr, "cn-north-1", false, false, "https://api.ecr.cn-north-1.amazonaws.com.cn"),
            (Service::Ecr, "cn-north-1", false, true, "https://ecr.cn-north-1.api.amazonwebservices.com.cn"),
            (Service::Ecr, "us-gov-west-1", true, false, "https://api.ecr-fips.us-gov-west-1.amazonaws.com"),
            (Service::Ecr, "us-gov-west-1", true, true, "https://ecr-fips.us-gov-west-1.api.aws"),
            (Service::Ecr, "us-iso-east-1", false, false, "https://api.ecr.us-iso-east-1.c2s.ic.gov"),
            (Service::Ecr, "us-isob-east-1", false, false, "https://api.ecr.us-isob-east-1.sc2s.sgov.gov"),
            (Service::Ecr, "eu-isoe-west-1", false, false, "https://api.ecr.eu-isoe-west-1.cloud.adc-e.uk"),
            (Service::Ecr, "us-isof-south-1", false, false, "https://api.ecr.us-isof-south-1.csp.hci.ic.gov"),
            (Service::Ecr, "eusc-de-east-1", false, false, "https://api.ecr.eusc-de-east-1.amazonaws.eu"),
            (Service::EcrPublic, "us-east-1", false, false, "https://api.ecr-public.us-east-1.amazonaws.com"),
            (Service::EcrPublic, "us-east-1", false, true, "https://api.ecr-public.us-east-1.api.aws"),
            (Service::EcrPublic, "us-east-1", true, false, "https://api.ecr-public-fips.us-east-1.amazonaws.com"),
            (Service::EcrPublic, "us-east-1", true, true, "https://api.ecr-public-fips.us-east-1.api.aws"),
        ] {
            assert_eq!(url(service, region, fips, dual_stack).await.unwrap(), expected);
        }
        url(Service::Ecr, "aws-global", false, false).await.unwrap_err();
    }

    fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &'static str) -> HttpResponse {
        let mut response = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body));
        for &(name, value) in headers {
            response.headers_mut().insert(name, value);
        }
        response
    }

    #[test]
    fn both_forms_of_an_answer_are_read_and_empty_ones_too() {
        let token = |body| read(&answer(200, &[], body)).unwrap().authorization_data.and_then(Data::first);
        let one = r#"{"authorizationToken":"Zm9v","expiresAt":1.7e9,"proxyEndpoint":"https://x"}"#;
        let many = Box::leak(format!(r#"{{"authorizationData":[{one}]}}"#).into_boxed_str());
        let single = Box::leak(format!(r#"{{"authorizationData":{one}}}"#).into_boxed_str());
        let expected = Some(Token { text: Some("Zm9v".to_owned()), expires: Some(1_700_000_000) });
        assert_eq!(token(many), expected);
        assert_eq!(token(single), expected);
        assert_eq!(token("{}"), None);
        assert_eq!(token(r#"{"authorizationData":[]}"#), None);
        let empty = Some(Token { text: None, expires: None });
        assert_eq!(token(r#"{"authorizationData":[{}]}"#), empty);
        assert_eq!(token(r#"{"authorizationData":{}}"#), empty);
        read(&answer(200, &[], "no JSON")).unwrap_err();
    }

    proptest::proptest! {
        #[test]
        fn no_answer_makes_it_panic(status in 200_u16..=599, body in proptest::prelude::any::<Vec<u8>>()) {
            let _ = read(&HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body)));
        }
    }

    #[test]
    fn codes_of_refusals_are_read_from_the_body_and_the_header() {
        let code = |headers: &[_], body| match read(&answer(400, headers, body)).unwrap_err().as_operation_error() {
            Some(error) => (error.code().map(str::to_owned), error.message().map(str::to_owned)),
            None => panic!("no refusal"),
        };
        let expected = (Some("AccessDeniedException".to_owned()), Some("no".to_owned()));
        assert_eq!(code(&[], r#"{"__type":"com.amazonaws.ecr#AccessDeniedException","message":"no"}"#), expected);
        let header = [("x-amzn-errortype", "AccessDeniedException:http://internal/")];
        assert_eq!(code(&header, r#"{"Message":"no"}"#), expected);
        assert_eq!(code(&[], "<html>"), (None, None));
    }
}
