//! The licences of everything in the image, in one file: each text once, with those that it is the licence of.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use anyhow::Context as _;

use crate::packages::Package;

/// The licence of glibc, which static programs carry.
const LGPL: &str = include_str!("LGPL-2.1.txt");

const GLIBC: &str = "\
The program is linked statically with the GNU C Library, which is free software under the GNU Lesser General Public
License, version 2.1 or later. Its source is at https://www.gnu.org/software/libc/ and with the distribution that the
program was built on. The source of the program itself, from which it can be linked again with another version of that
library, is at the address that the image's labels name.";

const STANDARD_LIBRARY: &str = "\
The program contains the standard library of Rust, by the Rust project and its contributors, under MIT OR Apache-2.0;
see https://www.rust-lang.org/policies/licenses.";

/// The standard text of the licence, for crates that name it and do not carry it.
const MIT: &str = "\
Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation
files (the \"Software\"), to deal in the Software without restriction, including without limitation the rights to use, copy,
modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the
Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED \"AS IS\", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE,
ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.";

const RULE: &str = "================================================================================";

/// The licences of `packages`, those of the workspace left out: theirs is `own`, the text of the Apache licence.
///
/// # Errors
/// When a crate carries no text and names a licence whose text we do not have.
pub fn third_party(packages: &[Package], own: &str) -> anyhow::Result<String> {
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut list = String::new();
    for package in packages.iter().filter(|package| !package.is_ours()) {
        let source = package.repository.as_deref().unwrap_or_default();
        // Writing to a string does not fail.
        let _ = writeln!(list, "{} {}  {}  {source}", package.name, package.version, package.license);
        for text in carried(package)?.map_or_else(|| named(package, own).map(|text| vec![text]), Ok)? {
            texts.entry(text).or_default().push(format!("{} {}", package.name, package.version));
        }
    }
    let mut all = format!(
        "{STANDARD_LIBRARY}\n\n{GLIBC}\n\nIt is made of these crates, and its certificates come from one:\n\n{list}"
    );
    let mut by_name: Vec<(Vec<String>, String)> = texts.into_iter().map(|(text, names)| (names, text)).collect();
    by_name.push((vec!["the GNU C Library".to_owned()], tidied(LGPL)));
    by_name.sort();
    for (names, text) in by_name {
        let _ = write!(all, "\n{RULE}\n{}\n{RULE}\n\n{text}\n", names.join(", "));
    }
    Ok(all)
}

/// The texts in a crate's archive.
fn carried(package: &Package) -> anyhow::Result<Option<Vec<String>>> {
    const NAMES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE"];
    let read = || format!("read {}", package.folder.display());
    let mut texts = Vec::new();
    for entry in fs::read_dir(&package.folder).with_context(read)? {
        let entry = entry.with_context(read)?;
        let name = entry.file_name().to_string_lossy().to_uppercase();
        if NAMES.iter().any(|start| name.starts_with(start)) && entry.path().is_file() {
            let text = fs::read(entry.path()).with_context(|| format!("read {}", entry.path().display()))?;
            texts.push(tidied(&String::from_utf8_lossy(&text)));
        }
    }
    texts.sort();
    Ok((!texts.is_empty()).then_some(texts))
}

/// The text of a licence that a crate only names.
fn named(package: &Package, own: &str) -> anyhow::Result<String> {
    if package.license.contains("Apache-2.0") {
        return Ok(tidied(own));
    }
    if package.license.contains("MIT") {
        let authors = if package.authors.is_empty() { "its authors".to_owned() } else { package.authors.join(", ") };
        return Ok(format!("Copyright (c) {authors}\n\n{MIT}"));
    }
    anyhow::bail!("{} carries no licence, and there is no text of {} here", package.id(), package.license)
}

/// Without what editors leave at the ends of lines, so that equal texts are equal.
fn tidied(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n").trim_matches('\n').to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn package(name: &str, license: &str, folder: &Path) -> Package {
        Package {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            license: license.to_owned(),
            authors: vec!["Jane".to_owned()],
            repository: None,
            checksum: Some("00".to_owned()),
            folder: folder.to_owned(),
            uses: BTreeSet::new(),
        }
    }

    #[test]
    fn a_text_that_many_carry_is_there_once() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        for folder in &folders {
            fs::write(folder.path().join("LICENSE-MIT"), "the very text  \r\n").unwrap();
        }
        let packages = [package("a", "MIT", folders[0].path()), package("b", "MIT", folders[1].path())];
        let text = third_party(&packages, "Apache").unwrap();
        assert_eq!(text.matches("the very text").count(), 1);
        assert!(text.contains("\na 1.0.0, b 1.0.0\n"), "{text}");
        assert!(text.contains("GNU LESSER GENERAL PUBLIC LICENSE"));
    }

    #[test]
    fn a_crate_without_a_text_gets_that_of_its_licence_or_fails() {
        let folder = tempfile::tempdir().unwrap();
        let text = |license| third_party(&[package("a", license, folder.path())], "the Apache text");
        assert!(text("Apache-2.0").unwrap().contains("the Apache text"));
        assert!(text("MIT").unwrap().contains("Copyright (c) Jane\n\nPermission"));
        assert_eq!(
            text("ISC").unwrap_err().to_string(),
            "a@1.0.0 carries no licence, and there is no text of ISC here"
        );
    }
}
