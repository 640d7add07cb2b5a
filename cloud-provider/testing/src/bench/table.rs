//! The figures in Markdown.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use super::figures::{Figures, Measured, Phase, Unfinished};

/// A figure, of which small is good.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Figure {
    Whole(f64),
    /// So far it was when its phase was given up.
    MoreThan(f64),
}

use Figure::{MoreThan, Whole};

impl Figure {
    /// Nothing for what was given up.
    pub(super) fn whole(self) -> Option<f64> {
        match self {
            Whole(value) => Some(value),
            MoreThan(_) => None,
        }
    }

    fn value(self) -> f64 {
        match self {
            Whole(value) | MoreThan(value) => value,
        }
    }

    fn map(self, change: impl Fn(f64) -> f64) -> Self {
        match self {
            Whole(value) => Whole(change(value)),
            MoreThan(value) => MoreThan(change(value)),
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, value) = match *self {
            Whole(value) => ("", value),
            MoreThan(value) => ("> ", value),
        };
        let digits = usize::from(value.fract().abs() >= 1e-9 && value < 1000.0);
        write!(f, "{sign}{value:.digits$}")
    }
}

/// A row: its title, and its figure where the phase was measured.
type Row = (&'static str, fn(&Measured) -> Option<Figure>);

const ROWS: [Row; 19] = [
    ("initialise all nodes, s", |cell| seconds(cell, "initialise")),
    ("initialise all nodes, cloud calls", |cell| calls(cell, "initialise")),
    ("three idle periods, cloud calls", |cell| calls(cell, "idle")),
    ("three idle periods, CPU s", |cell| cpu(cell, &["idle"])),
    ("provision all services, s", |cell| seconds(cell, "provision")),
    ("provision all services, cloud calls", |cell| calls(cell, "provision")),
    ("one node added, s", |cell| seconds(cell, "node added")),
    ("one node added, cloud calls", |cell| calls(cell, "node added")),
    ("one node removed, s", |cell| seconds(cell, "node removed")),
    ("one node removed, cloud calls", |cell| calls(cell, "node removed")),
    ("restart: wait for the lease, s", |cell| cell.lease_seconds.map(Whole)),
    ("restart with nothing changed, then, s", |cell| seconds(cell, "restart")),
    ("restart with nothing changed, cloud calls", |cell| calls(cell, "restart")),
    ("leader killed, s until the standby leads", |cell| seconds(cell, "failover")),
    ("peak memory, MiB", |cell| {
        let peak = cell.phases.values().map(|phase| phase.peak_rss_mib).reduce(f64::max)?;
        Some(if cell.unfinished.is_some() { MoreThan(peak) } else { Whole(peak) })
    }),
    ("memory at rest, MiB", |cell| Some(Whole(cell.phases.get("idle")?.resident_mib))),
    ("CPU to initialise and provision, s", |cell| cpu(cell, &["initialise", "provision"])),
    ("CPU of the restart, s", |cell| cpu(cell, &["restart"])),
    ("binary, MB", |cell| Some(Whole(cell.binary_bytes as f64 / 1e6))),
];

/// The value of a phase.
fn figure(cell: &Measured, name: &str, value: impl Fn(&Phase) -> f64) -> Option<Figure> {
    let value = value(cell.phases.get(name)?);
    let given_up = cell.unfinished.as_ref().is_some_and(|unfinished| unfinished.phase == name);
    Some(if given_up { MoreThan(value) } else { Whole(value) })
}

pub(super) fn seconds(cell: &Measured, name: &str) -> Option<Figure> {
    figure(cell, name, |phase| phase.seconds)
}

pub(super) fn calls(cell: &Measured, name: &str) -> Option<Figure> {
    figure(cell, name, |phase| phase.calls() as f64)
}

/// The sum of phases; of those that were reached, where something was given up.
fn cpu(cell: &Measured, names: &[&str]) -> Option<Figure> {
    let reached: Vec<Figure> = names.iter().filter_map(|name| figure(cell, name, |phase| phase.cpu_seconds)).collect();
    let sum = reached.iter().map(|figure| figure.value()).sum();
    let whole = reached.len() == names.len() && reached.iter().all(|figure| figure.whole().is_some());
    match (reached.is_empty(), whole || cell.unfinished.is_none()) {
        (true, _) => None,
        (false, true) => Some(Whole(sum)),
        (false, false) => Some(MoreThan(sum)),
    }
}

/// How much more the other needs.
fn ratio(other: Figure, ours: Figure) -> Option<Figure> {
    let ours = ours.whole().filter(|ours| *ours > 0.0)?;
    Some(other.map(|other| other / ours))
}

/// The whole page.
pub(super) fn markdown(figures: &Figures) -> String {
    let Figures { cloud, machine, terms, cells } = figures;
    let dates: BTreeSet<&str> = cells.iter().map(|cell| cell.date.as_str()).collect();
    let date = match (dates.first(), dates.last()) {
        (Some(first), Some(last)) if first != last => format!("{first} to {last}"),
        (first, _) => first.copied().unwrap_or_default().to_owned(),
    };
    let pending =
        terms.pending_ms.map(|pending| format!(", keeps load balancers pending for {pending} ms after each change"));
    let pending = pending.unwrap_or_default();
    let mut text = format!(
        "<!-- Generated by `cargo xtask bench`; raw figures: {cloud}.json -->\n\n\
         # What upstream's controller costs, and ours, on {cloud}\n\n\
         Measured on {date} by `cargo xtask bench --cloud {cloud}`: {}, {} cores, {} GiB, Linux {}; the API server, etcd, the simulated\n\
         cloud and the controller share the machine. The cloud answers after {} ms{pending} and refuses\n\
         calls beyond the rates that it allows its customers. The addresses of nodes are looked at every {} s, instead of five minutes,\n\
         by both. All nodes are registered before the controller starts. Services are half of each kind of load balancer; annotations lead each to so many nodes as\n\
         the cloud's quotas allow. Phases about services end with the last call about load balancers, after which there are none for 10 s\n\
         and all lead to the right nodes; after a restart, when each was asked about. A restart is timed from the moment at which the\n\
         controller has the lease. `upstream-tuned` is upstream's with high concurrency and no client limit. `>` stands before what had\n\
         been reached when a phase was given up, after {} s.\n",
        machine.processor,
        machine.cores,
        machine.memory_gib,
        machine.kernel,
        terms.latency_ms,
        terms.period_seconds,
        terms.limit_seconds,
    );
    let mut sizes: Vec<(usize, usize)> = cells.iter().map(|cell| (cell.nodes, cell.services)).collect();
    sizes.dedup();
    for size in sizes {
        let of_size: Vec<&Measured> = cells.iter().filter(|cell| (cell.nodes, cell.services) == size).collect();
        section(&mut text, size, &of_size);
        for cell in of_size {
            given_up(&mut text, cell, cells);
        }
    }
    text.push_str("\n## Versions\n\n");
    let mut versions: Vec<String> = cells
        .iter()
        .map(|cell| format!("- {}: {} {}", cell.controller, cell.version, cell.build.flags.join(" ")))
        .collect();
    versions.extend(cells.iter().map(|cell| format!("- Kubernetes {}", cell.kubernetes)));
    versions.sort();
    versions.dedup();
    for version in versions {
        let _ = writeln!(text, "{}", version.trim_end());
    }
    text
}

// Writing to a string does not fail.
fn section(text: &mut String, (nodes, services): (usize, usize), cells: &[&Measured]) {
    let _ = write!(text, "\n## {nodes} nodes, {services} services\n\n| |");
    for cell in cells {
        let _ = write!(text, " {} |", cell.controller);
    }
    let ours = cells.iter().find(|cell| cell.controller == "ours");
    let others: Vec<&&Measured> = cells.iter().filter(|cell| cell.controller != "ours").collect();
    for other in others.iter().filter(|_| ours.is_some()) {
        let _ = write!(text, " {} : ours |", other.controller);
    }
    let columns = cells.len() + if ours.is_some() { others.len() } else { 0 };
    let _ = writeln!(text, "\n|---|{}", "---:|".repeat(columns));
    for (title, value) in ROWS {
        let _ = write!(text, "| {title} |");
        for cell in cells {
            let _ = write!(text, " {} |", value(cell).map_or_else(String::new, |figure| figure.to_string()));
        }
        for other in others.iter().filter(|_| ours.is_some()) {
            let ratio = ours.and_then(|ours| ratio(value(other)?, value(ours)?));
            let _ = write!(text, " {} |", ratio.map_or_else(String::new, |ratio| ratio.to_string()));
        }
        text.push('\n');
    }
}

/// Says where a cell was given up, and at which size its controller was measured to the end.
fn given_up(text: &mut String, cell: &Measured, all: &[Measured]) {
    let Some(Unfinished { phase, reached }) = &cell.unfinished else { return };
    let whole = all.iter().filter(|other| other.controller == cell.controller && other.unfinished.is_none());
    let largest = whole.map(|other| (other.nodes, other.services)).max();
    let largest = largest.map_or("no size of this table".to_owned(), |(nodes, services)| {
        format!("{nodes} nodes and {services} services")
    });
    let _ = writeln!(
        text,
        "\n{} was given up in the phase `{phase}`: {reached}. Later phases were not tried; the largest size that it was \
         measured at to the end is {largest}.",
        cell.controller
    );
}

#[cfg(test)]
pub(in crate::bench) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::bench::figures::{Build, Terms};
    use crate::measure::Machine;

    pub(in crate::bench) fn figures() -> Figures {
        let phase = |seconds: f64, calls: u64| Phase {
            seconds,
            cloud_calls: BTreeMap::from([("EC2.DescribeInstances".to_owned(), calls)]),
            cpu_seconds: 1.0,
            peak_rss_mib: 20.0,
            resident_mib: 10.0,
        };
        let cell = |controller: &str, nodes: usize, factor: u64, unfinished: Option<&str>| Measured {
            controller: controller.to_owned(),
            version: "v1".to_owned(),
            build: Build { program: "1".to_owned(), simulator: "2".to_owned(), flags: Vec::new() },
            date: if nodes == 10 { "2026-01-02" } else { "2026-01-03" }.to_owned(),
            lease_seconds: None,
            binary_bytes: 18_000_000,
            kubernetes: "v1.37.2".to_owned(),
            nodes,
            services: 2,
            unfinished: unfinished
                .map(|reached| Unfinished { phase: "initialise".to_owned(), reached: reached.to_owned() }),
            phases: [("initialise", 2), ("idle", 10)]
                .map(|(name, n)| (name.to_owned(), phase((n * factor) as f64 * nodes as f64, n * factor)))
                .into(),
        };
        Figures {
            cloud: "aws".to_owned(),
            machine: Machine::here(),
            terms: Terms { latency_ms: 50, pending_ms: None, period_seconds: 60, limit_seconds: 600 },
            cells: vec![
                cell("ours", 10, 1, None),
                cell("upstream", 10, 50, None),
                cell("ours", 100, 1, None),
                cell("upstream", 100, 50, Some("7 of 100 nodes after 600 s")),
            ],
        }
    }

    #[test]
    fn ratios_stand_beside_the_figures_and_what_did_not_end_says_so() {
        let text = markdown(&figures());
        assert!(text.contains("| initialise all nodes, cloud calls | 2 | 100 | 50 |"), "{text}");
        assert!(text.contains("| initialise all nodes, cloud calls | 2 | > 100 | > 50 |"), "{text}");
        assert!(text.contains("| peak memory, MiB | 20 | > 20 | > 1 |"), "{text}");
        assert!(text.contains("| CPU to initialise and provision, s | 1 | > 1 | > 1 |"), "{text}");
        assert!(
            text.contains("upstream was given up in the phase `initialise`: 7 of 100 nodes after 600 s."),
            "{text}"
        );
        assert!(
            text.contains("the largest size that it was measured at to the end is 10 nodes and 2 services."),
            "{text}"
        );
        assert!(text.contains("Measured on 2026-01-02 to 2026-01-03 by"), "{text}");
        assert!(text.contains("- upstream: v1\n"), "{text}");
    }

    #[test]
    fn terms_that_a_cloud_does_not_have_are_not_told() {
        let mut figures = figures();
        assert!(markdown(&figures).contains("answers after 50 ms and refuses"));
        figures.terms.pending_ms = Some(2000);
        let text = markdown(&figures);
        assert!(
            text.contains("50 ms, keeps load balancers pending for 2000 ms after each change and refuses"),
            "{text}"
        );
    }
}
