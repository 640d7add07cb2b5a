//! What the secure port of a running manager serves (reference: core.md section 3.6).

use std::time::Duration;

use cloud_provider_testing::ControlPlane;
use cloud_provider_testing::control_plane::Options;
use http::Method;
use serde_json::Value;

use crate::process::{Manager, free_port};

const S: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn section_3_6_what_a_running_manager_serves() {
    let plane = ControlPlane::start(Options::default()).await.unwrap();
    let flags = ["--cluster-name=blue", "--leader-elect-retry-period=1s", "--use-service-account-credentials"];
    let manager = Manager::start(&plane, "manager", free_port(), &flags);
    manager.leads().await;

    let health = manager.get("/healthz?verbose").await;
    for check in ["leaderElection", "cloud-node-controller", "cloud-node-lifecycle-controller", "service-lb-controller"]
    {
        assert!(health.contains(&format!("[+]{check} ok\n")), "{health}");
    }
    assert!(health.ends_with("healthz check passed\n"), "{health}");
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(manager.get(path).await, "ok");
    }

    let configuration: Value = serde_json::from_str(&manager.get("/configz").await).unwrap();
    let configuration = &configuration["cloudcontrollermanager.config.k8s.io"];
    assert_eq!(configuration["kind"], "CloudControllerManagerConfiguration");
    assert_eq!(configuration["KubeCloudShared"]["ClusterName"], "blue");
    assert_eq!(configuration["KubeCloudShared"]["UseServiceAccountCredentials"], true);
    assert!(manager.get("/flagz").await.contains("\ncluster-name=blue\n"));
    let status = manager.get("/statusz").await;
    assert!(status.contains("\nPaths: /configz /healthz /livez /metrics /readyz\n"), "{status}");

    let (status, profile) = manager.ask(Method::GET, "/debug/pprof/profile?seconds=1", "").await.unwrap();
    assert_eq!(status, 200);
    assert!(profile.windows(11).any(|bytes| bytes == b"nanoseconds"));
    assert_eq!(manager.ask(Method::GET, "/debug/pprof/heap", "").await.unwrap().0, 404);
    let (status, text) = manager.ask(Method::PUT, "/debug/flags/v", "5").await.unwrap();
    assert_eq!((status, text.as_slice()), (200, &b"successfully set klog.logging.verbosity to 5\n"[..]));

    assert!(
        manager.get("/metrics/slis").await.contains("kubernetes_healthcheck{name=\"leaderElection\",type=\"livez\"} 1")
    );
    assert_eq!(manager.ask(Method::DELETE, "/metrics/slis", "").await.unwrap().0, 200);
    let slis = manager.get("/metrics/slis").await;
    assert!(!slis.contains("kubernetes_healthcheck") && slis.contains("process_start_time_seconds "), "{slis}");

    let status = manager.process.terminate(20 * S).await.unwrap();
    assert!(status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_managers_share_a_port_only_when_both_permit_it() {
    let plane = ControlPlane::start(Options::default()).await.unwrap();
    let first = Manager::start(&plane, "first", free_port(), &["--permit-port-sharing"]);
    first.leads().await;
    let second = Manager::start(&plane, "second", first.port, &["--permit-port-sharing", "--permit-address-sharing"]);
    cloud_provider_testing::conformance::eventually(30 * S, || async {
        second.process.check_running()?;
        anyhow::ensure!(second.process.log().contains("serving securely"), "{}", second.process.log());
        Ok(())
    })
    .await
    .unwrap();
    let alone = Manager::start(&plane, "alone", first.port, &[]);
    let ended = tokio::time::timeout(30 * S, async {
        while alone.process.exit_status().is_none() {
            tokio::time::sleep(S / 10).await;
        }
        alone.process.exit_status().unwrap()
    });
    assert_eq!(ended.await.unwrap().code(), Some(1));
    assert!(alone.process.log().contains(&format!("listen at 127.0.0.1:{}", first.port)), "{}", alone.process.log());
}
