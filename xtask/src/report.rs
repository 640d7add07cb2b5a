//! Telling what goes on: a line on a terminal that moves, plain lines elsewhere, and tables of what took how long.

use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Elsewhere than on a terminal, a task that goes on says so this often.
const SIGN_OF_LIFE: Duration = Duration::from_secs(60);

/// Everything that is told while tasks run goes through it, so that lines and bars do not overwrite each other.
#[derive(Debug, Default)]
pub(crate) struct Report(MultiProgress);

impl Report {
    /// A task begins.
    pub(crate) fn task(&self, name: &str) -> Task<'_> {
        let bar = self.0.add(ProgressBar::no_length());
        // The templates are ours, and are tested.
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg:.dim}") {
            bar.set_style(style);
        }
        bar.set_prefix(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        if self.0.is_hidden() {
            eprintln!("{name} ...");
        }
        let begun = Instant::now();
        Task { report: self, name: name.to_owned(), bar, begun, told: Mutex::new(begun) }
    }

    /// A line that stays.
    pub(crate) fn line(&self, text: &str) {
        self.0.suspend(|| eprintln!("{text}"));
    }
}

/// A task that runs.
#[derive(Debug)]
pub(crate) struct Task<'a> {
    report: &'a Report,
    name: String,
    bar: ProgressBar,
    begun: Instant,
    told: Mutex<Instant>,
}

impl Task<'_> {
    /// What it is at.
    pub(crate) fn at(&self, text: &str) {
        self.bar.set_message(text.trim().to_owned());
        let Ok(mut told) = self.told.lock() else { return };
        if self.report.0.is_hidden() && told.elapsed() >= SIGN_OF_LIFE {
            *told = Instant::now();
            eprintln!("  {}, {}: {}", self.name, duration(self.begun.elapsed()), text.trim());
        }
    }

    /// How far it is; turns the line into a bar.
    pub(crate) fn done(&self, done: u64, of: u64) {
        if self.bar.length() != Some(of) {
            if self.bar.length().is_none()
                && let Ok(style) =
                    ProgressStyle::with_template("{prefix} {elapsed} [{bar:24}] {pos}/{len} {wide_msg:.dim}")
            {
                self.bar.set_style(style.progress_chars("=> "));
            }
            self.bar.set_length(of);
        }
        self.bar.set_position(done);
    }

    /// It has ended; the line says how.
    pub(crate) fn end(self, outcome: &str) -> Duration {
        let elapsed = self.begun.elapsed();
        self.bar.finish_and_clear();
        self.report.line(&format!("{}: {outcome} ({})", self.name, duration(elapsed)));
        elapsed
    }
}

/// `7.4 s`, `3 min 05 s`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    }
}

/// Rows under a header, columns aligned.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = header.map(|cell| cell.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in std::iter::once(&header.map(str::to_owned)).chain(rows) {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            // Writing to a string does not fail.
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        assert_eq!(duration(Duration::from_millis(7_400)), "7.4 s");
        assert_eq!(duration(Duration::from_secs(185)), "3 min 05 s");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["fmt".to_owned(), "ok".to_owned()], ["a longer one".to_owned(), "failed".to_owned()]];
        assert_eq!(
            table(["step", "outcome"], &rows),
            "step          outcome\nfmt           ok\na longer one  failed\n"
        );
    }

    #[test]
    fn the_templates_are_valid() {
        let report = Report::default();
        let task = report.task("build");
        task.at("something");
        task.done(1, 2);
        assert!(task.end("done") < Duration::from_secs(5));
        assert!(ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg:.dim}").is_ok());
        assert!(ProgressStyle::with_template("{prefix} {elapsed} [{bar:24}] {pos}/{len} {wide_msg:.dim}").is_ok());
    }
}
