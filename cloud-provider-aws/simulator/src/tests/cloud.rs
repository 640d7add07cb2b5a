//! What all services share: permissions, faults, limits, stale reads, credentials.

use cloud_provider_simulation::at_write::Picked;

use super::{Account, SUBNETS, VPC, first, values};
use crate::{
    AtWrite, Effect, Fault, Omission, Options, Policy, RateLimit, Seed, core::Answer, model::InstanceState,
    service::Service,
};

fn nlb() -> Vec<(&'static str, &'static str)> {
    vec![("Name", "n1"), ("Type", "network"), ("Subnets.member.1", SUBNETS[0])]
}

#[test]
fn documented_policy_is_enforced_in_the_shape_of_each_service() {
    let mut account = Account::with(Options::default());
    account.good("ec2:DescribeInstances", &[]);
    account.good("elbv2:CreateLoadBalancer", &nlb());
    account.good("sts:GetCallerIdentity", &[]);
    let role = [("RoleArn", "arn:aws:iam::123456789012:role/demo-control-plane"), ("RoleSessionName", "test")];
    for (call, parameters, code) in [
        ("ec2:DescribeNetworkInterfaces", &[][..], "UnauthorizedOperation"),
        ("ec2:DeleteTags", &[], "UnauthorizedOperation"),
        ("elbv2:SetSecurityGroups", &[], "AccessDenied"),
        ("elbv2:DescribeTargetGroupAttributes", &[], "AccessDenied"),
        ("elb:DescribeTags", &[], "AccessDenied"),
        ("sts:AssumeRole", &role, "AccessDenied"),
    ] {
        assert_eq!(account.call(call, parameters), Err((code.into(), 403)), "{call}");
    }
}

#[test]
fn tags_at_creation_need_the_permission_to_tag() {
    let policy = Policy::documented().without(&["ec2:CreateTags", "elasticloadbalancing:AddTags"]);
    let mut account = Account::with(Options { policy, ..Options::default() });
    let group = [
        ("GroupName", "a"),
        ("GroupDescription", "a"),
        ("VpcId", VPC),
        ("TagSpecification.1.ResourceType", "security-group"),
        ("TagSpecification.1.Tag.1.Key", "a"),
    ];
    assert_eq!(account.refused("ec2:CreateSecurityGroup", &group), "UnauthorizedOperation");
    account.good("ec2:CreateSecurityGroup", &group[..3]);
    let mut tagged = nlb();
    tagged.push(("Tags.member.1.Key", "a"));
    assert_eq!(account.refused("elbv2:CreateLoadBalancer", &tagged), "AccessDenied");
}

#[test]
fn throttling_has_the_code_and_status_of_its_service() {
    let mut account = Account::new(0);
    account.adjust(|knobs| {
        for action in ["EC2.DescribeInstances", "ELBv2.*"] {
            knobs.rate_limits.push(RateLimit { action: action.into(), burst: 2.0, per_second: 1.0 });
        }
    });
    for call in ["ec2:DescribeInstances", "elbv2:DescribeLoadBalancers"] {
        account.good(call, &[]);
        account.good(call, &[]);
    }
    assert_eq!(account.call("ec2:DescribeInstances", &[]), Err(("RequestLimitExceeded".into(), 503)));
    assert_eq!(account.call("elbv2:DescribeListeners", &[]), Err(("Throttling".into(), 400)));
    account.good("ec2:DescribeVpcs", &[]);
    account.wait(1000);
    account.good("ec2:DescribeInstances", &[]);
    assert_eq!(account.refused("ec2:DescribeInstances", &[]), "RequestLimitExceeded");
}

