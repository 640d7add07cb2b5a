use std::{ffi::OsString, num::NonZero};

use clap::Args;

use super::*;
use crate::{config::feature_gates::WEBHOOK, controllers::node_ipam, manager::names::CLOUD_NODE};

#[derive(Args, Clone, Debug)]
struct NoFlags {}

fn validate(args: &[&str]) -> Result<Settings, Errors> {
    let program = Program::new("test", "0.0.0").with_webhooks(&["a", "b"]);
    let argv = ["test", "--cloud-provider=x"].iter().chain(args).map(OsString::from);
    program.parse::<NoFlags>(argv).unwrap().options.validate(&program)
}

fn settings(args: &[&str]) -> Settings {
    validate(args).unwrap_or_else(|errors| panic!("{args:?}: {errors}"))
}

fn errors(args: &[&str]) -> String {
    match validate(args) {
        Err(errors) => errors.to_string(),
        Ok(_) => panic!("{args:?} is valid"),
    }
}

#[test]
fn section_12_11_default_options() {
    let settings = settings(&[]);
    assert!(settings.profiling && !settings.contention_profiling);
    assert_eq!(settings.min_resync_period, Duration::from_secs(12 * 3600));
    assert_eq!(settings.controller_start_interval, Duration::ZERO);
    assert!(settings.controllers.is_enabled(&CLOUD_NODE));
    assert_eq!(
        settings.leader_election,
        Some(LeaderElectionSettings {
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
            name: "cloud-controller-manager".into(),
            namespace: "kube-system".into(),
            migration: None,
        })
    );
    assert_eq!(settings.cloud.cluster_name, "kubernetes");
    assert_eq!(settings.cloud.route_reconciliation_period, Duration::from_secs(10));
    assert!(settings.cloud.configure_routes && !settings.cloud.allocate_node_cidrs);
    assert_eq!(settings.node.status_update_frequency, Duration::from_secs(300));
    assert_eq!(settings.node_lifecycle.monitor_period, Duration::from_secs(5));
    let serving = settings.serving.unwrap();
    assert_eq!(serving.address.to_string(), "0.0.0.0:10258");
    assert_eq!((serving.certificate, serving.min_version), (ServingCertificate::InMemory, TlsVersion::Tls12));
    assert_eq!(settings.webhook, None);
    assert_eq!(settings.authentication.request_headers.username, ["x-remote-user"]);
    assert_eq!(settings.authorization.always_allow_paths, ["/healthz", "/readyz", "/livez"]);
    assert!(!settings.feature_gates.enabled(WEBHOOK));
}

#[test]
fn pacing_flags_are_automatic_until_set() {
    let unset = settings(&[]);
    assert_eq!(unset.client.limit, None);
    assert_eq!((unset.node.syncs, unset.node_lifecycle.syncs, unset.service.syncs), (None, None, None));
    let set = settings(&["--concurrent-service-syncs=1", "--concurrent-node-lifecycle-syncs=2"]);
    assert_eq!((set.service.syncs, set.node_lifecycle.syncs), (NonZero::new(1), NonZero::new(2)));
    for (args, limit) in [
        (&["--kube-api-qps=50"][..], Some(Limit { qps: 50.0, burst: 30 })),
        (&["--kube-api-burst=7"], Some(Limit { qps: 20.0, burst: 7 })),
        (&["--kube-api-qps=5.5", "--kube-api-burst=7"], Some(Limit { qps: 5.5, burst: 7 })),
        (&["--kube-api-qps=-1"], None),
        (&["--kube-api-qps=0", "--kube-api-burst=0"], None),
    ] {
        assert_eq!(settings(args).client.limit, limit, "{args:?}");
    }
}

#[test]
fn section_12_11_authorization_always_allow_paths_can_be_cleared() {
    assert!(settings(&["--authorization-always-allow-paths="]).authorization.always_allow_paths.is_empty());
}

