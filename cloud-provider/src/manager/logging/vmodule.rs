//! `--vmodule`: verbosity by source file.

use std::str::FromStr;

/// Patterns of source files with their verbosity; the first that matches counts.
///
/// A pattern without `/` is compared with the file's name without its ending (for `mod.rs`, with its folder's name),
/// one with `/` with its whole path without ending. `*` stands for any text and `?` for one character.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VModule(Vec<(String, i32)>);

impl FromStr for VModule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let item = |item: &str| {
            let parts: Vec<_> = item.split('=').collect();
            let [pattern, verbosity] = parts[..] else {
                return Err(format!("{item:?} does not have the pattern=N format"));
            };
            if pattern.is_empty() || verbosity.is_empty() {
                return Err(format!("{item:?} does not have the pattern=N format"));
            }
            let verbosity: u32 =
                verbosity.parse().map_err(|error| format!("parsing verbosity in {item:?}: {error}"))?;
            Ok((pattern.to_owned(), i32::try_from(verbosity).unwrap_or(i32::MAX)))
        };
        text.split(',').filter(|item| !item.is_empty()).map(item).collect::<Result<_, _>>().map(Self)
    }
}

impl VModule {
    /// Whether there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The verbosity of a source file, if a pattern matches it.
    pub(super) fn verbosity(&self, file: &str) -> Option<i32> {
        let path = file.strip_suffix(".rs").unwrap_or(file);
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let name = match name {
            "mod" => folder.rsplit('/').next().unwrap_or(name),
            name => name,
        };
        let matches = |pattern: &str| glob(pattern, if pattern.contains('/') { path } else { name });
        self.0.iter().find(|(pattern, _)| matches(pattern)).map(|(_, verbosity)| *verbosity)
    }
}

fn glob(pattern: &str, text: &str) -> bool {
    let mut chars = pattern.chars();
    match chars.next() {
        None => text.is_empty(),
        Some('*') => {
            let rest = chars.as_str();
            text.char_indices().any(|(at, _)| glob(rest, &text[at..])) || glob(rest, "")
        }
        Some(c) => text.strip_prefix(|first| c == '?' || first == c).is_some_and(|text| glob(chars.as_str(), text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_names_and_paths() {
        for (pattern, file, matches) in [
            ("leader", "src/manager/leader.rs", true),
            ("leader", "src/manager/leaders.rs", false),
            ("lead*", "src/manager/leader.rs", true),
            ("*er", "src/manager/leader.rs", true),
            ("l?ader", "src/manager/leader.rs", true),
            ("*", "leader.rs", true),
            ("service", "src/controllers/service/mod.rs", true),
            ("mod", "src/controllers/service/mod.rs", false),
            ("manager/leader", "src/manager/leader.rs", false),
            ("*/manager/leader", "src/manager/leader.rs", true),
        ] {
            let vmodule: VModule = format!("other=1,{pattern}=5").parse().unwrap();
            assert_eq!(vmodule.verbosity(file), matches.then_some(5), "{pattern} {file}");
        }
    }

    #[test]
    fn first_pattern_wins() {
        let vmodule: VModule = "a=1,a=2".parse().unwrap();
        assert_eq!(vmodule.verbosity("a.rs"), Some(1));
    }

    #[test]
    fn malformed_patterns_are_refused() {
        assert_eq!("".parse(), Ok(VModule::default()));
        for text in ["a", "a=", "=1", "a=b", "a=-1", "a=1=2"] {
            assert!(text.parse::<VModule>().is_err(), "{text}");
        }
    }
}
