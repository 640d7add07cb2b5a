use std::sync::Mutex;

use tracing::{debug, error, info, info_span, trace, warn};

use super::*;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Sink {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

fn settings(format: Format, verbosity: i32, vmodule: &str) -> LoggingSettings {
    LoggingSettings { format, verbosity, vmodule: vmodule.parse().unwrap(), split_stream: false }
}

fn written(settings: &LoggingSettings, log: impl FnOnce(&Verbosity)) -> String {
    let sink = Sink::default();
    let (subscriber, verbosity) = subscriber(settings, sink.clone());
    tracing::subscriber::with_default(subscriber, || log(&verbosity));
    String::from_utf8(sink.0.lock().unwrap().clone()).unwrap()
}

/// The lines without their headers.
fn text(log: impl FnOnce(&Verbosity)) -> Vec<String> {
    let lines = written(&settings(Format::Text, 0, ""), log);
    lines.lines().map(|line| line.split_once("] ").unwrap().1.to_owned()).collect()
}

#[derive(Debug, thiserror::Error)]
#[error("attach targets")]
struct Outer(#[source] io::Error);

#[test]
fn header_is_that_of_klog() {
    let line = written(&settings(Format::Text, 0, ""), |_| warn!("hello"));
    let (header, message) = line.split_at(line.find(']').unwrap());
    assert_eq!(message, "] \"hello\"\n");
    let shape: String = header.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let (start, rest) = shape.split_at("W0000 00:00:00.000000 ".len());
    assert_eq!(start, "W0000 00:00:00.000000 ");
    assert_eq!(rest[..8].trim_start_matches(' ').trim_start_matches('0'), " ");
    assert!(rest[8..].starts_with("tests.rs:0"), "{rest}");
}

#[test]
fn fields_are_quoted_like_klog_and_errors_show_their_cause() {
    let lines = text(|_| {
        info!(service = %"default/web", count = 3, ready = true, list = ?["a"], "created \"it\"");
        let cause = Outer(io::Error::other("no\nroute"));
        error!(err = &cause as &(dyn std::error::Error + 'static), "failed");
    });
    assert_eq!(
        lines,
        [
            r#""created \"it\"" service="default/web" count=3 ready=true list="[\"a\"]""#,
            r#""failed" err="attach targets: no\nroute""#
        ]
    );
}

#[test]
fn span_fields_follow_the_message() {
    let lines = text(|_| {
        let span = info_span!("sync", service = "default/web", lb = tracing::field::Empty);
        span.record("lb", "a1");
        let _entered = span.enter();
        info!(step = 1, "planned");
    });
    assert_eq!(lines[0].replace("  ", " "), r#""planned" step=1 service="default/web" lb="a1""#);
}

#[test]
fn json_has_the_keys_of_kubernetes() {
    let lines = written(&settings(Format::Json, 4, ""), |_| {
        let span = info_span!("sync", service = "default/web");
        let _entered = span.enter();
        debug!(count = 3, "hello \"you\"");
        error!("bad");
    });
    let lines: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["msg"], "hello \"you\"");
    assert_eq!((&lines[0]["v"], &lines[0]["count"]), (&4.into(), &3.into()));
    assert_eq!(lines[0]["service"], "default/web");
    assert!(lines[0]["ts"].as_f64().unwrap() > 1.6e12);
    assert!(lines[0]["caller"].as_str().unwrap().starts_with("tests.rs:"));
    assert!(lines[1].get("v").is_none());
}

fn all_levels() {
    error!("own error");
    warn!("own warn");
    info!("own info");
    debug!("own debug");
    trace!("own trace");
    error!(target: "hyper::proto", "lib error");
    warn!(target: "hyper::proto", "lib warn");
    info!(target: "hyper::proto", "lib info");
    debug!(target: "hyper::proto", "lib debug");
    trace!(target: "hyper::proto", "lib trace");
}

#[test]
fn verbosity_lets_levels_through() {
    for (verbosity, own, lib) in
        [(0, 3, 2), (2, 3, 2), (3, 3, 2), (4, 4, 3), (5, 4, 3), (6, 5, 3), (7, 5, 3), (8, 5, 4), (10, 5, 4), (99, 5, 4)]
    {
        let lines = written(&settings(Format::Text, verbosity, ""), |_| all_levels());
        let counts = (lines.matches("\"own ").count(), lines.matches("\"lib ").count());
        assert_eq!(counts, (own, lib), "-v={verbosity}");
    }
}

#[test]
fn verbosity_changes_at_run_time() {
    let lines = written(&settings(Format::Text, 0, ""), |verbosity| {
        debug!("before");
        verbosity.set(4);
        debug!("after");
    });
    assert!(!lines.contains("before") && lines.contains("after"));
}

#[test]
fn vmodule_overrides_the_verbosity_of_a_file() {
    let count = |vmodule, verbosity| {
        let lines = written(&settings(Format::Text, verbosity, vmodule), |_| all_levels());
        lines.matches("\"own ").count()
    };
    assert_eq!(count("tests=6", 0), 5);
    assert_eq!(count("tests=0", 6), 3);
    assert_eq!(count("other=6", 0), 3);
}

#[test]
fn flags_are_printed_from_verbosity_one() {
    let flag = Flag { name: "cloud-provider".into(), value: "aws".into(), default: String::new(), set: true };
    let lines = text(|verbosity| {
        log_flags(std::slice::from_ref(&flag), verbosity);
        verbosity.set(1);
        log_flags(std::slice::from_ref(&flag), verbosity);
    });
    assert_eq!(lines, [r#"FLAG: --cloud-provider="aws""#]);
}

#[test]
fn secrets_never_appear() {
    let lines = text(|_| {
        let span = info_span!("call", session_token = "hunter2");
        let _entered = span.enter();
        info!(password = "hunter2", secret_key = %"hunter2", url = %"https://me:hunter2@host/x", "login");
        warn!("proxy http://me:hunter2@proxy:3128 failed");
    });
    assert!(!lines.concat().contains("hunter2"), "{lines:?}");
    assert!(lines[0].contains(r#"url="https://me:xxxxx@host/x""#));
    assert!(lines[1].contains("http://me:xxxxx@proxy:3128 failed"));
}

#[test]
fn only_secrets_are_left_out() {
    for name in ["client-secret", "auth.token", "PASSWORD", "aws_secret_access_key", "SecretKey", "Authorization"] {
        assert!(is_secret(name), "{name}");
    }
    for name in ["authentication-token-webhook-cache-ttl", "tls-private-key-file", "service", "key", "kubeconfig"] {
        assert!(!is_secret(name), "{name}");
    }
    for text in ["https://host/a@b:c", "https://user@host", "a://b c:d@e", "no url", "https://[::1]:443/"] {
        assert_eq!(without_passwords(text), text);
    }
}

#[test]
fn the_lines_of_kube_about_failed_requests_are_for_debugging() {
    for (verbosity, lines) in [(0, 1), (3, 1), (4, 2)] {
        let text = written(&settings(Format::Text, verbosity, ""), |_| {
            error!(target: "kube_client::client::builder", "failed with status 409 Conflict");
            error!(target: "kube_client::client", "something else");
        });
        assert_eq!(text.lines().count(), lines, "{verbosity}: {text}");
    }
}
