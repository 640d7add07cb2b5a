//! A comparison that looks away finds nothing: each field of each recorded account is changed in turn, and has to be noticed.

use anyhow::ensure;
use cloud_provider_testing::compare::{Clouds as _, Files, Recording, differences, mutants, normalise};

use crate::account::{Accounts, TIMES};

/// What is different in each run, and compared where it is used: the host name in the status of services.
const GENERATED: &str = "dns_name";

/// Fails where a change of a recorded resource would go unnoticed.
pub(crate) async fn each_is_compared(files: &Files) -> anyhow::Result<()> {
    for scenario in files.scenarios()? {
        // Nothing is recorded yet where a scenario is new.
        let Ok(recording) = Recording::load(&files.recordings(), &scenario) else { continue };
        let account = Accounts.cloud(&scenario).await?;
        for left in &recording.left {
            let whole = normalise(&*account, &left.cloud);
            for (field, mutant) in mutants(&left.cloud) {
                let name = field.rsplit('/').next().unwrap_or_default();
                let seen = !differences(&whole, &normalise(&*account, &mutant)).is_empty();
                let left_out = TIMES.contains(&name) || name == GENERATED;
                ensure!(seen || left_out, "{}: a change of {field} goes unnoticed", scenario.name);
            }
        }
    }
    Ok(())
}
