//! One request from arrival to answer, without I/O.

use std::collections::{BTreeMap, BTreeSet};

use http::request::Parts;
use jiff::Timestamp;

use crate::{
    Options,
    at_write::Picked,
    auth::{Authorization, Credential, Signed, caller},
    calls::{Call, CallLog},
    context::{Context, later},
    error::{ApiError, usual_status},
    knobs::{Effect, Knobs, means},
    params::Request,
    policy::Policy,
    seed::Seed,
    service::{Action, Kind, Service},
    state::{State, mix},
};

/// The account and everything around it.
pub(crate) struct Core {
    pub(crate) state: State,
    /// Where the account started from.
    pub(crate) seed: Seed,
    pub(crate) knobs: Knobs,
    pub(crate) policy: Policy,
    pub(crate) calls: CallLog,
    /// The IAM actions that calls needed since the call log began.
    pub(crate) needed: BTreeSet<String>,
    pub(crate) credentials: Vec<Credential>,
    pub(crate) verify_signatures: bool,
    pub(crate) metadata_tokens: BTreeMap<String, Timestamp>,
    pub(crate) stale: Option<Stale>,
    /// The write that something happens at.
    pub(crate) picked: Picked,
    /// Fill and time of the last refill, for each of the knobs' rate limits.
    buckets: Vec<(f64, Timestamp)>,
    dice: u64,
}

