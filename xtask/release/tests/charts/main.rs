//! The charts of all clouds: rendered by Helm as committed, valid by kubeconform, taken by a real API server, and true to what
//! they are said to be.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing helper fails its test")]

mod helm;
mod schemas;
mod text;

use std::path::{Path, PathBuf};

use cloud_provider_testing::control_plane::{ControlPlane, Options};
use cloud_provider_testing::reference;
use kube::api::{Api, DynamicObject, GroupVersionKind, Patch, PatchParams, ValidationDirective};
use kube::{Client, Discovery};
use serde_json::Value;
use xtask_release::chart;
use xtask_release::project::{Controller, Project};

use helm::{Case, Helm, objects};

/// The Go module with upstream's chart for AWS; that for OpenStack needs one of somebody else to be rendered.
const AWS: &str = "k8s.io/cloud-provider-aws@v1.37.0";

/// Controllers with a chart.
fn charts() -> Vec<(Controller, PathBuf)> {
    let project = Project::load(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
    let charts = project.controllers.into_iter().filter_map(|one| chart::folder(&one).map(|folder| (one, folder)));
    let charts: Vec<_> = charts.collect();
    assert!(charts.len() >= 2, "{} charts", charts.len());
    charts
}

fn cases() -> Vec<Case> {
    charts().iter().flat_map(|(controller, chart)| Case::all(controller, chart).unwrap()).collect()
}

#[test]
fn charts_render_as_committed_and_lint_finds_nothing() {
    let helm = Helm::find().unwrap();
    for case in cases() {
        helm.lint(&case).unwrap();
        reference::check(&case.snapshot, &helm.render(&case).unwrap()).unwrap();
    }
}

#[test]
fn charts_have_the_version_of_their_crate_and_can_be_pinned() {
    let helm = Helm::find().unwrap();
    for (controller, folder) in charts() {
        let digest = format!("sha256:{}", "1".repeat(64));
        let packed = chart::Chart::pack(&folder, &controller.version, "registry.example/team/ccm", &digest).unwrap();
        let work = tempfile::tempdir().unwrap();
        let archive = work.path().join("chart.tgz");
        std::fs::write(&archive, &packed.archive).unwrap();
        let rendered = helm.template(&archive, &packed.name, &[]).unwrap();
        let images: Vec<&str> = rendered.lines().filter_map(|line| line.trim().strip_prefix("image: ")).collect();
        assert_eq!(images, [format!("registry.example/team/ccm@{digest}")]);
        let manifests = std::fs::read_to_string(controller.folder.join("deploy/manifests.yaml")).unwrap();
        chart::pin_manifests(&manifests, &controller.version, "registry.example/team/ccm@sha256:1").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_and_kubeconform_take_every_object() {
    let plane = ControlPlane::start(Options::default()).await.unwrap();
    let client = plane.client().await.unwrap();
    let definitions = schemas::install_monitoring(&client).await.unwrap();
    let all = cases().into_iter().flat_map(|case| objects(&std::fs::read_to_string(&case.snapshot).unwrap()).unwrap());
    let kinds = all.map(|object| object["kind"].as_str().unwrap().to_owned()).collect();
    let validator = schemas::Validator::new(&client, &definitions, &kinds).await.unwrap();
    // An installation of upstream's is upgraded in place: what cannot change of an object is the same.
    let upstream = schemas::module(AWS).unwrap().join("charts/aws-cloud-controller-manager");
    for object in objects(&Helm::find().unwrap().template(&upstream, "ccm", &[]).unwrap()).unwrap() {
        apply(&client, object).await.unwrap();
    }
    for case in cases() {
        validator.check(&case.snapshot).unwrap();
        for object in objects(&std::fs::read_to_string(&case.snapshot).unwrap()).unwrap() {
            apply(&client, object.clone()).await.unwrap_or_else(|error| panic!("{}: {error}\n{object}", case.name()));
        }
    }
}

/// Applies an object; a field that the API server does not know is an error.
async fn apply(client: &Client, object: Value) -> anyhow::Result<()> {
    let object: DynamicObject = serde_json::from_value(object)?;
    let kind = GroupVersionKind::try_from(object.types.as_ref().unwrap())?;
    let discovery = Discovery::new(client.clone()).filter(&[&kind.group]).run().await?;
    let (resource, _) = discovery.resolve_gvk(&kind).unwrap_or_else(|| panic!("there is no kind {}", kind.kind));
    let api: Api<DynamicObject> = match &object.metadata.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let mut params = PatchParams::apply("test").force();
    params.field_validation = Some(ValidationDirective::Strict);
    api.patch(object.metadata.name.as_ref().unwrap(), &params, &Patch::Apply(&object)).await?;
    Ok(())
}

#[test]
fn pods_run_as_nobody_in_a_root_that_cannot_be_written() {
    for case in cases() {
        let objects = objects(&std::fs::read_to_string(&case.snapshot).unwrap()).unwrap();
        let workload = objects.iter().find(|one| one["spec"]["template"].is_object()).unwrap();
        let pod = &workload["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{}", case.name());
        assert_ne!(pod["securityContext"]["runAsUser"], 0, "{}", case.name());
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true, "{}", case.name());
        assert_eq!(container["securityContext"]["capabilities"]["drop"][0], "ALL", "{}", case.name());
        assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false, "{}", case.name());
        for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
            assert_eq!(container[probe]["httpGet"]["scheme"], "HTTPS", "{} of {}", probe, case.name());
        }
        let tolerated: Vec<&str> =
            pod["tolerations"].as_array().unwrap().iter().map(|one| one["key"].as_str().unwrap()).collect();
        assert!(tolerated.contains(&"node.cloudprovider.kubernetes.io/uninitialized"), "{}", case.name());
    }
}

/// The objects of the manifests that are about permissions are the same for all clouds.
#[test]
fn roles_are_the_same_in_all_charts() {
    let rules = |controller: &Controller| -> Vec<Value> {
        let text = std::fs::read_to_string(controller.folder.join("deploy/manifests.yaml")).unwrap();
        let all = objects(&text).unwrap().into_iter();
        all.filter(|one| one["rules"].is_array()).map(|one| one["rules"].clone()).collect()
    };
    let all: Vec<Vec<Value>> = charts().iter().map(|(controller, _)| rules(controller)).collect();
    assert_eq!(all[0].len(), 2);
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn values_of_upstreams_charts_are_known() {
    let upstream = [
        ("aws", AWS, "charts/aws-cloud-controller-manager"),
        ("openstack", "k8s.io/cloud-provider-openstack@v1.36.0", "charts/openstack-cloud-controller-manager"),
    ];
    let charts = charts();
    for (cloud, module, path) in upstream {
        let (_, ours) = charts.iter().find(|(controller, _)| controller.settings.cloud == cloud).unwrap();
        let values = |folder: &Path| -> Value {
            let text = std::fs::read_to_string(folder.join("values.yaml")).unwrap();
            serde_saphyr::from_str(&text).unwrap()
        };
        let (ours, theirs) = (values(ours), values(&schemas::module(module).unwrap().join(path)));
        let names = theirs.as_object().unwrap().keys();
        let unknown: Vec<&String> = names.filter(|name| ours.get(name).is_none()).collect();
        assert!(unknown.is_empty(), "{cloud}: {unknown:?}");
    }
}

#[test]
fn alerts_and_dashboards_name_metrics_that_exist_and_runbooks_that_are_written() {
    text::check().unwrap();
}
