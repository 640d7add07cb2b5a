//! A manager that runs as an account with one role, and what is known of it at its end.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use cloud_provider_testing::ControlPlane;
use cloud_provider_testing::cloud::{Backend, Served, controller};
use cloud_provider_testing::conformance::eventually;
use cloud_provider_testing::process::Process;
use cloud_provider_testing::rbac;
use http::Request;
use kube::client::Body;
use kube::config::{AuthInfo, Kubeconfig};
use kube::{Client, Config};

use super::role::Role;

const BINARY: &str = env!("CARGO_BIN_EXE_memory-cloud-controller-manager");
/// The program's name in user agents.
const AGENT: &str = "memory-cloud-controller-manager/";
/// How long a cluster and a cloud may take to agree.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A running manager.
pub(crate) struct Manager {
    process: Process,
    port: u16,
    /// Requests that the API server had answered before it started.
    before: usize,
    _cloud: Served,
}

impl Manager {
    /// Grants the role to an account and starts the manager as that account, on `backend`.
    pub(crate) async fn start(plane: &ControlPlane, role: &Role, backend: &Arc<Backend>) -> anyhow::Result<Self> {
        let before = plane.audit().requests(|_| true)?.len();
        rbac::grant(&plane.client().await?, role.objects()).await?;
        let kubeconfig = plane.kubeconfig_for_service_account("kube-system", &role.name).await?;
        let kubeconfig = plane.write_kubeconfig(&role.name, &kubeconfig)?;
        let cloud = backend.serve(0).await?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut program = controller(BINARY, &role.name, &cloud, plane, &kubeconfig)?;
        if role.routes {
            let config = plane.dir().join(format!("{}-routes.conf", role.name));
            std::fs::write(&config, format!("{}\nRoutes = true\n", cloud.cloud_config()))?;
            program = program.arg(format!("--cloud-config={}", config.display()));
        }
        let quick = [
            "--node-monitor-period=1s",
            "--node-deletion-grace-period=1s",
            "--new-node-deletion-grace-period=1s",
            "--leader-elect-retry-period=1s",
        ];
        let program = program.arg(format!("--secure-port={port}")).args(&role.flags).args(quick);
        let period = role.routes.then_some("--route-reconciliation-period=1s");
        let process = program.args(period).spawn()?;
        Ok(Self { process, port, before, _cloud: cloud })
    }

    /// Asks the secure port for the metrics as somebody whom the API server knows but nobody granted anything.
    pub(crate) async fn is_asked(&self, plane: &ControlPlane) -> anyhow::Result<u16> {
        let viewer = plane.kubeconfig_for_service_account("default", "viewer").await?;
        let viewer = Kubeconfig::from_yaml(&viewer)?.auth_infos.into_iter().next().context("no user")?;
        let token = viewer.auth_info.and_then(|info| info.token);
        let mut config = Config::new(format!("https://127.0.0.1:{}", self.port).parse()?);
        config.accept_invalid_certs = true;
        config.default_retry = false;
        config.auth_info = AuthInfo { token, ..AuthInfo::default() };
        let client = Client::try_from(config)?;
        eventually(SOON, || async {
            self.process.check_running()?;
            let request = Request::builder().uri("/metrics").body(Body::empty())?;
            Ok(client.send(request).await?.status().as_u16())
        })
        .await
    }

    pub(crate) fn check(&self) -> anyhow::Result<()> {
        self.process.check_running()
    }

    /// What the API server refused it so far, by permission without the API group.
    pub(crate) fn refused(&self, plane: &ControlPlane) -> anyhow::Result<BTreeMap<String, usize>> {
        let mut refused = BTreeMap::new();
        let mut nth = 0;
        plane.audit().visit(|request| {
            nth += 1;
            if nth > self.before && request.code == 403 && request.user_agent.starts_with(AGENT) {
                *refused.entry(format!("{} {}", request.verb, request.resource)).or_default() += 1;
            }
        })?;
        Ok(refused)
    }

    /// Ends it: it was refused exactly what the role is said to lack, and warned of each of those once.
    pub(crate) async fn concludes(self, plane: &ControlPlane, role: &Role) -> anyhow::Result<()> {
        let status = self.process.terminate(Duration::from_secs(20)).await?;
        ensure!(status.success(), "it ended with {status}: {}", self.process.log_tail(20));
        let refused: Vec<String> = self.refused(plane)?.into_keys().collect();
        let mut lacks: Vec<&str> =
            role.lacks.iter().map(|lack| lack.permission.split('.').next().unwrap_or_default()).collect();
        lacks.sort_unstable();
        ensure!(refused == lacks, "refused is {refused:?}, but {lacks:?} is what upstream's is refused");

        let log = self.process.log();
        let about_roles = ["permission=", "forbidden", " cannot "];
        let warnings: Vec<&str> = log
            .lines()
            .filter(|line| line.starts_with(['W', 'E']) && about_roles.iter().any(|words| line.contains(words)))
            .collect();
        for lack in &role.lacks {
            let named = format!("permission={:?}", lack.permission);
            let told = warnings.iter().filter(|line| line.contains(&named)).count();
            ensure!(told == 1, "{named} is warned of {told} times:\n{}", warnings.join("\n"));
        }
        ensure!(warnings.len() == role.lacks.len(), "a refusal is warned of elsewhere too:\n{}", warnings.join("\n"));
        Ok(())
    }
}
