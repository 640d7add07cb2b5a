use std::fs;

use proptest::prelude::*;

use super::*;
use crate::client::{Domain, Interface, Method, Named, Project, Scope, Service, User};

fn nowhere() -> Surroundings {
    Surroundings::new(BTreeMap::new(), Vec::new())
}

fn settings(text: &str) -> Settings {
    parse(Some(text), &nowhere()).unwrap().0
}

fn problems(text: &str) -> Vec<String> {
    parse(Some(text), &nowhere()).unwrap_err().problems
}

const LOGIN: &str = "[Global]\nauth-url = http://auth.url/v3\nuser-id = user\npassword = mypass\ntenant-id = t\n";

fn with_login(text: &str) -> Settings {
    settings(&format!("{LOGIN}{text}"))
}

#[test]
fn section_12_1_no_config_is_an_error() {
    assert!(parse(None, &nowhere()).unwrap_err().problems[0].contains("--cloud-config is needed"));
}

#[test]
fn section_12_1_all_values_as_given() {
    let settings = settings(
        "[Global]\nauth-url = http://auth.url\nuser-id = user\npassword = mypass\ntenant-name = demo\n\
         tenant-domain-name = Default\nregion = RegionOne\n[LoadBalancer]\ncreate-monitor = yes\nmonitor-delay = 1m\n\
         monitor-timeout = 30s\nmonitor-max-retries = 1\nmonitor-max-retries-down = 3\n\
         [Metadata]\nsearch-order = configDrive, metadataService\n",
    );
    assert_eq!(settings.client.auth_url.as_str(), "http://auth.url/");
    assert_eq!(settings.client.region, "RegionOne");
    assert_eq!(settings.client.method, Method::Password { user: User::Id("user".into()), password: "mypass".into() });
    let domain = Domain(Named::Name("Default".into()));
    assert_eq!(settings.client.scope, Scope::Project(Project::Name("demo".into(), domain)));
    let lb = settings.load_balancer;
    assert_eq!((lb.create_monitor, lb.monitor_delay.as_secs(), lb.monitor_timeout.as_secs()), (true, 60, 30));
    assert_eq!((lb.monitor_max_retries, lb.monitor_max_retries_down), (1, 3));
}

#[test]
fn an_empty_section_means_the_defaults() {
    let settings = with_login("");
    assert_eq!(settings.client.interface, Interface::Public);
    assert_eq!(settings.client.time_limit, Duration::from_secs(60));
    assert!(settings.router.is_none() && !settings.client.insecure && settings.client.rate.is_none());
    let lb = settings.load_balancer;
    assert!(lb.enabled && lb.cascade_delete && !lb.internal_lb && !lb.create_monitor);
    assert_eq!((lb.lb_method.as_str(), lb.lb_provider.as_str()), ("ROUND_ROBIN", "amphora"));
    assert_eq!((lb.monitor_delay.as_secs(), lb.monitor_timeout.as_secs(), lb.max_shared_lb), (5, 3, 2));
    assert_eq!((lb.container_store, lb.ingress_hostname_suffix.as_str()), (ContainerStore::Barbican, "nip.io"));
    assert_eq!(with_login("[Metadata]\nrequest-timeout = 0").client.time_limit, Duration::from_secs(60));
    assert_eq!(with_login("[Metadata]\nrequest-timeout = 1m30s").client.time_limit, Duration::from_secs(90));
}

#[test]
fn section_2_1_what_the_parser_refuses() {
    for text in [
        "[Metadata]\nrequest-timeout = 5",
        "[LoadBalancer]\ncreate-monitor =",
        "[LoadBalancer]\nsubnet-id",
        "[LoadBalancer]\nmonitor-max-retries = -1",
        "[Global]\nos-endpoint-type =",
        "[Global]\nos-endpoint-type = \"public internal\"",
        "[LoadBalancerClass \"\"]",
        "[Unknown]\nsome_key = 1",
    ] {
        assert_eq!(problems(&format!("{LOGIN}{text}")).len(), 1, "{text}");
    }
}

