//! `ecr-credential-provider`: the kubelet's plugin for images in Amazon's registries.
//!
//! The kubelet runs it for one image, writes a request to its standard input and reads credentials from its standard
//! output; upstream has it beside the controller manager. [`protocol`] is the exchange with the kubelet, [`registry`] tells
//! what an image's host says about its registry, and the calls are in [`crate::client::ecr`].

use std::{
    io::{Read, Write},
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use cloud_provider::config::duration::GoDuration;

use self::{
    protocol::{Auth, Request, Response},
    registry::Registry,
};
use crate::client::ecr::{Caller, Token};

pub mod protocol;
pub mod registry;

/// The program's name.
const NAME: &str = "ecr-credential-provider";
/// A service account's annotation with the role that pulls its images.
const ROLE_ANNOTATION: &str = "eks.amazonaws.com/ecr-role-arn";
/// The role of service accounts without the annotation.
const ROLE_VARIABLE: &str = "AWS_ECR_ROLE_ARN";
/// Requests are a few kilobytes; what is longer is none.
const LONGEST_REQUEST: u64 = 4 << 20;

/// A failure of the plugin, with upstream's texts.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is not one that this program answers.
    #[error(transparent)]
    Protocol(#[from] protocol::Error),
    /// The image is none.
    #[error(transparent)]
    Image(#[from] registry::Error),
    /// A request without an image.
    #[error("image in plugin request was empty")]
    NoImage,
    /// The role of the service account cannot be taken on.
    #[error("failed to assume role: {}", .0.chain())]
    Role(#[source] cloud_provider::Error),
    /// The registry gives no token.
    #[error("{}", .0.chain())]
    Call(#[source] cloud_provider::Error),
    /// The registry's answer names no token at all.
    #[error("authorization data was empty")]
    NoData,
    /// The registry's answer has a token's frame without it.
    #[error("authorization token in response was nil")]
    NoToken,
    /// The token is not text in base64.
    #[error("decode the authorization token: {0}")]
    Encoding(String),
    /// The token is not a user and a password.
    #[error("error parsing username and password from authorization token")]
    NoPassword,
    /// The kubelet cannot be reached.
    #[error("talk to the kubelet: {0}")]
    Kubelet(#[source] std::io::Error),
    /// The process has no resources left.
    #[error("start: {0}")]
    Start(#[source] std::io::Error),
}

/// The program: reads its arguments and standard input, and ends with 0, or with 1 and the reason on standard error.
/// Nothing is written to standard output but an answer. Arguments that are no flags are ignored, as upstream does.
pub fn main() -> ExitCode {
    let command = clap::Command::new(NAME)
        .about("ECR credential provider for kubelet: reads a CredentialProviderRequest from standard input")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_version_flag(true)
        .arg(clap::arg!(-v --version "Print the version").action(clap::ArgAction::Version))
        .arg(clap::Arg::new("ignored").num_args(0..).hide(true));
    if let Err(error) = command.try_get_matches() {
        let code = if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        // There is nobody left to tell.
        let _ = error.print();
        return code;
    }
    match run(std::io::stdin().lock(), std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "Error running credential provider plugin: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(input: impl Read, mut output: impl Write) -> Result<(), Error> {
    let mut text = Vec::new();
    input.take(LONGEST_REQUEST).read_to_end(&mut text).map_err(Error::Kubelet)?;
    let request = protocol::read(&text)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Start)?;
    let response = runtime.block_on(credentials(&request, SystemTime::now()))?;
    output.write_all(protocol::write(&request.version, &response).as_bytes()).map_err(Error::Kubelet)?;
    output.flush().map_err(Error::Kubelet)
}

/// The credentials for the registry of an image. Hosts that are no registry of Amazon's are answered too, from the private
/// registry of the default region, as upstream does: which images reach this program is the kubelet's configuration.
///
/// # Errors
///
/// When the image has no host, a role cannot be taken on, or the registry gives no token.
pub async fn credentials(request: &Request, now: SystemTime) -> Result<Response, Error> {
    if request.image.is_empty() {
        return Err(Error::NoImage);
    }
    let host = registry::host(&request.image)?;
    let registry = Registry::of(&host);
    let caller = match role(request) {
        None => Caller::Default,
        Some(role) => {
            Caller::assume(registry.region(), &role, &request.service_account_token).await.map_err(Error::Role)?
        }
    };
    let token = registry.token(caller).await.map_err(Error::Call)?.ok_or(Error::NoData)?;
    response(host, token, now)
}

/// The role of a request that comes with a service account's token: that of the annotation, which counts even if it is
/// empty, else that of the environment. Without one the token is not used.
fn role(request: &Request) -> Option<String> {
    if request.service_account_token.is_empty() {
        return None;
    }
    let annotation = request.service_account_annotations.get(ROLE_ANNOTATION).cloned();
    annotation.or_else(|| std::env::var(ROLE_VARIABLE).ok()).filter(|role| !role.is_empty())
}

fn response(host: String, token: Token, now: SystemTime) -> Result<Response, Error> {
    let text = token.decoded().ok_or(Error::NoToken)?.map_err(Error::Encoding)?;
    let (username, password) = text.split_once(':').ok_or(Error::NoPassword)?;
    let auth = Auth { username: username.to_owned(), password: password.to_owned() };
    Ok(Response::new(cache_duration(token.expires, now), host, auth))
}

/// Half of the time that is left, in whole seconds, so that a token on its way to a container runtime does not expire.
/// Without an expiry nothing is cached; what has expired is left to the kubelet's default.
fn cache_duration(expires: Option<i64>, now: SystemTime) -> Option<GoDuration> {
    let Some(expires) = expires else { return Some(GoDuration::ZERO) };
    let now = now.duration_since(UNIX_EPOCH).ok().and_then(|now| i64::try_from(now.as_secs()).ok()).unwrap_or_default();
    let half = expires.saturating_sub(now) / 2;
    u32::try_from(half).ok().filter(|half| *half > 0).map(GoDuration::from_secs)
}

#[cfg(test)]
mod tests;
