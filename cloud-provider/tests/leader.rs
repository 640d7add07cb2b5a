//! Leader election on a real API server: ours beside ours, and ours beside records of the shape that client-go writes.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends when something it needs is not there"
)]

use std::time::{Duration, Instant};

use cloud_provider::cluster::client::{Clients, Settings as ClientSettings};
use cloud_provider::cluster::events::{Recorder, Sink};
use cloud_provider::manager::leader::{Change, Election, Elector, Leadership, Settings};
use cloud_provider::metrics::Metrics;
use cloud_provider_testing::control_plane::{ControlPlane, Options, shared, unique};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

const S: Duration = Duration::from_secs(1);

/// A candidate, its token and its metrics.
struct Candidate {
    election: Election,
    stop: CancellationToken,
    metrics: Metrics,
    lease: String,
}

fn candidate(control_plane: &ControlPlane, settings: Settings, recorder: Option<Recorder>) -> Candidate {
    let metrics = Metrics::new();
    let text = control_plane.kubeconfig_for_user("elector", &["system:masters"]).unwrap();
    let path = control_plane.write_kubeconfig(&unique("elector"), &text).unwrap();
    let client = ClientSettings { kubeconfig: Some(path), user_agent: "test".into(), ..ClientSettings::default() };
    let stop = CancellationToken::new();
    let lease = settings.name.clone();
    let elector = Elector::new(settings, Clients::new(client, &metrics), recorder, &metrics).unwrap();
    Candidate { election: elector.run(stop.clone()).unwrap(), stop, metrics, lease }
}

impl Candidate {
    async fn acquired(&mut self, within: Duration) -> Leadership {
        match timeout(within, self.election.next()).await.expect("acquired in time") {
            Some(Change::Acquired(leadership)) => leadership,
            other => panic!("{other:?}"),
        }
    }

    async fn lost(&mut self, within: Duration) {
        match timeout(within, self.election.next()).await.expect("lost in time") {
            Some(Change::Lost) => {}
            other => panic!("{other:?}"),
        }
    }

    async fn silent_for(&mut self, time: Duration) {
        assert!(timeout(time, self.election.next()).await.is_err(), "nothing changes");
    }

    async fn stop(&mut self) {
        self.stop.cancel();
        assert!(matches!(timeout(10 * S, self.election.next()).await.unwrap(), Some(Change::Stopped)));
        assert!(self.election.next().await.is_none());
    }

    /// The value of a metric that has the lease as its label.
    fn metric(&self, name: &str) -> u64 {
        let start = format!("{name}{{name=\"{}\"}} ", self.lease);
        let text = self.metrics.render();
        text.lines().find_map(|line| line.strip_prefix(&start)).unwrap().parse().unwrap()
    }
}

async fn spec(client: &Client, name: &str) -> LeaseSpec {
    let api: Api<Lease> = Api::namespaced(client.clone(), "kube-system");
    api.get(name).await.unwrap().spec.unwrap()
}

