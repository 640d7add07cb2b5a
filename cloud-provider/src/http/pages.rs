//! Lists whose pages are chained by links.

use std::collections::HashSet;

use reqwest::Url;

use super::{Client, Error, Request, Response, Result};

/// More pages than any list here has.
const MAX_PAGES: usize = 10_000;

/// One page of a list: its entries, and the link to the next page.
#[derive(Debug)]
pub struct Page<T> {
    /// The entries.
    pub entries: Vec<T>,
    /// The link, absolute or relative to this page.
    pub next: Option<String>,
}

/// Reads all pages, from the one that `first` asks for to the one without a link; `read` takes them apart.
///
/// A link is followed on the host that `first` went to, and on no other: a service behind a proxy often does not know the
/// name under which it is reached, and a token is not for others. Of a link to elsewhere only the query counts.
///
/// # Errors
///
/// When a page fails, or the pages do not end: a list that may be cut short proves nothing.
pub async fn pages<T>(
    client: &Client,
    first: Request,
    mut read: impl FnMut(&Response) -> Result<Page<T>>,
) -> Result<Vec<T>> {
    let mut entries = Vec::new();
    let mut seen = HashSet::new();
    let mut request = first;
    for _ in 0..MAX_PAGES {
        let Page { entries: more, next: link } = read(&client.send(request.clone()).await?)?;
        // An empty page ends the list, whatever it links to.
        let last = more.is_empty();
        if entries.is_empty() {
            entries = more;
        } else {
            entries.extend(more);
        }
        let Some(link) = link.filter(|link| !link.is_empty() && !last) else { return Ok(entries) };
        let next =
            next(request.url(), &link).ok_or_else(|| Error::odd(&request, "the link to the next page is no URL"))?;
        if !seen.insert(next.as_str().to_owned()) {
            break;
        }
        request = request.to(next);
    }
    Err(Error::odd(&request, "the pages do not end"))
}

pub(super) fn next(current: &Url, link: &str) -> Option<Url> {
    let next = current.join(link).ok()?;
    if next.origin() == current.origin() {
        return Some(next);
    }
    let mut here = current.clone();
    here.set_query(next.query());
    Some(here)
}
