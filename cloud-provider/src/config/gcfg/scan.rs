//! The syntax: text to sections, keys and values.

use std::{iter::Peekable, str::Chars};

use super::{Document, Entry, Error, Section};

pub(super) fn document(text: &str) -> Result<Document, Error> {
    if let Some(at) = text.find('\0') {
        return Err(Error::syntax(1 + text[..at].matches('\n').count(), "illegal character NUL"));
    }
    let mut scanner = Scanner { rest: text.chars().peekable(), line: 1 };
    let mut sections: Vec<Section> = Vec::new();
    loop {
        scanner.skip_blanks();
        let Some(first) = scanner.peek() else { return Ok(Document { sections }) };
        match (first, sections.last_mut()) {
            ('\n', _) => _ = scanner.next(),
            (';' | '#', _) => scanner.skip_comment(),
            ('[', _) => {
                let section = scanner.header()?;
                sections.push(section);
            }
            (_, None) => return Err(scanner.error("expected section header")),
            (c, Some(section)) if is_letter(c) => section.entries.push(scanner.entry()?),
            (c, Some(_)) => {
                return Err(scanner.error(format!("illegal character {c:?}, expected section header or key")));
            }
        }
    }
}

fn is_letter(c: char) -> bool {
    c.is_alphabetic()
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r')
}

struct Scanner<'a> {
    rest: Peekable<Chars<'a>>,
    line: usize,
}

impl Scanner<'_> {
    fn peek(&mut self) -> Option<char> {
        self.rest.peek().copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest.next();
        if next == Some('\n') {
            self.line += 1;
        }
        next
    }

    fn error(&self, message: impl Into<String>) -> Error {
        Error::syntax(self.line, message)
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(is_blank) {
            self.next();
        }
    }

    fn skip_comment(&mut self) {
        while self.peek().is_some_and(|c| c != '\n') {
            self.next();
        }
    }

    /// Whether only blanks and a comment are left on the line; both are skipped.
    fn at_end_of_line(&mut self) -> bool {
        self.skip_blanks();
        if matches!(self.peek(), Some(';' | '#')) {
            self.skip_comment();
        }
        matches!(self.peek(), None | Some('\n'))
    }

    fn name(&mut self) -> Option<String> {
        self.peek().filter(|c| is_letter(*c))?;
        let mut name = String::new();
        while let Some(c) = self.peek().filter(|c| is_letter(*c) || c.is_numeric() || *c == '-') {
            name.push(c);
            self.next();
        }
        Some(name)
    }

    /// `[name]` or `[name "subsection"]`, with nothing but a comment behind it.
    fn header(&mut self) -> Result<Section, Error> {
        let line = self.line;
        self.next();
        self.skip_blanks();
        let name = self.name().ok_or_else(|| self.error("expected section name"))?;
        self.skip_blanks();
        let mut subsection = None;
        if self.peek() == Some('"') {
            subsection = Some(self.subsection()?);
            self.skip_blanks();
        }
        if self.peek() != Some(']') {
            let expected = if subsection.is_some() { "" } else { "subsection name or " };
            return Err(self.error(format!("expected {expected}right bracket")));
        }
        self.next();
        if !self.at_end_of_line() {
            return Err(self.error("expected end of line or comment after section header"));
        }
        Ok(Section { name, subsection, entries: Vec::new(), line })
    }

    /// The quoted name; it knows only the escapes `\\` and `\"`.
    fn subsection(&mut self) -> Result<String, Error> {
        self.next();
        let mut name = String::new();
        loop {
            match self.peek() {
                None | Some('\n') => return Err(self.error("string not terminated")),
                Some('"') => break,
                Some('\\') => {
                    self.next();
                    match self.peek() {
                        Some(c @ ('\\' | '"')) => name.push(c),
                        _ => return Err(self.error("unknown escape sequence")),
                    }
                }
                Some(c) => name.push(c),
            }
            self.next();
        }
        self.next();
        if name.is_empty() { Err(self.error("empty subsection name")) } else { Ok(name) }
    }

    /// `key` or `key = value`, up to the end of the line.
    fn entry(&mut self) -> Result<Entry, Error> {
        let line = self.line;
        let key = self.name().unwrap_or_default();
        let mut value = None;
        if !self.at_end_of_line() {
            if self.peek() != Some('=') {
                return Err(self.error(format!("expected '=' after {key:?}")));
            }
            self.next();
            self.skip_blanks();
            value = Some(self.value()?);
        }
        Ok(Entry { key, value, line })
    }

    /// The rest of the line up to a comment, with quoted runs anywhere in it. Blanks at its end do not count unless
    /// quoted; carriage returns never do.
    fn value(&mut self) -> Result<String, Error> {
        let mut value = String::new();
        let mut kept = 0;
        let mut quoted = false;
        while let Some(c) = self.peek().filter(|c| quoted || !matches!(c, '\n' | ';' | '#')) {
            match c {
                '\n' => return Err(self.error("string not terminated")),
                '\\' if quoted => value.push(self.quoted_escape()?),
                '\\' => value.extend(self.bare_escape()?),
                '"' => quoted = !quoted,
                '\r' => {}
                c => value.push(c),
            }
            self.next();
            if quoted || !is_blank(c) {
                kept = value.len();
            }
        }
        if quoted {
            return Err(self.error("string not terminated"));
        }
        value.truncate(kept);
        Ok(value)
    }

    /// Stops before the last character of the escape, which the caller skips.
    fn quoted_escape(&mut self) -> Result<char, Error> {
        self.next();
        match self.peek() {
            Some(c @ ('\\' | '"')) => Ok(c),
            Some('n') => Ok('\n'),
            Some('t') => Ok('\t'),
            _ => Err(self.error("unknown escape sequence")),
        }
    }

    /// An escaped quote, or none for a line that goes on. Stops before the last character, as above.
    fn bare_escape(&mut self) -> Result<Option<char>, Error> {
        self.next();
        if self.peek() == Some('\r') {
            self.next();
        }
        match self.peek() {
            Some('\n') => Ok(None),
            Some('"') => Ok(Some('"')),
            _ => Err(self.error("unquoted '\\' must be followed by a new line or a double quote")),
        }
    }
}
