//! An image, unpacked, and a pod of it: what kubelets mount and set, confined by bubblewrap.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::config::Kubeconfig;
use serde_json::Value;
use xtask_release::assembly::{index_of, tag_of};
use xtask_release::layout::Layout;

use crate::manifest::{CLOUD_CONFIG, Container};
use crate::world::World;

/// The user of our charts, which is nobody, where the manifest names none.
const USER: &str = "65532";
/// The API server, found by name in the hosts file that kubelets mount.
const HOST: &str = "localhost";
/// Where kubelets put the credentials of a pod's service account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// An image, unpacked.
pub(crate) struct Bundle {
    folder: PathBuf,
    entry_point: Vec<String>,
    command: Vec<String>,
}

impl Bundle {
    /// Unpacks the image of a layout with umoci.
    pub(crate) fn unpack(layout: &Path, data: &Path) -> anyhow::Result<Self> {
        let opened = Layout::open(layout)?;
        let (named, index) = index_of(&opened)?;
        let image = format!("{}:{}", layout.display(), tag_of(&named).context("a layout without a tag")?);
        let folder = data.join("bundle");
        let output = Command::new("umoci").args(["unpack", "--rootless", "--image", &image]).arg(&folder).output();
        let output = output.context("start umoci; ci/setup.sh installs it")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let first = index.manifests().first().context("an index without an image")?;
        let manifest: Value = opened.get_json(first)?;
        let config = serde_json::from_value(manifest["config"].clone())?;
        let config: Value = opened.get_json(&config)?;
        let words = |name: &str| -> Vec<String> {
            let words = config["config"][name].as_array().into_iter().flatten();
            words.filter_map(|word| Some(word.as_str()?.to_owned())).collect()
        };
        Ok(Self { folder, entry_point: words("Entrypoint"), command: words("Cmd") })
    }

    /// The path of its program.
    pub(crate) fn program(&self) -> anyhow::Result<String> {
        let all: Vec<&String> = self.entry_point.iter().chain(&self.command).collect();
        ensure!(all.len() == 1, "it starts {all:?}");
        Ok(all[0].clone())
    }

    fn root(&self) -> PathBuf {
        self.folder.join("rootfs")
    }
}

/// A pod that starts when its script does.
pub(crate) struct Pod(PathBuf);

impl Pod {
    /// A pod of `container` with the credentials in `kubeconfig`. Beside the manifest's own arguments it gets those by which
    /// programs stay apart here: loopback only, a free port; where the manifest names none, the cloud config, since a simulated
    /// cloud is not found without; and no routes.
    pub(crate) fn new(
        container: &Container,
        bundle: &Bundle,
        kubeconfig: &str,
        world: &World,
        data: &Path,
    ) -> anyhow::Result<Self> {
        let (config, credentials) = world.configuration()?;
        let folder = data.join("pod");
        let (secrets, settings, hosts) = (folder.join("account"), folder.join("config"), folder.join("hosts"));
        fs::create_dir_all(&settings)?;
        fs::write(settings.join("cloud.conf"), config)?;
        fs::write(&hosts, format!("127.0.0.1 {HOST}\n"))?;
        let port = service_account(kubeconfig, &secrets)?;

        let mut line = container.command_line(&bundle.entry_point, &bundle.command);
        let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        line.extend(["--bind-address=127.0.0.1".to_owned(), format!("--secure-port={free}")]);
        // Routes want ranges of pod addresses, which no manifest of upstream's has; the simulated OpenStack has a router.
        for flag in [format!("--cloud-config={CLOUD_CONFIG}"), "--configure-cloud-routes=false".to_owned()] {
            let name = flag.split('=').next().unwrap_or_default();
            if !line.iter().any(|word| word.split('=').next() == Some(name)) {
                line.push(flag);
            }
        }

        let config_folder = CLOUD_CONFIG.rsplit_once('/').map_or(CLOUD_CONFIG, |(folder, _)| folder);
        let mounts = [(&secrets, ACCOUNT), (&settings, config_folder), (&hosts, "/etc/hosts")];
        let root = bundle.root();
        // Where something is mounted, there must be something.
        for folder in ["/proc", "/dev", ACCOUNT, config_folder, "/etc"] {
            fs::create_dir_all(root.join(folder.trim_start_matches('/')))?;
        }
        fs::write(root.join("etc/hosts"), "")?;

        let user = container.user.as_deref().unwrap_or(USER);
        let mut script = format!(
            "#!/bin/sh\nexec bwrap --unshare-user --unshare-ipc --unshare-uts --uid {user} --gid {user} --cap-drop ALL \
             --clearenv --ro-bind {} / --ro-bind /proc /proc --dev /dev",
            root.display()
        );
        for (from, to) in mounts {
            script.push_str(&format!(" --ro-bind {} {to}", from.display()));
        }
        let service = [("KUBERNETES_SERVICE_HOST", HOST.to_owned()), ("KUBERNETES_SERVICE_PORT", port)];
        let service = service.map(|(name, value)| (name.to_owned(), value));
        for (name, value) in container.variables().into_iter().chain(credentials).chain(service) {
            script.push_str(&format!(" --setenv {name} {}", quoted(&value)));
        }
        script.push_str(" --");
        line.iter().for_each(|word| script.push_str(&format!(" {}", quoted(word))));
        script.push('\n');
        let path = folder.join("run.sh");
        fs::write(&path, script)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(Self(path))
    }

    pub(crate) fn script(&self) -> &Path {
        &self.0
    }
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Writes what is in a kubeconfig as kubelets mount it; returns the port of the API server.
fn service_account(kubeconfig: &str, folder: &Path) -> anyhow::Result<String> {
    fs::create_dir_all(folder)?;
    let config = Kubeconfig::from_yaml(kubeconfig)?;
    let cluster = config.clusters.first().and_then(|one| one.cluster.as_ref()).context("no cluster")?;
    let user = config.auth_infos.first().and_then(|one| one.auth_info.as_ref()).context("no user")?;
    let authority = cluster.certificate_authority_data.as_ref().context("no certificate authority")?;
    fs::write(folder.join("ca.crt"), STANDARD.decode(authority)?)?;
    let token = serde_json::to_value(user)?["token"].as_str().context("no token")?.to_owned();
    fs::write(folder.join("token"), token)?;
    fs::write(folder.join("namespace"), "kube-system")?;
    let server = cluster.server.as_ref().context("no server")?;
    let (_, port) = server.trim_end_matches('/').rsplit_once(':').context("a server without a port")?;
    Ok(port.to_owned())
}
