//! The command line: clap's definitions, read the way pflag reads them.
//!
//! The Go programs parse with pflag, and manifests rely on its ways: `_` and `-` are the same in flag names (only under
//! some of the Go mains; all of ours), a boolean takes its value only behind `=`, any other flag takes the next argument
//! whatever it looks like, the last use wins, lists gather. A pass before clap brings arguments into one form, with
//! pflag's error texts, and clap does the rest: types, defaults, help.
//!
//! A provider's flags are a struct that derives `clap::Args`; its booleans and its types from
//! [`values`](super::options::values) get the same treatment. Fields of that struct are plain: `#[arg(long)] flag: bool`
//! is off by default, `#[arg(long, action = ArgAction::Set, default_value = "true")] flag: bool` is on.

mod legacy;
mod pflag;
mod task;

#[cfg(test)]
mod tests;

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use clap::{ArgMatches, Args, Command, FromArgMatches, parser::ValueSource};

use self::task::Word;
pub use self::task::{Output, Task};
use super::{
    logging,
    names::Registry,
    options::{Options, VersionFlag},
    webhook,
};
use crate::config::feature_gates::{FeatureGates, Gate};

/// What a controller manager is called and what it knows.
#[derive(Clone, Debug)]
pub struct Program {
    name: &'static str,
    version: &'static str,
    registry: Registry,
    gates: Vec<Gate>,
    webhooks: Vec<&'static str>,
    defaults: Vec<(&'static str, &'static str)>,
    usage_error_code: u8,
}

impl Program {
    /// A program with the controllers and webhooks of the core. The version is the crate's, `1.2.3`.
    pub fn new(name: &'static str, version: &'static str) -> Self {
        Self {
            name,
            version,
            registry: Registry::default(),
            gates: Vec::new(),
            webhooks: vec![webhook::PERSISTENT_VOLUME_LABEL],
            defaults: Vec::new(),
            usage_error_code: 1,
        }
    }

    /// The controllers that `--controllers` may name, the provider's own included.
    #[must_use]
    pub fn with_registry(mut self, registry: Registry) -> Self {
        self.registry = registry;
        self
    }

    /// Adds feature gates of the provider.
    #[must_use]
    pub fn with_gates(mut self, gates: &[Gate]) -> Self {
        self.gates.extend_from_slice(gates);
        self
    }

    /// Adds webhooks that `--webhooks` may name.
    #[must_use]
    pub fn with_webhooks(mut self, webhooks: &[&'static str]) -> Self {
        self.webhooks.extend_from_slice(webhooks);
        self
    }

    /// Changes the default of a flag, as some mains do. A name that is no flag has no effect.
    #[must_use]
    pub fn with_default(mut self, flag: &'static str, value: &'static str) -> Self {
        self.defaults.push((flag, value));
        self
    }

    /// Changes the exit code of usage errors, which is 1; the mains of some clouds exit with 255.
    #[must_use]
    pub fn with_usage_error_code(mut self, code: u8) -> Self {
        self.usage_error_code = code;
        self
    }

    /// The name of the command.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The controllers it knows.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The exit for an error in flags or their values.
    pub fn usage_error(&self, message: impl ToString) -> Exit {
        Exit::Usage {
            message: message.to_string(),
            hint: format!("Run '{} --help' for the flags.", self.name),
            code: self.usage_error_code,
        }
    }

    /// As [`usage_error`](Self::usage_error); the exit code of a dry run is 1 in every program, since others mean something.
    fn usage_error_of(&self, word: Option<Word>, message: String) -> Exit {
        let Some(word) = word else { return self.usage_error(message) };
        Exit::Usage { message, hint: format!("Run '{} {} --help' for the flags.", self.name, word.as_str()), code: 1 }
    }

    pub(super) fn gates(&self) -> &[Gate] {
        &self.gates
    }

    pub(super) fn known_webhooks(&self) -> &[&'static str] {
        &self.webhooks
    }

    /// The command with all flags of the core and of a provider: the source of help and reference pages.
    pub fn command<P: Args>(&self) -> Command {
        let mut command = Command::new(self.name)
            .override_usage(format!("{0} [flags]\n       {0} plan [flags]\n       {0} audit [flags]", self.name))
            .help_template("{about-with-newline}\n{usage-heading} {usage}\n\n{all-args}")
            .next_display_order(None::<usize>)
            .disable_help_flag(true)
            .disable_version_flag(true)
            .args_override_self(true);
        command = Options::augment_args(command).next_help_heading("Provider flags");
        command = P::augment_args(command).mut_args(pflag::adapt);
        for (flag, value) in &self.defaults {
            command = command.mut_args(|arg| match arg.get_long() {
                Some(long) if long == *flag => arg.default_value(*value),
                _ => arg,
            });
        }
        // In one pass that keeps the order of sections.
        command
            .mut_args(|arg| {
                let more = match arg.get_id().as_str() {
                    "controllers" => self.controllers_help(),
                    "feature_gates" => self.gates_help(),
                    "webhooks" => format!("All webhooks: {}", self.webhooks.join(", ")),
                    _ => return arg,
                };
                let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
                arg.help(format!("{help}.\n{more}"))
            })
            // A provider's struct would put its own description here.
            .about("Connects a Kubernetes cluster to its cloud: nodes, load balancers, routes.")
    }

    fn controllers_help(&self) -> String {
        let names = |filter: fn(&bool) -> bool| {
            let controllers = self.registry.controllers().iter().filter(|c| filter(&c.on_by_default));
            controllers.map(|controller| controller.name).collect::<Vec<_>>().join(", ")
        };
        format!("All controllers: {}\nDisabled-by-default controllers: {}", names(|_| true), names(|on| !on))
    }

    fn gates_help(&self) -> String {
        let gates = FeatureGates::new(&self.gates);
        let mut lines: Vec<_> = gates
            .listed()
            .map(|gate| format!("{}=true|false ({:?} - default={})", gate.name, gate.stage, gate.default))
            .collect();
        lines.sort();
        format!("Options are:\n{}", lines.join("\n"))
    }

    /// Reads a command line, `argv[0]` included.
    pub fn parse<P: Args>(&self, argv: impl IntoIterator<Item = OsString>) -> Result<Parsed<P>, Exit> {
        let (word, argv) = task::split(argv.into_iter().skip(1).collect());
        let usage = |message: String| self.usage_error_of(word, message);
        let mut command = self.command::<P>();
        if let Some(word) = word {
            command = word.adapt(command).mut_args(pflag::adapt);
        }
        let normal = pflag::normalize(&command, argv).map_err(usage)?;
        let args = std::iter::once(self.name.to_owned()).chain(normal.args);
        let matches = command.clone().try_get_matches_from(args).map_err(|error| usage(pflag::describe(&error)))?;
        let options = Options::from_arg_matches(&matches).map_err(|error| usage(error.to_string()))?;
        let provider = P::from_arg_matches(&matches).map_err(|error| usage(error.to_string()))?;
        if options.global.help {
            return Err(Exit::Output(command.clone().render_help().to_string()));
        }
        if let Some(late) = normal.positional.iter().find_map(|arg| Word::of(arg)) {
            let late = late.as_str();
            return Err(self.usage_error_of(Word::of(late), format!("{late:?} goes in front of the flags")));
        }
        if normal.positional.iter().any(|arg| !arg.is_empty()) {
            let args: Vec<_> = normal.positional.iter().map(|arg| format!("{arg:?}")).collect();
            return Err(usage(format!("{:?} does not take any arguments, got [{}]", self.name, args.join(" "))));
        }
        let flags = flags(&command, &matches);
        let mut warnings = normal.warnings;
        warnings.extend(legacy::without_effect(&flags));
        let mut version = format!("v{}", self.version);
        match &options.global.version {
            VersionFlag::No => {}
            VersionFlag::Print => return Err(Exit::Output(format!("Kubernetes {version}\n"))),
            VersionFlag::Raw => return Err(Exit::Output(self.raw_version())),
            VersionFlag::Set(other) => version.clone_from(other),
        }
        let task = word.map_or(Ok(Task::Run), |word| word.task(&matches)).map_err(usage)?;
        Ok(Parsed { task, options, provider, version, flags, warnings })
    }

    fn raw_version(&self) -> String {
        let mut parts = self.version.split('.');
        let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let platform = format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH);
        let version = format!("v{}", self.version);
        format!("version.Info{{Major:{major:?}, Minor:{minor:?}, GitVersion:{version:?}, Platform:{platform:?}}}\n")
    }
}

