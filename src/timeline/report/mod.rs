//! The evidence for a timeline as one HTML page that needs no other file: what
//! was found, why, and where the classifier looked. Called when a scan has
//! ended; must not know a file.

mod charts;
#[cfg(test)]
mod tests;

use std::fmt::Write;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Cue, CueKind, Segment};

/// A picture as the page shows it.
#[derive(Clone, Debug)]
pub struct StillLook {
    /// Stream time, seconds.
    pub at_s: f64,
    /// Probability of the label on its side of the boundary.
    pub probability: f32,
    /// The picture, a JPEG file.
    pub picture: Vec<u8>,
    /// The same with the heat of the label, a JPEG file.
    pub heat: Option<Vec<u8>>,
}

/// What was seen on both sides of a boundary.
#[derive(Clone, Debug)]
pub struct BoundaryLook {
    /// Number of the segment that begins there.
    pub segment: usize,
    /// Before the boundary.
    pub before: Option<StillLook>,
    /// After it.
    pub after: Option<StillLook>,
}

/// Where the classifier looked when it said a label.
#[derive(Clone, Debug)]
pub struct LabelLook {
    /// Number of the head among the segmented ones.
    pub head: usize,
    /// Number of the label.
    pub label: usize,
    /// Pictures of which this label was the most probable.
    pub pictures: u64,
    /// The mean picture, a JPEG file.
    pub mean: Vec<u8>,
    /// The same with the mean heat.
    pub heat: Vec<u8>,
    /// The part of all heat on the hottest tenth of the picture, 0..1.
    pub fixation: f32,
    /// Whether it looks at one small place whatever the picture shows.
    pub fixed: bool,
}

/// A file that can be saved from the page.
#[derive(Clone, Debug)]
pub struct Download {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub text: String,
}

/// Everything the page shows.
#[derive(Clone, Debug)]
pub struct Page<'a> {
    /// The recording, as people know it.
    pub recording: &'a str,
    /// Name and version of the model.
    pub model: &'a str,
    /// Name of the profile.
    pub profile: &'a str,
    /// Length of the recording, seconds.
    pub duration_s: f64,
    /// How many times faster than real time it was scanned.
    pub speed: f64,
    /// Name and labels of every segmented head.
    pub heads: &'a [(Arc<str>, Vec<Arc<str>>)],
    /// The segments of all heads.
    pub segments: &'a [Segment],
    /// The cues.
    pub cues: &'a [Cue],
    /// Seconds and probabilities of every head, in order.
    pub answers: &'a [(f64, Arc<[Vec<f32>]>)],
    /// Stills at the boundaries.
    pub boundaries: &'a [BoundaryLook],
    /// Attention for each label.
    pub labels: &'a [LabelLook],
    /// Why there is no heat, where there is none.
    pub no_heat: &'a [String],
    /// What people should know.
    pub notes: &'a [String],
    /// Cut lists to save.
    pub downloads: &'a [Download],
}

/// Colours of labels, in their order: those of Paul Tol's bright scheme, which
/// people with any colour vision can tell apart.
const COLOURS: [&str; 7] =
    ["#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#999999"];

fn colour(label: usize) -> &'static str {
    COLOURS[label % COLOURS.len()]
}

