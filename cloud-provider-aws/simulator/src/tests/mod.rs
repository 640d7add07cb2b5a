//! Actions called without HTTP, on an account of a demo cluster.

mod classic;
mod cloud;
mod groups;
mod instances;
mod network;

use std::collections::BTreeMap;

use cloud_provider_simulation::later;
use jiff::Timestamp;

use crate::{
    ACCESS_KEY, Options, Policy, Seed,
    auth::Authorization,
    core::{Answer, Arrival, Core},
    knobs::Knobs,
    service::Service,
};

pub(super) const VPC: &str = "vpc-0a1b2c3d4e5f60001";
pub(super) const NODES: &str = "sg-0a1b2c3d4e5f60002";
pub(super) const CERTIFICATE: &str =
    "arn:aws:acm:us-east-1:123456789012:certificate/0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";

/// Public subnets in three zones, and the private one of the first zone.
pub(super) const SUBNETS: [&str; 3] =
    ["subnet-0a1b2c3d4e5f61001", "subnet-0a1b2c3d4e5f61002", "subnet-0a1b2c3d4e5f61003"];
pub(super) const PRIVATE: &str = "subnet-0a1b2c3d4e5f62001";

/// An account whose clock only the test moves.
pub(super) struct Account {
    pub(super) core: Core,
    now: Timestamp,
}

impl Account {
    /// Everything is allowed.
    pub(super) fn new(nodes: usize) -> Self {
        Self::with(Options { seed: Seed::cluster("demo", nodes), policy: Policy::all(), ..Options::default() })
    }

    pub(super) fn with(options: Options) -> Self {
        let core = Core::new(&Options { verify_signatures: false, ..options });
        Self { core, now: Timestamp::now() }
    }

    pub(super) fn adjust(&mut self, change: impl FnOnce(&mut Knobs)) {
        let mut knobs = self.core.frame.knobs.clone();
        change(&mut knobs);
        self.core.frame.set_knobs(knobs);
    }

    pub(super) fn wait(&mut self, milliseconds: u64) {
        self.now = later(self.now, milliseconds);
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// Calls `ec2:Action`, `elb:Action`, `elbv2:Action` or `sts:Action`.
    pub(super) fn answer(&mut self, call: &str, parameters: &[(&str, &str)]) -> Answer {
        let (service, action) = call.split_once(':').unwrap();
        let service = match service {
            "ec2" => Service::Ec2,
            "elb" => Service::Elb,
            "elbv2" => Service::ElbV2,
            _ => Service::Sts,
        };
        let header = format!(
            "AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20260101/us-east-1/{}/aws4_request, SignedHeaders=host, Signature=0",
            service.signing_name()
        );
        let parts = http::Request::post("/").header("authorization", header).body(()).unwrap().into_parts().0;
        let parameters: BTreeMap<String, String> =
            parameters.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        let authorization = Authorization::of(&parts);
        let body = bytes::Bytes::new();
        let arrival = Arrival { service, action: action.into(), parameters, authorization, parts, body };
        self.core.answer(&arrival, self.now)
    }

    /// The document, or code and status of the refusal.
    pub(super) fn call(&mut self, call: &str, parameters: &[(&str, &str)]) -> Result<String, (String, u16)> {
        match self.answer(call, parameters) {
            Answer::Document { status: 200, body, .. } => Ok(body),
            Answer::Document { status, body, .. } => Err((values(&body, "Code").remove(0), status)),
            other => panic!("{call}: {other:?}"),
        }
    }

    #[track_caller]
    pub(super) fn good(&mut self, call: &str, parameters: &[(&str, &str)]) -> String {
        self.call(call, parameters).unwrap_or_else(|(code, _)| panic!("{call} {parameters:?}: {code}"))
    }

    #[track_caller]
    pub(super) fn refused(&mut self, call: &str, parameters: &[(&str, &str)]) -> String {
        match self.call(call, parameters) {
            Ok(body) => panic!("{call} {parameters:?} was not refused: {body}"),
            Err((code, _)) => code,
        }
    }

    /// IDs of the instances that the template made, in order.
    pub(super) fn nodes(&self) -> Vec<String> {
        let made = |id: &&String| Some(id.as_str()) != self.core.frame.state.metadata_instance.as_deref();
        self.core.frame.state.instances.keys().filter(made).cloned().collect()
    }

    pub(super) fn new_group(&mut self, name: &str) -> String {
        let parameters = [("GroupName", name), ("GroupDescription", "test"), ("VpcId", VPC)];
        first(&self.good("ec2:CreateSecurityGroup", &parameters), "groupId")
    }
}

/// The texts of all elements of a name, in order.
pub(super) fn values(document: &str, element: &str) -> Vec<String> {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    let parts = document.split(open.as_str()).skip(1);
    parts.map(|part| part.split(close.as_str()).next().unwrap_or_default().to_owned()).collect()
}

#[track_caller]
pub(super) fn first(document: &str, element: &str) -> String {
    values(document, element).into_iter().next().unwrap_or_else(|| panic!("no {element} in {document}"))
}
