//! The keys of the cloud config, each with what the reference page says about it.

pub use cloud_provider::config::keys::{Key, key};

/// The keys of `[Global]`, in the order of the reference page.
pub const GLOBAL: &[Key] = &[
    key("Zone", "a zone", "none", "The region is that of this zone; it comes before `Region`."),
    key("Region", "a region", "that of the machine, from its metadata service", "The region of all calls."),
    key(
        "VPC",
        "a VPC's ID",
        "that of the machine",
        "The cluster's VPC, for a control plane outside of it. Together with `KubernetesClusterID` (or `KubernetesClusterTag`) and `SubnetID` or `RoleARN`, nothing is asked of the machine that the controller runs on.",
    ),
    key(
        "SubnetID",
        "a subnet's ID",
        "that of the machine",
        "The subnet of load balancers where none is tagged, for a control plane outside of the VPC.",
    ),
    key(
        "RouteTableID",
        "a route table's ID",
        "the one with the cluster's tag",
        "The route table that gets the routes of nodes.",
    ),
    key(
        "RoleARN",
        "a role's ARN",
        "none",
        "A role that is taken on for all calls, with the credentials of the default chain.",
    ),
    key(
        "SourceARN",
        "an ARN",
        "none",
        "Sent as `x-amz-source-arn` when the role is taken on, against confused deputies.",
    ),
    key(
        "KubernetesClusterTag",
        "the cluster's ID",
        "from the tags of the machine",
        "As `KubernetesClusterID`; what is made gets the older tag `KubernetesCluster` too.",
    ),
    key(
        "KubernetesClusterID",
        "the cluster's ID",
        "from the tags of the machine",
        "What belongs to the cluster has the tag `kubernetes.io/cluster/<ID>`.",
    ),
    key("DisableSecurityGroupIngress", "boolean", "`false`", "The security groups of nodes are never touched."),
    key(
        "ElbSecurityGroup",
        "a security group's ID",
        "each gets one of its own",
        "The security group of all classic load balancers. Its rules are not managed.",
    ),
    key(
        "NodeIPFamilies",
        "`ipv4`, `ipv6`; one for each line",
        "`ipv4`",
        "The families of node addresses, in their order.",
    ),
    key(
        "ClusterServiceLoadBalancerHealthProbeMode",
        "`ServiceNodePort`, `Shared`",
        "`ServiceNodePort`",
        "What health checks of services with external traffic policy Cluster ask: the service's own node port, or kube-proxy on each node.",
    ),
    key("ClusterServiceSharedLoadBalancerHealthProbePort", "a port", "`10256`", "The port of mode `Shared`."),
    key("ClusterServiceSharedLoadBalancerHealthProbePath", "a path", "`/healthz`", "The path of mode `Shared`."),
    key(
        "SupportedTopologyInstanceTypePattern",
        "a regular expression",
        "types `hpc`, `trn` and `p`",
        "Nodes of these instance types wait until their network topology is known.",
    ),
    key(
        "NLBSecurityGroupMode",
        "`Managed`",
        "off",
        "Each new network load balancer gets a security group, with rules for its ports.",
    ),
    key(
        "KeepNodesWithoutProviderID",
        "boolean; not upstream's",
        "`false`",
        "A node that has no provider ID, and whose name no instance has, is not deleted.",
    ),
    key(
        "ReconcileLoadBalancerTags",
        "boolean; not upstream's",
        "`false`",
        "Reads the tags of load balancers, target groups and listeners in every round and writes what is missing or different. Needs the permission `elasticloadbalancing:DescribeTags`.",
    ),
    key(
        "ReconcileLoadBalancerSubnets",
        "boolean; not upstream's",
        "`false`",
        "Network load balancers move when their subnets, Elastic IPs or private addresses change, as far as AWS allows that. They keep a subnet as long as discovery could choose it, and all of them where the annotation of the scheme has changed. Needs the permission `elasticloadbalancing:SetSubnets`.",
    ),
    key(
        "AllowLoadBalancerTypeChange",
        "boolean; not upstream's",
        "`false`",
        "A service whose `aws-load-balancer-type` changes gets a load balancer of the other kind, and loses the one it had when the service bears the new host name and AWS has finished the new one.",
    ),
    key(
        "NLBExtensions",
        "boolean; not upstream's",
        "`false`",
        "Network load balancers honour what is otherwise ignored or refused on them: TCP and UDP on one load balancer (`TCP_UDP` where they share a port), two IP families, the timeout of health checks, the annotation of proxy protocol (version 2); and attributes of target groups go back to AWS's defaults when they leave the annotation, as long as it is there. Where annotations and families of the service say nothing, what was set otherwise stays. Needs the permissions `elasticloadbalancing:DescribeTargetGroupAttributes`, `ModifyTargetGroupAttributes` and `SetIpAddressType`.",
    ),
    key(
        "MergeNodeSecurityGroupRules",
        "boolean; not upstream's",
        "`false`",
        "A network load balancer with a managed security group needs one rule in the nodes' group; for the others, rules are merged to ranges of ports when the group would grow beyond 60 rules. A range never reaches into a port that another network load balancer opens to fewer clients, but may take in node ports of other services.",
    ),
    key(
        "IgnoreTopologyFailures",
        "boolean; not upstream's",
        "`false`",
        "Where the network topology cannot be read, nodes do without its labels, whatever their instance type.",
    ),
];

/// The keys of `[ServiceOverride "…"]`.
pub const SERVICE_OVERRIDE: &[Key] = &[
    key(
        "Service",
        "`EC2`, `Elastic Load Balancing`, `Elastic Load Balancing v2`, `ec2imds`; or `ec2`, `elasticloadbalancing`, `ec2metadata`",
        "required",
        "The service. Others have no effect.",
    ),
    key(
        "Region",
        "a region",
        "required",
        "The override holds where this is the region of all calls; always for `ec2imds`.",
    ),
    key("URL", "a URL", "required", "Where the service is reached."),
    key("SigningRegion", "a region", "required", "The region in signatures."),
    key("SigningName", "a name", "the service's own", "The service's name in signatures."),
    key("SigningMethod", "any", "none", "Accepted, without effect."),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::{Global, overrides::Section};

    fn fields(section: impl serde::Serialize) -> BTreeSet<String> {
        let fields = serde_json::to_value(section).unwrap();
        fields.as_object().unwrap().keys().cloned().collect()
    }

    #[test]
    fn every_key_that_is_read_has_its_definition_and_no_other() {
        let names = |keys: &[Key]| keys.iter().map(|key| key.name.to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(names(GLOBAL), fields(Global::default()));
        assert_eq!(names(SERVICE_OVERRIDE), fields(Section::default()));
    }
}
