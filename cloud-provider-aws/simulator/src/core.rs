//! One request from arrival to answer, without I/O.

use std::collections::BTreeMap;

use cloud_provider_simulation::{self as simulation, Call, Cloud, Effect, Frame, faults::means, server::truncate};
use http::request::Parts;
use jiff::Timestamp;

use crate::{
    Options,
    auth::{Authorization, Credential, Signed, caller},
    context::Context,
    error::{ApiError, usual_status},
    knobs::Knobs,
    params::Request,
    policy::Policy,
    seed::Seed,
    service::{Action, Kind, Service},
    state::State,
};

/// The types of the account.
pub struct Aws;

impl Cloud for Aws {
    type State = State;
    type Seed = Seed;
    type Knobs = Knobs;
    type Policy = Policy;

    fn state(seed: &Seed) -> State {
        State::new(seed)
    }
}

/// The account and everything around it.
pub struct Core {
    pub(crate) frame: Frame<Aws>,
    pub(crate) credentials: Vec<Credential>,
    pub(crate) verify_signatures: bool,
    pub(crate) metadata_tokens: BTreeMap<String, Timestamp>,
}

impl simulation::Core for Core {
    type Cloud = Aws;

    fn frame(&mut self) -> &mut Frame<Aws> {
        &mut self.frame
    }
}

/// A request for one of the services.
pub(crate) struct Arrival {
    pub(crate) service: Service,
    pub(crate) action: String,
    pub(crate) parameters: BTreeMap<String, String>,
    pub(crate) authorization: Result<Option<Authorization>, ApiError>,
    pub(crate) parts: Parts,
    pub(crate) body: bytes::Bytes,
}

/// What goes back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The request ID, empty for the metadata service, goes into a header too.
    Document {
        status: u16,
        body: String,
        request_id: String,
    },
    Disconnect,
    Hang,
}

