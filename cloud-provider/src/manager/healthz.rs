//! Health checks and the text that `/healthz`, `/livez` and `/readyz` answer, word for word upstream's.

use std::collections::BTreeSet;
use std::fmt;
use std::fmt::Write as _;
use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};
use tokio::time::timeout;
use tracing::info;

use super::percent;
use crate::metrics::Metrics;

/// A check that takes longer has failed.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);
/// The check that stands in where there is none, as upstream.
const PING: &str = "ping";

/// The result of a check: the reason of a failure goes to the log only, since these paths are open to everyone.
pub type Health = Result<(), String>;

/// A check by its name.
type Named = (Arc<str>, Run);

type Run = Arc<dyn Fn() -> BoxFuture<'static, Health> + Send + Sync>;

/// A set of checks that grows as controllers start; clones share it.
#[derive(Clone)]
pub struct Checks {
    checks: Arc<RwLock<Vec<Named>>>,
    metrics: Metrics,
}

/// What to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whether every check that was not excluded passed: status 200, else 500.
    pub healthy: bool,
    /// The body.
    pub text: String,
}

impl fmt::Debug for Checks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list().iter().map(|(name, _)| name)).finish()
    }
}

impl Checks {
    /// No checks yet; their results are counted in `metrics`.
    pub fn new(metrics: &Metrics) -> Checks {
        Checks { checks: Arc::default(), metrics: metrics.clone() }
    }

    /// Adds a check that answers at once. One of the same name is replaced.
    pub fn add(&self, name: &str, check: impl Fn() -> Health + Send + Sync + 'static) {
        self.insert(name, Arc::new(move || std::future::ready(check()).boxed()));
    }

