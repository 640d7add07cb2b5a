//! Steps on security groups that both kinds of load balancer take.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use cloud_provider::{Error, Kind, cloud::Applied, error::Result};
use tokio::time::Instant;

use super::{names, resolve::Shared};
use crate::{
    client::{
        self,
        network::{Groups, NewSecurityGroup, Rule, SecurityGroup, Source, Tags, Traffic},
    },
    cluster_id::ClusterId,
};

/// How long to wait before a group that is still in use is deleted again.
const STILL_USED: Duration = Duration::from_secs(5);
/// For how long rules that were taken out may still be read.
const REVOKED: Duration = Duration::from_secs(60);
/// AWS's code for a rule that is not there.
const NO_RULE: &str = "InvalidPermission.NotFound";
/// AWS's default for the rules of one group, in each direction.
pub(crate) const RULES: usize = 60;

/// What brings a group's inbound rules to what is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct IngressDiff {
    /// Rules to let in.
    pub(crate) add: Vec<Rule>,
    /// Rules to take out.
    pub(crate) remove: Vec<Rule>,
}

impl IngressDiff {
    pub(crate) fn is_empty(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty()
    }

    /// Brings rules to what they are after the change.
    pub(crate) fn apply(&self, rules: &mut Vec<Rule>) {
        rules.retain(|rule| !self.remove.contains(rule));
        rules.extend(self.add.iter().cloned());
    }
}

/// What makes `actual` the same as `wanted`. Descriptions do not tell rules apart.
pub(crate) fn ingress_diff(wanted: &[Rule], actual: &[Rule]) -> IngressDiff {
    let lacks = |rules: &[Rule], rule: &Rule| !rules.iter().any(|other| other.traffic.same(&rule.traffic));
    let mut diff = IngressDiff::default();
    for rule in wanted {
        if lacks(actual, rule) && lacks(&diff.add, rule) {
            diff.add.push(rule.clone());
        }
    }
    diff.remove.extend(actual.iter().filter(|rule| lacks(wanted, rule)).cloned());
    diff
}

/// Writes a diff: additions first, so that nothing that stays wanted is cut off, unless the group would grow too large for
/// a moment. Where it would stay too large, what is there stays too, and the refusal is told.
pub(crate) async fn write_ingress(shared: &Shared, group: &SecurityGroup, diff: &IngressDiff) -> Result<()> {
    let most = group.ingress.len() + diff.add.len();
    if most > RULES && most.saturating_sub(diff.remove.len()) <= RULES {
        revoke(shared, &group.id, &diff.remove).await?;
        authorize(shared, &group.id, &diff.add).await
    } else {
        authorize(shared, &group.id, &diff.add).await?;
        revoke(shared, &group.id, &diff.remove).await
    }
}

/// Writes a diff that changes the rules of many load balancers: one after the other, first those that make room, and each
/// in such a way that it lacks as few rules as possible for as short as possible.
pub(crate) async fn write_in_turns(shared: &Shared, group: &SecurityGroup, diff: &IngressDiff) -> Result<()> {
    let turn = |rule: &Rule| match rule.description.as_deref().unwrap_or_default() {
        health if health.starts_with(names::SHARED_HEALTH_RULE) => names::SHARED_HEALTH_RULE.to_owned(),
        other => other.to_owned(),
    };
    let mut turns: BTreeMap<String, IngressDiff> = BTreeMap::new();
    for rule in &diff.add {
        turns.entry(turn(rule)).or_default().add.push(rule.clone());
    }
    for rule in &diff.remove {
        turns.entry(turn(rule)).or_default().remove.push(rule.clone());
    }
    let mut turns: Vec<IngressDiff> = turns.into_values().collect();
    turns.sort_by_key(|turn| std::cmp::Reverse(turn.remove.len().saturating_sub(turn.add.len())));
    let mut count = group.ingress.len();
    for turn in turns {
        let lacking = (count + turn.add.len()).saturating_sub(RULES);
        let (first, rest) = turn.remove.split_at(lacking.min(turn.remove.len()));
        revoke(shared, &group.id, first).await?;
        if let Err(error) = authorize(shared, &group.id, &turn.add).await {
            // They may be those of load balancers that get no round of their own soon.
            if let Err(lost) = authorize(shared, &group.id, first).await {
                tracing::error!(
                    group = group.id,
                    error = %lost.chain(),
                    "rules of load balancers could not be put back, they come with the next round of each"
                );
            }
            return Err(error);
        }
        revoke(shared, &group.id, rest).await?;
        count = (count + turn.add.len()).saturating_sub(turn.remove.len());
    }
    Ok(())
}