#[test]
fn injected_errors_strike_as_often_as_asked() {
    let mut account = Account::new(0);
    account.core.frame.knobs.faults.push(Fault::error("DescribeInstances", "InternalError").times(2));
    for _ in 0..2 {
        assert_eq!(account.call("ec2:DescribeInstances", &[]), Err(("InternalError".into(), 500)));
    }
    account.good("ec2:DescribeInstances", &[]);
    account.core.frame.knobs.faults.push(Fault::error("EC2.*", "RequestLimitExceeded").with_probability(0.25));
    let struck = (0..400).filter(|_| account.call("ec2:DescribeVpcs", &[]).is_err()).count();
    assert!((60..140).contains(&struck), "{struck} of 400");
}

#[test]
fn lost_answer_leaves_its_effect() {
    let mut account = Account::new(0);
    account.core.frame.knobs.faults.push(Fault::lost_answer("ELBv2.CreateLoadBalancer").times(1));
    assert_eq!(account.answer("elbv2:CreateLoadBalancer", &nlb()), Answer::Disconnect);
    assert_eq!(account.core.frame.state.load_balancers.len(), 1);
    let call = account.core.frame.calls.calls().pop().unwrap();
    assert_eq!((call.outcome.as_str(), call.executed), ("Disconnect", true));
    account.core.frame.knobs.faults.push(Fault { after: false, ..Fault::lost_answer("ELBv2.DeleteLoadBalancer") });
    let arn = account.core.frame.state.load_balancers.keys().next().unwrap().clone();
    assert_eq!(account.answer("elbv2:DeleteLoadBalancer", &[("LoadBalancerArn", &arn)]), Answer::Disconnect);
    assert_eq!(account.core.frame.state.load_balancers.len(), 1, "struck before it was carried out");
    assert!(!account.core.frame.calls.calls().pop().unwrap().executed);
}

#[test]
fn error_after_the_write_leaves_its_effect() {
    let mut account = Account::new(0);
    account
        .core
        .frame
        .knobs
        .faults
        .push(Fault { after: true, ..Fault::error("CreateLoadBalancer", "ServiceUnavailable") });
    assert_eq!(account.call("elbv2:CreateLoadBalancer", &nlb()), Err(("ServiceUnavailable".into(), 503)));
    assert_eq!(account.core.frame.state.load_balancers.len(), 1);
}

#[test]
fn truncated_answer_ends_in_the_middle() {
    let mut account = Account::new(3);
    account.core.frame.knobs.faults.push(Fault { effect: Effect::Truncate, ..Fault::error("DescribeInstances", "") });
    let Answer::Document { status, body, .. } = account.answer("ec2:DescribeInstances", &[]) else {
        panic!("no document")
    };
    assert!(status == 200 && !body.ends_with("</DescribeInstancesResponse>"), "{status} {body}");
}

#[test]
fn stale_reads_see_the_past_while_writes_see_the_present() {
    let mut account = Account::new(2);
    let node = account.nodes().remove(0);
    let now = account.now();
    account.core.frame.freeze("EC2.*", 5000, now);
    account.core.frame.state.change_instance(&node, InstanceState::Terminated, None);
    account.core.frame.state.delete_instance(&node);
    account.good("ec2:DescribeInstances", &[("InstanceId.1", &node)]);
    assert_eq!(
        account.refused("ec2:CreateTags", &[("ResourceId.1", &node), ("Tag.1.Key", "a")]),
        "InvalidInstanceID.NotFound"
    );
    account.wait(5000);
    assert_eq!(account.refused("ec2:DescribeInstances", &[("InstanceId.1", &node)]), "InvalidInstanceID.NotFound");
}

#[test]
fn optional_elements_can_be_missing() {
    let mut account = Account::new(1);
    account.adjust(|knobs| {
        let omission = |action: &str, element: &str| Omission { action: action.into(), element: element.into() };
        knobs.omissions = vec![
            omission("EC2.DescribeInstances", "item/instanceState"),
            omission("EC2.DescribeInstances", "networkInterfaceSet"),
            omission("ELBv2.DescribeLoadBalancers", "Scheme"),
        ];
    });
    let body = account.good("ec2:DescribeInstances", &[]);
    assert!(!body.contains("instanceState") && !body.contains("networkInterfaceSet"), "{body}");
    assert_eq!(values(&account.good("elbv2:CreateLoadBalancer", &nlb()), "Scheme"), ["internet-facing"]);
    assert!(values(&account.good("elbv2:DescribeLoadBalancers", &[]), "Scheme").is_empty());
}

