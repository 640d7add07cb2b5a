//! The flags of the tagging controller, and what they mean.

use clap::Args;
use cloud_provider::{
    Error,
    cluster::workqueue::{Backoff, Bucket},
    error::Result,
    manager::options::values::{Pairs, flatten},
};
use md5::{Digest, Md5};

use crate::client::network::Tags;

/// The flags of the tagging controller; without effect while it is off.
#[derive(Args, Debug, Clone, Default)]
#[group(skip)]
#[command(next_help_heading = "Tagging controller flags")]
pub struct Flags {
    /// Tags for the instances of nodes, as key=value pairs; required by the tagging controller
    #[arg(long, value_name = "key=value,...")]
    pub tags: Vec<Pairs>,
    /// Kinds of resources that get the tags; only "instance" is supported; required by the tagging controller
    #[arg(long, value_name = "resource")]
    pub resources: Vec<String>,
    /// Nodes per second that the tagging controller works on; 0 means no limit but that of retries
    #[arg(long, default_value_t = 0.0, value_name = "float", allow_negative_numbers = true)]
    pub tagging_controller_rate_limit: f64,
    /// Nodes that the tagging controller may work on at once beyond its rate; 0 means no limit
    #[arg(long, default_value_t = 0, value_name = "int", allow_negative_numbers = true)]
    pub tagging_controller_burst_limit: i64,
    /// Batches of nodes that the tagging controller works on at the same time
    #[arg(long, default_value_t = 1, value_name = "int", allow_negative_numbers = true)]
    pub tagging_controller_concurrent_node_syncs: i64,
    /// Tag many instances with one call. Always on; accepted for old manifests
    #[arg(long)]
    pub tagging_controller_enable_batching: bool,
}

/// What the flags say.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The tags.
    pub tags: Tags,
    /// Batches at the same time.
    pub workers: usize,
    /// The limit on all work, where there is one.
    pub rate: Option<Bucket>,
}

impl Settings {
    /// Reads the flags, in upstream's order.
    ///
    /// # Errors
    ///
    /// Upstream's words for the first flag that is wrong.
    pub fn new(flags: &Flags) -> Result<Self> {
        let wrong = |flag: &str, problem: String| {
            Err(Error::invalid(flag, format!("Tagging controller inputs are not properly set: {problem}")))
        };
        let tags: Tags = flatten(&flags.tags).into_iter().collect();
        if tags.is_empty() {
            return wrong("--tags", "--tags must not be empty and must be a form of key=value".into());
        }
        if flags.resources.is_empty() {
            return wrong("--resources", "--resources must not be empty".into());
        }
        for (flag, negative) in [
            ("--tagging-controller-rate-limit", flags.tagging_controller_rate_limit < 0.0),
            ("--tagging-controller-burst-limit", flags.tagging_controller_burst_limit < 0),
        ] {
            if negative {
                return wrong(flag, format!("{flag} should not be less than zero"));
            }
        }
        let workers = usize::try_from(flags.tagging_controller_concurrent_node_syncs).ok().filter(|count| *count > 0);
        let Some(workers) = workers else {
            let flag = "--tagging-controller-concurrent-node-syncs";
            return wrong(flag, format!("{flag} must be a positive number"));
        };
        if let Some(other) = flags.resources.iter().find(|resource| *resource != "instance") {
            let problem = format!("{other} is not a supported resource. Current supported resources [instance]");
            return wrong("--resources", problem);
        }
        let qps = flags.tagging_controller_rate_limit;
        let burst = u32::try_from(flags.tagging_controller_burst_limit).unwrap_or(u32::MAX);
        Ok(Self { tags, workers, rate: (qps > 0.0 && burst > 0).then_some(Bucket { qps, burst }) })
    }

    /// The value of the label on nodes whose instance has the tags: the MD5 of the sorted pairs.
    pub fn checksum(&self) -> String {
        let pairs: Vec<String> = self.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
        hex::encode(Md5::digest(pairs.join(",")))
    }

    /// Upstream's: 5 ms to 1000 s, all together 10 per second with a burst of 100, or what the flags say.
    pub(super) fn backoff(&self) -> Backoff {
        Backoff { bucket: self.rate.or(Backoff::NODES.bucket), ..Backoff::NODES }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(tags: &str) -> Flags {
        Flags {
            tags: vec![Pairs(crate::load_balancer::annotations::pairs(tags))],
            resources: vec!["instance".into()],
            tagging_controller_concurrent_node_syncs: 1,
            ..Flags::default()
        }
    }

    /// aws.md 12.1, "tag checksum".
    #[test]
    fn section_12_1_tag_checksum() {
        for (tags, checksum) in [
            ("key2=value2,key1=value1", "c812faa65d1d5e5aefa6b069b3da39df"),
            ("key1=value1", "9767c4972ba72e87ab553bad2afde741"),
        ] {
            assert_eq!(Settings::new(&flags(tags)).unwrap().checksum(), checksum);
        }
    }

    #[test]
    fn wrong_flags_are_told_in_upstreams_words_and_order() {
        type Change = fn(&mut Flags);
        let cases: [(Change, &str); 6] = [
            (|flags| *flags = Flags::default(), "--tags must not be empty and must be a form of key=value"),
            (|flags| flags.resources.clear(), "--resources must not be empty"),
            (
                |flags| (flags.tagging_controller_rate_limit, flags.resources) = (-1.0, vec!["vpc".into()]),
                "--tagging-controller-rate-limit should not be less than zero",
            ),
            (
                |flags| flags.tagging_controller_burst_limit = -1,
                "--tagging-controller-burst-limit should not be less than zero",
            ),
            (
                |flags| flags.tagging_controller_concurrent_node_syncs = 0,
                "--tagging-controller-concurrent-node-syncs must be a positive number",
            ),
            (
                |flags| flags.resources.push("vpc".into()),
                "vpc is not a supported resource. Current supported resources [instance]",
            ),
        ];
        for (change, problem) in cases {
            let mut flags = flags("a=b");
            change(&mut flags);
            let error = Settings::new(&flags).unwrap_err().to_string();
            assert_eq!(error, format!("Tagging controller inputs are not properly set: {problem}"));
        }
    }

    #[test]
    fn a_rate_needs_both_of_its_flags() {
        let rate = |qps, burst| {
            let flags =
                Flags { tagging_controller_rate_limit: qps, tagging_controller_burst_limit: burst, ..flags("a=b") };
            Settings::new(&flags).unwrap().rate
        };
        assert_eq!((rate(0.0, 5), rate(5.0, 0)), (None, None));
        assert_eq!(rate(0.5, 5), Some(Bucket { qps: 0.5, burst: 5 }));
    }
}
