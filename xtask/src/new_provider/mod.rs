//! `cargo xtask new-provider`: a crate for a cloud in the shape of those that there are, from the files in `xtask/template`.
//!
//! It compiles, its tests run, and those fail that need what only the cloud's own engineers can write.

mod template;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};

use crate::tool::Tool;
use crate::workspace;

const AFTER_HELP: &str = "\
Makes cloud-provider-NAME with its simulator, chart, manifests, tests and reference page, and enters it in the workspace.
docs/guides/write-a-provider.md says what comes then.";

/// What to make.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The name of the cloud: the scheme of its provider IDs and the value of --cloud-provider, such as `acme`
    name: String,
    /// The cloud's name in sentences and types [default: NAME with a capital letter]
    #[arg(long)]
    title: Option<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let root = workspace::root()?;
    let cloud = Cloud::new(&args.name, args.title.as_deref())?;
    cloud.write(&root)?;
    // How lines break and imports are ordered depends on the name.
    let packages = [cloud.package(), format!("{}-simulator", cloud.package())];
    let format = packages.iter().fold(Tool::cargo().arg("fmt"), |format, package| format.args(["--package", package]));
    format.dir(&root).output()?;
    // Enters the new crates in the lock file.
    Tool::cargo().args(["metadata", "--format-version=1"]).dir(&root).output()?;
    eprint!("{}", cloud.next());
    Ok(ExitCode::SUCCESS)
}

/// The cloud that a crate is made for.
#[derive(Debug)]
struct Cloud {
    name: String,
    title: String,
}

impl Cloud {
    fn new(name: &str, title: Option<&str>) -> anyhow::Result<Self> {
        let is_word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric());
        let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
        let is_name = starts && is_word(name) && !name.contains(|c: char| c.is_ascii_uppercase());
        ensure!(
            is_name,
            "{name:?} cannot be in names of crates and schemes: lower case letters and digits, a letter first"
        );
        let capital = || name[..1].to_uppercase() + &name[1..];
        let title = title.map_or_else(capital, str::to_owned);
        let is_type = is_word(&title) && title.starts_with(|c: char| c.is_ascii_uppercase());
        ensure!(is_type, "{title:?} cannot be the name of a type: letters and digits, a capital first");
        Ok(Self { name: name.to_owned(), title })
    }

    fn package(&self) -> String {
        format!("cloud-provider-{}", self.name)
    }

    fn filled(&self, template: &str) -> String {
        template.replace("@name@", &self.name).replace("@Name@", &self.title)
    }

    /// Writes all files, the entries in the manifest of the workspace last.
    fn write(&self, root: &Path) -> anyhow::Result<()> {
        let (folder, manifest) = (root.join(self.package()), root.join("Cargo.toml"));
        ensure!(!folder.exists(), "{} is there already", folder.display());
        let text = fs::read_to_string(&manifest).with_context(|| format!("read {}", manifest.display()))?;
        let entered = self.entered(&text).with_context(|| format!("enter the crate in {}", manifest.display()))?;
        for (path, text) in template::FILES {
            write(&folder.join(path), &self.filled(text))?;
        }
        for (path, shared) in template::LINKS {
            let link = folder.join(path);
            above(&link)?;
            std::os::unix::fs::symlink(shared, &link).with_context(|| format!("link {}", link.display()))?;
        }
        let page = root.join("docs/reference").join(format!("{}.md", self.name));
        write(&page, &self.filled(template::REFERENCE))?;
        write(&manifest, &entered)
    }

    /// The manifest of the workspace with the new members, behind those of the other clouds.
    fn entered(&self, manifest: &str) -> anyhow::Result<String> {
        let package = self.package();
        let members = format!("    \"{package}\",\n    \"{package}/simulator\",\n");
        let versions = format!(
            "{package} = {{ path = \"{package}\" }}\n{package}-simulator = {{ path = \"{package}/simulator\" }}\n"
        );
        let with = behind(manifest, "    \"cloud-provider", &members).context("there are no members")?;
        behind(&with, "cloud-provider", &versions).context("there are no versions of members")
    }

    fn next(&self) -> String {
        let (package, name) = (self.package(), &self.name);
        format!(
            "made {package} with its simulator, and docs/reference/{name}.md\n\n\
             cargo test --no-fail-fast -p {package}    # what fails says what to write next, and where an example stands\n\
             cargo run -p {package} -- --help\n\n\
             docs/guides/write-a-provider.md goes through it, and names what is to be entered elsewhere.\n"
        )
    }
}

/// Inserts lines behind the last one that begins so.
fn behind(text: &str, beginning: &str, lines: &str) -> anyhow::Result<String> {
    let mut place = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        at += line.len();
        if line.starts_with(beginning) {
            place = Some(at);
        }
    }
    let Some(place) = place else { bail!("no line begins with {beginning:?}") };
    Ok(format!("{}{lines}{}", &text[..place], &text[place..]))
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    above(path)?;
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// Makes the folder of a file.
fn above(path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().context("a file without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const MANIFEST: &str = "[workspace]\nmembers = [\n    \"cloud-provider\",\n    \"cloud-provider-aws\",\n    \"xtask\",\n]\n\n\
                            [workspace.dependencies]\n# Members\ncloud-provider = { path = \"cloud-provider\" }\n\n# Others\nserde = \"1\"\n";

    /// A folder in the place for builds, which is made anew.
    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("new-provider-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_crate_has_the_shape_of_those_that_there_are_and_is_made_once() {
        let root = folder("shape");
        fs::write(root.join("Cargo.toml"), MANIFEST).unwrap();
        let cloud = Cloud::new("acme", None).unwrap();
        cloud.write(&root).unwrap();
        let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
        assert!(manifest.contains("    \"cloud-provider-aws\",\n    \"cloud-provider-acme\",\n"), "{manifest}");
        assert!(
            manifest
                .contains("cloud-provider-acme-simulator = { path = \"cloud-provider-acme/simulator\" }\n\n# Others")
        );
        for path in
            ["src/main.rs", "src/lib.rs", "src/load_balancer/plan.rs", "tests/conformance/main.rs", "CHANGELOG.md"]
        {
            let text = fs::read_to_string(root.join("cloud-provider-acme").join(path)).unwrap();
            assert!(!text.contains('@') || !text.contains("@name@") && !text.contains("@Name@"), "{path}");
        }
        let main = fs::read_to_string(root.join("cloud-provider-acme/src/main.rs")).unwrap();
        assert!(main.contains("cloud_provider_acme::AcmeProvider") && main.lines().count() <= 10, "{main}");
        let again = cloud.write(&root).unwrap_err().to_string();
        assert!(again.contains("is there already"), "{again}");
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn every_file_of_the_template_is_used() {
        let template = workspace::root().unwrap().join("xtask/template");
        let (mut found, mut pending) = (Vec::new(), vec![template.clone()]);
        while let Some(next) = pending.pop() {
            for entry in fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    pending.push(path);
                } else {
                    found.push(path.strip_prefix(&template).unwrap().with_extension("").display().to_string());
                }
            }
        }
        found.sort_unstable();
        let mut used: Vec<&str> = template::FILES.iter().map(|(path, _)| *path).chain(["reference.md"]).collect();
        used.sort_unstable();
        assert_eq!(found, used);
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        for name in ["", "Acme", "acme-cloud", "2acme", "acme cloud", "äcme"] {
            assert!(Cloud::new(name, None).is_err(), "{name}");
        }
        assert!(Cloud::new("acme", Some("Acme Cloud")).is_err());
        assert_eq!(Cloud::new("ibm", Some("IBM")).unwrap().title, "IBM");
    }
}
