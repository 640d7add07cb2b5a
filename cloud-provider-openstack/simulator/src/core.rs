//! One request from arrival to answer, without I/O.

use std::{collections::BTreeMap, time::Duration};

use cloud_provider_simulation::{
    self as simulation, Call, Cloud, Effect as Struck, Frame, faults::means, server::truncate,
};
use http::request::Parts;
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    Options,
    context::{Caller, Context},
    error::ApiError,
    keystone::tokens::Token,
    knobs::Knobs,
    nova::microversion,
    policy::{Access, Policy},
    request::{Reply, Request},
    seed::Seed,
    service::{Action, Effect, Service},
    state::State,
};

/// The types of the cloud.
pub struct OpenStack;

impl Cloud for OpenStack {
    type State = State;
    type Seed = Seed;
    type Knobs = Knobs;
    type Policy = Policy;

    fn state(seed: &Seed) -> State {
        State::new(seed)
    }
}

/// The cloud and everything around it.
pub struct Core {
    pub(crate) frame: Frame<OpenStack>,
    pub(crate) tokens: BTreeMap<String, Token>,
    /// `http://127.0.0.1:PORT`
    pub(crate) root: String,
}

impl simulation::Core for Core {
    type Cloud = OpenStack;

    fn frame(&mut self) -> &mut Frame<OpenStack> {
        &mut self.frame
    }
}

/// A request for one of the services.
pub(crate) struct Arrival {
    pub(crate) service: Service,
    /// The action, or how the service refuses what it does not know.
    pub(crate) action: Result<&'static Action, ApiError>,
    pub(crate) request: Request,
    /// The interface or the region of the endpoint that was called, if not the public one of the first region.
    pub(crate) endpoint: String,
}

/// What goes back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Document { status: u16, headers: Vec<(String, String)>, body: String },
    Disconnect,
    Hang,
}

impl Arrival {
    /// A request as it came over HTTP. None if no service has the path.
    pub(crate) fn of(parts: &Parts, body: &[u8], root: &str) -> Option<Self> {
        let mut path = parts.uri.path().trim_start_matches('/');
        let mut endpoint = Vec::new();
        let service = loop {
            let (first, rest) = path.split_once('/').unwrap_or((path, ""));
            path = rest;
            if let Some(service) = Service::of_prefix(first) {
                break service;
            }
            if !(matches!(first, "internal" | "admin") || first.starts_with("region-")) {
                return None;
            }
            endpoint.push(first);
        };
        let way: String = endpoint.iter().map(|part| format!("/{part}")).collect();
        let path = service.normal_path(&format!("/{path}"));
        let (action, captures) = match service.action(&parts.method, &path) {
            Ok((action, captures)) => (Ok(action), captures),
            Err(error) => (Err(error), Vec::new()),
        };
        let body = (!body.is_empty()).then(|| serde_json::from_slice::<Value>(body).map_err(|error| error.to_string()));
        let request = Request {
            method: parts.method.clone(),
            path,
            base: format!("{root}{way}/{}", service.prefix()),
            captures,
            query: simulation::form::pairs(parts.uri.query().unwrap_or_default().as_bytes()),
            headers: parts.headers.clone(),
            body,
        };
        Some(Self { service, action, request, endpoint: endpoint.join("/") })
    }

    /// The name of the action, or method and path of what is none.
    pub(crate) fn name(&self) -> String {
        match &self.action {
            Ok(action) => action.name.to_owned(),
            Err(_) => format!("{} {}", self.request.method, self.request.path),
        }
    }
}

impl Core {
    pub(crate) fn new(options: &Options, root: String) -> Self {
        let frame = Frame::new(options.seed.clone(), options.knobs.clone(), options.policy.clone());
        Self { frame, tokens: BTreeMap::new(), root }
    }

