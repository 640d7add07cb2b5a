//! An image runs as upstream's manifests start it, with only the image changed: in its own root, read-only, as a user without any
//! rights, and serves a cluster.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failing helper fails its test")]

mod bundle;
mod manifest;
mod world;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use cloud_provider_testing::control_plane::{ControlPlane, Options};
use cloud_provider_testing::objects::{KubeletNode, UNINITIALIZED, register_nodes};
use cloud_provider_testing::process::Program;
use cloud_provider_testing::rbac;
use k8s_openapi::api::core::v1::{Node, Service};
use kube::api::ListParams;
use kube::{Api, Client};

use bundle::{Bundle, Pod};
use manifest::Container;
use world::World;

/// What to run: `cargo xtask test image` makes the layout and says so.
const CLOUD: &str = "IMAGE_CLOUD";
const LAYOUT: &str = "IMAGE_LAYOUT";

const NODES: usize = 5;
const SERVICES: usize = 2;
const LIMIT: Duration = Duration::from_secs(120);
/// How often it is looked whether the cluster is done.
const POLL: Duration = Duration::from_millis(250);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an image, whose program is a release build: cargo xtask test image"]
async fn the_image_serves_a_cluster_as_upstreams_manifest_starts_it_without_any_rights() {
    let name = std::env::var(CLOUD).expect("IMAGE_CLOUD names the cloud");
    let layout = PathBuf::from(std::env::var_os(LAYOUT).expect("IMAGE_LAYOUT names the layout"));
    let container = Container::of_cloud(&name).unwrap();
    let plane = ControlPlane::start(Options::default()).await.unwrap();
    let bundle = Bundle::unpack(&layout, plane.dir()).unwrap();
    let world = World::start(&name, NODES, SERVICES, plane.dir()).await.unwrap();
    let client = plane.client().await.unwrap();
    rbac::grant(&client, world.roles()).await.unwrap();
    let kubeconfig = plane.kubeconfig_for_service_account("kube-system", rbac::ACCOUNT).await.unwrap();
    let pod = Pod::new(&container, &bundle, &kubeconfig, &world, plane.dir()).unwrap();
    let process = Program::new(pod.script()).named("controller").log_dir(plane.dir()).spawn().unwrap();
    let nodes = world.nodes().into_iter().map(KubeletNode::new).collect();
    register_nodes(&client, nodes, Duration::ZERO).await.unwrap();
    for service in world.services().unwrap() {
        service.create(&client).await.unwrap();
    }
    let served = serves(&client).await;
    assert!(served.is_ok(), "{served:?}\n{}", process.log_tail(40));
    let inside = child(process.pid(), &bundle.program().unwrap()).unwrap();
    confined(inside).unwrap();
    assert!(Command::new("kill").args(["-TERM", &inside.to_string()]).status().unwrap().success());
    let status = process.wait(Duration::from_secs(20)).await.unwrap();
    assert!(status.success(), "{status}\n{}", process.log_tail(20));
}

/// Waits until every node is initialised and every service has an address.
async fn serves(client: &Client) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await?;
        let is_ready = |node: &&Node| {
            let spec = node.spec.as_ref();
            let tainted = spec.and_then(|spec| spec.taints.as_ref()).into_iter().flatten();
            spec.is_some_and(|spec| spec.provider_id.is_some())
                && !tainted.into_iter().any(|taint| taint.key == UNINITIALIZED)
        };
        let ready = nodes.items.iter().filter(is_ready).count();
        let services = Api::<Service>::namespaced(client.clone(), "default").list(&ListParams::default()).await?;
        let has_address = |service: &&Service| {
            let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
            status.and_then(|status| status.ingress.as_ref()).is_some_and(|ingress| !ingress.is_empty())
        };
        let balanced = services.items.iter().filter(has_address).count();
        if ready == NODES && balanced == SERVICES {
            return Ok(());
        }
        if begun.elapsed() > LIMIT {
            bail!("{ready} of {NODES} nodes ready, {balanced} of {SERVICES} services with an address");
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The program itself, which bubblewrap waits for, and ends as it ends. The watchdog of tests is its child too.
fn child(pid: u32, program: &str) -> anyhow::Result<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let is_program =
        |child: &&str| fs::read_link(format!("/proc/{child}/exe")).is_ok_and(|exe| exe == Path::new(program));
    let child = children.split_whitespace().find(is_program);
    Ok(child.with_context(|| format!("{pid} has children {children:?}, none is {program}"))?.parse()?)
}

/// Checks what the kernel says of the process: no capability, its own root, and that one read-only.
fn confined(pid: u32) -> anyhow::Result<()> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
    for set in ["CapEff:", "CapPrm:", "CapBnd:", "CapAmb:"] {
        ensure!(u64::from_str_radix(field(set), 16)? == 0, "{set} {}", field(set));
    }
    ensure!(field("NoNewPrivs:") == "1", "it may get new privileges");
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
    let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/")).context("a process without a root")?;
    ensure!(root.split(' ').nth(5).is_some_and(|options| options.split(',').any(|one| one == "ro")), "{root}");
    Ok(())
}