#[test]
fn section_2_1_unknown_sections_and_keys_are_warnings_and_the_csi_drivers_are_not() {
    let text = format!(
        "{LOGIN}[Router]\na = b\n[LoadBalancer]\nuse-octavia = true\n[BlockStorage]\nbs-version = v3\nignore-volume-az = maybe\n"
    );
    let (_, warnings) = parse(Some(&text), &nowhere()).unwrap();
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    let both = parse(Some("[Global]\nauthurl = http://h/v3\n"), &nowhere()).unwrap_err();
    assert!(!both.problems.is_empty() && both.warnings.len() == 1, "{both}");
    assert!(both.to_string().contains("authurl"), "a key that is spelt wrong is told with what is missing: {both}");
}

#[test]
fn all_problems_are_told_together_with_field_value_and_fix() {
    let found = problems(
        "[Global]\nauth-url = ftp://h\nos-endpoint-type = internalURL\ncompute-endpoint = x\nrequests-per-second = -1\n\
         [LoadBalancer]\nlb-version = v1\nmonitor-delay = -1s\nrepair-load-balancers = always\n\
         [Metadata]\nsearch-order = a\nrequest-timeout = -1s\n",
    );
    for part in [
        "auth-url: the scheme is \"ftp\"",
        "os-endpoint-type \"internalURL\": one of public, internal, admin",
        "compute-endpoint is not a URL",
        "requests-per-second -1",
        "lb-version \"v1\"",
        "monitor-delay -1s",
        "repair-load-balancers \"always\"",
        "search-order \"a\"",
        "request-timeout -1s",
        "there are no credentials",
    ] {
        assert_eq!(found.iter().filter(|problem| problem.contains(part)).count(), 1, "{part}: {found:#?}");
    }
    assert_eq!(found.len(), 10, "{found:#?}");
    assert!(problems("[Global]\nauth-url = http://h/identity/v2.0/\n")[0].contains("end it in /v3"));
}

#[test]
fn incomplete_credentials_hide_no_other_problem() {
    let rest = "os-endpoint-type = internalURL\ncompute-endpoint = x\nrequests-per-second = -1\n\
                [LoadBalancer]\nlb-version = v1\n";
    for (credentials, parts) in [
        // Both halves of them: the project, and the user.
        (
            "auth-url = http://h\ntenant-name = t\nusername = u\npassword = p\n",
            &["tenant-name needs", "username \"u\" needs"][..],
        ),
        // The entry may hold the URL and the credentials: they are not called missing.
        ("use-clouds = true\nclouds-file = /nowhere/clouds.yaml\n", &["/nowhere/clouds.yaml"]),
    ] {
        let found = problems(&format!("[Global]\n{credentials}{rest}"));
        let rest = ["os-endpoint-type", "compute-endpoint", "requests-per-second", "lb-version"];
        for part in parts.iter().chain(&rest) {
            assert_eq!(found.iter().filter(|problem| problem.contains(part)).count(), 1, "{part}: {found:#?}");
        }
        assert_eq!(found.len(), parts.len() + rest.len(), "{found:#?}");
    }
}

fn login(keys: &str) -> Result<(Method, Scope), String> {
    let text = format!("[Global]\nauth-url = http://h/v3\n{keys}");
    let parsed = parse(Some(&text), &nowhere()).map_err(|problems| problems.to_string())?;
    Ok((parsed.0.client.method, parsed.0.client.scope))
}

