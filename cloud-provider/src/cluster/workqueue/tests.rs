use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

fn queue() -> WorkQueue<&'static str> {
    WorkQueue::new("test", Backoff::NODES, &Metrics::new())
}

/// The next key, which must be there without waiting.
async fn now(queue: &WorkQueue<&'static str>) -> Taken<&'static str> {
    tokio::time::timeout(Duration::ZERO, queue.next()).await.expect("a key is ready").expect("the queue is open")
}

async fn nothing_for(queue: &WorkQueue<&'static str>, time: Duration) {
    assert!(tokio::time::timeout(time, queue.next()).await.is_err(), "no key is ready");
}

#[tokio::test(start_paused = true)]
async fn keys_come_in_order_and_once_however_often_added() {
    let queue = queue();
    for key in ["a", "b", "a", "a"] {
        queue.add(key);
    }
    assert_eq!(queue.len(), 2);
    assert_eq!(*now(&queue).await, "a");
    assert_eq!(*now(&queue).await, "b");
    nothing_for(&queue, 1000 * S).await;
}

#[tokio::test(start_paused = true)]
async fn a_key_added_while_it_runs_runs_once_more_afterwards() {
    let queue = queue();
    queue.add("a");
    let run = now(&queue).await;
    queue.add("a");
    queue.add("a");
    nothing_for(&queue, S).await;
    drop(run);
    let again = now(&queue).await;
    drop(again);
    nothing_for(&queue, S).await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_worker_gets_the_repeat_of_a_key_when_it_is_done() {
    let queue = queue();
    queue.add("a");
    let run = now(&queue).await;
    queue.add("a");
    let waiting = tokio::spawn({
        let queue = queue.clone();
        async move { queue.next().await.map(|key| *key) }
    });
    tokio::time::sleep(S).await;
    assert!(!waiting.is_finished());
    drop(run);
    assert_eq!(waiting.await.unwrap(), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn a_delayed_key_comes_at_its_time() {
    let queue = queue();
    let start = Instant::now();
    queue.add_after("late", 50 * MS);
    queue.add_after("early", 20 * MS);
    queue.add_after("now", Duration::ZERO);
    assert_eq!(*now(&queue).await, "now");
    assert_eq!(*queue.next().await.unwrap(), "early");
    assert_eq!(start.elapsed(), 20 * MS);
    assert_eq!(*queue.next().await.unwrap(), "late");
    assert_eq!(start.elapsed(), 50 * MS);
}

#[tokio::test(start_paused = true)]
async fn the_earliest_of_several_delays_counts() {
    let queue = queue();
    let start = Instant::now();
    queue.add_after("a", 50 * MS);
    queue.add_after("a", 10 * MS);
    queue.add_after("a", 70 * MS);
    drop(queue.next().await);
    assert_eq!(start.elapsed(), 10 * MS);
    nothing_for(&queue, S).await;
}

#[tokio::test(start_paused = true)]
async fn an_add_takes_the_place_of_a_delayed_entry() {
    let queue = queue();
    queue.add_after("a", 60 * S);
    queue.add("a");
    drop(now(&queue).await);
    nothing_for(&queue, 600 * S).await;
}

#[tokio::test(start_paused = true)]
async fn a_waiting_worker_is_woken_by_an_earlier_delay() {
    let queue = queue();
    queue.add_after("late", 600 * S);
    let start = Instant::now();
    let waiting = tokio::spawn({
        let queue = queue.clone();
        async move { queue.next().await.map(|key| *key) }
    });
    tokio::time::sleep(S).await;
    queue.add_after("early", S);
    assert_eq!(waiting.await.unwrap(), Some("early"));
    assert_eq!(start.elapsed(), 2 * S);
}

#[tokio::test(start_paused = true)]
async fn failures_double_the_delay_up_to_the_maximum_until_forgotten() {
    let queue = WorkQueue::new("service", Backoff::SERVICES, &Metrics::new());
    let delays: Vec<_> = (0..8).map(|_| queue.add_rate_limited("a").as_secs()).collect();
    assert_eq!(delays, [5, 10, 20, 40, 80, 160, 300, 300]);
    assert_eq!(queue.failures(&"a"), 8);
    assert_eq!(queue.add_rate_limited("b"), 5 * S, "each key has its own");
    queue.forget(&"a");
    assert_eq!(queue.failures(&"a"), 0);
    assert_eq!(queue.add_rate_limited("a"), 5 * S);
}

#[test]
fn a_back_off_of_many_failures_does_not_overflow() {
    assert_eq!(Backoff::NODES.delay(0), 5 * MS);
    assert_eq!(Backoff::NODES.delay(17), Duration::from_millis(655_360));
    for failures in [18, 31, 32, u32::MAX] {
        assert_eq!(Backoff::NODES.delay(failures), 1000 * S);
    }
}

#[tokio::test(start_paused = true)]
async fn retries_of_all_keys_together_are_limited() {
    let queue = WorkQueue::new("Nodes", Backoff::NODES, &Metrics::new());
    let delays: Vec<_> = (0..120).map(|key| queue.add_rate_limited(key)).collect();
    assert_eq!(delays[99], 5 * MS, "a burst of 100 has only its own back-off");
    assert_eq!(delays[100], 100 * MS);
    assert_eq!(delays[119], 2 * S, "then 10 per second");
}

#[tokio::test(start_paused = true)]
async fn shutting_down_ends_waits_and_hands_out_nothing_more() {
    let queue = queue();
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let queue = queue.clone();
            tokio::spawn(async move { queue.next().await.is_none() })
        })
        .collect();
    tokio::task::yield_now().await;
    queue.shut_down();
    for worker in waiting {
        assert!(worker.await.unwrap());
    }
    queue.add("a");
    queue.add_after("b", MS);
    assert!(queue.next().await.is_none());
    assert!(queue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_wait_loses_no_key() {
    let queue = queue();
    for _ in 0..100 {
        let waiting = tokio::spawn({
            let queue = queue.clone();
            async move { queue.next().await.is_some() }
        });
        let other = tokio::spawn({
            let queue = queue.clone();
            async move { queue.next().await.is_some() }
        });
        tokio::task::yield_now().await;
        queue.add("a");
        waiting.abort();
        let taken = tokio::time::timeout(S, other).await.expect("the other worker is woken").unwrap();
        assert!(taken || waiting.await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_delayed_key_comes_in_time_when_the_worker_that_waited_for_it_gives_up() {
    let queue = queue();
    let start = Instant::now();
    let wait = |queue: WorkQueue<&'static str>| tokio::spawn(async move { queue.next().await.map(|key| *key) });
    let first = wait(queue.clone());
    tokio::task::yield_now().await;
    let second = wait(queue.clone());
    tokio::task::yield_now().await;
    queue.add_after("a", 10 * S);
    tokio::task::yield_now().await;
    first.abort();
    assert_eq!(second.await.unwrap(), Some("a"));
    assert_eq!(start.elapsed(), 10 * S);
}

#[tokio::test(start_paused = true)]
async fn a_batch_gathers_until_nothing_new_comes() {
    let queue = queue();
    let gather = Gather { idle: 20 * MS, max_wait: 500 * MS, max_items: 100 };
    queue.add("a");
    queue.add("b");
    queue.add_after("c", 15 * MS);
    queue.add_after("d", 30 * MS);
    queue.add_after("e", 60 * MS);
    let start = Instant::now();
    let batch: Vec<_> = queue.next_batch(gather).await.unwrap().iter().map(|key| **key).collect();
    assert_eq!(batch, ["a", "b", "c", "d"]);
    assert_eq!(start.elapsed(), 50 * MS);
    assert_eq!(*queue.next().await.unwrap(), "e");
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_bounded_in_time_and_size() {
    let queue = WorkQueue::new("test", Backoff::NODES, &Metrics::new());
    for key in 0..100u32 {
        queue.add_after(key, 10 * MS * key);
    }
    let gather = Gather { idle: 20 * MS, max_wait: 105 * MS, max_items: 20 };
    let start = Instant::now();
    assert_eq!(queue.next_batch(gather).await.unwrap().len(), 11, "0 to 100 ms");
    assert_eq!(start.elapsed(), 105 * MS);
    tokio::time::sleep(S).await;
    assert_eq!(queue.next_batch(gather).await.unwrap().len(), 20);
    queue.shut_down();
    assert!(queue.next_batch(gather).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn gathering_ends_with_its_time_or_when_the_batch_is_full() {
    let queue = WorkQueue::new("test", Backoff::NODES, &Metrics::new());
    for key in 0..100u32 {
        queue.add_after(key, 10 * MS * key);
    }
    let start = Instant::now();
    let mut batch = vec![queue.next().await.unwrap()];
    queue.gather(&mut batch, tokio::time::sleep(105 * MS), 20).await.unwrap();
    assert_eq!(batch.len(), 11, "0 to 100 ms");
    assert_eq!(start.elapsed(), 105 * MS);
    tokio::time::sleep(S).await;
    let mut batch = Vec::new();
    queue.gather(&mut batch, tokio::time::sleep(105 * MS), 20).await.unwrap();
    assert_eq!(batch.len(), 20);
    queue.shut_down();
    assert!(queue.gather(&mut batch, std::future::pending(), 100).await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_key_runs_twice_at_once_and_every_add_is_followed_by_a_run() {
    const KEYS: usize = 16;
    let queue = WorkQueue::<usize>::new("test", Backoff::NODES, &Metrics::new());
    let running: Arc<Vec<AtomicUsize>> = Arc::new((0..KEYS).map(|_| AtomicUsize::new(0)).collect());
    let wanted: Arc<Vec<AtomicUsize>> = Arc::new((0..KEYS).map(|_| AtomicUsize::new(0)).collect());
    let seen: Arc<Vec<AtomicUsize>> = Arc::new((0..KEYS).map(|_| AtomicUsize::new(0)).collect());
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let (queue, running, wanted, seen) = (queue.clone(), running.clone(), wanted.clone(), seen.clone());
            tokio::spawn(async move {
                while let Some(key) = queue.next().await {
                    assert_eq!(running[*key].fetch_add(1, Ordering::SeqCst), 0);
                    seen[*key].fetch_max(wanted[*key].load(Ordering::SeqCst), Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    running[*key].fetch_sub(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for round in 1..=2000 {
        for key in 0..KEYS {
            wanted[key].store(round, Ordering::SeqCst);
            if (round + key) % 3 == 0 { queue.add_after(key, MS) } else { queue.add(key) }
        }
        tokio::task::yield_now().await;
    }
    tokio::time::timeout(30 * S, async {
        while seen.iter().any(|seen| seen.load(Ordering::SeqCst) < 2000) {
            tokio::time::sleep(MS).await;
        }
    })
    .await
    .expect("the last add of every key is followed by a run");
    queue.shut_down();
    for worker in workers {
        worker.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn metrics_follow_the_keys() {
    let metrics = Metrics::new();
    let queue = WorkQueue::new("Nodes", Backoff::NODES, &metrics);
    queue.add("a");
    queue.add("b");
    queue.add("b");
    tokio::time::advance(2 * S).await;
    let run = now(&queue).await;
    tokio::time::advance(3 * S).await;
    queue.add_rate_limited("c");
    let text = metrics.render();
    for line in [
        "workqueue_adds_total{name=\"Nodes\"} 2",
        "workqueue_depth{name=\"Nodes\"} 1",
        "workqueue_retries_total{name=\"Nodes\"} 1",
        "workqueue_unfinished_work_seconds{name=\"Nodes\"} 3",
        "workqueue_longest_running_processor_seconds{name=\"Nodes\"} 3",
        "workqueue_queue_duration_seconds_sum{name=\"Nodes\"} 2",
        "workqueue_queue_duration_seconds_count{name=\"Nodes\"} 1",
    ] {
        assert!(text.lines().any(|have| have == line), "{line} in {text}");
    }
    drop(run);
    let text = metrics.render();
    assert!(text.contains("workqueue_work_duration_seconds_sum{name=\"Nodes\"} 3\n"));
    assert!(text.contains("workqueue_unfinished_work_seconds{name=\"Nodes\"} 0\n"));
    drop(queue);
    metrics.render();
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_an_error_names_counts_as_a_failure_and_is_never_nothing() {
    let queue = queue();
    let throttled = |retry_after| Error::new(crate::Kind::Throttled { retry_after }, "slow down");
    assert_eq!(queue.retry("a", &throttled(Some(Duration::ZERO))), SOONEST);
    assert_eq!(queue.failures(&"a"), 1);
    nothing_for(&queue, 900 * MS).await;
    assert_eq!(*tokio::time::timeout(200 * MS, queue.next()).await.unwrap().unwrap(), "a");
    assert_eq!(queue.retry("a", &throttled(Some(60 * S))), 60 * S);
    assert_eq!(queue.failures(&"a"), 1, "the back-off does not grow by it");
    queue.retry("a", &throttled(None));
    assert_eq!(queue.failures(&"a"), 2);
}
