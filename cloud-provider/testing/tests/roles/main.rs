//! The manager under each role that upstream's manifests grant, through a whole life: the audit log shows that it is refused
//! nothing but what upstream's is refused too, and its own log has one warning for each permission that is missing.

#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod harness;
mod life;
mod role;

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