#[test]
fn unknown_actions_and_dry_runs_are_refused_and_logged() {
    let mut account = Account::new(0);
    assert_eq!(account.call("ec2:RunInstances", &[]), Err(("InvalidAction".into(), 400)));
    assert_eq!(account.call("elbv2:CreateRule", &[]), Err(("InvalidAction".into(), 400)));
    assert_eq!(account.call("ec2:DescribeVpcs", &[("DryRun", "true")]), Err(("DryRunOperation".into(), 412)));
    account.good("ec2:DescribeVpcs", &[("DryRun", "false"), ("VpcId.1", VPC)]);
    let calls = account.core.frame.calls.calls();
    let seen: Vec<_> = calls.iter().map(|call| (call.number, call.action.as_str(), call.outcome.as_str())).collect();
    assert_eq!(
        seen,
        [
            (1, "RunInstances", "InvalidAction"),
            (2, "CreateRule", "InvalidAction"),
            (3, "DescribeVpcs", "DryRunOperation"),
            (4, "DescribeVpcs", "ok")
        ]
    );
    assert_eq!(calls[3].parameters["VpcId.1"], VPC);
    let count = &account.core.frame.calls.counts()["EC2.DescribeVpcs"];
    assert_eq!((count.calls, count.failures["DryRunOperation"]), (2, 1));
}

#[test]
fn assumed_role_can_call_until_it_expires() {
    let mut account = Account::new(0);
    let role = [
        ("RoleArn", "arn:aws:iam::123456789012:role/demo-control-plane"),
        ("RoleSessionName", "test"),
        ("DurationSeconds", "900"),
    ];
    let body = account.good("sts:AssumeRole", &role);
    let key = first(&body, "AccessKeyId");
    let credential = account.core.credentials.iter().find(|credential| credential.access_key == key).unwrap();
    assert_eq!(credential.arn, "arn:aws:sts::123456789012:assumed-role/demo-control-plane/test");
    assert!(credential.expires.unwrap() > account.now());
    let mut unknown = role;
    unknown[0].1 = "arn:aws:iam::123456789012:role/nobody";
    assert_eq!(account.call("sts:AssumeRole", &unknown), Err(("AccessDenied".into(), 403)));
    let mut short = role;
    short[2].1 = "899";
    assert_eq!(account.refused("sts:AssumeRole", &short), "ValidationError");
    let web = [role[0], role[1], ("WebIdentityToken", "not-a-token")];
    assert_eq!(account.refused("sts:AssumeRoleWithWebIdentity", &web), "InvalidIdentityToken");
    let web = [role[0], role[1], ("WebIdentityToken", "head.claims.signature")];
    account.good("sts:AssumeRoleWithWebIdentity", &web);
    assert!(!account.core.frame.calls.calls().pop().unwrap().parameters.contains_key("WebIdentityToken"));
}

#[test]
fn state_dump_holds_every_resource_with_its_tags() {
    let mut account = Account::new(2);
    account.good("elbv2:CreateLoadBalancer", &nlb());
    let dump = serde_json::to_value(&account.core.frame.state).unwrap();
    assert_eq!(dump["instances"].as_object().unwrap().len(), 3);
    assert_eq!(dump["subnets"][SUBNETS[0]]["tags"]["kubernetes.io/role/elb"], "1");
    assert_eq!(dump["load_balancers"].as_object().unwrap().values().next().unwrap()["name"], "n1");
    for kind in ["vpcs", "route_tables", "security_groups", "classic_load_balancers", "target_groups", "listeners"] {
        assert!(dump[kind].is_object(), "{kind}");
    }
}

