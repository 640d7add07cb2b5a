//! Who may depend on whom: clouds know the core, the core knows no cloud, no cloud knows another.

use super::{Findings, SourceFile};
use crate::workspace::Member;

const CORE: &str = "cloud-provider";
const TESTING: &str = "cloud-provider-testing";
const SIMULATION: &str = "cloud-provider-simulation";

/// What a member is, told by its folder.
#[derive(Debug, PartialEq, Eq)]
enum Role<'a> {
    Core,
    Testing,
    /// What all simulators share.
    Simulation,
    /// A cloud's crate, with the cloud's name.
    Cloud(&'a str),
    /// A cloud's simulator.
    Simulator(&'a str),
    /// Images and releases; its tests run what is in an image.
    Release,
    /// Front door and whatever else serves the workspace itself.
    Tool,
}

fn role(folder: &str) -> Role<'_> {
    let cloud = folder.strip_prefix("cloud-provider-");
    match (folder, cloud.map(|cloud| cloud.split_once('/'))) {
        ("cloud-provider", _) => Role::Core,
        ("cloud-provider/testing", _) => Role::Testing,
        ("cloud-provider/simulation", _) => Role::Simulation,
        ("xtask/release", _) => Role::Release,
        (_, Some(Some((cloud, "simulator")))) => Role::Simulator(cloud),
        (_, Some(None)) => Role::Cloud(cloud.unwrap_or_default()),
        _ => Role::Tool,
    }
}

/// Which members one of this role may use, outside and inside of tests.
fn allowed(role: &Role<'_>, dev: bool) -> Vec<String> {
    let core_and_testing = || vec![CORE.to_owned(), TESTING.to_owned()];
    match (role, dev) {
        (Role::Core | Role::Release, true) => vec![TESTING.to_owned()],
        (Role::Testing, _) => vec![CORE.to_owned(), SIMULATION.to_owned()],
        (Role::Cloud(_), false) => vec![CORE.to_owned()],
        (Role::Cloud(cloud), true) => [core_and_testing(), vec![format!("cloud-provider-{cloud}-simulator")]].concat(),
        (Role::Simulator(_), true) => core_and_testing(),
        (Role::Simulator(_), false) => vec![SIMULATION.to_owned()],
        (Role::Core | Role::Release, false) | (Role::Simulation | Role::Tool, _) => Vec::new(),
    }
}

pub(super) fn check(members: &[Member], files: &[SourceFile], findings: &mut Findings) {
    for member in members {
        check_member(member, members, findings);
    }
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        check_vendor_types(file, findings);
        check_pure(file, findings);
    }
    for file in files.iter().filter(|file| file.path.ends_with("/Cargo.toml")) {
        check_versions(file, findings);
    }
    if let Some(file) = files.iter().find(|file| file.path == "Cargo.toml") {
        check_taken(file, members, findings);
    }
}

fn check_member(member: &Member, members: &[Member], findings: &mut Findings) {
    let role = role(&member.folder);
    for dependency in &member.dependencies {
        let is_member = members.iter().any(|other| other.name == dependency.name);
        if is_member && !allowed(&role, dependency.dev).contains(&dependency.name) {
            let when = if dependency.dev { "in its tests" } else { "outside of tests" };
            findings.error(format!("{}: must not use {} {when}", member.folder, dependency.name));
        }
    }
}

/// Vendor types stop at `client`: everything else is tested without the SDK.
fn check_vendor_types(file: &SourceFile, findings: &mut Findings) {
    const SDKS: [&str; 4] = ["aws_sdk_", "aws_smithy_", "azure_core::", "google_cloud_"];
    let Some((folder, rest)) = file.path.split_once("/src/") else { return };
    if !matches!(role(folder), Role::Cloud(_)) || rest.starts_with("client/") || rest == "client.rs" {
        return;
    }
    for (number, line) in code_lines(&file.text) {
        if SDKS.iter().any(|sdk| line.contains(sdk)) {
            findings.error(format!("{}:{number}: an SDK outside of src/client", file.path));
        }
    }
}

/// What decides reads and writes nothing.
fn check_pure(file: &SourceFile, findings: &mut Findings) {
    const PURE: [&str; 4] = ["desired", "plan", "names", "annotations"];
    let Some((_, rest)) = file.path.split_once("/src/load_balancer/") else { return };
    let module = rest.split(['/', '.']).next().unwrap_or_default();
    if !PURE.contains(&module) {
        return;
    }
    for (number, line) in code_lines(&file.text) {
        if line.contains(".await") || line.trim_start().starts_with("async fn") {
            findings.error(format!("{}:{number}: {module} is pure: it awaits nothing", file.path));
        }
    }
}

/// Every version is in the manifest of the workspace.
fn check_versions(file: &SourceFile, findings: &mut Findings) {
    let mut in_dependencies = false;
    for (number, line) in file.text.lines().enumerate() {
        if line.starts_with('[') {
            in_dependencies = line.trim_end_matches(']').ends_with("dependencies");
        } else if in_dependencies && line.contains('=') && !line.contains("workspace = true") {
            findings.error(format!("{}:{}: versions are in the workspace's Cargo.toml", file.path, number + 1));
        }
    }
}

