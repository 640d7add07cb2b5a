use async_trait::async_trait;

use super::*;
use crate::{
    cloud::{Cloud, Location, Volumes},
    cluster::{admission::Response, objects::PersistentVolume},
    manager::cli::Program,
};

struct Nowhere;

#[async_trait]
impl Volumes for Nowhere {
    async fn locate(&self, volumes: &[Arc<PersistentVolume>]) -> Vec<Result<Option<Location>>> {
        volumes.iter().map(|_| Ok(None)).collect()
    }
}

struct SomeCloud {
    has_volumes: bool,
}

impl Cloud for SomeCloud {
    fn name(&self) -> &'static str {
        "some"
    }

    fn has_cluster_id(&self) -> bool {
        true
    }

    fn volumes(&self) -> Option<Arc<dyn Volumes>> {
        self.has_volumes.then(|| Arc::new(Nowhere) as Arc<dyn Volumes>)
    }
}

struct Yes;

#[async_trait]
impl Handler for Yes {
    async fn handle(&self, _: admission::Request) -> Result<Response> {
        Ok(Response::allowed())
    }
}

#[derive(clap::Args)]
struct NoFlags {}

fn open_with(flags: &[&str], built: &Built) -> Result<Option<Server>> {
    let program = Program::new("test", "0.0.0").with_webhooks(&["own"]);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let port = format!("--webhook-secure-port={free}");
    let args = ["test", "--cloud-provider=some", "--webhook-bind-address=127.0.0.1", &port];
    let args = args.iter().chain(flags).map(|arg| arg.into());
    let options = program.parse::<NoFlags>(args).unwrap().options;
    open(&options.validate(&program).unwrap(), built, &Metrics::new())
}

const GATE: &str = "--feature-gates=CloudControllerManagerWebhook=true";

#[tokio::test]
async fn a_webhook_is_served_where_it_is_named_the_gate_is_on_and_something_answers() {
    for (flags, has_volumes, is_served) in [
        (&[][..], true, false),
        (&[GATE], true, false),
        (&["--webhooks=*"], true, false),
        (&["--webhooks=*", GATE], true, true),
        (&["--webhooks=pvlabel", GATE], true, true),
        (&["--webhooks=pvlabel", GATE], false, false),
        (&["--webhooks=*,-pvlabel", GATE], false, true),
        (&["--webhooks=*,-pvlabel,-own", GATE], true, false),
        (&["--webhooks=*", GATE, "--webhook-secure-port=0"], true, false),
    ] {
        let built = Built::from(SomeCloud { has_volumes }).with_webhook(Webhook::new("own", "/own", Yes));
        let server = open_with(flags, &built).unwrap();
        assert_eq!(server.is_some(), is_served, "{flags:?} {has_volumes}");
        if let Some(server) = server {
            assert!(server.local_addr().unwrap().ip().is_loopback());
        }
    }
}

#[tokio::test]
async fn two_webhooks_at_one_path_are_refused() {
    let built = Built::from(SomeCloud { has_volumes: true }).with_webhook(Webhook::new("own", "/admit", Yes));
    let error = open_with(&["--webhooks=*", GATE], &built).unwrap_err();
    assert_eq!(error.to_string(), "webhook own is at the path of another, /admit");
}

#[tokio::test]
async fn a_certificate_directory_gets_a_pair_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let flag = format!("--webhook-cert-dir={}", dir.path().display());
    let built = Built::from(SomeCloud { has_volumes: true });
    open_with(&["--webhooks=pvlabel", GATE, &flag], &built).unwrap().unwrap();
    for name in ["cloud-controller-manager-webhook.crt", "cloud-controller-manager-webhook.key"] {
        assert!(dir.path().join(name).exists(), "{name}");
    }
}
