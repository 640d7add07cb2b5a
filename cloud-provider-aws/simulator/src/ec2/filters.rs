//! `Filter.N`: all filters must match, any of their values, with `*` and `?`.

use cloud_provider_simulation::glob;

use crate::{error::ApiError, model::Tags, params::Params};

/// AWS's limit on the values of all filters of a call.
const MOST_VALUES: usize = 200;

#[derive(Debug)]
pub(crate) struct Filters<'a>(Vec<(&'a str, Vec<&'a str>)>);

impl<'a> Filters<'a> {
    /// The filters of a request. Names must be in `known`, or ask for tags.
    pub(crate) fn of(params: &Params<'a>, known: &[&str]) -> Result<Self, ApiError> {
        let mut filters = Vec::new();
        let mut count = 0;
        for filter in params.structures("Filter") {
            let name = filter.required("Name")?;
            let is_tag =
                name == "tag-key" || name == "tag-value" || name.strip_prefix("tag:").is_some_and(|k| !k.is_empty());
            if !known.contains(&name) && !is_tag {
                return Err(ApiError::new("InvalidParameterValue", format!("The filter '{name}' is invalid")));
            }
            let values = filter.list("Value");
            if values.is_empty() {
                return Err(ApiError::new("InvalidParameterValue", "The filter 'null' is invalid"));
            }
            count += values.len();
            filters.push((name, values));
        }
        if count > MOST_VALUES {
            let text = format!("The maximum number of filter values specified on a single call is {MOST_VALUES}");
            return Err(ApiError::new("FilterLimitExceeded", text));
        }
        Ok(Self(filters))
    }

    /// Whether a resource with these tags passes, whose other fields `values_of` tells.
    pub(crate) fn pass(&self, tags: &Tags, values_of: impl Fn(&str) -> Vec<String>) -> bool {
        self.0.iter().all(|(name, wanted)| {
            let have: Vec<String> = match *name {
                "tag-key" => tags.keys().cloned().collect(),
                "tag-value" => tags.values().cloned().collect(),
                _ => match name.strip_prefix("tag:") {
                    Some(key) => tags.get(key).cloned().into_iter().collect(),
                    None => values_of(name),
                },
            };
            have.iter().any(|have| wanted.iter().any(|wanted| glob::matches(wanted, have)))
        })
    }
}

/// One value, for `Filters::pass`.
pub(crate) fn one(value: impl ToString) -> Vec<String> {
    vec![value.to_string()]
}
