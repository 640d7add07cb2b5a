//! EC2's calls about instances, their topology, zones and network interfaces.

use std::collections::HashMap;

use aws_sdk_ec2::{
    operation::describe_instances::builders::DescribeInstancesFluentBuilder,
    types::{self as sdk, Filter},
};
use cloud_provider::cloud::Access;

use super::{
    Client, Result, Service, all_pages,
    ec2_types::{Instance, Interface, NetworkInterface, SecurityGroupRef, State, Zone},
};
use crate::{
    cluster_id::{ClusterId, LEGACY_TAG},
    provider_id::InstanceId,
};

/// How many instances one page of a listing has. The API allows 1,000; half of it halves the memory an answer takes.
pub const PAGE: usize = 500;
/// How many names one request takes: EC2 allows 200 values in all filters of a request together, and the states that
/// names are looked for in take five.
pub const FILTER_VALUES: usize = 200 - LIVING.len();
/// How many volumes one request asks for: all 200 values of its filters.
pub const VOLUMES: usize = 200;
/// How many IDs one DescribeInstanceTopology takes.
pub const TOPOLOGY_IDS: usize = 100;

/// The states of instances that a node name can stand for.
const LIVING: [&str; 5] = ["pending", "running", "shutting-down", "stopping", "stopped"];

impl Client {
    /// The instances with these IDs, in one request. One ID that does not exist fails it with
    /// `InvalidInstanceID.NotFound`.
    pub async fn instances_by_id(&self, ids: &[InstanceId]) -> Result<Vec<Instance>> {
        let ids = ids.iter().map(|id| id.as_str().to_owned()).collect();
        self.describe_instances(self.ec2().describe_instances().set_instance_ids(Some(ids))).await
    }

    /// The instances with these private DNS names, at most [`FILTER_VALUES`], that are not terminated, of all clusters.
    pub async fn instances_by_private_dns_name(&self, names: &[&str]) -> Result<Vec<Instance>> {
        let request = self
            .ec2()
            .describe_instances()
            .filters(filter("private-dns-name", names))
            .filters(filter("instance-state-name", &LIVING))
            .max_results(page_size());
        self.describe_instances(request).await
    }

    /// All instances with the cluster's tag, terminated ones too.
    pub async fn instances_of_cluster(&self, cluster: &ClusterId) -> Result<Vec<Instance>> {
        // Filters narrow each other, so that only one of the two tags can be asked for.
        let filter = if cluster.uses_legacy_tag() {
            filter(&format!("tag:{LEGACY_TAG}"), &[cluster.as_str()])
        } else {
            filter("tag-key", &[&cluster.tag_key()])
        };
        let request = self.ec2().describe_instances().filters(filter).max_results(page_size());
        self.describe_instances(request).await
    }

    async fn describe_instances(&self, request: DescribeInstancesFluentBuilder) -> Result<Vec<Instance>> {
        const OPERATION: &str = "DescribeInstances";
        let pages = all_pages(Service::Ec2, OPERATION, |token| {
            let request = request.clone().set_next_token(token);
            async move {
                let answer = self.call(Service::Ec2, OPERATION, Access::Read, request.send()).await?;
                let reservations = answer.reservations.unwrap_or_default();
                let instances =
                    reservations.into_iter().flat_map(|reservation| reservation.instances.unwrap_or_default());
                Ok((instances.filter_map(instance).collect(), answer.next_token))
            }
        });
        self.timed("describe_instance", pages).await
    }

    /// The network nodes above each of these instances, from the top; at most [`TOPOLOGY_IDS`]. Instances whose type has
    /// no topology are left out.
    pub async fn instance_topology(&self, ids: &[InstanceId]) -> Result<HashMap<InstanceId, Vec<String>>> {
        const OPERATION: &str = "DescribeInstanceTopology";
        let ids = ids.iter().map(|id| id.as_str().to_owned()).collect();
        let request = self.ec2().describe_instance_topology().set_instance_ids(Some(ids));
        let pages = all_pages(Service::Ec2, OPERATION, |token| {
            let request = request.clone().set_next_token(token);
            async move {
                let answer = self.call(Service::Ec2, OPERATION, Access::Read, request.send()).await?;
                let found = answer.instances.unwrap_or_default().into_iter().filter_map(|instance| {
                    let nodes = instance.network_nodes.unwrap_or_default();
                    Some((InstanceId::new(&instance.instance_id?), nodes))
                });
                Ok((found.collect(), answer.next_token))
            }
        });
        pages.await.map(|found: Vec<_>| found.into_iter().collect())
    }

    /// The zones of the region that the account may use.
    pub async fn availability_zones(&self) -> Result<Vec<Zone>> {
        let request = self.ec2().describe_availability_zones().send();
        let answer = self.call(Service::Ec2, "DescribeAvailabilityZones", Access::Read, request).await?;
        let zone = |zone: sdk::AvailabilityZone| {
            Some(Zone {
                name: zone.zone_name?,
                id: zone.zone_id.unwrap_or_default(),
                kind: zone.zone_type.unwrap_or_default(),
            })
        };
        Ok(answer.availability_zones.unwrap_or_default().into_iter().filter_map(zone).collect())
    }

