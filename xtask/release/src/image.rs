//! `xtask-release image`: the layout of a controller's image, and how large it is.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use serde_json::json;
use xtask_release::assembly::{self, Common, Image, Origin, Part};
use xtask_release::docker_archive;
use xtask_release::elf::Program;
use xtask_release::layout::Layout;
use xtask_release::licences;
use xtask_release::packages;
use xtask_release::project::{Controller, Project};
use xtask_release::sbom::Bom;

/// What to assemble.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The cloud
    #[arg(long)]
    cloud: String,
    /// The program, linked statically; once for each architecture
    #[arg(long = "binary", value_name = "PATH", required = true)]
    binaries: Vec<PathBuf>,
    /// What to write
    #[arg(long, value_enum, default_value_t = Format::Oci)]
    format: Format,
    /// The name of the image in the layout [default: v and the version of the cloud's crate]
    #[arg(long)]
    tag: Option<String>,
    /// Print a summary as JSON instead of a table
    #[arg(long)]
    json: bool,
    /// The programs were built from this commit with the flags of `cargo xtask image`
    #[arg(long, hide = true)]
    built_here: bool,
    /// Who builds, a URI for the provenance [default: the repository]
    #[arg(long, value_name = "URI")]
    builder: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// An OCI image layout
    Oci,
    /// The layout, and archives for `docker load` beside it
    DockerArchive,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let project = Project::load(&std::env::current_dir().context("find the working folder")?)?;
    let controller = project.controller(&args.cloud)?;
    let tag = args.tag.clone().unwrap_or_else(|| controller.tag());
    let parts = parts(&project, controller, &args.binaries)?;
    let path = project.layout(&args.cloud);
    let image = write(args, &project, controller, &tag, &parts, &path)?;
    if args.format == Format::DockerArchive {
        archives(&path, controller, &tag)?;
    }
    report(args, &image, &tag, &path)?;
    check_size(controller, &image)
}

/// Reads the programs, and looks up what each is made of.
fn parts(project: &Project, controller: &Controller, binaries: &[PathBuf]) -> anyhow::Result<Vec<Part>> {
    let license = read(&project.root.join("LICENSE"))?;
    let glibc = glibc();
    let mut parts: Vec<Part> = Vec::new();
    for path in binaries {
        let program = fs::read(path).with_context(|| format!("read {}", path.display()))?;
        let elf = Program::read(&program).with_context(|| format!("read {}", path.display()))?;
        elf.check_static().with_context(|| format!("put {} into an image", path.display()))?;
        if parts.iter().any(|part| part.architecture == elf.architecture) {
            bail!("two programs for {}", elf.architecture);
        }
        let packages = packages::of(project, controller, &elf.architecture)?;
        let third_party = licences::third_party(&packages, &license)?;
        let bom = Bom::new(controller, &project.revision, &program, &packages, glibc.as_deref());
        parts.push(Part { architecture: elf.architecture, program, third_party, bom });
    }
    parts.sort_by_key(|part| part.architecture.to_string());
    Ok(parts)
}

/// The version of the C library of this machine, which is what programs are linked with here.
fn glibc() -> Option<String> {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().strip_prefix("glibc ")?.to_owned())
}

/// Writes the layout; the one from before stays until the new one is whole.
fn write(
    args: &Args,
    project: &Project,
    controller: &Controller,
    tag: &str,
    parts: &[Part],
    path: &Path,
) -> anyhow::Result<Image> {
    let folder = path.parent().context("a layout without a folder above it")?;
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    let work = tempfile::Builder::new().prefix(".image-").tempdir_in(folder).context("make a folder to work in")?;
    let new = work.path().join("layout");
    let (license, notice) = (read(&project.root.join("LICENSE"))?, read(&project.root.join("NOTICE"))?);
    let (lock, compiler) = (read(&project.root.join("Cargo.lock"))?, compiler()?);
    let builder = args.builder.as_deref().unwrap_or(&controller.repository);
    let origin = Origin { lock: lock.as_bytes(), compiler: &compiler, builder };
    // What was built from other files than those of the commit must not claim to come from it.
    let known = args.built_here && !project.revision.dirty;
    let common = Common {
        controller,
        revision: &project.revision,
        license: &license,
        notice: &notice,
        tag,
        origin: known.then_some(origin),
    };
    let image = assembly::assemble(&Layout::create(&new)?, &common, parts)?;
    if path.exists() {
        fs::rename(path, work.path().join("old")).with_context(|| format!("move {} away", path.display()))?;
    }
    fs::rename(&new, path).with_context(|| format!("move the layout to {}", path.display()))?;
    if !known {
        eprintln!("no provenance: the program was not built here from a commit without changes");
    }
    Ok(image)
}

fn compiler() -> anyhow::Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output().context("start rustc")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn archives(path: &Path, controller: &Controller, tag: &str) -> anyhow::Result<()> {
    let layout = Layout::open(path)?;
    let (_, index) = assembly::index_of(&layout)?;
    for image in index.manifests() {
        let architecture = image.platform().as_ref().context("an image without a platform")?.architecture();
        let archive = path.with_file_name(format!("{}-{architecture}.tar", controller.settings.cloud));
        let name = format!("{}:{tag}", controller.settings.binary);
        let bytes = docker_archive::write(&layout, image, &name)?;
        fs::write(&archive, bytes).with_context(|| format!("write {}", archive.display()))?;
        eprintln!("for docker load: {}", archive.display());
    }
    Ok(())
}

fn report(args: &Args, image: &Image, tag: &str, path: &Path) -> anyhow::Result<()> {
    let text = if args.json {
        let largest = image.images.iter().max_by_key(|one| one.compressed).context("an image of nothing")?;
        json!({
            "cloud": args.cloud,
            "digest": image.digest,
            "layout": path,
            "compressed_bytes": largest.compressed,
            "binary_bytes": largest.program,
        })
        .to_string()
    } else {
        let mut lines = vec![format!("{}:{tag}", path.display()), image.digest.clone()];
        lines.extend(image.images.iter().map(|one| {
            format!(
                "linux/{}: {} compressed; program {} ({} in the image), certificates and licences {}",
                one.architecture,
                mebibytes(one.compressed),
                mebibytes(one.program_layer),
                mebibytes(one.program),
                mebibytes(one.data_layer),
            )
        }));
        lines.join("\n")
    };
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).context("write to standard output")
}

fn check_size(controller: &Controller, image: &Image) -> anyhow::Result<()> {
    let limit = controller.settings.max_compressed_bytes;
    match image.images.iter().find(|one| one.compressed > limit) {
        None => Ok(()),
        Some(one) => bail!(
            "the image for linux/{} is {} compressed, more than {}",
            one.architecture,
            mebibytes(one.compressed),
            mebibytes(limit)
        ),
    }
}

fn mebibytes(bytes: u64) -> String {
    let hundredths = bytes * 100 / (1024 * 1024);
    format!("{}.{:02} MiB", hundredths / 100, hundredths % 100)
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}
