//! `cargo xtask tidy`: what neither the compiler nor clippy knows of the tree.

mod direction;
mod documents;
mod links;
mod sources;
mod workflows;

use std::process::ExitCode;

use anyhow::Context as _;

use crate::tool::Tool;
use crate::workspace::Workspace;

/// What was found. An error fails, a warning is only told.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    errors: Vec<String>,
    warnings: Vec<String>,
}

impl Findings {
    fn error(&mut self, text: impl Into<String>) {
        self.errors.push(text.into());
    }

    fn warning(&mut self, text: impl Into<String>) {
        self.warnings.push(text.into());
    }

    pub(crate) fn errors(&self) -> usize {
        self.errors.len()
    }

    /// A line for each finding.
    pub(crate) fn lines(&self) -> Vec<String> {
        let warnings = self.warnings.iter().map(|text| format!("warning: {text}"));
        warnings.chain(self.errors.iter().map(|text| format!("error: {text}"))).collect()
    }

    pub(crate) fn summary(&self) -> String {
        format!("{} errors, {} warnings", self.errors.len(), self.warnings.len())
    }
}

/// A file that git knows; its text is empty where it has none.
struct SourceFile {
    /// Relative to the root, with slashes.
    path: String,
    text: String,
}

pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let findings = check(&Workspace::load()?)?;
    for line in findings.lines() {
        eprintln!("{line}");
    }
    eprintln!("{}", findings.summary());
    Ok(if findings.errors() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub(crate) fn check(workspace: &Workspace) -> anyhow::Result<Findings> {
    let files = files(workspace)?;
    let mut findings = Findings::default();
    direction::check(&workspace.members, &files, &mut findings);
    sources::check(&files, &personal_paths(workspace), &mut findings);
    documents::check(&workspace.members, &files, &mut findings);
    workflows::check(&files, &mut findings);
    links::check(&files, &mut findings);
    Ok(findings)
}

/// Tracked and new files, but for ignored and deleted ones.
fn files(workspace: &Workspace) -> anyhow::Result<Vec<SourceFile>> {
    let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"];
    let list = Tool::new("git").args(list).dir(&workspace.root).output()?;
    let mut files = Vec::new();
    for path in list.split('\0').filter(|path| !path.is_empty()) {
        let absolute = workspace.root.join(path);
        if !absolute.is_file() {
            continue;
        }
        let bytes = std::fs::read(&absolute).with_context(|| format!("read {path}"))?;
        // Files that are not text have nothing to check, but are there.
        let text = String::from_utf8(bytes).unwrap_or_default();
        files.push(SourceFile { path: path.to_owned(), text });
    }
    Ok(files)
}

/// Folders that exist for whoever runs this, and for nobody else.
fn personal_paths(workspace: &Workspace) -> Vec<String> {
    let home = std::env::var("HOME").unwrap_or_default();
    let folders = [workspace.root.display().to_string(), home];
    folders.into_iter().filter(|folder| folder.len() > 1).map(|folder| format!("{folder}/")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn file(path: &str, text: &str) -> SourceFile {
        SourceFile { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn errors_come_after_warnings() {
        let mut findings = Findings::default();
        findings.error("a");
        findings.warning("b");
        assert_eq!(findings.lines(), ["warning: b", "error: a"]);
        assert_eq!((findings.errors(), findings.summary().as_str()), (1, "1 errors, 1 warnings"));
    }
}
