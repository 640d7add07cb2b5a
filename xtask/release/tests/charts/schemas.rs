//! kubeconform, with the schemas of the API server and of the Prometheus operator.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use cloud_provider_testing::progress::Progress;
use cloud_provider_testing::upstream::Upstream;
use http::Request;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::helm::output;

const KUBECONFORM: Upstream = Upstream {
    program: "kubeconform",
    module: "github.com/yannh/kubeconform",
    version: "v0.8.0",
    package: "cmd/kubeconform",
};

/// The Go module that carries the definitions of the Prometheus operator.
const MONITORING: &str = "github.com/prometheus-operator/prometheus-operator@v0.85.0";

/// Installs the kinds of the Prometheus operator that charts have, and waits until they can be used.
pub(crate) async fn install_monitoring(client: &Client) -> anyhow::Result<Vec<CustomResourceDefinition>> {
    let folder = module(MONITORING)?;
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut definitions = Vec::new();
    for kind in ["servicemonitors", "prometheusrules"] {
        let path = folder.join(format!("example/prometheus-operator-crd/monitoring.coreos.com_{kind}.yaml"));
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let definition: CustomResourceDefinition = serde_saphyr::from_str(&text).context("read a definition")?;
        api.create(&PostParams::default(), &definition).await?;
        let deadline = Instant::now() + Duration::from_secs(60);
        while !established(&api.get(&definition.name_any()).await?) {
            ensure!(Instant::now() < deadline, "{kind} are not established");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        definitions.push(definition);
    }
    Ok(definitions)
}

/// The folder of a Go module, downloaded where it is not there.
pub(crate) fn module(name: &str) -> anyhow::Result<PathBuf> {
    // Outside of any module.
    let work = tempfile::tempdir()?;
    let mut download = Command::new("go");
    let told = output(download.args(["mod", "download", "-json", name]).current_dir(work.path()))?;
    let told: Value = serde_json::from_str(&told).context("read what go mod download printed")?;
    Ok(PathBuf::from(told["Dir"].as_str().with_context(|| format!("{name} has no folder"))?))
}

fn established(definition: &CustomResourceDefinition) -> bool {
    let conditions = definition.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|one| one.type_ == "Established" && one.status == "True")
}

pub(crate) struct Validator {
    program: PathBuf,
    schemas: TempDir,
}

impl Validator {
    /// For these kinds. Schemas are the API server's own: a field that it does not know is an error.
    pub(crate) async fn new(
        client: &Client,
        custom: &[CustomResourceDefinition],
        kinds: &BTreeSet<String>,
    ) -> anyhow::Result<Self> {
        let program = KUBECONFORM.find_or_build(&Progress::stderr())?;
        let request = Request::get("/openapi/v2").header("accept", "application/json").body(Vec::new())?;
        let api: Value = serde_json::from_str(&client.request_text(request).await?)?;
        let mut definitions = api["definitions"].as_object().context("the API has no definitions")?.clone();
        definitions.values_mut().for_each(close);
        let schemas = tempfile::tempdir()?;
        for (name, definition) in &definitions {
            let is_wanted = |kind: &&Value| kind["kind"].as_str().is_some_and(|kind| kinds.contains(kind));
            let all = definition["x-kubernetes-group-version-kind"].as_array().into_iter().flatten();
            for kind in all.filter(is_wanted) {
                let schema = json!({ "$ref": format!("#/definitions/{name}"), "definitions": definitions });
                write(schemas.path(), kind, &schema)?;
            }
        }
        for definition in custom {
            let version = definition.spec.versions.first().context("a definition without a version")?;
            let kind = json!({
                "group": definition.spec.group, "version": version.name, "kind": definition.spec.names.kind,
            });
            let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
            write(schemas.path(), &kind, &serde_json::to_value(schema.context("a definition without a schema")?)?)?;
        }
        Ok(Self { program, schemas })
    }

    pub(crate) fn check(&self, file: &Path) -> anyhow::Result<()> {
        let location = format!(
            "{}/{{{{ .Group }}}}-{{{{ .ResourceAPIVersion }}}}-{{{{ .ResourceKind }}}}.json",
            self.schemas.path().display()
        );
        let mut command = Command::new(&self.program);
        command.args(["-summary", "-output", "text", "-schema-location", &location]).arg(file);
        let told = output(&mut command)?;
        ensure!(told.contains("Invalid: 0, Errors: 0, Skipped: 0"), "{told}");
        Ok(())
    }
}

/// Objects with named fields have no others.
fn close(definition: &mut Value) {
    if definition["properties"].is_object() {
        definition["additionalProperties"] = json!(false);
    }
    // Either of two types, which is more than JSON's.
    if definition["format"] == "int-or-string" {
        *definition = Value::Object(Map::new());
    }
}

fn write(folder: &Path, kind: &Value, schema: &Value) -> anyhow::Result<()> {
    let part = |name: &str| kind[name].as_str().unwrap_or_default().to_lowercase();
    // kubeconform takes what is before the slash of an `apiVersion`, which is the version where there is no group.
    let group = if part("group").is_empty() { part("version") } else { part("group") };
    let name = format!("{group}-{}-{}.json", part("version"), part("kind"));
    fs::write(folder.join(&name), schema.to_string()).with_context(|| format!("write {name}"))
}
