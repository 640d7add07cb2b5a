//! On moto, which answers much like AWS but checks little, with the roles of our chart in the cluster. Runs where `MOTO_URL`
//! names its endpoint.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::Context as _;
use async_trait::async_trait;
use aws_sdk_ec2::types::{Filter, InstanceType, ResourceType, Tag, TagSpecification};
use cloud_provider_testing::conformance::{
    self, Allocator, Controller, Declared, Disk, Disturbance, Factory, InstanceState, LoadBalancer, Run, Start, Subject,
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    account::Account,
    controller::{self, CLUSTER, Endpoint, REGION, Running},
    roles,
};

/// Names the endpoint of a running moto.
const MOTO_URL: &str = "MOTO_URL";
/// One of the images that moto knows.
const IMAGE: &str = "ami-04681a1dbd79675a5";

/// One server for all scenarios, emptied before each.
struct Moto {
    url: String,
}

impl Moto {
    /// Throws away all that moto holds.
    async fn empty(&self) -> anyhow::Result<()> {
        let address = self.url.strip_prefix("http://").context("moto's URL is not plain HTTP")?;
        let mut stream = TcpStream::connect(address).await.context("connect to moto")?;
        let request = format!(
            "POST /moto-api/reset HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        anyhow::ensure!(answer.starts_with("HTTP/1.1 200"), "moto did not reset: {answer}");
        Ok(())
    }
}

#[async_trait]
impl Factory for Moto {
    async fn subject(&self) -> anyhow::Result<Box<dyn Subject>> {
        self.empty().await?;
        let account = Account::open(&self.url, "testing", "testing").await;
        let network = Network::create(&account).await.context("make the cluster's network")?;
        let endpoint = Endpoint {
            url: self.url.clone(),
            access_key: "testing".into(),
            secret_key: "testing".into(),
            vpc: network.vpc.clone(),
            subnet: network.subnets[0].clone(),
            // moto has no black holes.
            route_table: None,
        };
        Ok(Box::new(OnMoto { account, endpoint, network }))
    }
}

/// A VPC with a public subnet in each zone and a group for nodes, tagged as a cluster's are.
struct Network {
    vpc: String,
    subnets: Vec<String>,
    group: String,
}

fn tags(kind: ResourceType, more: &[(&str, &str)]) -> TagSpecification {
    let cluster = format!("kubernetes.io/cluster/{CLUSTER}");
    let pairs = [(cluster.as_str(), "owned")].into_iter().chain(more.iter().copied());
    let tags = pairs.map(|(key, value)| Tag::builder().key(key).value(value).build()).collect();
    TagSpecification::builder().resource_type(kind).set_tags(Some(tags)).build()
}

impl Network {
    async fn create(account: &Account) -> anyhow::Result<Self> {
        let ec2 = &account.ec2;
        let answer =
            ec2.create_vpc().cidr_block("10.0.0.0/16").tag_specifications(tags(ResourceType::Vpc, &[])).send().await?;
        let vpc = answer.vpc().and_then(|vpc| vpc.vpc_id()).context("no VPC")?.to_owned();
        ec2.modify_vpc_attribute()
            .vpc_id(&vpc)
            .enable_dns_hostnames(aws_sdk_ec2::types::AttributeBooleanValue::builder().value(true).build())
            .send()
            .await?;
        let answer = ec2.create_internet_gateway().send().await?;
        let gateway =
            answer.internet_gateway().and_then(|gateway| gateway.internet_gateway_id()).context("no gateway")?;
        ec2.attach_internet_gateway().internet_gateway_id(gateway).vpc_id(&vpc).send().await?;
        let filter = Filter::builder().name("vpc-id").values(&vpc).build();
        let tables = ec2.describe_route_tables().filters(filter).send().await?;
        let table = tables.route_tables().first().and_then(|table| table.route_table_id()).context("no route table")?;
        ec2.create_route().route_table_id(table).destination_cidr_block("0.0.0.0/0").gateway_id(gateway).send().await?;
        let mut subnets = Vec::new();
        for (index, zone) in ["a", "b", "c"].iter().enumerate() {
            let role = [("kubernetes.io/role/elb", "1")];
            let answer = ec2
                .create_subnet()
                .vpc_id(&vpc)
                .cidr_block(format!("10.0.{index}.0/24"))
                .availability_zone(format!("{REGION}{zone}"))
                .tag_specifications(tags(ResourceType::Subnet, &role))
                .send()
                .await?;
            subnets.push(answer.subnet().and_then(|subnet| subnet.subnet_id()).context("no subnet")?.to_owned());
        }
        let answer = ec2
            .create_security_group()
            .group_name("nodes")
            .description("nodes of the cluster")
            .vpc_id(&vpc)
            .tag_specifications(tags(ResourceType::SecurityGroup, &[]))
            .send()
            .await?;
        let group = answer.group_id().context("no group")?.to_owned();
        Ok(Self { vpc, subnets, group })
    }
}

struct OnMoto {
    account: Account,
    endpoint: Endpoint,
    network: Network,
}

#[async_trait]
impl Subject for OnMoto {
    fn declared(&self) -> Declared {
        Declared {
            zones: true,
            instance_types: true,
            stopping: true,
            look_up: Some(("DescribeInstances".to_owned(), 100)),
            services: controller::services(),
            volumes: true,
            writes: controller::is_write,
            disturbances: Vec::new(),
            leader_election: true,
            grace: Duration::from_secs(60),
            routes: None,
            allocators: vec![Allocator::Cluster],
        }
    }

