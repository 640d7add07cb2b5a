use std::{
    ffi::OsString,
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use clap::Args;
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::*;
use crate::manager::{cli::Program, logging};

/// Provider flags, one of them a secret.
#[derive(Args, Clone, Debug)]
struct Secret {
    /// A secret
    #[arg(long, default_value = "")]
    api_password: String,
}

fn routes(args: &[&str]) -> (Routes, Verbosity) {
    let program = Program::new("test-ccm", "1.2.3").with_webhooks(&["w"]);
    let argv = ["test-ccm", "--cloud-provider=aws"].iter().chain(args).map(OsString::from);
    let parsed = program.parse::<Secret>(argv).unwrap();
    let settings = parsed.options.validate(&program).unwrap();
    let verbosity = Verbosity::new(0);
    let about = About::new("test-ccm", &parsed.version, &parsed.flags, &parsed.options, &settings, verbosity.clone());
    let metrics = Metrics::new();
    let mut routes = Routes::standard(&crate::manager::healthz::Checks::new(&metrics), &metrics);
    about.serve(&mut routes);
    (routes, verbosity)
}

async fn ask(routes: &Routes, request: Request<Bytes>) -> (u16, Bytes) {
    let answer = routes.call(request).await;
    (answer.status().as_u16(), answer.into_body().collect().await.unwrap().to_bytes())
}

async fn get(routes: &Routes, path: &str) -> (u16, String) {
    let (status, body) = ask(routes, Request::get(path).body(Bytes::new()).unwrap()).await;
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn configz(args: &[&str]) -> Value {
    let (status, text) = get(&routes(args).0, "/configz").await;
    assert_eq!(status, 200);
    serde_json::from_str(&text).unwrap()
}

/// As upstream's own options and types print it for no flags but `--cloud-provider`, with 0 for what is automatic here.
#[tokio::test]
async fn section_3_3_configuration_of_the_defaults() {
    let expected = json!({ "cloudcontrollermanager.config.k8s.io": {
        "kind": "CloudControllerManagerConfiguration",
        "apiVersion": "cloudcontrollermanager.config.k8s.io/v1alpha1",
        "Generic": {
            "Port": 0,
            "Address": "0.0.0.0",
            "MinResyncPeriod": "12h0m0s",
            "ClientConnection": {
                "kubeconfig": "", "acceptContentTypes": "", "contentType": "application/vnd.kubernetes.protobuf",
                "qps": 0.0, "burst": 0,
            },
            "ControllerStartInterval": "0s",
            "LeaderElection": {
                "leaderElect": true, "leaseDuration": "15s", "renewDeadline": "10s", "retryPeriod": "2s",
                "resourceLock": "leases", "resourceName": "cloud-controller-manager", "resourceNamespace": "kube-system",
            },
            "Controllers": ["*"],
            "Debugging": { "enableProfiling": true, "enableContentionProfiling": false },
            "LeaderMigrationEnabled": false,
            "LeaderMigration": { "leaderName": "", "resourceLock": "", "controllerLeaders": null },
        },
        "KubeCloudShared": {
            "CloudProvider": { "Name": "aws", "CloudConfigFile": "" },
            "ExternalCloudVolumePlugin": "",
            "UseServiceAccountCredentials": false,
            "AllowUntaggedCloud": false,
            "RouteReconciliationPeriod": "10s",
            "ClusterName": "kubernetes",
            "ClusterCIDR": "",
            "AllocateNodeCIDRs": false,
            "CIDRAllocatorType": "RangeAllocator",
            "ConfigureCloudRoutes": true,
            "NodeSyncPeriod": "0s",
        },
        "NodeController": { "ConcurrentNodeSyncs": 0, "ConcurrentNodeStatusUpdates": 0 },
        "NodeLifecycleController": { "NodeMonitorPeriod": "5s", "ConcurrentNodeLifecycleSyncs": 0 },
        "ServiceController": { "ConcurrentServiceSyncs": 0 },
        "NodeStatusUpdateFrequency": "5m0s",
        "Webhook": { "Webhooks": null },
    } });
    assert_eq!(configz(&[]).await, expected);
}

#[tokio::test]
async fn section_3_3_configuration_of_flags() {
    let all = configz(&[
        "--enable-leader-migration",
        "--controllers=-service,route,*",
        "--webhooks=w",
        "--cluster-cidr=10.0.0.0/8",
        "--kube-api-qps=50",
        "--concurrent-node-syncs=3",
        "--kubeconfig=/k",
        "--min-resync-period=90s",
    ])
    .await;
    let all = &all["cloudcontrollermanager.config.k8s.io"];
    let generic = &all["Generic"];
    assert_eq!(generic["Controllers"], json!(["-service-lb-controller", "node-route-controller", "*"]));
    assert_eq!(generic["MinResyncPeriod"], "1m30s");
    assert_eq!(generic["ClientConnection"]["kubeconfig"], "/k");
    assert_eq!(
        (&generic["ClientConnection"]["qps"], &generic["ClientConnection"]["burst"]),
        (&json!(50.0), &json!(30))
    );
    let leader = |name| json!({ "name": name, "component": "*" });
    assert_eq!(generic["LeaderMigrationEnabled"], true);
    let leaders = ["route-controller", "service-controller", "cloud-node-lifecycle-controller"].map(leader);
    let migration = json!({
        "leaderName": "cloud-provider-extraction-migration", "resourceLock": "leases", "controllerLeaders": leaders,
    });
    assert_eq!(generic["LeaderMigration"], migration);
    assert_eq!(all["KubeCloudShared"]["ClusterCIDR"], "10.0.0.0/8");
    assert_eq!(all["NodeController"], json!({ "ConcurrentNodeSyncs": 3, "ConcurrentNodeStatusUpdates": 3 }));
    assert_eq!(all["Webhook"]["Webhooks"], json!(["w"]));
}

#[tokio::test]
async fn flags_are_shown_with_their_values_and_without_secrets() {
    let (routes, _) = routes(&["--cluster-name=blue", "--api-password=hunter2", "--master=https://me:hunter2@host"]);
    let (status, page) = get(&routes, "/flagz").await;
    assert_eq!(status, 200);
    assert!(
        page.starts_with("\ntest-ccm flagz\nWarning: This endpoint is not meant to be machine parseable, "),
        "{page}"
    );
    assert!(page.contains("\ncluster-name=blue\n") && page.contains("\nmin-resync-period=12h0m0s\n"), "{page}");
    assert!(page.contains(&format!("\napi-password={}\n", logging::REDACTED)) && !page.contains("hunter2"), "{page}");
}

#[tokio::test]
async fn the_status_says_what_runs_since_when_and_where_to_look() {
    let (routes, _) = routes(&[]);
    let (status, page) = get(&routes, "/statusz").await;
    assert_eq!(status, 200);
    assert!(page.starts_with("\ntest-ccm statusz\nWarning: "), "{page}");
    assert!(page.contains("\nUp: 0 hr 00 min 0") && page.contains("\nBinary version: 1.2.3\n"), "{page}");
    assert!(page.contains(" UTC ") && page.contains("\nStarted: "), "{page}");
    assert!(page.ends_with("\nPaths: /configz /healthz /livez /metrics /readyz\n"), "{page}");
}

#[tokio::test]
async fn pages_are_text_and_a_client_that_takes_none_is_refused() {
    let (routes, _) = routes(&[]);
    for (accept, status) in [
        ("text/plain", 200),
        ("text/plain;q=0.9, application/json", 200),
        ("*/*", 200),
        ("", 200),
        ("application/json", 406),
        ("application/json;g=config.k8s.io;v=v1beta1;as=Statusz", 406),
    ] {
        for path in ["/statusz", "/flagz"] {
            let request = Request::get(path).header("accept", accept).body(Bytes::new()).unwrap();
            let (got, body) = ask(&routes, request).await;
            assert_eq!(got, status, "{accept}");
            if status == 406 {
                let refusal: Value = serde_json::from_slice(&body).unwrap();
                assert_eq!(refusal["reason"], "NotAcceptable");
            }
        }
    }
}

#[tokio::test]
async fn gates_and_flags_turn_pages_off() {
    let (routes, _) = routes(&["--profiling=false", "--feature-gates=ComponentFlagz=false,ComponentStatusz=false"]);
    for path in ["/flagz", "/statusz", "/debug/pprof/", "/debug/pprof/profile", "/debug/flags/v", "/debug/pprof"] {
        assert_eq!(get(&routes, path).await, (404, "404 page not found\n".to_owned()), "{path}");
    }
    assert_eq!(get(&routes, "/configz").await.0, 200);
}

#[tokio::test]
async fn the_verbosity_of_a_running_process_can_be_changed() {
    let (routes, verbosity) = routes(&[]);
    let put = |body: &'static str| Request::put("/debug/flags/v").body(Bytes::from_static(body.as_bytes())).unwrap();
    let (status, body) = ask(&routes, put("5")).await;
    assert_eq!((status, &body[..]), (200, &b"successfully set klog.logging.verbosity to 5\n"[..]));
    assert_eq!(verbosity.get(), 5);
    for wrong in ["", "x", "-1", "4294967295"] {
        assert_eq!(ask(&routes, put(wrong)).await.0, 400, "{wrong}");
    }
    assert_eq!(get(&routes, "/debug/flags/v").await, (406, "unsupported http method\n".to_owned()));
    assert_eq!(get(&routes, "/debug/flags").await, (200, "/debug/flags/v\n".to_owned()));
    assert_eq!(verbosity.get(), 5);
}

#[inline(never)]
fn busy_for_the_profile(ended: &AtomicBool) -> u64 {
    let mut sum = 0;
    while !ended.load(Ordering::Relaxed) {
        sum = (0..100_000_u64).fold(sum, |sum, n| black_box(sum ^ n.wrapping_mul(0x9e37_79b9)));
    }
    sum
}

/// Go's reader of profiles understands the same bytes: `go tool pprof -top PROGRAM PROFILE`.
#[tokio::test(flavor = "multi_thread")]
async fn a_profile_shows_what_used_the_cpu() {
    let (routes, _) = routes(&[]);
    let ended = Arc::new(AtomicBool::new(false));
    let burning = std::thread::spawn({
        let ended = ended.clone();
        move || busy_for_the_profile(&ended)
    });
    let asked = || ask(&routes, Request::get("/debug/pprof/profile?seconds=2").body(Bytes::new()).unwrap());
    let ((status, profile), (other, why)) = tokio::join!(asked(), asked());
    // One at a time; which of them is first is open.
    let (profile, refused) = if status == 200 { (profile, (other, why)) } else { (why, (status, profile)) };
    let in_use = Bytes::from_static(b"Could not enable CPU profiling: cpu profiling already in use\n");
    assert_eq!(refused, (500, in_use));
    let holds = |text: &str| profile.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("busy_for_the_profile") && holds("nanoseconds"), "{} bytes", profile.len());
    ended.store(true, Ordering::Relaxed);
    burning.join().unwrap();
}

#[tokio::test]
async fn other_profiles_get_a_clear_answer() {
    let (routes, _) = routes(&[]);
    let (status, text) = get(&routes, "/debug/pprof/").await;
    assert!(status == 200 && text.starts_with("/debug/pprof/profile"), "{text}");
    for name in ["heap", "goroutine", "symbol", "trace"] {
        let (status, text) = get(&routes, &format!("/debug/pprof/{name}")).await;
        assert!(status == 404 && text.starts_with(&format!("Unknown profile {name:?}. There is only:")), "{text}");
    }
    assert_eq!(get(&routes, "/debug/pprof").await.0, 302);
    let seconds = |query| profile::seconds(Some(query)).as_secs();
    assert_eq!(
        ["", "seconds=5", "x=1&seconds=7", "seconds=0", "seconds=x", "seconds=9999"].map(seconds),
        [30, 5, 7, 30, 30, 600]
    );
}
