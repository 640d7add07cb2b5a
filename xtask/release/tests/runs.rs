//! An image runs as its manifests start it: in its own root, read-only, as a user without any rights, and serves a cluster.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use cloud_provider_testing::cloud::{Backend, controller};
use cloud_provider_testing::control_plane::{ControlPlane, Options};
use cloud_provider_testing::objects::{KubeletNode, LoadBalancerService, UNINITIALIZED};
use cloud_provider_testing::rbac;
use k8s_openapi::api::core::v1::{Node, Service};
use kube::{Api, Client};
use serde_json::Value;
use xtask_release::assembly::{index_of, tag_of};
use xtask_release::layout::Layout;

/// Where the layout is; `cargo xtask test image` makes it and says so.
const LAYOUT: &str = "IMAGE_LAYOUT";

const NODES: usize = 5;
const SERVICES: usize = 2;
const LIMIT: Duration = Duration::from_secs(120);
/// How often it is looked whether the cluster is done.
const POLL: Duration = Duration::from_millis(250);

/// The user of our chart; it is nobody.
const USER: &str = "65532";

/// The server of the kubeconfig, found by name in the hosts file that kubelets mount.
const HOST: &str = "localhost";

#[tokio::test]
#[ignore = "needs an image of the cloud in memory, a release build: cargo xtask test image"]
async fn the_image_serves_a_cluster_as_nobody_in_a_root_that_cannot_be_written() {
    let layout = PathBuf::from(std::env::var_os(LAYOUT).expect("IMAGE_LAYOUT names the layout"));
    let plane = ControlPlane::start(Options::default()).await.unwrap();
    let bundle = Bundle::unpack(&layout, plane.dir()).unwrap();
    let client = plane.client().await.unwrap();
    rbac::grant(&client, Vec::new()).await.unwrap();
    let kubeconfig = plane.kubeconfig_for_service_account("kube-system", rbac::ACCOUNT).await.unwrap();
    let kubeconfig = kubeconfig.replace("https://127.0.0.1:", &format!("https://{HOST}:"));
    let kubeconfig = plane.write_kubeconfig(rbac::ACCOUNT, &kubeconfig).unwrap();
    let backend = Backend::new();
    for nth in 0..NODES {
        backend.start_machine(node(nth));
    }
    let cloud = backend.serve(0).await.unwrap();
    let program = controller(bundle.entry().unwrap(), "controller", &cloud, &plane, &kubeconfig).unwrap();
    let process = program.spawn().unwrap();
    for nth in 0..NODES {
        let object = KubeletNode::new(node(nth)).build().unwrap();
        Api::<Node>::all(client.clone()).create(&kube::api::PostParams::default(), &object).await.unwrap();
    }
    for nth in 0..SERVICES {
        LoadBalancerService::new("default", format!("service-{nth}")).tcp(80).create(&client).await.unwrap();
    }
    let served = serves(&client).await;
    assert!(served.is_ok(), "{served:?}\n{}", process.log_tail(40));
    let inside = child(process.pid(), &bundle.program().unwrap()).unwrap();
    confined(inside).unwrap();
    assert!(Command::new("kill").args(["-TERM", &inside.to_string()]).status().unwrap().success());
    let status = process.wait(Duration::from_secs(20)).await.unwrap();
    assert!(status.success(), "{status}\n{}", process.log_tail(20));
}

fn node(nth: usize) -> String {
    format!("node-{nth}")
}

/// Waits until every node is initialised and every service has an address.
async fn serves(client: &Client) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let nodes = Api::<Node>::all(client.clone()).list(&kube::api::ListParams::default()).await?;
        let is_ready = |node: &&Node| {
            let spec = node.spec.as_ref();
            let tainted = spec.and_then(|spec| spec.taints.as_ref()).into_iter().flatten();
            spec.is_some_and(|spec| spec.provider_id.is_some())
                && !tainted.into_iter().any(|taint| taint.key == UNINITIALIZED)
        };
        let ready = nodes.items.iter().filter(is_ready).count();
        let services =
            Api::<Service>::namespaced(client.clone(), "default").list(&kube::api::ListParams::default()).await?;
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

/// An image, unpacked.
struct Bundle {
    folder: PathBuf,
    /// What is mounted into it, at the same path.
    data: PathBuf,
}

impl Bundle {
    /// Unpacks it with umoci.
    fn unpack(layout: &Path, data: &Path) -> anyhow::Result<Self> {
        let (named, _) = index_of(&Layout::open(layout)?)?;
        let image = format!("{}:{}", layout.display(), tag_of(&named).context("a layout without a tag")?);
        let folder = data.join("bundle");
        let output = Command::new("umoci").args(["unpack", "--rootless", "--image", &image]).arg(&folder).output();
        let output = output.context("start umoci; ci/setup.sh installs it")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(Self { folder, data: data.to_owned() })
    }

    /// The path of its program.
    fn program(&self) -> anyhow::Result<String> {
        let config: Value = serde_json::from_slice(&fs::read(self.folder.join("config.json"))?)?;
        let args = config["process"]["args"].as_array().context("an image that starts nothing")?;
        ensure!(args.len() == 1, "it starts {args:?}");
        Ok(args[0].as_str().context("an image that starts nothing")?.to_owned())
    }

    /// A script that starts it with whatever arguments, confined by bubblewrap. Like kubelets, it mounts a hosts file, the
    /// folder with configuration, `/proc` and `/dev`, and nothing else.
    fn entry(&self) -> anyhow::Result<PathBuf> {
        let root = self.folder.join("rootfs");
        let data = self.data.display();
        let hosts = self.folder.join("hosts");
        fs::write(&hosts, format!("127.0.0.1 {HOST}\n"))?;
        // Where something is mounted, there must be something.
        fs::write(root.join("etc/hosts"), "")?;
        for folder in ["proc", "dev", data.to_string().trim_start_matches('/')] {
            fs::create_dir_all(root.join(folder))?;
        }
        let script = self.folder.join("run.sh");
        let text = format!(
            "#!/bin/sh\nexec bwrap --unshare-user --unshare-ipc --unshare-uts --uid {USER} --gid {USER} --cap-drop ALL \
             --clearenv --ro-bind {} / --ro-bind {data} {data} --ro-bind {} /etc/hosts --ro-bind /proc /proc --dev /dev \
             -- {} \"$@\"\n",
            root.display(),
            hosts.display(),
            self.program()?
        );
        fs::write(&script, text)?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        Ok(script)
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
