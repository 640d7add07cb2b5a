//! Formats inherited from Go.

use std::collections::BTreeMap;
use std::time::Duration;

use cloud_provider::config::duration::GoDuration;
use cloud_provider::config::feature_gates::{
    COMPONENT_FLAGZ, FeatureGates, WATCH_BASED_ROUTES_RECONCILIATION, WEBHOOK,
};
use cloud_provider::config::gcfg::{self, Document};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde::Deserialize;

/// Every kind of field that the config files of clouds have.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "PascalCase", default)]
struct Config {
    global: Global,
    #[serde(rename = "LoadBalancerClass")]
    classes: BTreeMap<String, Global>,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case", default)]
struct Global {
    text: String,
    list: Vec<String>,
    flag: bool,
    number: i64,
    small: Option<u8>,
    fraction: f64,
    time: GoDuration,
}

/// A file made of the pieces of which files are made, in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("[Global]\n".to_owned()),
        Just("[LoadBalancerClass \"a\"]\n".to_owned()),
        "(text|list|flag|number|small|fraction|time|other)",
        Just(" = ".to_owned()),
        Just("\n".to_owned()),
        "\"[^\"\\\\\n]{0,6}\"",
        "\\\\[a-z\"\n\\\\]",
        "[;#][ -~]{0,8}\n",
        "-?[0-9]{1,20}",
        "0[xob][0-9a-f]{1,4}",
        "[0-9.]{1,6}(ns|us|ms|s|m|h)",
        "(true|yes|on|off|no|1|0)",
        any::<String>(),
    ];
    // Values hold no carriage returns and zero bytes, so they cannot be printed either.
    vec(piece, 0..30).prop_map(|pieces| pieces.concat().replace(['\r', '\0'], ""))
}

/// A value that a file can hold: gcfg has no zero bytes, and no carriage returns.
fn value() -> impl Strategy<Value = String> {
    "[^\0\r]{0,20}"
}

proptest! {
    #[test]
    fn no_config_file_makes_gcfg_panic(text in pieces()) {
        // Where it reads at all, it reads the same again from its printed form.
        if let Ok(document) = Document::parse(&text) {
            let first = document.deserialize::<Config>().map(|(config, _)| config);
            let again = Document::parse(&document.to_string());
            prop_assert!(again.is_ok(), "{document} does not read back");
            let again = again.and_then(|document| document.deserialize::<Config>()).map(|(config, _)| config);
            match (first, again) {
                (Ok(first), Ok(again)) => prop_assert_eq!(format!("{first:?}"), format!("{again:?}")),
                (first, again) => prop_assert_eq!(first.is_ok(), again.is_ok()),
            }
        }
    }

    #[test]
    fn values_come_out_of_gcfg_as_they_were_put_in(
        text in value(),
        list in vec(value(), 0..4),
        number in any::<i64>(),
        flag in any::<bool>(),
        nanos in any::<i64>(),
    ) {
        let quoted = |value: &str| {
            let escaped = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n").replace('\t', r"\t");
            format!("\"{escaped}\"")
        };
        let time = GoDuration::from_nanos(nanos);
        let mut file = format!("[global]\nText = {}\nNUMBER={number}\nflag = {flag}\ntime = {time}\n", quoted(&text));
        for value in &list {
            file.push_str(&format!("list = {}\n", quoted(value)));
        }
        let (config, warnings) = gcfg::from_str::<Config>(&file).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert!(warnings.is_empty());
        prop_assert_eq!(config.global, Global { text, list, number, flag, time, ..Global::default() });
    }

    #[test]
    fn durations_read_back_and_agree_with_the_standard_library(nanos in 0..i64::MAX) {
        let duration = GoDuration::from_nanos(nanos);
        prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        prop_assert_eq!(duration.to_std(), Duration::from_nanos(nanos.unsigned_abs()));
        prop_assert_eq!(GoDuration::from(duration.to_std()), duration);
        let negative: Result<GoDuration, _> = format!("-{duration}").parse();
        prop_assert_eq!(negative.map(GoDuration::as_nanos), Ok(-nanos));
    }

    #[test]
    fn parts_of_a_duration_add_up(hours in 0..1000_i64, minutes in 0..100_000_i64, millis in 0..10_000_000_i64) {
        let read: Result<GoDuration, _> = format!("{hours}h{minutes}m{millis}ms").parse();
        let expected = ((hours * 60 + minutes) * 60_000 + millis) * 1_000_000;
        prop_assert_eq!(read.map(GoDuration::as_nanos), Ok(expected));
    }

    #[test]
    fn no_text_makes_durations_panic(text in "[-+.0-9a-zµμ∞ ]{0,40}|\\PC{0,20}") {
        if let Ok(duration) = text.parse::<GoDuration>() {
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }
    }

    #[test]
    fn gates_are_as_they_were_set_or_nothing_was_set(
        chosen in btree_map("(AllAlpha|AllBeta|CloudControllerManagerWebhook|ComponentFlagz|[A-Za-z]{1,12})", any::<bool>(), 0..5),
    ) {
        let mut gates = FeatureGates::default();
        let before = gates.clone();
        match gates.set(&chosen) {
            Ok(()) => for (gate, all) in [(WEBHOOK, "AllAlpha"), (WATCH_BASED_ROUTES_RECONCILIATION, "AllAlpha"), (COMPONENT_FLAGZ, "AllBeta")] {
                let expected = chosen.get(gate.name).or_else(|| chosen.get(all)).copied().unwrap_or(gate.default);
                prop_assert_eq!(gates.enabled(gate), expected, "{}", gate.name);
            },
            Err(errors) => {
                prop_assert!(!errors.is_empty());
                prop_assert_eq!(gates, before);
            }
        }
    }
}
