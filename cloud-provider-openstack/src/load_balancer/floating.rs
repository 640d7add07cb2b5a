//! Where floating IPs come from: networks, and subnets by ID, by pattern or by tags.

use cloud_provider::{Error, error::Result};
use regex::Regex;

/// Which subnet of the external network a floating IP shall be in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubnetSpec {
    /// The ID; where it is set, nothing else counts.
    pub id: String,
    /// A pattern of names.
    pub pattern: String,
    /// Tags.
    pub tags: String,
}

impl SubnetSpec {
    /// A specification, in which an ID comes before a pattern and tags.
    pub fn new(id: &str, pattern: &str, tags: &str) -> Self {
        if id.is_empty() {
            Self { id: String::new(), pattern: pattern.to_owned(), tags: tags.to_owned() }
        } else {
            Self { id: id.to_owned(), ..Self::default() }
        }
    }

    /// Whether it asks for anything.
    pub fn is_set(&self) -> bool {
        !self.id.is_empty() || self.is_search()
    }

    /// Whether subnets have to be listed for it.
    pub fn is_search(&self) -> bool {
        !self.pattern.is_empty() || !self.tags.is_empty()
    }

    /// The filter by tags that Neutron applies: the parameter and its value.
    ///
    /// Neutron's two negations mean the opposite of what upstream's documentation says of them; here the documented
    /// meaning holds: `!a,b` wants neither, `!&a,b` wants one of them missing. With one tag they are the same.
    pub fn tag_filter(&self) -> Option<(&'static str, String)> {
        if self.tags.is_empty() {
            return None;
        }
        let (rest, negated) = strip(&self.tags, '!');
        let (rest, all) = strip(rest, '&');
        let tags = rest.split([',', ' ']).map(str::trim).filter(|tag| !tag.is_empty()).collect::<Vec<_>>().join(",");
        let parameter = match (negated, all) {
            (false, false) => "tags-any",
            (false, true) => "tags",
            (true, false) => "not-tags-any",
            (true, true) => "not-tags",
        };
        Some((parameter, tags))
    }

    /// The test of names.
    ///
    /// # Errors
    ///
    /// A pattern that is none.
    pub fn matcher(&self) -> Result<Matcher> {
        Matcher::new(&self.pattern)
    }
}

fn strip(text: &str, sign: char) -> (&str, bool) {
    text.strip_prefix(sign).map_or((text, false), |rest| (rest, true))
}

/// A test of subnet names.
#[derive(Debug, Clone)]
pub struct Matcher {
    regex: Option<Regex>,
    negated: bool,
}

impl Matcher {
    /// Reads a pattern: `!` negates, `~` begins a regular expression, everything else is a glob. An empty one matches all.
    fn new(pattern: &str) -> Result<Self> {
        let (rest, negated) = strip(pattern, '!');
        if pattern.is_empty() {
            return Ok(Self { regex: None, negated: false });
        }
        let regex = match rest.strip_prefix('~') {
            Some(regex) => Regex::new(regex),
            None => Regex::new(&glob(rest)),
        };
        let invalid = |error: regex::Error| {
            Error::invalid("floating-subnet", format!("invalid subnet pattern {pattern:?}")).with_source(error)
        };
        Ok(Self { regex: Some(regex.map_err(invalid)?), negated })
    }

    /// Whether the leftmost match is the whole name. An empty name matches whatever the pattern is, as upstream has it.
    pub fn matches(&self, name: &str) -> bool {
        let Some(regex) = &self.regex else { return true };
        let found = regex.find(name).map_or("", |found| found.as_str());
        (found == name) != self.negated
    }
}

/// A glob as an anchored regular expression: `*` is any run without `/`, `**/` any directories, `?` one character, `{a,b}`
/// alternatives, `{{` a brace, `[…]` a class. What is left open closes at the end.
fn glob(pattern: &str) -> String {
    let mut regex = String::from("^");
    let mut rest = pattern.chars().peekable();
    let (mut braces, mut class) = (0_usize, false);
    while let Some(character) = rest.next() {
        if class {
            class = character != ']';
            if matches!(character, '[' | '\\' | '&' | '~') {
                regex.push('\\');
            }
            regex.push(character);
            continue;
        }
        match character {
            '*' if rest.peek() == Some(&'*') => {
                rest.next();
                if rest.next_if_eq(&'/').is_some() { regex.push_str("(.*/)?") } else { regex.push_str(".*") }
            }
            '*' => regex.push_str("[^/]*"),
            '?' => regex.push('.'),
            '{' if rest.next_if_eq(&'{').is_some() => regex.push_str(r"\{"),
            '{' => {
                braces += 1;
                regex.push_str("(?:");
            }
            '}' if braces > 0 => {
                braces -= 1;
                regex.push(')');
            }
            ',' if braces > 0 => regex.push('|'),
            '[' if rest.clone().any(|character| character == ']') => {
                class = true;
                regex.push('[');
            }
            other => regex.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    regex.push_str(&")".repeat(braces));
    regex.push('$');
    regex
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        SubnetSpec::new("", pattern, "").matcher().unwrap().matches(name)
    }

    #[test]
    fn section_12_4_subnet_match_by_name() {
        for pattern in ["test-*", "~test-.*", "*", "~.*", "!other*"] {
            assert!(matches(pattern, "test-123"), "{pattern}");
        }
        for pattern in ["other*", "!test-*", "!~test-.*", "est-*", "~est-.*"] {
            assert!(!matches(pattern, "test-123"), "{pattern}");
        }
    }

    #[test]
    fn globs() {
        let yes = [
            ("test-???", "test-123"),
            ("{prod,test}-*", "test-1"),
            ("a{{b", "a{b"),
            ("net[0-9]", "net7"),
            ("**/leaf", "a/b/leaf"),
            ("a.b", "a.b"),
            ("other", ""),
        ];
        for (pattern, name) in yes {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("*", "a/b"), ("a.b", "axb"), ("{a,b}", "c"), ("net[0-9]", "netx"), ("a?", "a")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
        assert!(matches("{a,b", "a") && matches("net[", "net["), "what upstream's process dies of");
    }

    #[test]
    fn a_wrong_expression_is_an_error() {
        assert!(SubnetSpec::new("", "~(", "").matcher().is_err());
    }

    #[test]
    fn section_12_4_subnet_tags() {
        let filter = |tags| SubnetSpec::new("", "", tags).tag_filter();
        assert_eq!(filter("alice,peter"), Some(("tags-any", "alice,peter".into())));
        assert_eq!(filter("&alice, bob"), Some(("tags", "alice,bob".into())));
        assert_eq!(filter("!alice"), Some(("not-tags-any", "alice".into())));
        assert_eq!(filter("!&alice,bob"), Some(("not-tags", "alice,bob".into())));
        assert_eq!(filter(""), None);
    }

    #[test]
    fn an_id_comes_before_everything() {
        let spec = SubnetSpec::new("id", "a*", "b");
        assert!(spec.is_set() && !spec.is_search());
        assert!(!SubnetSpec::default().is_set());
    }
}
