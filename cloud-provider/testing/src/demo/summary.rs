//! What came out.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

/// The figures of one run. The names are an interface: scripts read them.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    pub(super) cloud: &'static str,
    pub(super) nodes: usize,
    pub(super) nodes_ready: usize,
    pub(super) services: usize,
    pub(super) load_balancers_ready: usize,
    /// By action, as the cloud counted them.
    pub(super) cloud_calls: BTreeMap<String, u64>,
    /// Accepted writes of the controller, by the API server's audit log.
    pub(super) kubernetes_writes: usize,
    /// From the first node's registration to the last thing done.
    pub(super) seconds: f64,
    /// `VmHWM` of the controller.
    pub(super) peak_rss_mib: f64,
}

impl Summary {
    pub(super) fn converged(&self) -> bool {
        self.nodes_ready == self.nodes && self.load_balancers_ready == self.services
    }

    /// For people: with the services' addresses and the kinds of writes.
    pub(super) fn table(&self, addresses: &BTreeMap<String, String>, writes: &BTreeMap<String, usize>) -> String {
        let calls: u64 = self.cloud_calls.values().sum();
        let per_node = self.kubernetes_writes as f64 / self.nodes.max(1) as f64;
        let calls_total = if self.cloud_calls.is_empty() { "not counted".to_owned() } else { calls.to_string() };
        let mut rows = vec![
            ("nodes ready".to_owned(), format!("{} of {}", self.nodes_ready, self.nodes)),
            ("load balancers ready".to_owned(), format!("{} of {}", self.load_balancers_ready, self.services)),
        ];
        rows.extend(addresses.iter().map(|(service, address)| (format!("  {service}"), address.clone())));
        rows.push(("cloud calls".to_owned(), calls_total));
        rows.extend(self.cloud_calls.iter().map(|(action, count)| (format!("  {action}"), count.to_string())));
        rows.push(("Kubernetes writes".to_owned(), format!("{} ({per_node:.2} per node)", self.kubernetes_writes)));
        rows.extend(writes.iter().map(|(write, count)| (format!("  {write}"), count.to_string())));
        rows.extend([
            ("time".to_owned(), format!("{:.1} s", self.seconds)),
            ("peak memory".to_owned(), format!("{:.1} MiB", self.peak_rss_mib)),
        ]);
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        let mut text = String::new();
        for (name, value) in rows {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name:width$}  {value}");
        }
        text.truncate(text.trim_end().len());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        Summary {
            cloud: "aws",
            nodes: 10,
            nodes_ready: 10,
            services: 2,
            load_balancers_ready: 1,
            cloud_calls: BTreeMap::from([("EC2.DescribeInstances".to_owned(), 4)]),
            kubernetes_writes: 25,
            seconds: 12.3,
            peak_rss_mib: 30.5,
        }
    }

    #[test]
    fn a_missing_load_balancer_is_not_convergence() {
        assert!(!summary().converged());
        assert!(Summary { load_balancers_ready: 2, ..summary() }.converged());
    }

    #[test]
    fn the_summary_has_the_fields_that_scripts_read() {
        assert_eq!(
            serde_json::to_string(&summary()).unwrap(),
            r#"{"cloud":"aws","nodes":10,"nodes_ready":10,"services":2,"load_balancers_ready":1,"cloud_calls":{"EC2.DescribeInstances":4},"kubernetes_writes":25,"seconds":12.3,"peak_rss_mib":30.5}"#
        );
    }

    #[test]
    fn the_table_names_addresses_and_calls() {
        let table = summary().table(
            &BTreeMap::from([("nlb-1".to_owned(), "nlb.example.com".to_owned())]),
            &BTreeMap::from([("patch nodes".to_owned(), 10)]),
        );
        assert!(table.contains("  nlb-1                  nlb.example.com"), "{table}");
        assert!(table.contains("2.50 per node"), "{table}");
    }
}
