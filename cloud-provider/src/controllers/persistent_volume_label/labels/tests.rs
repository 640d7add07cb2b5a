use std::collections::BTreeSet;

use serde_json::json;

use super::*;

const GA: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];
const BETA: [&str; 2] = ["failure-domain.beta.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/region"];

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn pair(keys: [&str; 2], zone: &str, region: &str) -> Labels {
    labels(&[(keys[0], zone), (keys[1], region)])
}

fn volume(labels: &Labels, is_provisioned: bool, source: &Value) -> PersistentVolume {
    let annotations = if is_provisioned { json!({PROVISIONED_BY: "kubernetes.io/aws-ebs"}) } else { json!({}) };
    let metadata = json!({"name": "a", "labels": labels, "annotations": annotations});
    serde_json::from_value(json!({"metadata": metadata, "spec": source})).unwrap()
}

fn ebs(id: &str) -> Value {
    json!({"awsElasticBlockStore": {"volumeID": id}})
}

#[test]
fn labels_are_the_clouds_but_for_provisioned_volumes_with_a_whole_pair() {
    let (ga, beta) = (pair(GA, "z", "r"), pair(BETA, "bz", "br"));
    let both: Labels = ga.clone().into_iter().chain(beta.clone()).collect();
    let split = labels(&[(GA[0], "z"), (BETA[1], "r")]);
    let beta_and_zone: Labels = beta.clone().into_iter().chain([(GA[0].to_owned(), "z".to_owned())]).collect();
    for (carried, is_provisioned, origin_of) in [
        (&ga, true, Origin::Own(ga.clone())),
        (&beta, true, Origin::Own(beta.clone())),
        (&both, true, Origin::Own(ga.clone())),
        (&beta_and_zone, true, Origin::Own(beta.clone())),
        (&split, true, Origin::Cloud),
        (&Labels::new(), true, Origin::Cloud),
        (&ga, false, Origin::Cloud),
        (&Labels::new(), false, Origin::Cloud),
    ] {
        assert_eq!(origin(&volume(carried, is_provisioned, &ebs("vol-1"))), origin_of, "{carried:?} {is_provisioned}");
    }
}

#[test]
fn a_volume_without_a_clouds_disk_is_left_alone() {
    for source in [
        json!({"nfs": {"server": "a", "path": "/"}}),
        json!({"csi": {"driver": "ebs.csi.aws.com", "volumeHandle": "vol-1"}}),
    ] {
        assert_eq!(origin(&volume(&pair(GA, "z", "r"), true, &source)), Origin::None);
    }
    for source in [
        ebs(PLACEHOLDER),
        json!({"gcePersistentDisk": {"pdName": PLACEHOLDER}}),
        json!({"azureDisk": {"diskName": PLACEHOLDER, "diskURI": "x"}}),
        json!({"cinder": {"volumeID": PLACEHOLDER}}),
        json!({"vsphereVolume": {"volumePath": PLACEHOLDER}}),
    ] {
        assert_eq!(origin(&volume(&Labels::new(), false, &source)), Origin::None, "{source}");
    }
}

#[test]
fn a_location_becomes_labels_and_what_it_lacks_becomes_none() {
    let zones = |zones: &[&str]| zones.iter().map(|zone| (*zone).to_owned()).collect::<BTreeSet<_>>();
    let several = Location { zones: zones(&["b", "a"]), region: "r".into(), additional_labels: labels(&[("x", "y")]) };
    assert_eq!(of_location(&several), labels(&[(GA[0], "a__b"), (GA[1], "r"), ("x", "y")]));
    let regional = Location { region: "r".into(), ..Location::default() };
    assert_eq!(of_location(&regional), labels(&[(GA[1], "r")]));
    assert_eq!(of_location(&Location::default()), Labels::new());
}

#[test]
fn only_labels_that_differ_are_missing() {
    let volume = volume(&labels(&[(GA[0], "wrong"), (GA[1], "r"), ("own", "x")]), false, &ebs("vol-1"));
    assert_eq!(missing(&volume, &pair(GA, "z", "r")), labels(&[(GA[0], "z")]));
}

fn terms(terms: Value) -> Value {
    json!({"required": {"nodeSelectorTerms": terms}})
}

fn is_in(key: &str, values: &[&str]) -> Value {
    json!({"key": key, "operator": "In", "values": values})
}

#[test]
fn each_label_is_required_in_every_term() {
    let wanted = pair(GA, "b__a", "r");
    let [region, zone] = [is_in(GA[1], &["r"]), is_in(GA[0], &["a", "b"])];
    let alone = terms(json!([{"matchExpressions": [region, zone]}]));
    for (before, after) in [
        (json!(null), alone.clone()),
        (json!({}), alone.clone()),
        (json!({"required": null}), alone.clone()),
        (json!({"required": {"nodeSelectorTerms": null}}), alone.clone()),
        (terms(json!([])), alone.clone()),
        (terms(json!([{}])), alone),
        (
            terms(json!([
                {"matchExpressions": [{"key": "disk", "operator": "Exists"}]},
                {"matchFields": [is_in("metadata.name", &["n"])], "later": 1},
            ])),
            terms(json!([
                {"matchExpressions": [{"key": "disk", "operator": "Exists"}, region, zone]},
                {"matchExpressions": [region, zone], "matchFields": [is_in("metadata.name", &["n"])], "later": 1},
            ])),
        ),
    ] {
        assert_eq!(require(&before, &wanted).unwrap(), Some(after), "{before}");
    }
}

#[test]
fn an_affinity_that_speaks_of_a_label_and_one_without_labels_stay() {
    let mine = terms(
        json!([{"matchExpressions": [{"key": "disk", "operator": "Exists"}]}, {"matchExpressions": [is_in(GA[0], &["mine"])]}]),
    );
    assert_eq!(require(&mine, &pair(GA, "z", "r")).unwrap(), None);
    assert!(require(&mine, &pair(BETA, "z", "r")).unwrap().is_some(), "other keys");
    assert_eq!(require(&json!(null), &Labels::new()).unwrap(), None);
}

#[test]
fn older_zone_labels_list_zones_too_and_an_empty_zone_is_an_error() {
    let affinity = require(&json!(null), &labels(&[(BETA[0], "1__2")])).unwrap().unwrap();
    assert_eq!(affinity, terms(json!([{"matchExpressions": [is_in(BETA[0], &["1", "2"])]}])));
    assert!(require(&json!(null), &labels(&[(GA[0], "a__")])).is_err());
    assert!(require(&json!("x"), &labels(&[(GA[1], "r")])).is_err());
}
