//! The calls about network load balancers.

use std::collections::BTreeMap;

use aws_sdk_elasticloadbalancingv2::types::{
    self as sdk, Action, ActionTypeEnum, Certificate, IpAddressType, LoadBalancerAttribute, LoadBalancerSchemeEnum,
    LoadBalancerTypeEnum, ProtocolEnum, Tag, TargetDescription, TargetGroupAttribute, TargetTypeEnum,
};
use cloud_provider::cloud::Access;

use super::{
    Attributes, HealthCheck, Listener, ListenerSettings, LoadBalancer, NewLoadBalancer, NewTargetGroup, SubnetMapping,
    Target, TargetGroup,
};
use crate::client::{Client, Error, Result, Service, all_pages, network::Tags};

const SERVICE: Service = Service::ElbV2;
/// The reason of a target that is leaving.
const LEAVING: &str = "Target.DeregistrationInProgress";
/// How many entries one page has, the most that AWS gives.
const PAGE: i32 = 400;
/// How many targets one call registers or deregisters, as upstream has it.
pub const TARGETS: usize = 100;
/// How many resources one call about tags may name.
pub const TAGGED: usize = 20;

impl Client {
    /// The load balancer with this name, of any type.
    pub async fn network_load_balancer(&self, name: &str) -> Result<Option<LoadBalancer>> {
        let request = self.elbv2().describe_load_balancers().names(name).send();
        match self.call(SERVICE, "DescribeLoadBalancers", Access::Read, request).await {
            Ok(answer) => {
                let mut found = answer.load_balancers.unwrap_or_default().into_iter().filter_map(load_balancer);
                Ok(found.find(|found| found.name == name))
            }
            Err(error) if error.code() == Some("LoadBalancerNotFound") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All load balancers of the second API, of any type.
    pub async fn network_load_balancers(&self) -> Result<Vec<LoadBalancer>> {
        const OPERATION: &str = "DescribeLoadBalancers";
        let request = self.elbv2().describe_load_balancers().page_size(PAGE);
        all_pages(SERVICE, OPERATION, |marker| {
            let request = request.clone().set_marker(marker);
            async move {
                let answer = self.call(SERVICE, OPERATION, Access::Read, request.send()).await?;
                let found = answer.load_balancers.unwrap_or_default().into_iter().filter_map(load_balancer);
                Ok((found.collect(), answer.next_marker))
            }
        })
        .await
    }

    /// Makes a network load balancer.
    pub async fn create_network_load_balancer(
        &self,
        new: &NewLoadBalancer,
        security_groups: &[String],
    ) -> Result<LoadBalancer> {
        const OPERATION: &str = "CreateLoadBalancer";
        let request = self
            .elbv2()
            .create_load_balancer()
            .name(&new.name)
            .r#type(LoadBalancerTypeEnum::Network)
            .set_scheme(new.internal.then_some(LoadBalancerSchemeEnum::Internal))
            .set_subnet_mappings(Some(new.subnets.iter().map(subnet_mapping).collect()))
            .set_ip_address_type(new.dual_stack.then_some(IpAddressType::Dualstack))
            .set_security_groups((!security_groups.is_empty()).then(|| security_groups.to_vec()))
            .set_tags(tags(&new.tags));
        let answer = self.call(SERVICE, OPERATION, Access::Write, request.send()).await?;
        let made = answer.load_balancers.unwrap_or_default().into_iter().find_map(load_balancer);
        made.ok_or_else(|| Error::odd_answer(SERVICE, OPERATION, "the answer names no load balancer"))
    }

    /// Removes a load balancer with its listeners. One that does not exist is no failure.
    pub async fn delete_network_load_balancer(&self, arn: &str) -> Result<()> {
        let request = self.elbv2().delete_load_balancer().load_balancer_arn(arn).send();
        self.call(SERVICE, "DeleteLoadBalancer", Access::Write, request).await.map(drop)
    }

    /// Replaces the security groups of a load balancer that has some.
    pub async fn set_security_groups(&self, arn: &str, groups: &[String]) -> Result<()> {
        let request = self.elbv2().set_security_groups().load_balancer_arn(arn);
        let request = request.set_security_groups(Some(groups.to_vec())).send();
        self.call(SERVICE, "SetSecurityGroups", Access::Write, request).await.map(drop)
    }

    /// Replaces the subnets of a load balancer and the addresses given for them.
    pub async fn set_subnets(&self, arn: &str, subnets: &[SubnetMapping]) -> Result<()> {
        let request = self.elbv2().set_subnets().load_balancer_arn(arn);
        let request = request.set_subnet_mappings(Some(subnets.iter().map(subnet_mapping).collect())).send();
        self.call(SERVICE, "SetSubnets", Access::Write, request).await.map(drop)
    }

    /// Gives a load balancer IPv6 addresses besides those of IPv4, or takes them away.
    pub async fn set_dual_stack(&self, arn: &str, dual_stack: bool) -> Result<()> {
        let kind = if dual_stack { IpAddressType::Dualstack } else { IpAddressType::Ipv4 };
        let request = self.elbv2().set_ip_address_type().load_balancer_arn(arn).ip_address_type(kind).send();
        self.call(SERVICE, "SetIpAddressType", Access::Write, request).await.map(drop)
    }

    /// The tags of load balancers, target groups and listeners, by ARN. Upstream's documented policy does not permit to
    /// read them, so this is only for configurations that ask for it.
    pub async fn network_tags(&self, arns: &[String]) -> Result<BTreeMap<String, Tags>> {
        let mut all = BTreeMap::new();
        for arns in arns.chunks(TAGGED) {
            let request = self.elbv2().describe_tags().set_resource_arns(Some(arns.to_vec())).send();
            let answer = self.call(SERVICE, "DescribeTags", Access::Read, request).await?;
            all.extend(answer.tag_descriptions.unwrap_or_default().into_iter().filter_map(|found| {
                let tags = found.tags.unwrap_or_default().into_iter();
                let tags = tags.filter_map(|tag| Some((tag.key?, tag.value.unwrap_or_default()))).collect();
                Some((found.resource_arn?, tags))
            }));
        }
        Ok(all)
    }

    /// Sets tags of load balancers, target groups and listeners, at most [`TAGGED`]; others stay.
    pub async fn add_network_tags(&self, arns: &[String], new_tags: &Tags) -> Result<()> {
        let request = self.elbv2().add_tags().set_resource_arns(Some(arns.to_vec())).set_tags(tags(new_tags)).send();
        self.call(SERVICE, "AddTags", Access::Write, request).await.map(drop)
    }

    /// The attributes of a load balancer.
    pub async fn load_balancer_attributes(&self, arn: &str) -> Result<Attributes> {
        let request = self.elbv2().describe_load_balancer_attributes().load_balancer_arn(arn).send();
        let answer = self.call(SERVICE, "DescribeLoadBalancerAttributes", Access::Read, request).await?;
        let attributes = answer.attributes.unwrap_or_default().into_iter();
        Ok(attributes.filter_map(|attribute| Some((attribute.key?, attribute.value.unwrap_or_default()))).collect())
    }

    /// Sets some attributes of a load balancer.
    pub async fn modify_load_balancer_attributes(&self, arn: &str, attributes: &Attributes) -> Result<()> {
        let attributes = attributes.iter().map(|(key, value)| LoadBalancerAttribute::builder().key(key).value(value));
        let attributes = attributes.map(|attribute| attribute.build()).collect();
        let request = self.elbv2().modify_load_balancer_attributes().load_balancer_arn(arn);
        let request = request.set_attributes(Some(attributes)).send();
        self.call(SERVICE, "ModifyLoadBalancerAttributes", Access::Write, request).await.map(drop)
    }

    /// The listeners of a load balancer.
    pub async fn listeners(&self, load_balancer: &str) -> Result<Vec<Listener>> {
        const OPERATION: &str = "DescribeListeners";
        let request = self.elbv2().describe_listeners().load_balancer_arn(load_balancer);
        all_pages(SERVICE, OPERATION, |marker| {
            let request = request.clone().set_marker(marker);
            async move {
                let answer = self.call(SERVICE, OPERATION, Access::Read, request.send()).await?;
                let listeners = answer.listeners.unwrap_or_default().into_iter().filter_map(listener);
                Ok((listeners.collect(), answer.next_marker))
            }
        })
        .await
    }

    /// Makes a listener that forwards to a target group, and gives its ARN.
    pub async fn create_listener(
        &self,
        load_balancer: &str,
        settings: &ListenerSettings,
        target_group: &str,
        new_tags: &Tags,
    ) -> Result<String> {
        const OPERATION: &str = "CreateListener";
        let request = self
            .elbv2()
            .create_listener()
            .load_balancer_arn(load_balancer)
            .port(settings.port)
            .protocol(protocol(&settings.protocol))
            .default_actions(forward(target_group))
            .set_ssl_policy(settings.ssl_policy.clone())
            .set_certificates(certificates(settings))
            .set_tags(tags(new_tags));
        let answer = self.call(SERVICE, OPERATION, Access::Write, request.send()).await?;
        let made = answer.listeners.unwrap_or_default().into_iter().find_map(listener);
        made.map(|listener| listener.arn)
            .ok_or_else(|| Error::odd_answer(SERVICE, OPERATION, "the answer names no listener"))
    }

    /// Brings a listener to its settings and makes it forward to a target group.
    pub async fn modify_listener(&self, arn: &str, settings: &ListenerSettings, target_group: &str) -> Result<()> {
        let request = self
            .elbv2()
            .modify_listener()
            .listener_arn(arn)
            .port(settings.port)
            .protocol(protocol(&settings.protocol))
            .default_actions(forward(target_group))
            .set_ssl_policy(settings.ssl_policy.clone())
            .set_certificates(certificates(settings));
        self.call(SERVICE, "ModifyListener", Access::Write, request.send()).await.map(drop)
    }

    /// Removes a listener.
    pub async fn delete_listener(&self, arn: &str) -> Result<()> {
        let request = self.elbv2().delete_listener().listener_arn(arn).send();
        self.call(SERVICE, "DeleteListener", Access::Write, request).await.map(drop)
    }

    /// The target groups of a load balancer, or all of the region.
    pub async fn target_groups(&self, load_balancer: Option<&str>) -> Result<Vec<TargetGroup>> {
        const OPERATION: &str = "DescribeTargetGroups";
        let request = self.elbv2().describe_target_groups().page_size(PAGE);
        let request = request.set_load_balancer_arn(load_balancer.map(str::to_owned));
        all_pages(SERVICE, OPERATION, |marker| {
            let request = request.clone().set_marker(marker);
            async move {
                let answer = self.call(SERVICE, OPERATION, Access::Read, request.send()).await?;
                let groups = answer.target_groups.unwrap_or_default().into_iter().filter_map(target_group);
                Ok((groups.collect(), answer.next_marker))
            }
        })
        .await
    }

    /// Makes a target group of instances and gives its ARN. The same name with the same settings gives the group that
    /// is there already.
    pub async fn create_target_group(&self, vpc: &str, new: &NewTargetGroup) -> Result<String> {
        const OPERATION: &str = "CreateTargetGroup";
        let check = &new.health_check;
        let request = self
            .elbv2()
            .create_target_group()
            .name(&new.name)
            .vpc_id(vpc)
            .port(new.port)
            .protocol(protocol(&new.protocol))
            .target_type(TargetTypeEnum::Instance)
            .health_check_protocol(protocol(&check.protocol))
            .health_check_port(&check.port)
            .health_check_interval_seconds(check.interval)
            .healthy_threshold_count(check.healthy)
            .unhealthy_threshold_count(check.unhealthy)
            .set_health_check_timeout_seconds(check.timeout)
            .set_health_check_path(path(check))
            .set_tags(tags(&new.tags));
        let answer = self.call(SERVICE, OPERATION, Access::Write, request.send()).await?;
        let made = answer.target_groups.unwrap_or_default().into_iter().find_map(|group| group.target_group_arn);
        made.ok_or_else(|| Error::odd_answer(SERVICE, OPERATION, "the answer names no target group"))
    }

    /// Changes what can be changed of a target group's health check: all but protocol and interval.
    pub async fn modify_target_group(&self, arn: &str, check: &HealthCheck) -> Result<()> {
        let request = self
            .elbv2()
            .modify_target_group()
            .target_group_arn(arn)
            .health_check_port(&check.port)
            .healthy_threshold_count(check.healthy)
            .unhealthy_threshold_count(check.unhealthy)
            .set_health_check_timeout_seconds(check.timeout)
            .set_health_check_path(path(check));
        self.call(SERVICE, "ModifyTargetGroup", Access::Write, request.send()).await.map(drop)
    }

    /// Removes a target group that no listener uses.
    pub async fn delete_target_group(&self, arn: &str) -> Result<()> {
        let request = self.elbv2().delete_target_group().target_group_arn(arn).send();
        self.call(SERVICE, "DeleteTargetGroup", Access::Write, request).await.map(drop)
    }

    /// The attributes of a target group.
    pub async fn target_group_attributes(&self, arn: &str) -> Result<Attributes> {
        let request = self.elbv2().describe_target_group_attributes().target_group_arn(arn).send();
        let answer = self.call(SERVICE, "DescribeTargetGroupAttributes", Access::Read, request).await?;
        let attributes = answer.attributes.unwrap_or_default().into_iter();
        Ok(attributes.filter_map(|attribute| Some((attribute.key?, attribute.value.unwrap_or_default()))).collect())
    }

    /// Sets some attributes of a target group.
    pub async fn modify_target_group_attributes(&self, arn: &str, attributes: &Attributes) -> Result<()> {
        let attributes = attributes.iter().map(|(key, value)| TargetGroupAttribute::builder().key(key).value(value));
        let attributes = attributes.map(|attribute| attribute.build()).collect();
        let request = self.elbv2().modify_target_group_attributes().target_group_arn(arn);
        let request = request.set_attributes(Some(attributes)).send();
        self.call(SERVICE, "ModifyTargetGroupAttributes", Access::Write, request).await.map(drop)
    }

    /// The targets of a target group, without those that are leaving.
    pub async fn targets(&self, target_group: &str) -> Result<Vec<Target>> {
        let request = self.elbv2().describe_target_health().target_group_arn(target_group).send();
        let answer = self.call(SERVICE, "DescribeTargetHealth", Access::Read, request).await?;
        let targets = answer.target_health_descriptions.unwrap_or_default().into_iter().filter_map(|description| {
            let reason = description.target_health.and_then(|health| health.reason);
            if reason.is_some_and(|reason| reason.as_str() == LEAVING) {
                return None;
            }
            let target = description.target?;
            Some(Target { id: target.id?, port: target.port.unwrap_or_default() })
        });
        Ok(targets.collect())
    }

    /// Adds targets, at most [`TARGETS`].
    pub async fn register_targets(&self, target_group: &str, targets: &[Target]) -> Result<()> {
        let request = self.elbv2().register_targets().target_group_arn(target_group);
        let request = request.set_targets(Some(targets.iter().map(target).collect())).send();
        self.call(SERVICE, "RegisterTargets", Access::Write, request).await.map(drop)
    }

    /// Takes targets away, at most [`TARGETS`].
    pub async fn deregister_targets(&self, target_group: &str, targets: &[Target]) -> Result<()> {
        let request = self.elbv2().deregister_targets().target_group_arn(target_group);
        let request = request.set_targets(Some(targets.iter().map(target).collect())).send();
        self.call(SERVICE, "DeregisterTargets", Access::Write, request).await.map(drop)
    }
}

fn protocol(name: &str) -> ProtocolEnum {
    ProtocolEnum::from(name)
}

fn path(check: &HealthCheck) -> Option<String> {
    (check.protocol != "TCP" && !check.path.is_empty()).then(|| check.path.clone())
}

fn forward(target_group: &str) -> Action {
    Action::builder().r#type(ActionTypeEnum::Forward).target_group_arn(target_group).build()
}

fn certificates(settings: &ListenerSettings) -> Option<Vec<Certificate>> {
    let certificate = settings.certificate.as_deref()?;
    Some(vec![Certificate::builder().certificate_arn(certificate).build()])
}

fn target(target: &Target) -> TargetDescription {
    TargetDescription::builder().id(&target.id).port(target.port).build()
}

/// The API refuses an empty list.
fn tags(tags: &Tags) -> Option<Vec<Tag>> {
    let list = tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect();
    (!tags.is_empty()).then_some(list)
}

fn subnet_mapping(mapping: &SubnetMapping) -> sdk::SubnetMapping {
    sdk::SubnetMapping::builder()
        .subnet_id(&mapping.subnet)
        .set_allocation_id(mapping.allocation.clone())
        .set_private_ipv4_address(mapping.private_address.clone())
        .build()
}

fn text<T: AsRef<str>>(value: Option<T>) -> String {
    value.map(|value| value.as_ref().to_owned()).unwrap_or_default()
}

fn load_balancer(found: sdk::LoadBalancer) -> Option<LoadBalancer> {
    let subnets = found.availability_zones.unwrap_or_default().into_iter().filter_map(zone);
    Some(LoadBalancer {
        arn: found.load_balancer_arn.filter(|arn| !arn.is_empty())?,
        name: text(found.load_balancer_name),
        kind: text(found.r#type.as_ref().map(LoadBalancerTypeEnum::as_str)),
        dns_name: text(found.dns_name),
        state: text(found.state.and_then(|state| state.code).as_ref().map(sdk::LoadBalancerStateEnum::as_str)),
        internal: found.scheme == Some(LoadBalancerSchemeEnum::Internal),
        vpc: text(found.vpc_id),
        subnets: subnets.collect(),
        dual_stack: found.ip_address_type == Some(IpAddressType::Dualstack),
        security_groups: found.security_groups.unwrap_or_default(),
    })
}

fn zone(zone: sdk::AvailabilityZone) -> Option<SubnetMapping> {
    let addresses = zone.load_balancer_addresses.unwrap_or_default();
    Some(SubnetMapping {
        subnet: zone.subnet_id?,
        allocation: addresses.iter().find_map(|address| address.allocation_id.clone()),
        private_address: addresses.iter().find_map(|address| address.private_ipv4_address.clone()),
    })
}

fn listener(found: sdk::Listener) -> Option<Listener> {
    let certificate = found.certificates.unwrap_or_default().into_iter().find_map(|it| it.certificate_arn);
    Some(Listener {
        arn: found.listener_arn.filter(|arn| !arn.is_empty())?,
        port: found.port.unwrap_or_default(),
        protocol: text(found.protocol.as_ref().map(ProtocolEnum::as_str)),
        ssl_policy: found.ssl_policy.filter(|policy| !policy.is_empty()),
        certificate,
        target_group: found.default_actions.unwrap_or_default().into_iter().next().and_then(|it| it.target_group_arn),
    })
}

fn target_group(found: sdk::TargetGroup) -> Option<TargetGroup> {
    Some(TargetGroup {
        arn: found.target_group_arn.filter(|arn| !arn.is_empty())?,
        name: text(found.target_group_name),
        protocol: text(found.protocol.as_ref().map(ProtocolEnum::as_str)),
        port: found.port.unwrap_or_default(),
        vpc: text(found.vpc_id),
        target_type: text(found.target_type.as_ref().map(TargetTypeEnum::as_str)),
        health_check: HealthCheck {
            protocol: text(found.health_check_protocol.as_ref().map(ProtocolEnum::as_str)),
            port: text(found.health_check_port),
            path: text(found.health_check_path),
            interval: found.health_check_interval_seconds.unwrap_or_default(),
            healthy: found.healthy_threshold_count.unwrap_or_default(),
            unhealthy: found.unhealthy_threshold_count.unwrap_or_default(),
            timeout: found.health_check_timeout_seconds,
        },
        load_balancers: found.load_balancer_arns.unwrap_or_default(),
    })
}
