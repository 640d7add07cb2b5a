//! Webhooks, called by a real API server.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends when something it needs is not there")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cloud_provider::cloud::{Location, Volumes};
use cloud_provider::cluster::admission::{self, Handler, Response};
use cloud_provider::cluster::objects::{PersistentVolume, VolumeSource};
use cloud_provider::controllers::persistent_volume_label::LabelAdmission;
use cloud_provider::error::{Error, Kind, Result};
use cloud_provider::manager::options::{ServingCertificate, ServingSettings};
use cloud_provider::manager::serving::Server;
use cloud_provider::manager::webhook::{self, Webhook};
use cloud_provider::metrics::Metrics;
use cloud_provider_testing::ControlPlane;
use cloud_provider_testing::control_plane::{Authority, Options};
use cloud_provider_testing::objects::persistent_volume;
use http::{Method, Request};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1 as api;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::client::Body;
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const ZONE: &str = "topology.kubernetes.io/zone";
const REGION: &str = "topology.kubernetes.io/region";
const BETA_ZONE: &str = "failure-domain.beta.kubernetes.io/zone";
const MANAGED_DISK: &str = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/disks/zone-a";
const BETA_REGION: &str = "failure-domain.beta.kubernetes.io/region";

/// A cloud with disks of all kinds: `zone-…` is in the zones that its name lists, `foreign-…` in another cloud, all others
/// cannot be found.
struct Disks;

#[async_trait]
impl Volumes for Disks {
    async fn locate(&self, volumes: &[Arc<PersistentVolume>]) -> Vec<Result<Option<Location>>> {
        let locate = |volume: &Arc<PersistentVolume>| {
            let id = volume.spec.source.as_ref().map_or("", VolumeSource::id);
            match id.split_once('-') {
                Some(("foreign", _)) => Ok(None),
                Some(("zone", zones)) => {
                    let zones = zones.split('.').map(str::to_owned).collect();
                    Ok(Some(Location { zones, region: "r".into(), additional_labels: BTreeMap::new() }))
                }
                _ => Err(Error::new(Kind::Denied { permission: None }, "describe disks")
                    .with_request_id(Some("req-7"))
                    .with_source(std::io::Error::other("no such permission"))),
            }
        };
        volumes.iter().map(locate).collect()
    }
}

/// A webhook of a provider's own, with a few ways to answer.
struct Own;

#[async_trait]
impl Handler for Own {
    async fn handle(&self, request: admission::Request) -> Result<Response> {
        match request.name.as_str() {
            "broken" => Err(Error::transient("ask the cloud")),
            _ => Ok(Response::allowed().with_warning("looked at")),
        }
    }
}

/// Files of a serving certificate and the authority behind them.
struct Pair {
    cert_file: PathBuf,
    key_file: PathBuf,
}

impl Pair {
    fn new(dir: &Path) -> Self {
        Self { cert_file: dir.join("webhook.crt"), key_file: dir.join("webhook.key") }
    }

    fn put(&self, authority: &Authority) {
        let identity = authority.server("webhook", &["127.0.0.1"]).unwrap();
        std::fs::write(&self.cert_file, identity.certificate).unwrap();
        std::fs::write(&self.key_file, identity.key).unwrap();
    }

    fn settings(&self) -> ServingSettings {
        ServingSettings::new(
            ([127, 0, 0, 1], 0).into(),
            ServingCertificate::Files { cert_file: self.cert_file.clone(), key_file: self.key_file.clone() },
        )
    }
}

struct Bench {
    control_plane: ControlPlane,
    client: Client,
    address: SocketAddr,
    pair: Pair,
    metrics: Metrics,
    token: CancellationToken,
    tasks: JoinSet<()>,
    next: Mutex<u32>,
}

impl Bench {
    /// A control plane, and the webhooks on a port of their own, as yet unknown to it.
    async fn start() -> Self {
        let control_plane = ControlPlane::start(Options::default()).await.unwrap();
        let client = control_plane.client().await.unwrap();
        let pair = Pair::new(control_plane.dir());
        pair.put(control_plane.authority());
        let metrics = Metrics::new();
        let webhooks =
            [Webhook::new("pvlabel", "/admit", LabelAdmission::new(Arc::new(Disks))), Webhook::new("own", "/own", Own)];
        let server = Server::bind(&pair.settings(), webhook::routes(webhooks, &metrics).unwrap(), None).unwrap();
        let address = server.local_addr().unwrap();
        let token = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(server.run(token.clone()));
        Self { control_plane, client, address, pair, metrics, token, tasks, next: Mutex::default() }
    }