/// A version in the manifest of the workspace is of something that a member takes.
fn check_taken(file: &SourceFile, members: &[Member], findings: &mut Findings) {
    let mut in_dependencies = false;
    for (number, line) in file.text.lines().enumerate() {
        if line.starts_with('[') {
            in_dependencies = line == "[workspace.dependencies]";
        } else if let Some((name, _)) = line.split_once('=').filter(|_| in_dependencies && !line.starts_with('#')) {
            let name = name.trim();
            let takes = |member: &Member| member.dependencies.iter().any(|dependency| dependency.name == name);
            if !members.iter().any(|member| member.name == name || takes(member)) {
                findings.error(format!("{}:{}: no member takes {name}", file.path, number + 1));
            }
        }
    }
}

/// Numbered lines that are no comments.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(number, line)| (number + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::file;
    use super::*;
    use crate::workspace::Dependency;

    fn member(folder: &str, name: &str, uses: &[(&str, bool)]) -> Member {
        Member {
            name: name.to_owned(),
            folder: folder.to_owned(),
            description: None,
            features: Vec::new(),
            has_library: true,
            dependencies: uses.iter().map(|(name, dev)| Dependency { name: (*name).to_owned(), dev: *dev }).collect(),
        }
    }

    fn found(members: &[Member], files: &[SourceFile]) -> Vec<String> {
        let mut findings = Findings::default();
        check(members, files, &mut findings);
        findings.errors
    }

    #[test]
    fn folders_tell_roles() {
        assert_eq!(role("cloud-provider"), Role::Core);
        assert_eq!(role("cloud-provider/testing"), Role::Testing);
        assert_eq!(role("cloud-provider/simulation"), Role::Simulation);
        assert_eq!(role("cloud-provider-aws"), Role::Cloud("aws"));
        assert_eq!(role("cloud-provider-aws/simulator"), Role::Simulator("aws"));
        assert_eq!(role("xtask/release"), Role::Release);
        assert_eq!(role("xtask"), Role::Tool);
    }

    #[test]
    fn dependencies_point_one_way() {
        let right = [
            member("cloud-provider", CORE, &[(TESTING, true), ("serde", false)]),
            member("cloud-provider/testing", TESTING, &[(CORE, false), (SIMULATION, false)]),
            member("cloud-provider-x", "cloud-provider-x", &[(CORE, false), ("cloud-provider-x-simulator", true)]),
            member("cloud-provider/simulation", SIMULATION, &[]),
            member("cloud-provider-x/simulator", "cloud-provider-x-simulator", &[(SIMULATION, false)]),
            member("xtask", "xtask", &[("clap", false)]),
        ];
        assert_eq!(found(&right, &[]), [""; 0]);

        let wrong = [
            member("cloud-provider", CORE, &[("cloud-provider-x", false)]),
            member("cloud-provider-x", "cloud-provider-x", &[("cloud-provider-y", true)]),
            member("cloud-provider-y", "cloud-provider-y", &[(CORE, false)]),
            member("cloud-provider-y/simulator", "cloud-provider-y-simulator", &[("cloud-provider-y", true)]),
            member("xtask", "xtask", &[(CORE, false)]),
        ];
        assert_eq!(
            found(&wrong, &[]),
            [
                "cloud-provider: must not use cloud-provider-x outside of tests",
                "cloud-provider-x: must not use cloud-provider-y in its tests",
                "cloud-provider-y/simulator: must not use cloud-provider-y in its tests",
                "xtask: must not use cloud-provider outside of tests",
            ]
        );
    }

    #[test]
    fn sdk_types_stop_at_the_client() {
        let line = "use aws_sdk_ec2::Client;";
        assert_eq!(found(&[], &[file("cloud-provider-aws/src/client/ec2.rs", line)]), [""; 0]);
        assert_eq!(found(&[], &[file("cloud-provider-aws/simulator/tests/sdk.rs", line)]), [""; 0]);
        assert_eq!(
            found(&[], &[file("cloud-provider-aws/src/instances.rs", line)]),
            ["cloud-provider-aws/src/instances.rs:1: an SDK outside of src/client"]
        );
    }

    #[test]
    fn what_decides_awaits_nothing() {
        let text = "fn plan() {\n    call().await;\n}";
        assert_eq!(found(&[], &[file("cloud-provider-aws/src/load_balancer/apply.rs", text)]), [""; 0]);
        let path = "cloud-provider-aws/src/load_balancer/plan/classic.rs";
        assert_eq!(found(&[], &[file(path, text)]), [format!("{path}:2: plan is pure: it awaits nothing")]);
    }

    #[test]
    fn versions_are_of_what_a_member_takes() {
        let text = "[workspace.dependencies]\n# Members\ncloud-provider = { path = \"x\" }\nserde = \"1\"\nleft-pad = \"1\"\n\n[profile.dev]\nx = 1\n";
        let members = [member("cloud-provider", CORE, &[("serde", false)])];
        assert_eq!(found(&members, &[file("Cargo.toml", text)]), ["Cargo.toml:5: no member takes left-pad"]);
    }

    #[test]
    fn versions_are_in_one_place() {
        let text = "[package]\nversion = \"1\"\n[dependencies]\na.workspace = true\nb = { workspace = true, optional = true }\nc = \"1\"\n";
        assert_eq!(
            found(&[], &[file("xtask/Cargo.toml", text)]),
            ["xtask/Cargo.toml:6: versions are in the workspace's Cargo.toml"]
        );
    }
}
