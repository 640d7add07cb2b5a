//! Route tables.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::{
    context::Context,
    ec2::{
        filters::{Filters, one},
        instances, page, refuse_unknown, tag_set,
    },
    error::ApiError,
    model::{InstanceState, Route, RouteTable, RouteTarget},
    params::Params,
    state::State,
    xml::Xml,
};

const FILTERS: &[&str] = &[
    "association.main",
    "association.route-table-id",
    "association.subnet-id",
    "route-table-id",
    "route.destination-cidr-block",
    "vpc-id",
];

pub(crate) fn describe(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let ids = params.list("RouteTableId");
    let filters = Filters::of(params, FILTERS)?;
    let state = &context.state;
    refuse_unknown(&ids, |id| state.route_tables.contains_key(id), "InvalidRouteTableID.NotFound", "routeTable")?;
    let found = state.route_tables.values().filter(|table| {
        (ids.is_empty() || ids.contains(&table.id.as_str()))
            && filters.pass(&table.tags, |name| match name {
                "association.main" => one(table.main),
                "association.subnet-id" => table.subnets.iter().cloned().collect(),
                "association.route-table-id" | "route-table-id" => one(&table.id),
                "route.destination-cidr-block" => table.routes.iter().map(|route| route.destination.clone()).collect(),
                "vpc-id" => one(&table.vpc),
                _ => Vec::new(),
            })
    });
    let (found, next) = page(params, found.collect(), |table: &RouteTable| &table.id, (5, 100))?;
    let items = found.into_iter().map(|table| item(state, context.now, table));
    Ok(Xml::new().list("routeTableSet", "item", items).maybe("nextToken", next))
}

fn item(state: &State, now: jiff::Timestamp, table: &RouteTable) -> Xml {
    let association = |subnet: Option<&String>| {
        let of = subnet.unwrap_or(&table.id);
        let id = of.split_once('-').map_or(of.as_str(), |(_, id)| id);
        Xml::new()
            .text("main", subnet.is_none())
            .text("routeTableAssociationId", format!("rtbassoc-{id}"))
            .text("routeTableId", &table.id)
            .maybe("subnetId", subnet)
            .node("associationState", Xml::new().text("state", "associated"))
    };
    let main = table.main.then(|| association(None));
    let associations = main.into_iter().chain(table.subnets.iter().map(|subnet| association(Some(subnet))));
    let local = state.vpcs.get(&table.vpc).map(|vpc| {
        Xml::new()
            .text("destinationCidrBlock", vpc.cidr)
            .text("gatewayId", "local")
            .text("origin", "CreateRouteTable")
            .text("state", "active")
    });
    let routes = local.into_iter().chain(table.routes.iter().map(|route| route_item(state, now, route)));
    Xml::new()
        .list("associationSet", "item", associations)
        .node("propagatingVgwSet", Xml::new())
        .text("routeTableId", &table.id)
        .list("routeSet", "item", routes)
        .and(tag_set(&table.tags))
        .text("vpcId", &table.vpc)
        .text("ownerId", &state.account)
}

fn route_item(state: &State, now: jiff::Timestamp, route: &Route) -> Xml {
    let key = if route.destination.contains(':') { "destinationIpv6CidrBlock" } else { "destinationCidrBlock" };
    let item = Xml::new().text(key, &route.destination);
    let (item, active) = match &route.target {
        RouteTarget::Gateway(id) => (item.text("gatewayId", id), true),
        RouteTarget::NatGateway(id) => (item.text("natGatewayId", id), true),
        RouteTarget::Interface(id) => {
            (item.text("networkInterfaceId", id), state.all_interfaces().any(|(interface, _)| interface.id == *id))
        }
        RouteTarget::Instance(id) => {
            let instance = state.instances.get(id);
            let interface = instance.and_then(|instance| instance.primary()).map(|interface| &interface.id);
            let item = item
                .text("instanceId", id)
                .text("instanceOwnerId", &state.account)
                .maybe("networkInterfaceId", interface);
            (item, instance.is_some_and(|instance| instance.state_at(now) == InstanceState::Running))
        }
    };
    item.text("origin", "CreateRoute").text("state", if active { "active" } else { "blackhole" })
}