#[test]
fn section_2_3_domains_of_user_and_project() {
    let name = |name: &str| Domain(Named::Name(name.into()));
    let id = |id: &str| Domain(Named::Id(id.into()));
    let by_name = |user: &str, domain| Method::Password { user: User::Name(user.into(), domain), password: "p".into() };
    let user = "username = u\npassword = p\n";
    for (keys, method, scope) in [
        (
            "tenant-name = demo\ndomain-name = local",
            by_name("u", name("local")),
            Scope::Project(Project::Name("demo".into(), name("local"))),
        ),
        (
            "tenant-name = demo\ntenant-domain-name = Default\nuser-domain-id = D",
            by_name("u", id("D")),
            Scope::Project(Project::Name("demo".into(), name("Default"))),
        ),
        // An inherited ID beats an explicit name.
        (
            "tenant-name = demo\ntenant-domain-name = Default\ndomain-id = D",
            by_name("u", id("D")),
            Scope::Project(Project::Name("demo".into(), id("D"))),
        ),
        ("tenant-id = T\ndomain-id = D", by_name("u", id("D")), Scope::Project(Project::Id("T".into()))),
        // Without a project a domain is the scope, and not the user's.
        ("domain-name = local\nuser-domain-name = mine", by_name("u", name("mine")), Scope::Domain(name("local"))),
        (
            "domain-id = D\ndomain-name = local\nuser-domain-name = mine",
            by_name("u", name("mine")),
            Scope::Domain(id("D")),
        ),
        ("trust-id = T\nuser-domain-id = D", by_name("u", id("D")), Scope::Trust("T".into())),
        ("application-credential-id = A\ndomain-id = D\ntenant-id = T", by_name("u", id("D")), Scope::Unscoped),
    ] {
        assert_eq!(login(&format!("{user}{keys}")), Ok((method, scope)), "{keys}");
    }
    let trustee = login("user-id = u\npassword = p\ntrust-id = T\ntrustee-id = v\ntrustee-password = q");
    let method = Method::Password { user: User::Id("v".into()), password: "q".into() };
    assert_eq!(trustee, Ok((method, Scope::Trust("T".into()))));
}

#[test]
fn section_2_3_tokens_and_application_credentials() {
    let token = login("token = t\nusername = u\npassword = p\ntenant-id = T");
    assert_eq!(token, Ok((Method::Token("t".into()), Scope::Project(Project::Id("T".into())))));
    let by_id = login("application-credential-id = A\napplication-credential-secret = s");
    assert_eq!(by_id, Ok((Method::ApplicationCredential { id: "A".into(), secret: "s".into() }, Scope::Unscoped)));
    let by_name = login("application-credential-name = A\napplication-credential-secret = s\nuser-id = u");
    let user = User::Id("u".into());
    let method = Method::NamedApplicationCredential { name: "A".into(), user, secret: "s".into() };
    assert_eq!(by_name, Ok((method, Scope::Unscoped)));
}

#[test]
fn section_2_3_what_the_client_library_refuses() {
    for (keys, part) in [
        ("username = u\nuser-id = i\npassword = p\ntenant-id = T", "user-id and username are both set"),
        ("user-id = i\npassword = p\ntenant-id = T\ndomain-id = D", "user-id needs no domain"),
        ("username = u\npassword = p\ntenant-id = T", "username \"u\" needs user-domain-id"),
        ("username = u\npassword = p\ntenant-id = T\ndomain-id = D\nuser-domain-name = n", "by ID and by name"),
        ("user-id = u\npassword = p\ntenant-name = demo", "tenant-name needs tenant-domain-id"),
        ("token = t", "token needs tenant-id"),
        ("token = t\ntenant-id = T\napplication-credential-id = A", "token and application-credential"),
        ("token = t\ntrust-id = T", "token and trust-id"),
        ("trust-id = T\nuser-id = u", "trust-id needs trustee-password"),
        ("application-credential-id = A", "application-credential-secret is missing"),
        ("application-credential-secret = s", "application-credential-id or application-credential-name is missing"),
        ("application-credential-name = A\napplication-credential-secret = s", "user-id or username is missing"),
        ("tenant-id = T", "there are no credentials"),
    ] {
        let problem = login(keys).unwrap_err();
        assert!(problem.contains(part), "{keys}: {problem}");
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        Self(folder)
    }

    fn surroundings(&self, variables: &[(&str, &str)]) -> Surroundings {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Surroundings::new(variables, vec![self.0.path().to_owned()])
    }

    fn parse(&self, text: &str, variables: &[(&str, &str)]) -> Result<Settings, Problems> {
        parse(Some(text), &self.surroundings(variables)).map(|(settings, _)| settings)
    }
}

