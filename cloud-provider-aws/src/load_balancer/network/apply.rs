//! Running single steps.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use cloud_provider::{Error, cloud::Applied, error::Result};

use super::{
    Network,
    node_rules::{NodeRules, node_rules},
    operation::{Operation, SecurityGroupRef, Step, TargetGroupRef},
};
use crate::{
    client::{
        self,
        elbv2::{LoadBalancer, Target},
    },
    load_balancer::security_groups,
};

/// How long to wait for a target group to be let go by a load balancer that is on its way out.
const STILL_USED: Duration = Duration::from_secs(5);

/// What steps made.
#[derive(Debug, Default)]
pub(crate) struct Made {
    /// The load balancer.
    pub(super) load_balancer: Option<LoadBalancer>,
    /// ARNs of target groups, by name.
    target_groups: BTreeMap<String, String>,
    /// The managed security group.
    security_group: Option<String>,
    /// Instances that could not become targets, with AWS's reason.
    refused: BTreeMap<String, String>,
}

impl Made {
    /// What is left to say when everything else went well: instances that stopped running, or do not run yet.
    pub(super) fn refusal(&self) -> Option<Error> {
        let (id, reason) = self.refused.iter().next()?;
        let problem = format!("{} instances could not be registered as targets, {id} among them", self.refused.len());
        Some(Error::transient(problem).with_source(reason.clone()))
    }

    fn target_group(&self, group: &TargetGroupRef) -> Result<String> {
        let arn = group.arn.as_ref().or_else(|| self.target_groups.get(&group.name));
        arn.cloned().ok_or_else(|| Error::transient(format!("target group {} was not made", group.name)))
    }

    fn load_balancer(&self, arn: &Option<String>) -> Result<String> {
        let made = || self.load_balancer.as_ref().map(|balancer| balancer.arn.clone());
        arn.clone().or_else(made).ok_or_else(|| Error::transient("the load balancer was not made"))
    }

    fn security_group(&self, group: &SecurityGroupRef) -> Result<String> {
        match group {
            SecurityGroupRef::Id(id) => Ok(id.clone()),
            SecurityGroupRef::Managed => {
                self.security_group.clone().ok_or_else(|| Error::transient("the managed security group was not made"))
            }
        }
    }

    /// Rules from a security group that may only now be there.
    fn node_rules(&self, rules: Option<&NodeRules>) -> Result<Option<NodeRules>> {
        let known = |rules: &NodeRules| {
            let id = |group| self.security_group(group).map(SecurityGroupRef::Id);
            Ok(NodeRules { source: rules.source.as_ref().map(id).transpose()?, ..rules.clone() })
        };
        rules.map(known).transpose()
    }

    fn security_groups(&self, groups: &[SecurityGroupRef]) -> Result<Vec<String>> {
        groups.iter().map(|group| self.security_group(group)).collect()
    }
}

impl Network {
    pub(super) async fn run(&self, operation: &Operation, made: &mut Made) -> Result<Applied> {
        let (shared, client) = (&self.shared, self.shared.client());
        match &operation.step {
            Step::EnsureSecurityGroup(group) => {
                made.security_group = Some(security_groups::ensure_named(shared, group).await?);
            }
            Step::SetIngress { group, rules } => {
                security_groups::set_ingress(shared, &made.security_group(group)?, rules).await?;
            }
            Step::CreateLoadBalancer { new, groups } => {
                let groups = made.security_groups(groups)?;
                made.load_balancer = Some(client.create_network_load_balancer(new, &groups).await?);
            }
            Step::SetSecurityGroups { arn, groups } => {
                client.set_security_groups(arn, &made.security_groups(groups)?).await?;
            }
            Step::SetAttributes { arn, attributes } => {
                client.modify_load_balancer_attributes(&made.load_balancer(arn)?, attributes).await?;
            }
            Step::SetSubnets { arn, subnets } => client.set_subnets(arn, subnets).await?,
            Step::SetDualStack { arn, dual_stack } => client.set_dual_stack(arn, *dual_stack).await?,
            Step::AddTags { arns, tags } => client.add_network_tags(arns, tags).await?,
            Step::DeleteLoadBalancer { arn, .. } => gone(client.delete_network_load_balancer(arn).await)?,
            Step::NodeRules { group, neighbours, rules, .. } => {
                if let Some(group) = shared.group(group).await? {
                    let rules = made.node_rules(rules.as_ref())?;
                    let diff = node_rules(&group, &operation.balancer, neighbours, rules.as_ref());
                    match rules.is_some_and(|rules| rules.merged) {
                        true => security_groups::write_in_turns(shared, &group, &diff).await?,
                        false => security_groups::write_ingress(shared, &group, &diff).await?,
                    }
                } else {
                    shared.forget_groups();
                }
            }
            Step::RevokeReferences { group, rules } => security_groups::revoke(shared, group, rules).await?,
            Step::DeleteSecurityGroup { id, .. } => return security_groups::delete(shared, id).await,
            step => return self.run_on_listeners(step, made).await,
        }
        Ok(Applied::Done)
    }

