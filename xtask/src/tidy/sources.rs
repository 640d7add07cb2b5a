//! Sources: sizes, unfinished code, what only exists on one machine.

use super::{Findings, SourceFile};

/// From here on a file is looked at: does it hold two concepts?
const LONG: usize = 400;
/// Nobody reads longer files.
const TOO_LONG: usize = 700;

pub(super) fn check(files: &[SourceFile], personal: &[String], findings: &mut Findings) {
    for file in files {
        if file.path.ends_with(".rs") {
            check_size(file, findings);
            check_unfinished(file, findings);
        }
        check_paths(file, personal, findings);
    }
}

fn check_size(file: &SourceFile, findings: &mut Findings) {
    match file.text.lines().count() {
        lines if lines > TOO_LONG => findings.error(format!("{}: {lines} lines; {TOO_LONG} is the limit", file.path)),
        lines if lines > LONG => findings.warning(format!("{}: {lines} lines; about {LONG} is the aim", file.path)),
        _ => {}
    }
}

fn check_unfinished(file: &SourceFile, findings: &mut Findings) {
    // In two parts each, since this file is checked too.
    let marks = [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("#[", "ignore]")];
    for (number, line) in file.text.lines().enumerate() {
        for mark in marks.iter().filter(|mark| line.contains(**mark)) {
            findings.error(format!("{}:{}: {mark}", file.path, number + 1));
        }
    }
}

fn check_paths(file: &SourceFile, personal: &[String], findings: &mut Findings) {
    for (number, line) in file.text.lines().enumerate() {
        for path in personal.iter().filter(|path| line.contains(path.as_str())) {
            findings.error(format!("{}:{}: {path} exists on one machine only", file.path, number + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::file;
    use super::*;

    fn found(file: SourceFile) -> Vec<String> {
        let mut findings = Findings::default();
        check(&[file], &["/home/jane/".to_owned()], &mut findings);
        findings.lines()
    }

    #[test]
    fn long_files_are_told_and_longer_ones_fail() {
        assert_eq!(found(file("a.rs", &"x\n".repeat(400))), [""; 0]);
        assert_eq!(found(file("a.rs", &"x\n".repeat(401))), ["warning: a.rs: 401 lines; about 400 is the aim"]);
        assert_eq!(found(file("a.rs", &"x\n".repeat(701))), ["error: a.rs: 701 lines; 700 is the limit"]);
        assert_eq!(found(file("a.md", &"x\n".repeat(701))), [""; 0]);
    }

    #[test]
    fn unfinished_code_fails() {
        assert_eq!(
            found(file("a.rs", concat!("fn a() {\n    todo", "!()\n}"))),
            [concat!("error: a.rs:2: todo", "!(")]
        );
        assert_eq!(found(file("a.rs", concat!("#[", "ignore = \"takes an hour\"]"))), [""; 0]);
    }

    #[test]
    fn paths_of_one_machine_fail() {
        let line = "error: a.md:1: /home/jane/ exists on one machine only";
        assert_eq!(found(file("a.md", "see /home/jane/notes")), [line]);
    }
}
