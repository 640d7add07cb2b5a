//! Reading all pages of a list.

use std::future::Future;

use super::{Error, Result, Service};

/// More pages than any list here has: 1,000 entries each.
const MAX_PAGES: usize = 10_000;

/// Calls `page` with the token of the page before it, until there is no token left, and gives all entries.
///
/// An empty token ends the list as a missing one does. A token that comes back twice in a row would never end; it is an
/// error, since a list that may be cut short proves nothing.
#[cfg_attr(not(any(feature = "sdk", test)), expect(dead_code, reason = "only calls have pages"))]
pub(crate) async fn all_pages<T, F, P>(service: Service, operation: &'static str, mut page: F) -> Result<Vec<T>>
where
    F: FnMut(Option<String>) -> P,
    P: Future<Output = Result<(Vec<T>, Option<String>)>>,
{
    let mut entries = Vec::new();
    let mut token = None;
    for _ in 0..MAX_PAGES {
        let (more, next) = page(token.clone()).await?;
        if entries.is_empty() {
            entries = more;
        } else {
            entries.extend(more);
        }
        let next = next.filter(|next| !next.is_empty());
        if next.is_none() {
            return Ok(entries);
        }
        if next == token {
            break;
        }
        token = next;
    }
    Err(Error::odd_answer(service, operation, "the pages do not end"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pages_are_followed_to_the_end() {
        let entries = all_pages(Service::Ec2, "DescribeInstances", async |token: Option<String>| {
            Ok(match token.as_deref() {
                None => (vec![1, 2], Some("a".to_owned())),
                Some("a") => (vec![3], Some("b".to_owned())),
                _ => (vec![4], Some(String::new())),
            })
        });
        assert_eq!(entries.await.unwrap(), [1, 2, 3, 4]);
    }

    #[tokio::test]
    async fn a_token_that_repeats_is_an_error_and_not_an_endless_list() {
        let page = async |_: Option<String>| Ok((vec![1], Some("same".to_owned())));
        assert!(all_pages(Service::Ec2, "DescribeSubnets", page).await.is_err());
    }
}
