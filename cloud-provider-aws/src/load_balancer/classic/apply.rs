//! Runs the steps of a plan.

use cloud_provider::{Error, cloud::Applied, error::Result};

use super::{
    Classic, Made,
    desired::OwnGroup,
    observed::all_traffic_from,
    operation::{Group, Operation, Step},
};
use crate::{
    client::network::Rule,
    load_balancer::{security_groups, subnets::Move},
};

impl Classic {
    pub(super) async fn run(&self, operation: &Operation, made: &mut Made) -> Result<Applied> {
        let (client, name) = (self.shared.client(), operation.balancer.as_str());
        match &operation.step {
            Step::EnsureGroup(OwnGroup { group, ingress }) => {
                let id = security_groups::ensure_named(&self.shared, group).await?;
                security_groups::set_ingress(&self.shared, &id, ingress).await?;
                made.group = Some(id);
            }
            Step::Create { new, groups } => {
                let groups = ids(groups, made)?;
                made.dns_name = Some(client.create_classic_load_balancer(new, &groups).await?);
                self.note_tags(name, &new.tags);
            }
            Step::MoveSubnets(Move::Attach(ids)) => client.attach_classic_subnets(name, ids).await?,
            Step::MoveSubnets(Move::Detach(ids)) => client.detach_classic_subnets(name, ids).await?,
            Step::ApplyGroups(groups) => client.apply_classic_groups(name, &ids(groups, made)?).await?,
            Step::DeleteListeners(ports) => client.delete_classic_listeners(name, ports).await?,
            Step::CreateListeners(listeners) => client.create_classic_listeners(name, listeners).await?,
            Step::CreatePolicy(policy) => client.create_classic_policy(name, policy).await?,
            Step::SetBackendPolicies { port, policies } => {
                client.set_classic_backend_policies(name, *port, policies).await?;
            }
            Step::SetListenerPolicies { port, policies } => {
                client.set_classic_listener_policies(name, *port, policies).await?;
            }
            Step::AddTags(tags) => {
                client.add_classic_tags(name, tags).await?;
                self.note_tags(name, tags);
            }
            Step::ModifyAttributes(attributes) => client.modify_classic_attributes(name, attributes).await?,
            Step::ConfigureHealthCheck(check) => client.configure_classic_health_check(name, check).await?,
            Step::Allow { node_group, source } => self.allow(node_group, &id(source, made)?).await?,
            Step::Register(ids) => client.register_classic_instances(name, ids).await?,
            Step::Deregister(ids) => client.deregister_classic_instances(name, ids).await?,
            Step::Revoke { node_group, source, all } => self.revoke(node_group, source, *all).await?,
            Step::DeleteBalancer => {
                client.delete_classic_load_balancer(name).await?;
                self.forget_tags(name);
            }
            Step::DeleteGroup { id, .. } => return security_groups::delete(&self.shared, id).await,
        }
        Ok(Applied::Done)
    }

    /// Lets all traffic of `source` into a group of nodes, unless it is let in already.
    async fn allow(&self, node_group: &str, source: &str) -> Result<()> {
        let rule = all_traffic_from(source);
        let group = self.shared.group(node_group).await?;
        if group.is_some_and(|group| group.allows(&rule.traffic)) {
            self.shared.forget_groups();
            return Ok(());
        }
        security_groups::authorize(&self.shared, node_group, &[rule]).await
    }

    /// Takes rules for `source` out of a group: all of them, or the one for all traffic.
    async fn revoke(&self, node_group: &str, source: &str, all: bool) -> Result<()> {
        let group = self.shared.group(node_group).await?;
        let rules = group.map(|group| group.ingress).unwrap_or_default().into_iter();
        let rules: Vec<Rule> =
            rules.filter(|rule| rule.refers_to(source) && (all || rule.traffic.protocol == "-1")).collect();
        self.shared.forget_groups();
        security_groups::revoke(&self.shared, node_group, &rules).await
    }
}

fn id(group: &Group, made: &Made) -> Result<String> {
    let id = group.id().map(str::to_owned).or_else(|| made.group.clone());
    id.ok_or_else(|| Error::transient("the load balancer's own security group was not made"))
}

fn ids(groups: &[Group], made: &Made) -> Result<Vec<String>> {
    groups.iter().map(|group| id(group, made)).collect()
}