    fn roles(&self) -> Vec<Value> {
        roles::ours()
    }

    async fn start(&self, start: Start<'_>) -> anyhow::Result<Box<dyn Controller>> {
        Ok(Box::new(Running::start(&self.endpoint, start)?))
    }

    async fn add_instances(&self, count: usize) -> anyhow::Result<Vec<String>> {
        let mut names = Vec::new();
        for index in 0..count {
            let answer = self
                .account
                .ec2
                .run_instances()
                .image_id(IMAGE)
                .instance_type(InstanceType::T3Large)
                .min_count(1)
                .max_count(1)
                .subnet_id(&self.network.subnets[index % self.network.subnets.len()])
                .security_group_ids(&self.network.group)
                .tag_specifications(tags(ResourceType::Instance, &[]))
                .send()
                .await?;
            let name = answer.instances().first().and_then(|instance| instance.private_dns_name());
            names.push(name.context("an instance has no private DNS name")?.to_owned());
        }
        Ok(names)
    }

    async fn add_disk(&self) -> anyhow::Result<Disk> {
        let zone = format!("{REGION}a");
        let volume = self.account.ec2.create_volume().availability_zone(&zone).size(1).send().await?;
        Ok(controller::disk(volume.volume_id().context("a volume without an ID")?, &zone))
    }

    async fn set_instance(&self, node: &str, state: InstanceState) -> anyhow::Result<()> {
        self.account.set_instance(node, state).await
    }

    async fn load_balancers(&self) -> anyhow::Result<Vec<LoadBalancer>> {
        self.account.load_balancers().await
    }

    async fn remove_load_balancer(&self, id: &str) -> anyhow::Result<()> {
        self.account.remove_load_balancer(id).await
    }

    async fn belongings(&self) -> anyhow::Result<BTreeSet<String>> {
        self.account.belongings().await
    }

    async fn disturb(&self, disturbance: Disturbance) -> anyhow::Result<()> {
        anyhow::bail!("moto cannot be made {disturbance}")
    }

    async fn heal(&self) -> anyhow::Result<()> {
        Ok(())
    }

    /// Nobody counts on moto: what needs counts runs on the simulator.
    async fn calls(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        Ok(BTreeMap::from([("DescribeInstances".to_owned(), 1)]))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_controller_conforms_on_moto() {
    let Some(url) = std::env::var(MOTO_URL).ok() else {
        eprintln!("NOT RUN: {MOTO_URL} names no moto; `cargo xtask test` installs and starts one");
        return;
    };
    let skip = conformance::skip_list(include_str!("moto.skip"));
    conformance::run(&Moto { url }, Run { skip, concurrency: 1, ..Run::default() }).await.unwrap();
}
