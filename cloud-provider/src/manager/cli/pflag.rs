//! pflag's reading of arguments, its types and its error texts, on top of clap's definitions.

use std::{borrow::Cow, error::Error as _, ffi::OsString, net::IpAddr, path::PathBuf};

use clap::{
    Arg, ArgAction, Command,
    builder::ValueParser,
    error::{ContextKind, ContextValue},
};

use super::legacy;
use crate::{
    config::duration::GoDuration,
    manager::options::values::{Int32s, NamedCertKey, Pairs, Quantity, Strings, Switches, boolean},
};

/// Arguments in one form.
pub(super) struct Normal {
    /// `--name` or `--name=value`.
    pub(super) args: Vec<String>,
    /// What is no flag.
    pub(super) positional: Vec<String>,
    /// About removed and deprecated flags.
    pub(super) warnings: Vec<String>,
}

/// Brings arguments into one form, without `argv[0]`. Fails with pflag's text at the first that it cannot read.
pub(super) fn normalize(command: &Command, argv: impl IntoIterator<Item = OsString>) -> Result<Normal, String> {
    let mut normal = Normal { args: Vec::new(), positional: Vec::new(), warnings: Vec::new() };
    let mut rest = argv.into_iter().map(|arg| {
        arg.into_string().map_err(|arg| format!("argument is not valid UTF-8: {:?}", arg.to_string_lossy()))
    });
    while let Some(arg) = rest.next() {
        let arg = arg?;
        if arg == "--" {
            normal.positional.extend(rest.collect::<Result<Vec<_>, _>>()?);
            break;
        }
        if let Some(long) = arg.strip_prefix("--") {
            if long.starts_with(['-', '=']) {
                return Err(format!("bad flag syntax: {arg}"));
            }
            let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            let name = name.replace('_', "-");
            let mut value = value.map(str::to_owned);
            let needs_value = match (legacy::removed(&name), find(command, &name)) {
                (_, Some(flag)) => needs_value(flag),
                (Some(removed), None) => removed.takes_value,
                (None, None) => return Err(unknown(command, &name)),
            };
            if needs_value && value.is_none() {
                value = Some(rest.next().ok_or_else(|| format!("flag needs an argument: --{name}"))??);
            }
            normal.push(command, &name, value);
        } else if let Some(shorthands) = arg.strip_prefix('-').filter(|shorthands| !shorthands.is_empty()) {
            shorthands_of(command, shorthands, &mut rest, &mut normal)?;
        } else {
            normal.positional.push(arg);
        }
    }
    Ok(normal)
}

impl Normal {
    fn push(&mut self, command: &Command, name: &str, value: Option<String>) {
        if let Some(notice) = legacy::notice(name).filter(|notice| !self.warnings.contains(notice)) {
            self.warnings.push(notice);
        }
        if find(command, name).is_some() {
            self.args.push(value.map_or_else(|| format!("--{name}"), |value| format!("--{name}={value}")));
        }
    }
}

/// `-v4`, `-v=4`, `-v 4`, `-h`, `-hv4`.
fn shorthands_of(
    command: &Command,
    shorthands: &str,
    rest: &mut impl Iterator<Item = Result<String, String>>,
    normal: &mut Normal,
) -> Result<(), String> {
    let mut left = shorthands;
    while let Some(c) = left.chars().next() {
        left = &left[c.len_utf8()..];
        let flag = command.get_arguments().find(|arg| arg.get_short() == Some(c));
        let Some((flag, name)) = flag.and_then(|flag| Some((flag, flag.get_long()?))) else {
            return Err(format!("unknown shorthand flag: {c:?} in -{shorthands}"));
        };
        let value = match left.strip_prefix('=') {
            Some(value) => Some(value.to_owned()),
            None if !needs_value(flag) => None,
            None if left.is_empty() => {
                Some(rest.next().ok_or_else(|| format!("flag needs an argument: {c:?} in -{shorthands}"))??)
            }
            None => Some(left.to_owned()),
        };
        if value.is_some() {
            left = "";
        }
        normal.push(command, name, value);
    }
    Ok(())
}

fn find<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| arg.get_long() == Some(name))
}

fn needs_value(flag: &Arg) -> bool {
    flag.get_action().takes_values() && flag.get_num_args().is_none_or(|range| range.min_values() > 0)
}

