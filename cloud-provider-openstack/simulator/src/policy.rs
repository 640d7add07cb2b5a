//! Who may do what: the services' default policies by role, and what a test or an operator changes in them.

use std::collections::BTreeMap;

use cloud_provider_simulation::glob;
use serde::{Deserialize, Serialize};

/// What the default policy of a service asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// No token.
    Open,
    /// Any token.
    Token,
    Reader,
    Member,
    Admin,
    LoadBalancerRead,
    LoadBalancerWrite,
    LoadBalancerAdmin,
    /// What keeps secrets: its creators, readers and members.
    Secret,
}

impl Access {
    fn roles(self) -> &'static [&'static str] {
        match self {
            Self::Open | Self::Token => &[],
            Self::Reader => &["reader"],
            Self::Member => &["member"],
            Self::Admin => &["admin"],
            Self::LoadBalancerRead => &[
                "load-balancer_observer",
                "load-balancer_global_observer",
                "load-balancer_member",
                "load-balancer_admin",
                "admin",
            ],
            Self::LoadBalancerWrite => &["load-balancer_member", "load-balancer_admin", "admin"],
            Self::LoadBalancerAdmin => &["load-balancer_admin", "admin"],
            Self::Secret => &["creator", "observer", "member", "admin"],
        }
    }
}

/// Changes of the services' default policies. Rules are named as the services name them, with the service before a colon:
/// `neutron:create_floatingip`, `octavia:os_load-balancer_api:loadbalancer:post`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Patterns of rules that nobody passes, not even an administrator.
    pub deny: Vec<String>,
    /// Roles, one of which a caller needs for the rules of a pattern, instead of the default.
    pub require: BTreeMap<String, Vec<String>>,
}

impl Policy {
    /// Nobody may do this any more.
    #[must_use]
    pub fn denying(mut self, rules: &[&str]) -> Self {
        self.deny.extend(rules.iter().map(|&rule| rule.to_owned()));
        self
    }

    /// One of these roles is needed for it.
    #[must_use]
    pub fn requiring(mut self, rules: &str, roles: &[&str]) -> Self {
        self.require.insert(rules.to_owned(), roles.iter().map(|&role| role.to_owned()).collect());
        self
    }

    /// Whether `roles` (implied ones included) pass a rule whose default is `access`.
    pub(crate) fn allows(&self, rule: &str, access: Access, roles: &[String]) -> bool {
        if self.deny.iter().any(|pattern| glob::matches(pattern, rule)) {
            return false;
        }
        let has = |role: &str| roles.iter().any(|own| own == role);
        match self.require.iter().find(|(pattern, _)| glob::matches(pattern, rule)) {
            Some((_, required)) => required.iter().any(|role| has(role)),
            None => access.roles().is_empty() || access.roles().iter().any(|role| has(role)),
        }
    }
}

/// Roles with those that they imply: `admin`, `manager`, `member`, `reader`.
pub(crate) fn with_implied(roles: &[String]) -> Vec<String> {
    const CHAIN: [&str; 4] = ["admin", "manager", "member", "reader"];
    let mut all = roles.to_vec();
    if let Some(first) = CHAIN.iter().position(|role| roles.iter().any(|own| own == role)) {
        all.extend(CHAIN[first..].iter().map(|&role| role.to_owned()).filter(|role| !roles.contains(role)));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_imply_the_lesser_ones_and_load_balancers_have_their_own() {
        let roles = |names: &[&str]| with_implied(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        let policy = Policy::default();
        let (member, admin) = (roles(&["member"]), roles(&["admin"]));
        assert!(policy.allows("neutron:get_port", Access::Reader, &member));
        assert!(!policy.allows("neutron:x", Access::Admin, &member));
        assert!(!policy.allows("octavia:y", Access::LoadBalancerRead, &member));
        assert!(policy.allows("octavia:y", Access::LoadBalancerWrite, &admin));
        assert!(policy.allows("octavia:y", Access::LoadBalancerWrite, &roles(&["load-balancer_member"])));
        let policy = policy.denying(&["octavia:*"]).requiring("neutron:get_*", &["auditor"]);
        assert!(!policy.allows("octavia:y", Access::LoadBalancerWrite, &admin));
        assert!(!policy.allows("neutron:get_port", Access::Reader, &admin));
        assert!(policy.allows("neutron:get_port", Access::Reader, &roles(&["auditor"])));
    }
}