    /// Adds a check that may take its time, up to 10 s. One of the same name is replaced.
    pub fn add_async<F>(&self, name: &str, check: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = Health> + Send + 'static,
    {
        self.insert(name, Arc::new(move || check().boxed()));
    }

    /// Adds the check of a controller that has nothing to say but that it was started.
    pub fn add_ping(&self, name: &str) {
        self.add(name, || Ok(()));
    }

    fn insert(&self, name: &str, run: Run) {
        let mut checks = self.checks.write().unwrap_or_else(PoisonError::into_inner);
        checks.retain(|(known, _)| **known != *name);
        checks.push((name.into(), run));
    }

    fn list(&self) -> Vec<Named> {
        self.checks.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs the checks for `endpoint` (`healthz`, `livez` or `readyz`). The query may hold `verbose` and any number of
    /// `exclude=<check>`.
    pub async fn report(&self, endpoint: &str, query: Option<&str>) -> Report {
        let (verbose, mut excluded) = options(query.unwrap_or_default());
        let mut checks = self.list();
        if checks.is_empty() {
            checks.push((PING.into(), Arc::new(|| std::future::ready(Ok(())).boxed())));
        }
        let excluded_here: Vec<bool> = checks.iter().map(|(name, _)| excluded.remove(&**name)).collect();
        let results = join_all(checks.iter().zip(&excluded_here).map(async |((_, run), excluded)| {
            if *excluded {
                Ok(())
            } else {
                timeout(CHECK_TIMEOUT, run()).await.unwrap_or_else(|_| Err("timed out".to_owned()))
            }
        }));
        let mut text = String::new();
        let mut failures = String::new();
        for (((name, _), excluded), result) in checks.iter().zip(&excluded_here).zip(results.await) {
            if *excluded {
                add(&mut text, format_args!("[+]{name} excluded: ok\n"));
                continue;
            }
            self.metrics.health().observe(name, endpoint, result.is_ok());
            match result {
                Ok(()) => add(&mut text, format_args!("[+]{name} ok\n")),
                Err(reason) => {
                    add(&mut text, format_args!("[-]{name} failed: reason withheld\n"));
                    add(&mut failures, format_args!("[-]{name} failed: {reason} "));
                }
            }
        }
        if !excluded.is_empty() {
            let names: Vec<_> = excluded.iter().map(|name| format!("{name:?}")).collect();
            let names = names.join(",");
            add(&mut text, format_args!("warn: some health checks cannot be excluded: no matches for {names}\n"));
        }
        let healthy = failures.is_empty();
        if !healthy {
            info!(endpoint, failures = failures.trim_end(), "health check failed");
            add(&mut text, format_args!("{endpoint} check failed\n"));
        } else if verbose {
            add(&mut text, format_args!("{endpoint} check passed\n"));
        } else {
            "ok".clone_into(&mut text);
        }
        Report { healthy, text }
    }
}

fn add(text: &mut String, line: fmt::Arguments<'_>) {
    // Writing into a string cannot fail.
    let _ = text.write_fmt(line);
}

/// Whether `verbose` is in the query, with any value, and the values of `exclude`.
fn options(query: &str) -> (bool, BTreeSet<String>) {
    let mut verbose = false;
    let mut excluded = BTreeSet::new();
    for pair in query.split('&') {
        match pair.split_once('=').unwrap_or((pair, "")) {
            ("verbose", _) => verbose = true,
            ("exclude", name) => drop(excluded.insert(percent::decoded(&name.replace('+', " ")))),
            _ => {}
        }
    }
    (verbose, excluded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks(list: &[(&str, bool)]) -> Checks {
        let checks = Checks::new(&Metrics::new());
        for (name, good) in list.iter().copied() {
            checks.add(name, move || if good { Ok(()) } else { Err("secret reason".into()) });
        }
        checks
    }

    /// The answers are upstream's, word for word.
    #[tokio::test]
    async fn section_12_11_healthz() {
        let good = [("good", true)];
        let mixed = [("good", true), ("bad", false)];
        let failed = "[+]good ok\n[-]bad failed: reason withheld\nhealthz check failed\n";
        let warning = "warn: some health checks cannot be excluded: no matches for \"x\",\"y\"\n";
        type Case<'a> = (&'a [(&'a str, bool)], &'a str, bool, String);
        let cases: [Case<'_>; 9] = [
            (&[], "", true, "ok".into()),
            (&[], "verbose", true, "[+]ping ok\nhealthz check passed\n".into()),
            (&good, "", true, "ok".into()),
            (&good, "verbose=true", true, "[+]good ok\nhealthz check passed\n".into()),
            (&mixed, "", false, failed.into()),
            (&mixed, "verbose", false, failed.into()),
            (&mixed, "exclude=bad", true, "ok".into()),
            (&mixed, "exclude=b%61d&verbose", true, "[+]good ok\n[+]bad excluded: ok\nhealthz check passed\n".into()),
            (&good, "verbose&exclude=y&exclude=x", true, format!("[+]good ok\n{warning}healthz check passed\n")),
        ];
        for (list, query, healthy, text) in cases {
            let report = checks(list).report("healthz", Some(query)).await;
            assert_eq!(report, Report { healthy, text }, "{list:?} {query}");
        }
    }

    #[tokio::test]
    async fn a_check_that_is_added_later_counts_from_then_on() {
        let checks = checks(&[("good", true)]);
        assert!(checks.report("readyz", None).await.healthy);
        checks.add("bad", || Err("no".into()));
        assert!(checks.report("readyz", None).await.text.ends_with("readyz check failed\n"));
        checks.add_ping("bad");
        assert!(checks.report("readyz", None).await.healthy, "one of the same name is replaced");
    }

    #[tokio::test(start_paused = true)]
    async fn slow_checks_block_neither_each_other_nor_other_requests_and_are_bounded() {
        let checks = Checks::new(&Metrics::new());
        for name in ["slow", "slower"] {
            checks.add_async(name, || async {
                tokio::time::sleep(Duration::from_secs(3)).await;
                Ok(())
            });
        }
        let start = tokio::time::Instant::now();
        let reports = join_all((0..5).map(|_| checks.report("healthz", None))).await;
        assert!(reports.iter().all(|report| report.healthy));
        assert_eq!(start.elapsed(), Duration::from_secs(3));

        checks.add_async("stuck", std::future::pending);
        assert!(!checks.report("healthz", None).await.healthy);
        assert_eq!(start.elapsed(), Duration::from_secs(13));
    }

    #[tokio::test]
    async fn results_are_counted_by_check_and_endpoint_and_excluded_ones_are_not() {
        let metrics = Metrics::new();
        let checks = Checks::new(&metrics);
        checks.add("leaderElection", || Err("late".into()));
        checks.report("livez", None).await;
        checks.report("livez", Some("exclude=leaderElection")).await;
        let text = metrics.health().render();
        assert!(
            text.contains("kubernetes_healthchecks_total{name=\"leaderElection\",status=\"error\",type=\"livez\"} 1\n")
        );
    }
}
