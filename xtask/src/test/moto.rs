//! The AWS conformance suite on moto.

use super::{Activity, Run, suites};
use crate::moto::{self, FOLDER};

/// Tells the suite where moto is.
const URL: &str = "MOTO_URL";

pub(super) fn conformance(run: &Run, at: &Activity<'_>) -> anyhow::Result<String> {
    let (_moto, url) = moto::start(&run.workspace.root, |tool, limit| at.run(tool, limit))?;
    suites::conformance_on(run, at, run.workspace.root.join(FOLDER), suites::MOTO, &[(URL, url.as_ref())])
}
