//! A comparison that looks away finds nothing: each field of each recorded account is changed in turn, and has to be noticed.

use anyhow::ensure;

use super::cli::Files;
use super::cloud::Clouds;
use super::difference::{differences, mutants};
use super::document::normalise;
use super::recording::Recording;

/// Fails where a change of a recorded resource would go unnoticed, but for the fields named in `left_out`.
///
/// # Errors
/// Then, and when an account cannot be made.
pub async fn each_field_is_compared(clouds: &dyn Clouds, files: &Files, left_out: &[&str]) -> anyhow::Result<()> {
    for scenario in files.scenarios()? {
        // Nothing is recorded yet where a scenario is new.
        let Ok(recording) = Recording::load(&files.recordings(), &scenario) else { continue };
        let account = clouds.cloud(&scenario).await?;
        for left in &recording.left {
            let whole = normalise(&*account, &left.cloud);
            for (field, mutant) in mutants(&left.cloud) {
                let name = field.rsplit('/').next().unwrap_or_default();
                let seen = !differences(&whole, &normalise(&*account, &mutant)).is_empty();
                ensure!(seen || left_out.contains(&name), "{}: a change of {field} goes unnoticed", scenario.name);
            }
        }
    }
    Ok(())
}
