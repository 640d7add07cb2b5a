//! Container registries: ECR (JSON 1.1, version 2015-09-21) and ECR Public (2020-10-30), as far as they give out tokens.

use cloud_provider_simulation::later;
use jiff::Timestamp;

use crate::{context::Context, error::ApiError, params::Params, service::Action, xml::Xml};

pub(crate) const PRIVATE: &[Action] = &[Action::read("GetAuthorizationToken", private)];
pub(crate) const PUBLIC: &[Action] = &[Action::read("GetAuthorizationToken", public)];

/// How long a token is good for: twelve hours, in milliseconds.
const LIFE: u64 = 12 * 60 * 60 * 1000;

fn private(context: &mut Context<'_>, _params: &Params<'_>) -> Result<Xml, ApiError> {
    let (account, region) = (&context.state.account, &context.state.region);
    let proxy = format!("https://{account}.dkr.ecr.{region}.{}", context.state.dns_suffix());
    let data = authorization(context).text("proxyEndpoint", proxy);
    Ok(Xml::new().list("authorizationData", "member", [data]))
}

fn public(context: &mut Context<'_>, _params: &Params<'_>) -> Result<Xml, ApiError> {
    Ok(Xml::new().node("authorizationData", authorization(context)))
}

/// The user `AWS` and a password that tells who asked.
fn authorization(context: &Context<'_>) -> Xml {
    let caller = context.caller.map(|caller| caller.access_key.as_str()).unwrap_or_default();
    let expires: Timestamp = later(context.now, LIFE);
    let token = base64(format!("AWS:password-for-{caller}").as_bytes());
    Xml::new().text("authorizationToken", token).text("expiresAt", expires.as_second())
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |group: &[u8]| {
        let bits = group.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte)) << (8 * (3 - group.len()));
        let digit = move |place: usize| char::from(DIGITS[bits >> (18 - 6 * place) & 63]);
        let digits = group.len() + 1;
        (0..4).map(move |place| if place < digits { digit(place) } else { '=' })
    };
    bytes.chunks(3).flat_map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_agrees_with_rfc_4648() {
        for (text, expected) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(base64(text.as_bytes()), expected);
        }
    }
}
