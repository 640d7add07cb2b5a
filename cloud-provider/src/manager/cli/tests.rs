use clap::Args;
use proptest::prelude::*;

use super::*;
use crate::{
    config::duration::GoDuration,
    manager::{
        names::Controller,
        options::values::{Pairs, flatten},
    },
};

/// Flags of a provider, as the AWS crate has them.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Tagging controller flags")]
struct Tagging {
    /// Tags to keep on instances
    #[arg(long)]
    tags: Vec<Pairs>,
    /// Resources to tag
    #[arg(long)]
    resources: Vec<String>,
    /// Items a second
    #[arg(long, default_value_t = 0.0)]
    tagging_controller_rate_limit: f64,
    /// Tag in batches
    #[arg(long)]
    tagging_controller_enable_batching: bool,
    /// Password of the API
    #[arg(long, default_value = "")]
    api_password: String,
}

const TAGGING: Controller = Controller {
    name: "tagging-controller",
    aliases: &["tagging"],
    client: "tagging-controller",
    metric: "tagging",
    event_source: "tagging-controller",
    on_by_default: false,
};

fn program() -> Program {
    let mut registry = Registry::default();
    registry.register(TAGGING).unwrap();
    Program::new("test-cloud-controller-manager", "1.2.3").with_registry(registry)
}

fn try_parse(args: &[&str]) -> Result<Parsed<Tagging>, Exit> {
    program().parse(std::iter::once("program").chain(args.iter().copied()).map(OsString::from))
}

fn parse(args: &[&str]) -> Parsed<Tagging> {
    try_parse(args).unwrap_or_else(|exit| panic!("{args:?}: {exit:?}"))
}

fn error(args: &[&str]) -> String {
    match try_parse(args) {
        Err(Exit::Usage { message, code: 1, .. }) => message,
        other => panic!("{args:?}: {other:?}"),
    }
}

#[test]
fn definitions_are_consistent() {
    program().command::<Tagging>().debug_assert();
}

#[test]
fn underscores_and_dashes_are_the_same() {
    let options = parse(&["--cloud_provider=aws", "--kube-api_qps", "50", "--leader_elect=false"]).options;
    assert_eq!(options.generic.cloud_provider, "aws");
    assert_eq!(options.generic.kube_api_qps, Some(50.0));
    assert!(!options.leader_election.leader_elect);
}

#[test]
fn booleans_take_a_value_only_behind_the_equals_sign() {
    for (args, value) in [
        (&[][..], true),
        (&["--leader-elect"], true),
        (&["--leader-elect=true"], true),
        (&["--leader-elect=1"], true),
        (&["--leader-elect=T"], true),
        (&["--leader-elect=false"], false),
        (&["--leader-elect=0"], false),
        (&["--leader-elect=f"], false),
        (&["--leader-elect=false", "--leader-elect"], true),
    ] {
        assert_eq!(parse(args).options.leader_election.leader_elect, value, "{args:?}");
    }
    assert_eq!(
        error(&["--leader-elect=no"]),
        r#"invalid argument "no" for "--leader-elect" flag: parsing "no": invalid syntax"#
    );
    assert_eq!(
        error(&["--leader-elect", "false"]),
        r#""test-cloud-controller-manager" does not take any arguments, got ["false"]"#
    );
}

#[test]
fn other_flags_take_the_next_argument_whatever_it_is() {
    let options =
        parse(&["--controllers", "-service", "--cloud-config", "--cluster-name", "--node-monitor-period", "-1s"])
            .options;
    assert_eq!(flatten(&options.generic.controllers), ["-service"]);
    assert_eq!(options.generic.cloud_config, "--cluster-name");
    assert_eq!(options.node_lifecycle.node_monitor_period, GoDuration::from_nanos(-1_000_000_000));
}

#[test]
fn last_use_wins() {
    let options = parse(&["--cluster-name=a", "--secure-port=1", "--cluster-name", "b", "--secure-port", "2"]).options;
    assert_eq!((options.generic.cluster_name.as_str(), options.secure_serving.secure_port), ("b", 2));
}

