//! `xtask-release release`: one version of one cloud's crate, from the checks to the name that users pull.
//!
//! A release is a plan of steps. Until the steps that publish nothing has left this machine; those that publish upload
//! under digests first, which nobody finds by a name, then what is known by derived names (signatures), then put the git tag,
//! and the tag of the image last: where it is, all the rest is. A run that failed or was ended goes on where it was.

mod build;
mod changelog;
mod charts;
mod checks;
mod files;
mod publish;
mod state;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::cosign::key::Key;
use crate::project::{Controller, Project};
use crate::push::Target;
use crate::registry::Registry;
use crate::registry::credentials::Credentials;
use state::State;

const AFTER_HELP: &str = "\
Before: the crate's Cargo.toml and its chart have the version, its CHANGELOG.md a section \"## X.Y.Z\", and all is committed.
The password of the key is in COSIGN_PASSWORD; credentials of the registry as for `cargo xtask push`.
All that is made is in target/releases/PACKAGE/vX.Y.Z. A run that failed goes on where it was when it is started again.";

/// What to release.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// The cloud whose crate it is
    #[arg(long)]
    cloud: String,
    /// The version, X.Y.Z
    #[arg(long)]
    version: String,
    /// Where the image goes: registry and repository
    #[arg(long, value_name = "REPOSITORY")]
    to: String,
    /// The private key of `cosign generate-key-pair`
    #[arg(long, value_name = "PATH")]
    key: PathBuf,
    /// Where the chart goes, if the crate has one: registry and repository, to which the chart's name is added [default:
    /// charts, beside the image]
    #[arg(long, value_name = "REPOSITORY")]
    charts: Option<String>,
    /// Where the git tag is pushed to; else it stays here
    #[arg(long, value_name = "NAME")]
    git_remote: Option<String>,
    /// Speak to the registry without TLS; loopback is always spoken to so
    #[arg(long)]
    plain_http: bool,
    /// Run the checks that only read, show the other steps, write nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

/// What steps work on.
#[derive(Debug)]
struct Release {
    project: Project,
    controller: Controller,
    version: String,
    to: Target,
    registry: Registry,
    key: PathBuf,
    /// The key, once it was opened, which takes a while.
    opened: Option<Key>,
    git_remote: Option<String>,
    /// Where the chart is and goes, if there is one.
    chart: Option<charts::Place>,
    /// All that is made is here.
    folder: PathBuf,
    state: State,
}

/// A step of the plan. They run in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Tree,
    Version,
    Changelog,
    Free,
    Key,
    Deny,
    Tests,
    Image,
    Chart,
    Signatures,
    Files,
    Upload,
    GitTag,
    ChartTag,
    ImageTag,
    Summary,
}

/// What a step does to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Only reads. Runs each time, in a dry run too.
    Check,
    /// Works on this machine, for long. Does not run again when it is done for this commit.
    Work,
    /// Changes what others see, or tells of it. Runs each time, and leaves alone what is there already.
    Publish,
}

