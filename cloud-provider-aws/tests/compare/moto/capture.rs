//! Everything that an account of moto holds, and how two accounts are made comparable.

use serde_json::{Value, json};

use super::query::{Api, Query};

/// Lists without an order.
pub(super) const SETS: [&str; 14] = [
    "groupSet",
    "groups",
    "ipPermissions",
    "ipRanges",
    "ipv6Ranges",
    "tagSet",
    "Tags",
    "Attributes",
    "AvailabilityZones",
    "Subnets",
    "SecurityGroups",
    "Instances",
    "ListenerDescriptions",
    "targets",
];

/// Times, and IDs of what no controller asks for by itself.
const CHANCE: [&str; 22] = [
    "associationId",
    "associationSet",
    "attachTime",
    "attachment",
    "attachmentId",
    "availableIpAddressCount",
    "blockDeviceMapping",
    "clientToken",
    "createTime",
    "CreatedTime",
    "dnsName",
    "instanceLifecycle",
    "ipAddress",
    "keyName",
    "launchTime",
    "macAddress",
    "networkInterfaceId",
    "networkInterfaceSet",
    "reason",
    "requesterId",
    "routeTableAssociationId",
    "stateReason",
];

/// Every resource by kind and ID.
pub(super) async fn everything(owner: &Query) -> anyhow::Result<Value> {
    let mut all = json!({});
    let reservations = owner.call(Api::Ec2, "DescribeInstances", &[]).await?;
    for reservation in items(&reservations["reservationSet"]) {
        put(&mut all, "instances", "instanceId", items(&reservation["instancesSet"]));
    }
    for (kind, action, list, id) in [
        ("security_groups", "DescribeSecurityGroups", "securityGroupInfo", "groupId"),
        ("subnets", "DescribeSubnets", "subnetSet", "subnetId"),
        ("route_tables", "DescribeRouteTables", "routeTableSet", "routeTableId"),
    ] {
        let answer = owner.call(Api::Ec2, action, &[]).await?;
        put(&mut all, kind, id, items(&answer[list]));
    }
    classic(owner, &mut all).await?;
    network(owner, &mut all).await?;
    Ok(all)
}

async fn classic(owner: &Query, all: &mut Value) -> anyhow::Result<()> {
    let answer = owner.call(Api::Classic, "DescribeLoadBalancers", &[]).await?;
    let mut balancers = items(&answer["LoadBalancerDescriptions"]);
    for balancer in &mut balancers {
        let name = text(&balancer["LoadBalancerName"]);
        let it = [("LoadBalancerName", name.as_str())];
        balancer["attributes"] =
            owner.call(Api::Classic, "DescribeLoadBalancerAttributes", &it).await?["LoadBalancerAttributes"].take();
        balancer["policies"] =
            owner.call(Api::Classic, "DescribeLoadBalancerPolicies", &it).await?["PolicyDescriptions"].take();
        let them = [("LoadBalancerNames.member.1", name.as_str())];
        balancer["tags"] = owner.call(Api::Classic, "DescribeTags", &them).await?["TagDescriptions"][0]["Tags"].take();
    }
    put(all, "classic_load_balancers", "LoadBalancerName", balancers);
    Ok(())
}

