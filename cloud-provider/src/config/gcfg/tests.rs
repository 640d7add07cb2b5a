use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::config::duration::GoDuration;

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "PascalCase", default)]
struct Config {
    global: Global,
    load_balancer: Option<LoadBalancer>,
    service_override: BTreeMap<String, Override>,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "PascalCase", default)]
struct Global {
    zone: String,
    #[serde(rename = "node-tags")]
    node_tags: Vec<String>,
    regional: bool,
    multizone: Option<bool>,
    port: Option<i32>,
    weight: u8,
    ratio: f64,
    timeout: GoDuration,
    mode: Mode,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
enum Mode {
    #[default]
    Shared,
    Own,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case", default)]
struct LoadBalancer {
    subnet_id: String,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "PascalCase", default)]
struct Override {
    service: String,
    region: String,
}

fn read(text: &str) -> Config {
    let (config, warnings) = from_str(text).unwrap();
    assert_eq!(warnings, []);
    config
}

fn error(text: &str) -> String {
    from_str::<Config>(text).unwrap_err().to_string()
}

fn zone(value: &str) -> String {
    read(&format!("[Global]\nZone{value}\n")).global.zone
}

#[test]
fn empty_file_gives_defaults() {
    for text in ["", "\n\n", "; only a comment", "  # and another\r\n"] {
        assert_eq!(read(text), Config::default(), "{text:?}");
    }
}

#[test]
fn names_ignore_case_and_subsections_keep_it() {
    let config = read("[GLOBAL]\nzONE=a\n[serviceoverride \"A\"]\nservice=EC2\n[ServiceOverride \"a\"]\nSERVICE=KMS\n");
    assert_eq!(config.global.zone, "a");
    let services: Vec<_> = config.service_override.iter().map(|(name, o)| (name.as_str(), &*o.service)).collect();
    assert_eq!(services, [("A", "EC2"), ("a", "KMS")]);
}

#[test]
fn sections_and_subsections_of_one_name_are_merged() {
    let config = read(
        "[Global]\nZone=a\n[ServiceOverride \"1\"]\nService=EC2\n[Global]\nRegional\n[ServiceOverride \"1\"]\nRegion=r\n",
    );
    assert_eq!((config.global.zone.as_str(), config.global.regional), ("a", true));
    assert_eq!(config.service_override["1"], Override { service: "EC2".into(), region: "r".into() });
}

#[test]
fn section_header_alone_makes_the_section() {
    let config = read("[LoadBalancer]\n[ServiceOverride]\n");
    assert_eq!(config.load_balancer, Some(LoadBalancer::default()));
    assert_eq!(config.service_override[""], Override::default());
}

#[test]
fn values_are_trimmed_unquoted_and_stop_at_comments() {
    for (text, value) in [
        ("=a", "a"),
        (" \t= \t a b \t", "a b"),
        ("=", ""),
        ("=\"\"", ""),
        ("= a ; comment", "a"),
        ("= a# comment", "a"),
        ("= \" a # b ; c \" # comment", " a # b ; c "),
        ("= a\" b \"c", "a b c"),
        (r#"= "a\\b\"c\nd\te""#, "a\\b\"c\nd\te"),
        ("= a\\\"b", "a\"b"),
        ("= a \\\n  b", "a   b"),
        ("= a\\\r\nb\r", "ab"),
        ("= url:http://h:1/?a=b", "url:http://h:1/?a=b"),
        ("= 'single'", "'single'"),
        ("= [a]", "[a]"),
        ("= ümlaut", "ümlaut"),
    ] {
        assert_eq!(zone(text), value, "{text:?}");
    }
}

#[test]
fn booleans_have_eight_spellings_and_none() {
    for (text, value) in [
        ("", true),
        (" ; comment", true),
        ("=true", true),
        ("=Yes", true),
        ("=ON", true),
        ("=1", true),
        ("=false", false),
        ("=no", false),
        ("=Off", false),
        ("=\"0\"", false),
    ] {
        let global = read(&format!("[Global]\nRegional{text}\nMultizone{text}")).global;
        assert_eq!((global.regional, global.multizone), (value, Some(value)), "{text:?}");
    }
}

#[test]
fn numbers_durations_and_variants_are_read() {
    let global = read("[Global]\nPort=-0x10\nWeight=010\nRatio=1.5\nTimeout=1m30s\nMode=Own\n").global;
    assert_eq!((global.port, global.weight, global.ratio), (Some(-16), 10, 1.5));
    assert_eq!(global.timeout, GoDuration::from_secs(90));
    assert_eq!(global.mode, Mode::Own);
}

#[test]
fn scalars_take_the_last_value_and_lists_all() {
    let config = read("[Global]\nZone=a\nzone=b\nnode-tags=x\nNODE-TAGS=y,z\n");
    assert_eq!((&*config.global.zone, config.global.node_tags), ("b", vec!["x".to_owned(), "y,z".to_owned()]));
}

#[test]
fn key_without_value_empties_a_list() {
    assert_eq!(read("[Global]\nnode-tags=x\nnode-tags\nnode-tags=y\n").global.node_tags, ["y"]);
}

#[test]
fn unknown_names_are_warnings_in_order() {
    let text = "[BlockStorage]\nbs-version=v2\n[Global \"x\"]\nZone=b\n[Global]\nOld=secret\nZone=a\n\
                [ServiceOverride \"1\"]\nOther\n";
    let (config, warnings) = from_str::<Config>(text).unwrap();
    assert_eq!(config.global.zone, "a");
    let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "line 1, section \"BlockStorage\": not known, ignored",
            "line 3, section \"Global\", subsection \"x\": not known, ignored",
            "line 6, section \"Global\", key \"Old\": not known, ignored",
            "line 9, section \"ServiceOverride\", subsection \"1\", key \"Other\": not known, ignored",
        ]
    );
}