const CLOUDS: &str = "clouds:\n  default:\n    auth:\n      domain_name: default\n      auth_url: http://not-auth.url\n      \
                      project_name: demo\n      username: admin\n      password: 1234\n    region_name: RegionOne\n    interface: internal\n    verify: false\n";

#[test]
fn section_12_1_cloud_conf_comes_before_clouds_yaml() {
    let folder = Folder::new(&[("my.yaml", CLOUDS)]);
    let file = folder.0.path().join("my.yaml");
    let text = format!(
        "[Global]\nauth-url = http://auth.url\ntrust-id = mytrust\npassword = mypass\nuser-domain-name = d\nuse-clouds = true\nclouds-file = {}\n[LoadBalancer]\ncreate-monitor = yes\n",
        file.display()
    );
    let settings = folder.parse(&text, &[]).unwrap();
    assert_eq!(settings.client.auth_url.as_str(), "http://auth.url/");
    assert_eq!((settings.client.region.as_str(), settings.client.interface), ("RegionOne", Interface::Internal));
    let user = User::Name("admin".into(), Domain(Named::Name("d".into())));
    assert_eq!(settings.client.method, Method::Password { user, password: "mypass".into() });
    assert_eq!(settings.client.scope, Scope::Trust("mytrust".into()));
    assert!(settings.load_balancer.create_monitor && settings.client.insecure);
}

#[test]
fn section_2_3_an_entry_that_is_named_brings_all_of_who_we_are() {
    let folder = Folder::new(&[("clouds.yaml", CLOUDS)]);
    let user = |settings: &Settings| match &settings.client.method {
        Method::Password { user: User::Name(name, _), password } => format!("{name} {password}"),
        other => format!("{other:?}"),
    };
    let own = "[Global]\nauth-url = http://own\nusername = me\npassword = mine\n";
    let named = folder.parse(&format!("{own}cloud = default\n"), &[]).unwrap();
    assert_eq!((user(&named).as_str(), named.client.auth_url.as_str()), ("admin 1234", "http://own/"));
    for variables in [&[][..], &[("OS_CLOUD", "default")]] {
        let only = folder.parse(&format!("{own}use-clouds = true\n"), variables).unwrap();
        assert_eq!((user(&only).as_str(), only.client.auth_url.as_str()), ("me mine", "http://own/"));
    }
}

#[test]
fn clouds_yaml_is_found_completed_and_overridden() {
    let clouds = "clouds:\n  a:\n    profile: vendor\n    auth: {username: u, project_id: p, user_domain_id: d}\n    compute_endpoint_override: http://nova/v2.1\n  b: {}\n";
    let secure = "clouds:\n  a:\n    auth:\n      password: hidden\n";
    let public = "public-clouds:\n  vendor:\n    auth:\n      auth_url: https://vendor/v3\n      username: other\n";
    let folder = Folder::new(&[("clouds.yml", clouds), ("secure.yaml", secure), ("clouds-public.yaml", public)]);
    let settings = folder.parse("[Global]\nuse-clouds = true\ncloud = a\n", &[]).unwrap();
    assert_eq!(settings.client.auth_url.as_str(), "https://vendor/v3");
    let user = User::Name("u".into(), Domain(Named::Id("d".into())));
    assert_eq!(settings.client.method, Method::Password { user, password: "hidden".into() });
    assert_eq!(settings.client.endpoints[&Service::Compute].as_str(), "http://nova/v2.1");
    for (keys, part) in [
        ("use-clouds = true\n", "it has the entries a, b; choose one with `cloud`"),
        ("use-clouds = true\ncloud = c\n", "there is no cloud \"c\""),
        ("use-clouds = true\ncloud = b\n", "cloud \"b\" has no section \"auth\""),
    ] {
        let problem = folder.parse(&format!("[Global]\n{keys}"), &[]).unwrap_err().to_string();
        assert!(problem.contains(part), "{problem}");
    }
    let nothing = Folder::new(&[]).parse("[Global]\nuse-clouds = true\n", &[]).unwrap_err().to_string();
    assert!(nothing.contains("there is no clouds.yaml"), "{nothing}");
}

