//! Logs in klog's form, on `tracing`.
//!
//! ```text
//! I1122 22:13:01.123456      17 service/mod.rs:123] "created load balancer" service="default/web" lb="a1b2"
//! ```
//!
//! Times are UTC. Everything goes to standard error, each message in one write, at once. Levels by `-v`:
//!
//! | `-v` | our own messages | those of libraries |
//! |---|---|---|
//! | 0 to 3 | error, warn, info | error, warn |
//! | 4, 5 | also debug | also info |
//! | 6, 7 | also trace | |
//! | from 8 | | also debug |
//!
//! One line of kube for every request that fails, as an error, is a debug message here: whoever sent the request says what
//! that means.
//!
//! `--vmodule` raises or lowers single source files. Trace messages of libraries are never shown: HTTP clients put
//! request headers there. Fields that are named like secrets, and passwords in URLs, are replaced wherever they appear.

mod line;
mod vmodule;

#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
};

use tracing::{Level, Metadata, Subscriber, subscriber::SetGlobalDefaultError};
use tracing_subscriber::{
    Layer,
    fmt::{self, MakeWriter},
    layer::{Context, Filter, SubscriberExt},
};

use self::line::Lines;
pub use self::vmodule::VModule;
use super::cli::Flag;
pub use crate::config::secret::is_secret;

/// The target of messages that are printed as they are, without quotes.
pub(crate) const PLAIN: &str = "cloud_provider::plain";

/// What stands in place of a secret.
pub const REDACTED: &str = "--- REDACTED ---";

/// All our crates' names begin so.
const OWN_TARGETS: &str = "cloud_provider";

/// Where kube says that a request failed.
const FAILED_REQUESTS: &str = "kube_client::client::builder";

/// The form of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// klog's lines.
    Text,
    /// One JSON object a line, with the keys of Kubernetes' JSON logs.
    Json,
}

/// Validated settings of logging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggingSettings {
    /// The form of messages.
    pub format: Format,
    /// `-v`.
    pub verbosity: i32,
    /// `--vmodule`.
    pub vmodule: VModule,
    /// Whether only errors go to standard error, and all else to standard output.
    pub split_stream: bool,
}

/// The verbosity of a running process. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Verbosity(Arc<AtomicI32>);

impl Verbosity {
    /// One that nothing looks at yet.
    #[cfg(test)]
    pub(super) fn new(verbosity: i32) -> Self {
        Self(Arc::new(AtomicI32::new(verbosity)))
    }

    /// The verbosity now.
    pub fn get(&self) -> i32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Changes the verbosity of the process.
    pub fn set(&self, verbosity: i32) {
        self.0.store(verbosity, Ordering::Relaxed);
    }
}

/// Starts logging for the whole process. Fails if that was done before.
pub fn init(settings: &LoggingSettings) -> Result<Verbosity, SetGlobalDefaultError> {
    let (subscriber, verbosity) = subscriber(settings, Streams { split: settings.split_stream });
    tracing::subscriber::set_global_default(subscriber)?;
    Ok(verbosity)
}

fn subscriber<W>(settings: &LoggingSettings, writer: W) -> (impl Subscriber + Send + Sync + use<W>, Verbosity)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let verbosity = Verbosity(Arc::new(AtomicI32::new(settings.verbosity)));
    let threshold = Threshold { verbosity: verbosity.clone(), vmodule: settings.vmodule.clone() };
    let lines = fmt::layer()
        .with_ansi(false)
        .event_format(Lines(settings.format))
        .fmt_fields(Lines(settings.format))
        .log_internal_errors(false)
        .with_writer(writer)
        .with_filter(threshold);
    (tracing_subscriber::registry().with(lines), verbosity)
}

/// Writes the value of every flag, without secrets, when the verbosity is at least 1.
pub fn log_flags(flags: &[Flag], verbosity: &Verbosity) {
    if verbosity.get() < 1 {
        return;
    }
    for flag in flags {
        tracing::info!(target: PLAIN, "FLAG: --{}={:?}", flag.name, flag.value);
    }
}

/// Lets through what the verbosity asks for.
struct Threshold {
    verbosity: Verbosity,
    vmodule: VModule,
}

impl<S> Filter<S> for Threshold {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        let own = metadata.file().and_then(|file| self.vmodule.verbosity(file));
        let verbosity = own.unwrap_or_else(|| self.verbosity.get());
        let finest = match (metadata.target().starts_with(OWN_TARGETS), verbosity) {
            (true, ..4) => Level::INFO,
            (true, 4..6) => Level::DEBUG,
            (true, 6..) => Level::TRACE,
            (false, ..4) => Level::WARN,
            (false, 4..8) => Level::INFO,
            (false, 8..) => Level::DEBUG,
        };
        *metadata.level() <= finest && (metadata.target() != FAILED_REQUESTS || verbosity >= 4)
    }
}

/// The standard streams.
struct Streams {
    split: bool,
}

impl<'w> MakeWriter<'w> for Streams {
    type Writer = Box<dyn Write>;

    fn make_writer(&'w self) -> Self::Writer {
        Box::new(io::stderr())
    }

    fn make_writer_for(&'w self, metadata: &Metadata<'_>) -> Self::Writer {
        if self.split && *metadata.level() != Level::ERROR { Box::new(io::stdout()) } else { self.make_writer() }
    }
}

/// The text without the passwords of URLs in it: `https://user:xxxxx@host`.
pub fn without_passwords(text: &str) -> Cow<'_, str> {
    const SCHEME_END: &str = "://";
    if !text.contains(SCHEME_END) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(SCHEME_END) {
        let (before, after) = rest.split_at(start + SCHEME_END.len());
        clean.push_str(before);
        let end = after.find(|c: char| c.is_whitespace() || "/?#\"'<>,".contains(c)).unwrap_or(after.len());
        let (authority, after) = after.split_at(end);
        match authority.rsplit_once('@').and_then(|(user, host)| Some((user.split_once(':')?.0, host))) {
            Some((user, host)) => clean.push_str(&format!("{user}:xxxxx@{host}")),
            None => clean.push_str(authority),
        }
        rest = after;
    }
    clean.push_str(rest);
    Cow::Owned(clean)
}
