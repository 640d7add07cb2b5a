//! What came out, as JSON and as a page.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::super::scenario::Scenario;
use super::Disturbance;
use super::stage::Undisturbed;

/// All scenarios.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Report {
    pub(super) scenarios: BTreeMap<String, Row>,
    /// What is wrong about the committed report.
    #[serde(skip)]
    pub(super) gaps: Vec<String>,
}

/// One scenario.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    /// The writes of the undisturbed run, by step.
    writes: Vec<(String, u64)>,
    /// What is in the account after all services were deleted, and was not before the first.
    left_over: Vec<String>,
    disturbances: BTreeMap<Disturbance, Tally>,
    /// Why there is no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

/// One disturbance at the writes of a scenario.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tally {
    points: u64,
    /// Those whose write came. A controller that is disturbed may do things in another order.
    struck: u64,
    /// Those after which the end was another on purpose.
    #[serde(default)]
    accepted: u64,
    findings: Vec<Finding>,
}

/// A point after which the end was another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Finding {
    pub(super) step: String,
    pub(super) write: u64,
    pub(super) action: Option<String>,
    pub(super) differences: Vec<String>,
}

/// The figures. The names are an interface: scripts read them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Figures {
    pub(super) scenarios: usize,
    pub(super) points: u64,
    pub(super) struck: u64,
    pub(super) different: u64,
    pub(super) left_over: usize,
    pub(super) failures: usize,
    pub(super) gaps: usize,
}

impl Figures {
    pub(super) fn failed(&self) -> u64 {
        self.different + u64::try_from(self.failures + self.gaps).unwrap_or(u64::MAX)
    }
}

impl Row {
    pub(super) fn new(undisturbed: &Undisturbed<'_>) -> Self {
        let stages = undisturbed.stages.iter();
        Self {
            writes: stages.map(|stage| (stage.title.clone(), stage.writes)).collect(),
            left_over: undisturbed.left_over.clone(),
            ..Self::default()
        }
    }

    pub(super) fn failed(failure: String) -> Self {
        Self { failure: Some(failure), ..Self::default() }
    }

    pub(super) fn add(&mut self, disturbance: Disturbance, struck: bool, accepted: bool, finding: Option<Finding>) {
        let tally = self.disturbances.entry(disturbance).or_default();
        tally.points += 1;
        tally.struck += u64::from(struck);
        tally.accepted += u64::from(accepted);
        tally.findings.extend(finding);
    }

    /// More left over than in the committed report is a failure.
    pub(super) fn expect_left_over(&mut self, known: Option<&Self>) {
        let known = known.map(|known| known.left_over.as_slice()).unwrap_or_default();
        let mut new = self.left_over.iter().filter(|one| !known.contains(one)).peekable();
        if self.failure.is_none() && new.peek().is_some() {
            self.failure = Some(format!("left over: {}", new.cloned().collect::<Vec<_>>().join("; ")));
        }
    }

    fn findings(&self) -> impl Iterator<Item = (Disturbance, &Finding)> {
        self.disturbances.iter().flat_map(|(kind, tally)| tally.findings.iter().map(|finding| (*kind, finding)))
    }

    /// One line, and more for each point after which the end was another.
    pub(super) fn line(&self, name: &str) -> String {
        let sum = |part: fn(&Tally) -> u64| self.disturbances.values().map(part).sum::<u64>();
        let mut text = format!("{name}: {} points, {} struck", sum(|tally| tally.points), sum(|tally| tally.struck));
        // Writing to a string does not fail.
        for (disturbance, finding) in self.findings() {
            let action = finding.action.as_deref().unwrap_or("no write");
            let _ = write!(text, "\n  {}, write {} ({action}), {}:", finding.step, finding.write, disturbance.name());
            for difference in &finding.differences {
                let _ = write!(text, "\n    {difference}");
            }
        }
        if let Some(failure) = &self.failure {
            let _ = write!(text, "\n  FAILED: {failure}");
        }
        text
    }

    fn is_good(&self) -> bool {
        self.failure.is_none() && self.findings().next().is_none()
    }
}

impl Report {
    /// Reads it; a file that is not there is an empty report.
    pub(super) fn load(file: &Path) -> anyhow::Result<Self> {
        if !file.exists() {
            return Ok(Self::default());
        }
        let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        serde_json::from_str(&text).with_context(|| format!("read {}", file.display()))
    }

