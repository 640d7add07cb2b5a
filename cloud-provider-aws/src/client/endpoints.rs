//! Endpoints from `[ServiceOverride]`.

use std::collections::HashMap;

use aws_smithy_types::{Document, endpoint::Endpoint};

/// Answers every question for an endpoint with one URL and one credential scope.
#[derive(Debug, Clone)]
pub(super) struct Fixed(Endpoint);

impl Fixed {
    /// An empty signing region is the client's; an empty signing name is the service's own.
    pub(super) fn new(endpoint: &super::Endpoint, region: &str) -> Self {
        let signing_region = if endpoint.signing_region.is_empty() { region } else { &endpoint.signing_region };
        let mut scheme = HashMap::from([
            ("name".to_owned(), Document::from("sigv4".to_owned())),
            ("signingRegion".to_owned(), Document::from(signing_region.to_owned())),
        ]);
        if !endpoint.signing_name.is_empty() {
            scheme.insert("signingName".to_owned(), Document::from(endpoint.signing_name.clone()));
        }
        let schemes = vec![Document::from(scheme)];
        Self(Endpoint::builder().url(endpoint.url.clone()).property("authSchemes", schemes).build())
    }
}

macro_rules! resolves_for {
    ($sdk:ident) => {
        impl $sdk::config::endpoint::ResolveEndpoint for Fixed {
            fn resolve_endpoint<'a>(
                &'a self,
                _: &'a $sdk::config::endpoint::Params,
            ) -> $sdk::config::endpoint::EndpointFuture<'a> {
                $sdk::config::endpoint::EndpointFuture::ready(Ok(self.0.clone()))
            }
        }
    };
}

resolves_for!(aws_sdk_ec2);
resolves_for!(aws_sdk_elasticloadbalancing);
resolves_for!(aws_sdk_elasticloadbalancingv2);
resolves_for!(aws_sdk_sts);
