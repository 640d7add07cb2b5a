//! The typed reader of request parameters. It remembers what was read, so what is left over is unknown.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
};

use crate::error::ApiError;

/// How lists are spelled and refusals are worded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `InstanceId.1`
    Ec2,
    /// `Names.member.1`
    Query,
}

/// The parameters of one request.
#[derive(Debug)]
pub(crate) struct Request {
    dialect: Dialect,
    values: BTreeMap<String, String>,
    read: RefCell<BTreeSet<String>>,
}

impl Request {
    pub(crate) fn new(dialect: Dialect, values: BTreeMap<String, String>) -> Self {
        let read = ["Action", "Version"].map(String::from).into_iter().collect();
        Self { dialect, values, read: RefCell::new(read) }
    }

    pub(crate) fn params(&self) -> Params<'_> {
        Params { request: self, prefix: String::new() }
    }

    /// Refuses parameters that the action did not look at.
    pub(crate) fn refuse_unread(&self) -> Result<(), ApiError> {
        let read = self.read.borrow();
        match self.values.keys().find(|key| !read.contains(*key)) {
            None => Ok(()),
            Some(key) => Err(match self.dialect {
                Dialect::Ec2 => ApiError::new("UnknownParameter", format!("The parameter {key} is not recognized")),
                Dialect::Query => ApiError::new("InvalidQueryParameter", format!("Unexpected parameter: {key}")),
            }),
        }
    }
}

/// The parameters below a prefix: the whole request, or one structure in it.
#[derive(Clone, Debug)]
pub(crate) struct Params<'a> {
    request: &'a Request,
    prefix: String,
}

