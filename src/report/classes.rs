//! The chosen networks class by class: recall and precision, and what images were taken for.

use super::svg_plot::escape;
use super::{Case, RunResults, confusion, networks};
use crate::measured_accuracy::MeasuredAccuracy;
use ofa_train::evaluation::ClassAccuracy;
use std::fmt::Write;

/// Classes of a table, and of a matrix in Markdown, at most; `results.json` has them all.
const MOST_ROWS: usize = 100;
const MOST_COLUMNS: usize = 20;
/// Classes above which a table begins with those recognised worst.
const MOST_IN_ORDER: usize = 16;

/// The networks that were counted by class, each once: those to ship first.
fn counted(results: &RunResults) -> Vec<&Case> {
    let mut networks: Vec<&Case> = Vec::new();
    let of = |is_recommended| results.cases.iter().filter(move |case| case.recommended == is_recommended);
    for case in of(true).chain(of(false)).chain(&results.reference) {
        let is_known = |other: &&Case| other.arch == case.arch && other.confusion == case.confusion;
        if !case.per_class.is_empty() && !networks.iter().any(is_known) {
            networks.push(case);
        }
    }
    networks
}

/// A share of so many images in per cent; a dash where it is undefined.
pub fn or_dash(share: Option<f64>, images: usize) -> String {
    share.map_or_else(|| "–".to_owned(), |share| MeasuredAccuracy::new(share, images).percent())
}

/// The section of the page: the network to ship opened, the others behind their names; empty if no network was counted by class.
pub fn page(results: &RunResults) -> String {
    let networks = counted(results);
    if networks.is_empty() {
        return String::new();
    }
    let mut page = "<section id=\"classes\"><h2>Class by class</h2><p class=\"note\">On test images. In the matrix, a row holds \
                    the images of a class: <span class=\"item\"><span class=\"box right\"></span>recognised</span> or <span \
                    class=\"item\"><span class=\"box wrong\"></span>taken for another class</span>, the darker, the more of \
                    them. Recall is the share of a class's images that were recognised, precision the share of the answers \
                    that were right, balanced accuracy the mean recall.</p>"
        .to_owned();
    for (index, case) in networks.into_iter().enumerate() {
        network(&mut page, case, results, index == 0);
    }
    page + "</section>"
}

fn network(page: &mut String, case: &Case, results: &RunResults, is_open: bool) {
    let mark = networks::mark(case);
    let _ = write!(
        page,
        "<details class=\"panel\"{}><summary><b>{}</b>{mark} <span class=\"note\">top-1 {}, balanced accuracy {}</span></summary>\
         <div class=\"byclass{}\"><div>{}</div><div>{}</div><div>",
        if is_open { " open" } else { "" },
        escape(case.name()),
        results.on_test_images(case.accuracy).with_interval(),
        or_dash(case.balanced_accuracy, results.images[2]),
        if case.per_class.len() > MOST_IN_ORDER { " many" } else { "" },
        confusion::html(case),
        confusion::list(case)
    );
    let mut classes: Vec<&ClassAccuracy> = case.per_class.iter().collect();
    let mut columns = 1;
    if classes.len() > MOST_IN_ORDER {
        let recall = |class: &ClassAccuracy| class.recall.unwrap_or(f64::INFINITY);
        classes.sort_by(|a, b| recall(a).total_cmp(&recall(b)));
        classes.truncate(MOST_ROWS);
        columns = 2;
        let _ = write!(page, "<h4>Recall of {} classes, worst first</h4><div class=\"two\">", classes.len());
    }
    for part in classes.chunks(classes.len().div_ceil(columns).max(1)) {
        table(page, part);
    }
    page.push_str(if columns > 1 { "</div></div></div></details>" } else { "</div></div></details>" });
}

fn table(page: &mut String, classes: &[&ClassAccuracy]) {
    page.push_str(
        "<table><thead><tr><th scope=\"col\">class</th><th scope=\"col\" class=\"n\">images</th><th scope=\"col\" \
         class=\"n\">recall</th><th scope=\"col\" class=\"n\">precision</th></tr></thead><tbody>",
    );
    for ClassAccuracy { class, images, recall, precision } in classes {
        let _ = write!(
            page,
            "<tr><td>{}</td><td class=\"n\">{images}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            escape(class),
            or_dash(*recall, *images),
            or_dash(*precision, *images)
        );
    }
    page.push_str("</tbody></table>");
}

/// The same as Markdown.
pub fn markdown(results: &RunResults) -> String {
    let Some(case) = counted(results).first().copied() else { return String::new() };
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

/// A name in a cell of a Markdown table, as plain text.
pub(super) fn in_cell(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '&' => text.push_str("&amp;"),
            '|' | '`' | '[' | ']' | '!' | '\\' => text.extend(['\\', c]),
            c => text.push(c),
        }
    }
    text
}
