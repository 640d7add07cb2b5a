//! The section of a version in a changelog.

use anyhow::{Context as _, ensure};

/// The text below the heading `## X.Y.Z`, which may go on behind a space: with a date.
///
/// # Errors
/// When there is no such heading, or nothing below it.
pub(super) fn section<'a>(text: &'a str, version: &str) -> anyhow::Result<&'a str> {
    let heading = format!("\n## {version}");
    let is_whole = |rest: &str| rest.starts_with(['\n', ' ', '\r']) || rest.is_empty();
    let mut rests = text.match_indices(&heading).map(|(at, _)| &text[at + heading.len()..]);
    let rest = rests.find(|rest| is_whole(rest)).with_context(|| format!("there is no section \"## {version}\""))?;
    let below = rest.split_once('\n').map_or("", |(_, below)| below);
    let section = below.find("\n## ").map_or(below, |end| &below[..end]).trim();
    ensure!(!section.is_empty() && !section.starts_with("## "), "the section \"## {version}\" says nothing");
    Ok(section)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Changelog\n\n## Unreleased\n\n- new\n\n## 0.2.0 - 2026-11-23\n\n- one\n\n### More\n\n- two\n\n## 0.1.1\n## 0.1.0\n- first\n";

    #[test]
    fn a_section_ends_where_the_next_version_begins() {
        assert_eq!(section(TEXT, "0.2.0").unwrap(), "- one\n\n### More\n\n- two");
        assert_eq!(section(TEXT, "0.1.0").unwrap(), "- first");
    }

    #[test]
    fn a_version_without_words_is_refused() {
        assert!(section(TEXT, "0.1.1").unwrap_err().to_string().contains("says nothing"));
        for absent in ["0.2", "0.2.0-rc.1", "0.3.0"] {
            assert!(section(TEXT, absent).unwrap_err().to_string().contains("no section"), "{absent}");
        }
    }
}