#[test]
fn syntax_errors_name_the_line() {
    for (text, message) in [
        ("Zone=a", "line 1: expected section header"),
        ("\u{feff}[Global]", "line 1: expected section header"),
        ("[]", "line 1: expected section name"),
        ("[1a]", "line 1: expected section name"),
        ("[Global", "line 1: expected subsection name or right bracket"),
        ("[my_section]", "line 1: expected subsection name or right bracket"),
        ("[Global \"\"]", "line 1: empty subsection name"),
        ("[Global \"a]\n", "line 1: string not terminated"),
        ("[Global \"a\\n\"]", "line 1: unknown escape sequence"),
        ("[Global \"a\" b]", "line 1: expected right bracket"),
        ("[Global] Zone=a", "line 1: expected end of line or comment after section header"),
        ("[Global]\n\nroute_table=a", "line 3: expected '=' after \"route\""),
        ("[Global]\n=a", "line 2: illegal character '=', expected section header or key"),
        ("[Global]\nZone=a\\b", "line 2: unquoted '\\' must be followed by a new line or a double quote"),
        ("[Global]\nZone=\"a\\x\"", "line 2: unknown escape sequence"),
        ("[Global]\nZone=\"a\n\"", "line 2: string not terminated"),
        ("[Global]\nZone=\"a", "line 2: string not terminated"),
        ("[Global]\n# \0", "line 2: illegal character NUL"),
        ("[Unknown]\nkey \"a\"", "line 2: expected '=' after \"key\""),
    ] {
        assert_eq!(error(text), message, "{text:?}");
    }
}

