//! Tags of load balancers, target groups and listeners.

use crate::{
    context::Context,
    elb,
    error::ApiError,
    model::Tags,
    params::Params,
    state::{State, put_tags},
    xml::Xml,
};

fn tags_of<'a>(state: &'a State, arn: &str) -> Result<&'a Tags, ApiError> {
    let resource = arn.split(':').nth(5).unwrap_or_default();
    let (tags, code) = match resource.split('/').next().unwrap_or_default() {
        "loadbalancer" => (state.load_balancers.get(arn).map(|found| &found.tags), "LoadBalancerNotFound"),
        "targetgroup" => (state.target_groups.get(arn).map(|found| &found.tags), "TargetGroupNotFound"),
        "listener" => (state.listeners.get(arn).map(|found| &found.tags), "ListenerNotFound"),
        _ => return Err(ApiError::validation(format!("'{arn}' is not a valid ARN of a taggable resource"))),
    };
    tags.ok_or_else(|| ApiError::new(code, format!("'{arn}' not found")))
}

fn set_tags(state: &mut State, arn: &str, tags: Tags) {
    if let Some(found) = state.load_balancers.get_mut(arn) {
        found.tags = tags;
    } else if let Some(found) = state.listeners.get_mut(arn) {
        found.tags = tags;
    } else if let Some(found) = state.target_groups.get_mut(arn) {
        found.tags = tags;
    }
}

fn resources<'a>(params: &Params<'a>) -> Result<Vec<&'a str>, ApiError> {
    let arns = params.required_list("ResourceArns")?;
    if arns.len() > 20 {
        return Err(ApiError::validation("At most 20 resources can be given"));
    }
    Ok(arns)
}

pub(crate) fn add(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let most = context.knobs.quotas.tags;
    let new = elb::read_tags(params, most)?;
    if new.is_empty() {
        return Err(params.missing("Tags"));
    }
    for arn in resources(params)? {
        let mut tags = tags_of(context.state, arn)?.clone();
        put_tags(&mut tags, &new, most, "TooManyTags")?;
        set_tags(context.state, arn, tags);
    }
    Ok(Xml::new())
}

pub(crate) fn remove(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let keys = params.required_list("TagKeys")?;
    for arn in resources(params)? {
        let mut tags = tags_of(context.state, arn)?.clone();
        tags.retain(|key, _| !keys.contains(&key.as_str()));
        set_tags(context.state, arn, tags);
    }
    Ok(Xml::new())
}

pub(crate) fn describe(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let mut items = Vec::new();
    for arn in resources(params)? {
        items.push(Xml::new().text("ResourceArn", arn).and(elb::tag_items(tags_of(context.state, arn)?)));
    }
    Ok(Xml::new().list("TagDescriptions", "member", items))
}
