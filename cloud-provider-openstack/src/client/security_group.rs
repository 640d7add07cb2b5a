//! Security groups and their rules, in Neutron.

use std::collections::BTreeMap;

use cloud_provider::{Kind, error::Result};
use serde::{Deserialize, Serialize, de::IgnoredAny};

use super::{Client, Service};

const GROUPS: &str = "security-groups";
const RULES: &str = "security-group-rules";

/// A security group with its rules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct SecurityGroup {
    /// The ID.
    pub id: String,
    /// The name.
    pub name: String,
    /// Its rules.
    #[serde(default, rename = "security_group_rules")]
    pub rules: Vec<KnownRule>,
}

/// What a rule lets through.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rule {
    /// `ingress` or `egress`.
    pub direction: String,
    /// `IPv4` or `IPv6`.
    pub ethertype: String,
    /// The protocol in lower case; `None` is any.
    pub protocol: Option<String>,
    /// The first port.
    pub port_range_min: Option<i32>,
    /// The last port.
    pub port_range_max: Option<i32>,
    /// Where traffic comes from; `None` is anywhere.
    pub remote_ip_prefix: Option<String>,
}

/// A rule that is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct KnownRule {
    /// The ID.
    pub id: String,
    /// What it lets through.
    #[serde(flatten)]
    pub rule: Rule,
}

#[derive(Serialize)]
struct NewGroup<'a> {
    name: &'a str,
    description: &'a str,
}

#[derive(Serialize)]
struct NewRule<'a> {
    security_group_id: &'a str,
    #[serde(flatten)]
    rule: &'a Rule,
}

#[derive(Deserialize)]
struct One {
    security_group: SecurityGroup,
}

impl Client {
    /// The security groups of that name, with their rules. The filter is applied here too: what it lets through may be
    /// deleted.
    pub async fn security_groups(&self, name: &str) -> Result<Vec<SecurityGroup>> {
        let filter = [("name", name)];
        let mut found: Vec<SecurityGroup> =
            self.list(Service::Network, "!security_group_list", &[GROUPS], "security_groups", &filter).await?;
        found.retain(|it| it.name == name);
        Ok(found)
    }

    /// All security groups that there are.
    pub async fn all_security_groups(&self) -> Result<Vec<SecurityGroup>> {
        self.list(Service::Network, "!security_group_list", &[GROUPS], "security_groups", &[]).await
    }

    /// Makes a security group. Neutron gives it rules that let everything out.
    pub async fn create_security_group(&self, name: &str, description: &str) -> Result<SecurityGroup> {
        let body = BTreeMap::from([("security_group", NewGroup { name, description })]);
        Ok(self.post::<One>(Service::Network, "security_group_create", &[GROUPS], &body).await?.security_group)
    }

    /// Deletes a security group. False where it was gone already.
    pub async fn delete_security_group(&self, id: &str) -> Result<bool> {
        self.delete(Service::Network, "security_group_delete", &[GROUPS, id], &[]).await
    }

    /// Adds rules to a security group: all in one call, and one by one where some of them turn out to be there already.
    pub async fn create_rules(&self, group: &str, rules: &[Rule]) -> Result<()> {
        let new = |rule| NewRule { security_group_id: group, rule };
        let all: Vec<_> = rules.iter().map(new).collect();
        let name = "security_group_rule_create";
        let body = BTreeMap::from([("security_group_rules", all)]);
        match self.post::<IgnoredAny>(Service::Network, name, &[RULES], &body).await {
            Err(error) if *error.kind() == Kind::Conflict => {}
            done => return done.map(drop),
        }
        for rule in rules {
            let body = BTreeMap::from([("security_group_rule", new(rule))]);
            match self.post::<IgnoredAny>(Service::Network, name, &[RULES], &body).await {
                Err(error) if *error.kind() == Kind::Conflict => {}
                done => done.map(drop)?,
            }
        }
        Ok(())
    }

    /// Deletes a rule. False where it was gone already.
    pub async fn delete_rule(&self, id: &str) -> Result<bool> {
        self.delete(Service::Network, "security_group_rule_delete", &[RULES, id], &[]).await
    }

    /// Takes a tag off a port. False where it had none.
    pub async fn delete_port_tag(&self, port: &str, tag: &str) -> Result<bool> {
        self.delete(Service::Network, "port_tag_delete", &["ports", port, "tags", tag], &[]).await
    }
}