#[test]
fn type_errors_name_line_section_and_key() {
    for (text, message) in [
        (
            "[Global]\nRegional=maybe\nRegional=true",
            r#"line 2, section "Global", key "Regional": "maybe" is not a boolean (true, yes, on, 1, false, no, off, 0)"#,
        ),
        ("[global]\nzone", r#"line 2, section "global", key "zone": needs a value"#),
        (
            "[Global]\nPort=a",
            r#"line 2, section "Global", key "Port": "a" is not a number: invalid digit found in string"#,
        ),
        (
            "[Global]\nWeight=256",
            r#"line 2, section "Global", key "Weight": invalid value: integer `256`, expected u8"#,
        ),
        ("[Global]\n\n\nTimeout=5", r#"line 4, section "Global", key "Timeout": time: missing unit in duration "5""#),
        (
            "[Global]\nMode=other",
            r#"line 2, section "Global", key "Mode": unknown variant `other`, expected `Shared` or `Own`"#,
        ),
    ] {
        assert_eq!(error(text), message, "{text:?}");
    }
}

#[test]
fn a_value_that_may_be_a_secret_is_not_told() {
    #[derive(Debug, Default, Deserialize)]
    #[serde(rename_all = "kebab-case", default)]
    struct Login {
        client_secret: u16,
        api_token: Vec<bool>,
        access_key: Time,
        port: u16,
    }
    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct File {
        login: BTreeMap<String, Login>,
    }
    #[derive(Debug, Default, Deserialize)]
    #[expect(dead_code, reason = "only read from text")]
    struct Time(GoDuration);
    let told = |line: &str| from_str::<File>(&format!("[login \"a\"]\n{line}\n")).unwrap_err().to_string();
    for line in ["client-secret = hunter2", "client-secret = 70000", "api-token = hunter2", "access-key = 5"] {
        let (key, value) = line.split_once(" = ").unwrap();
        let error = told(line);
        assert!(error.starts_with(&format!("line 2, section \"login\", subsection \"a\", key \"{key}\": ")), "{error}");
        assert!(error.ends_with("it may be a secret and is not shown"), "{error}");
        assert!(key == "access-key" || !error.contains(value), "{error}");
    }
    assert!(told("port = hunter2").contains("\"hunter2\" is not a number"));
}

#[test]
fn missing_required_key_names_the_section() {
    #[derive(Debug, Deserialize)]
    struct Strict {
        #[serde(rename = "Global")]
        _global: Required,
    }
    #[derive(Debug, Deserialize)]
    struct Required {
        #[serde(rename = "api-url")]
        _api_url: String,
    }
    let error = from_str::<Strict>("\n[Global]\n").unwrap_err();
    assert_eq!(error.to_string(), r#"line 2, section "Global": missing field `api-url`"#);
    assert_eq!((error.line(), error.section(), error.key()), (Some(2), Some("Global"), None));
    assert_eq!(from_str::<Strict>("").unwrap_err().to_string(), "missing field `Global`");
}

#[test]
fn maps_take_any_name() {
    type Any = BTreeMap<String, BTreeMap<String, BTreeMap<String, String>>>;
    let (any, _) = from_str::<Any>("[A \"S\"]\nKey=1\nkey=2\n").unwrap();
    assert_eq!(any["a"]["S"]["key"], "2");
}

#[test]
fn debug_form_has_no_values() {
    let document = Document::parse("[Global]\npassword=hunter2\n").unwrap();
    assert!(!format!("{document:?}").contains("hunter2"));
}

fn without_lines(mut document: Document) -> Document {
    for section in &mut document.sections {
        section.line = 0;
        section.entries.iter_mut().for_each(|entry| entry.line = 0);
    }
    document
}

fn documents() -> impl Strategy<Value = Document> {
    let name = "[A-Za-zé][A-Za-z0-9é-]{0,8}";
    let entry = (name, proptest::option::of("[^\0\r]{0,12}")).prop_map(|(key, value)| Entry { key, value, line: 0 });
    let section = (name, proptest::option::of("[^\0\n]{1,8}"), proptest::collection::vec(entry, 0..5))
        .prop_map(|(name, subsection, entries)| Section { name, subsection, entries, line: 0 });
    proptest::collection::vec(section, 0..4).prop_map(|sections| Document { sections })
}

proptest! {
    #[test]
    fn every_printed_document_reads_back(document in documents()) {
        let read = Document::parse(&document.to_string()).map(without_lines);
        prop_assert_eq!(read, Ok(document));
    }

    #[test]
    fn no_text_makes_it_panic(text in r#"([ -~\n\r\t]|[\[\]"\\=#;\n]|\[Global\]\n|Zone=|node-tags|Port=0x|é){0,60}"#) {
        let _ = from_str::<Config>(&text);
    }

    #[test]
    fn any_text_makes_no_panic(text: String) {
        let _ = from_str::<Config>(&format!("[Global]\n{text}"));
    }
}
