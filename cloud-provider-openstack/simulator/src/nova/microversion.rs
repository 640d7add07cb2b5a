//! Microversions of Nova and Cinder: asked for in a header, told in one.

use crate::{error::ApiError, knobs::Knobs, request::Request, service::Service};

const HEADER: &str = "openstack-api-version";
const OF_NOVA: &str = "x-openstack-nova-api-version";
/// Cinder's newest microversion.
pub(crate) const CINDER: u32 = 71;

/// The service type in the header, the major version, the default minor and the newest one.
fn of(service: Service, knobs: &Knobs) -> Option<(&'static str, u32, u32, u32)> {
    match service {
        Service::Nova => Some(("compute", 2, 1, knobs.release.nova_minor)),
        Service::Cinder => Some(("volume", 3, 0, CINDER)),
        _ => None,
    }
}

fn text<'a>(service: Service, kind: &str, request: &'a Request) -> Option<&'a str> {
    let named = request
        .header(HEADER)
        .and_then(|all| all.split(',').find_map(|one| one.trim().strip_prefix(kind)?.strip_prefix(' ').map(str::trim)));
    named.or_else(|| request.header(OF_NOVA).filter(|_| service == Service::Nova))
}

/// The minor number that a request asks for; zero where a service has none.
pub(crate) fn asked(service: Service, request: &Request, knobs: &Knobs) -> Result<u32, ApiError> {
    let Some((kind, major, default, newest)) = of(service, knobs) else { return Ok(0) };
    let Some(text) = text(service, kind, request) else { return Ok(default) };
    if text == "latest" {
        return Ok(newest);
    }
    let malformed = || {
        ApiError::bad_request(format!(
            "API Version String {text} is of invalid format. Must be of format MajorNum.MinorNum."
        ))
    };
    let (asked_major, minor) = text.split_once('.').ok_or_else(malformed)?;
    let (asked_major, minor): (u32, u32) =
        (asked_major.parse().map_err(|_| malformed())?, minor.parse().map_err(|_| malformed())?);
    if asked_major != major || minor < default || minor > newest {
        return Err(ApiError::new(
            406,
            format!(
                "Version {text} is not supported by the API. Minimum is {major}.{default} and maximum is {major}.{newest}."
            ),
        ));
    }
    Ok(minor)
}

/// The headers that tell the version of an answer.
pub(crate) fn header(service: Service, request: &Request, knobs: &Knobs) -> Option<Vec<(String, String)>> {
    let (kind, major, default, _) = of(service, knobs)?;
    let minor = asked(service, request, knobs).unwrap_or(default);
    let version = format!("{major}.{minor}");
    let mut headers =
        vec![(HEADER.to_owned(), format!("{kind} {version}")), ("vary".to_owned(), "OpenStack-API-Version".to_owned())];
    if service == Service::Nova {
        headers.push((OF_NOVA.to_owned(), version));
    }
    Some(headers)
}
