//! A comparison that looks away finds nothing: in each recorded account each field is changed in turn, once for each kind of
//! resource, and has to be noticed.

use std::collections::BTreeSet;

use anyhow::ensure;

use super::cli::Files;
use super::cloud::Clouds;
use super::difference::{differences, leaves, mutant};
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
        let mut changed = BTreeSet::new();
        for left in &recording.left {
            let whole = normalise(&*account, &left.cloud);
            for field in leaves(&left.cloud).into_iter().filter(|field| changed.insert(of_kind(field))) {
                let name = field.rsplit('/').next().unwrap_or_default();
                let seen = !differences(&whole, &normalise(&*account, &mutant(&left.cloud, &field))).is_empty();
                ensure!(seen || left_out.contains(&name), "{}: a change of {field} goes unnoticed", scenario.name);
            }
        }
    }
    Ok(())
}

/// The field without the resource that has it, and without places in lists: `/pools/5e11/tags/0` is `pools/tags`.
fn of_kind(field: &str) -> String {
    let parts = field.split('/').skip(1).enumerate();
    let kept = parts.filter(|(nth, part)| *nth != 1 && part.parse::<usize>().is_err());
    kept.map(|(_, part)| part).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_resources_of_one_kind_are_alike() {
        assert_eq!(of_kind("/pools/5e11/tags/0"), "pools/tags");
        assert_eq!(of_kind("/pools/7"), "pools");
        assert_eq!(of_kind("/pools/7/session/0/type"), "pools/session/type");
    }
}
