//! Accounts of moto, which answers much like AWS. It cannot be told what an account holds, and loads none: scenarios that need
//! that are left out, see `moto.skip`. Both controllers run, and the swap happens at the end of each scenario.

mod capture;
mod query;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context as _, bail, ensure};
use async_trait::async_trait;
use cloud_provider_testing::{
    compare::{Activity, Cloud, Clouds, Machine, Move, Scenario, State},
    gateway::{Gateway, Passed},
    http::Endpoint,
};
use http::{HeaderName, HeaderValue};
use query::{Api, Query};
use serde_json::Value;

use crate::account::{CLUSTER, REGION, access_key, annotation, cloud_config, environment, is_write};

/// One of the images that moto knows.
const IMAGE: &str = "ami-04681a1dbd79675a5";
const ZONES: [&str; 3] = ["a", "b", "c"];

/// One server; accounts are numbers.
pub(crate) struct Accounts {
    url: String,
    made: AtomicU64,
}

impl Accounts {
    pub(crate) fn new(url: &str) -> Self {
        Self { url: url.trim_end_matches('/').to_owned(), made: AtomicU64::new(0) }
    }
}

#[async_trait]
impl Clouds for Accounts {
    async fn cloud(&self, scenario: &Scenario) -> anyhow::Result<Arc<dyn Cloud>> {
        ensure!(scenario.account.is_null(), "moto's account cannot be changed as a simulator's");
        let account = format!("{:012}", 100_000_000_000 + self.made.fetch_add(1, Ordering::Relaxed));
        Ok(Arc::new(Account::start(&self.url, &account).await.context("set up an account of moto")?))
    }

    /// One `scenario: reason` per line.
    fn skipped(&self) -> BTreeMap<String, String> {
        let lines = include_str!("../../../compare/moto.skip").lines();
        let pairs = lines.filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(": "));
        pairs.map(|(name, reason)| (name.to_owned(), reason.to_owned())).collect()
    }

    fn accepted(&self) -> &'static str {
        "accepted-moto.yaml"
    }

    fn are_recorded(&self) -> bool {
        false
    }
}

/// An account behind a gateway of its own.
struct Account {
    gateway: Gateway,
    owner: Query,
    network: Network,
    /// What it held at the start, by kind and ID.
    fresh: Value,
    /// What was captured last, and after how many changes.
    captured: Mutex<Option<(u64, Value)>>,
    /// Changes by hand.
    changed: AtomicU64,
}

/// What a cluster stands in, as in the simulator's seed.
struct Network {
    vpc: String,
    /// Public ones, by zone.
    subnets: Vec<String>,
    group: String,
    /// Generated IDs, and what stands for them.
    names: Vec<(String, String)>,
}

impl Account {
    async fn start(url: &str, account: &str) -> anyhow::Result<Self> {
        let authority = url.strip_prefix("http://").context("moto's URL is not plain HTTP")?;
        let header = (HeaderName::from_static("x-moto-account-id"), HeaderValue::from_str(account)?);
        let gateway = Gateway::start(authority, header).await?;
        let owner = Query { endpoint: Endpoint::new(url)?, account: account.to_owned() };
        let network = Network::create(&owner).await?;
        let fresh = capture::everything(&owner).await?;
        let (captured, changed) = (Mutex::default(), AtomicU64::new(0));
        Ok(Self { gateway, owner, network, fresh, captured, changed })
    }

    /// How often something was changed, by anybody.
    fn changes(&self) -> u64 {
        let mut count = self.changed.load(Ordering::Relaxed);
        self.gateway.visit(|passed| count += u64::from(passed.status.is_success() && is_write(&action(passed))));
        count
    }
}

