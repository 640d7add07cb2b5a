use super::*;

fn recorded(reason: &'static str, message: &str) -> Recorded {
    Recorded {
        component: "service-controller",
        subject: Subject {
            api_version: "v1".into(),
            kind: "Service".into(),
            namespace: Some("shop".into()),
            name: "web".into(),
            uid: "u1".into(),
        },
        severity: Severity::Warning,
        reason,
        message: message.into(),
        at: Timestamp::now(),
    }
}

#[tokio::test(start_paused = true)]
async fn repeats_raise_the_count_of_the_first_event() {
    let mut correlator = Correlator::default();
    let first = correlator.observe(recorded("SyncLoadBalancerFailed", "quota")).unwrap();
    assert_eq!(first.count, 1);
    assert!(first.name.starts_with("web."));
    let second = correlator.observe(recorded("SyncLoadBalancerFailed", "quota")).unwrap();
    assert_eq!((second.count, &second.name, second.first), (2, &first.name, first.first));
    let other = correlator.observe(recorded("SyncLoadBalancerFailed", "denied")).unwrap();
    assert_eq!(other.count, 1);
    assert_ne!(other.name, first.name);
}

#[tokio::test(start_paused = true)]
async fn the_name_that_the_server_gave_is_used_from_then_on() {
    let mut correlator = Correlator::default();
    let first = correlator.observe(recorded("Synced", "ok")).unwrap();
    correlator.written(&first, Some("other".into()));
    assert_eq!(correlator.observe(recorded("Synced", "ok")).unwrap().name, "other");
}

#[tokio::test(start_paused = true)]
async fn from_the_tenth_message_on_similar_events_become_one() {
    let mut correlator = Correlator::default();
    for number in 1..10 {
        let observed = correlator.observe(recorded("SyncLoadBalancerFailed", &format!("request {number}"))).unwrap();
        assert_eq!((observed.count, observed.recorded.message), (1, format!("request {number}")));
    }
    let tenth = correlator.observe(recorded("SyncLoadBalancerFailed", "request 10")).unwrap();
    assert_eq!(tenth.recorded.message, "(combined from similar events): request 10");
    assert_eq!(tenth.count, 1);
    let eleventh = correlator.observe(recorded("SyncLoadBalancerFailed", "request 11")).unwrap();
    assert_eq!((eleventh.count, &eleventh.name), (2, &tenth.name));
    assert_eq!(
        correlator.observe(recorded("DeleteLoadBalancerFailed", "request 12")).unwrap().recorded.message,
        "request 12"
    );
}

#[tokio::test(start_paused = true)]
async fn similar_events_with_long_pauses_stay_apart() {
    let mut correlator = Correlator::default();
    for number in 0..30 {
        let observed = correlator.observe(recorded("SyncLoadBalancerFailed", &format!("request {number}"))).unwrap();
        assert_eq!(observed.recorded.message, format!("request {number}"));
        tokio::time::advance(Duration::from_secs(601)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_about_one_object_is_dropped_and_others_are_not() {
    let mut correlator = Correlator::default();
    let written = (0..100).filter_map(|_| correlator.observe(recorded("Synced", "ok"))).count();
    assert_eq!(written, 25);
    let mut other = recorded("Synced", "ok");
    other.subject.name = "api".into();
    assert!(correlator.observe(other).is_some());
    tokio::time::advance(Duration::from_secs(301)).await;
    assert_eq!(correlator.observe(recorded("Synced", "ok")).unwrap().count, 101, "what was dropped is counted");
    assert!(correlator.observe(recorded("Synced", "ok")).is_none());
}

#[tokio::test(start_paused = true)]
async fn names_too_long_for_an_object_are_replaced() {
    let mut correlator = Correlator::default();
    let mut long = recorded("Synced", "ok");
    long.subject.name = "n".repeat(250);
    assert!(correlator.observe(long).unwrap().name.len() <= 253);
}

#[tokio::test(start_paused = true)]
async fn events_have_the_shape_of_client_go() {
    let mut correlator = Correlator::default();
    let mut node = recorded("DeletingNode", "Deleting node a because it does not exist in the cloud provider");
    node.component = "cloud-node-lifecycle-controller";
    node.severity = Severity::Normal;
    node.subject = Subject { kind: "Node".into(), name: "a".into(), uid: "u".into(), ..Subject::default() };
    node.at = "2026-01-02T03:04:05.678Z".parse().unwrap();
    let observed = correlator.observe(node).unwrap();
    let json = serde_json::to_value(event(&observed, DEFAULT_NAMESPACE)).unwrap();
    assert_eq!(
        json,
        json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": { "name": "a.1886caf244ffa780", "namespace": "default" },
            "involvedObject": { "kind": "Node", "name": "a", "uid": "u" },
            "reason": "DeletingNode",
            "message": "Deleting node a because it does not exist in the cloud provider",
            "type": "Normal",
            "source": { "component": "cloud-node-lifecycle-controller" },
            "reportingComponent": "cloud-node-lifecycle-controller",
            "count": 1,
            "firstTimestamp": "2026-01-02T03:04:05Z",
            "lastTimestamp": "2026-01-02T03:04:05Z",
        })
    );
}

/// What is recorded while a process ends is not written, but nothing was too fast.
#[tokio::test]
async fn an_event_after_the_end_does_not_count_as_dropped() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
    let sink = Sink::new(client);
    let recorder = sink.recorder("service-controller");
    let Recorded { subject, severity, reason, message, .. } = recorded("Synced", "late");
    for _ in 0..=QUEUE {
        recorder.event(&subject, severity, reason, message.clone());
    }
    assert_eq!(recorder.dropped.get(), 1, "one more than a lane holds");
    drop(sink);
    recorder.event(&subject, severity, reason, message);
    assert_eq!(recorder.dropped.get(), 1);
}
