//! One page of a list, in the forms that OpenStack's services have.

use std::{collections::BTreeSet, fmt, marker::PhantomData};

use cloud_provider::http::{self, Page, Response, Url};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor},
};

/// Reads a page whose entries stand under `key`. The link to the next one stands under `<key>_links` or `links`, as the one
/// with `"rel": "next"`; it asks for what the `first` page was asked for.
pub(super) fn read<T: DeserializeOwned>(response: &Response, key: &'static str, first: &Url) -> http::Result<Page<T>> {
    let mut deserializer = serde_json::Deserializer::from_slice(response.body());
    let page = List { key, entry: PhantomData }.deserialize(&mut deserializer);
    let Page { entries, next } =
        page.map_err(|error| response.odd(format!("the list of {key} is not what was expected: {error}")))?;
    Ok(Page { entries, next: next.map(|link| complete(link, first)) })
}

/// A link with all parameters of the first request: those of Octavia have no filters, so that they lead to what was not asked for.
fn complete(link: String, first: &Url) -> String {
    let Ok(mut next) = first.join(&link) else { return link };
    let named: BTreeSet<String> = next.query_pairs().map(|(name, _)| name.into_owned()).collect();
    let missing: Vec<_> = first.query_pairs().filter(|(name, _)| !named.contains(&**name)).collect();
    if !missing.is_empty() {
        next.query_pairs_mut().extend_pairs(missing);
    }
    next.into()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_asked_for_what_the_first_was() {
        let first: Url =
            "http://octavia/v2/lbaas/listeners?loadbalancer_id=a&fields=id&fields=name&limit=9".parse().unwrap();
        let next = |link: &str| complete(link.to_owned(), &first);
        assert_eq!(
            next("http://octavia/v2/lbaas/listeners?limit=5&marker=m"),
            "http://octavia/v2/lbaas/listeners?limit=5&marker=m&loadbalancer_id=a&fields=id&fields=name"
        );
        let whole = "http://nova/servers?marker=m&limit=9&loadbalancer_id=b&fields=id";
        assert_eq!(next(whole), whole);
        assert_eq!(
            next("?marker=m&limit=1&loadbalancer_id=a&fields=id"),
            "http://octavia/v2/lbaas/listeners?marker=m&limit=1&loadbalancer_id=a&fields=id"
        );
    }
}