/// pflag's text, and the flag that may have been meant, which clap finds.
fn unknown(command: &Command, name: &str) -> String {
    let mut text = format!("unknown flag: --{name}");
    let error = command.clone().try_get_matches_from([command.get_name(), &format!("--{name}")]).err();
    match error.as_ref().and_then(|error| error.get(ContextKind::SuggestedArg)) {
        Some(ContextValue::String(flag)) => text.push_str(&format!("; did you mean {flag}?")),
        Some(ContextValue::Strings(flags)) => text.push_str(&format!("; did you mean {}?", flags.join(" or "))),
        _ => {}
    }
    text
}

/// A value that clap refused, in pflag's words.
pub(super) fn describe(error: &clap::Error) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    match (context(ContextKind::InvalidArg), context(ContextKind::InvalidValue), error.source()) {
        (Some(flag), Some(value), Some(cause)) => {
            let flag = flag.split([' ', '[', '=']).next().unwrap_or(flag);
            let flag = if flag == "--v" { "-v, --v" } else { flag };
            format!("invalid argument {value:?} for {flag:?} flag: {cause}")
        }
        _ => error.to_string().trim_start_matches("error: ").trim_end().to_owned(),
    }
}

/// Compares an argument's type with those that have a name, by the id of what its parser makes.
macro_rules! types {
    ($($type:ty => $name:literal,)*) => {
        /// pflag's name of an argument's type.
        fn type_name(arg: &Arg) -> Option<&'static str> {
            let id = arg.get_value_parser().type_id();
            $(
                if Arg::new("").value_parser(clap::value_parser!($type)).get_value_parser().type_id() == id {
                    return Some($name);
                }
            )*
            None
        }
    };
}

types! {
    bool => "bool",
    String => "string",
    PathBuf => "string",
    i32 => "int32",
    u32 => "uint32",
    i64 => "int",
    u64 => "uint",
    f32 => "float32",
    f64 => "float64",
    IpAddr => "ip",
    GoDuration => "duration",
    Quantity => "quantity",
    Strings => "strings",
    Int32s => "int32Slice",
    Switches => "mapStringBool",
    Pairs => "stringToString",
    NamedCertKey => "namedCertKey",
    crate::manager::options::VersionFlag => "version",
}

/// Gives an argument the manners of pflag: a boolean with an optional value behind `=`, and pflag's name of its type
/// in help.
pub(super) fn adapt(mut arg: Arg) -> Arg {
    let name = match type_name(&arg) {
        Some("string") if matches!(arg.get_action(), ArgAction::Append) => Some("stringArray"),
        name => name,
    };
    if name == Some("bool") {
        let off_by_default = matches!(arg.get_action(), ArgAction::SetTrue) && arg.get_default_values().is_empty();
        arg = arg.action(ArgAction::Set).num_args(0..=1).require_equals(true).default_missing_value("true");
        arg = arg.value_parser(ValueParser::new(boolean as fn(&str) -> Result<bool, String>));
        if off_by_default {
            arg = arg.default_value("false");
        }
    }
    // As in pflag's help, a default that is its type's zero goes without saying.
    if let [default] = arg.get_default_values() {
        let is_zero = default.is_empty() || ["false", "0", "0s"].iter().any(|zero| default == zero);
        arg = arg.hide_default_value(is_zero);
    }
    let derived = arg.get_id().as_str().to_uppercase();
    let is_derived = match arg.get_value_names() {
        None => true,
        Some([name]) => name.as_str() == derived,
        Some(_) => false,
    };
    match name.filter(|_| is_derived) {
        Some(name) => arg.value_name(name),
        None => arg,
    }
}

/// Whether the argument is on or off.
pub(super) fn is_bool(arg: &Arg) -> bool {
    type_name(arg) == Some("bool")
}

/// Values as pflag prints them: lists in brackets, durations in Go's form.
pub(super) fn print(arg: &Arg, values: &[Cow<'_, str>]) -> String {
    let last = || values.last().map(ToString::to_string).unwrap_or_default();
    match type_name(arg) {
        Some("strings" | "int32Slice" | "stringToString" | "namedCertKey") => {
            let uses: Vec<_> = values.iter().filter(|value| !value.is_empty()).map(|value| &**value).collect();
            format!("[{}]", uses.join(","))
        }
        Some("mapStringBool") => values.join(","),
        Some("bool") => boolean(&last()).map_or_else(|_| last(), |value| value.to_string()),
        Some("duration") => last().parse::<GoDuration>().map_or_else(|_| last(), |value| value.to_string()),
        _ if matches!(arg.get_action(), ArgAction::Append) => format!("[{}]", values.join(",")),
        _ => last(),
    }
}
