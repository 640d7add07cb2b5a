//! One page of a list, in the forms that OpenStack's services have.

use std::{fmt, marker::PhantomData};

use cloud_provider::http::{self, Page, Response};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor},
};

/// Reads a page whose entries stand under `key`. The link to the next one stands under `<key>_links` or `links`, as the one
/// with `"rel": "next"`.
pub(super) fn read<T: DeserializeOwned>(response: &Response, key: &'static str) -> http::Result<Page<T>> {
    let mut deserializer = serde_json::Deserializer::from_slice(response.body());
    let page = List { key, entry: PhantomData }.deserialize(&mut deserializer);
    page.map_err(|error| response.odd(format!("the list of {key} is not what was expected: {error}")))
}

/// Reads one page without a copy of its JSON in memory.
struct List<T> {
    key: &'static str,
    entry: PhantomData<T>,
}

#[derive(Deserialize)]
struct Link {
    #[serde(default)]
    rel: String,
    #[serde(default)]
    href: String,
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for List<T> {
    type Value = Page<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Page<T>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
    type Value = Page<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a map with {}", self.key)
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Page<T>, M::Error> {
        let (mut entries, mut links) = (None, Vec::new());
        while let Some(name) = map.next_key::<String>()? {
            if name == self.key {
                entries = Some(map.next_value::<Vec<T>>()?);
            } else if name == "links" || name.strip_suffix("_links") == Some(self.key) {
                links.extend(map.next_value::<Option<Vec<Link>>>()?.into_iter().flatten());
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        let entries = entries.ok_or_else(|| M::Error::missing_field(self.key))?;
        let next = links.into_iter().find(|link| link.rel == "next").map(|link| link.href);
        Ok(Page { entries, next })
    }
}