    /// The zones of the EBS volumes with these IDs, at most [`VOLUMES`]; those that do not exist are left out.
    pub async fn volume_zones(&self, ids: &[&str]) -> Result<Vec<(String, String)>> {
        const OPERATION: &str = "DescribeVolumes";
        let request = self.ec2().describe_volumes().filters(filter("volume-id", ids));
        let pages = all_pages(Service::Ec2, OPERATION, |token| {
            let request = request.clone().set_next_token(token);
            async move {
                let answer = self.call(Service::Ec2, OPERATION, Access::Read, request.send()).await?;
                let volumes = answer.volumes.unwrap_or_default().into_iter();
                let found = volumes.filter_map(|volume| Some((volume.volume_id?, volume.availability_zone?)));
                Ok((found.collect(), answer.next_token))
            }
        });
        pages.await
    }

    /// The attached network interfaces of a VPC with these private IPv4 addresses, at most [`FILTER_VALUES`].
    pub async fn network_interfaces(&self, vpc: &str, addresses: &[&str]) -> Result<Vec<NetworkInterface>> {
        const OPERATION: &str = "DescribeNetworkInterfaces";
        let request = self
            .ec2()
            .describe_network_interfaces()
            .filters(filter("attachment.status", &["attached"]))
            .filters(filter("vpc-id", &[vpc]))
            .filters(filter("private-ip-address", addresses));
        let pages = all_pages(Service::Ec2, OPERATION, |token| {
            let request = request.clone().set_next_token(token);
            async move {
                let answer = self.call(Service::Ec2, OPERATION, Access::Read, request.send()).await?;
                let interfaces = answer.network_interfaces.unwrap_or_default();
                Ok((interfaces.into_iter().map(network_interface).collect(), answer.next_token))
            }
        });
        self.timed("describe_network_interfaces", pages).await
    }
}

fn page_size() -> i32 {
    i32::try_from(PAGE).unwrap_or(i32::MAX)
}

fn filter(name: &str, values: &[&str]) -> Filter {
    Filter::builder().name(name).set_values(Some(values.iter().map(|&value| value.to_owned()).collect())).build()
}

/// An instance without an ID is nobody's; it is left out.
fn instance(instance: sdk::Instance) -> Option<Instance> {
    let placement = instance.placement;
    let (zone, zone_id) = placement.map_or_else(Default::default, |placement| {
        (placement.availability_zone.unwrap_or_default(), placement.availability_zone_id.unwrap_or_default())
    });
    let groups =
        instance.security_groups.unwrap_or_default().into_iter().filter_map(|group| {
            Some(SecurityGroupRef { id: group.group_id?, name: group.group_name.unwrap_or_default() })
        });
    let tags = instance.tags.unwrap_or_default().into_iter();
    Some(Instance {
        id: InstanceId::new(&instance.instance_id.filter(|id| !id.is_empty())?),
        state: state(instance.state.and_then(|state| state.name)),
        instance_type: instance.instance_type.map(|name| name.as_str().to_owned()).unwrap_or_default(),
        zone,
        zone_id,
        private_dns_name: instance.private_dns_name.unwrap_or_default(),
        public_dns_name: instance.public_dns_name.unwrap_or_default(),
        public_ip: instance.public_ip_address.unwrap_or_default(),
        vpc: instance.vpc_id.unwrap_or_default(),
        subnet: instance.subnet_id.unwrap_or_default(),
        tags: tags.filter_map(|tag| Some((tag.key?, tag.value.unwrap_or_default()))).collect(),
        security_groups: groups.collect(),
        interfaces: instance.network_interfaces.unwrap_or_default().into_iter().map(interface).collect(),
    })
}

fn state(name: Option<sdk::InstanceStateName>) -> State {
    match name {
        Some(sdk::InstanceStateName::Pending) => State::Pending,
        Some(sdk::InstanceStateName::Running) => State::Running,
        Some(sdk::InstanceStateName::ShuttingDown) => State::ShuttingDown,
        Some(sdk::InstanceStateName::Terminated) => State::Terminated,
        Some(sdk::InstanceStateName::Stopping) => State::Stopping,
        Some(sdk::InstanceStateName::Stopped) => State::Stopped,
        _ => State::Unknown,
    }
}

fn interface(interface: sdk::InstanceNetworkInterface) -> Interface {
    let private = interface.private_ip_addresses.unwrap_or_default().into_iter();
    let ipv6 = interface.ipv6_addresses.unwrap_or_default().into_iter();
    Interface {
        in_use: interface.status == Some(sdk::NetworkInterfaceStatus::InUse),
        device_index: interface.attachment.and_then(|attachment| attachment.device_index),
        private_ips: private.filter_map(|address| address.private_ip_address).collect(),
        ipv6_addresses: ipv6.filter_map(|address| address.ipv6_address).collect(),
    }
}

fn network_interface(interface: sdk::NetworkInterface) -> NetworkInterface {
    let ipv6 = interface.ipv6_addresses.unwrap_or_default().into_iter();
    NetworkInterface {
        private_ip: interface.private_ip_address.unwrap_or_default(),
        private_dns_name: interface.private_dns_name.unwrap_or_default(),
        ipv6_addresses: ipv6.filter_map(|address| address.ipv6_address).collect(),
        zone: interface.availability_zone.unwrap_or_default(),
    }
}
