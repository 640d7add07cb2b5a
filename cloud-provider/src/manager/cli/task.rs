//! The word in front of the flags: what the program is asked to do.

use std::{ffi::OsString, str::FromStr, time::Duration};

use clap::{ArgMatches, Args, Command, FromArgMatches};

use crate::config::duration::GoDuration;

/// What the program is asked to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Task {
    /// To run the controllers.
    #[default]
    Run,
    /// `plan`: to say what a run would change.
    Plan {
        /// In which form.
        output: Output,
        /// Whether to go on and say it again when it differs, looking after this pause.
        watch: Option<Duration>,
    },
    /// `audit`: to say what in the cloud bears this cluster's marks and belongs to nothing.
    Audit {
        /// In which form.
        output: Output,
    },
}

/// The form of what is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs; documented in `docs/reference/plan.md`.
    Json,
}

impl FromStr for Output {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "table" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            _ => Err("must be table or json".to_owned()),
        }
    }
}

/// The words themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Plan,
    Audit,
}

/// Flags of `plan` alone.
#[derive(Args, Clone, Debug)]
#[group(skip)]
#[command(next_help_heading = "Plan flags")]
struct PlanFlags {
    /// Form of the plan: table or json
    #[arg(long, default_value = "table", value_name = "string")]
    output: Output,
    /// Go on, and print the plan again whenever it differs
    #[arg(long)]
    watch: bool,
    /// Pause between two looks with --watch; longer where a look takes long
    #[arg(long, default_value = "1m0s")]
    interval: GoDuration,
}

/// Flags of `audit` alone.
#[derive(Args, Clone, Debug)]
#[group(skip)]
#[command(next_help_heading = "Audit flags")]
struct AuditFlags {
    /// Form of the list: table or json
    #[arg(long, default_value = "table", value_name = "string")]
    output: Output,
}

impl Word {
    const ALL: [Self; 2] = [Self::Plan, Self::Audit];

    /// The word as it is written.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Audit => "audit",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Plan => {
                "Prints what a run with the same flags would change in the cloud and in the cluster, and changes nothing.\n\
                 Exit status: 0 when nothing would change, 2 when something would, 1 on an error."
            }
            Self::Audit => {
                "Prints what in the cloud bears this cluster's marks and belongs to no service or node, and changes nothing.\n\
                 Exit status: 0 when there is nothing, 2 when there is something, 1 on an error."
            }
        }
    }

    /// The word that `argument` is.
    pub(super) fn of(argument: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|word| word.as_str() == argument)
    }

    /// The command with the flags, the usage and the description of this word.
    pub(super) fn adapt(self, command: Command) -> Command {
        let usage = format!("{} {} [flags]", command.get_name(), self.as_str());
        let command = match self {
            Self::Plan => PlanFlags::augment_args(command),
            Self::Audit => AuditFlags::augment_args(command),
        };
        command.override_usage(usage).about(self.about())
    }

    /// The task, with the flags that came with the word.
    pub(super) fn task(self, matches: &ArgMatches) -> Result<Task, String> {
        let problem = |error: clap::Error| error.to_string();
        match self {
            Self::Plan => {
                let flags = PlanFlags::from_arg_matches(matches).map_err(problem)?;
                if flags.interval <= GoDuration::ZERO {
                    return Err("interval must be greater than zero".to_owned());
                }
                Ok(Task::Plan { output: flags.output, watch: flags.watch.then(|| flags.interval.to_std()) })
            }
            Self::Audit => {
                let flags = AuditFlags::from_arg_matches(matches).map_err(problem)?;
                Ok(Task::Audit { output: flags.output })
            }
        }
    }
}

/// The word in front of the flags, where there is one, and what follows it. `arguments` are without the program's name.
pub(super) fn split(mut arguments: Vec<OsString>) -> (Option<Word>, Vec<OsString>) {
    let word = arguments.first().and_then(|first| first.to_str()).and_then(Word::of);
    if word.is_some() {
        arguments.remove(0);
    }
    (word, arguments)
}
