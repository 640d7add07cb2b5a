//! STS, query protocol of version 2011-06-15.

use cloud_provider_simulation::later;

use crate::{
    auth::Credential,
    context::{Context, time},
    error::ApiError,
    params::Params,
    service::Action,
    state::State,
    xml::Xml,
};

pub(crate) const ACTIONS: &[Action] = &[
    Action::read("GetCallerIdentity", caller_identity),
    Action::write("AssumeRole", assume_role),
    Action::write("AssumeRoleWithWebIdentity", assume_role_with_web_identity),
];

fn caller_identity(context: &mut Context<'_>, _params: &Params<'_>) -> Result<Xml, ApiError> {
    let caller = context.caller.cloned().unwrap_or_default();
    Ok(Xml::new()
        .text("UserId", format!("AIDA{}", caller.access_key))
        .text("Account", &context.state.account)
        .text("Arn", caller.arn))
}

/// New credentials of a role, good for `seconds`.
pub(crate) fn issue(state: &mut State, role: &str, session: &str, now: jiff::Timestamp, seconds: u64) -> Credential {
    let (key, secret, token) = (state.next_number(), state.next_number(), state.next_number());
    let arn = state.global_arn("sts", &format!("assumed-role/{role}/{session}"));
    Credential {
        access_key: format!("ASIA{key:016X}"),
        secret_key: format!("{secret:016x}{token:016x}"),
        session_token: Some(format!("session-{key:016x}{token:016x}")),
        expires: Some(later(now, seconds * 1000)),
        arn,
    }
}

fn assume_role(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    params.optional("ExternalId");
    params.optional("SourceIdentity");
    assume(context, params, "AssumeRole").map(|(answer, _)| answer)
}

/// The token is taken for good if it has the shape of a JWT; its issuer is not asked.
fn assume_role_with_web_identity(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let token = params.required("WebIdentityToken")?;
    if token.split('.').count() != 3 || token.len() > 20_000 {
        return Err(ApiError::new("InvalidIdentityToken", "The ID Token provided is not a valid JWT."));
    }
    let (answer, session) = assume(context, params, "AssumeRoleWithWebIdentity")?;
    Ok(answer.text("SubjectFromWebIdentityToken", session).text("Provider", "https://kubernetes.default.svc"))
}

fn assume(context: &mut Context<'_>, params: &Params<'_>, action: &str) -> Result<(Xml, String), ApiError> {
    let arn = params.required("RoleArn")?;
    let session = params.required("RoleSessionName")?;
    let seconds = params.within("DurationSeconds", 900, 43_200)?.unwrap_or(3600);
    params.optional("Policy");
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
    if !(2..=64).contains(&session.len()) || !session.bytes().all(fine) {
        return Err(params.invalid("RoleSessionName", session));
    }
    if !arn.starts_with("arn:") || arn.len() < 20 {
        return Err(ApiError::validation(format!("{arn} is invalid")));
    }
    let prefix = context.state.global_arn("iam", "role/");
    let path = arn.strip_prefix(&prefix).unwrap_or_default();
    let role = path.rsplit('/').next().unwrap_or_default();
    if !context.state.roles.iter().any(|known| known == role) {
        let who = context.caller.map(|caller| format!("User: {} is not", caller.arn)).unwrap_or_else(|| "Not".into());
        let text = format!("{who} authorized to perform: sts:{action} on resource: {arn}");
        return Err(ApiError::new("AccessDenied", text).with_status(403));
    }
    let role = role.to_owned();
    let credential = issue(context.state, &role, session, context.now, u64::try_from(seconds).unwrap_or(3600));
    let credentials = Xml::new()
        .text("AccessKeyId", &credential.access_key)
        .text("SecretAccessKey", &credential.secret_key)
        .maybe("SessionToken", credential.session_token.as_ref())
        .maybe("Expiration", credential.expires.map(time));
    let user = Xml::new().text("AssumedRoleId", format!("AROASIMULATOR:{session}")).text("Arn", &credential.arn);
    context.issued.push(credential);
    let answer = Xml::new().node("Credentials", credentials).node("AssumedRoleUser", user).text("PackedPolicySize", 0);
    Ok((answer, session.to_owned()))
}
