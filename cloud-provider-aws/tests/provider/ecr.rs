//! The kubelet's credential plugin as a process, against the simulator.

use std::{process::Stdio, time::Duration};

use cloud_provider_aws_simulator::{ACCESS_KEY, Fault, Options, Policy, SECRET_KEY, Simulator};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

const PRIVATE: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
const CALL: &str = "ECR.GetAuthorizationToken";
const PUBLIC_CALL: &str = "ECRPublic.GetAuthorizationToken";
/// What AWS's own policy for nodes grants, and what the public registry takes besides.
const GRANTED: [&str; 3] =
    ["ecr:GetAuthorizationToken", "ecr-public:GetAuthorizationToken", "sts:GetServiceBearerToken"];

pub(crate) struct Ended {
    success: bool,
    code: Option<i32>,
    output: String,
    errors: String,
}

impl Ended {
    pub(crate) fn auth(&self, host: &str) -> (String, String) {
        assert!(self.success, "{}", self.errors);
        let response: Value = serde_json::from_str(&self.output).unwrap();
        let auth = response["auth"].as_object().unwrap();
        assert_eq!(auth.keys().collect::<Vec<_>>(), [host]);
        let text = |name: &str| auth[host][name].as_str().unwrap().to_owned();
        (text("username"), text("password"))
    }

    fn refused(&self, reason: &str) {
        assert_eq!(self.code, Some(1));
        assert_eq!(self.output, "", "the kubelet must not take it for an answer");
        assert!(self.errors.contains(reason), "{:?} is not about {reason:?}", self.errors);
    }
}

/// Runs the program without any AWS settings of the machine's but `env`.
async fn run(args: &[&str], env: &[(&str, &str)], input: &str) -> Ended {
    let home = tempfile::tempdir().unwrap();
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_ecr-credential-provider"))
        .args(args)
        .env_clear()
        .env("HOME", home.path())
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .envs(env.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A program that has ended does not read.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let ended = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output()).await.unwrap().unwrap();
    Ended {
        success: ended.status.success(),
        code: ended.status.code(),
        output: String::from_utf8(ended.stdout).unwrap(),
        errors: String::from_utf8(ended.stderr).unwrap(),
    }
}

fn request(more: &Value) -> String {
    let mut request =
        json!({"kind": "CredentialProviderRequest", "apiVersion": "credentialprovider.kubelet.k8s.io/v1"});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request.to_string()
}

async fn simulator() -> Simulator {
    Simulator::start(Options { policy: Policy::of(&GRANTED), ..Options::default() }).await.unwrap()
}

