//! What a registry asks for when it does not know who we are.

use anyhow::{Context as _, anyhow, bail};
use http_auth::parse_challenges;
use reqwest::{Method, Url};
use serde::Deserialize;

use super::credentials::Credentials;

/// What it asks for.
#[derive(Debug)]
pub(super) enum Challenge {
    /// Name and password with each request.
    Basic,
    /// A token that somebody else gives.
    Bearer(Token),
}

/// Who gives tokens, and for what.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Token {
    realm: String,
    service: Option<String>,
    scope: Option<String>,
}

impl Challenge {
    pub(super) fn parse(headers: &[&str]) -> anyhow::Result<Self> {
        for header in headers {
            let challenges = parse_challenges(header).map_err(|_| anyhow!("{header:?} is no challenge"))?;
            for challenge in challenges {
                let param = |name: &str| {
                    let mut params = challenge.params.iter();
                    params.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_unescaped())
                };
                if challenge.scheme.eq_ignore_ascii_case("basic") {
                    return Ok(Self::Basic);
                }
                if challenge.scheme.eq_ignore_ascii_case("bearer") {
                    let realm = param("realm").context("a challenge without a realm")?;
                    return Ok(Self::Bearer(Token { realm, service: param("service"), scope: param("scope") }));
                }
            }
        }
        bail!("the registry asks for credentials in a way that we do not know: {headers:?}")
    }
}

impl Token {
    /// The request for it: method, address, and a form where it is asked for with a token that lives longer.
    pub(super) fn request(&self, credentials: &Credentials) -> anyhow::Result<(Method, Url, Option<String>)> {
        let mut url = Url::parse(&self.realm).with_context(|| format!("{:?} is no address", self.realm))?;
        let mut form = url.clone();
        let about = [("service", &self.service), ("scope", &self.scope)];
        for (name, value) in about.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
            url.query_pairs_mut().append_pair(name, value);
            form.query_pairs_mut().append_pair(name, value);
        }
        let Credentials::Token(token) = credentials else { return Ok((Method::GET, url, None)) };
        let grant = [("grant_type", "refresh_token"), ("client_id", "cloud-provider-xtask"), ("refresh_token", token)];
        form.query_pairs_mut().extend_pairs(grant);
        let fields = form.query().unwrap_or_default().to_owned();
        url.set_query(None);
        Ok((Method::POST, url, Some(fields)))
    }
}

/// Reads the token that was given.
pub(super) fn token(answer: &[u8]) -> anyhow::Result<String> {
    #[derive(Deserialize)]
    struct Given {
        token: Option<String>,
        access_token: Option<String>,
    }
    let given: Given = serde_json::from_slice(answer).context("read a token")?;
    given.token.or(given.access_token).context("an answer without a token")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_challenge_says_who_gives_the_token() {
        let header = r#"Bearer realm="https://auth.example/token",service="registry",scope="repository:a/b:pull,push""#;
        let Challenge::Bearer(token) = Challenge::parse(&[header]).unwrap() else { panic!("{header}") };
        let (method, url, form) = token.request(&Credentials::Anonymous).unwrap();
        assert_eq!((method, form), (Method::GET, None));
        let asked = "https://auth.example/token?service=registry&scope=repository%3Aa%2Fb%3Apull%2Cpush";
        assert_eq!(url.as_str(), asked);

        let (method, url, form) = token.request(&Credentials::Token("secret".to_owned())).unwrap();
        assert_eq!((method, url.as_str()), (Method::POST, "https://auth.example/token"));
        assert!(
            form.unwrap().ends_with("grant_type=refresh_token&client_id=cloud-provider-xtask&refresh_token=secret")
        );
    }

    #[test]
    fn other_challenges_are_read_or_refused() {
        assert!(matches!(Challenge::parse(&["Basic realm=\"x\""]).unwrap(), Challenge::Basic));
        assert!(Challenge::parse(&["Negotiate"]).is_err());
        assert_eq!(token(br#"{"access_token":"t"}"#).unwrap(), "t");
        assert!(token(b"{}").is_err());
    }
}
