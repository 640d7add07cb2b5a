//! Workflows of a forge only call the scripts of `ci/`, so that every job runs on a laptop, and CONTRIBUTING.md tells of each script.

use super::{Findings, SourceFile};

const WORKFLOWS: &str = ".github/workflows/";
const SCRIPTS: &str = "ci/";
/// What a forge that knows no workflows runs.
const ENTRY: &str = ".ci/run";
const GUIDE: &str = "CONTRIBUTING.md";

pub(super) fn check(files: &[SourceFile], findings: &mut Findings) {
    let exists = |path: &str| files.iter().any(|file| file.path == path);
    for file in files.iter().filter(|file| file.path.starts_with(WORKFLOWS)) {
        for (number, line) in file.text.lines().enumerate() {
            let step = line.trim_start().trim_start_matches("- ");
            let Some(command) = step.strip_prefix("run:").map(str::trim) else { continue };
            let script = command.split(' ').next().unwrap_or_default();
            let is_script = script == ENTRY || script.starts_with(SCRIPTS);
            if !is_script || !exists(script) {
                let place = format!("{}:{}", file.path, number + 1);
                findings.error(format!("{place}: {command:?} is no script of {SCRIPTS}"));
            }
        }
    }
    let guide = files.iter().find(|file| file.path == GUIDE).map_or("", |file| file.text.as_str());
    for file in files.iter().filter(|file| file.path.starts_with(SCRIPTS) && file.path.ends_with(".sh")) {
        if !guide.contains(&format!("`{}", file.path)) {
            findings.error(format!("{GUIDE} does not say what {} is for", file.path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::file;
    use super::*;

    fn found(workflow: &str) -> Vec<String> {
        let mut findings = Findings::default();
        let files = [
            file(".github/workflows/a.yml", workflow),
            file("ci/test.sh", ""),
            file(".ci/run", ""),
            file(GUIDE, "`ci/test.sh` tests"),
        ];
        check(&files, &mut findings);
        findings.errors
    }

    #[test]
    fn a_workflow_calls_scripts_and_nothing_else() {
        assert_eq!(found("steps:\n  - run: ci/test.sh --quick\n  - run: .ci/run\n"), [""; 0]);
        let wrong = found("steps:\n  - run: cargo test\n  - name: x\n    run: |\n      make\n  - run: ci/gone.sh\n");
        assert_eq!(
            wrong,
            [
                ".github/workflows/a.yml:2: \"cargo test\" is no script of ci/",
                ".github/workflows/a.yml:4: \"|\" is no script of ci/",
                ".github/workflows/a.yml:6: \"ci/gone.sh\" is no script of ci/",
            ]
        );
    }

    #[test]
    fn a_script_that_nobody_explains_is_told() {
        let mut findings = Findings::default();
        check(&[file("ci/new.sh", ""), file(GUIDE, "nothing")], &mut findings);
        assert_eq!(findings.errors, ["CONTRIBUTING.md does not say what ci/new.sh is for"]);
    }
}
