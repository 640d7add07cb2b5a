//! `cargo xtask release`: hands over to the program that assembles and pushes, which knows the plan.

use std::process::ExitCode;

use crate::image;
use crate::tool::Tool;
use crate::workspace;

const HELP: &str = "\
      --cloud CLOUD        The cloud whose crate it is
      --version X.Y.Z      The version, which the crate's manifest, chart and changelog have already
      --to REPOSITORY      Where the image goes: registry and repository
      --charts REPOSITORY  Where the chart goes; its name is added [default: charts, beside the image]
      --key PATH           The private key of `cosign generate-key-pair`; its password is in COSIGN_PASSWORD
      --git-remote NAME    Where the git tag is pushed to; else it stays here
      --plain-http         Speak to the registry without TLS; loopback is always spoken to so
      --dry-run            Run the checks that only read, show the other steps, write nothing
      --json               Print the summary as JSON

All that is made is in target/releases/PACKAGE/vX.Y.Z. A run that failed goes on where it was when it is started again; a
version that was released is not released again. docs/guides/release.md tells more.";

/// What to release.
#[derive(Debug, clap::Args)]
#[command(
    after_help = HELP,
    override_usage = "cargo xtask release --cloud CLOUD --version X.Y.Z --to REPOSITORY --key PATH [FLAGS]..."
)]
pub(crate) struct Args {
    /// Flags of the release
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    flags: Vec<String>,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let root = workspace::root()?;
    Err(Tool::new(image::assembler(&root)?).dir(&root).arg("release").args(args.flags).exec())
}
