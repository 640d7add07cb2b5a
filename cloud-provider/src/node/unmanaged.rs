//! Nodes that this cloud has nothing to do with, by a label selector.

use std::{collections::BTreeSet, fmt, str::FromStr};

use kube::core::{Expression, Selector, SelectorExt};

use crate::cluster::objects::Node;

/// A label selector for nodes that the node controllers leave alone, because no instance of the cloud stands behind
/// them. The default is `type=virtual-kubelet`; the empty text selects no node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmanaged(Option<Selector>);

impl Default for Unmanaged {
    fn default() -> Self {
        Self(Some(Expression::Equal("type".into(), "virtual-kubelet".into()).into()))
    }
}

impl Unmanaged {
    /// Whether the node is left alone.
    pub fn matches(&self, node: &Node) -> bool {
        let Some(selector) = &self.0 else { return false };
        match &node.metadata.labels {
            Some(labels) => selector.matches(labels),
            None => selector.matches(&Default::default()),
        }
    }
}

impl fmt::Display for Unmanaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |selector| selector.fmt(f))
    }
}

impl FromStr for Unmanaged {
    type Err = String;

    /// Reads a selector in kubectl's grammar: `a=b`, `a!=b`, `a`, `!a`, `a in (b,c)`, `a notin (b,c)`, joined by commas.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self(None));
        }
        Ok(Self(Some(requirements(text)?.into_iter().map(requirement).collect::<Result<Selector, String>>()?)))
    }
}

/// Splits at the commas that stand outside of parentheses.
fn requirements(text: &str) -> Result<Vec<&str>, String> {
    let (mut parts, mut start, mut inside) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        match c {
            '(' if inside => return Err(format!("{text:?}: a parenthesis inside of parentheses")),
            '(' => inside = true,
            ')' if !inside => return Err(format!("{text:?}: a closing parenthesis without an opening one")),
            ')' => inside = false,
            ',' if !inside => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if inside {
        return Err(format!("{text:?}: an opening parenthesis without a closing one"));
    }
    parts.push(&text[start..]);
    Ok(parts)
}

fn requirement(text: &str) -> Result<Expression, String> {
    let text = text.trim();
    if let Some((head, set)) = text.split_once('(') {
        let values = set.strip_suffix(')').ok_or_else(|| format!("{text:?}: nothing may follow the values"))?;
        let values: BTreeSet<String> = values.split(',').map(value).collect::<Result<_, _>>()?;
        return match head.split_whitespace().collect::<Vec<_>>()[..] {
            [name, "in"] => Ok(Expression::In(key(name)?, values)),
            [name, "notin"] => Ok(Expression::NotIn(key(name)?, values)),
            _ => Err(format!("{text:?}: expected `key in (…)` or `key notin (…)`")),
        };
    }
    if let Some((name, wanted)) = text.split_once("!=") {
        return Ok(Expression::NotEqual(key(name)?, value(wanted)?));
    }
    if let Some((name, wanted)) = text.split_once('=') {
        return Ok(Expression::Equal(key(name)?, value(wanted.strip_prefix('=').unwrap_or(wanted))?));
    }
    match text.strip_prefix('!') {
        Some(name) => Ok(Expression::DoesNotExist(key(name)?)),
        None => Ok(Expression::Exists(key(text)?)),
    }
}

fn key(text: &str) -> Result<String, String> {
    let text = text.trim();
    let (prefix, name) = text.rsplit_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    let prefix_fits = prefix.is_none_or(|prefix| {
        !prefix.is_empty() && prefix.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c))
    });
    if name.is_empty() || !prefix_fits || !is_name(name) {
        return Err(format!("{text:?} is not a label key"));
    }
    Ok(text.to_owned())
}

fn value(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || is_name(text) { Ok(text.to_owned()) } else { Err(format!("{text:?} is not a label value")) }
}

/// Up to 63 letters, digits, `-`, `_`, `.`, with a letter or digit at both ends.
fn is_name(text: &str) -> bool {
    text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(labels: &[(&str, &str)]) -> Node {
        let mut node = Node::default();
        node.metadata.labels =
            Some(labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect());
        node
    }

    #[test]
    fn virtual_kubelets_are_left_alone_unless_told_otherwise() {
        let (virtual_node, other) = (node(&[("type", "virtual-kubelet")]), node(&[("edge.example.com/site", "a")]));
        let matches = |selector: &str| {
            let selector: Unmanaged = selector.parse().unwrap();
            (selector.matches(&virtual_node), selector.matches(&other))
        };
        assert_eq!(matches(&Unmanaged::default().to_string()), (true, false));
        assert_eq!(matches(""), (false, false));
        assert_eq!(matches("type=virtual-kubelet,!edge.example.com/site"), (true, false));
        assert_eq!(matches("edge.example.com/site"), (false, true));
        assert_eq!(matches("edge.example.com/site in (a, b)"), (false, true));
        assert_eq!(matches("edge.example.com/site notin (b)"), (true, true));
        assert_eq!(matches("type!=virtual-kubelet"), (false, true));
        assert_eq!(matches("type==virtual-kubelet"), (true, false));
        assert!(!Unmanaged::default().matches(&Node::default()));
    }

    #[test]
    fn a_selector_that_cannot_be_read_is_refused() {
        for bad in ["=", "a b", "a in b", "a in (b", "a in (b) c", "a=b,", "a in ((b))", "-a", "a=b c", "/a", "A_b/c"] {
            assert!(bad.parse::<Unmanaged>().is_err(), "{bad}");
        }
    }
}