/// Runs the program with the machine's credentials.
pub(crate) async fn ask(simulator: &Simulator, more: &Value) -> Ended {
    let url = simulator.url();
    let env =
        [("AWS_ENDPOINT_URL", url.as_str()), ("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)];
    run(&[], &env, &request(more)).await
}

#[tokio::test]
async fn an_image_of_a_private_registry_gets_credentials_for_its_host() {
    let simulator = simulator().await;
    let ended = ask(&simulator, &json!({"image": format!("{PRIVATE}/team/app:1.0")})).await;
    assert_eq!(ended.auth(PRIVATE), ("AWS".to_owned(), format!("password-for-{ACCESS_KEY}")));
    let response: Value = serde_json::from_str(&ended.output).unwrap();
    assert_eq!(response["cacheKeyType"], "Registry");
    let duration = response["cacheDuration"].as_str().unwrap();
    assert!(["6h0m0s", "5h59m59s", "5h59m58s"].contains(&duration), "half of twelve hours, not {duration}");
    assert!(ended.output.ends_with("}\n") && ended.output.lines().count() == 1);
    assert_eq!(simulator.handle().count(CALL), 1);
}

#[tokio::test]
async fn an_image_of_the_public_registry_is_asked_for_in_its_only_region() {
    let simulator = simulator().await;
    for host in ["public.ecr.aws", "ecr-public.aws.com"] {
        let ended = ask(&simulator, &json!({"image": format!("{host}/nginx/nginx")})).await;
        assert_eq!(ended.auth(host).1, format!("password-for-{ACCESS_KEY}"));
    }
    let handle = simulator.handle();
    assert_eq!((handle.count(PUBLIC_CALL), handle.count(CALL)), (2, 0));
}

#[tokio::test]
async fn a_host_that_is_no_registry_of_amazons_is_asked_for_in_the_default_region() {
    let simulator = simulator().await;
    let url = simulator.url();
    let mut env = vec![("AWS_ENDPOINT_URL_ECR", url.as_str()), ("AWS_ACCESS_KEY_ID", ACCESS_KEY)];
    env.extend([("AWS_SECRET_ACCESS_KEY", SECRET_KEY), ("AWS_REGION", "us-east-1")]);
    let text = request(&json!({"image": "registry.k8s.io/foo:latest"}));
    let ended = run(&[], &env, &text).await;
    assert_eq!(ended.auth("registry.k8s.io").0, "AWS");
    env.pop();
    run(&[], &env, &text).await.refused("names a region");
}

#[tokio::test]
async fn the_token_of_a_service_account_takes_on_its_role() {
    let simulator = simulator().await;
    let handle = simulator.handle();
    let role = "arn:aws:iam::123456789012:role/demo-control-plane";
    let more = json!({
        "image": format!("{PRIVATE}/app"),
        "serviceAccountToken": "head.claims.signature",
        "serviceAccountAnnotations": {"eks.amazonaws.com/ecr-role-arn": role},
    });
    // No credentials of the machine's: the token suffices.
    let url = simulator.url();
    let endpoint = ("AWS_ENDPOINT_URL", url.as_str());
    let ended = run(&[], &[endpoint], &request(&more)).await;
    assert!(ended.auth(PRIVATE).1.starts_with("password-for-ASIA"), "{}", ended.output);
    let calls = handle.calls();
    let taken = calls.iter().find(|call| call.action == "AssumeRoleWithWebIdentity").unwrap();
    assert_eq!(taken.parameters["RoleArn"], role);
    assert_eq!(taken.parameters["RoleSessionName"], "ecr-credential-provider");

    let by_environment = json!({"image": format!("{PRIVATE}/app"), "serviceAccountToken": "head.claims.signature"});
    let ended = run(&[], &[endpoint, ("AWS_ECR_ROLE_ARN", role)], &request(&by_environment)).await;
    assert!(ended.auth(PRIVATE).1.starts_with("password-for-ASIA"));

    let mut unknown = more.clone();
    unknown["serviceAccountAnnotations"]["eks.amazonaws.com/ecr-role-arn"] =
        json!("arn:aws:iam::123456789012:role/unknown");
    run(&[], &[endpoint], &request(&unknown)).await.refused("failed to assume role: ");

    handle.reset_calls();
    let mut hidden = more;
    hidden["serviceAccountAnnotations"]["eks.amazonaws.com/ecr-role-arn"] = json!("");
    let ended = ask(&simulator, &hidden).await;
    assert_eq!(ended.auth(PRIVATE).1, format!("password-for-{ACCESS_KEY}"), "without a role the machine asks");
    assert_eq!(handle.count("STS.AssumeRoleWithWebIdentity"), 0);
}

#[tokio::test]
async fn a_failing_service_is_asked_three_times_and_a_refusal_once() {
    let simulator = simulator().await;
    let handle = simulator.handle();
    handle.fault(Fault::error(CALL, "ServerException").times(2));
    let image = json!({"image": format!("{PRIVATE}/app")});
    ask(&simulator, &image).await.auth(PRIVATE);
    assert_eq!(handle.count(CALL), 3);

    handle.reset_calls();
    handle.set_policy(Policy::of(&[]));
    let ended = ask(&simulator, &image).await;
    ended.refused("AccessDeniedException: ");
    ended.refused("not authorized to perform: ecr:GetAuthorizationToken");
    ended.refused("(request ID ");
    assert_eq!(handle.count(CALL), 1);
}

#[tokio::test]
async fn what_is_no_request_is_refused_without_a_call() {
    let simulator = simulator().await;
    let image = format!("{PRIVATE}/app");
    for (more, reason) in [
        (json!({"image": ""}), "image in plugin request was empty"),
        (json!({"image": "foobar  "}), "error parsing image reference https://foobar  "),
        (json!({"image": image, "kind": "CredentialProviderFoo"}), "kind was \"CredentialProviderFoo\""),
        (json!({"image": image, "apiVersion": "foo.k8s.io/v1"}), "group version foo.k8s.io/v1 is not supported"),
    ] {
        ask(&simulator, &more).await.refused(reason);
    }
    run(&[], &[], "no JSON").await.refused("json parse error");
    assert!(simulator.handle().calls().is_empty());
}

#[tokio::test]
async fn flags_are_upstreams() {
    let version = run(&["--version"], &[], "").await;
    assert!(version.success && version.output.starts_with("ecr-credential-provider "), "{}", version.output);
    let help = run(&["-h"], &[], "").await;
    assert!(help.success && help.output.contains("Usage"), "{}", help.output);
    run(&["--no-such-flag"], &[], "").await.refused("--no-such-flag");
    run(&["get-credentials"], &[], "no JSON").await.refused("json parse error");
}