async fn network(owner: &Query, all: &mut Value) -> anyhow::Result<()> {
    let mut balancers = items(&owner.call(Api::Network, "DescribeLoadBalancers", &[]).await?["LoadBalancers"]);
    for balancer in &mut balancers {
        let arn = text(&balancer["LoadBalancerArn"]);
        let it = [("LoadBalancerArn", arn.as_str())];
        balancer["attributes"] =
            owner.call(Api::Network, "DescribeLoadBalancerAttributes", &it).await?["Attributes"].take();
        balancer["tags"] = tags(owner, &arn).await?;
        let mut listeners = items(&owner.call(Api::Network, "DescribeListeners", &it).await?["Listeners"]);
        for listener in &mut listeners {
            listener["tags"] = tags(owner, &text(&listener["ListenerArn"])).await?;
        }
        put(all, "listeners", "ListenerArn", listeners);
    }
    put(all, "load_balancers", "LoadBalancerArn", balancers);
    let mut groups = items(&owner.call(Api::Network, "DescribeTargetGroups", &[]).await?["TargetGroups"]);
    for group in &mut groups {
        let arn = text(&group["TargetGroupArn"]);
        let it = [("TargetGroupArn", arn.as_str())];
        group["attributes"] =
            owner.call(Api::Network, "DescribeTargetGroupAttributes", &it).await?["Attributes"].take();
        group["tags"] = tags(owner, &arn).await?;
        let health = owner.call(Api::Network, "DescribeTargetHealth", &it).await?;
        let targets = items(&health["TargetHealthDescriptions"]);
        group["targets"] = targets.into_iter().map(|mut target| target["Target"].take()).collect();
    }
    put(all, "target_groups", "TargetGroupArn", groups);
    Ok(())
}

async fn tags(owner: &Query, arn: &str) -> anyhow::Result<Value> {
    let answer = owner.call(Api::Network, "DescribeTags", &[("ResourceArns.member.1", arn)]).await?;
    Ok(answer["TagDescriptions"][0]["Tags"].clone())
}

fn items(list: &Value) -> Vec<Value> {
    list.as_array().cloned().unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn put(all: &mut Value, kind: &str, id: &str, resources: Vec<Value>) {
    for resource in resources {
        let id = text(&resource[id]);
        all[kind][id] = resource;
    }
}

/// What is not as it was; what is gone says so.
pub(super) fn difference(then: &Value, now: &Value) -> Value {
    let mut changed = json!({});
    let kinds = |of: &Value| of.as_object().cloned().unwrap_or_default();
    for (kind, resources) in kinds(now) {
        for (id, resource) in kinds(&resources).into_iter().filter(|(id, it)| then[&kind][id] != *it) {
            changed[&kind][id] = resource;
        }
    }
    for (kind, resources) in kinds(then) {
        for (id, _) in kinds(&resources).into_iter().filter(|(id, _)| now[&kind][id].is_null()) {
            changed[&kind][id] = json!("removed");
        }
    }
    changed
}

/// What moto generated, and the name of what has it.
pub(super) fn names(captured: &Value) -> Vec<(String, String)> {
    let mut names = Vec::new();
    let each = |kind: &str| captured[kind].as_object().cloned().unwrap_or_default();
    for (id, instance) in each("instances") {
        let tag = items(&instance["tagSet"]).into_iter().find(|tag| tag["key"] == "Name");
        let name = tag.map(|tag| text(&tag["value"])).unwrap_or_default();
        names.push((text(&instance["dnsName"]), format!("public-dns({name})")));
        names.push((text(&instance["ipAddress"]), format!("public({name})")));
        names.push((id, format!("instance({name})")));
    }
    for (id, group) in each("security_groups") {
        names.push((id, format!("group({})", text(&group["groupName"]))));
    }
    for (name, balancer) in each("classic_load_balancers") {
        names.push((text(&balancer["DNSName"]), format!("dns({name})")));
    }
    for (arn, balancer) in each("load_balancers") {
        let name = text(&balancer["LoadBalancerName"]);
        names.push((text(&balancer["DNSName"]), format!("dns({name})")));
        names.push((arn, format!("balancer({name})")));
    }
    for (arn, group) in each("target_groups") {
        names.push((arn, format!("targets({})", text(&group["TargetGroupName"]))));
    }
    for (arn, listener) in each("listeners") {
        let balancer = text(&listener["LoadBalancerArn"]);
        let name = balancer.rsplit('/').nth(1).unwrap_or_default();
        names.push((arn, format!("listener({name} {})", text(&listener["Port"]))));
    }
    names.retain(|(generated, _)| !generated.is_empty());
    names
}

/// Takes out what is different in each run and nothing of a controller's.
pub(super) fn without_chance(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|key, _| !CHANCE.contains(&key.as_str()));
            fields.values_mut().for_each(without_chance);
        }
        Value::Array(items) => items.iter_mut().for_each(without_chance),
        _ => {}
    }
}
