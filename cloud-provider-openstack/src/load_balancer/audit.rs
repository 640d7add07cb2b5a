//! Everything in the cloud with this cluster's marks, and whose it is.

use cloud_provider::{cloud::Owned, cluster::objects::Service, error::Result};
use futures::try_join;

use super::{
    Octavia,
    names::{self, FLOATING_IP_MARK, Names},
};

/// The names under which a service can have left something, by any formula.
pub(super) fn claims(service: &Service, cluster: &str) -> Vec<String> {
    let names = Names::of(service, cluster);
    let description = names.floating_ip_description();
    vec![names.load_balancer, names.legacy, names.security_group, description]
}

impl Octavia {
    /// Load balancers and floating IPs of this cluster, tags of its services on load balancers, and security groups of
    /// services. Security groups do not name their cluster: those of another one in the same project are among them.
    pub(super) async fn everything(&self, cluster: &str) -> Result<Vec<Owned>> {
        let (balancers, floating_ips, groups) = try_join!(
            self.client.all_load_balancers(),
            self.client.all_floating_ips(),
            self.client.all_security_groups()
        )?;
        let own = format!("{}{cluster}_", names::PREFIX);
        let mut owned = Vec::new();
        for balancer in balancers {
            let what = format!("load balancer {} ({})", balancer.id, balancer.name);
            let of_service = balancer.name.starts_with(&own).then_some(&balancer.name);
            // What others share stays with them when the service that it was made for goes.
            let tags: Vec<&String> = balancer.tags.iter().filter(|tag| tag.starts_with(&own)).collect();
            let claims = if tags.is_empty() { of_service.into_iter().collect() } else { tags };
            owned.extend(claims.into_iter().map(|claim| Owned { what: what.clone(), claim: claim.clone() }));
        }
        let of_cluster = format!(" from cluster {cluster}");
        for floating_ip in floating_ips {
            let description = floating_ip.description.unwrap_or_default();
            if description.starts_with(FLOATING_IP_MARK) && description.ends_with(&of_cluster) {
                let what = format!("floating IP {} ({})", floating_ip.floating_ip_address, floating_ip.id);
                owned.push(Owned { what, claim: description });
            }
        }
        for group in groups.into_iter().filter(|group| group.name.starts_with("lb-sg-")) {
            owned.push(Owned { what: format!("security group {} ({})", group.id, group.name), claim: group.name });
        }
        Ok(owned)
    }
}
