//! Actions called without HTTP, on the cloud of a demo cluster.

mod balancing;
mod cloud;
mod identity;
mod network;

use cloud_provider_simulation::later;
use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    Ids, Options, PASSWORD, Seed,
    core::{Answer, Arrival, Core},
    knobs::Knobs,
};

const ROOT: &str = "http://127.0.0.1:1";

/// A cloud whose clock only the test moves.
pub(super) struct World {
    pub(super) core: Core,
    pub(super) ids: Ids,
    pub(super) token: String,
    now: Timestamp,
}

/// Status, headers and body of an answer.
pub(super) struct Got {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Value,
}

impl Got {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).unwrap_or_default()
    }
}

impl World {
    /// The user `demo` has a token.
    pub(super) fn new(nodes: usize) -> Self {
        Self::with(Options { seed: Seed::cluster("demo", nodes), ..Options::default() })
    }

    pub(super) fn with(options: Options) -> Self {
        let core = Core::new(&options, ROOT.to_owned());
        let mut world = Self { core, ids: Ids::default(), token: String::new(), now: Timestamp::now() };
        world.log_in("demo", "demo");
        world.core.frame.reset_calls();
        world
    }

    pub(super) fn log_in(&mut self, user: &str, project: &str) {
        let domain = json!({ "id": "default" });
        let auth = json!({ "auth": {
            "identity": { "methods": ["password"],
                "password": { "user": { "name": user, "domain": domain, "password": PASSWORD } } },
            "scope": { "project": { "name": project, "domain": domain } },
        } });
        let got = self.send("POST", "/identity/v3/auth/tokens", &auth);
        assert_eq!(got.status, 201, "{}", got.body);
        got.header("x-subject-token").clone_into(&mut self.token);
    }

    pub(super) fn adjust(&mut self, change: impl FnOnce(&mut Knobs)) {
        let mut knobs = self.core.frame.knobs.clone();
        change(&mut knobs);
        self.core.frame.set_knobs(knobs);
    }

    pub(super) fn wait(&mut self, milliseconds: u64) {
        self.now = later(self.now, milliseconds);
    }

    pub(super) fn answer(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let mut request = http::Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(path);
        request = request.header("x-auth-token", &self.token);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let arrival = Arrival::of(&parts, body.as_bytes(), ROOT).unwrap();
        self.core.answer(&arrival, self.now)
    }

    pub(super) fn send_with(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Got {
        match self.answer(method, path, headers, body) {
            Answer::Document { status, headers, body } => {
                let body = if body.is_empty() { Value::Null } else { serde_json::from_str(&body).unwrap() };
                Got { status, headers, body }
            }
            other => panic!("{method} {path}: {other:?}"),
        }
    }

    pub(super) fn send(&mut self, method: &str, path: &str, body: &Value) -> Got {
        self.send_with(method, path, &[], body)
    }

    /// The body of a good answer.
    #[track_caller]
    pub(super) fn good(&mut self, method: &str, path: &str, body: &Value) -> Value {
        let got = self.send(method, path, body);
        assert!(got.status < 300, "{method} {path}: {} {}", got.status, got.body);
        got.body
    }

    #[track_caller]
    pub(super) fn get(&mut self, path: &str) -> Value {
        self.good("GET", path, &Value::Null)
    }

    /// Status and text of a refusal.
    #[track_caller]
    pub(super) fn refused(&mut self, method: &str, path: &str, body: &Value) -> (u16, String) {
        let got = self.send(method, path, body);
        assert!(got.status >= 400, "{method} {path} was not refused: {}", got.body);
        let places = [
            "/NeutronError/message",
            "/faultstring",
            "/error/message",
            "/itemNotFound/message",
            "/badRequest/message",
            "/conflictingRequest/message",
            "/forbidden/message",
            "/overLimit/message",
            "/description",
        ];
        let text = places.iter().find_map(|place| got.body.pointer(place)?.as_str()).unwrap_or_default();
        (got.status, text.to_owned())
    }
}

/// The texts under a name in a list of objects.
pub(super) fn texts(list: &Value, name: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|one| one[name].as_str().unwrap().to_owned()).collect()
}
