//! Answers of AWS as they must never be: truncated, of wrong types, with members missing, empty, twice, unknown, enormous or
//! nested without end. No reader panics, and what belongs to others stays as it is.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use cloud_provider::{
    cloud::{Gate, Mode},
    cluster::objects::Service,
    metrics::Metrics,
};
use cloud_provider_aws::{
    client::{
        Client, Imds,
        network::{Groups, RouteTables},
    },
    cluster_id::ClusterId,
    provider_id::InstanceId,
};
use cloud_provider_aws_simulator::{Policy, Seed};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::{
    driver::{Driver, NODES, service, tcp},
    support::{Setup, credentials, settings},
};

const VPC: &str = "vpc-0a1b2c3d4e5f60001";

/// Numbers that look random and are the same in every run (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }
}

/// Where the elements that hold nothing but text begin and end, with the places of their text.
fn leaves(document: &str) -> Vec<(usize, usize, usize, usize)> {
    let mut leaves = Vec::new();
    for (start, _) in document.match_indices('<') {
        let Some(open) = document[start..].find('>').map(|end| start + end) else { break };
        let name = &document[start + 1..open];
        let closing = format!("</{name}>");
        let Some(text_end) = document[open + 1..].find('<').map(|end| open + 1 + end) else { break };
        if !name.starts_with(['/', '?']) && document[text_end..].starts_with(&closing) {
            leaves.push((start, open + 1, text_end, text_end + closing.len()));
        }
    }
    leaves
}

/// One thing that is wrong with a document.
fn mangled(document: &str, numbers: &mut Numbers) -> Vec<u8> {
    let leaves = leaves(document);
    let (start, text, text_end, end) = match leaves.get(numbers.below(leaves.len())) {
        Some(leaf) => *leaf,
        None => return document.as_bytes()[..document.len() / 2].to_vec(),
    };
    let with_text = |new: &str| format!("{}{new}{}", &document[..text], &document[text_end..]);
    let with_element = |new: &str| format!("{}{new}{}", &document[..start], &document[end..]);
    let (leaf, name) = (&document[start..end], &document[start + 1..text - 1]);
    let deep = |times: usize| format!("{}{}{}", "<deep>".repeat(times), leaf, "</deep>".repeat(times));
    let document = match numbers.below(18) {
        0 => document[..numbers.below(document.len())].to_owned(),
        1 => with_text("99999999999999999999999999999999"),
        2 => with_text("-2147483649"),
        3 => with_text("-1"),
        4 => with_text("1e400"),
        5 => with_text(""),
        6 => with_text("&#x1F600;&lt;b&gt;&amp;"),
        7 => with_text(&"x".repeat(100_000)),
        8 => with_element(""),
        9 => with_element(&leaf.repeat(2)),
        10 => with_element(&format!("<Unknown a=\"b\"><c/>{leaf}</Unknown>{leaf}")),
        11 => with_element(&format!("<{name}/>")),
        12 => with_element(&format!("<{name}><member><{name}>1</{name}></member></{name}>")),
        13 => with_element(&deep(5_000)),
        14 => with_text("&undefined;"),
        15 => with_element(&format!("<NextMarker>{name}</NextMarker><nextToken>{name}</nextToken>{leaf}")),
        16 => String::new(),
        _ => "<html><body>503</body></html>".to_owned(),
    };
    document.into_bytes()
}

/// Stands between the provider and the simulator, and mangles some of the answers to reads.
struct Mangler {
    url: String,
    /// Of 256 answers to reads, so many are mangled.
    share: Arc<AtomicU64>,
    mangled: Arc<AtomicU64>,
    _connections: JoinSet<()>,
}

impl Mangler {
    async fn before(simulator: &str, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let simulator = simulator.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let (share, mangled) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let mut connections = JoinSet::new();
        let (shared, counted) = (share.clone(), mangled.clone());
        connections.spawn(async move {
            let mut open = JoinSet::new();
            for number in 0.. {
                let Ok((client, _)) = listener.accept().await else { return };
                let (simulator, shared, counted) = (simulator.clone(), shared.clone(), counted.clone());
                open.spawn(async move {
                    let server = TcpStream::connect(simulator).await?;
                    relay(client, server, Numbers(seed ^ (number << 32)), &shared, &counted).await
                });
            }
        });
        Self { url, share, mangled, _connections: connections }
    }

    fn mangle(&self, share: u64) {
        self.share.store(share, Ordering::SeqCst);
    }
}

