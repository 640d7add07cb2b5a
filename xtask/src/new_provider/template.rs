//! The files of a new crate. `@name@` and `@Name@` stand for the cloud's name.

/// Paths below the folder of the crate, and what stands there.
pub(super) const FILES: &[(&str, &str)] = &[
    ("CHANGELOG.md", include_str!("../../template/CHANGELOG.md.in")),
    ("Cargo.toml", include_str!("../../template/Cargo.toml.in")),
    ("README.md", include_str!("../../template/README.md.in")),
    ("deploy/README.md", include_str!("../../template/deploy/README.md.in")),
    ("deploy/chart/Chart.yaml", include_str!("../../template/deploy/chart/Chart.yaml.in")),
    (
        "deploy/chart/templates/controllers.yaml",
        include_str!("../../template/deploy/chart/templates/controllers.yaml.in"),
    ),
    ("deploy/chart/values.yaml", include_str!("../../template/deploy/chart/values.yaml.in")),
    ("deploy/manifests.yaml", include_str!("../../template/deploy/manifests.yaml.in")),
    ("simulator/Cargo.toml", include_str!("../../template/simulator/Cargo.toml.in")),
    ("simulator/README.md", include_str!("../../template/simulator/README.md.in")),
    ("simulator/src/handle.rs", include_str!("../../template/simulator/src/handle.rs.in")),
    ("simulator/src/lib.rs", include_str!("../../template/simulator/src/lib.rs.in")),
    ("simulator/src/main.rs", include_str!("../../template/simulator/src/main.rs.in")),
    ("simulator/src/server.rs", include_str!("../../template/simulator/src/server.rs.in")),
    ("simulator/src/state.rs", include_str!("../../template/simulator/src/state.rs.in")),
    ("src/client/mod.rs", include_str!("../../template/src/client/mod.rs.in")),
    ("src/config.rs", include_str!("../../template/src/config.rs.in")),
    ("src/instances.rs", include_str!("../../template/src/instances.rs.in")),
    ("src/lib.rs", include_str!("../../template/src/lib.rs.in")),
    ("src/load_balancer/annotations.rs", include_str!("../../template/src/load_balancer/annotations.rs.in")),
    ("src/load_balancer/apply.rs", include_str!("../../template/src/load_balancer/apply.rs.in")),
    ("src/load_balancer/desired.rs", include_str!("../../template/src/load_balancer/desired.rs.in")),
    ("src/load_balancer/mod.rs", include_str!("../../template/src/load_balancer/mod.rs.in")),
    ("src/load_balancer/names.rs", include_str!("../../template/src/load_balancer/names.rs.in")),
    ("src/load_balancer/plan.rs", include_str!("../../template/src/load_balancer/plan.rs.in")),
    ("src/main.rs", include_str!("../../template/src/main.rs.in")),
    ("src/provider.rs", include_str!("../../template/src/provider.rs.in")),
    ("src/provider_id.rs", include_str!("../../template/src/provider_id.rs.in")),
    ("src/routes.rs", include_str!("../../template/src/routes.rs.in")),
    ("src/unwritten.rs", include_str!("../../template/src/unwritten.rs.in")),
    ("tests/conformance/main.rs", include_str!("../../template/tests/conformance/main.rs.in")),
    ("tests/provider/instances.rs", include_str!("../../template/tests/provider/instances.rs.in")),
    ("tests/provider/load_balancers.rs", include_str!("../../template/tests/provider/load_balancers.rs.in")),
    ("tests/provider/main.rs", include_str!("../../template/tests/provider/main.rs.in")),
    ("tests/provider/routes.rs", include_str!("../../template/tests/provider/routes.rs.in")),
    ("tests/provider/support.rs", include_str!("../../template/tests/provider/support.rs.in")),
    ("tests/reference.rs", include_str!("../../template/tests/reference.rs.in")),
];

/// Links to what the charts of all clouds share.
pub(super) const LINKS: &[(&str, &str)] = &[
    ("deploy/chart/files/alerts.yaml", "../../../../cloud-provider/deploy/alerts.yaml"),
    ("deploy/chart/files/dashboard.json", "../../../../cloud-provider/deploy/dashboard.json"),
    ("deploy/chart/templates/_ccm.tpl", "../../../../cloud-provider/deploy/_ccm.tpl"),
];

/// The reference page, as its test generates it.
pub(super) const REFERENCE: &str = include_str!("../../template/reference.md.in");
