//! An account as its owner sees it: read and changed with the official SDK.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use cloud_provider_testing::conformance::{InstanceState, LoadBalancer};

use crate::controller::REGION;

/// One account behind one endpoint.
pub(crate) struct Account {
    pub(crate) ec2: aws_sdk_ec2::Client,
    classic: aws_sdk_elasticloadbalancing::Client,
    network: aws_sdk_elasticloadbalancingv2::Client,
}

impl Account {
    /// Clients with these credentials.
    pub(crate) async fn open(url: &str, access_key: &str, secret_key: &str) -> Self {
        let config = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .endpoint_url(url)
            .credentials_provider(Credentials::new(access_key, secret_key, None, None, "test"))
            .load()
            .await;
        Self {
            ec2: aws_sdk_ec2::Client::new(&config),
            classic: aws_sdk_elasticloadbalancing::Client::new(&config),
            network: aws_sdk_elasticloadbalancingv2::Client::new(&config),
        }
    }

    /// The names of instances by ID; a node is named as its instance's private DNS name.
    pub(crate) async fn names(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let mut names = BTreeMap::new();
        let mut pages = self.ec2.describe_instances().into_paginator().send();
        while let Some(page) = pages.next().await {
            for instance in page?.reservations().iter().flat_map(|reservation| reservation.instances()) {
                let (id, name) = (instance.instance_id(), instance.private_dns_name());
                names.insert(id.unwrap_or_default().to_owned(), name.unwrap_or_default().to_owned());
            }
        }
        Ok(names)
    }

    pub(crate) async fn instance(&self, node: &str) -> anyhow::Result<String> {
        let names = self.names().await?;
        let found = names.into_iter().find(|(_, name)| name == node);
        found.map(|(id, _)| id).with_context(|| format!("no instance is named {node}"))
    }

    pub(crate) async fn set_instance(&self, node: &str, state: InstanceState) -> anyhow::Result<()> {
        let id = self.instance(node).await?;
        match state {
            InstanceState::Running => drop(self.ec2.start_instances().instance_ids(id).send().await?),
            InstanceState::Stopped => drop(self.ec2.stop_instances().instance_ids(id).send().await?),
            InstanceState::Terminated => drop(self.ec2.terminate_instances().instance_ids(id).send().await?),
        }
        Ok(())
    }

    pub(crate) async fn load_balancers(&self) -> anyhow::Result<Vec<LoadBalancer>> {
        let names = self.names().await?;
        let name_of = |id: &str| names.get(id).cloned().unwrap_or_else(|| id.to_owned());
        let mut all = Vec::new();
        let classic = self.classic.describe_load_balancers().send().await?;
        for balancer in classic.load_balancer_descriptions() {
            let listeners = balancer.listener_descriptions().iter().filter_map(|description| description.listener());
            all.push(LoadBalancer {
                id: balancer.load_balancer_name().unwrap_or_default().to_owned(),
                ingress: balancer.dns_name().unwrap_or_default().to_owned(),
                ports: listeners.map(|listener| listener.load_balancer_port()).collect(),
                backends: balancer
                    .instances()
                    .iter()
                    .filter_map(|instance| instance.instance_id())
                    .map(name_of)
                    .collect(),
            });
        }
        let network = self.network.describe_load_balancers().send().await?;
        for balancer in network.load_balancers() {
            let arn = balancer.load_balancer_arn().unwrap_or_default();
            let listeners = self.network.describe_listeners().load_balancer_arn(arn).send().await?;
            all.push(LoadBalancer {
                id: arn.to_owned(),
                ingress: balancer.dns_name().unwrap_or_default().to_owned(),
                ports: listeners.listeners().iter().filter_map(|listener| listener.port()).collect(),
                backends: self.targets(arn).await?.iter().map(|id| name_of(id)).collect(),
            });
        }
        Ok(all)
    }

    /// The instances that every target group of a load balancer holds.
    async fn targets(&self, arn: &str) -> anyhow::Result<BTreeSet<String>> {
        let groups = self.network.describe_target_groups().load_balancer_arn(arn).send().await?;
        let mut common: Option<BTreeSet<String>> = None;
        for group in groups.target_groups() {
            let arn = group.target_group_arn().unwrap_or_default();
            let health = self.network.describe_target_health().target_group_arn(arn).send().await?;
            let targets = health
                .target_health_descriptions()
                .iter()
                .filter(|description| {
                    let reason = description.target_health().and_then(|health| health.reason());
                    reason.is_none_or(|reason| reason.as_str() != "Target.DeregistrationInProgress")
                })
                .filter_map(|description| description.target().and_then(|target| target.id()).map(ToOwned::to_owned))
                .collect();
            common = Some(match common {
                None => targets,
                Some(common) => common.intersection(&targets).cloned().collect(),
            });
        }
        Ok(common.unwrap_or_default())
    }

    pub(crate) async fn remove_load_balancer(&self, id: &str) -> anyhow::Result<()> {
        if id.starts_with("arn:") {
            self.network.delete_load_balancer().load_balancer_arn(id).send().await?;
        } else {
            self.classic.delete_load_balancer().load_balancer_name(id).send().await?;
        }
        Ok(())
    }

    /// Load balancers, target groups, security groups and their rules.
    pub(crate) async fn belongings(&self) -> anyhow::Result<BTreeSet<String>> {
        let mut all: BTreeSet<String> =
            self.load_balancers().await?.into_iter().map(|balancer| format!("load balancer {}", balancer.id)).collect();
        let groups = self.network.describe_target_groups().send().await?;
        all.extend(
            groups
                .target_groups()
                .iter()
                .filter_map(|group| group.target_group_arn())
                .map(|arn| format!("target group {arn}")),
        );
        let groups = self.ec2.describe_security_groups().send().await?;
        for group in groups.security_groups() {
            let id = group.group_id().unwrap_or_default();
            all.insert(format!("security group {id} with tags {:?}", group.tags()));
            for rule in group.ip_permissions() {
                let about = format!("{id} {:?} {:?}-{:?}", rule.ip_protocol(), rule.from_port(), rule.to_port());
                all.extend(
                    rule.ip_ranges()
                        .iter()
                        .map(|range| format!("rule {about} {:?} {:?}", range.cidr_ip(), range.description())),
                );
                all.extend(rule.ipv6_ranges().iter().map(|range| format!("rule {about} {:?}", range.cidr_ipv6())));
                all.extend(rule.user_id_group_pairs().iter().map(|pair| format!("rule {about} {:?}", pair.group_id())));
            }
        }
        Ok(all)
    }
}
