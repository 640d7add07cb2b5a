//! What an operator looks at on the secure port beside health and metrics: the configuration, the flags, the state of the
//! process, CPU profiles, and the switch for the verbosity of logs. All behind authorization.

mod configz;
mod profile;
mod zpages;

#[cfg(test)]
mod tests;

use std::time::Duration;

use http::{Method, StatusCode, header};
use jiff::Timestamp;

use self::configz::configuration;
use super::{
    cli::Flag,
    logging::Verbosity,
    options::{Options, Settings},
    serving::{Answer, Call, Routes, json, text},
};
use crate::{
    config::feature_gates::{COMPONENT_FLAGZ, COMPONENT_STATUSZ, FeatureGates},
    metrics::{BuildInfo, Metrics},
};

/// The longest profile, and what a request for one may take beside it.
const LONGEST_PROFILE: Duration = Duration::from_secs(600);
const PROFILE_MARGIN: Duration = Duration::from_secs(30);

/// What there is to tell about a process.
#[derive(Clone, Debug)]
pub(super) struct About {
    program: &'static str,
    version: String,
    started: Timestamp,
    flags: Vec<Flag>,
    gates: FeatureGates,
    configuration: serde_json::Value,
    verbosity: Verbosity,
    profiling: bool,
}

impl About {
    /// A process that starts now. The version has a `v` in front.
    pub(super) fn new(
        program: &'static str,
        version: &str,
        flags: &[Flag],
        options: &Options,
        settings: &Settings,
        verbosity: Verbosity,
    ) -> Self {
        Self {
            program,
            version: version.to_owned(),
            started: Timestamp::now(),
            flags: flags.to_vec(),
            configuration: configuration(options, settings),
            verbosity,
            gates: settings.feature_gates.clone(),
            profiling: settings.profiling,
        }
    }

    /// Sets the metrics about the build and the feature gates.
    pub(super) fn measure(&self, metrics: &Metrics) {
        metrics.build_info(&BuildInfo::of(&self.version));
        for gate in self.gates.known() {
            metrics.feature_enabled(gate.name, gate.stage.label(), self.gates.enabled(*gate));
        }
    }

    /// Adds `/configz`, `/flagz` and `/statusz` (unless their gates are off), and with `--profiling` what is below `/debug/`.
    pub(super) fn serve(&self, routes: &mut Routes) {
        let configuration = self.configuration.clone();
        routes.add("/configz", move |_| std::future::ready(nosniff(json(StatusCode::OK, &configuration))));
        let listed = zpages::folders(routes.paths());
        if self.profiling {
            self.serve_debugging(routes);
        }
        if self.gates.enabled(COMPONENT_FLAGZ) {
            zpages::serve_flagz(routes, self.program, &self.flags);
        }
        if self.gates.enabled(COMPONENT_STATUSZ) {
            zpages::serve_statusz(routes, self.program, &self.version, self.started, listed);
        }
    }

    fn serve_debugging(&self, routes: &mut Routes) {
        routes.add("/debug/pprof", |_| std::future::ready(redirect("/debug/pprof/")));
        routes.add("/debug/pprof/", |call| std::future::ready(profile::index(call.uri().path())));
        let limit = LONGEST_PROFILE + PROFILE_MARGIN;
        routes.add_slow("/debug/pprof/profile", limit, |call| profile::serve(profile::seconds(call.uri().query())));
        for path in ["/debug/flags", "/debug/flags/"] {
            routes.add(path, |_| std::future::ready(text(StatusCode::OK, "/debug/flags/v\n".to_owned())));
        }
        let verbosity = self.verbosity.clone();
        routes.add("/debug/flags/v", move |call| std::future::ready(set_verbosity(&verbosity, &call)));
    }
}

/// Upstream's answers, word for word.
fn set_verbosity(verbosity: &Verbosity, call: &Call) -> Answer {
    if *call.method() != Method::PUT {
        return text(StatusCode::NOT_ACCEPTABLE, "unsupported http method\n".to_owned());
    }
    let body = String::from_utf8_lossy(call.body());
    match body
        .parse::<u32>()
        .map_err(|error| error.to_string())
        .and_then(|level| i32::try_from(level).map_err(|_| "value out of range".to_owned()))
    {
        Ok(level) => {
            verbosity.set(level);
            tracing::info!(verbosity = level, "verbosity changed");
            text(StatusCode::OK, format!("successfully set klog.logging.verbosity to {level}\n"))
        }
        Err(problem) => text(StatusCode::BAD_REQUEST, format!("parsing {body:?}: {problem}\n")),
    }
}

fn redirect(to: &'static str) -> Answer {
    let mut answer = text(StatusCode::FOUND, String::new());
    answer.headers_mut().insert(header::LOCATION, header::HeaderValue::from_static(to));
    answer
}

fn nosniff(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    answer
}