/// Makes the inbound rules of a group exactly `wanted`, from a live read.
pub(crate) async fn set_ingress(shared: &Shared, id: &str, wanted: &[Rule]) -> Result<()> {
    let group = shared.group(id).await?.ok_or_else(|| Error::not_found(format!("security group {id}")))?;
    write_ingress(shared, &group, &ingress_diff(wanted, &group.ingress)).await
}

/// Lets rules in. A rule that is there already is no failure.
pub(crate) async fn authorize(shared: &Shared, id: &str, rules: &[Rule]) -> Result<()> {
    if rules.is_empty() {
        return Ok(());
    }
    shared.forget_groups();
    shared.revoked().forget(id, rules);
    let result = match shared.client().authorize_ingress(id, rules).await {
        Err(error) if is_duplicate(&error) && rules.len() > 1 => one_by_one(shared, id, rules).await,
        result => result,
    };
    shared.forget_groups();
    match result {
        Err(error) if is_duplicate(&error) => Ok(()),
        Err(error) if error.code() == Some("RulesPerSecurityGroupLimitExceeded") => {
            let problem = format!(
                "security group {id} has no room for {} more rules; ask AWS for a higher quota of rules per security \
                 group, use fewer source ranges, set MergeNodeSecurityGroupRules, or set DisableSecurityGroupIngress and \
                 write the rules yourself",
                rules.len()
            );
            Err(Error::new(Kind::Quota, problem).with_source(error))
        }
        result => Ok(result?),
    }
}

/// Someone wrote one of the rules meanwhile, and the request failed as a whole.
async fn one_by_one(shared: &Shared, id: &str, rules: &[Rule]) -> client::Result<()> {
    for rule in rules {
        match shared.client().authorize_ingress(id, std::slice::from_ref(rule)).await {
            Err(error) if is_duplicate(&error) => {}
            result => result?,
        }
    }
    Ok(())
}

fn is_duplicate(error: &client::Error) -> bool {
    error.code() == Some("InvalidPermission.Duplicate")
}

/// Takes rules out. What is gone already, be it the rule or the group, is no failure.
pub(crate) async fn revoke(shared: &Shared, id: &str, rules: &[Rule]) -> Result<()> {
    if rules.is_empty() {
        return Ok(());
    }
    shared.forget_groups();
    let result = match shared.client().revoke_ingress(id, rules).await {
        // One of them is gone, and the request failed as a whole.
        Err(error) if error.code() == Some(NO_RULE) && rules.len() > 1 => each_revoked(shared, id, rules).await,
        result => result,
    };
    shared.forget_groups();
    match result {
        Err(error) if !error.is_not_found() => Err(error.into()),
        _ => {
            shared.revoked().note(id, rules);
            Ok(())
        }
    }
}

async fn each_revoked(shared: &Shared, id: &str, rules: &[Rule]) -> client::Result<()> {
    for rule in rules {
        match shared.client().revoke_ingress(id, std::slice::from_ref(rule)).await {
            Err(error) if error.code() == Some(NO_RULE) => {}
            result => result?,
        }
    }
    Ok(())
}

/// Rules that this process took out lately. EC2 may still name them for a while, and whoever merges the rules of many load
/// balancers would let in again what is gone for good.
#[derive(Debug, Default)]
pub(crate) struct Revoked(Mutex<BTreeMap<(String, Traffic), Instant>>);

impl Revoked {
    /// Takes them out of what was read of groups.
    pub(crate) fn hide(&self, groups: &mut [SecurityGroup]) {
        let mut known = self.known();
        known.retain(|_, revoked| revoked.elapsed() < REVOKED);
        if known.is_empty() {
            return;
        }
        for group in groups {
            let id = &group.id;
            group.ingress.retain(|rule| !known.contains_key(&(id.clone(), plain(&rule.traffic))));
        }
    }

    fn note(&self, id: &str, rules: &[Rule]) {
        let now = Instant::now();
        self.known().extend(rules.iter().map(|rule| ((id.to_owned(), plain(&rule.traffic)), now)));
    }