#[test]
fn lists_gather_and_replace_their_default() {
    for (args, items) in [
        (&[][..], &["*"][..]),
        (&["--controllers=*,-route"], &["*", "-route"]),
        (&["--controllers=*", "--controllers", "-route,-service"], &["*", "-route", "-service"]),
        (&["--controllers="], &[]),
    ] {
        assert_eq!(flatten(&parse(args).options.generic.controllers), items, "{args:?}");
    }
    let provider = parse(&["--tags=a=1,b=2", "--tags", "c=3", "--resources=instance,x", "--resources=y"]).provider;
    let tags: Vec<_> = flatten(&provider.tags).into_iter().map(|(key, value)| key + &value).collect();
    assert_eq!(tags, ["a1", "b2", "c3"]);
    assert_eq!(provider.resources, ["instance,x", "y"]);
}

#[test]
fn verbosity_has_a_short_name() {
    for args in [&["-v", "2"][..], &["-v=2"], &["-v2"], &["--v=2"], &["--v", "2"], &["-v=5", "-v2"]] {
        assert_eq!(parse(args).options.global.v, 2, "{args:?}");
    }
    assert_eq!(error(&["-v"]), "flag needs an argument: 'v' in -v");
    assert_eq!(error(&["-x"]), "unknown shorthand flag: 'x' in -x");
    assert!(error(&["-v=x"]).starts_with(r#"invalid argument "x" for "-v, --v" flag: "#));
}

#[test]
fn wrong_values_are_named() {
    assert_eq!(
        error(&["--min-resync-period=5"]),
        r#"invalid argument "5" for "--min-resync-period" flag: time: missing unit in duration "5""#
    );
    assert_eq!(
        error(&["--bind-address=x"]),
        r#"invalid argument "x" for "--bind-address" flag: failed to parse IP: "x""#
    );
    assert!(parse(&["--bind-address="]).options.secure_serving.bind_address.is_unspecified());
    assert_eq!(
        error(&["--feature-gates=A"]),
        r#"invalid argument "A" for "--feature-gates" flag: missing bool value for A"#
    );
    assert_eq!(error(&["--secure-port"]), "flag needs an argument: --secure-port");
    assert_eq!(error(&["---secure-port"]), "bad flag syntax: ---secure-port");
    // An earlier value that the last one overrides must be right too.
    assert!(error(&["--secure-port=x", "--secure-port=1"]).contains("--secure-port"));
}

#[test]
fn unknown_flags_are_refused_with_a_suggestion() {
    assert_eq!(error(&["--cloud-provder=aws"]), "unknown flag: --cloud-provder; did you mean --cloud-provider?");
    assert_eq!(error(&["--zzz"]), "unknown flag: --zzz");
}

#[test]
fn arguments_are_refused_but_for_empty_ones() {
    assert_eq!(
        error(&["a", "--v=1", "", "--", "--b"]),
        r#""test-cloud-controller-manager" does not take any arguments, got ["a" "" "--b"]"#
    );
    assert!(parse(&["", "--v=1"]).options.global.v == 1);
}

#[test]
fn removed_flags_are_accepted_with_a_warning() {
    let parsed = parse(&["--port=0", "--logtostderr", "--stderrthreshold", "2", "--alsologtostderr=true", "--v=3"]);
    assert_eq!(parsed.options.global.v, 3);
    assert_eq!(
        parsed.warnings[0],
        "Flag --port has been removed and has no effect: there is no insecure port; use --secure-port"
    );
    assert_eq!(parsed.warnings.len(), 4);
}

#[test]
fn deprecated_flags_are_accepted_with_upstreams_notice() {
    let parsed = parse(&["--node-sync-period=10s", "--node_sync_period=20s", "--allow-untagged-cloud"]);
    assert!(parsed.options.generic.allow_untagged_cloud);
    assert_eq!(
        parsed.warnings,
        [
            "Flag --node-sync-period has been deprecated, This flag is currently no-op and will be deleted.",
            "Flag --allow-untagged-cloud has been deprecated, This flag is deprecated and will be removed in a future \
             release. A cluster-id will be required on cloud instances."
        ]
    );
}

#[test]
fn flags_without_effect_warn_only_when_they_change_something() {
    let args = [
        "--configure-cloud-routes=false",
        "--allocate-node-cidrs=false",
        "--webhooks=",
        "--contention-profiling=false",
    ];
    assert_eq!(parse(&args).warnings, [] as [&str; 0]);
    assert_eq!(
        parse(&["--kube-api-content-type=x"]).warnings,
        ["Flag --kube-api-content-type=x is not in effect: requests to the API server are always JSON"]
    );
    let gates =
        "--feature-gates=CloudControllerManagerWatchBasedRoutesReconciliation=1,CloudControllerManagerWebhook=1";
    assert_eq!(parse(&[gates]).warnings, [] as [&str; 0], "gates do what they say");
}

#[test]
fn help_and_version_end_the_program() {
    for args in [&["--help"][..], &["-h"], &["--help", "--version"], &["a", "--help"]] {
        let Err(Exit::Output(help)) = try_parse(args) else { panic!("{args:?}") };
        assert!(help.contains("Tagging controller flags:"));
    }
    assert!(error(&["--help", "--unknown-flag"]).starts_with("unknown flag: --unknown-flag"));
    assert!(try_parse(&["--help=false"]).is_ok());
    for args in [&["--version"][..], &["--version=true"], &["--version=1"]] {
        assert_eq!(try_parse(args).unwrap_err(), Exit::Output("Kubernetes v1.2.3\n".into()));
    }
    let Err(Exit::Output(raw)) = try_parse(&["--version=raw"]) else { panic!() };
    assert!(raw.starts_with(r#"version.Info{Major:"1", Minor:"2", GitVersion:"v1.2.3", "#), "{raw}");
    assert_eq!(parse(&["--version=v1.2.3-x"]).version, "v1.2.3-x");
    assert_eq!(parse(&["--version=false"]).version, "v1.2.3");
    assert!(try_parse(&["--version=x"]).is_err());
}

#[test]
fn provider_mains_change_defaults() {
    let program = program().with_default("webhook-secure-port", "10270").with_usage_error_code(255);
    let parsed: Parsed<Tagging> = program.parse(["p".into()]).unwrap();
    assert_eq!(parsed.options.webhook_serving.webhook_secure_port, 10270);
    let exit = program.parse::<Tagging>(["p".into(), "--nope".into()]).unwrap_err();
    assert!(matches!(exit, Exit::Usage { code: 255, .. }));
}

#[test]
fn flags_are_listed_with_values_and_without_secrets() {
    let parsed = parse(&[
        "--min-resync-period=90s",
        "--leader-elect=0",
        "--controllers=*,-route",
        "--master=https://me:hunter2@host",
        "--api-password=hunter2",
        "--use-service-account-credentials",
    ]);
    let value = |name: &str| {
        let flag = parsed.flags.iter().find(|flag| flag.name == name).unwrap();
        (flag.value.clone(), flag.set)
    };
    assert_eq!(value("min-resync-period"), ("1m30s".into(), true));
    assert_eq!(value("leader-elect"), ("false".into(), true));
    assert_eq!(value("controllers"), ("[*,-route]".into(), true));
    assert_eq!(value("node-monitor-period"), ("5s".into(), false));
    assert_eq!(value("authorization-always-allow-paths"), ("[/healthz,/readyz,/livez]".into(), false));
    assert_eq!(value("kube-api-qps"), (String::new(), false));
    assert_eq!(value("master"), ("https://me:xxxxx@host".into(), true));
    assert_eq!(value("api-password"), (logging::REDACTED.into(), true));
    assert_eq!(value("use-service-account-credentials"), ("true".into(), true), "a switch is no secret");
    assert!(parsed.flags.is_sorted_by(|a, b| a.name < b.name));
}

/// Upstream's table of flags: name, type, default, section; hidden ones marked.
#[test]
fn section_3_1_table_of_flags() {
    let command = program().command::<Tagging>();
    let mut table = String::new();
    for arg in command.get_arguments() {
        let default: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        let kind = arg.get_value_names().map(|names| names[0].to_string()).unwrap_or_default();
        table.push_str(&format!(
            "{}--{} | {kind} | {} | {}{}\n",
            arg.get_short().map(|short| format!("-{short}, ")).unwrap_or_default(),
            arg.get_long().unwrap_or_default(),
            pflag::print(arg, &default),
            arg.get_help_heading().unwrap_or_default(),
            if arg.is_hide_set() { " | hidden" } else { "" },
        ));
    }
    insta::assert_snapshot!("flags", table);
}

#[test]
fn help_is_grouped_by_section_in_upstreams_order() {
    let mut command = program().command::<Tagging>().term_width(100);
    insta::assert_snapshot!("help", command.render_help().to_string());
}

proptest! {
    #[test]
    fn no_command_line_makes_it_panic(
        args in proptest::collection::vec(
            r#"(--?(controllers|leader[-_]elect|v|feature-gates|tags|version|help|port|min-resync-period|h|x)?)?=?[ -~]{0,6}"#,
            0..5,
        )
    ) {
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        if let Ok(parsed) = try_parse(&args) {
            _ = parsed.options.validate(&program());
        }
    }

    #[test]
    fn every_flag_takes_any_value_or_says_that_it_does_not(
        which in any::<prop::sample::Index>(), value in "[ -~äß]{0,12}", apart in any::<bool>(), underscores in any::<bool>(),
    ) {
        let command = program().command::<Tagging>();
        let names: Vec<_> = command.get_arguments().filter_map(|arg| arg.get_long()).collect();
        let name = *which.get(&names);
        let given = if underscores { name.replace('-', "_") } else { name.to_owned() };
        let args = if apart { vec![format!("--{given}"), value] } else { vec![format!("--{given}={value}")] };
        match try_parse(&args.iter().map(String::as_str).collect::<Vec<_>>()) {
            Ok(parsed) => {
                prop_assert!(parsed.flags.iter().any(|flag| flag.name == name && flag.set));
                _ = parsed.options.validate(&program());
            }
            Err(Exit::Usage { message, .. }) => {
                // A boolean leaves the next argument alone, which then means something else.
                prop_assert!(message.contains(name) || apart, "{}", message);
            }
            Err(Exit::Output(_)) => prop_assert!(["help", "version"].contains(&name)),
        }
    }

    #[test]
    fn both_ways_to_give_a_value_are_the_same(value in "[ -~]{0,12}") {
        let joined = parse(&[&format!("--cluster-name={value}")]).options.generic.cluster_name;
        let apart = parse(&["--cluster-name", &value]).options.generic.cluster_name;
        prop_assert_eq!((&joined, &apart), (&value, &value));
    }
}

#[test]
fn a_word_in_front_of_the_flags_chooses_the_task() {
    assert_eq!(parse(&["--cloud-provider=x"]).task, Task::Run);
    assert_eq!(parse(&["plan", "--cloud-provider=x"]).task, Task::Plan { output: Output::Table, watch: None });
    let watch = Some(std::time::Duration::from_secs(60));
    assert_eq!(
        parse(&["plan", "--output", "json", "--watch", "--v=2"]).task,
        Task::Plan { output: Output::Json, watch }
    );
    assert_eq!(parse(&["audit", "--output=json"]).task, Task::Audit { output: Output::Json });
    let help = match try_parse(&["plan", "--help"]) {
        Err(Exit::Output(help)) => help,
        other => panic!("{other:?}"),
    };
    assert!(help.contains("plan [flags]") && help.contains("--watch") && help.contains("--cloud-provider"), "{help}");
}

#[test]
fn a_usage_error_of_a_plan_is_exit_1_also_where_the_program_says_255() {
    let exit = |args: &[&str]| {
        let program = program().with_usage_error_code(255);
        match program.parse::<Tagging>(std::iter::once("program").chain(args.iter().copied()).map(OsString::from)) {
            Err(Exit::Usage { message, code, .. }) => (message, code),
            other => panic!("{args:?}: {other:?}"),
        }
    };
    assert_eq!(exit(&["--output=json"]), ("unknown flag: --output".into(), 255));
    assert_eq!(exit(&["audit", "--watch"]).1, 1);
    assert_eq!(exit(&["plan", "--nonsense"]), ("unknown flag: --nonsense".into(), 1));
    let text = r#"invalid argument "xml" for "--output" flag: must be table or json"#;
    assert_eq!(exit(&["plan", "--output=xml"]), (text.into(), 1));
    assert_eq!(exit(&["--v=2", "plan"]), (r#""plan" goes in front of the flags"#.into(), 1));
    assert_eq!(exit(&["plan", "--interval=0s"]).1, 1);
    assert_eq!(exit(&["nonsense"]).1, 255);
}
