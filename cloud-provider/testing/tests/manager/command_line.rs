//! Exit status and text of runs that end at once (reference: core.md sections 3 and 3.5).

use std::process::{Command, Output};

use crate::process::BINARY;

fn run(flags: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = Command::new(BINARY).args(flags).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// The last line on standard error of a run that failed as Go's programs do.
fn failure(flags: &[&str]) -> String {
    let (code, stdout, stderr) = run(flags);
    assert_eq!((code, stdout.as_str()), (1, ""), "{flags:?}: {stderr}");
    stderr.lines().last().unwrap_or_default().to_owned()
}

#[test]
fn section_3_5_help_and_version_succeed() {
    let (code, help, stderr) = run(&["--help"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let at = |heading: &str| help.find(&format!("\n{heading} flags:\n")).unwrap_or_else(|| panic!("{heading}: {help}"));
    let order = [
        "Debugging",
        "Leader-migration",
        "Generic",
        "Cloud-node-controller",
        "Cloud-node-lifecycle-controller",
        "Service-lb-controller",
        "Webhook",
        "Webhook serving",
        "Secure serving",
        "Authentication",
        "Authorization",
        "Misc",
        "Global",
    ];
    assert!(order.map(at).is_sorted(), "in upstream's order: {help}");
    let version = format!("Kubernetes v{}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(run(&["--version"]), (0, version, String::new()));
}

#[test]
fn section_3_5_usage_errors_fail_with_a_hint() {
    for (flags, message) in [
        (&[][..], "--cloud-provider cannot be empty"),
        (&["--cloud-provder=memory"], "unknown flag: --cloud-provder; did you mean --cloud-provider?"),
        (
            &["--cloud-provider=memory", "x"],
            r#""memory-cloud-controller-manager" does not take any arguments, got ["x"]"#,
        ),
        (&["--cloud-provider=memory", "--controllers=nope"], r#""nope" is not in the list of known controllers"#),
        (&["--cloud-provider=memory", "--feature-gates=Nope=true"], "unrecognized feature gate: Nope"),
        (
            &["--cloud-provider=memory", "--feature-gates=DeclarativeValidation=false"],
            "cannot set feature gate DeclarativeValidation to false, feature is locked to true",
        ),
        (
            &["--cloud-provider=", "--secure-port=70000"],
            "[--secure-port 70000 must be between 0 and 65535, inclusive. 0 for turning off secure port, \
             --cloud-provider cannot be empty]",
        ),
        (
            &["--cloud-provider=memory", "--leader-elect-lease-duration=5s"],
            "leaseDuration must be greater than renewDeadline",
        ),
    ] {
        let (code, stdout, stderr) = run(flags);
        let hint = "Run 'memory-cloud-controller-manager --help' for the flags.";
        assert_eq!((code, stdout.as_str()), (1, ""), "{flags:?}");
        assert_eq!(stderr, format!("Error: {message}\n{hint}\n"), "{flags:?}");
    }
}

#[test]
fn section_3_5_failures_before_the_controllers_run_say_why() {
    let elsewhere = failure(&["--cloud-provider=aws"]);
    assert!(elsewhere.contains("unknown cloud provider \\\"aws\\\""), "{elsewhere}");
    let config = failure(&["--cloud-provider=memory", "--cloud-config=/nowhere/cloud.conf", "--kubeconfig=/nowhere/k"]);
    assert!(config.contains("couldn't open cloud provider configuration /nowhere/cloud.conf"), "{config}");
    let kubeconfig = failure(&["--cloud-provider=memory", "--secure-port=0", "--kubeconfig=/nowhere/kubeconfig"]);
    assert!(kubeconfig.contains("read kubeconfig /nowhere/kubeconfig"), "{kubeconfig}");
}

#[test]
fn removed_and_ending_flags_are_told_once_logs_work() {
    let (_, _, stderr) = run(&[
        "--cloud-provider=aws",
        "--port=0",
        "--logtostderr",
        "--allow_untagged_cloud",
        "--feature-gates=DeclarativeValidation=true",
        "-v=1",
    ]);
    for text in [
        "Flag --port has been removed and has no effect",
        "Flag --logtostderr has been removed",
        "Flag --allow-untagged-cloud has been deprecated",
        "this feature gate will be removed in a future release\" gate=\"DeclarativeValidation\"",
        "FLAG: --cloud-provider=\"aws\"\n",
        "FLAG: --leader-elect-lease-duration=\"15s\"\n",
    ] {
        assert!(stderr.contains(text), "{text}: {stderr}");
    }
    let (_, _, quiet) = run(&["--cloud-provider=aws"]);
    assert!(!quiet.contains("FLAG:"), "{quiet}");
}

#[test]
fn logs_are_json_when_asked_for() {
    let (code, _, stderr) = run(&["--cloud-provider=aws", "--logging-format=json", "-v=1"]);
    assert_eq!(code, 1);
    for line in stderr.lines() {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(entry["ts"].is_number() && entry["msg"].is_string() && entry["caller"].is_string(), "{line}");
    }
    assert!(stderr.lines().count() > 50, "{stderr}");
}