impl<'a> Params<'a> {
    /// A parameter that may be absent. Empty is a value.
    pub(crate) fn optional(&self, name: &str) -> Option<&'a str> {
        let key = format!("{}{name}", self.prefix);
        let value = self.request.values.get(&key)?;
        self.request.read.borrow_mut().insert(key);
        Some(value)
    }

    /// A parameter that must be there and not empty.
    pub(crate) fn required(&self, name: &str) -> Result<&'a str, ApiError> {
        self.optional(name).filter(|value| !value.is_empty()).ok_or_else(|| self.missing(name))
    }

    /// A number or boolean that may be absent.
    pub(crate) fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        self.optional(name).map(|value| value.parse().map_err(|_| self.invalid(name, value))).transpose()
    }

    /// A number within limits that may be absent.
    pub(crate) fn within(&self, name: &str, least: i64, most: i64) -> Result<Option<i64>, ApiError> {
        let value: Option<i64> = self.parsed(name)?;
        match value {
            Some(number) if !(least..=most).contains(&number) => Err(self.out_of_range(name, number, least, most)),
            other => Ok(other),
        }
    }

    /// A number within limits that must be there.
    pub(crate) fn required_within(&self, name: &str, least: i64, most: i64) -> Result<i64, ApiError> {
        self.within(name, least, most)?.ok_or_else(|| self.missing(name))
    }

    /// One of a set of words, if present.
    pub(crate) fn one_of(&self, name: &str, words: &[&'static str]) -> Result<Option<&'static str>, ApiError> {
        let Some(value) = self.optional(name) else { return Ok(None) };
        match words.iter().find(|word| **word == value) {
            Some(word) => Ok(Some(word)),
            None => Err(self.invalid(name, value)),
        }
    }

    /// A list of plain values in order.
    pub(crate) fn list(&self, name: &str) -> Vec<&'a str> {
        let mut found = Vec::new();
        self.is_empty_list(name);
        for number in 1.. {
            match self.optional(&self.item(name, number)) {
                Some(value) => found.push(value),
                None => break,
            }
        }
        found
    }

    /// A list of plain values that must not be empty.
    pub(crate) fn required_list(&self, name: &str) -> Result<Vec<&'a str>, ApiError> {
        let found = self.list(name);
        if found.is_empty() { Err(self.missing(name)) } else { Ok(found) }
    }

    /// A list of numbers that must not be empty.
    pub(crate) fn required_numbers(&self, name: &str) -> Result<Vec<i64>, ApiError> {
        let parse = |value: &str| value.parse().map_err(|_| self.invalid(name, value));
        self.required_list(name)?.into_iter().map(parse).collect()
    }

    /// A list of structures in order.
    pub(crate) fn structures(&self, name: &str) -> Vec<Params<'a>> {
        self.is_empty_list(name);
        (1..).map(|number| self.structure(&self.item(name, number))).take_while(Params::is_present).collect()
    }

    /// A list of structures that must not be empty.
    pub(crate) fn required_structures(&self, name: &str) -> Result<Vec<Params<'a>>, ApiError> {
        let found = self.structures(name);
        if found.is_empty() { Err(self.missing(name)) } else { Ok(found) }
    }

    /// The parameters below `name.`.
    pub(crate) fn structure(&self, name: &str) -> Params<'a> {
        Params { request: self.request, prefix: format!("{}{name}.", self.prefix) }
    }

    /// Whether any parameter has this prefix.
    pub(crate) fn is_present(&self) -> bool {
        let mut from = self.request.values.range(self.prefix.clone()..);
        from.next().is_some_and(|(key, _)| key.starts_with(&self.prefix))
    }

    /// Whether the request gives the list, if only as an empty one (`Subnets=`).
    pub(crate) fn has_list(&self, name: &str) -> bool {
        self.is_empty_list(name) || self.structure(name).is_present()
    }

    fn is_empty_list(&self, name: &str) -> bool {
        self.request.dialect == Dialect::Query && self.optional(name).is_some_and(str::is_empty)
    }

    fn item(&self, name: &str, number: usize) -> String {
        match self.request.dialect {
            Dialect::Ec2 => format!("{name}.{number}"),
            Dialect::Query => format!("{name}.member.{number}"),
        }
    }

    pub(crate) fn missing(&self, name: &str) -> ApiError {
        let name = format!("{}{name}", self.prefix);
        match self.request.dialect {
            Dialect::Ec2 => ApiError::new("MissingParameter", format!("The request must contain the parameter {name}")),
            Dialect::Query => ApiError::validation(format!(
                "1 validation error detected: Value null at '{name}' failed to satisfy constraint: Member must not be null"
            )),
        }
    }

    pub(crate) fn invalid(&self, name: &str, value: &str) -> ApiError {
        let name = format!("{}{name}", self.prefix);
        match self.request.dialect {
            Dialect::Ec2 => ApiError::new("InvalidParameterValue", format!("Invalid value '{value}' for {name}")),
            Dialect::Query => ApiError::validation(format!(
                "1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint"
            )),
        }
    }

    fn out_of_range(&self, name: &str, value: i64, least: i64, most: i64) -> ApiError {
        let full = format!("{}{name}", self.prefix);
        match self.request.dialect {
            Dialect::Ec2 => ApiError::new(
                "InvalidParameterValue",
                format!(
                    "Value ( {value} ) for parameter {full} is invalid. Expecting a value between {least} and {most}."
                ),
            ),
            Dialect::Query => ApiError::validation(format!(
                "1 validation error detected: Value '{value}' at '{full}' failed to satisfy constraint: Member must have \
                 value between {least} and {most}"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(dialect: Dialect, values: &[(&str, &str)]) -> Request {
        Request::new(dialect, values.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect())
    }

    #[test]
    fn lists_are_spelled_per_dialect() {
        let ec2 = request(Dialect::Ec2, &[("InstanceId.1", "a"), ("InstanceId.2", "b"), ("InstanceId.10", "z")]);
        assert_eq!(ec2.params().list("InstanceId"), ["a", "b"]);
        assert_eq!(ec2.refuse_unread().unwrap_err().code, "UnknownParameter");
        let query = request(Dialect::Query, &[("Names.member.1", "a"), ("Subnets", "")]);
        assert_eq!(query.params().list("Names"), ["a"]);
        assert!(query.params().has_list("Subnets"));
        assert!(query.params().list("Subnets").is_empty());
        query.refuse_unread().unwrap();
    }

    #[test]
    fn structures_stop_at_the_first_gap() {
        let request =
            request(Dialect::Ec2, &[("Filter.1.Name", "a"), ("Filter.1.Value.1", "b"), ("Filter.3.Name", "c")]);
        let filters = request.params().structures("Filter");
        assert_eq!(filters.len(), 1);
        assert_eq!(filters[0].list("Value"), ["b"]);
    }

    #[test]
    fn wrong_types_and_ranges_are_refused() {
        let request = request(Dialect::Query, &[("Port", "x"), ("Interval", "3")]);
        let params = request.params();
        assert_eq!(params.parsed::<i64>("Port").unwrap_err().code, "ValidationError");
        assert_eq!(params.within("Interval", 5, 300).unwrap_err().code, "ValidationError");
        assert_eq!(params.required("Name").unwrap_err().code, "ValidationError");
    }
}
