//! The user that an authenticating proxy names in headers.

use http::HeaderMap;

use super::User;
use crate::manager::percent;

/// Which headers say what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) username: Vec<String>,
    pub(super) uid: Vec<String>,
    pub(super) group: Vec<String>,
    pub(super) extra_prefix: Vec<String>,
}

impl Rules {
    /// None where no header has a user name.
    pub(super) fn user(&self, headers: &HeaderMap) -> Option<User> {
        let name = first(headers, &self.username)?;
        let groups = self.group.iter().flat_map(|header| all(headers, header)).map(str::to_owned).collect();
        let mut extra: Vec<(String, Vec<String>)> = Vec::new();
        for header in headers.keys() {
            let Some(key) = self.extra_prefix.iter().find_map(|prefix| after(header.as_str(), prefix)) else {
                continue;
            };
            let values = all(headers, header.as_str()).map(str::to_owned).collect();
            extra.push((percent::decoded(key), values));
        }
        extra.sort();
        let uid = first(headers, &self.uid).unwrap_or_default().to_owned();
        Some(User { name: name.to_owned(), uid, groups, extra })
    }
}

fn all<'a>(headers: &'a HeaderMap, header: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    headers.get_all(header).into_iter().filter_map(|value| value.to_str().ok()).filter(|value| !value.is_empty())
}

fn first<'a>(headers: &'a HeaderMap, names: &[String]) -> Option<&'a str> {
    names.iter().find_map(|name| all(headers, name).next())
}

/// What follows the prefix, which is compared without regard to case. Names of headers are lower case here.
fn after<'a>(header: &'a str, prefix: &str) -> Option<&'a str> {
    header.strip_prefix(prefix.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_read_from_the_headers_that_the_rules_name() {
        let rules = Rules {
            username: vec!["X-Remote-User".into(), "X-User".into()],
            uid: vec!["X-Remote-Uid".into()],
            group: vec!["X-Remote-Group".into()],
            extra_prefix: vec!["X-Remote-Extra-".into()],
        };
        let mut headers = HeaderMap::new();
        assert_eq!(rules.user(&headers), None);
        headers.insert("x-user", "ann".parse().unwrap());
        headers.append("x-remote-group", "dev".parse().unwrap());
        headers.append("x-remote-group", "ops".parse().unwrap());
        headers.insert("x-remote-extra-acme.com%2fproject", "p".parse().unwrap());
        headers.insert("x-other", "o".parse().unwrap());
        let user = rules.user(&headers).unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("ann", ""));
        assert_eq!(user.groups, ["dev", "ops"]);
        assert_eq!(user.extra, [("acme.com/project".to_owned(), vec!["p".to_owned()])]);
        headers.insert("x-remote-user", "bob".parse().unwrap());
        headers.insert("x-remote-uid", "7".parse().unwrap());
        let user = rules.user(&headers).unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("bob", "7"));
    }
}
