//! Puts the secure port together: what is served, and who may see it.

use super::{
    authn::{Access, Lookup},
    debugging::About,
    healthz::Checks,
    options::Settings,
    serving::{Routes, Server},
};
use crate::{Error, cluster::client::Clients, error::Result, metrics::Metrics};

/// The server, listening, and what keeps its settings true; `None` where `--secure-port=0` turns it off.
///
/// # Errors
///
/// A certificate, a file of authorities or an address that cannot be used; a failed look-up of the cluster's settings
/// unless it is tolerated.
pub(super) async fn open(
    settings: &Settings,
    user_agent: &str,
    clients: &Clients,
    checks: &Checks,
    metrics: &Metrics,
    about: &About,
) -> Result<Option<(Server, Lookup)>> {
    let Some(serving) = &settings.serving else { return Ok(None) };
    let (access, lookup) = Access::delegated(&settings.authentication, &settings.authorization, user_agent, clients)
        .await
        .map_err(|error| Error::invalid("--authentication-kubeconfig", "set up authentication").with_source(error))?;
    let mut routes = Routes::standard(checks, metrics);
    about.serve(&mut routes);
    let server = Server::bind(serving, routes, Some(access))
        .map_err(|error| Error::invalid("--secure-port", "serve on the secure port").with_source(error))?;
    Ok(Some((server, lookup)))
}
