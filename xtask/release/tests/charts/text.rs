//! What alerts and dashboards talk about.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde_json::Value;

/// Prometheus makes this one itself.
const OWN: &str = "up";

pub(crate) fn check() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let read = |path: &str| fs::read_to_string(root.join(path)).with_context(|| format!("read {path}"));
    let known = read("docs/reference/metrics.md")?;
    let known: BTreeSet<&str> = known.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let alerts: Value =
        serde_saphyr::from_str(&read("cloud-provider/deploy/alerts.yaml")?).context("read the alerts")?;
    let dashboard: Value = serde_json::from_str(&read("cloud-provider/deploy/dashboard.json")?)?;
    let runbooks = read("docs/guides/alerts.md")?;

    let mut expressions = Vec::new();
    for rule in alerts["groups"][0]["rules"].as_array().context("there are no rules")? {
        let name = rule["alert"].as_str().context("an alert without a name")?;
        let anchor = format!("@runbooks@#{}", name.to_lowercase());
        ensure!(rule["annotations"]["runbook_url"] == anchor.as_str(), "the runbook of {name} is not {anchor}");
        ensure!(runbooks.lines().any(|line| line == format!("## {name}")), "docs/guides/alerts.md lacks {name}");
        expressions.push(rule["expr"].as_str().context("an alert without an expression")?.to_owned());
    }
    for panel in dashboard["panels"].as_array().context("there are no panels")? {
        for target in panel["targets"].as_array().context("a panel without targets")? {
            expressions.push(target["expr"].as_str().context("a target without an expression")?.to_owned());
        }
    }
    ensure!(expressions.len() > 20, "{} expressions", expressions.len());
    for expression in &expressions {
        ensure!(expression.contains("job=\"@job@\""), "{expression} is about any job");
        for metric in metrics(expression) {
            let plain = ["_bucket", "_sum", "_count"].iter().find_map(|end| metric.strip_suffix(end)).unwrap_or(metric);
            ensure!(known.contains(metric) || known.contains(plain) || metric == OWN, "there is no metric {metric}");
        }
    }
    Ok(())
}

/// The words before braces.
fn metrics(expression: &str) -> impl Iterator<Item = &str> {
    expression.split('{').rev().skip(1).filter_map(|before| {
        before.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().filter(|word| !word.is_empty())
    })
}