impl Step {
    const PLAN: [Self; 16] = [
        Self::Tree,
        Self::Version,
        Self::Changelog,
        Self::Free,
        Self::Key,
        Self::Deny,
        Self::Tests,
        Self::Image,
        Self::Chart,
        Self::Signatures,
        Self::Files,
        Self::Upload,
        Self::GitTag,
        Self::ChartTag,
        Self::ImageTag,
        Self::Summary,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Tree => "tree",
            Self::Version => "version",
            Self::Changelog => "changelog",
            Self::Free => "free",
            Self::Key => "key",
            Self::Deny => "deny",
            Self::Tests => "tests",
            Self::Image => "image",
            Self::Chart => "chart",
            Self::Signatures => "signatures",
            Self::Files => "files",
            Self::Upload => "upload",
            Self::GitTag => "git-tag",
            Self::ChartTag => "chart-tag",
            Self::ImageTag => "image-tag",
            Self::Summary => "summary",
        }
    }

    fn kind(self) -> Kind {
        match self {
            Self::Tree | Self::Version | Self::Changelog | Self::Free | Self::Key => Kind::Check,
            Self::Deny | Self::Tests | Self::Image | Self::Chart | Self::Signatures | Self::Files => Kind::Work,
            Self::Upload | Self::GitTag | Self::ChartTag | Self::ImageTag | Self::Summary => Kind::Publish,
        }
    }

    /// What it will do.
    fn describe(self, release: &Release) -> String {
        let (to, tag) = (&release.to, release.git_tag());
        let remote = release.git_remote.as_ref().map_or_else(String::new, |name| format!(", and push it to {name}"));
        match self {
            Self::Tree => "no file differs from the commit".to_owned(),
            Self::Version => format!("{} is the version in the manifest and the chart", release.version),
            Self::Changelog => "the changelog of the crate has a section for it".to_owned(),
            Self::Free => format!("neither {tag} nor {to} is taken"),
            Self::Key => format!("{} can be opened", release.key.display()),
            Self::Deny => build::DENY.join(" "),
            Self::Tests => build::TESTS.join(" "),
            Self::Image => build::image(release).join(" "),
            Self::Chart => charts::describe(release, "pack the chart"),
            Self::Signatures => "sign the image, attest what is in it and where it comes from".to_owned(),
            Self::Files => format!("write notes, documents and checksums to {}", release.files().display()),
            Self::Upload => format!("upload to {} without the tag", to.place()),
            Self::GitTag => format!("tag {} as {tag}{remote}", release.project.revision.commit),
            Self::ChartTag => charts::describe(release, "name the chart"),
            Self::ImageTag => format!("name the image {to}"),
            Self::Summary => format!("write {}", release.summary().display()),
        }
    }

    /// Does it, and says what came out.
    async fn run(self, release: &mut Release) -> anyhow::Result<String> {
        match self {
            Self::Tree => checks::tree(release),
            Self::Version => checks::version(release),
            Self::Changelog => checks::changelog(release),
            Self::Free => checks::free(release).await,
            Self::Key => release.open(),
            Self::Deny => build::run(release, &build::DENY),
            Self::Tests => build::run(release, &build::TESTS),
            Self::Image => build::make(release),
            Self::Chart => charts::pack(release),
            Self::Signatures => publish::sign(release),
            Self::Files => files::write(release),
            Self::Upload => publish::upload(release).await,
            Self::GitTag => publish::git_tag(release),
            Self::ChartTag => charts::name(release).await,
            Self::ImageTag => publish::name(release).await,
            Self::Summary => files::summary(release),
        }
    }
}

/// Releases it, and prints under which name and digest it can be pulled.
///
/// # Errors
/// When a check or a step fails, the version is released already, or another run is at it.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut release = Release::new(&args)?;
    if args.dry_run {
        return release.show().await;
    }
    fs::create_dir_all(&release.folder).with_context(|| format!("create {}", release.folder.display()))?;
    let path = release.folder.join("lock");
    let lock = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    lock.try_lock().with_context(|| format!("another run is at {}", release.folder.display()))?;
    for step in Step::PLAN {
        release.step(step).await?;
    }
    let text = if args.json {
        let path = release.summary();
        fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?
    } else {
        format!("{}@{}\n", release.to, release.digest()?)
    };
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).context("write to standard output")
}

impl Release {
    fn new(args: &Args) -> anyhow::Result<Self> {
        let project = Project::load(&std::env::current_dir().context("find the working folder")?)?;
        let controller = project.controller(&args.cloud)?.clone();
        ensure!(!args.version.contains('+'), "a tag cannot hold the metadata of a build: {}", args.version);
        let (version, tag) = (args.version.clone(), format!("v{}", args.version));
        let to = Target::parse(&args.to, &tag)?;
        ensure!(to.tag() == tag, "the tag of a release is {tag}, not {}", to.tag());
        let registry = to.open(args.plain_http, Credentials::find(to.registry())?)?;
        let folder = project.target.join("releases").join(&controller.package).join(&tag);
        let state = State::load(&folder, &project.revision.commit, &to.to_string())?;
        let key = std::path::absolute(&args.key).with_context(|| format!("find {}", args.key.display()))?;
        let chart = charts::Place::find(&controller, &to, args)?;
        let git_remote = args.git_remote.clone();
        Ok(Self { project, controller, version, to, registry, key, opened: None, git_remote, chart, folder, state })
    }

