//! The form for people.

use std::fmt::Write as _;

use super::{Report, Summary};
use crate::controllers::plan::Target;

const HEADER: [&str; 4] = ["OBJECT", "WHERE", "CONTROLLER", "CHANGE"];

/// Rows in columns, each object named once, and a summary.
pub(super) fn render(report: &Report) -> String {
    let rows = rows(report);
    let mut text = String::new();
    if !rows.is_empty() {
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([HEADER[column].len()]).max().unwrap_or_default()
        };
        let widths = [width(0), width(1), width(2)];
        line(&mut text, HEADER, widths);
        rows.iter().for_each(|row| line(&mut text, row.each_ref().map(String::as_str), widths));
        text.push('\n');
    }
    text.push_str(&sentence(&report.summary));
    text.push('\n');
    text
}

fn rows(report: &Report) -> Vec<[String; 4]> {
    let mut rows = Vec::new();
    for object in &report.objects {
        let mut name = object.object.as_str();
        let mut row = |place: &str, controller: &str, text: &str| {
            rows.push([std::mem::take(&mut name), place, controller, text].map(str::to_owned));
        };
        for change in &object.changes {
            let place = match change.target {
                Target::Cloud => "cloud",
                Target::Cluster => "cluster",
            };
            row(place, change.controller, &change.what);
        }
        for error in &object.errors {
            row("ERROR", error.controller, &error.message);
        }
        for note in &object.notes {
            row("note", note.controller, &note.message);
        }
    }
    rows
}

fn line(text: &mut String, cells: [&str; 4], widths: [usize; 3]) {
    let [object, place, controller, what] = cells;
    let [a, b, c] = widths;
    // Writing into a string cannot fail.
    let _ = writeln!(text, "{object:<a$}  {place:<b$}  {controller:<c$}  {what}");
}

fn sentence(summary: &Summary) -> String {
    let Summary { objects, cloud, cluster, errors, notes } = summary;
    let mut text = match cloud + cluster {
        0 => "No changes: a run would change nothing in the cloud and nothing in the cluster".to_owned(),
        _ => format!("Changes: {cloud} in the cloud, {cluster} in the cluster; objects: {objects}"),
    };
    for (count, what) in [(errors, "errors"), (notes, "notes")] {
        if *count > 0 {
            let _ = write!(text, "; {what}: {count}");
        }
    }
    text + "."
}