    async fn run_on_listeners(&self, step: &Step, made: &mut Made) -> Result<Applied> {
        let client = self.shared.client();
        match step {
            Step::CreateTargetGroup { vpc, new } => {
                let vpc = vpc.as_deref().or(made.load_balancer.as_ref().map(|balancer| balancer.vpc.as_str()));
                let vpc = vpc.filter(|vpc| !vpc.is_empty()).unwrap_or(self.shared.vpc());
                let arn = client.create_target_group(vpc, new).await?;
                made.target_groups.insert(new.name.clone(), arn);
            }
            Step::ModifyTargetGroup { arn, check, .. } => client.modify_target_group(arn, check).await?,
            Step::SetTargetGroupAttributes { group, attributes } => {
                client.modify_target_group_attributes(&made.target_group(group)?, attributes).await?;
            }
            Step::Deregister { group, targets } => {
                client.deregister_targets(&made.target_group(group)?, targets).await?;
            }
            Step::Register { group, targets } => {
                let arn = made.target_group(group)?;
                self.register(&arn, targets, made).await?;
            }
            Step::CreateListener { load_balancer, settings, group, tags } => {
                let (balancer, group) = (made.load_balancer(load_balancer)?, made.target_group(group)?);
                client.create_listener(&balancer, settings, &group, tags).await?;
            }
            Step::ModifyListener { arn, settings, group } => {
                client.modify_listener(arn, settings, &made.target_group(group)?).await?;
            }
            Step::DeleteListener { arn, .. } => gone(client.delete_listener(arn).await)?,
            Step::DeleteTargetGroup { arn, .. } => match client.delete_target_group(arn).await {
                Err(error) if error.code() == Some("ResourceInUse") => {
                    return Ok(Applied::Pending { retry_after: STILL_USED });
                }
                result => gone(result)?,
            },
            _ => {}
        }
        Ok(Applied::Done)
    }

    /// Registers targets. One that cannot be one, since its instance does not run, fails the whole request: then the
    /// others are registered without it, and nothing else waits for it.
    async fn register(&self, group: &str, targets: &[Target], made: &mut Made) -> Result<()> {
        let mut waiting = VecDeque::from([targets]);
        while let Some(targets) = waiting.pop_front() {
            match (self.shared.client().register_targets(group, targets).await, targets) {
                (Ok(()), _) => {}
                (Err(error), [target]) if is_refused(&error) => {
                    tracing::warn!(instance = target.id, %error, "an instance cannot be a target");
                    made.refused.insert(target.id.clone(), error.to_string());
                }
                (Err(error), _) if is_refused(&error) => {
                    let (left, right) = targets.split_at(targets.len() / 2);
                    waiting.extend([left, right]);
                }
                (Err(error), _) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn is_refused(error: &client::Error) -> bool {
    error.code() == Some("InvalidTarget")
}

/// What is gone already needs no removal.
fn gone(result: client::Result<()>) -> client::Result<()> {
    match result {
        Err(error) if error.is_not_found() => Ok(()),
        result => result,
    }
}
