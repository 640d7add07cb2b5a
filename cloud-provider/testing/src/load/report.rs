//! The figures of all phases.

use std::fmt::Write as _;

use anyhow::Context as _;
use jiff::Timestamp;
use serde::Serialize;

use super::meter::Phase;
use super::{Args, Stage};
use crate::measure::Machine;
use crate::rbac::ACCOUNT;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    date: String,
    machine: Machine,
    controller: &'static str,
    kubernetes: String,
    nodes: usize,
    services: usize,
    /// Of one node, as JSON.
    node_bytes: usize,
    registered_over_seconds: u64,
    cloud_latency_ms: u64,
    lease_every_seconds: u64,
    status_every_seconds: u64,
    heartbeats: u64,
    failed_heartbeats: u64,
    audit_log_bytes: u64,
    phases: Vec<Phase>,
}

impl Report {
    pub(super) async fn new(args: &Args, stage: &Stage<'_>) -> anyhow::Result<Self> {
        let version = stage.client.apiserver_version().await.context("ask for the version")?;
        let mut phases: Vec<Phase> = stage.phases.clone();
        let user = format!("system:serviceaccount:kube-system:{ACCOUNT}");
        stage.plane.audit().visit(|request| {
            // Questions about permissions are no reads of the cluster.
            if request.user != user || request.resource.ends_with("reviews") {
                return;
            }
            let Ok(at) = request.received.parse::<Timestamp>() else { return };
            let Some(phase) = phases.iter_mut().find(|phase| phase.window.0 <= at && at < phase.window.1) else {
                return;
            };
            let counts = if request.is_write() { &mut phase.kubernetes_writes } else { &mut phase.kubernetes_reads };
            *counts.entry(format!("{} {}", request.verb, request.resource)).or_default() += 1;
        })?;
        let heartbeats = stage.heartbeats.as_ref();
        Ok(Self {
            date: Timestamp::now().strftime("%Y-%m-%d").to_string(),
            machine: Machine::here(),
            controller: concat!("memory-cloud-controller-manager ", env!("CARGO_PKG_VERSION"), ", release build"),
            kubernetes: version.git_version,
            nodes: args.nodes,
            services: args.services,
            node_bytes: stage.node_bytes().await?,
            registered_over_seconds: args.over,
            cloud_latency_ms: args.latency,
            lease_every_seconds: args.lease,
            status_every_seconds: args.status,
            heartbeats: heartbeats.map_or(0, crate::objects::Heartbeats::written),
            failed_heartbeats: heartbeats.map_or(0, crate::objects::Heartbeats::failed),
            audit_log_bytes: std::fs::metadata(stage.dir().join("audit.log")).map_or(0, |metadata| metadata.len()),
            phases,
        })
    }

    /// In Markdown.
    pub(super) fn table(&self) -> String {
        let mut text = format!(
            "{} nodes of {:.1} KB, {} services; {} cores ({}), Linux {}, Kubernetes {}\n\n\
             | phase | seconds | last load balancer told | cloud calls | Kubernetes reads | Kubernetes writes | CPU | VmHWM |\n\
             |---|---|---|---|---|---|---|---|\n",
            self.nodes,
            self.node_bytes as f64 / 1000.0,
            self.services,
            self.machine.cores,
            self.machine.processor,
            self.machine.kernel,
            self.kubernetes
        );
        for phase in &self.phases {
            let told = phase.last_told_seconds.map_or_else(String::new, |told| format!("{told:.1} s"));
            let sum = |counts: &std::collections::BTreeMap<String, u64>| counts.values().sum::<u64>();
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "| {} | {:.1} | {told} | {} | {} | {} | {:.1} s | {:.1} MiB |",
                phase.name,
                phase.seconds,
                sum(&phase.cloud_calls),
                sum(&phase.kubernetes_reads),
                sum(&phase.kubernetes_writes),
                phase.cpu_seconds,
                phase.peak_rss_mib
            );
        }
        text.truncate(text.trim_end().len());
        text
    }
}
