//! The chosen networks class by class: recall and precision, and what images were taken for.

use super::plot::escape;
use super::{Case, RunResults};
use crate::measured_accuracy::MeasuredAccuracy;
use ofa_train::evaluation::ClassAccuracy;
use std::fmt::Write;

/// Classes of a table, and of a matrix, at most; `results.json` has them all.
const MOST_ROWS: usize = 100;
const MOST_COLUMNS: usize = 20;

/// The network that the tables are of: the most accurate on average over the classes, which is not the one of the largest
/// class.
fn shown(results: &RunResults) -> Option<&Case> {
    let counted = results.cases.iter().filter(|case| !case.per_class.is_empty());
    counted.reduce(|best, case| if case.balanced_accuracy > best.balanced_accuracy { case } else { best })
}

/// A share of so many images in per cent; a dash where it is undefined.
pub fn or_dash(share: Option<f64>, images: usize) -> String {
    share.map_or_else(|| "–".to_owned(), |share| MeasuredAccuracy::new(share, images).percent())
}

/// The section of the page; empty if no network was counted by class.
pub fn page(results: &RunResults) -> String {
    let Some(case) = shown(results) else { return String::new() };
    let mut page = format!(
        "<h2>Class by class</h2><p class=\"note\">Of {}, on test images: balanced accuracy (the mean recall of the classes) {}, \
         top-1 {}. Recall is the share of a class's images that were recognised, precision the share of the answers that \
         were right.</p><div class=\"panel scroll\"><table><tr><th>class<th class=\"n\">images<th class=\"n\">recall\
         <th class=\"n\">precision",
        escape(&case.onnx),
        or_dash(case.balanced_accuracy, results.images[2]),
        results.on_test_images(case.accuracy).with_interval()
    );
    let with_matrix = case.per_class.len() <= MOST_COLUMNS;
    if with_matrix {
        for ClassAccuracy { class, .. } in &case.per_class {
            let _ = write!(page, "<th class=\"n\">as {}", escape(class));
        }
    }
    page.push_str("</tr>");
    for (ClassAccuracy { class, images, recall, precision }, counts) in rows(case) {
        let _ = write!(
            page,
            "<tr><td>{}<td class=\"n\">{images}<td class=\"n\">{}<td class=\"n\">{}",
            escape(class),
            or_dash(*recall, *images),
            or_dash(*precision, *images)
        );
        if with_matrix {
            page.extend(counts.iter().map(|count| format!("<td class=\"n\">{count}")));
        }
        page.push_str("</tr>");
    }
    page.push_str("</table></div>");
    page
}

/// The same as Markdown.
pub fn markdown(results: &RunResults) -> String {
    let Some(case) = shown(results) else { return String::new() };
    let with_matrix = case.per_class.len() <= MOST_COLUMNS;
    let answers: Vec<&str> = match with_matrix {
        true => case.per_class.iter().map(|class| class.class.as_str()).collect(),
        false => Vec::new(),
    };
    let mut text = format!(
        "Balanced accuracy of `{}`: {}.\n\n| class | images | recall | precision |",
        case.onnx,
        or_dash(case.balanced_accuracy, results.images[2])
    );
    text.extend(answers.iter().map(|name| format!(" as {} |", in_cell(name))));
    text.push_str("\n|---|--:|--:|--:|");
    text.push_str(&"--:|".repeat(answers.len()));
    text.push('\n');
    for (ClassAccuracy { class, images, recall, precision }, counts) in rows(case) {
        let _ = write!(
            text,
            "| {} | {images} | {} | {} |",
            in_cell(class),
            or_dash(*recall, *images),
            or_dash(*precision, *images)
        );
        if with_matrix {
            text.extend(counts.iter().map(|count| format!(" {count} |")));
        }
        text.push('\n');
    }
    text.push('\n');
    text
}

fn rows(case: &Case) -> impl Iterator<Item = (&ClassAccuracy, &Vec<usize>)> {
    case.per_class.iter().zip(&case.confusion).take(MOST_ROWS)
}

/// A name in a cell of a Markdown table.
fn in_cell(name: &str) -> String {
    name.replace('|', "\\|")
}