    fn forget(&self, id: &str, rules: &[Rule]) {
        let mut known = self.known();
        for rule in rules {
            known.remove(&(id.to_owned(), plain(&rule.traffic)));
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<(String, Traffic), Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Without what does not tell traffic apart.
fn plain(traffic: &Traffic) -> Traffic {
    match &traffic.source {
        Source::Group { id, .. } => Traffic { source: Source::group_id(id), ..traffic.clone() },
        _ => traffic.clone(),
    }
}

/// A group that is found by its name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NamedGroup {
    /// The name, unique in the VPC.
    pub(crate) name: String,
    /// The description when it is made.
    pub(crate) description: String,
    /// All tags when it is made; on one that is found, the cluster's are repaired.
    pub(crate) tags: Tags,
}

/// Finds the group of this name, repairs its cluster tags, or makes it; gives its ID.
///
/// # Errors
///
/// Where a group of this name is another cluster's, among others.
pub(crate) async fn ensure_named(shared: &Shared, wanted: &NamedGroup) -> Result<String> {
    if let Some(id) = find_named(shared, &wanted.name).await? {
        return Ok(id);
    }
    shared.forget_groups();
    let NamedGroup { name, description, tags } = wanted;
    let new = NewSecurityGroup { name, description, vpc: shared.vpc(), tags };
    let result = shared.client().create_security_group(&new).await;
    shared.forget_groups();
    match result {
        // Its answer was lost, or the reading was behind.
        Err(error) if error.code() == Some("InvalidGroup.Duplicate") => match find_named(shared, name).await? {
            Some(id) => Ok(id),
            None => Err(error.into()),
        },
        result => Ok(result?),
    }
}

async fn find_named(shared: &Shared, name: &str) -> Result<Option<String>> {
    let found = shared.client().describe_security_groups(Groups::Named(shared.vpc(), name)).await?;
    let Some(group) = found.into_iter().find(|group| group.name == name) else { return Ok(None) };
    let missing = shared.cluster_id().missing_tags(&group.id, &group.tags).map_err(|contradiction| {
        Error::new(Kind::Conflict, format!("use security group {name}")).with_source(contradiction)
    })?;
    if !missing.is_empty() {
        shared.forget_groups();
        shared.client().create_tags(&[&group.id], &missing).await?;
        shared.forget_groups();
    }
    Ok(Some(group.id))
}

/// Removes a group. While something still uses it, as the network interfaces of a load balancer do for minutes after its
/// end, the step is pending.
pub(crate) async fn delete(shared: &Shared, id: &str) -> Result<Applied> {
    shared.forget_groups();
    let result = shared.client().delete_security_group(id).await;
    shared.forget_groups();
    match result {
        Ok(()) => Ok(Applied::Done),
        Err(error) if error.is_not_found() => Ok(Applied::Done),
        Err(error) if error.code() == Some("DependencyViolation") => Ok(Applied::Pending { retry_after: STILL_USED }),
        Err(error) => Err(error.into()),
    }
}

/// The rules in other groups, as far as they have the cluster's tag, that let the members of group `id` in: they stand in
/// the way of its deletion.
pub(crate) fn references(cluster: &ClusterId, groups: &[SecurityGroup], id: &str) -> Vec<(String, Vec<Rule>)> {
    groups
        .iter()
        .filter(|group| group.id != id && cluster.has_tag(&group.tags))
        .map(|group| (group.id.clone(), group.ingress.iter().filter(|rule| rule.refers_to(id)).cloned().collect()))
        .filter(|(_, rules): &(String, Vec<Rule>)| !rules.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(port: i32) -> Rule {
        Rule::new("tcp", Some((port, port)), Source::Ipv4("0.0.0.0/0".into()))
    }

    /// aws.md 12.8: desired tcp 80, tcp 81 and icmp, actual tcp 80 and icmp.
    #[test]
    fn only_what_differs_is_written() {
        let icmp = Rule::new("icmp", Some((3, 4)), Source::Ipv4("0.0.0.0/0".into()));
        let diff = ingress_diff(&[tcp(80), tcp(81), icmp.clone()], &[tcp(80).described("by hand"), icmp.clone()]);
        assert_eq!(diff, IngressDiff { add: vec![tcp(81)], remove: vec![] });
        let diff = ingress_diff(&[tcp(80), tcp(80)], &[tcp(81).described("old")]);
        assert_eq!(diff, IngressDiff { add: vec![tcp(80)], remove: vec![tcp(81).described("old")] });
        assert!(ingress_diff(&[tcp(80)], &[tcp(80)]).is_empty());
    }

    #[test]
    fn the_account_of_a_group_does_not_tell_rules_apart() {
        let wanted = Rule::new("-1", None, Source::group_id("sg-1"));
        let source = Source::Group { id: "sg-1".into(), account: Some("123456789012".into()) };
        assert!(ingress_diff(&[wanted], &[Rule::new("-1", None, source)]).is_empty());
    }
}
