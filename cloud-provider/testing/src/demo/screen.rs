//! Spinners and bars on a terminal, plain lines elsewhere. All of it on standard error.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::interactive;
use crate::progress::{Event, Progress};

/// How often a bar that nobody can see move says where it is.
const QUIET: Duration = Duration::from_secs(5);

/// Where progress is shown.
pub(super) struct Screen {
    bars: MultiProgress,
    progress: Progress,
    shown: Mutex<Vec<ProgressBar>>,
}

impl Screen {
    pub(super) fn new() -> Self {
        let bars = MultiProgress::new();
        let progress = if interactive() { spinners(bars.clone()) } else { Progress::stderr() };
        Self { bars, progress, shown: Mutex::default() }
    }

    /// For steps: a spinner while one goes on, a line when it has ended.
    pub(super) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// A bar that counts up to `total`.
    pub(super) fn bar(&self, name: &'static str, total: usize) -> Bar {
        let bar = self.bars.add(ProgressBar::new(total as u64).with_prefix(name));
        let template = "{prefix:>22} [{bar:40}] {pos}/{len} {elapsed}";
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).push(bar.clone());
        Bar { bar, name, progress: self.progress.clone(), told: Mutex::new((Instant::now(), 0)) }
    }

    /// Leaves all bars as they stand.
    pub(super) fn finish(&self) {
        for bar in self.shown.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            bar.abandon();
        }
    }
}

/// One bar.
pub(super) struct Bar {
    bar: ProgressBar,
    name: &'static str,
    progress: Progress,
    /// When it was last told in words, and how far it was.
    told: Mutex<(Instant, usize)>,
}

impl Bar {
    pub(super) fn set(&self, position: usize) {
        self.bar.set_position(position as u64);
        if interactive() {
            return;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let total = usize::try_from(self.bar.length().unwrap_or_default()).unwrap_or_default();
        if position != told.1 && (told.0.elapsed() >= QUIET || position == total) {
            *told = (Instant::now(), position);
            self.progress.note(&format!("{}: {position}/{total}", self.name));
        }
    }
}

fn spinners(bars: MultiProgress) -> Progress {
    let current: Arc<Mutex<Option<ProgressBar>>> = Arc::default();
    Progress::new(move |event| {
        let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Begin(step) => {
                let spinner = bars.add(ProgressBar::new_spinner().with_message(step.to_owned()));
                let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
                spinner.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
                spinner.enable_steady_tick(Duration::from_millis(100));
                if let Some(before) = current.replace(spinner) {
                    before.finish_and_clear();
                }
            }
            Event::End { .. } | Event::Note(_) => {
                if matches!(event, Event::End { .. })
                    && let Some(spinner) = current.take()
                {
                    spinner.finish_and_clear();
                }
                // A terminal that is gone has nobody to tell.
                let _ = bars.println(event.to_string());
            }
        }
    })
}
