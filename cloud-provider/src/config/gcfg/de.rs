//! The serde front: sections, subsections, keys and values as maps, sequences and scalars.

use std::{cell::RefCell, fmt::Display, vec};

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::{Document, Entry, Error, Section, Warning, error::Location};

type Warnings = RefCell<Vec<Warning>>;

pub(super) fn document<T: DeserializeOwned>(document: &Document) -> Result<(T, Vec<Warning>), Error> {
    let warnings = Warnings::default();
    let value = T::deserialize(Root { sections: group(&document.sections, |s| &s.name), warnings: &warnings })?;
    let mut warnings = warnings.into_inner();
    warnings.sort_by_key(|warning| match warning {
        Warning::UnknownSection { line, .. }
        | Warning::UnexpectedSubsection { line, .. }
        | Warning::UnknownKey { line, .. } => *line,
    });
    Ok((value, warnings))
}

/// Things of one name, compared without regard to case, in the order of their first.
fn group<'d, T>(items: impl IntoIterator<Item = &'d T>, name: impl Fn(&'d T) -> &'d str) -> Vec<Group<'d, T>> {
    let mut groups: Vec<Group<'d, T>> = Vec::new();
    for item in items {
        let folded = name(item).to_lowercase();
        match groups.iter_mut().find(|group| group.name == folded) {
            Some(group) => group.items.push(item),
            None => groups.push(Group { name: folded, items: vec![item] }),
        }
    }
    groups
}

struct Group<'d, T> {
    /// In lower case.
    name: String,
    /// At least one.
    items: Vec<&'d T>,
}

/// The name of the field that a folded name means.
fn field(fields: &'static [&'static str], folded: &str) -> Option<&'static str> {
    fields.iter().copied().find(|field| field.to_lowercase() == folded)
}

/// The pairs of a map or struct whose values know their place.
struct Pairs<V> {
    rest: vec::IntoIter<(String, V, Location)>,
    value: Option<(V, Location)>,
}

impl<V> Pairs<V> {
    fn new(pairs: Vec<(String, V, Location)>) -> Self {
        Self { rest: pairs.into_iter(), value: None }
    }
}

impl<'de, V: Deserializer<'de, Error = Error>> MapAccess<'de> for Pairs<V> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((key, value, at)) = self.rest.next() else { return Ok(None) };
        self.value = Some((value, at));
        seed.deserialize(IntoDeserializer::<Error>::into_deserializer(key)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let Some((value, at)) = self.value.take() else { return Err(Error::custom("value read before its key")) };
        seed.deserialize(value).map_err(|error| error.at(at))
    }
}

/// The whole file: a struct or map of sections.
struct Root<'d> {
    sections: Vec<Group<'d, Section>>,
    warnings: &'d Warnings,
}

impl<'d> Root<'d> {
    fn pairs(self, mut key: impl FnMut(&Group<'d, Section>) -> Option<String>) -> Pairs<Sections<'d>> {
        let pairs = self.sections.into_iter().filter_map(|group| {
            let key = key(&group)?;
            let at = section_location(&group.items, None);
            Some((key, Sections { sections: group.items, warnings: self.warnings }, at))
        });
        Pairs::new(pairs.collect())
    }
}

fn section_location(sections: &[&Section], subsection: Option<&str>) -> Location {
    let first = sections.first();
    Location {
        line: first.map(|section| section.line),
        section: first.map(|section| section.name.clone()),
        subsection: subsection.filter(|name| !name.is_empty()).map(str::to_owned),
        key: None,
    }
}

impl<'de> Deserializer<'de> for Root<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(self.pairs(|group| Some(group.name.clone())))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let warnings = self.warnings;
        visitor.visit_map(self.pairs(|group| {
            let known = field(fields, &group.name);
            if known.is_none() {
                warnings.borrow_mut().extend(
                    group
                        .items
                        .iter()
                        .map(|section| Warning::UnknownSection { line: section.line, section: section.name.clone() }),
                );
            }
            known.map(str::to_owned)
        }))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// All sections of one name: a struct of keys, or a map of subsections.
struct Sections<'d> {
    sections: Vec<&'d Section>,
    warnings: &'d Warnings,
}

impl<'de> Deserializer<'de> for Sections<'_> {
    type Error = Error;

    /// A map: one value for each subsection, those of the same name together.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let mut subsections: Vec<(&str, Vec<&Section>)> = Vec::new();
        for section in self.sections {
            let name = section.subsection.as_deref().unwrap_or_default();
            match subsections.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sections)) => sections.push(section),
                None => subsections.push((name, vec![section])),
            }
        }
        let pairs = subsections.into_iter().map(|(name, sections)| {
            let at = section_location(&sections, Some(name));
            (name.to_owned(), Body { sections, warnings: self.warnings }, at)
        });
        visitor.visit_map(Pairs::new(pairs.collect()))
    }

    /// The keys of all sections of the name; those with a subsection do not belong to it.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let mut plain = Vec::new();
        for section in self.sections {
            match &section.subsection {
                None => plain.push(section),
                Some(subsection) => self.warnings.borrow_mut().push(Warning::UnexpectedSubsection {
                    line: section.line,
                    section: section.name.clone(),
                    subsection: subsection.clone(),
                }),
            }
        }
        Body { sections: plain, warnings: self.warnings }.deserialize_struct(name, fields, visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// The keys of one section or subsection, all its parts together.
struct Body<'d> {
    sections: Vec<&'d Section>,
    warnings: &'d Warnings,
}

