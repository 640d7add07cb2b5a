//! One message as one line.

use std::{
    error::Error,
    fmt::{self, Debug, Write as _},
};

use jiff::{Timestamp, tz::TimeZone};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    field::RecordFields,
    fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields, format::Writer},
    registry::LookupSpan,
};

use super::{Format, PLAIN, REDACTED, is_secret, without_passwords};

/// Formats messages, and the fields of spans, which follow the message's own.
pub(super) struct Lines(pub(super) Format);

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::new(self.0);
        event.record(&mut fields);
        let metadata = event.metadata();
        match self.0 {
            Format::Text => {
                header(&mut writer, metadata)?;
                match metadata.target() {
                    PLAIN => writer.write_str(&fields.message)?,
                    _ => write!(writer, "{:?}", fields.message)?,
                }
            }
            Format::Json => json_header(&mut writer, metadata, &fields.message)?,
        }
        writer.write_str(&fields.text)?;
        for span in context.event_scope().into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                writer.write_str(fields)?;
            }
        }
        writer.write_str(if self.0 == Format::Json { "}\n" } else { "\n" })
    }
}

impl<'w> FormatFields<'w> for Lines {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, record: R) -> fmt::Result {
        let mut fields = Fields::new(self.0);
        record.record(&mut fields);
        writer.write_str(&fields.text)
    }
}

/// `I1122 22:13:01.123456      17 leader.rs:12] `
fn header(writer: &mut Writer<'_>, metadata: &Metadata<'_>) -> fmt::Result {
    let level = match *metadata.level() {
        Level::ERROR => 'E',
        Level::WARN => 'W',
        _ => 'I',
    };
    let now = TimeZone::UTC.to_datetime(Timestamp::now());
    write!(
        writer,
        "{level}{:02}{:02} {:02}:{:02}:{:02}.{:06} {:7} {}:{}] ",
        now.month(),
        now.day(),
        now.hour(),
        now.minute(),
        now.second(),
        now.subsec_nanosecond() / 1000,
        std::process::id(),
        short(metadata.file()),
        metadata.line().unwrap_or(1),
    )
}

/// The keys of Kubernetes' JSON logs, in their order: an error has no `v`. `level` is ours.
fn json_header(writer: &mut Writer<'_>, metadata: &Metadata<'_>, message: &str) -> fmt::Result {
    let now = Timestamp::now();
    let caller = format!("{}:{}", short(metadata.file()), metadata.line().unwrap_or(1));
    write!(
        writer,
        "{{\"ts\":{}.{:03},\"caller\":{},\"msg\":{}",
        now.as_millisecond(),
        now.subsec_nanosecond() / 1000 % 1000,
        json(&caller),
        json(message)
    )?;
    let (level, verbosity) = match *metadata.level() {
        Level::ERROR => ("error", None),
        Level::WARN => ("warn", Some(0)),
        Level::INFO => ("info", Some(0)),
        Level::DEBUG => ("debug", Some(4)),
        Level::TRACE => ("trace", Some(6)),
    };
    if let Some(verbosity) = verbosity {
        write!(writer, ",\"v\":{verbosity}")?;
    }
    write!(writer, ",\"level\":\"{level}\"")
}

/// The name of a source file, with its folder where the name alone says nothing.
fn short(file: Option<&str>) -> &str {
    let file = file.unwrap_or("???");
    let mut parts = file.rmatch_indices('/').map(|(at, _)| at + 1);
    let start = parts.next().unwrap_or(0);
    match &file[start..] {
        "mod.rs" | "lib.rs" | "main.rs" => &file[parts.next().unwrap_or(0)..],
        name => name,
    }
}

fn json(text: &str) -> serde_json::Value {
    serde_json::Value::from(text)
}

/// The fields of a message or span, each with its separator in front.
struct Fields {
    format: Format,
    message: String,
    text: String,
}

impl Fields {
    fn new(format: Format) -> Self {
        Self { format, message: String::new(), text: String::new() }
    }

    fn text(&mut self, field: &Field, value: &str) {
        let value = without_passwords(value);
        if field.name() == "message" {
            self.message = value.into_owned();
            return;
        }
        let value = if is_secret(field.name()) { REDACTED } else { &value };
        match self.format {
            Format::Text => self.raw(field, format_args!("{value:?}")),
            Format::Json => self.raw(field, format_args!("{}", json(value))),
        }
    }

    /// A value that needs no quotes, or has them. Writing to a string cannot fail.
    fn raw(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let name = field.name();
        _ = match self.format {
            Format::Text => write!(self.text, " {name}={value}"),
            Format::Json => write!(self.text, ",{}:{value}", json(name)),
        };
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.text(field, &format!("{value:?}"));
    }

    /// The error and what caused it.
    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(error) = source {
            _ = write!(text, ": {error}");
            source = error.source();
        }
        self.text(field, &text);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.raw(field, format_args!("{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.raw(field, format_args!("{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.raw(field, format_args!("{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        match value.is_finite() {
            true => self.raw(field, format_args!("{value}")),
            false => self.text(field, &value.to_string()),
        }
    }
}