const STYLE: &str = "
:root{color-scheme:light dark;--ink:#1b1b1f;--soft:#5c5f66;--line:#d9dbe0;--paper:#fff;--tile:#f4f5f7;--warn:#8a4b00;--warnbg:#fff3dc}
@media(prefers-color-scheme:dark){:root{--ink:#ececf0;--soft:#a3a6ad;--line:#3a3c42;--paper:#17181b;--tile:#212327;--warn:#ffce85;--warnbg:#3b2a10}}
body{font:15px/1.45 system-ui,sans-serif;color:var(--ink);background:var(--paper);margin:0 auto;max-width:1180px;padding:1.5rem}
h1{font-size:1.5rem;margin:0;word-break:break-all}h2{font-size:1.1rem;margin:2rem 0 .6rem}h3{font-size:1rem;margin:1.4rem 0 .4rem}
p{margin:.3rem 0;color:var(--soft)}a{color:inherit}
.tiles{display:flex;flex-wrap:wrap;gap:.7rem;margin-top:1.2rem}
.tile{background:var(--tile);border-radius:8px;padding:.6rem .9rem;min-width:7.5rem}
.tile b{display:block;font-size:1.45rem;font-variant-numeric:tabular-nums}.tile span{color:var(--soft);font-size:.85rem}
.warn{background:var(--warnbg);color:var(--warn);border-left:4px solid currentColor;border-radius:4px;padding:.6rem .9rem;margin:.8rem 0}
.scroll{overflow-x:auto}svg{display:block;width:100%;height:auto}svg text{fill:var(--soft);font:11px system-ui,sans-serif}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.28rem .65rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th.l,td.l{text-align:left}th{color:var(--soft);font-weight:600}tr:target,figure:target{outline:2px solid currentColor}
.key{display:inline-flex;align-items:center;gap:.35rem;margin-right:1rem}.dot{display:inline-block;width:.8em;height:.8em;border-radius:2px}
.sheet{display:grid;grid-template-columns:repeat(auto-fill,minmax(350px,1fr));gap:1rem}
figure{margin:0;background:var(--tile);border-radius:8px;overflow:hidden}
figure>div{display:grid;grid-template-columns:1fr 1fr;gap:2px}
.still{position:relative;background:#000;aspect-ratio:16/9}.still img{position:absolute;inset:0;width:100%;height:100%;object-fit:contain}
.still .heat{transition:opacity .15s}.still:hover .heat{opacity:0}
.none{display:flex;align-items:center;justify-content:center;color:#999;aspect-ratio:16/9;background:#000}
figcaption{padding:.45rem .7rem;font-size:.88rem}figcaption small{color:var(--soft)}
.files a{display:inline-block;background:var(--tile);border-radius:6px;padding:.3rem .7rem;margin:0 .4rem .4rem 0;text-decoration:none}
";

/// The page.
pub fn html(page: &Page<'_>) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_page(&mut out, page);
    out
}

fn write_page(out: &mut String, page: &Page<'_>) -> std::fmt::Result {
    let title = escape(page.recording);
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{title}</title><style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n\
         <p>Model {}, profile {}. Scanned at {:.0} times real time.</p>\n",
        escape(page.model),
        escape(page.profile),
        page.speed
    )?;
    tiles(out, page)?;
    for note in page.notes {
        writeln!(out, "<p>{}.</p>", escape(note))?;
    }
    for label in page.labels.iter().filter(|l| l.fixed) {
        let name = escape(label_name(page, label.head, label.label));
        writeln!(
            out,
            "<div class=\"warn\"><b>{name}: it keeps looking at one small place.</b> {} of all heat \
             for this label lies on a tenth of the picture, whatever the picture shows. That is \
             how a classifier behaves that has learnt the channel's logo or ticker instead of \
             the programme; on another channel it may fail. Look at the map below.</div>",
            percent(label.fixation)
        )?;
    }
    for number in 0..page.heads.len() {
        head(out, page, number)?;
    }
    attention(out, page)?;
    downloads(out, page)?;
    out.push_str("</body></html>\n");
    Ok(())
}

fn label_name<'a>(page: &'a Page<'_>, head: usize, label: usize) -> &'a str {
    page.heads.get(head).and_then(|(_, labels)| labels.get(label)).map_or("", |l| l)
}

/// Each label of the first head: how often, how long.
fn tiles(out: &mut String, page: &Page<'_>) -> std::fmt::Result {
    let mut tiles = vec![(clock(page.duration_s), "length".to_owned())];
    if let Some((name, labels)) = page.heads.first() {
        for label in labels {
            let of = || page.segments.iter().filter(|s| s.head == *name && s.label == *label);
            let seconds: f64 = of().map(|s| s.end.secs_since(s.start)).sum();
            if seconds > 0.0 {
                let part = percent((seconds / page.duration_s.max(1e-9)) as f32);
                let n = of().count();
                let what =
                    format!("{} in {n} segment{}", escape(label), if n == 1 { "" } else { "s" });
                tiles.push((format!("{} · {part}", clock(seconds)), what));
            }
        }
    }
    out.push_str("<div class=\"tiles\">");
    for (value, name) in tiles {
        write!(out, "<div class=\"tile\"><b>{value}</b><span>{name}</span></div>")?;
    }
    out.push_str("</div>\n");
    Ok(())
}

fn head(out: &mut String, page: &Page<'_>, number: usize) -> std::fmt::Result {
    let (name, labels) = &page.heads[number];
    let segments: Vec<(usize, &Segment)> =
        page.segments.iter().enumerate().filter(|(_, s)| s.head == *name).collect();
    writeln!(out, "<h2>{}</h2>", escape(name))?;
    let used: Vec<usize> =
        (0..labels.len()).filter(|i| segments.iter().any(|(_, s)| s.label == labels[*i])).collect();
    out.push_str("<p>");
    for &i in &used {
        let (colour, label) = (colour(i), escape(&labels[i]));
        write!(
            out,
            "<span class=\"key\"><span class=\"dot\" style=\"background:{colour}\"></span>{label}</span>"
        )?;
    }
    out.push_str("</p>\n");
    charts::ribbon(out, page, labels, &segments)?;
    charts::strip(out, page, number, &used)?;
    table(out, labels, &segments)?;
    stills(out, page, &segments)
}

fn table(
    out: &mut String,
    labels: &[Arc<str>],
    segments: &[(usize, &Segment)],
) -> std::fmt::Result {
    out.push_str(
        "<h3>Segments</h3>\n<div class=\"scroll\"><table><tr><th>Start</th><th>End</th><th>Length</th>\
         <th class=\"l\">Label</th><th>Confidence</th><th>Margin</th>\
         <th class=\"l\">Noticed at its start</th><th class=\"l\">Noticed at its end</th></tr>\n",
    );
    for (i, s) in segments {
        let place = labels.iter().position(|l| *l == s.label).unwrap_or(0);
        let margin =
            if s.margin.is_finite() { format!("{:.1}", s.margin) } else { "–".to_owned() };
        writeln!(
            out,
            "<tr id=\"s{i}\"><td><a href=\"#b{i}\">{}</a></td><td>{}</td><td>{}</td>\
             <td class=\"l\"><span class=\"dot\" style=\"background:{}\"></span> {}</td>\
             <td>{}</td><td>{margin}</td><td class=\"l\">{}</td><td class=\"l\">{}</td></tr>",
            exact(s.start.as_secs_f64()),
            exact(s.end.as_secs_f64()),
            exact(s.end.secs_since(s.start)),
            colour(place),
            escape(&s.label),
            percent(s.confidence),
            kinds(&s.start_cues),
            kinds(&s.end_cues)
        )?;
    }
    out.push_str(
        "</table></div>\n<p>Confidence: the label's mean probability in the segment. Margin: how \
         many nats worse the best timeline without it is; segments below 2 deserve a look.</p>\n",
    );
    Ok(())
}

fn kinds(kinds: &[CueKind]) -> String {
    let names: Vec<String> = kinds.iter().map(|k| k.name().replace('_', " ")).collect();
    if names.is_empty() { "–".to_owned() } else { names.join(", ") }
}

fn stills(out: &mut String, page: &Page<'_>, segments: &[(usize, &Segment)]) -> std::fmt::Result {
    let of_head = |look: &&BoundaryLook| segments.iter().any(|(i, _)| *i == look.segment);
    let looks: Vec<&BoundaryLook> = page.boundaries.iter().filter(of_head).collect();
    if looks.is_empty() {
        return Ok(());
    }
    let heat = match page.no_heat.first() {
        Some(why) => format!("There is no heat: {}.", escape(why)),
        None => "The heat is the evidence for the label on that side; point at a picture to see \
                 it without."
            .to_owned(),
    };
    writeln!(out, "<h3>Boundaries</h3>\n<p>Before and after. {heat}</p>\n<div class=\"sheet\">")?;
    for look in looks {
        let i = look.segment;
        let (Some(before), Some(after)) =
            (i.checked_sub(1).and_then(|i| page.segments.get(i)), page.segments.get(i))
        else {
            continue;
        };
        write!(out, "<figure id=\"b{i}\"><div>")?;
        still(out, look.before.as_ref())?;
        still(out, look.after.as_ref())?;
        let says = |look: &Option<StillLook>| {
            look.as_ref().map_or_else(|| "–".to_owned(), |l| percent(l.probability))
        };
        writeln!(
            out,
            "</div><figcaption><b><a href=\"#s{i}\">{}</a></b> {} {} → <b>{}</b> {}<br>\
             <small>noticed: {}</small></figcaption></figure>",
            exact(after.start.as_secs_f64()),
            escape(&before.label),
            says(&look.before),
            escape(&after.label),
            says(&look.after),
            kinds(&after.start_cues)
        )?;
    }
    out.push_str("</div>\n");
    Ok(())
}

fn still(out: &mut String, look: Option<&StillLook>) -> std::fmt::Result {
    let Some(look) = look else {
        out.push_str("<div class=\"none\">no picture</div>");
        return Ok(());
    };
    let at = exact(look.at_s);
    write!(
        out,
        "<div class=\"still\"><img alt=\"picture at {at}\" src=\"{}\">",
        image(&look.picture)
    )?;
    if let Some(heat) = &look.heat {
        write!(out, "<img class=\"heat\" alt=\"heat at {at}\" src=\"{}\">", image(heat))?;
    }
    out.push_str("</div>");
    Ok(())
}

fn attention(out: &mut String, page: &Page<'_>) -> std::fmt::Result {
    if page.labels.is_empty() {
        return Ok(());
    }
    out.push_str(
        "<h2>What it looks at</h2>\n<p>The mean of all pictures that were given a label, and the \
         mean of their heat, stretched to full. Heat everywhere alike has 10 % on the hottest \
         tenth of the picture.</p>\n<div class=\"sheet\">\n",
    );
    for look in page.labels {
        let name = escape(label_name(page, look.head, look.label));
        let head = escape(page.heads.get(look.head).map_or("", |(name, _)| name));
        let warning = if look.fixed { " · <b>one small place</b>" } else { "" };
        writeln!(
            out,
            "<figure><div><img alt=\"mean picture of {name}\" src=\"{}\" style=\"width:100%\">\
             <img alt=\"mean heat of {name}\" src=\"{}\" style=\"width:100%\"></div>\
             <figcaption>when it says <b>{name}</b> <small>({head})</small><br><small>{} pictures · \
             {} of the heat on the hottest tenth{warning}</small></figcaption></figure>",
            image(&look.mean),
            image(&look.heat),
            look.pictures,
            percent(look.fixation)
        )?;
    }
    out.push_str("</div>\n");
    Ok(())
}

fn downloads(out: &mut String, page: &Page<'_>) -> std::fmt::Result {
    if page.downloads.is_empty() {
        return Ok(());
    }
    out.push_str("<h2>Files</h2>\n<p class=\"files\">");
    for file in page.downloads {
        let name = escape(&file.name);
        let data = STANDARD.encode(&file.text);
        write!(
            out,
            "<a download=\"{name}\" href=\"data:application/octet-stream;base64,{data}\">{name}</a>"
        )?;
    }
    out.push_str("</p>\n");
    Ok(())
}

fn image(jpeg: &[u8]) -> String {
    format!("data:image/jpeg;base64,{}", STANDARD.encode(jpeg))
}

fn percent(part: f32) -> String {
    format!("{:.0} %", part * 100.0)
}

/// Seconds as people read them: `1:02:03`.
fn clock(seconds: f64) -> String {
    let s = seconds.max(0.0).round() as u64;
    format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}

/// The same with milliseconds.
fn exact(seconds: f64) -> String {
    let ms = (seconds.max(0.0) * 1e3).round() as u64;
    format!("{}.{:03}", clock((ms / 1000) as f64), ms % 1000)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}
