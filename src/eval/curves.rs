//! The part of the report about faithfulness: a table, and the curves as a
//! drawing. Called by the report.

use std::fmt::Write;

use super::faithfulness::{CENTRE, Estimate, Faithfulness, MethodFaithfulness, RANDOM};
use super::report::escape;

/// Size of a drawing and its margins, in pixels.
const SIZE: [f64; 2] = [420.0, 260.0];
const MARGIN: f64 = 34.0;
/// Colours that the colour-blind can tell apart (Okabe and Ito 2008).
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// Writes the part.
pub(super) fn section(out: &mut String, found: &Faithfulness) -> std::fmt::Result {
    write!(
        out,
        "<h2>Faithfulness of the maps</h2>\n<p>{} pictures in {} groups, {} of them with boxes; \
         in brackets 95 % intervals. Less is better of deletion and drop. Leads are over a map \
         of chance, picture by picture: above 0 is better in every column.</p>\n",
        found.n, found.groups, found.with_boxes
    )?;
    table(out, found)?;
    out.push_str("<div class=\"sheet\">\n");
    drawing(out, found, "Deletion (lower is better)", "taken away", |m| &m.deletion_curve)?;
    drawing(out, found, "Insertion (higher is better)", "brought back", |m| &m.insertion_curve)?;
    out.push_str("</div>\n");
    Ok(())
}

fn table(out: &mut String, found: &Faithfulness) -> std::fmt::Result {
    let Some(first) = found.methods.first() else { return Ok(()) };
    out.push_str("<div class=\"scroll\"><table><tr><th>Map</th>");
    for (name, _) in first.figures.named() {
        write!(out, "<th>{name}</th>")?;
    }
    out.push_str("</tr>\n");
    let rows = found.methods.iter().map(|m| (escape(&m.method), &m.figures));
    let leads = found
        .methods
        .iter()
        .filter_map(|m| Some((format!("lead of {}", escape(&m.method)), m.lead.as_ref()?)));
    for (name, figures) in rows.chain(leads) {
        write!(out, "<tr><td>{name}</td>")?;
        for (_, estimate) in figures.named() {
            write!(out, "<td>{}</td>", figure(estimate))?;
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table></div>\n");
    Ok(())
}

/// A mean with its interval.
fn figure(estimate: &Estimate) -> String {
    let Estimate { mean, ci95: [low, high] } = estimate;
    format!("{mean:.3} ({low:.3} to {high:.3})")
}

fn drawing(
    out: &mut String,
    found: &Faithfulness,
    title: &str,
    moved: &str,
    curve: impl Fn(&MethodFaithfulness) -> &Vec<f64>,
) -> std::fmt::Result {
    let [width, height] = SIZE;
    let (right, bottom) = (width - 8.0, height - MARGIN);
    let x = |part: f64| MARGIN + part * (right - MARGIN);
    let y = |p: f64| bottom - p.clamp(0.0, 1.0) * (bottom - 8.0);
    writeln!(
        out,
        "<figure><svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{title}\" \
         font-size=\"11\" fill=\"currentColor\" stroke-linejoin=\"round\">"
    )?;
    for tick in [0.0, 0.5, 1.0] {
        writeln!(
            out,
            "<path d=\"M{} {:.1}H{right}\" stroke=\"currentColor\" stroke-opacity=\".2\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{tick}</text>\
             <text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{:.0} %</text>",
            MARGIN,
            y(tick),
            MARGIN - 5.0,
            y(tick) + 4.0,
            x(tick).min(right - 14.0),
            bottom + 14.0,
            tick * 100.0
        )?;
    }
    writeln!(
        out,
        "<text x=\"{:.0}\" y=\"{}\" text-anchor=\"middle\">part of the picture {moved}; mean confidence upwards</text>",
        f64::midpoint(MARGIN, right),
        height - 4.0
    )?;
    // Maps that are alike lie on each other; the first one is drawn last.
    for (n, method) in found.methods.iter().enumerate().rev() {
        let curve = curve(method);
        let last = curve.len().saturating_sub(1).max(1) as f64;
        let points: String = curve
            .iter()
            .enumerate()
            .map(|(i, p)| format!("{:.1},{:.1} ", x(i as f64 / last), y(*p)))
            .collect();
        writeln!(
            out,
            "<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"2\"{} points=\"{}\"/>",
            colour(n, &method.method),
            dashes(&method.method),
            points.trim_end()
        )?;
    }
    write!(out, "</svg><figcaption><b>{title}</b><br>")?;
    for (n, method) in found.methods.iter().enumerate() {
        let (colour, name) = (colour(n, &method.method), escape(&method.method));
        write!(out, "<span style=\"color:{colour}\">&#9632;</span> {name} ")?;
    }
    out.push_str("</figcaption></figure>\n");
    Ok(())
}

fn colour(n: usize, method: &str) -> &'static str {
    match method {
        RANDOM | CENTRE => "#888",
        _ => COLOURS[n % COLOURS.len()],
    }
}

fn dashes(method: &str) -> &'static str {
    match method {
        RANDOM => " stroke-dasharray=\"6 4\"",
        CENTRE => " stroke-dasharray=\"2 3\"",
        _ => "",
    }
}
