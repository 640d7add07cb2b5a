//! Sections "misc" and "global": the API server, logging, version and help.

use clap::Args;

use super::{Errors, values::Quantity};
use crate::{
    config::{
        duration::GoDuration,
        feature_gates::{FeatureGates, LOGGING_ALPHA_OPTIONS},
    },
    manager::logging::{Format, LoggingSettings, VModule},
};

/// Section "misc".
#[derive(Args, Clone, Debug)]
#[group(skip)]
#[command(next_help_heading = "Misc flags")]
pub struct Misc {
    /// Address of the API server; overrides the one in the kubeconfig
    #[arg(long, default_value = "")]
    pub master: String,
    /// File with the address of the API server and the credentials for it; empty, and no --master: the cluster that
    /// the process runs in
    #[arg(long, default_value = "")]
    pub kubeconfig: String,
    /// Time between passes over the addresses of all nodes
    #[arg(long, default_value = "5m")]
    pub node_status_update_frequency: GoDuration,
}

/// Section "global".
#[derive(Args, Clone, Debug)]
#[group(skip)]
#[command(next_help_heading = "Global flags")]
pub struct Global {
    /// Print the version and quit; 'raw' prints all about it, 'vX.Y.Z…' sets the version that is reported
    #[arg(long, default_value = "false", default_missing_value = "true", num_args = 0..=1, require_equals = true)]
    pub version: VersionFlag,
    /// Verbosity of logs: from 4 on debug messages, from 6 on trace messages
    #[arg(short, long, default_value_t = 0, value_name = "Level")]
    pub v: i32,
    /// Verbosity of single source files, 'file=N,pattern*=N'; text format only
    #[arg(long, default_value = "", value_name = "pattern=N,...")]
    pub vmodule: VModule,
    /// Accepted; every message is written at once
    #[arg(long, default_value = "5s")]
    pub log_flush_frequency: GoDuration,
    /// Format of logs: text or json
    #[arg(long, default_value = "text")]
    pub logging_format: String,
    /// In text format, write errors to standard error and the rest to standard output (alpha)
    #[arg(long)]
    pub log_text_split_stream: bool,
    /// Accepted; every message is written at once (alpha)
    #[arg(long, default_value = "0")]
    pub log_text_info_buffer_size: Quantity,
    /// In JSON format, write errors to standard error and the rest to standard output (alpha)
    #[arg(long)]
    pub log_json_split_stream: bool,
    /// Accepted; every message is written at once (alpha)
    #[arg(long, default_value = "0")]
    pub log_json_info_buffer_size: Quantity,
    /// Print this help and quit
    #[arg(short, long)]
    pub help: bool,
}

/// `--version`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionFlag {
    /// Go on.
    No,
    /// Print the version and quit.
    Print,
    /// Print all that is known of the build and quit.
    Raw,
    /// Report another version.
    Set(String),
}

impl std::str::FromStr for VersionFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "raw" => Ok(Self::Raw),
            _ if text.starts_with('v') => Ok(Self::Set(text.to_owned())),
            _ => super::values::boolean(text).map(|print| if print { Self::Print } else { Self::No }),
        }
    }
}

impl Global {
    /// Errors are in the form of Kubernetes' field errors, as upstream prints them.
    pub(super) fn logging(&self, gates: &FeatureGates, errors: &mut Errors) -> LoggingSettings {
        let format = match self.logging_format.as_str() {
            "text" => Format::Text,
            "json" => Format::Json,
            other => {
                errors.add(format!("format: Invalid value: {other:?}: Unsupported log format"));
                Format::Text
            }
        };
        if self.log_flush_frequency <= GoDuration::ZERO {
            let frequency = self.log_flush_frequency;
            errors
                .add(format!("flushFrequency: Invalid value: {:?}: Must be greater than zero", frequency.to_string()));
        }
        if self.v < 0 {
            errors.add(format!("verbosity: Invalid value: {}: Must not be negative", self.v));
        }
        if format == Format::Json && !self.vmodule.is_empty() {
            errors.add("vmodule: Forbidden: Only supported for text log format");
        }
        let none = Quantity::default();
        for (field, used) in [
            ("options.text.splitStream", self.log_text_split_stream),
            ("options.text.infoBufferSize", self.log_text_info_buffer_size != none),
            ("options.json.splitStream", self.log_json_split_stream),
            ("options.json.infoBufferSize", self.log_json_info_buffer_size != none),
        ] {
            if used && !gates.enabled(LOGGING_ALPHA_OPTIONS) {
                errors.add(format!("{field}: Forbidden: Feature {} is disabled", LOGGING_ALPHA_OPTIONS.name));
            }
        }
        LoggingSettings {
            format,
            verbosity: self.v,
            vmodule: self.vmodule.clone(),
            split_stream: match format {
                Format::Text => self.log_text_split_stream,
                Format::Json => self.log_json_split_stream,
            },
        }
    }
}
