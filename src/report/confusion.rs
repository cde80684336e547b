//! What test images were taken for: the confusion matrix of a network and its most frequent mistakes.

use super::Case;
use super::svg_plot::escape;
use std::fmt::Write;

/// Classes up to which the matrix is a table of counts; above, it is drawn.
const MOST_COUNTS: usize = 16;
/// Classes of a drawn matrix at most; of more, those with the most mistakes.
const MOST_DRAWN: usize = 60;
/// Mistakes in the list.
const LISTED: usize = 8;

/// Images of one class that were taken for another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mistake {
    /// Class of the images.
    pub of: usize,
    /// Class of the answers.
    pub taken_for: usize,
    /// How many.
    pub images: usize,
}

/// All mistakes, the most frequent first.
pub fn mistakes(confusion: &[Vec<usize>]) -> Vec<Mistake> {
    let mut all = Vec::new();
    for (of, row) in confusion.iter().enumerate() {
        let wrong = row.iter().enumerate().filter(|(taken_for, images)| *taken_for != of && **images > 0);
        all.extend(wrong.map(|(taken_for, images)| Mistake { of, taken_for, images: *images }));
    }
    all.sort_by_key(|mistake| (std::cmp::Reverse(mistake.images), mistake.of, mistake.taken_for));
    all
}

/// The matrix of a network with a list of its most frequent mistakes; empty if its answers were not counted.
pub fn html(case: &Case) -> String {
    if case.confusion.is_empty() {
        return String::new();
    }
    let matrix = Matrix::of(case);
    let classes = case.confusion.len();
    let mut html = match classes <= MOST_COUNTS {
        true => matrix.table(),
        false => matrix.drawing(),
    };
    let shown = matrix.classes.len();
    if shown < classes {
        let _ = write!(html, "<p class=\"note\">The {shown} classes with the most mistakes, of {classes}.</p>");
    }
    html
}

/// The most frequent mistakes as a list; empty if there are none.
pub fn list(case: &Case) -> String {
    let mistakes = mistakes(&case.confusion);
    if mistakes.is_empty() {
        return String::new();
    }
    let mut html = "<h4>Most frequent mistakes</h4><ol class=\"mistakes\">".to_owned();
    for mistake in mistakes.iter().take(LISTED) {
        let all: usize = case.confusion[mistake.of].iter().sum();
        let _ = write!(
            html,
            "<li><span><b>{}</b> taken for <b>{}</b></span><span class=\"n\">{} of {all}</span></li>",
            escape(name(case, mistake.of)),
            escape(name(case, mistake.taken_for)),
            mistake.images
        );
    }
    html + "</ol>"
}

/// The name of a class, by its place among the logits.
fn name(case: &Case, class: usize) -> &str {
    case.per_class.get(class).map_or("", |class| class.class.as_str())
}

struct Matrix<'a> {
    case: &'a Case,
    /// The classes shown, in the order of the logits.
    classes: Vec<usize>,
    /// Largest share of a class's images that were taken for one other class.
    worst: f64,
}

impl<'a> Matrix<'a> {
    fn of(case: &'a Case) -> Self {
        let count = case.confusion.len();
        let mut classes: Vec<usize> = (0..count).collect();
        if count > MOST_DRAWN {
            let mut wrong = vec![0; count];
            for Mistake { of, taken_for, images } in mistakes(&case.confusion) {
                wrong[of] += images;
                wrong[taken_for] += images;
            }
            classes.sort_by_key(|class| (std::cmp::Reverse(wrong[*class]), *class));
            classes.truncate(MOST_DRAWN);
            classes.sort_unstable();
        }
        let mut matrix = Self { case, classes, worst: 0.0 };
        matrix.worst = mistakes(&case.confusion).iter().map(|m| matrix.share(m.of, m.taken_for)).fold(0.0, f64::max);
        matrix
    }

    fn name(&self, class: usize) -> &str {
        name(self.case, class)
    }

    fn share(&self, of: usize, taken_for: usize) -> f64 {
        let row = &self.case.confusion[of];
        row[taken_for] as f64 / row.iter().sum::<usize>().max(1) as f64
    }

    /// How dark a cell is, 0 to 1: right answers by their share, mistakes against the most frequent one.
    fn darkness(&self, of: usize, taken_for: usize) -> f64 {
        let share = self.share(of, taken_for);
        if of == taken_for || self.worst == 0.0 { share } else { share / self.worst }
    }

    fn tip(&self, of: usize, taken_for: usize) -> String {
        let row = &self.case.confusion[of];
        let (images, all) = (row[taken_for], row.iter().sum::<usize>());
        match of == taken_for {
            true => format!("{}: {images} of {all} right", self.name(of)),
            false => format!("{}: {images} of {all} taken for {}", self.name(of), self.name(taken_for)),
        }
    }

    /// A table of counts.
    fn table(&self) -> String {
        let mut html = "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Confusion matrix\"><table class=\"matrix\">\
             <thead><tr><th scope=\"col\"><span>images of ↓ taken for →</span></th>"
            .to_owned();
        for class in &self.classes {
            let _ = write!(html, "<th scope=\"col\"><span>{}</span></th>", escape(self.name(*class)));
        }
        html.push_str("</tr></thead><tbody>");
        for of in &self.classes {
            let _ = write!(html, "<tr><th scope=\"row\">{}</th>", escape(self.name(*of)));
            for taken_for in &self.classes {
                let images = self.case.confusion[*of][*taken_for];
                let kind = match (of == taken_for, images) {
                    (true, _) => "right",
                    (_, 0) => "none",
                    _ => "wrong",
                };
                let _ = write!(
                    html,
                    "<td class=\"{kind}\" style=\"--v:{:.2}\" data-tip=\"{}\">{images}</td>",
                    self.darkness(*of, *taken_for),
                    escape(&self.tip(*of, *taken_for))
                );
            }
            html.push_str("</tr>");
        }
        html + "</tbody></table></div>"
    }

