//! Puts the secure port together: what is served, and who may see it.

use std::path::PathBuf;

use kube::Client;

use super::{
    authn::{Access, Lookup},
    healthz::Checks,
    options::Settings,
    serving::{Routes, Server},
};
use crate::{
    Error,
    cluster::client::{self, Clients, Policy},
    error::Result,
    metrics::Metrics,
};

/// The server, listening, and what keeps its settings true; `None` where `--secure-port=0` turns it off.
///
/// # Errors
///
/// A certificate, a file of authorities or an address that cannot be used; a failed look-up of the cluster's settings
/// unless it is tolerated.
pub(super) async fn open(
    settings: &Settings,
    user_agent: &str,
    checks: &Checks,
    metrics: &Metrics,
) -> Result<Option<(Server, Lookup)>> {
    let Some(serving) = &settings.serving else { return Ok(None) };
    let tokens = reviewer(settings.authentication.kubeconfig.as_ref(), user_agent, metrics).await?;
    let reviews = reviewer(settings.authorization.kubeconfig.as_ref(), user_agent, metrics).await?;
    let (access, lookup) = Access::new(&settings.authentication, tokens, &settings.authorization, reviews)
        .await
        .map_err(|error| Error::invalid("--authentication-kubeconfig", "set up authentication").with_source(error))?;
    let server = Server::bind(serving, Routes::standard(checks, metrics), Some(access))
        .map_err(|error| Error::invalid("--secure-port", "serve on the secure port").with_source(error))?;
    Ok(Some((server, lookup)))
}

/// A client for reviews: with its own kubeconfig, else that of the pod; `None` where there is neither, then nobody is
/// known and only what is always allowed is served.
async fn reviewer(kubeconfig: Option<&PathBuf>, user_agent: &str, metrics: &Metrics) -> Result<Option<Client>> {
    let settings = client::Settings {
        kubeconfig: kubeconfig.cloned(),
        user_agent: user_agent.to_owned(),
        ..client::Settings::default()
    };
    match Clients::new(settings, metrics).client("delegated-auth", Policy::REVIEW).await {
        Ok(client) => Ok(Some(client)),
        Err(client::Error::InCluster(_)) if kubeconfig.is_none() => {
            tracing::info!("no kubeconfig for delegated authentication and authorization: only health is served");
            Ok(None)
        }
        Err(error) => {
            Err(Error::invalid("--authentication-kubeconfig", "make a client for reviews").with_source(error))
        }
    }
}