impl Network {
    async fn create(owner: &Query) -> anyhow::Result<Self> {
        let mut names = vec![(owner.account.clone(), "account".to_owned())];
        let vpc = owner.make("CreateVpc", &[("CidrBlock", "10.0.0.0/16")], "/vpc/vpcId").await?;
        let host_names = [("VpcId", vpc.as_str()), ("EnableDnsHostnames.Value", "true")];
        owner.call(Api::Ec2, "ModifyVpcAttribute", &host_names).await?;
        let gateway = owner.make("CreateInternetGateway", &[], "/internetGateway/internetGatewayId").await?;
        let both = [("InternetGatewayId", gateway.as_str()), ("VpcId", &vpc)];
        owner.call(Api::Ec2, "AttachInternetGateway", &both).await?;
        let of_vpc = [("Filter.1.Name", "vpc-id"), ("Filter.1.Value.1", vpc.as_str())];
        let main = owner.make("DescribeRouteTables", &of_vpc, "/routeTableSet/0/routeTableId").await?;
        let private = owner.make("CreateRouteTable", &[("VpcId", &vpc)], "/routeTable/routeTableId").await?;
        let route = [("RouteTableId", main.as_str()), ("DestinationCidrBlock", "0.0.0.0/0"), ("GatewayId", &gateway)];
        owner.call(Api::Ec2, "CreateRoute", &route).await?;
        let mut subnets = Vec::new();
        for (number, zone) in ZONES.iter().enumerate() {
            let public = (format!("10.0.{}.0/19", number * 32), "public", "elb");
            let inner = (format!("10.0.{}.0/20", 128 + number * 16), "private", "internal-elb");
            for (range, kind, role) in [public, inner] {
                let name = format!("{CLUSTER}-{kind}-{REGION}{zone}");
                let parameters = [
                    ("VpcId", vpc.as_str()),
                    ("CidrBlock", &range),
                    ("AvailabilityZone", &format!("{REGION}{zone}")),
                    ("TagSpecification.1.ResourceType", "subnet"),
                    ("TagSpecification.1.Tag.1.Key", "Name"),
                    ("TagSpecification.1.Tag.1.Value", &name),
                    ("TagSpecification.1.Tag.2.Key", &format!("kubernetes.io/cluster/{CLUSTER}")),
                    ("TagSpecification.1.Tag.2.Value", "owned"),
                    ("TagSpecification.1.Tag.3.Key", &format!("kubernetes.io/role/{role}")),
                    ("TagSpecification.1.Tag.3.Value", "1"),
                ];
                let subnet = owner.make("CreateSubnet", &parameters, "/subnet/subnetId").await?;
                names.push((subnet.clone(), format!("subnet({kind} {zone})")));
                if kind == "public" {
                    subnets.push(subnet);
                } else {
                    let both = [("RouteTableId", private.as_str()), ("SubnetId", &subnet)];
                    owner.call(Api::Ec2, "AssociateRouteTable", &both).await?;
                }
            }
        }
        let parameters = [
            ("GroupName", "nodes"),
            ("GroupDescription", "nodes of the cluster"),
            ("VpcId", vpc.as_str()),
            ("TagSpecification.1.ResourceType", "security-group"),
            ("TagSpecification.1.Tag.1.Key", &format!("kubernetes.io/cluster/{CLUSTER}")),
            ("TagSpecification.1.Tag.1.Value", "owned"),
        ];
        let group = owner.make("CreateSecurityGroup", &parameters, "/groupId").await?;
        for (id, name) in [(&vpc, "vpc"), (&gateway, "gateway"), (&main, "table(public)"), (&private, "table(private)")]
        {
            names.push((id.clone(), name.to_owned()));
        }
        names.push((group.clone(), "group(nodes)".to_owned()));
        Ok(Self { vpc, subnets, group, names })
    }
}

/// The action of a request.
fn action(passed: &Passed) -> String {
    let body = String::from_utf8_lossy(&passed.body);
    let action = body.split('&').find_map(|field| field.strip_prefix("Action="));
    action.unwrap_or_default().to_owned()
}