/// One connection: requests go on as they are.
async fn relay(
    mut client: TcpStream,
    mut server: TcpStream,
    mut numbers: Numbers,
    share: &AtomicU64,
    mangled_answers: &AtomicU64,
) -> io::Result<()> {
    loop {
        let (head, body) = message(&mut client).await?;
        let is_read = body.windows(15).any(|window| window == b"Action=Describe");
        server.write_all(&[head.as_bytes(), &body].concat()).await?;
        let (head, body) = message(&mut server).await?;
        let is_good = head.starts_with("HTTP/1.1 200");
        let body = match String::from_utf8(body) {
            Ok(body) if is_read && is_good && numbers.next() % 256 < share.load(Ordering::SeqCst) => {
                mangled_answers.fetch_add(1, Ordering::SeqCst);
                mangled(&body, &mut numbers)
            }
            Ok(body) => body.into_bytes(),
            Err(error) => error.into_bytes(),
        };
        let lines = head.split("\r\n").filter(|line| !line.to_ascii_lowercase().starts_with("content-length:"));
        let head: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
        let head = format!("{}\r\ncontent-length: {}\r\n\r\n", head.join("\r\n"), body.len());
        client.write_all(&[head.as_bytes(), &body].concat()).await?;
    }
}

/// The head and the body of a message whose head says how long its body is.
async fn message(stream: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let mut body = bytes.split_off(end);
    let head = String::from_utf8(bytes).map_err(io::Error::other)?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    while body.len() < length.unwrap_or(0) {
        if stream.read_buf(&mut body).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok((head, body))
}

async fn client_of(url: &str) -> Client {
    let settings = settings(url, "us-east-1", None);
    Client::with_credentials(&settings, Some(credentials()), Gate::open(), &Metrics::new()).await
}

fn network() -> Service {
    service("11111111-2222-3333-4444-555555555555", json!([tcp(80, 30080), tcp(443, 30443)]), &[])
}

fn classic() -> Service {
    service("22222222-2222-3333-4444-555555555555", json!([tcp(80, 30081)]), &[("type", "")])
}

async fn driver(config: &'static str) -> Driver {
    let seed = Seed::cluster("demo", 2);
    Driver::with(Setup { seed, config, policy: Policy::all(), ..Setup::default() }).await
}

/// Every read of the client once.
async fn read_everything(client: &Client, arns: &[String; 2]) -> usize {
    let id = InstanceId::new("i-0a1b2c3d4e5f60001");
    let (ids, name) = ([id], "a2222222222223333444455555555555");
    let names = [name.to_owned()];
    let cluster = ClusterId::new("", "demo").unwrap().unwrap();
    let [balancer, group] = arns;
    let results = [
        client.classic_load_balancers().await.is_ok(),
        client.classic_load_balancer(name).await.is_ok(),
        client.classic_attributes(name).await.is_ok(),
        client.classic_tags(&names).await.is_ok(),
        client.network_load_balancers().await.is_ok(),
        client.network_load_balancer("a1111111122223333444455555555555").await.is_ok(),
        client.load_balancer_attributes(balancer).await.is_ok(),
        client.listeners(balancer).await.is_ok(),
        client.target_groups(None).await.is_ok(),
        client.target_group_attributes(group).await.is_ok(),
        client.targets(group).await.is_ok(),
        client.network_tags(arns).await.is_ok(),
        client.describe_security_groups(Groups::OfVpc(VPC)).await.is_ok(),
        client.describe_subnets(VPC).await.is_ok(),
        client.describe_route_tables(RouteTables::OfVpc(VPC)).await.is_ok(),
        client.availability_zones().await.is_ok(),
        client.instances_by_id(&ids).await.is_ok(),
        client.instances_of_cluster(&cluster).await.is_ok(),
    ];
    results.len()
}

/// `MANGLED_ANSWERS` raises the number.
#[tokio::test]
async fn no_answer_makes_a_reader_panic() {
    let least = std::env::var("MANGLED_ANSWERS").ok().and_then(|text| text.parse().ok()).unwrap_or(3_000_u64);
    let driver = driver("").await;
    for service in [network(), classic()] {
        driver.sync(&service).await.unwrap();
    }
    let arn = |kind: &str| driver.all(kind)[0]["arn"].as_str().unwrap().to_owned();
    let arns = [arn("load_balancers"), arn("target_groups")];
    let mangler = Mangler::before(&driver.cluster.url, 1).await;
    mangler.mangle(256);
    // Many at a time, since what cannot be read is asked for again after a while.
    while mangler.mangled.load(Ordering::SeqCst) < least {
        let mut readers = JoinSet::new();
        for _ in 0..40 {
            let (url, arns) = (mangler.url.clone(), arns.clone());
            readers.spawn(async move { read_everything(&client_of(&url).await, &arns).await });
        }
        readers.join_all().await;
    }
}

/// What belongs to others: other services, and what was there before.
fn others(driver: &Driver, own: &[&str]) -> Value {
    let mut belongings = driver.belongings();
    let groups = belongings["security_groups"].as_object().unwrap();
    let of_own = groups.iter().filter(|(_, group)| own.iter().any(|name| group["name"].to_string().contains(name)));
    let own: Vec<String> = of_own.map(|(id, _)| id.clone()).chain(own.iter().map(|name| (*name).to_owned())).collect();
    let names_own = |value: &Value| own.iter().any(|name| value.to_string().contains(name));
    for kind in ["classic_load_balancers", "load_balancers", "listeners", "target_groups", "security_groups"] {
        belongings[kind].as_object_mut().unwrap().retain(|_, value| value["id"] == NODES || !names_own(value));
    }
    let rules = belongings["security_groups"][NODES]["ingress"].as_array_mut().unwrap();
    // Rules for health checks and path MTU discovery go with the last client that is seen.
    let is_common = |rule: &Value| {
        let description = rule["description"].as_str().unwrap_or_default();
        description.ends_with("nlb/mtu") || description.contains("nlb/health")
    };
    rules.retain(|rule| !is_common(rule) && !names_own(rule));
    belongings
}

#[tokio::test]
async fn no_answer_makes_a_round_touch_what_belongs_to_others() {
    let mut cases = JoinSet::new();
    for case in 0..24_u64 {
        cases.spawn(async move {
            let config = if case % 3 == 0 { "[Global]\nNLBSecurityGroupMode=Managed" } else { "" };
            let mut driver = driver(config).await;
            let bystanders = [
                service("33333333-2222-3333-4444-555555555555", json!([tcp(80, 30082)]), &[]),
                service("44444444-2222-3333-4444-555555555555", json!([tcp(80, 30083)]), &[("type", "")]),
            ];
            for bystander in &bystanders {
                driver.sync(bystander).await.unwrap();
            }
            let service = if case % 2 == 0 { network() } else { classic() };
            // What is made for it bears its name, in one of these forms.
            let own: &[&str] = match case % 2 {
                0 => &["web-11111111", "web11111", "a1111111122223333444455555555555"],
                _ => &["web-22222222", "a2222222222223333444455555555555"],
            };
            let before = driver.belongings();
            if case % 4 < 2 {
                driver.sync(&service).await.unwrap();
            }
            let untouched = others(&driver, own);
            let mangler = Mangler::before(&driver.cluster.url, case).await;
            let straight = driver.cluster.environment.client.clone();
            driver.cluster.environment = through(&driver, client_of(&mangler.url).await).await;
            driver.restart();
            mangler.mangle(64);
            for (wanted, mode) in [(true, Mode::Full), (true, Mode::Backends), (true, Mode::Full), (false, Mode::Full)]
            {
                driver.round(&service, driver.cluster.nodes_by_id(), wanted, mode).await;
                let now = others(&driver, own);
                assert_eq!(now, untouched, "case {case}");
            }
            // And nothing is lost once AWS is itself again.
            driver.cluster.environment = through(&driver, straight).await;
            driver.restart();
            driver.sync(&service).await.unwrap();
            driver.remove(&service).await.unwrap();
            for bystander in &bystanders {
                driver.sync(bystander).await.unwrap();
            }
            assert_eq!(sorted(driver.belongings()), sorted(before), "case {case}");
        });
    }
    cases.join_all().await;
}

/// The same cluster through another client.
async fn through(driver: &Driver, client: Client) -> cloud_provider_aws::Environment {
    let settings = driver.cluster.environment.settings.clone();
    let endpoints = crate::support::settings(&driver.cluster.url, "us-east-1", None).endpoints;
    let imds = Imds::new(endpoints.imds.as_ref());
    cloud_provider_aws::Environment::with_client(settings, client, &imds, "kubernetes".into()).await.unwrap()
}

/// Rules in no order.
fn sorted(mut belongings: Value) -> Value {
    for group in belongings["security_groups"].as_object_mut().unwrap().values_mut() {
        let rules = group["ingress"].as_array_mut().unwrap();
        rules.sort_by_key(Value::to_string);
    }
    belongings
}

#[test]
fn leaves_are_found() {
    let document = "<?xml version=\"1.0\"?><a><b>1</b><c><d></d></c></a>";
    let found: Vec<&str> = leaves(document).into_iter().map(|(start, _, _, end)| &document[start..end]).collect();
    assert_eq!(found, ["<b>1</b>", "<d></d>"]);
}