    /// Has the API server call a webhook, trusting `authority`.
    async fn register(&self, name: &str, path: &str, resource: &str, authority: &Authority) {
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [{
                "name": format!("{name}.cloud-provider.test"),
                "admissionReviewVersions": ["v1"],
                "clientConfig": {
                    "url": format!("https://{}{path}", self.address),
                    "caBundle": ByteString(authority.pem().as_bytes().to_vec()),
                },
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": [resource]}],
                "failurePolicy": "Fail",
                "sideEffects": "None",
                "timeoutSeconds": 5,
            }],
        });
        let api: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        api.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(configuration)).await.unwrap();
    }

    fn volumes(&self) -> Api<api::PersistentVolume> {
        Api::all(self.client.clone())
    }

    /// Creates a volume under a new name.
    async fn create(&self, metadata: Value, spec: Value) -> kube::Result<api::PersistentVolume> {
        let name = {
            let mut next = self.next.lock().unwrap();
            *next += 1;
            format!("pv-{next}")
        };
        self.volumes().create(&PostParams::default(), &persistent_volume(&name, metadata, spec).unwrap()).await
    }

    /// The zone and the affinity that a volume gets.
    async fn admitted(&self, metadata: Value, spec: Value) -> (BTreeMap<String, String>, Value) {
        let volume = self.create(metadata, spec).await.unwrap();
        let affinity = serde_json::to_value(volume.spec.unwrap().node_affinity).unwrap();
        (volume.metadata.labels.unwrap_or_default(), affinity)
    }

    /// What the API server says when it refuses.
    async fn refused(&self, spec: Value) -> (u16, String) {
        match self.create(json!({}), spec).await {
            Err(kube::Error::Api(status)) => (status.code, status.message),
            other => panic!("{other:?}"),
        }
    }

    /// Waits until volumes come back with labels: the API server takes in a configuration some time after it is written.
    async fn in_force(&self) {
        for _ in 0..300 {
            let created = self.create(json!({}), ebs("zone-a")).await;
            if created.is_ok_and(|volume| volume.metadata.labels.is_some()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the webhook is not in force within 30 s");
    }

    /// Posts to the webhook server as the API server does, but whatever one likes.
    async fn post(&self, path: &str, content_type: Option<&str>, body: &str) -> (u16, String) {
        let mut config = Config::new(format!("https://{}", self.address).parse().unwrap());
        config.accept_invalid_certs = true;
        config.default_retry = false;
        let mut request = Request::builder().method(Method::POST).uri(path);
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let client = Client::try_from(config).unwrap();
        let response = client.send(request.body(Body::from(body.as_bytes().to_vec())).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect_bytes().await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn stop(mut self) {
        self.token.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        tokio::time::timeout(Duration::from_secs(5), all).await.unwrap();
    }
}

fn ebs(id: &str) -> Value {
    json!({"awsElasticBlockStore": {"volumeID": id}})
}

fn with_affinity(mut spec: Value, terms: Value) -> Value {
    spec["nodeAffinity"] = json!({"required": {"nodeSelectorTerms": terms}});
    spec
}

fn is_in(key: &str, values: &[&str]) -> Value {
    json!({"key": key, "operator": "In", "values": values})
}

fn pair(keys: [&str; 2], zone: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(keys[0].to_owned(), zone.to_owned()), (keys[1].to_owned(), "r".to_owned())])
}

fn terms(of_each: Value) -> Value {
    json!({"required": {"nodeSelectorTerms": of_each}})
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_are_labelled_when_they_are_created() {
    let bench = Bench::start().await;
    bench.register("pvlabel", "/admit", "persistentvolumes", bench.control_plane.authority()).await;
    bench.in_force().await;
    let (none, current, beta) = (json!({}), [ZONE, REGION], [BETA_ZONE, BETA_REGION]);

    let in_a = terms(json!([{"matchExpressions": [is_in(REGION, &["r"]), is_in(ZONE, &["a"])]}]));
    for source in [
        ebs("zone-a"),
        json!({"gcePersistentDisk": {"pdName": "zone-a"}}),
        json!({"azureDisk": {"diskName": "zone-a", "diskURI": MANAGED_DISK, "kind": "Managed"}}),
        json!({"cinder": {"volumeID": "zone-a"}}),
        json!({"vsphereVolume": {"volumePath": "zone-a"}}),
    ] {
        assert_eq!(bench.admitted(none.clone(), source.clone()).await, (pair(current, "a"), in_a.clone()), "{source}");
    }
    let (labels, affinity) = bench.admitted(none.clone(), ebs("zone-b.a")).await;
    assert_eq!(labels, pair(current, "a__b"));
    assert_eq!(affinity["required"]["nodeSelectorTerms"][0]["matchExpressions"][1], is_in(ZONE, &["a", "b"]));

    // What a user says is overwritten, and the rest of it kept; what a provisioner says is believed.
    let (labels, _) = bench.admitted(json!({"labels": {ZONE: "mine", "app": "x"}}), ebs("zone-a")).await;
    assert_eq!((labels[ZONE].as_str(), labels[REGION].as_str(), labels["app"].as_str()), ("a", "r", "x"));
    let provisioned = |labels: &BTreeMap<String, String>| json!({"labels": labels, "annotations": {"pv.kubernetes.io/provisioned-by": "kubernetes.io/aws-ebs"}});
    for keys in [current, beta] {
        let (labels, affinity) = bench.admitted(provisioned(&pair(keys, "1__2")), ebs("nobody-knows")).await;
        assert_eq!(labels, pair(keys, "1__2"));
        let expected = json!([{"matchExpressions": [is_in(keys[1], &["r"]), is_in(keys[0], &["1", "2"])]}]);
        assert_eq!(affinity, terms(expected));
    }
    let both: BTreeMap<_, _> = pair(current, "c").into_iter().chain(pair(beta, "o")).collect();
    let (labels, affinity) = bench.admitted(provisioned(&both), ebs("nobody-knows")).await;
    assert_eq!(labels, both);
    let of_current = json!([{"matchExpressions": [is_in(REGION, &["r"]), is_in(ZONE, &["c"])]}]);
    assert_eq!(affinity, terms(of_current), "the current labels count where both are there");

    // An affinity of the user's is narrowed in each of its terms, or left alone where it speaks about zones itself.
    let disk = json!({"key": "disk", "operator": "Exists"});
    let two = json!([{"matchExpressions": [disk]}, {"matchFields": [is_in("metadata.name", &["n"])]}]);
    let (_, affinity) = bench.admitted(none.clone(), with_affinity(ebs("zone-a"), two)).await;
    let [region, zone] = [is_in(REGION, &["r"]), is_in(ZONE, &["a"])];
    let narrowed = json!([
        {"matchExpressions": [disk, region, zone]},
        {"matchExpressions": [region, zone], "matchFields": [is_in("metadata.name", &["n"])]},
    ]);
    assert_eq!(affinity, terms(narrowed));
    let own = json!([{"matchExpressions": [is_in(ZONE, &["mine"])]}]);
    let (labels, affinity) = bench.admitted(none.clone(), with_affinity(ebs("zone-a"), own.clone())).await;
    assert_eq!((labels, affinity), (pair(current, "a"), terms(own)));

    for untouched in [
        ebs("foreign-1"),
        ebs("placeholder-for-provisioning"),
        json!({"csi": {"driver": "ebs.csi.aws.com", "volumeHandle": "zone-a"}}),
        json!({"nfs": {"server": "s", "path": "/"}}),
    ] {
        let admitted = bench.admitted(none.clone(), untouched.clone()).await;
        assert_eq!(admitted, (BTreeMap::new(), Value::Null), "{untouched}");
    }

    let (code, message) = bench.refused(ebs("vol-1")).await;
    assert_eq!(code, 403);
    assert_eq!(
        message,
        "admission webhook \"pvlabel.cloud-provider.test\" denied the request: locate the disk \"vol-1\": describe disks: \
         no such permission (request ID req-7)"
    );

    let name = bench.create(none, ebs("zone-a")).await.unwrap().metadata.name.unwrap();
    let patch = Patch::Merge(json!({"metadata": {"labels": {ZONE: "later"}}}));
    let changed = bench.volumes().patch(&name, &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(changed.metadata.labels.unwrap()[ZONE], "later", "only creations are looked at");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_certificate_is_served_to_the_api_server_without_a_restart() {
    let bench = Bench::start().await;
    bench.register("pvlabel", "/admit", "persistentvolumes", bench.control_plane.authority()).await;
    bench.in_force().await;
    let next = Authority::new("next").unwrap();
    bench.pair.put(&next);
    bench.register("pvlabel", "/admit", "persistentvolumes", &next).await;
    // The old certificate is refused until the new one is read; then volumes are labelled again.
    let mut refusals = BTreeSet::new();
    let rotated = async {
        let mut labelled = 0;
        while refusals.is_empty() || labelled < 3 {
            match bench.create(json!({}), ebs("zone-a")).await {
                Ok(_) => labelled += 1,
                Err(kube::Error::Api(status)) => {
                    labelled = 0;
                    refusals.insert(status.code);
                }
                Err(error) => panic!("{error}"),
            }
            if labelled > 200 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), rotated).await.unwrap();
    assert!(refusals.iter().all(|code| *code == 500), "{refusals:?}");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_no_reviews_are_refused_and_each_request_is_counted() {
    let bench = Bench::start().await;
    let json_type = Some("application/json");
    let review = |kind: &str, name: &str, object: Value| {
        json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "u-1", "kind": {"group": "", "version": "v1", "kind": kind}, "name": name,
                "operation": "CREATE", "object": object,
            },
        })
        .to_string()
    };
    let good = review("PersistentVolume", "a", json!({"metadata": {"name": "a"}, "spec": ebs("zone-a")}));
    for (content_type, body, problem) in [
        (None, good.as_str(), "expected content type \"application/json\", got \"\"\n"),
        (
            Some("application/json; charset=utf-8"),
            good.as_str(),
            "expected content type \"application/json\", got \"application/json; charset=utf-8\"\n",
        ),
        (json_type, "", "the request has no body\n"),
        (json_type, "{}", "expected admission.k8s.io/v1 AdmissionReview, got  \n"),
        (json_type, &good.replace("request", "response"), "the AdmissionReview has no request\n"),
    ] {
        assert_eq!(bench.post("/admit", content_type, body).await, (400, problem.to_owned()), "{body}");
    }
    for path in ["/", "/admit/", "/healthz", "/metrics"] {
        assert_eq!(bench.post(path, json_type, &good).await.0, 404, "{path}");
    }
    let (status, body) = bench.post("/admit?timeout=5s", json_type, &good).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["response"]["uid"], &body["response"]["allowed"]), (200, &json!("u-1"), &json!(true)));
    assert_eq!(body["response"]["patchType"], "JSONPatch");

    for wrong in [review("ConfigMap", "a", json!({})), review("PersistentVolume", "a", json!({"metadata": 7}))] {
        let (status, body) = bench.post("/admit", json_type, &wrong).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &body["response"]["status"]["code"]), (200, &json!(400)), "{body}");
    }
    let (status, body) = bench.post("/own", json_type, &review("ConfigMap", "broken", json!({}))).await;
    assert_eq!((status, body.as_str()), (500, "ask the cloud\n"));
    let (_, body) = bench.post("/own", json_type, &review("ConfigMap", "fine", json!({}))).await;
    assert!(body.contains("looked at"), "{body}");

    let text = bench.metrics.render();
    for line in [
        "cloud_provider_webhook_request_total{code=\"200\",webhook=\"own\"} 1\n",
        "cloud_provider_webhook_request_total{code=\"200\",webhook=\"pvlabel\"} 3\n",
        "cloud_provider_webhook_request_total{code=\"400\",webhook=\"pvlabel\"} 5\n",
        "cloud_provider_webhook_request_total{code=\"500\",webhook=\"own\"} 1\n",
        "cloud_provider_webhook_request_duration_seconds_bucket{code=\"500\",webhook=\"own\",le=\"0.25\"} 1\n",
        "cloud_provider_webhook_request_duration_seconds_bucket{code=\"500\",webhook=\"own\",le=\"10\"} 1\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_breaks_is_told_to_the_api_server() {
    let bench = Bench::start().await;
    bench.register("own", "/own", "configmaps", bench.control_plane.authority()).await;
    let configmaps: Api<api::ConfigMap> = Api::default_namespaced(bench.client.clone());
    let broken = || serde_json::from_value(json!({"metadata": {"name": "broken"}})).unwrap();
    let refusal = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            match configmaps.create(&PostParams { dry_run: true, ..PostParams::default() }, &broken()).await {
                Err(kube::Error::Api(status)) => break status,
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    })
    .await
    .unwrap();
    assert_eq!(refusal.code, 500);
    assert!(refusal.message.contains("failed calling webhook \"own.cloud-provider.test\""), "{}", refusal.message);
    assert!(refusal.message.contains("ask the cloud"), "{}", refusal.message);
    let fine = serde_json::from_value(json!({"metadata": {"name": "fine"}})).unwrap();
    configmaps.create(&PostParams::default(), &fine).await.unwrap();
    let text = bench.metrics.render();
    assert!(text.contains("cloud_provider_webhook_request_total{code=\"500\",webhook=\"own\"}"), "{text}");
    bench.stop().await;
}
