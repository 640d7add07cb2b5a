//! The manager under each role that upstream's manifests grant, through a whole life: the audit log shows that it is refused
//! nothing but what upstream's is refused too, and its own log has one warning for each permission that is missing.

#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod harness;
mod life;
mod role;

use std::collections::BTreeSet;

use cloud_provider_testing::cloud::Backend;
use cloud_provider_testing::control_plane::{ControlPlane, Options};

use harness::Manager;
use role::Role;

async fn plane() -> ControlPlane {
    ControlPlane::start(Options { audit_reads: true, ..Options::default() }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_roles_of_upstreams_manifests_nothing_is_refused_that_upstreams_is_not() {
    let plane = plane().await;
    let mut failed = Vec::new();
    // So that a failure can be looked at alone.
    let only = std::env::var("ROLE").unwrap_or_default();
    let roles: Vec<Role> = Role::all().into_iter().filter(|role| role.name.contains(&only)).collect();
    assert!(!roles.is_empty(), "no role is called {only}");
    for role in roles {
        let begun = std::time::Instant::now();
        let result = life::of(&plane, &role).await;
        eprintln!("{}: {:.1} s", role.name, begun.elapsed().as_secs_f64());
        if let Err(error) = result {
            eprintln!("{error:#}");
            failed.push(format!("{} ({}): {error:#}", role.name, role.source));
        }
    }
    assert!(failed.is_empty(), "{} roles failed:\n{}", failed.len(), failed.join("\n\n"));
}

/// The role of our charts is enough, and nothing in it is left over.
#[tokio::test(flavor = "multi_thread")]
async fn the_role_of_our_charts_is_what_is_called() {
    let plane = plane().await;
    let role = Role::ours().unwrap();
    life::of(&plane, &role).await.unwrap();
    let user = format!("system:serviceaccount:kube-system:{}", role.name);
    let called = plane.audit().requests(|request| request.user == user && request.accepted()).unwrap();
    let mut used: BTreeSet<String> =
        called.iter().map(|request| format!("{} {}", request.verb, request.resource)).collect();
    // An event that comes again, a node that changed meanwhile, a lease of somebody else: none is sure in a short life.
    used.extend(["patch events", "get nodes", "get leases"].map(str::to_owned));
    let unused: Vec<String> = role.grants().difference(&used).cloned().collect();
    assert!(unused.is_empty(), "nobody needs {unused:?}");
}

/// Every write of the controllers, refused: each is told once, however often it is tried.
#[tokio::test(flavor = "multi_thread")]
async fn each_missing_verb_is_told_once_and_the_rest_goes_on() {
    let plane = plane().await;
    let role = Role::reading_only();
    let backend = Backend::new();
    let manager = Manager::start(&plane, &role, &backend).await.unwrap();
    life::tried_in_vain(&plane, &role, &manager, &backend).await.unwrap();
    manager.concludes(&plane, &role).await.unwrap();
}
