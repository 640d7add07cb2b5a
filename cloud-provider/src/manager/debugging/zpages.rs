//! `/flagz` and `/statusz`, in the form of upstream's API server library: for people, without promise of a format.

use std::collections::BTreeSet;

use http::StatusCode;
use jiff::{Timestamp, tz::TimeZone};

use crate::manager::{
    cli::Flag,
    serving::{Answer, Call, Routes, refusal, text},
};

const WARNING: &str = "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees \
                       and is for debugging purposes only.";

/// Every flag and its value; secrets were left out when the flags were read.
pub(super) fn serve_flagz(routes: &mut Routes, program: &str, flags: &[Flag]) {
    let mut page = header("flagz", program);
    for Flag { name, value, .. } in flags {
        page.push_str(&format!("{name}={value}\n"));
    }
    routes.add("/flagz", move |call| std::future::ready(plain(&call, || page.clone())));
}

/// When the process started, how long it runs, its version, and where to look further.
pub(super) fn serve_statusz(routes: &mut Routes, program: &str, version: &str, started: Timestamp, paths: Vec<String>) {
    let head = header("statusz", program);
    let version = version.strip_prefix('v').unwrap_or(version).to_owned();
    routes.add("/statusz", move |call| {
        std::future::ready(plain(&call, || {
            let (start, up) = (TimeZone::UTC.to_datetime(started), uptime(started));
            let start = start.strftime("%a %b %e %H:%M:%S UTC %Y");
            format!("{head}\nStarted: {start}\nUp: {up}\nBinary version: {version}\nPaths: {}\n", paths.join(" "))
        }))
    });
}

/// The first parts of paths, each once, in order.
pub(super) fn folders<'a>(paths: impl Iterator<Item = &'a str>) -> Vec<String> {
    let folders: BTreeSet<_> = paths.filter_map(|path| path.split('/').nth(1)).map(|part| format!("/{part}")).collect();
    folders.into_iter().collect()
}

fn header(page: &str, program: &str) -> String {
    format!("\n{program} {page}\n{WARNING}\n")
}

/// `1 hr 02 min 03 sec`, as upstream.
fn uptime(started: Timestamp) -> String {
    let seconds = Timestamp::now().duration_since(started).as_secs().max(0);
    format!("{} hr {:02} min {:02} sec", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// There is only text. A client that takes none is refused as upstream refuses what it cannot serve.
fn plain(call: &Call, page: impl FnOnce() -> String) -> Answer {
    let accepted: Vec<_> =
        call.headers().get_all(http::header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let kind = |item: &str| item.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let fits = |item: &str| matches!(kind(item).as_str(), "text/plain" | "text/*" | "*/*");
    let accepted = accepted.join(",");
    if accepted.trim().is_empty() || accepted.split(',').any(fits) {
        return text(StatusCode::OK, page());
    }
    let message = "only the following media types are accepted: text/plain";
    refusal(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message, false)
}
