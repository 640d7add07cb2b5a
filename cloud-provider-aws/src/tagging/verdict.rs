//! What a failure of a call means for an instance.

use std::fmt;

use cloud_provider::Kind;

use crate::client::Error;

/// What is done to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Tag,
    Untag,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tag => "tagging an instance",
            Self::Untag => "taking tags off an instance",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There is nothing left to do.
    Done,
    /// Trying again would not help.
    Drop,
    Retry {
        /// Whether there is an end to it.
        limited: bool,
    },
}

/// Whether a failure of a call for many instances is about one of them.
pub(super) fn is_about_one(error: &Error) -> bool {
    error.is_not_found() || is_no_id(error)
}

/// IDs that EC2 never made, such as those of simulated nodes.
fn is_no_id(error: &Error) -> bool {
    matches!(error.code(), Some("InvalidID" | "InvalidInstanceID.Malformed"))
}

/// The instance of a `young` node may not be visible everywhere yet; that of an older one is gone.
pub(super) fn of(action: Action, error: &Error, young: bool) -> Verdict {
    match error.kind() {
        _ if is_no_id(error) => Verdict::Drop,
        Kind::NotFound if action == Action::Untag => Verdict::Done,
        Kind::NotFound if !young => Verdict::Drop,
        Kind::Denied { .. } | Kind::Refused => Verdict::Drop,
        // It is asked for until it is there, or the node is no longer young.
        Kind::NotFound | Kind::Throttled { .. } | Kind::Transient => Verdict::Retry { limited: false },
        _ => Verdict::Retry { limited: true },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Service;

    /// aws.md 4.10 and 12.8, "Tagging".
    #[test]
    fn section_12_8_tagging() {
        let (retry, forever) = (Verdict::Retry { limited: true }, Verdict::Retry { limited: false });
        for (action, code, young, verdict) in [
            (Action::Tag, "InvalidInstanceID.NotFound", true, forever),
            (Action::Tag, "InvalidInstanceID.NotFound", false, Verdict::Drop),
            (Action::Untag, "InvalidInstanceID.NotFound", true, Verdict::Done),
            (Action::Untag, "InvalidInstanceID.NotFound", false, Verdict::Done),
            (Action::Tag, "InvalidID", true, Verdict::Drop),
            (Action::Untag, "InvalidID", false, Verdict::Drop),
            (Action::Tag, "TagLimitExceeded", false, retry),
            (Action::Tag, "RequestLimitExceeded", false, forever),
            (Action::Untag, "InternalError", false, forever),
            (Action::Untag, "UnauthorizedOperation", false, Verdict::Drop),
        ] {
            let error = Error::answered(Service::Ec2, "CreateTags", code, "");
            assert_eq!(of(action, &error, young), verdict, "{action:?} {code} {young}");
        }
    }
}