fn settings(name: &str) -> Settings {
    Settings::new("kube-system", name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_released_lease_is_taken_over_by_a_warm_standby_within_the_promised_time() {
    let control_plane = shared().await.unwrap();
    let client = control_plane.client().await.unwrap();
    for (retry, limit) in [(2 * S, 5 * S), (S, 3 * S)] {
        let name = unique("handover");
        let settings = || Settings { retry_period: retry, ..settings(&name) };
        let (first, second) = (settings(), settings());
        let (first_identity, second_identity) = (first.identity.clone(), second.identity.clone());
        let mut leader = candidate(control_plane, first, None);
        let leadership = leader.acquired(10 * S).await;
        let granted = spec(&client, &name).await;
        assert_eq!(granted.holder_identity.as_deref(), Some(first_identity.as_str()));
        assert_eq!((granted.lease_duration_seconds, granted.lease_transitions), (Some(15), Some(0)));
        assert_eq!(leader.metric("leader_election_master_status"), 1);

        let mut standby = candidate(control_plane, second, None);
        standby.silent_for(3 * S).await;
        assert_eq!(standby.metric("leader_election_master_status"), 0);
        let renewed = spec(&client, &name).await;
        assert!(renewed.renew_time.unwrap().0 > granted.renew_time.unwrap().0, "it is renewed");
        assert_eq!(renewed.acquire_time.unwrap().0, granted.acquire_time.unwrap().0, "it is still the same term");
        assert!(leadership.held() && leader.election.health().check().is_ok());

        leader.stop().await;
        let released = Instant::now();
        assert!(!leadership.held() && leadership.ended().is_cancelled());
        let left = spec(&client, &name).await;
        assert_eq!((left.holder_identity.as_deref(), left.lease_duration_seconds), (Some(""), Some(1)));

        standby.acquired(limit).await;
        println!("taken over {:?} after the release, retry period {retry:?}", released.elapsed());
        let taken = spec(&client, &name).await;
        assert_eq!(taken.holder_identity.as_deref(), Some(second_identity.as_str()));
        assert_eq!((taken.lease_transitions, taken.lease_duration_seconds), (Some(1), Some(15)));
        standby.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lease_of_another_client_is_respected_until_it_stood_still_for_its_own_duration() {
    let control_plane = shared().await.unwrap();
    let client = control_plane.client().await.unwrap();
    let api: Api<Lease> = Api::namespaced(client.clone(), "kube-system");
    let name = unique("foreign");
    // As client-go writes it, by a clock that is an hour behind: a remote time says nothing.
    let then = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1);
    let record = |second: i64| LeaseSpec {
        holder_identity: Some("node-a_6a2f0f4e-0000-4000-8000-000000000000".into()),
        lease_duration_seconds: Some(4),
        acquire_time: Some(MicroTime(then)),
        renew_time: Some(MicroTime(then + jiff::SignedDuration::from_secs(second))),
        lease_transitions: Some(7),
        ..LeaseSpec::default()
    };
    let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
    let mut theirs = api.create(&PostParams::default(), &Lease { metadata, spec: Some(record(0)) }).await.unwrap();

    let mut ours = candidate(control_plane, Settings { retry_period: S, ..settings(&name) }, None);
    for second in 1..=4 {
        ours.silent_for(2 * S).await;
        theirs.spec = Some(record(2 * second));
        theirs = api.replace(&name, &PostParams::default(), &theirs).await.unwrap();
    }
    let still = Instant::now();
    ours.acquired(10 * S).await;
    assert!(still.elapsed() >= 4 * S, "{:?}", still.elapsed());
    let taken = spec(&client, &name).await;
    assert_eq!((taken.lease_transitions, taken.lease_duration_seconds), (Some(8), Some(15)));
    let fresh = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(60);
    assert!(taken.acquire_time.unwrap().0 > fresh && taken.renew_time.unwrap().0 > fresh);

    // And theirs cannot write over ours with what they remember.
    let error = api.replace(&name, &PostParams::default(), &theirs).await.unwrap_err();
    assert!(matches!(error, kube::Error::Api(status) if status.code == 409));
    ours.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_lease_was_taken_stops_at_once() {
    let control_plane = shared().await.unwrap();
    let client = control_plane.client().await.unwrap();
    let api: Api<Lease> = Api::namespaced(client.clone(), "kube-system");
    let name = unique("stolen");
    let mut ours = candidate(control_plane, settings(&name), None);
    let leadership = ours.acquired(10 * S).await;
    let theft = serde_json::json!({ "spec": { "holderIdentity": "thief" } });
    api.patch(&name, &PatchParams::default(), &Patch::Merge(theft)).await.unwrap();
    ours.lost(4 * S).await;
    assert!(!leadership.held() && leadership.ended().is_cancelled());
    assert_eq!(spec(&client, &name).await.holder_identity.as_deref(), Some("thief"), "it is left alone");
    assert_eq!(ours.metric("leader_election_master_status"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_no_takeover_costs_a_second_look_and_nothing_more() {
    let control_plane = shared().await.unwrap();
    let client = control_plane.client().await.unwrap();
    let api: Api<Lease> = Api::namespaced(client.clone(), "kube-system");
    let name = unique("labelled");
    let mut ours = candidate(control_plane, settings(&name), None);
    let leadership = ours.acquired(10 * S).await;
    let before = spec(&client, &name).await;
    let label = serde_json::json!({ "metadata": { "labels": { "a": "b" } } });
    api.patch(&name, &PatchParams::default(), &Patch::Merge(label)).await.unwrap();
    ours.silent_for(5 * S).await;
    assert!(leadership.held());
    let after = api.get(&name).await.unwrap();
    assert_eq!(after.metadata.labels.unwrap()["a"], "b", "what others wrote is kept");
    let after = after.spec.unwrap();
    assert!(after.renew_time.unwrap().0 > before.renew_time.unwrap().0);
    assert_eq!((after.acquire_time.unwrap().0, after.lease_transitions), (before.acquire_time.unwrap().0, Some(0)));
    assert_eq!(ours.metric("leader_election_slowpath_total"), 1);
    ours.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_candidates_one_leads_and_its_events_tell() {
    let control_plane = shared().await.unwrap();
    let client = control_plane.client().await.unwrap();
    let name = unique("crowd");
    let stop_events = CancellationToken::new();
    let sink = Sink::new(client.clone());
    let recorder = sink.recorder("cloud-controller-manager");
    let writer = tokio::spawn(sink.run(stop_events.clone()));
    let mut crowd: Vec<_> = (0..5)
        .map(|_| {
            let settings = Settings { retry_period: S, ..settings(&name) };
            candidate(control_plane, settings, Some(recorder.clone()))
        })
        .collect();
    for _ in 0..3 {
        let leader = timeout(10 * S, async {
            loop {
                let leads = |index: &usize| crowd[*index].metric("leader_election_master_status") == 1;
                let leaders: Vec<_> = (0..crowd.len()).filter(leads).collect();
                assert!(leaders.len() <= 1, "{leaders:?}");
                if let Some(leader) = leaders.first() {
                    break *leader;
                }
                sleep(S / 10).await;
            }
        });
        let mut leader = crowd.remove(leader.await.expect("one leads in time"));
        leader.acquired(S).await;
        leader.stop().await;
    }
    for mut candidate in crowd {
        candidate.stop.cancel();
        while candidate.election.next().await.is_some() {}
    }
    stop_events.cancel();
    writer.await.unwrap();

    let events: Api<Event> = Api::namespaced(client.clone(), "kube-system");
    let ours = ListParams::default().fields(&format!("involvedObject.name={name}"));
    let events = events.list(&ours).await.unwrap().items;
    let count = |what: &str| events.iter().filter(|event| event.message.as_ref().unwrap().ends_with(what)).count();
    assert!(count(" became leader") >= 3 && count(" became leader") == count(" stopped leading"), "{events:?}");
    let event = &events[0];
    assert_eq!(event.reason.as_deref(), Some("LeaderElection"));
    assert_eq!(event.source.as_ref().unwrap().component.as_deref(), Some("cloud-controller-manager"));
    assert_eq!(event.involved_object.api_version.as_deref(), Some("coordination.k8s.io/v1"));
    assert!(event.involved_object.uid.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_api_server_leadership_ends_at_the_renew_deadline_and_not_before() {
    let control_plane = ControlPlane::start(Options::default()).await.unwrap();
    let name = unique("outage");
    let settings = Settings { renew_deadline: 6 * S, retry_period: S, ..settings(&name) };
    let mut ours = candidate(&control_plane, settings.clone(), None);
    let leadership = ours.acquired(10 * S).await;
    sleep(3 * S).await;
    control_plane.stop_api_server().unwrap();
    let down = Instant::now();
    ours.lost(20 * S).await;
    let held = down.elapsed();
    println!("led on for {held:?} without an API server, renew deadline {:?}", settings.renew_deadline);
    assert!(!leadership.held() && leadership.ended().is_cancelled());
    assert!(held > 4 * S && held < 7 * S, "{held:?}");

    // The next one waits for the server and for the end of the lease.
    let mut next = candidate(&control_plane, Settings { identity: "next".into(), ..settings }, None);
    next.silent_for(2 * S).await;
    control_plane.start_api_server().await.unwrap();
    let up = Instant::now();
    next.acquired(30 * S).await;
    assert!(up.elapsed() > 12 * S, "{:?}", up.elapsed());
    next.stop().await;
}
