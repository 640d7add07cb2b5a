//! Answers as small element trees, so that a knob can leave elements out before they are written, as XML or JSON.

use std::fmt::{Display, Write as _};

use serde_json::Value;

/// The children of an element, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Xml(Vec<Element>);

#[derive(Clone, Debug)]
struct Element {
    name: &'static str,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    Text(String),
    Children(Xml),
}

impl Xml {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Only EC2's `<return>true</return>`.
    pub(crate) fn succeeded() -> Self {
        Self::new().text("return", true)
    }

    pub(crate) fn text(mut self, name: &'static str, value: impl Display) -> Self {
        self.0.push(Element { name, content: Content::Text(value.to_string()) });
        self
    }

    /// The element only when there is a value: AWS leaves out what is unset.
    pub(crate) fn maybe(self, name: &'static str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.text(name, value),
            None => self,
        }
    }

    pub(crate) fn node(mut self, name: &'static str, children: Xml) -> Self {
        self.0.push(Element { name, content: Content::Children(children) });
        self
    }

    pub(crate) fn list(self, name: &'static str, item: &'static str, items: impl IntoIterator<Item = Xml>) -> Self {
        let children = items.into_iter().fold(Xml::new(), |all, each| all.node(item, each));
        self.node(name, children)
    }

    pub(crate) fn texts(
        self,
        name: &'static str,
        item: &'static str,
        items: impl IntoIterator<Item = impl Display>,
    ) -> Self {
        let children = items.into_iter().fold(Xml::new(), |all, each| all.text(item, each));
        self.node(name, children)
    }

    pub(crate) fn and(mut self, mut more: Xml) -> Self {
        self.0.append(&mut more.0);
        self
    }

    /// Removes every element whose path ends in `path`, at any depth.
    pub(crate) fn remove(&mut self, path: &[&str]) {
        let Some((last, parents)) = path.split_last() else { return };
        self.remove_below(&mut Vec::new(), last, parents);
    }

    fn remove_below(&mut self, above: &mut Vec<&'static str>, last: &str, parents: &[&str]) {
        if above.ends_with_names(parents) {
            self.0.retain(|element| element.name != last);
        }
        for element in &mut self.0 {
            if let Content::Children(children) = &mut element.content {
                above.push(element.name);
                children.remove_below(above, last, parents);
                above.pop();
            }
        }
    }

    /// The same as JSON: elements `member` make a list, texts that are whole numbers a number.
    pub(crate) fn json(&self) -> Value {
        let content = |content: &Content| match content {
            Content::Text(text) => text.parse::<i64>().map_or_else(|_| Value::from(text.as_str()), Value::from),
            Content::Children(children) => children.json(),
        };
        match self.0.first() {
            Some(first) if first.name == "member" => self.0.iter().map(|element| content(&element.content)).collect(),
            _ => self.0.iter().map(|element| (element.name.to_owned(), content(&element.content))).collect(),
        }
    }

    pub(crate) fn write(&self, out: &mut String) {
        for element in &self.0 {
            let name = element.name;
            // Writing to a String cannot fail.
            let _ = write!(out, "<{name}>");
            match &element.content {
                Content::Text(text) => escape(text, out),
                Content::Children(children) => children.write(out),
            }
            let _ = write!(out, "</{name}>");
        }
    }
}

trait EndsWithNames {
    fn ends_with_names(&self, names: &[&str]) -> bool;
}

impl EndsWithNames for Vec<&'static str> {
    fn ends_with_names(&self, names: &[&str]) -> bool {
        self.len() >= names.len() && self[self.len() - names.len()..].iter().zip(names).all(|(have, want)| have == want)
    }
}

/// Escapes text content; control characters that XML 1.0 cannot carry become U+FFFD.
pub(crate) fn escape(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\r' => out.push_str("&#xD;"),
            '\t' | '\n' => out.push(character),
            control if control < ' ' => out.push('\u{FFFD}'),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(xml: &Xml) -> String {
        let mut out = String::new();
        xml.write(&mut out);
        out
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(written(&Xml::new().text("a", "<x & \"y\">\u{1}")), "<a>&lt;x &amp; &quot;y&quot;&gt;\u{FFFD}</a>");
    }

    #[test]
    fn elements_are_removed_by_the_end_of_their_path() {
        let tree = || Xml::new().node("a", Xml::new().text("b", 1).node("c", Xml::new().text("b", 2)));
        let mut everywhere = tree();
        everywhere.remove(&["b"]);
        assert_eq!(written(&everywhere), "<a><c></c></a>");
        let mut inner = tree();
        inner.remove(&["c", "b"]);
        assert_eq!(written(&inner), "<a><b>1</b><c></c></a>");
    }
}