    /// Puts the row of a scenario into the files, with what is there of other disturbances; rows of scenarios that are no more go.
    pub(super) fn update(file: &Path, name: &str, row: Row, scenarios: &[Scenario]) -> anyhow::Result<()> {
        let mut report = Self::load(file)?;
        report.scenarios.retain(|name, _| scenarios.iter().any(|scenario| scenario.name == *name));
        let before = report.scenarios.remove(name).unwrap_or_default();
        let mut disturbances = before.disturbances;
        disturbances.extend(row.disturbances);
        report.scenarios.insert(name.to_owned(), Row { disturbances, ..row });
        let text = serde_json::to_string_pretty(&report).context("print the report")? + "\n";
        std::fs::write(file, text).with_context(|| format!("write {}", file.display()))?;
        let page = file.with_extension("md");
        std::fs::write(&page, report.page()).with_context(|| format!("write {}", page.display()))
    }

    pub(super) fn add(&mut self, name: &str, row: Row) {
        self.scenarios.insert(name.to_owned(), row);
    }

    /// What the report in this file, which is named after the cloud, lacks.
    pub(super) fn gaps_among(&self, scenarios: &[Scenario], file: &Path) -> Vec<String> {
        let name = file.file_stem().and_then(OsStr::to_str).unwrap_or_default();
        let cloud = name.strip_suffix("-sweep").unwrap_or(name);
        let mut gaps = Vec::new();
        for Scenario { name, .. } in scenarios {
            match self.scenarios.get(name) {
                None => gaps
                    .push(format!("the report lacks {name}: cargo xtask sweep --cloud {cloud} --all --filter {name}")),
                Some(row) if !row.is_good() => gaps.push(format!("the report has findings of {name}")),
                Some(_) => {}
            }
        }
        gaps
    }

    pub(super) fn figures(&self) -> Figures {
        let tallies = || self.scenarios.values().flat_map(|row| row.disturbances.values());
        Figures {
            scenarios: self.scenarios.len(),
            points: tallies().map(|tally| tally.points).sum(),
            struck: tallies().map(|tally| tally.struck).sum(),
            different: tallies().map(|tally| u64::try_from(tally.findings.len()).unwrap_or(u64::MAX)).sum(),
            left_over: self.scenarios.values().map(|row| row.left_over.len()).sum(),
            failures: self.scenarios.values().filter(|row| row.failure.is_some()).count(),
            gaps: self.gaps.len(),
        }
    }

    pub(super) fn is_good(&self) -> bool {
        self.gaps.is_empty() && self.scenarios.values().all(Row::is_good)
    }