    /// Decides a request, carries it out and logs it.
    pub(crate) fn answer(&mut self, arrival: &Arrival, now: Timestamp) -> Answer {
        if self.frame.picked.is_silent() {
            return Answer::Hang;
        }
        let (service, name) = (arrival.service, arrival.name());
        let request_id = format!("req-{}", self.frame.chance.uuid());
        let before = self.frame.strike(service.name(), &name, false);
        let (mut executed, mut caller) = (false, Caller::default());
        let mut result = match &before {
            Some(Struck::Error { .. }) | None => self.decide(arrival, before.as_ref(), now, &mut executed, &mut caller),
            Some(_) => Ok(Reply::empty(200)),
        };
        let after = match self.frame.picked.take_effect() {
            None if before.is_none() && result.is_ok() => self.frame.strike(service.name(), &name, true),
            picked => picked,
        };
        if after.as_ref().is_some_and(|effect| matches!(effect, Struck::Error { .. })) {
            result = Err(self.injected(after.as_ref()));
        }
        let effect = before.or(after);
        let outcome = match (&effect, &result) {
            (Some(Struck::Disconnect), _) => "Disconnect".to_owned(),
            (Some(Struck::Hang), _) => "Hang".into(),
            (Some(Struck::Truncate), _) => "Truncate".into(),
            (_, Ok(_)) => "ok".into(),
            (_, Err(error)) => error.status.to_string(),
        };
        let mut parameters = arrival.request.logged(service == Service::Keystone);
        if !arrival.endpoint.is_empty() {
            parameters.insert("endpoint".to_owned(), arrival.endpoint.clone());
        }
        self.frame.calls.add(Call {
            number: 0,
            at: now,
            service: service.name().into(),
            action: name,
            parameters,
            access_key: Some(caller.user).filter(|user| !user.is_empty()),
            outcome,
            executed,
        });
        self.finish(arrival, result, effect, request_id)
    }

    /// The answer as it goes over the wire.
    fn finish(
        &self,
        arrival: &Arrival,
        result: Result<Reply, ApiError>,
        effect: Option<Struck>,
        request_id: String,
    ) -> Answer {
        let service = arrival.service;
        let mut headers = vec![("x-openstack-request-id".to_owned(), request_id.clone())];
        if service == Service::Nova {
            headers.push(("x-compute-request-id".to_owned(), request_id));
        }
        let (status, body) = match result {
            Ok(reply) => {
                headers.extend(reply.headers.into_iter().map(|(name, value)| (name.to_owned(), value)));
                (reply.status, reply.body.map(|body| body.to_string()).unwrap_or_default())
            }
            Err(error) => {
                if error.status == 401 {
                    let uri = format!("Keystone uri=\"{}/identity\"", self.root);
                    headers.push(("www-authenticate".to_owned(), uri));
                }
                if let Some(seconds) = error.retry_after {
                    headers.push(("retry-after".to_owned(), seconds.to_string()));
                }
                (error.status, error.document(service).to_string())
            }
        };
        if let Some(version) = microversion::header(service, &arrival.request, &self.frame.knobs) {
            headers.extend(version);
        }
        match effect {
            Some(Struck::Disconnect) => Answer::Disconnect,
            Some(Struck::Hang) => Answer::Hang,
            Some(Struck::Truncate) => {
                let mut body = if body.is_empty() { "{\"truncated\": true}".to_owned() } else { body };
                truncate(&mut body);
                Answer::Document { status: 200, headers, body }
            }
            Some(Struck::Error { .. }) | None => Answer::Document { status, headers, body },
        }
    }

    fn decide(
        &mut self,
        arrival: &Arrival,
        struck: Option<&Struck>,
        now: Timestamp,
        executed: &mut bool,
        caller: &mut Caller,
    ) -> Result<Reply, ApiError> {
        let service = arrival.service;
        let action = match &arrival.action {
            Ok(action) => *action,
            // What does not exist is refused behind the token's check, as a service behind Keystone's middleware does.
            Err(error) => {
                self.authenticate(&arrival.request, now)?;
                return Err(error.clone());
            }
        };
        if action.access != Access::Open {
            *caller = self.authenticate(&arrival.request, now)?;
        }
        let limits = &self.frame.knobs.rate_limits;
        if let Err(wait) = self.frame.chance.admit(limits, service.name(), action.name, now) {
            return Err(too_many(wait));
        }
        if struck.is_some() {
            return Err(self.injected(struck));
        }
        self.authorize(service, action, caller, &arrival.request)?;
        self.run(service, action, &arrival.request, caller, now, executed)
    }

    fn authenticate(&self, request: &Request, now: Timestamp) -> Result<Caller, ApiError> {
        let id = request.header("x-auth-token").unwrap_or_default();
        let token = self.tokens.get(id).filter(|token| now < token.expires).ok_or_else(ApiError::unauthorized)?;
        Ok(Caller::of(token))
    }