impl Core {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            frame: Frame::new(options.seed.clone(), options.knobs.clone(), options.policy.clone()),
            credentials: options.credentials.clone(),
            verify_signatures: options.verify_signatures,
            metadata_tokens: BTreeMap::new(),
        }
    }

    /// Decides a request, carries it out and logs it.
    pub(crate) fn answer(&mut self, arrival: &Arrival, now: Timestamp) -> Answer {
        if self.frame.picked.is_silent() {
            return Answer::Hang;
        }
        let service = arrival.service;
        let request_id = self.frame.chance.uuid();
        let before = self.frame.strike(service.name(), &arrival.action, false);
        let mut executed = false;
        let mut result = match &before {
            Some(Effect::Error { .. }) | None => self.decide(arrival, before.as_ref(), now, &mut executed),
            Some(_) => Ok(crate::xml::Xml::new()),
        };
        let after = match self.frame.picked.take_effect() {
            None if before.is_none() && result.is_ok() => self.frame.strike(service.name(), &arrival.action, true),
            picked => picked,
        };
        if let Some(Effect::Error { .. }) = &after {
            result = Err(injected(service, after.as_ref()));
        }
        let effect = before.or(after);
        let outcome = match (&effect, &result) {
            (Some(Effect::Disconnect), _) => "Disconnect".to_owned(),
            (Some(Effect::Hang), _) => "Hang".into(),
            (Some(Effect::Truncate), _) => "Truncate".into(),
            (_, Ok(_)) => "ok".into(),
            (_, Err(error)) => error.code.clone(),
        };
        self.frame.calls.add(Call {
            number: 0,
            at: now,
            service: service.name().into(),
            action: arrival.action.clone(),
            parameters: logged(&arrival.parameters),
            access_key: arrival.authorization.as_ref().ok().and_then(Option::as_ref).map(|a| a.access_key.clone()),
            outcome,
            executed,
        });
        let (status, mut body) = match result {
            Ok(mut xml) => {
                let gaps =
                    self.frame.knobs.omissions.iter().filter(|gap| means(&gap.action, service.name(), &arrival.action));
                gaps.for_each(|gap| xml.remove(&gap.element.split('/').collect::<Vec<_>>()));
                (200, service.document(&arrival.action, &xml, &request_id))
            }
            Err(error) => (error.status, error.document(service, &request_id)),
        };
        match effect {
            Some(Effect::Disconnect) => Answer::Disconnect,
            Some(Effect::Hang) => Answer::Hang,
            Some(Effect::Truncate) => {
                truncate(&mut body);
                Answer::Document { status: 200, body, request_id }
            }
            Some(Effect::Error { .. }) | None => Answer::Document { status, body, request_id },
        }
    }

    fn decide(
        &mut self,
        arrival: &Arrival,
        injected_error: Option<&Effect>,
        now: Timestamp,
        executed: &mut bool,
    ) -> Result<crate::xml::Xml, ApiError> {
        let service = arrival.service;
        let caller = self.authenticate(arrival, now)?;
        let action = service.action(&arrival.action).ok_or_else(|| unknown_action(service, &arrival.action))?;
        self.authorize(arrival, caller.as_ref())?;
        self.take_tokens(service, action.name, now)?;
        if injected_error.is_some() {
            return Err(injected(service, injected_error));
        }
        let mut parameters = arrival.parameters.clone();
        let dry_run = service == Service::Ec2 && parameters.remove("DryRun").is_some_and(|value| value == "true");
        if dry_run {
            let text = "Request would have succeeded, but DryRun flag is set.";
            return Err(ApiError::new("DryRunOperation", text).with_status(412));
        }
        let request = Request::new(service.dialect(), parameters);
        self.run(action, service, &request, caller.as_ref(), now, executed)
    }

    fn run(
        &mut self,
        action: &Action,
        service: Service,
        request: &Request,
        caller: Option<&Credential>,
        now: Timestamp,
        executed: &mut bool,
    ) -> Result<crate::xml::Xml, ApiError> {
        let frame = &mut self.frame;
        if frame.stale.as_ref().is_some_and(|stale| stale.until <= now) {
            frame.stale = None;
        }
        let old = frame
            .stale
            .as_mut()
            .filter(|stale| action.kind == Kind::Read && means(&stale.action, service.name(), action.name));
        // A read only looks, so it may work on the account itself; a write works on a copy, which is kept only if the
        // request held nothing unknown.
        let mut copy = if action.kind == Kind::Write { Some(frame.state.clone()) } else { None };
        let (state, seen) = match (&mut copy, old) {
            (Some(copy), _) => (copy, now),
            (None, Some(stale)) => (&mut *stale.state, stale.taken),
            (None, None) => (&mut frame.state, now),
        };
        let mut context = Context { state, knobs: &frame.knobs, now: seen, caller, issued: Vec::new() };
        let answer = (action.run)(&mut context, &request.params())?;
        let issued = context.issued;
        request.refuse_unread()?;
        if let Some(copy) = copy {
            let name = format!("{}.{}", service.name(), action.name);
            frame.carry_out(copy, &name, now).map_err(|refused| injected(service, Some(&refused)))?;
        }
        self.credentials.extend(issued);
        *executed = true;
        Ok(answer)
    }

    fn authenticate(&self, arrival: &Arrival, now: Timestamp) -> Result<Option<Credential>, ApiError> {
        if arrival.service == Service::Sts && arrival.action == "AssumeRoleWithWebIdentity" {
            return Ok(None);
        }
        let Some(authorization) = arrival.authorization.clone()? else {
            let text = "Request is missing Authentication Token";
            return Err(ApiError::new("MissingAuthenticationToken", text).with_status(403));
        };
        let signed = Signed {
            service: arrival.service,
            region: &self.frame.state.region,
            now,
            parts: &arrival.parts,
            body: &arrival.body,
            verify: self.verify_signatures,
        };
        let mut credential = caller(self.credentials.iter(), &authorization, &signed)?.clone();
        if credential.arn.is_empty() {
            credential.arn = self.frame.state.global_arn("iam", "user/controller");
        }
        Ok(Some(credential))
    }

    fn authorize(&mut self, arrival: &Arrival, caller: Option<&Credential>) -> Result<(), ApiError> {
        let (service, action) = (arrival.service, arrival.action.as_str());
        let Some(caller) = caller else { return Ok(()) };
        if action == "GetCallerIdentity" {
            return Ok(());
        }
        // Tags at creation need the permission to tag as well.
        let tags_at_creation = match service {
            Service::Ec2 => "TagSpecification.",
            _ => "Tags.member.",
        };
        let tagging =
            action.starts_with("Create") && arrival.parameters.keys().any(|key| key.starts_with(tags_at_creation));
        let tag_action = match service {
            Service::Ec2 => "CreateTags",
            _ => "AddTags",
        };
        let own = |action: &str| format!("{}:{action}", service.signing_name());
        // The public registry's token is one of STS.
        let bearer = (service == Service::EcrPublic).then(|| "sts:GetServiceBearerToken".to_owned());
        for name in [Some(own(action)), tagging.then(|| own(tag_action)), bearer].into_iter().flatten() {
            self.frame.needed.insert(name.clone());
            if !self.frame.policy.allows(&name) {
                let why = format!(
                    "User: {} is not authorized to perform: {name} because no identity-based policy allows the {name} action",
                    caller.arn
                );
                return Err(match service {
                    Service::Ec2 => ApiError::new(
                        "UnauthorizedOperation",
                        format!("You are not authorized to perform this operation. {why}"),
                    ),
                    Service::Ecr | Service::EcrPublic => return Err(ApiError::new("AccessDeniedException", why)),
                    _ => ApiError::new("AccessDenied", why),
                }
                .with_status(403));
            }
        }
        Ok(())
    }

    fn take_tokens(&mut self, service: Service, action: &str, now: Timestamp) -> Result<(), ApiError> {
        let limits = &self.frame.knobs.rate_limits;
        let enough = self.frame.chance.admit(limits, service.name(), action, now).is_ok();
        match (enough, service) {
            (true, _) => Ok(()),
            (false, Service::Ec2) => {
                Err(ApiError::new("RequestLimitExceeded", "Request limit exceeded.").with_status(503))
            }
            (false, Service::Ecr | Service::EcrPublic) => Err(ApiError::new("ThrottlingException", "Rate exceeded")),
            (false, _) => Err(ApiError::new("Throttling", "Rate exceeded")),
        }
    }
}

/// Parameters for the call log.
fn logged(parameters: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let hidden = |name: &str| matches!(name, "Action" | "Version" | "WebIdentityToken");
    parameters.iter().filter(|(name, _)| !hidden(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn unknown_action(service: Service, action: &str) -> ApiError {
    let text = format!("The action {action} is not valid for this web service.");
    match service {
        Service::Ec2 => ApiError::new("InvalidAction", text),
        Service::Ecr | Service::EcrPublic => ApiError::new("UnknownOperationException", text),
        _ => ApiError::new(
            "InvalidAction",
            format!("Could not find operation {action} for version {}", service.version()),
        ),
    }
}

fn injected(service: Service, effect: Option<&Effect>) -> ApiError {
    let Some(Effect::Error { code, message, status }) = effect else {
        return ApiError::new("InternalError", "An internal error has occurred").with_status(500);
    };
    let message = if message.is_empty() { format!("{code} (injected)") } else { message.clone() };
    ApiError { code: code.clone(), message, status: status.unwrap_or_else(|| usual_status(service, code)) }
}
