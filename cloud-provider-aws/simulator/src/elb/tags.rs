//! Tags, for both load balancing services.

use crate::{
    context::Context, elb::not_found, error::ApiError, model::Tags, params::Params, state::put_tags, xml::Xml,
};

/// Keys have 1 to 128 characters, values at most 256, of letters, digits, white space and `_.:/=+-@`.
pub(crate) fn check(key: &str, value: &str) -> Result<(), ApiError> {
    let fine = |text: &str| {
        text.chars().all(|each| each.is_alphanumeric() || each.is_whitespace() || "_.:/=+-@".contains(each))
    };
    if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 || !fine(key) || !fine(value) {
        return Err(ApiError::validation(format!("The tag '{key}' with value '{value}' is not valid")));
    }
    if key.to_ascii_lowercase().starts_with("aws:") {
        return Err(ApiError::validation(format!(
            "The tag key '{key}' is reserved: aws: prefixed tag key names are not allowed"
        )));
    }
    Ok(())
}

/// The list `Tags` of a request.
pub(crate) fn read(params: &Params<'_>, most: usize) -> Result<Tags, ApiError> {
    let mut tags = Tags::new();
    for tag in params.structures("Tags") {
        let (key, value) = (tag.required("Key")?, tag.optional("Value").unwrap_or_default());
        check(key, value)?;
        if tags.insert(key.into(), value.into()).is_some() {
            return Err(ApiError::new("DuplicateTagKeys", format!("The tag key '{key}' was specified more than once")));
        }
    }
    if tags.len() > most {
        return Err(ApiError::new("TooManyTags", format!("A resource can have at most {most} tags")));
    }
    Ok(tags)
}

pub(crate) fn items(tags: &Tags) -> Xml {
    let item = |(key, value)| Xml::new().text("Key", key).text("Value", value);
    Xml::new().list("Tags", "member", tags.iter().map(item))
}

/// Load balancers of a request, all of which must be there.
fn balancers<'a>(context: &Context<'_>, params: &Params<'a>) -> Result<Vec<&'a str>, ApiError> {
    let names = params.required_list("LoadBalancerNames")?;
    match names.iter().find(|name| !context.state.classic_load_balancers.contains_key(**name)) {
        Some(missing) => Err(not_found(missing)),
        None if names.len() > 20 => Err(ApiError::validation("At most 20 load balancers can be given")),
        None => Ok(names),
    }
}

pub(crate) fn add(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let names = balancers(context, params)?;
    let most = context.knobs.quotas.tags;
    let tags = read(params, most)?;
    if tags.is_empty() {
        return Err(params.missing("Tags"));
    }
    for name in names {
        if let Some(balancer) = context.state.classic_load_balancers.get_mut(name) {
            put_tags(&mut balancer.tags, &tags, most, "TooManyTags")?;
        }
    }
    Ok(Xml::new())
}

pub(crate) fn remove(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let names = balancers(context, params)?;
    let tags = params.required_structures("Tags")?;
    let keys: Vec<&str> = tags.iter().map(|tag| tag.required("Key")).collect::<Result<_, _>>()?;
    for name in names {
        if let Some(balancer) = context.state.classic_load_balancers.get_mut(name) {
            balancer.tags.retain(|key, _| !keys.contains(&key.as_str()));
        }
    }
    Ok(Xml::new())
}

pub(crate) fn describe(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let names = balancers(context, params)?;
    let found = names.iter().filter_map(|name| context.state.classic_load_balancers.get(*name));
    let items = found.map(|balancer| Xml::new().text("LoadBalancerName", &balancer.name).and(items(&balancer.tags)));
    Ok(Xml::new().list("TagDescriptions", "member", items))
}