    /// A drawing with a cell wherever there are images, for classes too many to be numbers.
    fn drawing(&self) -> String {
        const CELL: f64 = 13.0;
        const LETTER: f64 = 6.0;
        let longest = self.classes.iter().map(|class| self.name(*class).chars().count()).max().unwrap_or(0).min(24);
        let margin = 10.0 + LETTER * longest as f64;
        let side = CELL * self.classes.len() as f64;
        let whole = margin + side + 1.0;
        let mut svg = format!(
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Confusion matrix\"><svg class=\"confusion\" \
             viewBox=\"0 0 {whole:.0} {whole:.0}\" width=\"{whole:.0}\" height=\"{whole:.0}\" role=\"img\" tabindex=\"0\" \
             aria-label=\"Confusion matrix: rows are the classes of the images, columns those of the answers\">\
             <rect class=\"ground\" x=\"{margin:.1}\" y=\"{margin:.1}\" width=\"{side:.1}\" height=\"{side:.1}\"/>"
        );
        for (place, class) in self.classes.iter().enumerate() {
            let at = margin + CELL * place as f64;
            let name: String = self.name(*class).chars().take(24).collect();
            let (name, end, middle) = (escape(&name).into_owned(), margin - 5.0, at + CELL - 3.5);
            let _ = write!(
                svg,
                "<text x=\"{end:.1}\" y=\"{middle:.1}\" text-anchor=\"end\">{name}</text>\
                 <text transform=\"translate({middle:.1} {end:.1}) rotate(-90)\">{name}</text>"
            );
            if place % 5 == 0 {
                let _ = write!(
                    svg,
                    "<path class=\"grid\" d=\"M{margin:.1} {at:.1}h{side:.1}M{at:.1} {margin:.1}v{side:.1}\"/>"
                );
            }
        }
        for (row, of) in self.classes.iter().enumerate() {
            for (column, taken_for) in self.classes.iter().enumerate() {
                if self.case.confusion[*of][*taken_for] == 0 {
                    continue;
                }
                let _ = write!(
                    svg,
                    "<rect class=\"{}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{CELL}\" height=\"{CELL}\" style=\"--v:{:.2}\" data-tip=\"{}\"/>",
                    if of == taken_for { "right" } else { "wrong" },
                    margin + CELL * column as f64,
                    margin + CELL * row as f64,
                    self.darkness(*of, *taken_for),
                    escape(&self.tip(*of, *taken_for))
                );
            }
        }
        svg + "</svg></div>"
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    /// A network that takes every third image of a class for the next class.
    fn case(classes: usize) -> Case {
        let row =
            |of: usize| (0..classes).map(|i| if i == of { 2 } else { usize::from(i == (of + 1) % classes) }).collect();
        let confusion: Vec<Vec<usize>> = (0..classes).map(row).collect();
        let class = |i| json!({ "class": format!("<{i}>"), "images": 3, "recall": 0.67, "precision": 0.67 });
        serde_json::from_value(json!({
            "device": null, "constraint": {}, "arch": {}, "accuracy": 0.67, "predicted_accuracy": null, "latency_ms": null,
            "macs": 1, "params": 1, "onnx": "nets/a.onnx", "max_abs_diff": 0.0, "max_abs_logit": 1.0, "blocks": [],
            "per_class": (0..classes).map(class).collect::<Vec<_>>(), "confusion": confusion,
        }))
        .unwrap()
    }

    #[test]
    fn few_classes_are_counts_and_many_are_drawn() {
        let few = html(&case(6));
        assert!(
            few.contains("<table") && few.matches("<td").count() == 36 && few.matches("class=\"wrong\"").count() == 6
        );
        assert!(few.contains("&lt;5&gt;: 1 of 3 taken for &lt;0&gt;") && !few.contains("<5>"), "{few}");
        let many = html(&case(43));
        assert!(many.contains("<svg") && many.matches("data-tip").count() == 2 * 43 && !many.contains("<td"));
        let most = html(&case(1000));
        assert!(
            most.contains("The 60 classes with the most mistakes, of 1000") && most.len() < 60_000,
            "{}",
            most.len()
        );
        assert_eq!(list(&case(1000)).matches("<li>").count(), LISTED);
        let none = Case { confusion: Vec::new(), ..case(2) };
        assert!(html(&none).is_empty() && list(&none).is_empty());
    }

    #[test]
    fn mistakes_are_ordered_by_how_often_they_were_made() {
        let confusion = [vec![9, 1, 0], vec![4, 5, 1], vec![0, 0, 7]];
        let found = mistakes(&confusion);
        assert_eq!(found[0], Mistake { of: 1, taken_for: 0, images: 4 });
        assert_eq!(found.iter().map(|mistake| mistake.images).collect::<Vec<_>>(), [4, 1, 1]);
        assert!(mistakes(&[vec![3, 0], vec![0, 2]]).is_empty());
    }
}
