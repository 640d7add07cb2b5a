use jiff::{SignedDuration, Timestamp};

use super::decide::{Candidate, Observed, Record, Step};
use super::*;

const S: Duration = Duration::from_secs(1);
const ME: Candidate<'static> = Candidate { identity: "me", lease_duration: Duration::from_secs(15) };

fn wall() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

/// A record of another time, from a clock that is an hour ahead.
fn record(holder: &str, duration: i32, transitions: i32) -> Record {
    let then = wall() + SignedDuration::from_hours(1);
    Record { holder: holder.into(), duration, acquired: Some(then), renewed: Some(then), transitions }
}

fn mine(acquired: Timestamp, transitions: i32) -> Record {
    Record { holder: "me".into(), duration: 15, acquired: Some(acquired), renewed: Some(wall()), transitions }
}

#[test]
fn every_state_of_a_lease_has_its_step() {
    let start = Instant::now();
    let acquired = wall() + SignedDuration::from_hours(1);
    let cases = [
        ("there is no lease", None, 0, Step::Create(mine(wall(), 0))),
        ("another holds it", Some(record("other", 15, 3)), 0, Step::Wait),
        ("another holds it, almost expired", Some(record("other", 15, 3)), 14, Step::Wait),
        ("another held it", Some(record("other", 15, 3)), 15, Step::Update(mine(wall(), 4))),
        ("the duration is the other's, not ours", Some(record("other", 60, 3)), 59, Step::Wait),
        ("the other's longer lease is over", Some(record("other", 60, 3)), 60, Step::Update(mine(wall(), 4))),
        ("it was released", Some(record("", 1, 3)), 0, Step::Update(mine(wall(), 4))),
        ("it was released with a long duration", Some(record("", 3600, 3)), 0, Step::Update(mine(wall(), 4))),
        ("it is ours", Some(record("me", 15, 3)), 2, Step::Update(mine(acquired, 3))),
        ("it is ours and has expired", Some(record("me", 15, 3)), 100, Step::Update(mine(acquired, 3))),
        ("an empty lease that someone made by hand", Some(Record::default()), 0, Step::Update(mine(wall(), 1))),
        ("a holder without a duration", Some(record("other", 0, 0)), 0, Step::Update(mine(wall(), 1))),
        ("a negative duration", Some(record("other", -5, 0)), 0, Step::Update(mine(wall(), 1))),
        ("the last number of transitions", Some(record("other", 1, i32::MAX)), 2, Step::Update(mine(wall(), i32::MAX))),
    ];
    for (name, record, seconds, step) in cases {
        let observed = record.map(|record| Observed { record, since: start });
        assert_eq!(ME.decide(observed.as_ref(), start + S * seconds, wall()), step, "{name}");
    }
}

#[test]
fn only_what_is_held_is_released_and_then_anyone_may_take_it() {
    assert_eq!(ME.release(&record("other", 15, 3), wall()), None);
    let released = ME.release(&record("me", 15, 3), wall()).unwrap();
    assert_eq!((released.holder.as_str(), released.duration, released.transitions), ("", 1, 3));
    let observed = Observed { record: released, since: Instant::now() };
    let other = Candidate { identity: "other", ..ME };
    assert!(
        matches!(other.decide(Some(&observed), observed.since, wall()), Step::Update(record) if record.transitions == 4)
    );
}

#[test]
fn durations_that_cannot_work_are_refused_with_the_words_of_client_go() {
    let good = Settings::new("kube-system", "cloud-controller-manager");
    assert_eq!(good.validate(), Ok(()));
    let cases = [
        (Settings { lease_duration: 10 * S, ..good.clone() }, "leaseDuration must be greater than renewDeadline"),
        (
            Settings { retry_period: 9 * S, ..good.clone() },
            "renewDeadline must be greater than retryPeriod*JitterFactor",
        ),
        (
            Settings { lease_duration: S / 2, renew_deadline: S / 4, retry_period: S / 10, ..good.clone() },
            "leaseDuration must be greater than zero",
        ),
        (Settings { retry_period: Duration::ZERO, ..good.clone() }, "retryPeriod must be greater than zero"),
        (Settings { identity: String::new(), ..good }, "Lock identity is empty"),
    ];
    for (settings, text) in cases {
        assert_eq!(settings.validate().unwrap_err().to_string(), text);
    }
}

#[test]
fn identities_differ_between_processes_of_one_host() {
    let (one, two) = (identity(), identity());
    let (host, uuid) = one.rsplit_once('_').unwrap();
    assert!(!host.is_empty() && uuid.len() == 36);
    assert_ne!(one, two);
}

#[tokio::test(start_paused = true)]
async fn leadership_ends_at_its_deadline_by_the_clock_alone() {
    let leadership = Leadership::until(Instant::now() + 10 * S);
    let gate = leadership.gate();
    assert!(leadership.held() && gate());
    tokio::time::advance(9 * S).await;
    leadership.extend(Instant::now() + 10 * S);
    tokio::time::advance(9 * S).await;
    assert!(gate());
    tokio::time::advance(S).await;
    assert!(!gate());
    assert!(!leadership.ended().is_cancelled());
    leadership.end();
    assert!(leadership.ended().is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_has_not_renewed_for_long_is_unhealthy_and_a_standby_is_not() {
    let health = Health { name: "ccm".into(), lease_duration: 15 * S, renewed: Arc::default() };
    assert_eq!(health.check(), Ok(()));
    health.set(Some(Instant::now()));
    tokio::time::advance(35 * S).await;
    assert_eq!(health.check(), Ok(()));
    tokio::time::advance(S).await;
    assert_eq!(health.check(), Err("failed election to renew leadership on lease ccm".to_owned()));
    health.set(None);
    assert_eq!(health.check(), Ok(()));
}