    /// The tag in git: one scheme for all crates of the workspace, each with versions of its own.
    fn git_tag(&self) -> String {
        format!("{}/{}", self.controller.package, self.to.tag())
    }

    fn open(&mut self) -> anyhow::Result<String> {
        self.opened = Some(Key::read(&self.key)?);
        Ok("opened".to_owned())
    }

    fn key(&self) -> anyhow::Result<&Key> {
        self.opened.as_ref().context("the key was not opened")
    }

    /// The image, as it was built for this release.
    fn layout(&self) -> PathBuf {
        self.folder.join("image")
    }

    /// What was signed.
    fn signatures(&self) -> PathBuf {
        self.folder.join("signatures")
    }

    /// What goes along with a release.
    fn files(&self) -> PathBuf {
        self.folder.join("files")
    }

    fn summary(&self) -> PathBuf {
        self.folder.join("summary.json")
    }

    /// The digest of the image.
    fn digest(&self) -> anyhow::Result<&str> {
        self.state.digest.as_deref().context("there is no image yet")
    }

    async fn step(&mut self, step: Step) -> anyhow::Result<()> {
        let name = step.name();
        if step.kind() == Kind::Work && self.state.is_done(name) {
            eprintln!("{name}: done before");
            return Ok(());
        }
        eprintln!("{name}: {}", step.describe(self));
        let told = step.run(self).await.with_context(|| format!("step {name}"))?;
        eprintln!("{name}: ok, {told}");
        if step.kind() == Kind::Check {
            return Ok(());
        }
        self.state.done(name);
        self.state.save(&self.folder)
    }

    /// Shows every step, and runs those that only read.
    async fn show(mut self) -> anyhow::Result<()> {
        say(&format!("{} {} as {}; a dry run writes nothing", self.controller.package, self.version, self.to))?;
        let mut failed = Vec::new();
        let mut shown = None;
        for step in Step::PLAN {
            let kind = step.kind();
            if shown.replace(kind) != Some(kind) {
                say(&format!("\n{}", kind.heading()))?;
            }
            let what = step.describe(&self);
            let told = match kind {
                Kind::Check => match step.run(&mut self).await {
                    Ok(told) => format!("ok      {what}: {told}"),
                    Err(error) => {
                        failed.push(step.name());
                        format!("FAILED  {error:#}")
                    }
                },
                Kind::Work if self.state.is_done(step.name()) => format!("done    {what}"),
                Kind::Work | Kind::Publish => format!("to do   {what}"),
            };
            say(&format!("{:<11} {told}", step.name()))?;
        }
        ensure!(failed.is_empty(), "not ready: {}", failed.join(", "));
        say("\nReady: the same command without --dry-run releases it.")
    }
}

impl Kind {
    /// What stands above its steps.
    fn heading(self) -> &'static str {
        match self {
            Self::Check => "Before anything is built:",
            Self::Work => "On this machine; what is done for this commit is not done again:",
            Self::Publish => "In public; what is there already stays:",
        }
    }
}

/// Writes a line to standard output.
fn say(line: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).context("write to standard output")
}

/// Puts a folder in the place of another; the one from before stays until the new one is whole.
fn replace(folder: &Path, make: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let above = folder.parent().context("a folder without one above it")?;
    let work = tempfile::Builder::new().prefix(".work-").tempdir_in(above).context("make a folder to work in")?;
    let new = work.path().join("new");
    fs::create_dir(&new).with_context(|| format!("create {}", new.display()))?;
    make(&new)?;
    if folder.exists() {
        fs::rename(folder, work.path().join("old")).with_context(|| format!("move {} away", folder.display()))?;
    }
    fs::rename(&new, folder).with_context(|| format!("move what was made to {}", folder.display()))
}
