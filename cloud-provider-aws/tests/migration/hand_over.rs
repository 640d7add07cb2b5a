use std::time::Duration;

use anyhow::ensure;
use cloud_provider_testing::process::Process;

use crate::world::{Which, World};

/// The controllers that upstream's AWS controller manager has, but for the node controller.
const SHARED: &str = "kind: LeaderMigrationConfiguration
apiVersion: controllermanager.config.k8s.io/v1
leaderName: cloud-provider-extraction-migration
controllerLeaders:
- {name: service-lb-controller, component: '*'}
- {name: node-route-controller, component: '*'}
- {name: cloud-node-lifecycle-controller, component: '*'}
";
const MIGRATION_LEASE: &str = "cloud-provider-extraction-migration";

/// The same main lease for both: the image of a cluster that uses leader migration is swapped, and swapped back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_to_ours_and_back_changes_nothing_and_nobody_acts_twice() {
    let world = World::new(SHARED).await.unwrap();
    let lease = "cloud-controller-manager";
    let go = world.start(Which::Go, lease).unwrap();
    world.leads(Which::Go, MIGRATION_LEASE).await.unwrap();
    let ours = world.start(Which::Ours, lease).unwrap();
    let result = swap(&world, &go, &ours).await;
    result.map_err(|error| world.explain(error, &[&go, &ours])).unwrap();
}

async fn swap(world: &World, go: &Process, ours: &Process) -> anyhow::Result<()> {
    settle(world, "first").await?;
    ensure!(world.cloud_writes(Which::Ours).is_empty(), "ours changed the cloud while Go led");
    let before = world.belongings();

    go.terminate(Duration::from_secs(10)).await?;
    world.leads(Which::Ours, MIGRATION_LEASE).await?;
    quiet(world, Which::Ours, 0).await?;
    ensure!(world.belongings() == before, "the takeover changed the account");
    let go_writes = world.cloud_writes(Which::Go).len();
    settle(world, "second").await?;
    ensure!(world.cloud_writes(Which::Go).len() == go_writes, "Go changed the cloud after its end");

    let go = world.start(Which::Go, "cloud-controller-manager")?;
    let before = world.belongings();
    let theirs = world.cloud_writes(Which::Ours).len();
    ours.terminate(Duration::from_secs(20)).await?;
    world.leads(Which::Go, MIGRATION_LEASE).await?;
    // Go ensures every load balancer once more, with writes that change nothing.
    tokio::time::sleep(Duration::from_secs(8)).await;
    ensure!(world.belongings() == before, "Go changed what ours had made");
    settle(world, "third").await?;
    ensure!(world.cloud_writes(Which::Ours).len() == theirs, "ours changed the cloud after its end");
    go.terminate(Duration::from_secs(10)).await?;
    never_at_once(world)
}

/// Each has a main lease of its own, as kube-controller-manager and a cloud controller manager have; the shared lease alone
/// decides who runs the controllers that migrate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn controllers_migrate_under_the_shared_lease_alone() {
    let world = World::new(SHARED).await.unwrap();
    let go = world.start(Which::Go, "old-manager").unwrap();
    world.leads(Which::Go, MIGRATION_LEASE).await.unwrap();
    let ours = world.start(Which::Ours, "cloud-controller-manager").unwrap();
    let result = migrate(&world, &go, &ours).await;
    result.map_err(|error| world.explain(error, &[&go, &ours])).unwrap();
}

async fn migrate(world: &World, go: &Process, ours: &Process) -> anyhow::Result<()> {
    world.leads(Which::Ours, "cloud-controller-manager").await?;
    settle(world, "first").await?;
    ensure!(world.cloud_writes(Which::Ours).is_empty(), "ours changed the cloud without the shared lease");
    // Without a chance to say goodbye.
    go.kill()?;
    world.leads(Which::Ours, MIGRATION_LEASE).await?;
    settle(world, "second").await?;
    quiet(world, Which::Ours, world.cloud_writes(Which::Ours).len()).await?;

    let go = world.start(Which::Go, "old-manager")?;
    let theirs = world.cloud_writes(Which::Go).len();
    world.services().delete("first", &kube::api::DeleteParams::default()).await?;
    settle(world, "third").await?;
    ensure!(world.cloud_writes(Which::Go).len() == theirs, "Go changed the cloud without the shared lease");
    ours.terminate(Duration::from_secs(20)).await?;
    settle(world, "fourth").await?;
    ensure!(world.cloud_writes(Which::Go).len() > theirs, "Go did not take over");
    go.terminate(Duration::from_secs(10)).await?;
    Ok(())
}

/// New nodes and services are served by whoever leads.
async fn settle(world: &World, name: &str) -> anyhow::Result<()> {
    world.add_nodes(1).await?;
    // First the node: a node that is initialised while Go makes a load balancer may be missing behind it for good.
    world.initialised().await?;
    world.create_service(name, "classic").await?;
    world.create_service(&format!("{name}-nlb"), "nlb").await?;
    world.balanced(name).await?;
    world.balanced(&format!("{name}-nlb")).await?;
    // What follows the address: the rules of the node group.
    tokio::time::sleep(Duration::from_secs(6)).await;
    Ok(())
}

/// `which` has made `writes` changes to the cloud, and makes no more.
async fn quiet(world: &World, which: Which, writes: usize) -> anyhow::Result<()> {
    tokio::time::sleep(Duration::from_secs(8)).await;
    let made = world.cloud_writes(which);
    ensure!(made.len() == writes, "{which:?} changed the cloud though nothing had changed: {:?}", &made[writes..]);
    Ok(())
}

/// By both logs: the stretches of time in which each wrote do not overlap.
fn never_at_once(world: &World) -> anyhow::Result<()> {
    for (go, ours) in [
        (world.cloud_writes(Which::Go), world.cloud_writes(Which::Ours)),
        (world.cluster_writes(Which::Go)?, world.cluster_writes(Which::Ours)?),
    ] {
        let (Some(first), Some(last)) = (ours.first(), ours.last()) else { anyhow::bail!("ours wrote nothing") };
        let between: Vec<_> = go.iter().filter(|one| *one > first && *one < last).collect();
        ensure!(between.is_empty(), "Go wrote between {first} and {last}: {between:?}");
    }
    Ok(())
}