#[test]
fn section_12_11_node_options() {
    for syncs in ["-5", "0"] {
        assert_eq!(errors(&["--concurrent-node-syncs", syncs]), "concurrent-node-syncs must be a positive number");
    }
    for (updates, count) in [("0", 5), ("5", 5), ("7", 7)] {
        let node = settings(&["--concurrent-node-syncs=5", "--concurrent-node-status-updates", updates]).node;
        assert_eq!((node.syncs, node.status_updates), (NonZero::new(5), NonZero::new(count)));
    }
    assert_eq!(
        errors(&["--concurrent-node-syncs=5", "--concurrent-node-status-updates=-1"]),
        "concurrent-node-status-updates cannot be a negative number"
    );
}

#[test]
fn section_12_11_leader_election_takes_only_leases() {
    let lock = "--leader-elect-resource-lock=configmapsleases";
    assert_eq!(errors(&[lock]), r#"resourceLock value must be "leases""#);
    assert_eq!(settings(&[lock, "--leader-elect=false"]).leader_election, None);
}

#[test]
fn lease_rules_are_errors_up_front() {
    let times = |lease, renew, retry| {
        [("lease-duration", lease), ("renew-deadline", renew), ("retry-period", retry)]
            .map(|(name, value): (_, &str)| format!("--leader-elect-{name}={value}"))
    };
    for (lease, renew, retry, text) in [
        ("10s", "10s", "2s", "leaseDuration must be greater than renewDeadline"),
        ("15s", "10s", "9s", "renewDeadline must be greater than retryPeriod*JitterFactor"),
        ("15s", "2400ms", "2s", "renewDeadline must be greater than retryPeriod*JitterFactor"),
        ("15s", "10s", "0s", "retryPeriod must be greater than zero"),
        ("900ms", "500ms", "100ms", "leaseDuration must be at least one second"),
        (
            "0s",
            "-1s",
            "-2s",
            "[leaseDuration must be greater than zero, renewDeadline must be greater than zero, \
             retryPeriod must be greater than zero]",
        ),
    ] {
        let args = times(lease, renew, retry);
        assert_eq!(errors(&args.each_ref().map(String::as_str)), text);
        let without = [&args[0], &args[1], &args[2], "--leader-elect=false"].map(|arg: &str| arg);
        assert!(validate(&without).is_ok());
    }
    assert!(validate(&times("15s", "2401ms", "2s").each_ref().map(String::as_str)).is_ok());
    assert_eq!(
        errors(&["--enable-leader-migration", "--leader-elect=false"]),
        "--enable-leader-migration needs --leader-elect"
    );
}

#[test]
fn errors_are_collected_in_upstreams_order() {
    assert_eq!(
        errors(&[
            "--cloud-provider=",
            "--secure-port=70000",
            "--webhook-secure-port=70000",
            "--webhooks=z",
            "--requestheader-group-headers= ",
            "--concurrent-node-lifecycle-syncs=0",
            "--controllers=nope,-nope2",
            "--leader-elect-resource-lock=endpoints",
        ]),
        "[resourceLock value must be \"leases\", \
         \"nope\" is not in the list of known controllers, \
         \"nope2\" is not in the list of known controllers, \
         concurrent-node-lifecycle-syncs must be at least 1, but got 0, \
         --secure-port 70000 must be between 0 and 65535, inclusive. 0 for turning off secure port, \
         empty value in \"requestheader-group-headers\", \
         \"z\" is not in the list of known webhooks, \
         --webhook-secure-port 70000 must be between 0 and 65535, inclusive. A value of 0 disables the webhook \
         endpoint entirely., \
         --webhook-secure-port cannot be the same value as --secure-port, \
         --cloud-provider cannot be empty]"
    );
}

#[test]
fn ports_of_zero_turn_servers_off() {
    let settings = settings(&["--secure-port=0", "--webhook-secure-port=0", "--webhooks=*"]);
    assert_eq!((settings.serving, settings.webhook), (None, None));
}

#[test]
fn certificates_come_from_memory_directory_or_files() {
    let certificate = |args: &[&str]| settings(args).serving.unwrap().certificate;
    assert_eq!(
        certificate(&["--cert-dir=/run/c"]),
        ServingCertificate::Directory {
            cert_file: "/run/c/cloud-controller-manager.crt".into(),
            key_file: "/run/c/cloud-controller-manager.key".into(),
        }
    );
    assert_eq!(
        certificate(&["--cert-dir=/run/c", "--tls-cert-file=a", "--tls-private-key-file=b"]),
        ServingCertificate::Files { cert_file: "a".into(), key_file: "b".into() }
    );
    assert_eq!(errors(&["--tls-cert-file=a"]), "--tls-cert-file needs --tls-private-key-file");
    assert_eq!(
        errors(&["--webhook-tls-private-key-file=a"]),
        "--webhook-tls-private-key-file needs --webhook-tls-cert-file"
    );
}

#[test]
fn tls_names_are_those_of_go() {
    assert_eq!(
        errors(&["--tls-min-version=1.2", "--tls-cipher-suites=TLS_AES_128_GCM_SHA256,ROT13"]),
        "[Cipher suite ROT13 not supported or doesn't exist, unknown tls version \"1.2\"]"
    );
    assert_eq!(settings(&["--tls-min-version=VersionTLS13"]).serving.unwrap().min_version, TlsVersion::Tls13);
}

#[test]
fn webhooks_are_served_when_named() {
    let webhook = settings(&["--webhooks=*,-b", "--webhook-secure-port=10261"]).webhook.unwrap();
    assert_eq!((webhook.names, webhook.serving.address.port()), (vec!["pvlabel".to_owned(), "a".to_owned()], 10261));
}

#[test]
fn each_webhook_serving_flag_reaches_the_server() {
    let serving = settings(&[
        "--webhooks=a",
        "--webhook-bind-address=127.0.0.1",
        "--webhook-disable-http2-serving",
        "--webhook-cert-dir=/certs",
        "--webhook-tls-sni-cert-key=c,k:a.example",
        "--webhook-tls-cipher-suites=TLS_AES_128_GCM_SHA256",
        "--webhook-tls-curve-preferences=29",
        "--webhook-tls-min-version=VersionTLS13",
    ])
    .webhook
    .unwrap()
    .serving;
    assert_eq!((serving.address, serving.http2), ("127.0.0.1:10260".parse().unwrap(), false));
    let ServingCertificate::Directory { cert_file, .. } = &serving.certificate else { panic!("{serving:?}") };
    assert_eq!(cert_file.display().to_string(), "/certs/cloud-controller-manager-webhook.crt");
    assert_eq!(serving.sni_certificates[0].names, ["a.example"]);
    assert_eq!(serving.cipher_suites, ["TLS_AES_128_GCM_SHA256"]);
    assert_eq!((serving.curve_preferences, serving.min_version), (vec![29], TlsVersion::Tls13));
    let files = ["--webhooks=a", "--webhook-tls-cert-file=c", "--webhook-tls-private-key-file=k"];
    let serving = settings(&files).webhook.unwrap().serving;
    assert!(matches!(serving.certificate, ServingCertificate::Files { .. }));
}

#[test]
fn gates_guard_what_they_guard() {
    assert_eq!(errors(&["--feature-gates=Nope=true"]), "unrecognized feature gate: Nope");
    assert_eq!(
        errors(&[
            "--log-text-split-stream",
            "--feature-gates=RemoteRequestHeaderUID=false",
            "--requestheader-uid-headers=u"
        ]),
        "[options.text.splitStream: Forbidden: Feature LoggingAlphaOptions is disabled, \
         --requestheader-uid-headers requires the \"RemoteRequestHeaderUID\" feature to be enabled]"
    );
    let args = ["--log-text-split-stream", "--feature-gates=AllAlpha=true", "--feature-gates=AllBeta=false"];
    assert!(settings(&args).logging.split_stream);
}

#[test]
fn logging_options_are_checked() {
    assert_eq!(
        errors(&["--logging-format=xml", "--log-flush-frequency=0s"]),
        "[format: Invalid value: \"xml\": Unsupported log format, \
         flushFrequency: Invalid value: \"0s\": Must be greater than zero]"
    );
    assert_eq!(
        errors(&["--logging-format=json", "--vmodule=a=1"]),
        "vmodule: Forbidden: Only supported for text log format"
    );
}

#[test]
fn node_ipam_is_checked_only_where_it_allocates() {
    let nonsense = ["--cluster-cidr=x", "--service-cluster-ip-range=1,2,3", "--node-cidr-mask-size=99"];
    for more in [&[][..], &["--allocate-node-cidrs"], &["--controllers=*,nodeipam"]] {
        assert_eq!(settings(&[&nonsense[..], more].concat()).node_ipam, None, "{more:?}");
    }
    let on = ["--allocate-node-cidrs", "--controllers=*,nodeipam"];
    assert_eq!(
        errors(&[&nonsense[..], &on].concat()),
        "--service-cluster-ip-range can not contain more than two entries"
    );
    let flags = ["--cluster-cidr=10.0.0.0/16,fd00::/48", "--service-cluster-ip-range=10.0.0.0/24,bad"];
    let ipam = settings(&[&flags[..], &on, &["--node-cidr-mask-size-ipv4=26"]].concat()).node_ipam.unwrap();
    let node_ipam::Settings::Range(range) = ipam.allocator else { panic!() };
    assert_eq!(range.ranges.iter().map(|range| range.node_prefix).collect::<Vec<_>>(), [26, 64]);
    assert_eq!(range.services, ["10.0.0.0/24".parse().unwrap()]);
    assert_eq!(ipam.ignored.len(), 1);
}

#[test]
fn files_and_addresses_are_none_when_empty() {
    let settings = settings(&["--kubeconfig=/k", "--cluster-cidr=10.0.0.0/8, fd00::/48"]);
    assert_eq!(settings.client.kubeconfig, Some("/k".into()));
    assert_eq!((settings.client.master, settings.cloud.config_file), (None, None));
    assert_eq!(settings.cloud.cluster_cidrs, ["10.0.0.0/8", "fd00::/48"]);
}

#[test]
fn section_12_4_constructor() {
    assert_eq!(settings(&["--concurrent-node-lifecycle-syncs=5"]).node_lifecycle.syncs, NonZero::new(5));
    for count in ["0", "-5"] {
        let text = format!("concurrent-node-lifecycle-syncs must be at least 1, but got {count}");
        assert_eq!(errors(&[&format!("--concurrent-node-lifecycle-syncs={count}")]), text);
    }
}

#[test]
fn flags_of_ours_have_careful_defaults_and_are_checked() {
    let settings = settings(&[]);
    assert_eq!(settings.node_lifecycle.grace, Duration::from_secs(10));
    assert_eq!(settings.node_lifecycle.grace_young, Duration::from_secs(60));
    assert_eq!((settings.node_lifecycle.guard_threshold, settings.node_lifecycle.guard_min_nodes), (0.5, 10));
    assert_eq!(settings.node.unmanaged.to_string(), "type=virtual-kubelet");
    assert!(!settings.node.refresh_labels);
    assert_eq!(settings.service.reconciliation_period, None);
    for (flag, text) in [
        ("--node-deletion-guard-threshold=1.5", "node-deletion-guard-threshold must be between 0 and 1, but got 1.5"),
        ("--node-deletion-guard-threshold=NaN", "node-deletion-guard-threshold must be between 0 and 1, but got NaN"),
        ("--node-deletion-guard-min-nodes=-1", "node-deletion-guard-min-nodes cannot be a negative number"),
        ("--new-node-deletion-grace-period=-1s", "new-node-deletion-grace-period cannot be negative"),
        ("--service-reconciliation-period=-1s", "service-reconciliation-period cannot be negative"),
        ("--unmanaged-node-selector=a b", r#"unmanaged-node-selector: "a b" is not a label key"#),
    ] {
        assert_eq!(errors(&[flag]), text);
    }
}