#[test]
fn no_secret_is_in_a_problem_or_in_the_settings_text() {
    let folder = Folder::new(&[("clouds.yaml", "clouds:\n  a:\n    auth: {password: [hidden]}\n    token: *hidden\n")]);
    let bad_yaml = folder.parse("[Global]\nuse-clouds = true\n", &[]).unwrap_err().to_string();
    assert!(!bad_yaml.contains("hidden"), "{bad_yaml}");
    let folder = Folder::new(&[("clouds.yaml", "clouds:\n  a:\n    auth: {password: [hidden]}\n")]);
    let bad_kind = folder.parse("[Global]\nuse-clouds = true\n", &[]).unwrap_err().to_string();
    assert!(!bad_kind.contains("hidden"), "{bad_kind}");
    let bad_url = problems("[Global]\nauth-url = \"http://u:hidden@h:x/\"\n").join(" ");
    assert!(!bad_url.contains("hidden"), "{bad_url}");
    let text =
        "[Global]\nauth-url = http://h/v3\nuser-id = u\npassword = hidden\ntenant-id = t\ncafilecontents = hidden\n";
    assert!(!format!("{:?}", settings(text)).contains("hidden"));
}

#[test]
fn section_12_3_sort_units() {
    let mut warnings = Vec::new();
    let mut order = |text: &str| sort_order(text, &mut warnings).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(order(""), Vec::<String>::new());
    assert_eq!(order("10.0.0.0/244, nonsense"), Vec::<String>::new());
    assert_eq!(order("192.168.0.0/16, x, 10.0.0.0/33, 2001:4800::/32"), ["192.168.0.0/16", "2001:4800::/32"]);
    assert_eq!(order("10.0.0.1/8\t172.16.0.0/12"), ["10.0.0.0/8", "172.16.0.0/12"]);
    assert_eq!(warnings.len(), 4);
}

proptest! {
    #[test]
    fn no_file_panics(text in "(\\[(Global|LoadBalancer|Networking|Metadata|Route|Node)\\]\n|[a-z-]{1,20} = .{0,20}\n|auth-url = http://h\n){0,12}") {
        let _ = parse(Some(&text), &nowhere());
    }

    #[test]
    fn any_credentials_give_a_login_or_problems_that_do_not_repeat_secrets(
        keys in prop::collection::btree_map(
            prop::sample::select(vec![
                "user-id", "username", "tenant-id", "tenant-name", "domain-id", "domain-name", "user-domain-id",
                "user-domain-name", "tenant-domain-id", "tenant-domain-name", "trust-id", "trustee-id",
                "application-credential-id", "application-credential-name",
            ]),
            "[a-z]{0,3}", 0..8,
        ),
        secrets in prop::sample::subsequence(
            vec!["password", "token", "trustee-password", "application-credential-secret"], 0..4),
    ) {
        let mut text = String::new();
        for (key, value) in keys {
            text += &format!("{key} = {value}\n");
        }
        for secret in secrets {
            text += &format!("{secret} = HIDDEN\n");
        }
        match login(&text) {
            Ok((method, _)) => {
                let debug = format!("{method:?}");
                prop_assert!(!debug.contains("HIDDEN"));
            }
            Err(problem) => prop_assert!(!problem.contains("HIDDEN"), "{}", problem),
        }
    }
}
