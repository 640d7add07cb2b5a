//! What each crate and the project must have beside code.

use super::{Findings, SourceFile};
use crate::workspace::Member;

const PROJECT: [&str; 8] =
    ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "LICENSE", "NOTICE", "deny.toml", DEPENDENCIES];

/// Says of every dependency why it was taken.
const DEPENDENCIES: &str = "docs/dependencies.md";

pub(super) fn check(members: &[Member], files: &[SourceFile], findings: &mut Findings) {
    let text = |path: &str| files.iter().find(|file| file.path == path).map(|file| file.text.as_str());
    for path in PROJECT {
        if text(path).is_none_or(|text| text.trim().is_empty()) {
            findings.error(format!("{path} is missing"));
        }
    }
    for member in members {
        if member.description.as_deref().is_none_or(str::is_empty) {
            findings.error(format!("{}: no description", member.folder));
        }
        // A vendor's team releases its crate on its own.
        let required: &[&str] = if is_cloud(member) { &["README.md", "CHANGELOG.md"] } else { &["README.md"] };
        for name in required {
            let path = format!("{}/{name}", member.folder);
            if text(&path).is_none() {
                findings.error(format!("{path} is missing"));
            }
        }
    }
    for file in files.iter().filter(|file| file.path.ends_with("CHANGELOG.md")) {
        if !file.text.contains("\n## Unreleased\n") {
            findings.error(format!("{}: no section \"Unreleased\"", file.path));
        }
    }
    check_dependencies(members, text(DEPENDENCIES).unwrap_or_default(), findings);
}

fn is_cloud(member: &Member) -> bool {
    member.folder.starts_with("cloud-provider-") && !member.folder.contains('/')
}

fn check_dependencies(members: &[Member], page: &str, findings: &mut Findings) {
    let mut names: Vec<&str> =
        members.iter().flat_map(|member| &member.dependencies).map(|dependency| dependency.name.as_str()).collect();
    names.retain(|name| members.iter().all(|member| member.name != *name));
    names.sort_unstable();
    names.dedup();
    for name in names {
        if !page.contains(&format!("`{name}`")) {
            findings.error(format!("{DEPENDENCIES} does not say why `{name}` was taken"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::file;
    use super::*;
    use crate::workspace::Dependency;

    fn cloud() -> Member {
        Member {
            name: "cloud-provider-x".to_owned(),
            folder: "cloud-provider-x".to_owned(),
            description: Some("A cloud".to_owned()),
            features: Vec::new(),
            has_library: true,
            dependencies: vec![Dependency { name: "serde".to_owned(), dev: false }],
        }
    }

    fn complete() -> Vec<SourceFile> {
        let mut files: Vec<SourceFile> = PROJECT.iter().map(|path| file(path, "`serde`\n## Unreleased\n")).collect();
        files.push(file("cloud-provider-x/README.md", "x"));
        files.push(file("cloud-provider-x/CHANGELOG.md", "# Changelog\n\n## Unreleased\n"));
        files
    }

    fn found(members: &[Member], files: &[SourceFile]) -> Vec<String> {
        let mut findings = Findings::default();
        check(members, files, &mut findings);
        findings.errors
    }

    #[test]
    fn a_complete_project_has_no_findings() {
        assert_eq!(found(&[cloud()], &complete()), [""; 0]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let mut files = complete();
        files.retain(|file| file.path != "NOTICE" && !file.path.starts_with("cloud-provider-x/"));
        let missing =
            ["NOTICE is missing", "cloud-provider-x/README.md is missing", "cloud-provider-x/CHANGELOG.md is missing"];
        assert_eq!(found(&[cloud()], &files), missing);

        let mut member = cloud();
        member.description = None;
        member.dependencies.push(Dependency { name: "left-pad".to_owned(), dev: true });
        let missing =
            ["cloud-provider-x: no description", "docs/dependencies.md does not say why `left-pad` was taken"];
        assert_eq!(found(&[member], &complete()), missing);
    }
}
