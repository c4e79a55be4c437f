//! The scores as one HTML page that needs no other file: numbers, tables, and
//! the worst mistakes with the heat of the class they were taken for.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::faithfulness::Faithfulness;
use super::{Scores, curves};

/// Rows of the table of groups, worst first.
const GROUPS: usize = 20;
/// Classes above which the confusion matrix is left out.
const MATRIX: usize = 40;

/// What was evaluated on what.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The pictures, as they were named.
    pub dataset: &'a str,
    /// Name and version of the model.
    pub model: &'a str,
    /// Name of the head.
    pub head: &'a str,
    /// Files that were skipped, each with the reason.
    pub skipped: &'a [String],
    /// Why there is no heat, where there is none.
    pub no_heat: Option<&'a str>,
    /// How faithful the maps are, where that was measured.
    pub faithfulness: Option<&'a Faithfulness>,
}

/// A wrong answer to be shown.
#[derive(Clone, Debug)]
pub struct Mistake {
    /// The file, as people know it.
    pub name: String,
    /// The right class.
    pub truth: String,
    /// The class it was taken for.
    pub taken_for: String,
    /// Probability of the right class.
    pub p_truth: f32,
    /// Probability of the class it was taken for.
    pub p_taken_for: f32,
    /// The picture, a JPEG file.
    pub picture: Vec<u8>,
    /// The same with the heat of the class it was taken for, a JPEG file.
    pub heat: Option<Vec<u8>>,
}

/// The page.
pub fn html(facts: &Facts<'_>, scores: &Scores, mistakes: &[Mistake]) -> String {
    let mut page = String::new();
    // Writing to a string cannot fail.
    let _ = write_page(&mut page, facts, scores, mistakes);
    page
}