#[test]
fn every_action_of_the_documented_policy_that_a_controller_calls_is_simulated() {
    let elsewhere = ["Volume", "Regions"];
    for allowed in crate::DOCUMENTED {
        let (prefix, action) = allowed.split_once(':').unwrap();
        let services = [Service::Ec2, Service::Elb, Service::ElbV2];
        let known = services.iter().any(|service| service.signing_name() == prefix && service.action(action).is_some());
        assert!(known || elsewhere.iter().any(|word| action.contains(word)), "{allowed}");
    }
}

#[test]
fn seeds_of_other_regions_have_their_own_names() {
    let mut account = Account::with(Options { seed: Seed::cluster_in("eu-west-1", "x", 1), ..Options::default() });
    account.core.frame.state.region = "us-east-1".into();
    let body = account.good("ec2:DescribeInstances", &[]);
    assert!(
        values(&body, "privateDnsName")
            .iter()
            .all(|name| name.is_empty() || name.ends_with(".eu-west-1.compute.internal"))
    );
    assert!(values(&body, "availabilityZoneId").contains(&"euw1-az2".to_owned()), "{body}");
}

/// Two new groups, with something at the second: what was answered, and how many groups there are then.
fn at_second_group(what: AtWrite) -> (Account, Answer) {
    let mut account = Account::new(0);
    account.core.frame.picked = Picked::at(2, what);
    account.new_group("first");
    // A read and a refused write do not count.
    account.good("ec2:DescribeSecurityGroups", &[]);
    assert_eq!(account.refused("ec2:DeleteSecurityGroup", &[("GroupId", "sg-0ffffffff")]), "InvalidGroup.NotFound");
    assert_eq!(account.core.frame.picked.struck(), None);
    let second = [("GroupName", "second"), ("GroupDescription", "test"), ("VpcId", VPC)];
    let answer = account.answer("ec2:CreateSecurityGroup", &second);
    assert_eq!(account.core.frame.picked.struck(), Some("EC2.CreateSecurityGroup"));
    (account, answer)
}

fn groups(account: &Account) -> usize {
    account.core.frame.state.security_groups.len()
}

#[test]
fn silence_begins_with_the_picked_write_and_lasts() {
    let (mut account, answer) = at_second_group(AtWrite::Silence);
    assert_eq!((answer, groups(&account)), (Answer::Hang, 4));
    assert_eq!(account.answer("ec2:DescribeSecurityGroups", &[]), Answer::Hang);
    let third = [("GroupName", "third"), ("GroupDescription", "test"), ("VpcId", VPC)];
    assert_eq!(account.answer("ec2:CreateSecurityGroup", &third), Answer::Hang);
    assert_eq!(groups(&account), 4);
}

#[test]
fn the_picked_write_is_carried_out_though_its_answer_is_lost_or_false() {
    let (mut account, answer) = at_second_group(AtWrite::LostAnswer);
    assert_eq!((answer, groups(&account)), (Answer::Disconnect, 4));
    account.new_group("third");
    let (account, answer) = at_second_group(AtWrite::FalseError);
    assert!(matches!(answer, Answer::Document { status: 400, .. }), "{answer:?}");
    assert_eq!(groups(&account), 4);
}

#[test]
fn the_picked_write_can_be_refused_once() {
    let (mut account, answer) = at_second_group(AtWrite::Refusal);
    assert!(matches!(answer, Answer::Document { status: 400, .. }), "{answer:?}");
    assert_eq!(groups(&account), 3);
    account.new_group("second");
}

#[test]
fn reads_do_not_see_the_picked_write_for_a_while() {
    let (mut account, _) = at_second_group(AtWrite::StaleReads(1000));
    let seen = |account: &mut Account| values(&account.good("ec2:DescribeSecurityGroups", &[]), "groupId").len();
    let stale = seen(&mut account);
    account.wait(1001);
    assert_eq!((groups(&account), seen(&mut account)), (4, stale + 1));
}