/// A command line that was read.
#[derive(Clone, Debug)]
pub struct Parsed<P> {
    /// What to do.
    pub task: Task,
    /// The flags of the core.
    pub options: Options,
    /// The provider's own flags.
    pub provider: P,
    /// The version to report, `v1.2.3`: the program's, unless `--version=v…` says another.
    pub version: String,
    /// All flags with their values, for the log and for `/flagz`.
    pub flags: Vec<Flag>,
    /// What to tell the operator once logging works: removed and deprecated flags, flags without effect.
    pub warnings: Vec<String>,
}

/// A flag and its value as text, without secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// The name without dashes.
    pub name: String,
    /// The value as pflag prints it; empty for one that is not set and has no default.
    pub value: String,
    /// The default in the same form.
    pub default: String,
    /// Whether the command line sets it.
    pub set: bool,
}

/// All flags of a command in order of their names.
fn flags(command: &Command, matches: &ArgMatches) -> Vec<Flag> {
    let mut flags: Vec<_> = command
        .get_arguments()
        .filter_map(|arg| {
            let name = arg.get_long()?;
            let given = matches.get_raw(arg.get_id().as_str()).into_iter().flatten().map(|v| v.to_string_lossy());
            let default = arg.get_default_values().iter().map(|v| v.to_string_lossy());
            // Whether there are credentials is none.
            let is_secret = logging::is_secret(name) && !pflag::is_bool(arg);
            let text = |values: Vec<_>| match is_secret {
                true => logging::REDACTED.to_owned(),
                false => logging::without_passwords(&pflag::print(arg, &values)).into_owned(),
            };
            Some(Flag {
                name: name.to_owned(),
                value: text(given.collect()),
                default: text(default.collect()),
                set: matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine),
            })
        })
        .collect();
    flags.sort_by(|a, b| a.name.cmp(&b.name));
    flags
}

/// A command line that ends the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Help or version, for standard output; success.
    Output(String),
    /// A usage error, for standard error.
    Usage {
        /// What is wrong.
        message: String,
        /// Where to find help.
        hint: String,
        /// The exit code.
        code: u8,
    },
}

impl Exit {
    /// Prints what there is to say and gives the exit code.
    pub fn report(&self) -> ExitCode {
        // Nobody is left to tell when the stream is closed.
        match self {
            Self::Output(text) => {
                _ = io::stdout().write_all(text.as_bytes());
                ExitCode::SUCCESS
            }
            Self::Usage { message, hint, code } => {
                _ = writeln!(io::stderr(), "Error: {message}\n{hint}");
                ExitCode::from(*code)
            }
        }
    }
}
