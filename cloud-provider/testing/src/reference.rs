//! Reference pages that are generated from definitions in code, committed, and checked by tests.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use clap::Arg;

/// The environment variable that makes [`check`] write the page instead.
pub const UPDATE: &str = "UPDATE_REFERENCE";

/// Compares a committed page with the text it is generated as; with `UPDATE_REFERENCE=1` writes it.
///
/// # Errors
/// When the page is not as it should be, or cannot be written.
pub fn check(page: &Path, text: &str) -> anyhow::Result<()> {
    if std::env::var_os(UPDATE).is_some_and(|value| !value.is_empty()) {
        return std::fs::write(page, text).with_context(|| format!("write {}", page.display()));
    }
    let committed = std::fs::read_to_string(page).unwrap_or_default();
    let line = committed.lines().zip(text.lines()).position(|(is, should)| is != should);
    let line = line.unwrap_or_else(|| committed.lines().count().min(text.lines().count())) + 1;
    ensure!(committed == text, "{} is stale from line {line}: run this test with {UPDATE}=1", page.display());
    Ok(())
}

/// A table in Markdown. Cells may hold any text of one line.
pub fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut text = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(N));
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text
}

/// A table of flags, in the order in which they come.
pub fn flags<'a>(args: impl IntoIterator<Item = &'a Arg>) -> String {
    let rows = args.into_iter().filter_map(|arg| {
        let default: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        let code = |text: String| if text.is_empty() { text } else { format!("`{text}`") };
        let value = match arg.get_value_names() {
            Some(names) if arg.get_action().takes_values() => names.join(" "),
            _ => "boolean".to_owned(),
        };
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default().replace('\n', " ");
        Some([format!("`--{}`", arg.get_long()?), value, code(default.join(",")), help])
    });
    table(["flag", "value", "default", "what it does"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_page_is_told_with_its_first_wrong_line() {
        if std::env::var_os(UPDATE).is_some() {
            return;
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "a\nb\n").unwrap();
        check(file.path(), "a\nb\n").unwrap();
        for (text, line) in [("a\nc\n", 2), ("a\nb\nc\n", 3), ("a\n", 2)] {
            let error = check(file.path(), text).unwrap_err().to_string();
            assert!(error.contains(&format!("line {line}:")), "{error}");
        }
    }

    #[test]
    fn cells_keep_their_bars() {
        assert_eq!(table(["a", "b"], [["x|y".into(), "z".into()]]), "| a | b |\n|---|---|\n| x\\|y | z |\n");
    }
}