/// The destination that the request gives, in canonical form.
fn destination(params: &Params<'_>) -> Result<String, ApiError> {
    let malformed = |text: &str| {
        ApiError::new(
            "InvalidParameterValue",
            format!("Value ({text}) for parameter destinationCidrBlock is invalid. This is not a valid CIDR block."),
        )
    };
    match (params.optional("DestinationCidrBlock"), params.optional("DestinationIpv6CidrBlock")) {
        (Some(text), None) => text.parse::<Ipv4Net>().map(|net| net.trunc().to_string()).map_err(|_| malformed(text)),
        (None, Some(text)) => text.parse::<Ipv6Net>().map(|net| net.trunc().to_string()).map_err(|_| malformed(text)),
        (None, None) => Err(params.missing("destinationCidrBlock")),
        (Some(_), Some(_)) => {
            let text = "The parameter destinationCidrBlock cannot be used with the parameter destinationIpv6CidrBlock";
            Err(ApiError::new("InvalidParameterCombination", text))
        }
    }
}

fn table<'a>(context: &'a mut Context<'_>, id: &str) -> Result<&'a mut RouteTable, ApiError> {
    let missing = || ApiError::new("InvalidRouteTableID.NotFound", format!("The routeTable ID '{id}' does not exist"));
    context.state.route_tables.get_mut(id).ok_or_else(missing)
}

pub(crate) fn create(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let id = params.required("RouteTableId")?;
    let destination = destination(params)?;
    let given = [
        params.optional("InstanceId").map(|id| RouteTarget::Instance(id.into())),
        params.optional("NetworkInterfaceId").map(|id| RouteTarget::Interface(id.into())),
        params.optional("GatewayId").map(|id| RouteTarget::Gateway(id.into())),
        params.optional("NatGatewayId").map(|id| RouteTarget::NatGateway(id.into())),
    ];
    let mut targets = given.into_iter().flatten();
    let (Some(target), None) = (targets.next(), targets.next()) else {
        let text = "The request must contain exactly one of gatewayId, natGatewayId, networkInterfaceId or instanceId";
        return Err(ApiError::new("InvalidParameterCombination", text));
    };
    let vpc = table(context, id)?.vpc.clone();
    check_target(context, &target, &vpc)?;
    if let (Some(vpc), Ok(asked)) = (context.state.vpcs.get(&vpc), destination.parse::<IpNet>())
        && IpNet::V4(vpc.cidr) == asked
    {
        let text = format!("The destination {destination} is the local route of the VPC");
        return Err(ApiError::new("InvalidParameterValue", text));
    }
    let most = context.knobs.quotas.routes_per_table;
    let table = table(context, id)?;
    if let Some(existing) = table.routes.iter().find(|route| route.destination == destination) {
        if existing.target == target {
            return Ok(Xml::succeeded());
        }
        return Err(ApiError::new(
            "RouteAlreadyExists",
            format!("The route identified by {destination} already exists."),
        ));
    }
    if table.routes.len() >= most {
        let text = format!("The maximum number of routes has been reached for route table '{id}'");
        return Err(ApiError::new("RouteLimitExceeded", text));
    }
    table.routes.push(Route { destination, target });
    Ok(Xml::succeeded())
}

fn check_target(context: &Context<'_>, target: &RouteTarget, vpc: &str) -> Result<(), ApiError> {
    match target {
        RouteTarget::Instance(id) => {
            let instance = instances::find(context, id)?;
            if instance.interfaces.len() > 1 {
                let text = format!(
                    "There are multiple interfaces attached to instance '{id}'. Please specify an interface ID for the operation instead."
                );
                return Err(ApiError::new("InvalidInstanceID", text));
            }
            if instance.state == InstanceState::Terminated || context.state.vpc_of_subnet(&instance.subnet) != Some(vpc)
            {
                let text = format!("route table and instance '{id}' belong to different networks");
                return Err(ApiError::new("InvalidParameterValue", text));
            }
            Ok(())
        }
        RouteTarget::Interface(id) => {
            let known = |(interface, _): (&crate::model::NetworkInterface, _)| interface.id == *id;
            if context.state.all_interfaces().any(known) {
                return Ok(());
            }
            let text = format!("The networkInterface ID '{id}' does not exist");
            Err(ApiError::new("InvalidNetworkInterfaceID.NotFound", text))
        }
        RouteTarget::Gateway(_) | RouteTarget::NatGateway(_) => Ok(()),
    }
}

pub(crate) fn delete(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let id = params.required("RouteTableId")?;
    let destination = destination(params)?;
    let table = table(context, id)?;
    let before = table.routes.len();
    table.routes.retain(|route| route.destination != destination);
    if table.routes.len() == before {
        let text = format!("no route with destination-cidr-block {destination} in route table {id}");
        return Err(ApiError::new("InvalidRoute.NotFound", text));
    }
    Ok(Xml::succeeded())
}
