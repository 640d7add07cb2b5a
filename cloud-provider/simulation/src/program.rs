//! A simulator as a program: one line of JSON when it is ready, then it serves until it is told to end.

use std::io::Write as _;

use anyhow::Context as _;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

/// Parses a time such as `50ms` or `1s` into milliseconds, for flags.
///
/// # Errors
/// With a text for the user, if it is none.
pub fn milliseconds(text: &str) -> Result<u64, String> {
    let (number, factor) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 1),
        (None, Some(number)) => (number, 1000),
        (None, None) => (text, 1),
    };
    number
        .parse::<u64>()
        .map(|number| number * factor)
        .map_err(|_| format!("{text:?} is not a time such as 50ms or 1s"))
}

/// Prints `ready` and waits for SIGTERM, Ctrl-C, or, if asked to, the end of standard input.
///
/// # Errors
/// When signals cannot be listened to, or standard output is closed.
pub async fn serve(ready: &Value, exit_with_parent: bool) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut output = std::io::stdout().lock();
    writeln!(output, "{ready}").and_then(|()| output.flush()).context("print the endpoint")?;
    drop(output);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
        () = parent_is_gone(), if exit_with_parent => {}
    }
    Ok(())
}

/// Reads standard input to its end on a thread of its own, which nothing waits for when the process ends.
async fn parent_is_gone() {
    let (closed, wait) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = closed.send(());
    });
    let _ = wait.await;
}