impl<'d> Body<'d> {
    fn pairs(&self, mut key: impl FnMut(&Group<'d, Entry>) -> Option<String>) -> Pairs<Values<'d>> {
        let entries = group(self.sections.iter().flat_map(|section| &section.entries), |entry| &entry.key);
        let pairs = entries.into_iter().filter_map(|group| {
            let name = key(&group)?;
            let at = self.location(group.items.last()?);
            Some((name, Values { entries: group.items }, at))
        });
        Pairs::new(pairs.collect())
    }

    fn location(&self, entry: &Entry) -> Location {
        let subsection = self.sections.first().and_then(|section| section.subsection.as_deref());
        Location {
            line: Some(entry.line),
            key: Some(entry.key.clone()),
            ..section_location(&self.sections, subsection)
        }
    }
}

impl<'de> Deserializer<'de> for Body<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(self.pairs(|group| Some(group.name.clone())))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_map(self.pairs(|group| {
            let known = field(fields, &group.name);
            if known.is_none() {
                self.warnings.borrow_mut().extend(group.items.iter().map(|entry| {
                    let at = self.location(entry);
                    Warning::UnknownKey {
                        line: entry.line,
                        section: at.section.unwrap_or_default(),
                        subsection: at.subsection,
                        key: entry.key.clone(),
                    }
                }));
            }
            known.map(str::to_owned)
        }))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// All values of one key in one section, at least one.
struct Values<'d> {
    entries: Vec<&'d Entry>,
}

impl<'d> Values<'d> {
    /// The last value, when all of them are of the type: a wrong value is an error also where a later one overrides it.
    fn last<T>(&self, parse: impl Fn(Option<&'d str>) -> Result<T, Error>) -> Result<T, Error> {
        let mut last = Err(Error::custom("no value"));
        for entry in &self.entries {
            last = Ok(parse(entry.value.as_deref()).map_err(|error| error.at_line(entry.line))?);
        }
        last
    }

    fn text(&self) -> Result<&'d str, Error> {
        self.last(|value| value.ok_or_else(|| Error::custom("needs a value")))
    }

    fn number<T, E: Display>(&self, parse: impl Fn(&str) -> Result<T, E>) -> Result<T, Error> {
        self.last(|value| {
            let text = value.ok_or_else(|| Error::custom("needs a value"))?.trim();
            parse(text).map_err(|error| Error::custom(format_args!("{text:?} is not a number: {error}")))
        })
    }
}

fn boolean(value: Option<&str>) -> Result<bool, Error> {
    let Some(text) = value else { return Ok(true) };
    match text.to_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(Error::custom(format_args!("{text:?} is not a boolean (true, yes, on, 1, false, no, off, 0)"))),
    }
}

/// Decimal, or hexadecimal with `0x`.
fn integer(text: &str) -> Result<i128, std::num::ParseIntError> {
    match text.strip_prefix("0x") {
        Some(digits) => i128::from_str_radix(digits, 16),
        None => match text.strip_prefix("-0x") {
            Some(digits) => i128::from_str_radix(&format!("-{digits}"), 16),
            None => text.parse(),
        },
    }
}

/// One number method each: the visitor checks the range of its own type.
macro_rules! integers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let number = self.number(integer)?;
            match (i64::try_from(number), u64::try_from(number)) {
                (Ok(number), _) => visitor.visit_i64(number),
                (_, Ok(number)) => visitor.visit_u64(number),
                _ => visitor.visit_i128(number),
            }
        }
    )*};
}

macro_rules! floats {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.visit_f64(self.number(str::parse)?)
        }
    )*};
}

impl<'de> Deserializer<'de> for Values<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.text()?)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bool(self.last(boolean)?)
    }

    integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
    }
    floats! { deserialize_f32 deserialize_f64 }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    /// The values since the last key without one.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let start = self.entries.iter().rposition(|entry| entry.value.is_none()).map_or(0, |blank| blank + 1);
        let entries: Vec<_> = self.entries.into_iter().skip(start).collect();
        visitor.visit_seq(List(entries.into_iter()))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(self.text()?.into_deserializer())
    }

    forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct identifier ignored_any
    }
}

struct List<'d>(vec::IntoIter<&'d Entry>);

impl<'de> SeqAccess<'de> for List<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some(entry) = self.0.next() else { return Ok(None) };
        seed.deserialize(Values { entries: vec![entry] }).map(Some).map_err(|error| error.at_line(entry.line))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}