#[async_trait]
impl State for Account {
    async fn change(&self, _: &Value, _: &(dyn for<'a> Fn(&'a str) -> String + Send + Sync)) -> anyhow::Result<()> {
        bail!("moto's account cannot be changed as a simulator's")
    }

    async fn activity(&self) -> anyhow::Result<Activity> {
        let mut activity = Activity { calls: 0, writes: self.changes() };
        self.gateway.visit(|_| activity.calls += 1);
        Ok(activity)
    }

    async fn changes_by(&self, who: &str) -> anyhow::Result<Vec<String>> {
        let credential = format!("Credential={}/", access_key(who));
        let mut changes = Vec::new();
        self.gateway.visit(|passed| {
            let signed = passed.headers.get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
            if signed.is_some_and(|signed| signed.contains(&credential)) && is_write(&action(passed)) {
                changes.push(format!("{}: {}", passed.status, String::from_utf8_lossy(&passed.body)));
            }
        });
        Ok(changes)
    }

    /// A look at everything takes moto a second: it is taken only where something has changed.
    async fn capture(&self) -> anyhow::Result<Value> {
        let changes = self.changes();
        let known = self.captured.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, captured)) = known
            && at == changes
        {
            return Ok(captured);
        }
        let now = capture::everything(&self.owner).await?;
        let captured = capture::difference(&self.fresh, &now);
        *self.captured.lock().unwrap_or_else(PoisonError::into_inner) = Some((changes, captured.clone()));
        Ok(captured)
    }

    fn can_restore(&self) -> bool {
        false
    }

    async fn restore(&self, _: &Value) -> anyhow::Result<()> {
        bail!("moto loads no account")
    }
}

#[async_trait]
impl Cloud for Account {
    fn annotation(&self, short: &str) -> String {
        annotation(short)
    }

    async fn add_machine(&self, machine: &Machine) -> anyhow::Result<(String, String)> {
        ensure!(machine.machine.is_null(), "moto's instances cannot be changed as a simulator's");
        let number = machine.number();
        let zone = machine.zone.unwrap_or(number % ZONES.len());
        let address = format!("10.0.{}.{}", zone * 32, 10 + number);
        let name = format!("ip-{}.ec2.internal", address.replace('.', "-"));
        if !machine.exists {
            return Ok((format!("i-0{number:016x}"), name));
        }
        self.changed.fetch_add(1, Ordering::Relaxed);
        let subnet = self.network.subnets.get(zone).context("there are three zones")?;
        let parameters = [
            ("ImageId", IMAGE),
            ("InstanceType", "m5.large"),
            ("MinCount", "1"),
            ("MaxCount", "1"),
            ("SubnetId", subnet),
            ("PrivateIpAddress", &address),
            ("SecurityGroupId.1", &self.network.group),
            ("TagSpecification.1.ResourceType", "instance"),
            ("TagSpecification.1.Tag.1.Key", "Name"),
            ("TagSpecification.1.Tag.1.Value", &format!("node-{}", machine.name)),
            ("TagSpecification.1.Tag.2.Key", &format!("kubernetes.io/cluster/{CLUSTER}")),
            ("TagSpecification.1.Tag.2.Value", "owned"),
        ];
        let id = self.owner.make("RunInstances", &parameters, "/instancesSet/0/instanceId").await?;
        Ok((id, name))
    }

    async fn move_machine(&self, id: &str, to: Move) -> anyhow::Result<()> {
        let action = match to {
            Move::Start => "StartInstances",
            Move::Stop => "StopInstances",
            Move::Terminate => "TerminateInstances",
            Move::Forget => bail!("moto lists terminated instances for ever"),
        };
        self.owner.call(Api::Ec2, action, &[("InstanceId.1", id)]).await?;
        self.changed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn slowness(&self) -> u32 {
        5
    }

    fn normalise(&self, captured: &mut Value) -> Vec<(String, String)> {
        let mut names = self.network.names.clone();
        names.extend(capture::names(captured));
        capture::without_chance(captured);
        names
    }

    fn sets(&self) -> &'static [&'static str] {
        &capture::SETS
    }

    fn config(&self, keys: &BTreeMap<String, Value>) -> String {
        cloud_config(&self.network.vpc, &self.network.subnets[0], &self.gateway.url(), keys)
    }

    fn environment(&self, who: &str) -> Vec<(String, String)> {
        environment(who)
    }
}
