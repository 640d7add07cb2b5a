//! Zones, VPCs and subnets.

use crate::{
    context::Context,
    ec2::{
        filters::{Filters, one},
        page, refuse_unknown, tag_set,
    },
    error::ApiError,
    model::{Subnet, Tags, Vpc},
    params::Params,
    xml::Xml,
};

pub(crate) fn describe_zones(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let (names, ids) = (params.list("ZoneName"), params.list("ZoneId"));
    params.parsed::<bool>("AllAvailabilityZones")?;
    let filters = Filters::of(params, &["region-name", "state", "zone-id", "zone-name", "zone-type"])?;
    let zones = &context.state.zones;
    if let Some(name) = names.iter().find(|name| !zones.contains_key(**name)) {
        return Err(ApiError::new("InvalidParameterValue", format!("Invalid availability zone: [{name}]")));
    }
    if let Some(id) = ids.iter().find(|id| !zones.values().any(|zone| zone.id == **id)) {
        return Err(ApiError::new("InvalidParameterValue", format!("Invalid availability zone-id: [{id}]")));
    }
    let region = &context.state.region;
    let found = zones.values().filter(|zone| {
        (names.is_empty() || names.contains(&zone.name.as_str()))
            && (ids.is_empty() || ids.contains(&zone.id.as_str()))
            && filters.pass(&Tags::new(), |name| match name {
                "region-name" => one(region),
                "state" => one("available"),
                "zone-id" => one(&zone.id),
                "zone-name" => one(&zone.name),
                "zone-type" => one(&zone.kind),
                _ => Vec::new(),
            })
    });
    let items = found.map(|zone| {
        let opt_in = if zone.kind == "availability-zone" { "opt-in-not-required" } else { "opted-in" };
        Xml::new()
            .text("optInStatus", opt_in)
            .node("messageSet", Xml::new())
            .text("regionName", region)
            .text("zoneName", &zone.name)
            .text("zoneId", &zone.id)
            .text("groupName", region)
            .text("networkBorderGroup", region)
            .text("zoneType", &zone.kind)
            .text("zoneState", "available")
    });
    Ok(Xml::new().list("availabilityZoneInfo", "item", items))
}

pub(crate) fn describe_vpcs(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let ids = params.list("VpcId");
    let filters = Filters::of(params, &["cidr", "state", "vpc-id"])?;
    let vpcs = &context.state.vpcs;
    refuse_unknown(&ids, |id| vpcs.contains_key(id), "InvalidVpcID.NotFound", "vpc")?;
    let found = vpcs.values().filter(|vpc| {
        (ids.is_empty() || ids.contains(&vpc.id.as_str()))
            && filters.pass(&vpc.tags, |name| match name {
                "cidr" => one(vpc.cidr),
                "state" => one("available"),
                "vpc-id" => one(&vpc.id),
                _ => Vec::new(),
            })
    });
    let (found, next) = page(params, found.collect(), |vpc: &Vpc| &vpc.id, (5, 1000))?;
    let items = found.into_iter().map(|vpc| {
        let block = Xml::new()
            .text("associationId", vpc.id.replacen("vpc-", "vpc-cidr-assoc-", 1))
            .text("cidrBlock", vpc.cidr)
            .node("cidrBlockState", Xml::new().text("state", "associated"));
        Xml::new()
            .text("ownerId", &context.state.account)
            .text("instanceTenancy", "default")
            .list("cidrBlockAssociationSet", "item", [block])
            .text("isDefault", false)
            .and(tag_set(&vpc.tags))
            .text("vpcId", &vpc.id)
            .text("state", "available")
            .text("cidrBlock", vpc.cidr)
    });
    Ok(Xml::new().list("vpcSet", "item", items).maybe("nextToken", next))
}

pub(crate) fn describe_subnets(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let ids = params.list("SubnetId");
    let known = ["availability-zone", "availability-zone-id", "cidr-block", "state", "subnet-id", "vpc-id"];
    let filters = Filters::of(params, &known)?;
    let state = &context.state;
    refuse_unknown(&ids, |id| state.subnets.contains_key(id), "InvalidSubnetID.NotFound", "subnet")?;
    let found = state.subnets.values().filter(|subnet| {
        (ids.is_empty() || ids.contains(&subnet.id.as_str()))
            && filters.pass(&subnet.tags, |name| match name {
                "availability-zone" => one(&subnet.zone),
                "availability-zone-id" => {
                    state.zones.get(&subnet.zone).map(|zone| zone.id.clone()).into_iter().collect()
                }
                "cidr-block" => one(subnet.cidr),
                "state" => one("available"),
                "subnet-id" => one(&subnet.id),
                "vpc-id" => one(&subnet.vpc),
                _ => Vec::new(),
            })
    });
    let (found, next) = page(params, found.collect(), |subnet: &Subnet| &subnet.id, (5, 1000))?;
    let items = found.into_iter().map(|subnet| {
        let size = 1_u64 << (32 - u32::from(subnet.cidr.prefix_len()));
        let used = state.all_interfaces().filter(|(interface, _)| interface.subnet == subnet.id);
        let used: usize = used.map(|(interface, _)| interface.private_ips.len()).sum();
        let ipv6 = subnet.ipv6_cidr.iter().map(|cidr| {
            Xml::new()
                .text("associationId", subnet.id.replacen("subnet-", "subnet-cidr-assoc-", 1))
                .text("ipv6CidrBlock", cidr)
                .node("ipv6CidrBlockState", Xml::new().text("state", "associated"))
        });
        Xml::new()
            .maybe("availabilityZoneId", state.zones.get(&subnet.zone).map(|zone| &zone.id))
            .text("ownerId", &state.account)
            .list("ipv6CidrBlockAssociationSet", "item", ipv6)
            .and(tag_set(&subnet.tags))
            .text("subnetArn", state.arn("ec2", &format!("subnet/{}", subnet.id)))
            .text("subnetId", &subnet.id)
            .text("state", "available")
            .text("vpcId", &subnet.vpc)
            .text("cidrBlock", subnet.cidr)
            .text("availableIpAddressCount", size.saturating_sub(5 + used as u64))
            .text("availabilityZone", &subnet.zone)
            .text("defaultForAz", false)
            .text("mapPublicIpOnLaunch", subnet.public_addresses)
    });
    Ok(Xml::new().list("subnetSet", "item", items).maybe("nextToken", next))
}