const STYLE: &str = "
:root{color-scheme:light dark;--ink:#1b1b1f;--soft:#5c5f66;--line:#d9dbe0;--paper:#fff;--tile:#f4f5f7;--hue:22,104,160}
@media(prefers-color-scheme:dark){:root{--ink:#ececf0;--soft:#a3a6ad;--line:#3a3c42;--paper:#17181b;--tile:#212327;--hue:92,168,222}}
body{font:15px/1.45 system-ui,sans-serif;color:var(--ink);background:var(--paper);margin:0 auto;max-width:1180px;padding:1.5rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .6rem}p{margin:.3rem 0;color:var(--soft)}
.tiles{display:flex;flex-wrap:wrap;gap:.7rem;margin-top:1.2rem}
.tile{background:var(--tile);border-radius:8px;padding:.6rem .9rem;min-width:7.5rem}
.tile b{display:block;font-size:1.45rem;font-variant-numeric:tabular-nums}.tile span{color:var(--soft);font-size:.85rem}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.28rem .65rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}th{color:var(--soft);font-weight:600}
.sheet{display:grid;grid-template-columns:repeat(auto-fill,minmax(330px,1fr));gap:1rem}
figure{margin:0;background:var(--tile);border-radius:8px;overflow:hidden}
figure div{display:grid;grid-template-columns:1fr 1fr;gap:2px}figure img{width:100%;display:block;aspect-ratio:16/9;object-fit:contain;background:#000}
figure svg{width:100%;display:block}
figcaption{padding:.45rem .7rem;font-size:.88rem}figcaption small{color:var(--soft);word-break:break-all}
";

fn write_page(
    out: &mut String,
    facts: &Facts<'_>,
    scores: &Scores,
    mistakes: &[Mistake],
) -> std::fmt::Result {
    let title = format!("{} on {}", escape(facts.head), escape(facts.dataset));
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{title}</title><style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n\
         <p>Model {}. {} pictures{}.</p>\n",
        escape(facts.model),
        scores.n,
        match facts.skipped.len() {
            0 => String::new(),
            n => format!(", {n} skipped"),
        }
    )?;
    tiles(out, scores)?;
    classes(out, scores)?;
    matrix(out, scores)?;
    if let Some(found) = facts.faithfulness {
        curves::section(out, found)?;
    }
    sheet(out, facts, scores, mistakes)?;
    groups(out, scores)?;
    if !facts.skipped.is_empty() {
        out.push_str("<h2>Skipped</h2>\n");
        for why in facts.skipped {
            writeln!(out, "<p>{}</p>", escape(why))?;
        }
    }
    out.push_str("</body></html>\n");
    Ok(())
}

fn tiles(out: &mut String, scores: &Scores) -> std::fmt::Result {
    let [low, high] = scores.balanced_accuracy_95;
    let mut tiles = vec![
        (percent(scores.balanced_accuracy), "balanced accuracy".to_owned()),
        (format!("{} to {}", percent(low), percent(high)), "its 95 % interval".to_owned()),
        (percent(scores.accuracy), "accuracy".to_owned()),
    ];
    tiles.extend(scores.auc.map(|auc| (format!("{auc:.3}"), "area under ROC".to_owned())));
    tiles.push((format!("{:.3}", scores.ece), "calibration error".to_owned()));
    out.push_str("<div class=\"tiles\">");
    for (value, name) in tiles {
        write!(out, "<div class=\"tile\"><b>{value}</b><span>{name}</span></div>")?;
    }
    out.push_str("</div>\n");
    Ok(())
}

fn classes(out: &mut String, scores: &Scores) -> std::fmt::Result {
    out.push_str(
        "<h2>Classes</h2>\n<div class=\"scroll\"><table><tr><th>Class</th><th>Pictures</th>\
         <th>Recall</th><th>Precision</th></tr>\n",
    );
    let or_none = |v: Option<f64>| v.map_or("-".to_owned(), percent);
    for class in &scores.per_class {
        let (label, n) = (escape(&class.label), class.n);
        let (recall, precision) = (or_none(class.recall), or_none(class.precision));
        writeln!(
            out,
            "<tr><td>{label}</td><td>{n}</td><td>{recall}</td><td>{precision}</td></tr>"
        )?;
    }
    out.push_str("</table></div>\n");
    Ok(())
}

fn matrix(out: &mut String, scores: &Scores) -> std::fmt::Result {
    if scores.labels.len() > MATRIX {
        return Ok(());
    }
    out.push_str(
        "<h2>Confusion</h2>\n<p>True class down, answer across.</p>\n<div class=\"scroll\"><table><tr><th></th>",
    );
    for label in &scores.labels {
        write!(out, "<th>{}</th>", escape(label))?;
    }
    out.push_str("</tr>\n");
    for (label, row) in scores.labels.iter().zip(&scores.confusion) {
        write!(out, "<tr><td>{}</td>", escape(label))?;
        let all = row.iter().sum::<usize>().max(1) as f64;
        for n in row {
            let shade = *n as f64 / all * 0.6;
            write!(out, "<td style=\"background:rgba(var(--hue),{shade:.2})\">{n}</td>")?;
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table></div>\n");
    Ok(())
}

fn groups(out: &mut String, scores: &Scores) -> std::fmt::Result {
    if scores.groups.is_empty() {
        return Ok(());
    }
    let shown = scores.groups.len().min(GROUPS);
    write!(
        out,
        "<h2>Groups</h2>\n<p>The {shown} with the lowest accuracy of {}.</p>\n\
         <div class=\"scroll\"><table><tr><th>Group</th><th>Pictures</th><th>Accuracy</th></tr>\n",
        scores.groups.len()
    )?;
    for group in &scores.groups[..shown] {
        let (name, accuracy) = (escape(&group.group), percent(group.accuracy));
        writeln!(out, "<tr><td>{name}</td><td>{}</td><td>{accuracy}</td></tr>", group.n)?;
    }
    out.push_str("</table></div>\n");
    Ok(())
}

fn sheet(
    out: &mut String,
    facts: &Facts<'_>,
    scores: &Scores,
    mistakes: &[Mistake],
) -> std::fmt::Result {
    let wrong: usize = scores
        .confusion
        .iter()
        .enumerate()
        .map(|(i, row)| row.iter().sum::<usize>() - row[i])
        .sum();
    out.push_str("<h2>Worst mistakes</h2>\n");
    if mistakes.is_empty() {
        out.push_str("<p>None: every answer is right.</p>\n");
        return Ok(());
    }
    let heat = match facts.no_heat {
        Some(why) => format!("There is no heat: {}.", escape(why)),
        None => "On the right the heat: evidence for the class it was taken for.".to_owned(),
    };
    writeln!(
        out,
        "<p>The {} surest of {wrong}. {heat}</p>\n<div class=\"sheet\">",
        mistakes.len()
    )?;
    for mistake in mistakes {
        let data = |jpeg: &[u8]| format!("data:image/jpeg;base64,{}", STANDARD.encode(jpeg));
        let name = escape(&mistake.name);
        write!(out, "<figure><div><img alt=\"{name}\" src=\"{}\">", data(&mistake.picture))?;
        if let Some(heat) = &mistake.heat {
            write!(out, "<img alt=\"heat\" src=\"{}\">", data(heat))?;
        }
        writeln!(
            out,
            "</div><figcaption><b>{}</b> {:.2}, taken for <b>{}</b> {:.2}<br><small>{name}</small></figcaption></figure>",
            escape(&mistake.truth),
            mistake.p_truth,
            escape(&mistake.taken_for),
            mistake.p_taken_for
        )?;
    }
    out.push_str("</div>\n");
    Ok(())
}

fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::Answer;
    use super::*;

    #[test]
    fn the_page_stands_alone_and_takes_no_markup_from_names() {
        let answers = [(0, 0.2), (1, 0.9)].map(|(truth, p): (usize, f32)| Answer {
            truth,
            probabilities: vec![p, 1.0 - p],
            group: Some("<b>spot</b>".to_owned()),
        });
        let scores = Scores::of(&["show", "ad & promo"], &answers).unwrap();
        let facts = Facts {
            dataset: "<script>alert(1)</script>",
            model: "m 1",
            head: "content",
            skipped: &["x.jpg is empty".to_owned()],
            no_heat: None,
            faithfulness: None,
        };
        let mistake = Mistake {
            name: "a\"b.jpg".to_owned(),
            truth: "show".to_owned(),
            taken_for: "ad & promo".to_owned(),
            p_truth: 0.2,
            p_taken_for: 0.8,
            picture: vec![1, 2, 3],
            heat: Some(vec![4, 5, 6]),
        };
        let page = html(&facts, &scores, &[mistake]);
        for wanted in [
            "&lt;script&gt;",
            "ad &amp; promo",
            "data:image/jpeg;base64,AQID",
            "data:image/jpeg;base64,BAUG",
            "x.jpg is empty",
            "&lt;b&gt;spot",
            "a&quot;b.jpg",
            "0.0 %",
        ] {
            assert!(page.contains(wanted), "no {wanted}");
        }
        assert!(!page.contains("<script"), "a name became a script");
        assert!(!page.contains("http"), "the page needs nothing from elsewhere");
    }
}