/// Reads are answered from this until its end.
pub(crate) struct Stale {
    pub(crate) action: String,
    pub(crate) until: Timestamp,
    pub(crate) taken: Timestamp,
    pub(crate) state: Box<State>,
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
        let mut core = Self {
            state: State::new(&options.seed),
            seed: options.seed.clone(),
            knobs: Knobs::default(),
            policy: options.policy.clone(),
            calls: CallLog::default(),
            needed: BTreeSet::new(),
            credentials: options.credentials.clone(),
            verify_signatures: options.verify_signatures,
            metadata_tokens: BTreeMap::new(),
            stale: None,
            picked: Picked::default(),
            buckets: Vec::new(),
            dice: 0,
        };
        core.set_knobs(options.knobs.clone());
        core
    }

    /// Takes new knobs; rate limits start with full buckets.
    pub(crate) fn set_knobs(&mut self, knobs: Knobs) {
        let now = Timestamp::now();
        if self.knobs.rate_limits != knobs.rate_limits || self.buckets.len() != knobs.rate_limits.len() {
            self.buckets = knobs.rate_limits.iter().map(|limit| (limit.burst, now)).collect();
        }
        self.knobs = knobs;
    }

    /// How long a call waits before it is looked at, in milliseconds.
    pub(crate) fn latency(&mut self, service: &str, action: &str) -> u64 {
        let Some(latency) = self.knobs.latency.iter().find(|latency| means(&latency.action, service, action)) else {
            return 0;
        };
        let (fixed, jitter) = (latency.fixed_ms, latency.jitter_ms);
        fixed + if jitter == 0 { 0 } else { self.roll() % (jitter + 1) }
    }

    /// The next of a fixed sequence of numbers, so that a run can be repeated.
    fn roll(&mut self) -> u64 {
        self.dice += 1;
        mix(self.dice)
    }

    /// Decides a request, carries it out and logs it.
    pub(crate) fn answer(&mut self, arrival: &Arrival, now: Timestamp) -> Answer {
        if self.picked.silent {
            return Answer::Hang;
        }
        let service = arrival.service;
        let request_id = request_id(self.roll(), self.roll());
        let before = self.strike(service.name(), &arrival.action, false);
        let mut executed = false;
        let mut result = match &before {
            Some(Effect::Error { .. }) | None => self.decide(arrival, before.as_ref(), now, &mut executed),
            Some(_) => Ok(crate::xml::Xml::new()),
        };
        let after = match self.picked.effect.take() {
            None if before.is_none() && result.is_ok() => self.strike(service.name(), &arrival.action, true),
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
        self.calls.add(Call {
            number: 0,
            at: now,
            service: service.name().into(),
            action: arrival.action.clone(),
            parameters: arrival.parameters.clone(),
            access_key: arrival.authorization.as_ref().ok().and_then(Option::as_ref).map(|a| a.access_key.clone()),
            outcome,
            executed,
        });
        let (status, mut body) = match result {
            Ok(mut xml) => {
                let gaps =
                    self.knobs.omissions.iter().filter(|gap| means(&gap.action, service.name(), &arrival.action));
                gaps.for_each(|gap| xml.remove(&gap.element.split('/').collect::<Vec<_>>()));
                (200, service.document(&arrival.action, &xml, &request_id))
            }
            Err(error) => (error.status, error.document(service, &request_id)),
        };
        match effect {
            Some(Effect::Disconnect) => Answer::Disconnect,
            Some(Effect::Hang) => Answer::Hang,
            Some(Effect::Truncate) => {
                let mut end = body.len() / 2;
                while !body.is_char_boundary(end) {
                    end -= 1;
                }
                body.truncate(end);
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
        if self.stale.as_ref().is_some_and(|stale| stale.until <= now) {
            self.stale = None;
        }
        let old = self
            .stale
            .as_mut()
            .filter(|stale| action.kind == Kind::Read && means(&stale.action, service.name(), action.name));
        // A read only looks, so it may work on the account itself; a write works on a copy, which is kept only if the
        // request held nothing unknown.
        let mut copy = if action.kind == Kind::Write { Some(self.state.clone()) } else { None };
        let (state, seen) = match (&mut copy, old) {
            (Some(copy), _) => (copy, now),
            (None, Some(stale)) => (&mut *stale.state, stale.taken),
            (None, None) => (&mut self.state, now),
        };
        let mut context = Context { state, knobs: &self.knobs, now: seen, caller, issued: Vec::new() };
        let answer = (action.run)(&mut context, &request.params())?;
        let issued = context.issued;
        request.refuse_unread()?;
        if let Some(copy) = copy {
            self.carry_out(copy, &format!("{}.{}", service.name(), action.name), now)?;
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
            region: &self.state.region,
            now,
            parts: &arrival.parts,
            body: &arrival.body,
            verify: self.verify_signatures,
        };
        let mut credential = caller(self.credentials.iter(), &authorization, &signed)?.clone();
        if credential.arn.is_empty() {
            credential.arn = self.state.global_arn("iam", "user/controller");
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
            self.needed.insert(name.clone());
            if !self.policy.allows(&name) {
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
        let matching = |(limit, _): &(&crate::knobs::RateLimit, &mut (f64, Timestamp))| {
            means(&limit.action, service.name(), action)
        };
        let mut enough = true;
        let buckets = self.knobs.rate_limits.iter().zip(&mut self.buckets).filter(matching);
        for (limit, (fill, since)) in buckets {
            let seconds = now.duration_since(*since).as_secs_f64().max(0.0);
            *fill = (*fill + seconds * limit.per_second).min(limit.burst);
            *since = now;
            if *fill >= 1.0 {
                *fill -= 1.0;
            } else {
                enough = false;
            }
        }
        match (enough, service) {
            (true, _) => Ok(()),
            (false, Service::Ec2) => {
                Err(ApiError::new("RequestLimitExceeded", "Request limit exceeded.").with_status(503))
            }
            (false, Service::Ecr | Service::EcrPublic) => Err(ApiError::new("ThrottlingException", "Rate exceeded")),
            (false, _) => Err(ApiError::new("Throttling", "Rate exceeded")),
        }
    }

    /// The effect of the first fault that strikes this call.
    pub(crate) fn strike(&mut self, service: &str, action: &str, after: bool) -> Option<Effect> {
        for index in 0..self.knobs.faults.len() {
            let fault = &self.knobs.faults[index];
            if fault.after != after || fault.times == Some(0) || !means(&fault.action, service, action) {
                continue;
            }
            #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
            let chance = (self.roll() >> 11) as f64 / (1_u64 << 53) as f64;
            let fault = &mut self.knobs.faults[index];
            if chance < fault.probability {
                fault.times = fault.times.map(|times| times - 1);
                return Some(fault.effect.clone());
            }
        }
        None
    }

    /// Freezes what reads of `action` see for `milliseconds`.
    pub(crate) fn freeze(&mut self, action: &str, milliseconds: u64, now: Timestamp) {
        let state = Box::new(self.state.clone());
        self.stale = Some(Stale { action: action.into(), until: later(now, milliseconds), taken: now, state });
    }
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

fn request_id(high: u64, low: u64) -> String {
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        low >> 52,
        low & 0xffff_ffff_ffff
    )
}
