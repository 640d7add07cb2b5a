//! IAM, as far as a controller meets it: a set of allowed actions.

use cloud_provider_simulation::glob;
use serde::{Deserialize, Serialize};

/// The control plane policy in upstream's `docs/prerequisites.md`, without the actions of services that no controller
/// calls (Auto Scaling, KMS, IAM). It lacks `DescribeNetworkInterfaces`, `DeleteTags`, `SetSecurityGroups`,
/// `SetSubnets`, `SetIpAddressType`, `DescribeTags`, `RemoveTags`, both target group attribute actions and `sts:AssumeRole`.
pub const DOCUMENTED: &[&str] = &[
    "ec2:AttachVolume",
    "ec2:AuthorizeSecurityGroupIngress",
    "ec2:CreateRoute",
    "ec2:CreateSecurityGroup",
    "ec2:CreateTags",
    "ec2:CreateVolume",
    "ec2:DeleteRoute",
    "ec2:DeleteSecurityGroup",
    "ec2:DeleteVolume",
    "ec2:DescribeAvailabilityZones",
    "ec2:DescribeInstanceTopology",
    "ec2:DescribeInstances",
    "ec2:DescribeRegions",
    "ec2:DescribeRouteTables",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVolumes",
    "ec2:DescribeVpcs",
    "ec2:DetachVolume",
    "ec2:ModifyInstanceAttribute",
    "ec2:ModifyVolume",
    "ec2:RevokeSecurityGroupIngress",
    "elasticloadbalancing:AddTags",
    "elasticloadbalancing:ApplySecurityGroupsToLoadBalancer",
    "elasticloadbalancing:AttachLoadBalancerToSubnets",
    "elasticloadbalancing:ConfigureHealthCheck",
    "elasticloadbalancing:CreateListener",
    "elasticloadbalancing:CreateLoadBalancer",
    "elasticloadbalancing:CreateLoadBalancerListeners",
    "elasticloadbalancing:CreateLoadBalancerPolicy",
    "elasticloadbalancing:CreateTargetGroup",
    "elasticloadbalancing:DeleteListener",
    "elasticloadbalancing:DeleteLoadBalancer",
    "elasticloadbalancing:DeleteLoadBalancerListeners",
    "elasticloadbalancing:DeleteTargetGroup",
    "elasticloadbalancing:DeregisterInstancesFromLoadBalancer",
    "elasticloadbalancing:DeregisterTargets",
    "elasticloadbalancing:DescribeListeners",
    "elasticloadbalancing:DescribeLoadBalancerAttributes",
    "elasticloadbalancing:DescribeLoadBalancerPolicies",
    "elasticloadbalancing:DescribeLoadBalancers",
    "elasticloadbalancing:DescribeTargetGroups",
    "elasticloadbalancing:DescribeTargetHealth",
    "elasticloadbalancing:DetachLoadBalancerFromSubnets",
    "elasticloadbalancing:ModifyListener",
    "elasticloadbalancing:ModifyLoadBalancerAttributes",
    "elasticloadbalancing:ModifyTargetGroup",
    "elasticloadbalancing:RegisterInstancesWithLoadBalancer",
    "elasticloadbalancing:RegisterTargets",
    "elasticloadbalancing:SetLoadBalancerPoliciesForBackendServer",
    "elasticloadbalancing:SetLoadBalancerPoliciesOfListener",
];

/// Allowed actions, each a pattern with `*` and `?` such as `ec2:Describe*`. As in IAM, case does not matter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Policy {
    allowed: Vec<String>,
}

impl Default for Policy {
    fn default() -> Self {
        Self::documented()
    }
}

impl Policy {
    /// What upstream documents for a control plane: [`DOCUMENTED`].
    pub fn documented() -> Self {
        Self::of(DOCUMENTED)
    }

    /// Everything.
    pub fn all() -> Self {
        Self::of(&["*"])
    }

    /// These actions only.
    pub fn of(actions: &[&str]) -> Self {
        Self { allowed: actions.iter().map(|&action| action.to_owned()).collect() }
    }

    /// These actions as well.
    #[must_use]
    pub fn and(mut self, actions: &[&str]) -> Self {
        self.allowed.extend(actions.iter().map(|&action| action.to_owned()));
        self
    }

    /// All but these actions.
    #[must_use]
    pub fn without(mut self, actions: &[&str]) -> Self {
        self.allowed.retain(|allowed| !actions.contains(&allowed.as_str()));
        self
    }

    /// The actions that an IAM policy document (JSON) allows. Resources and conditions are not looked at; a statement
    /// that denies is refused, because ignoring it would allow too much.
    pub fn from_document(json: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum OneOrMany<T> {
            One(T),
            Many(Vec<T>),
        }
        impl<T> OneOrMany<T> {
            fn into_vec(self) -> Vec<T> {
                match self {
                    Self::One(one) => vec![one],
                    Self::Many(many) => many,
                }
            }
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Statement {
            effect: String,
            action: OneOrMany<String>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Document {
            statement: OneOrMany<Statement>,
        }
        let document: Document = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let mut allowed = Vec::new();
        for statement in document.statement.into_vec() {
            if statement.effect != "Allow" {
                return Err(format!("effect {:?} is not supported, only Allow", statement.effect));
            }
            allowed.extend(statement.action.into_vec());
        }
        Ok(Self { allowed })
    }

    /// Whether `action`, such as `ec2:CreateTags`, is allowed.
    pub fn allows(&self, action: &str) -> bool {
        let action = action.to_ascii_lowercase();
        self.allowed.iter().any(|pattern| glob::matches(&pattern.to_ascii_lowercase(), &action))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documented_policy_has_what_upstream_lists_and_lacks_what_it_forgot() {
        let policy = Policy::documented();
        assert!(policy.allows("ec2:DescribeInstanceTopology"));
        assert!(policy.allows("elasticloadbalancing:modifytargetgroup"));
        for missing in ["ec2:DescribeNetworkInterfaces", "elasticloadbalancing:SetSecurityGroups", "sts:AssumeRole"] {
            assert!(!policy.allows(missing), "{missing}");
        }
    }

    #[test]
    fn documents_are_read_with_single_and_many_actions() {
        let policy = Policy::from_document(
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ec2:Describe*","Resource":"*"},
                {"Effect":"Allow","Action":["elasticloadbalancing:*"],"Resource":"*"}]}"#,
        )
        .unwrap();
        assert!(policy.allows("ec2:DescribeVpcs"));
        assert!(policy.allows("elasticloadbalancing:SetSubnets"));
        assert!(!policy.allows("ec2:CreateTags"));
        Policy::from_document(r#"{"Statement":{"Effect":"Deny","Action":"*"}}"#).unwrap_err();
    }
}
