//! EC2's calls about subnets, route tables, security groups and tags.

use aws_sdk_ec2::types::{
    self as sdk, Filter, IpPermission, IpRange, Ipv6Range, PrefixListId, ResourceType, Tag, TagSpecification,
    UserIdGroupPair,
};
use cloud_provider::cloud::Access;
use ipnet::IpNet;

use super::{Route, RouteTable, Rule, SecurityGroup, Source, Subnet, Tags, Traffic};
use crate::{
    client::{Client, Error, Result, Service, all_pages},
    cluster_id::ClusterId,
    provider_id::InstanceId,
};

/// How many entries one page of a listing has.
const PAGE: i32 = 500;

/// Which security groups to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Groups<'a> {
    /// All of a VPC.
    OfVpc(&'a str),
    /// Those of a VPC with this name: one or none.
    Named(&'a str, &'a str),
    /// Those with these IDs, of any VPC. IDs that do not exist are left out.
    Ids(&'a [String]),
}

/// Which route tables to read.
#[derive(Debug, Clone, Copy)]
pub enum RouteTables<'a> {
    /// All of a VPC.
    OfVpc(&'a str),
    /// The one with this ID; one that does not exist is left out.
    Id(&'a str),
    /// Those with one of the keys that a cluster's tags have, of any VPC.
    Of(&'a ClusterId),
}

/// A security group to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSecurityGroup<'a> {
    /// The name, unique in its VPC.
    pub name: &'a str,
    /// The description, which cannot be changed later.
    pub description: &'a str,
    /// The VPC.
    pub vpc: &'a str,
    /// Tags.
    pub tags: &'a Tags,
}

impl Client {
    /// All subnets of a VPC.
    pub async fn describe_subnets(&self, vpc: &str) -> Result<Vec<Subnet>> {
        self.subnets(filter("vpc-id", [vpc])).await
    }

    /// The subnets with these IDs, of any VPC; IDs that do not exist are left out.
    pub async fn describe_subnets_by_id(&self, ids: &[String]) -> Result<Vec<Subnet>> {
        self.subnets(filter("subnet-id", ids.iter().map(String::as_str))).await
    }

    async fn subnets(&self, filter: Filter) -> Result<Vec<Subnet>> {
        const OPERATION: &str = "DescribeSubnets";
        let request = self.ec2().describe_subnets().filters(filter).max_results(PAGE);
        all_pages(Service::Ec2, OPERATION, |token| {
            let request = request.clone().set_next_token(token);
            async move {
                let answer = self.call(Service::Ec2, OPERATION, Access::Read, request.send()).await?;
                let subnets = answer.subnets.unwrap_or_default().into_iter().filter_map(|subnet| {
                    Some(Subnet {
                        id: subnet.subnet_id.filter(|id| !id.is_empty())?,
                        vpc: subnet.vpc_id.unwrap_or_default(),
                        zone: subnet.availability_zone.unwrap_or_default(),
                        cidr: subnet.cidr_block.unwrap_or_default(),
                        ipv6: subnet.ipv6_cidr_block_association_set.unwrap_or_default().iter().any(is_associated),
                        tags: tags(subnet.tags),
                    })
                });
                Ok((subnets.collect(), answer.next_token))
            }
        })
        .await
    }

    /// The route tables asked for.
    pub async fn describe_route_tables(&self, which: RouteTables<'_>) -> Result<Vec<RouteTable>> {
        const OPERATION: &str = "DescribeRouteTables";
        let keys: Vec<String>;
        let filter = match which {
            RouteTables::OfVpc(vpc) => filter("vpc-id", [vpc]),
            RouteTables::Id(id) => filter("route-table-id", [id]),
            RouteTables::Of(cluster) => {
                keys = cluster.tag_keys();
                filter("tag-key", keys.iter().map(String::as_str))
            }
        };
        // The API allows 100 a page here.
        let request = self.ec2().describe_route_tables().filters(filter).max_results(100);
        let pages = all_pages(Service::Ec2, OPERATION, |token| {
            let request = request.clone().set_next_token(token);
            async move {
                let answer = self.call(Service::Ec2, OPERATION, Access::Read, request.send()).await?;
                let tables = answer.route_tables.unwrap_or_default().into_iter().map(route_table);
                Ok((tables.collect(), answer.next_token))
            }
        });
        self.timed("describe_route_tables", pages).await
    }

    /// Makes a route to an instance with one network interface.
    pub async fn create_route(&self, table: &str, destination: IpNet, instance: &InstanceId) -> Result<()> {
        let request = self.ec2().create_route().route_table_id(table).instance_id(instance.as_str());
        let request = match destination {
            IpNet::V4(_) => request.destination_cidr_block(destination.to_string()),
            IpNet::V6(_) => request.destination_ipv6_cidr_block(destination.to_string()),
        };
        self.call(Service::Ec2, "CreateRoute", Access::Write, request.send()).await.map(drop)
    }

    /// Removes a route, wherever it leads.
    pub async fn delete_route(&self, table: &str, destination: IpNet) -> Result<()> {
        let request = self.ec2().delete_route().route_table_id(table);
        let request = match destination {
            IpNet::V4(_) => request.destination_cidr_block(destination.to_string()),
            IpNet::V6(_) => request.destination_ipv6_cidr_block(destination.to_string()),
        };
        self.call(Service::Ec2, "DeleteRoute", Access::Write, request.send()).await.map(drop)
    }

    /// Lets an instance send and receive packets with addresses that are not its own.
    pub async fn disable_source_dest_check(&self, instance: &InstanceId) -> Result<()> {
        let off = sdk::AttributeBooleanValue::builder().value(false).build();
        let request = self.ec2().modify_instance_attribute().instance_id(instance.as_str()).source_dest_check(off);
        self.call(Service::Ec2, "ModifyInstanceAttribute", Access::Write, request.send()).await.map(drop)
    }

    /// The security groups asked for.
    pub async fn describe_security_groups(&self, which: Groups<'_>) -> Result<Vec<SecurityGroup>> {
        const OPERATION: &str = "DescribeSecurityGroups";
        // Filters leave out what does not exist; the parameter for IDs would fail the whole request.
        let filters = match which {
            Groups::OfVpc(vpc) => vec![filter("vpc-id", [vpc])],
            Groups::Named(vpc, name) => vec![filter("group-name", [name]), filter("vpc-id", [vpc])],
            Groups::Ids([]) => return Ok(Vec::new()),
            Groups::Ids(ids) => vec![filter("group-id", ids.iter().map(String::as_str))],
        };
        let request = self.ec2().describe_security_groups().set_filters(Some(filters)).max_results(PAGE);
        let pages = all_pages(Service::Ec2, OPERATION, |token| {
            let request = request.clone().set_next_token(token);
            async move {
                let answer = self.call(Service::Ec2, OPERATION, Access::Read, request.send()).await?;
                let groups = answer.security_groups.unwrap_or_default().into_iter().filter_map(security_group);
                Ok((groups.collect(), answer.next_token))
            }
        });
        self.timed("describe_security_groups", pages).await
    }

    /// Makes a security group and gives its ID.
    pub async fn create_security_group(&self, group: &NewSecurityGroup<'_>) -> Result<String> {
        const OPERATION: &str = "CreateSecurityGroup";
        let specification = TagSpecification::builder()
            .resource_type(ResourceType::SecurityGroup)
            .set_tags(Some(sdk_tags(group.tags)))
            .build();
        let request = self
            .ec2()
            .create_security_group()
            .group_name(group.name)
            .description(group.description)
            .vpc_id(group.vpc)
            .set_tag_specifications((!group.tags.is_empty()).then(|| vec![specification]));
        let answer = self.call(Service::Ec2, OPERATION, Access::Write, request.send()).await?;
        let id = answer.group_id.filter(|id| !id.is_empty());
        id.ok_or_else(|| Error::odd_answer(Service::Ec2, OPERATION, "the answer names no security group"))
    }

    /// Removes a security group.
    pub async fn delete_security_group(&self, id: &str) -> Result<()> {
        let request = self.ec2().delete_security_group().group_id(id).send();
        self.call(Service::Ec2, "DeleteSecurityGroup", Access::Write, request).await.map(drop)
    }

    /// Lets traffic into a security group. One rule that is there already fails all with `InvalidPermission.Duplicate`.
    pub async fn authorize_ingress(&self, group: &str, rules: &[Rule]) -> Result<()> {
        let request = self.ec2().authorize_security_group_ingress().group_id(group);
        let request = request.set_ip_permissions(Some(permissions(rules))).send();
        self.call(Service::Ec2, "AuthorizeSecurityGroupIngress", Access::Write, request).await.map(drop)
    }

    /// Takes rules out of a security group. What is not there is no failure in a VPC.
    pub async fn revoke_ingress(&self, group: &str, rules: &[Rule]) -> Result<()> {
        let request = self.ec2().revoke_security_group_ingress().group_id(group);
        let request = request.set_ip_permissions(Some(permissions(rules))).send();
        self.call(Service::Ec2, "RevokeSecurityGroupIngress", Access::Write, request).await.map(drop)
    }

    /// Sets tags of resources of EC2, at most a thousand. One that does not exist fails all.
    pub async fn create_tags(&self, resources: &[&str], tags: &Tags) -> Result<()> {
        let resources = resources.iter().map(|&resource| resource.to_owned()).collect();
        let request = self.ec2().create_tags().set_resources(Some(resources)).set_tags(Some(sdk_tags(tags))).send();
        let call = self.call(Service::Ec2, "CreateTags", Access::Write, request);
        self.timed("create_tags", call).await.map(drop)
    }

    /// Takes tags with exactly these values off resources of EC2, at most a thousand. One that does not exist fails all.
    pub async fn delete_tags(&self, resources: &[&str], tags: &Tags) -> Result<()> {
        let resources = resources.iter().map(|&resource| resource.to_owned()).collect();
        let request = self.ec2().delete_tags().set_resources(Some(resources)).set_tags(Some(sdk_tags(tags))).send();
        let call = self.call(Service::Ec2, "DeleteTags", Access::Write, request);
        self.timed("delete_tags", call).await.map(drop)
    }
}

fn is_associated(range: &sdk::SubnetIpv6CidrBlockAssociation) -> bool {
    let state = range.ipv6_cidr_block_state.as_ref().and_then(|state| state.state.as_ref());
    state.is_none_or(|state| *state == sdk::SubnetCidrBlockStateCode::Associated)
}

fn filter<'a>(name: &str, values: impl IntoIterator<Item = &'a str>) -> Filter {
    Filter::builder().name(name).set_values(Some(values.into_iter().map(str::to_owned).collect())).build()
}

fn tags(tags: Option<Vec<Tag>>) -> Tags {
    let tags = tags.unwrap_or_default().into_iter();
    tags.filter_map(|tag| Some((tag.key?, tag.value.unwrap_or_default()))).collect()
}

fn sdk_tags(tags: &Tags) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

fn route_table(table: sdk::RouteTable) -> RouteTable {
    let associations = table.associations.unwrap_or_default();
    RouteTable {
        id: table.route_table_id.unwrap_or_default(),
        main: associations.iter().any(|association| association.main == Some(true)),
        subnets: associations.into_iter().filter_map(|association| association.subnet_id).collect(),
        routes: table.routes.unwrap_or_default().into_iter().filter_map(route).collect(),
        tags: tags(table.tags),
    }
}

/// Routes to prefix lists are left out.
fn route(route: sdk::Route) -> Option<Route> {
    Some(Route {
        destination: route.destination_cidr_block.or(route.destination_ipv6_cidr_block)?,
        instance: route.instance_id.filter(|id| !id.is_empty()).map(|id| InstanceId::new(&id)),
        gateway: route.gateway_id,
        blackhole: route.state == Some(sdk::RouteState::Blackhole),
    })
}

fn security_group(group: sdk::SecurityGroup) -> Option<SecurityGroup> {
    Some(SecurityGroup {
        id: group.group_id.filter(|id| !id.is_empty())?,
        name: group.group_name.unwrap_or_default(),
        vpc: group.vpc_id.unwrap_or_default(),
        tags: tags(group.tags),
        ingress: group.ip_permissions.unwrap_or_default().into_iter().flat_map(rules).collect(),
    })
}

/// One rule for each source of a permission.
fn rules(permission: IpPermission) -> Vec<Rule> {
    let protocol = permission.ip_protocol.unwrap_or_default();
    let ports = permission.from_port.zip(permission.to_port).filter(|_| protocol != "-1");
    let ranges = permission.ip_ranges.into_iter().flatten();
    let ranges = ranges.filter_map(|range| Some((Source::Ipv4(range.cidr_ip?), range.description)));
    let ranges_v6 = permission.ipv6_ranges.into_iter().flatten();
    let ranges_v6 = ranges_v6.filter_map(|range| Some((Source::Ipv6(range.cidr_ipv6?), range.description)));
    let groups = permission.user_id_group_pairs.into_iter().flatten();
    let groups =
        groups.filter_map(|pair| Some((Source::Group { id: pair.group_id?, account: pair.user_id }, pair.description)));
    let lists = permission.prefix_list_ids.into_iter().flatten();
    let lists = lists.filter_map(|list| Some((Source::PrefixList(list.prefix_list_id?), list.description)));
    ranges
        .chain(ranges_v6)
        .chain(groups)
        .chain(lists)
        .map(|(source, description)| Rule {
            traffic: Traffic { protocol: protocol.clone(), ports, source },
            description: description.filter(|description| !description.is_empty()),
        })
        .collect()
}

fn permissions(rules: &[Rule]) -> Vec<IpPermission> {
    rules.iter().map(permission).collect()
}

fn permission(rule: &Rule) -> IpPermission {
    let Traffic { protocol, ports, source } = &rule.traffic;
    let description = rule.description.clone();
    let permission = IpPermission::builder()
        .ip_protocol(protocol)
        .set_from_port(ports.map(|(first, _)| first))
        .set_to_port(ports.map(|(_, last)| last));
    match source {
        Source::Ipv4(range) => {
            permission.ip_ranges(IpRange::builder().cidr_ip(range).set_description(description).build())
        }
        Source::Ipv6(range) => {
            permission.ipv6_ranges(Ipv6Range::builder().cidr_ipv6(range).set_description(description).build())
        }
        Source::Group { id, account } => permission.user_id_group_pairs(
            UserIdGroupPair::builder().group_id(id).set_user_id(account.clone()).set_description(description).build(),
        ),
        Source::PrefixList(id) => {
            permission.prefix_list_ids(PrefixListId::builder().prefix_list_id(id).set_description(description).build())
        }
    }
    .build()
}