    /// For people: what is wrong, and the sum.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (name, row) in self.scenarios.iter().filter(|(_, row)| !row.is_good()) {
            let _ = writeln!(text, "{}", row.line(name));
        }
        for gap in &self.gaps {
            let _ = writeln!(text, "{gap}");
        }
        let Figures { scenarios, points, struck, different, .. } = self.figures();
        let _ = write!(text, "{scenarios} scenarios, {points} points, {struck} struck, {different} with another end");
        text
    }

    /// The report as Markdown.
    fn page(&self) -> String {
        let mut page = String::from(
            "<!-- Generated by `cargo xtask sweep --cloud CLOUD --all`; do not edit. -->\n# Crash sweep\n\n\
             Each single write to the cloud in each scenario, with each disturbance, and whether the end was that of the undisturbed run. \
             [The guide](../guides/compare.md#the-crash-sweep) says what is done and compared.\n\n\
             | disturbance | scenarios | writes | struck | another end on purpose | another end |\n|---|---|---|---|---|---|\n",
        );
        for disturbance in Disturbance::ALL {
            let tallies: Vec<_> =
                self.scenarios.values().filter_map(|row| row.disturbances.get(&disturbance)).collect();
            let points: u64 = tallies.iter().map(|tally| tally.points).sum();
            let struck: u64 = tallies.iter().map(|tally| tally.struck).sum();
            let accepted: u64 = tallies.iter().map(|tally| tally.accepted).sum();
            let findings: usize = tallies.iter().map(|tally| tally.findings.len()).sum();
            let name = disturbance.name();
            let _ = writeln!(page, "| {name} | {} | {points} | {struck} | {accepted} | {findings} |", tallies.len());
        }
        page.push_str(
            "\nA write is not struck where a controller that just started does without it, or does it before.\n",
        );
        self.list(&mut page);
        page.push_str("\n## Scenarios\n\n| scenario | writes by step | left over |\n|---|---|---|\n");
        for (name, row) in &self.scenarios {
            let steps = row.writes.iter().filter(|(_, writes)| *writes > 0);
            let steps: Vec<_> = steps.map(|(title, writes)| format!("{title}: {writes}")).collect();
            let _ = writeln!(page, "| {name} | {} | {} |", steps.join(", "), row.left_over.len());
        }
        page
    }

    /// What is left over and what went wrong, in words.
    fn list(&self, page: &mut String) {
        let left_over: Vec<_> = self.scenarios.iter().filter(|(_, row)| !row.left_over.is_empty()).collect();
        if !left_over.is_empty() {
            page.push_str(
                "\n## Left over without any disturbance\n\nWhat is in the account after all services were deleted, and was not \
                 before the first was created.\n\n",
            );
        }
        for (name, row) in left_over {
            for one in &row.left_over {
                let _ = writeln!(page, "- {name}: `{one}`");
            }
        }
        let bad: Vec<_> = self.scenarios.iter().filter(|(_, row)| !row.is_good()).collect();
        if !bad.is_empty() {
            page.push_str("\n## Another end\n\n");
        }
        for (name, row) in bad {
            let _ = writeln!(page, "```text\n{}\n```", row.line(name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding() -> Finding {
        Finding {
            step: "1 create web".to_owned(),
            write: 2,
            action: Some("CreateListener".to_owned()),
            differences: vec!["cloud / x: wanted 1, got 2".to_owned()],
        }
    }

    #[test]
    fn a_report_is_good_only_without_findings_failures_and_gaps() {
        let mut row = Row::default();
        row.add(Disturbance::Crash, true, false, None);
        let mut report = Report::default();
        report.add("one", row.clone());
        assert!(report.is_good());
        report.gaps.push("gap".to_owned());
        assert!(!report.is_good());
        report.gaps.clear();
        row.add(Disturbance::Failure, false, false, Some(finding()));
        report.add("one", row);
        assert!(!report.is_good());
        let figures = report.figures();
        assert_eq!((figures.points, figures.struck, figures.different), (2, 1, 1));
        assert!(report.text().contains("1 create web, write 2 (CreateListener), failure:"), "{}", report.text());
        report.add("one", Row::failed("why".to_owned()));
        assert!(!report.is_good());
    }

    #[test]
    fn rows_are_replaced_by_disturbance_and_the_page_follows() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tape-sweep.json");
        let scenarios = super::super::super::scenario::parse("[{name: one}]").unwrap();
        let (mut crash, mut failure) = (Row::default(), Row::default());
        crash.add(Disturbance::Crash, true, false, Some(finding()));
        failure.add(Disturbance::Failure, true, false, None);
        Report::update(&file, "one", crash, &scenarios).unwrap();
        assert!(!Report::load(&file).unwrap().gaps_among(&scenarios, &file).is_empty());
        assert_eq!(
            Report::default().gaps_among(&scenarios, &file),
            ["the report lacks one: cargo xtask sweep --cloud tape --all --filter one"]
        );
        Report::update(&file, "one", failure, &scenarios).unwrap();
        assert_eq!(Report::load(&file).unwrap().scenarios["one"].disturbances.len(), 2);
        let mut crash = Row::default();
        crash.add(Disturbance::Crash, true, false, None);
        Report::update(&file, "one", crash, &scenarios).unwrap();
        assert_eq!(Report::load(&file).unwrap().gaps_among(&scenarios, &file), Vec::<String>::new());
        let page = std::fs::read_to_string(file.with_extension("md")).unwrap();
        assert!(page.contains("| crash | 1 | 1 | 1 | 0 | 0 |"), "{page}");
    }

    #[test]
    fn what_is_left_over_beyond_the_report_is_a_failure() {
        let left = Row { left_over: vec!["a".to_owned()], ..Row::default() };
        let mut same = left.clone();
        same.expect_left_over(Some(&left));
        assert!(same.is_good());
        same.expect_left_over(None);
        assert!(!same.is_good());
    }
}
