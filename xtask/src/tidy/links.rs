//! Links between the pages lead somewhere: to a file or folder that git knows, and to a heading in it.

use std::collections::BTreeMap;

use super::{Findings, SourceFile};

/// What an absolute link to a file of this project begins with.
const OURS: &str = "https://github.com/kubernetes-cloud-provider/cloud-provider-rs/blob/main/";
/// Stands for the address of the page of alerts, which is a value of the charts.
const RUNBOOKS: (&str, &str) = ("@runbooks@", "docs/guides/alerts.md");

pub(super) fn check(files: &[SourceFile], findings: &mut Findings) {
    for file in files {
        let links: Vec<(usize, String)> = if is_page(&file.path) {
            links(&file.text).into_iter().map(|(number, link)| (number, resolved(&file.path, &link))).collect()
        } else if ["yaml", "yml", "tpl"].iter().any(|end| file.path.ends_with(&format!(".{end}"))) {
            addresses(&file.text)
        } else {
            continue;
        };
        for (number, link) in links {
            if let Some(problem) = problem(files, &link) {
                findings.error(format!("{}:{number}: {problem}", file.path));
            }
        }
    }
}

fn is_page(path: &str) -> bool {
    path.ends_with(".md")
}

/// Why a link, told from the root, leads nowhere.
fn problem(files: &[SourceFile], link: &str) -> Option<String> {
    let (path, heading) = link.split_once('#').map_or((link, None), |(path, heading)| (path, Some(heading)));
    let path = path.trim_end_matches('/');
    let file = files.iter().find(|file| file.path == path);
    let is_folder = || path.is_empty() || files.iter().any(|file| file.path.starts_with(&format!("{path}/")));
    match (file, heading) {
        (None, None) if is_folder() => None,
        (None, _) => Some(format!("there is no {path} to link to")),
        (Some(file), Some(heading)) if is_page(path) && !anchors(&file.text).iter().any(|one| one == heading) => {
            Some(format!("{path} has no heading #{heading}"))
        }
        _ => None,
    }
}

/// The targets of inline links with their lines, but for those that lead to other sites.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for (number, line) in prose(text) {
        for rest in without_code(line).split("](").skip(1) {
            let target = rest.split([')', ' ']).next().unwrap_or_default();
            let is_elsewhere = target.contains("://") && !target.starts_with(OURS) || target.starts_with("mailto:");
            if !is_elsewhere {
                links.push((number, target.to_owned()));
            }
        }
    }
    links
}

/// Addresses of pages of ours that stand in other files, as the alerts of the charts name them.
fn addresses(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for (mark, page) in [(OURS, ""), RUNBOOKS] {
            for rest in line.split(mark).skip(1) {
                let end = rest.find(['"', '\'', ' ', ')', '>', ',']).unwrap_or(rest.len());
                let link = format!("{page}{}", &rest[..end]);
                if link.contains('#') || mark == OURS {
                    links.push((number + 1, link));
                }
            }
        }
    }
    links
}

/// A link of a page, told from the root.
fn resolved(page: &str, link: &str) -> String {
    if let Some(path) = link.strip_prefix(OURS) {
        return path.to_owned();
    }
    if link.starts_with('#') {
        return format!("{page}{link}");
    }
    let (path, heading) = link.find('#').map_or((link, ""), |at| link.split_at(at));
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "." | "" => {}
            // What leads out of the tree is not found there.
            ".." if parts.pop().is_none() => parts.push(".."),
            ".." => {}
            part => parts.push(part),
        }
    }
    format!("{}{heading}", parts.join("/"))
}

/// What the headings of a page are linked to by, as GitHub makes it of their text.
fn anchors(text: &str) -> Vec<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut anchors = Vec::new();
    for (_, line) in prose(text) {
        let level = line.len() - line.trim_start_matches('#').len();
        let Some(heading) = line[level..].strip_prefix(' ').filter(|_| (1..=6).contains(&level)) else { continue };
        let anchor = anchor(heading);
        let times = seen.entry(anchor.clone()).or_default();
        anchors.push(if *times == 0 { anchor } else { format!("{anchor}-{times}") });
        *times += 1;
    }
    anchors
}

fn anchor(heading: &str) -> String {
    // Of a link in a heading its text is left.
    let mut plain = String::new();
    for (at, part) in heading.split("](").enumerate() {
        let rest = if at == 0 { part } else { part.split_once(')').map_or("", |(_, rest)| rest) };
        plain.push_str(rest);
    }
    let kept = plain.trim().chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).flat_map(char::to_lowercase).collect()
}

/// Numbered lines outside of fenced code.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    text.lines().enumerate().filter_map(move |(number, line)| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        (!in_code && !is_fence).then_some((number + 1, line))
    })
}

/// A line without its code spans.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::file;
    use super::*;

    const PAGE: &str =
        "# One page\n\n## `plan` and [audit](x.md): what, and why?\n\n## Twice\n## Twice\n\n```sh\n# no heading\n```\n";

    fn found(path: &str, text: &str) -> Vec<String> {
        let mut findings = Findings::default();
        check(&[file(path, text), file("docs/guides/page.md", PAGE), file("docs/guides/x.md", "")], &mut findings);
        findings.errors
    }

    #[test]
    fn headings_are_linked_to_as_on_the_forge() {
        assert_eq!(anchors(PAGE), ["one-page", "plan-and-audit-what-and-why", "twice", "twice-1"]);
    }

    #[test]
    fn links_to_files_folders_headings_and_other_sites_are_right() {
        let text = "[a](../guides/page.md#twice-1), [`b`](../guides), [c](../../docs/guides/page.md \"title\"), [d](#here)\n\
                    ## Here\n[e](https://example.org/#x) [f](mailto:a@example.org) `[g](gone.md)`\n```\n[h](gone.md)\n```\n";
        assert_eq!(found("docs/reference/a.md", text), [""; 0]);
    }

    #[test]
    fn links_that_lead_nowhere_are_told_with_their_lines() {
        let text = "\n[a](gone.md) and [b](../guides/page.md#gone)\n[c](#gone) [d](../../../x.md)\n";
        assert_eq!(
            found("docs/reference/a.md", text),
            [
                "docs/reference/a.md:2: there is no docs/reference/gone.md to link to",
                "docs/reference/a.md:2: docs/guides/page.md has no heading #gone",
                "docs/reference/a.md:3: docs/reference/a.md has no heading #gone",
                "docs/reference/a.md:3: there is no ../x.md to link to",
            ]
        );
    }

    #[test]
    fn addresses_in_charts_lead_to_pages_too() {
        let right = format!(
            "home: {OURS}docs/guides/page.md\nurl: \"{OURS}docs/guides/page.md#twice\"\nx: \"{}\"\n",
            RUNBOOKS.0
        );
        assert_eq!(found("chart/values.yaml", &right), [""; 0]);
        let wrong = format!("url: \"{OURS}docs/guides/page.md#thrice\"\nrunbook_url: \"{}#gone\"\n", RUNBOOKS.0);
        assert_eq!(
            found("chart/values.yaml", &wrong),
            [
                "chart/values.yaml:1: docs/guides/page.md has no heading #thrice",
                "chart/values.yaml:2: there is no docs/guides/alerts.md to link to",
            ]
        );
    }
}