    fn authorize(
        &mut self,
        service: Service,
        action: &Action,
        caller: &Caller,
        request: &Request,
    ) -> Result<(), ApiError> {
        if action.rule.is_empty() {
            return Ok(());
        }
        let rule = format!("{}:{}", service.name(), action.rule);
        self.frame.needed.insert(rule.clone());
        if self.frame.policy.allows(&rule, action.access, &caller.roles) {
            return Ok(());
        }
        Err(forbidden(service, action, request))
    }

    fn run(
        &mut self,
        service: Service,
        action: &Action,
        request: &Request,
        caller: &Caller,
        now: Timestamp,
        executed: &mut bool,
    ) -> Result<Reply, ApiError> {
        let frame = &mut self.frame;
        frame.state.advance(now);
        if frame.stale.as_ref().is_some_and(|stale| stale.until <= now) {
            frame.stale = None;
        }
        let reads = action.effect == Effect::Read;
        let old = frame.stale.as_mut().filter(|stale| reads && means(&stale.action, service.name(), action.name));
        // A read only looks, so it may work on the cloud itself; a write works on a copy.
        let mut copy = if reads { None } else { Some(frame.state.clone()) };
        let (state, seen) = match (&mut copy, old) {
            (Some(copy), _) => (copy, now),
            (None, Some(stale)) => (&mut *stale.state, stale.taken),
            (None, None) => (&mut frame.state, now),
        };
        let minor = microversion::asked(service, request, &frame.knobs)?;
        let mut context = Context {
            state,
            tokens: &mut self.tokens,
            knobs: &frame.knobs,
            policy: &frame.policy,
            now: seen,
            service,
            caller: caller.clone(),
            root: &self.root,
            minor,
        };
        let reply = (action.run)(&mut context, request)?;
        match copy {
            // A token changes nothing that a controller has to finish.
            Some(copy) if action.access == Access::Open => frame.state = copy,
            Some(copy) => {
                let name = format!("{}.{}", service.name(), action.name);
                let refused = frame.carry_out(copy, &name, now);
                refused.map_err(|effect| self.injected(Some(&effect)))?;
            }
            None => {}
        }
        *executed = true;
        Ok(reply)
    }

    fn injected(&self, effect: Option<&Struck>) -> ApiError {
        let Some(Struck::Error { code, message, status }) = effect else {
            return ApiError::new(500, "An internal error has occurred");
        };
        let status = status.or_else(|| code.parse().ok()).unwrap_or(match code.as_str() {
            "OverQuota" | "IpAddressInUse" | "IpAddressGenerationFailure" => 409,
            _ => 500,
        });
        let message = if message.is_empty() { format!("{code} (injected)") } else { message.clone() };
        let kind = if code.parse::<u16>().is_ok() { "" } else { code.as_str() };
        let mut error =
            if kind.is_empty() { ApiError::new(status, message) } else { ApiError::of(status, kind, message) };
        error.retry_after = self.frame.knobs.retry_after_s.filter(|_| matches!(status, 413 | 429 | 503));
        error
    }
}

fn too_many(wait: Duration) -> ApiError {
    let mut error = ApiError::new(429, "This request was rate-limited.");
    error.retry_after = Some(wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
    error
}

/// The refusal of a policy. Neutron pretends that what may not be read is not there.
fn forbidden(service: Service, action: &Action, request: &Request) -> ApiError {
    let rule = action.rule;
    match service {
        Service::Keystone => {
            ApiError::new(403, format!("You are not authorized to perform the requested action: {rule}."))
        }
        Service::Nova | Service::Cinder => ApiError::new(403, format!("Policy doesn't allow {rule} to be performed.")),
        Service::Neutron if action.effect == Effect::Read && !request.captures.is_empty() => ApiError::nothing_here(),
        Service::Neutron => ApiError::of(403, "PolicyNotAuthorized", format!("rule:{rule} is disallowed by policy")),
        Service::Octavia => ApiError::new(403, "Policy does not allow this request to be performed."),
        Service::Barbican => ApiError::new(
            403,
            format!("{} attempt not allowed - please review your user/project privileges", action.name),
        ),
    }
}
