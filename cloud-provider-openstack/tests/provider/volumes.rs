//! Where Cinder volumes are.

use std::sync::Arc;

use cloud_provider::{cloud::Volumes as _, cluster::objects::PersistentVolume};
use cloud_provider_openstack::volumes::CinderVolumes;
use serde_json::json;

use crate::support::Cloud;

fn volume(id: &str) -> Arc<PersistentVolume> {
    let volume = json!({ "metadata": { "name": id }, "spec": { "cinder": { "volumeID": id } } });
    Arc::new(serde_json::from_value(volume).unwrap())
}

#[tokio::test]
async fn volumes_are_where_cinder_says_and_what_it_does_not_know_is_an_error() {
    let cloud = Cloud::new(0).await;
    let id = |number: usize| format!("bbbbbbbb-0000-4000-8000-{number:012}");
    for number in 0..30 {
        let project = cloud_provider_openstack_simulator::Ids::default().project;
        assert!(cloud.handle.insert(
            "volumes",
            json!({
                "id": id(number), "name": format!("v{number}"), "availability_zone": "zone one", "project_id": project,
                "os-vol-tenant-attr:tenant_id": project, "status": "available", "size": 1,
            })
        ));
    }
    let volumes = CinderVolumes::new(cloud.client.clone());
    let other = json!({ "metadata": { "name": "o" }, "spec": { "awsElasticBlockStore": { "volumeID": "vol-1" } } });
    let few = [volume(&id(1)), volume(&id(99)), Arc::new(serde_json::from_value(other).unwrap())];
    let found = volumes.locate(&few).await;
    let location = found[0].as_ref().unwrap().as_ref().unwrap();
    assert_eq!((location.zones.first().map(String::as_str), location.region.as_str()), (Some("zone-one"), "RegionOne"));
    assert!(found[1].as_ref().unwrap_err().is_not_found() && matches!(found[2], Ok(None)), "{found:?}");
    cloud.handle.reset_calls();
    let many: Vec<_> = (0..30).map(|number| volume(&id(number))).collect();
    assert!(volumes.locate(&many).await.iter().all(|found| matches!(found, Ok(Some(_)))));
    assert_eq!(cloud.calls(), 1);
}
