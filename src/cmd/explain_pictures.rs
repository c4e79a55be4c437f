//! `heatcast explain` for pictures: checks the arguments, lets the pipeline
//! work and says what came out.

use anyhow::{anyhow, bail};
use serde_json::{Map, Value, json};

use super::eval::threads;
use super::explain::{Args, wishes};
use super::faithful;
use super::model::finding_json;
use super::progress::Count;
use super::{Failure, result, talk};
use crate::config::Config;
use crate::eval::faithfulness::{Faithfulness, Look};
use crate::explain::{Methods, Seed};
use crate::overlay::SHEET_OPACITY;
use crate::pipeline::{self, ExplainPictures, ExplainedMap, ExplainedPicture};

pub(super) fn run(args: &Args, quiet: bool) -> Result<(), Failure> {
    let plan = pipeline::plan_pictures(job(args)?).map_err(Failure::usage)?;
    let (classifier, head) = plan.classifier();
    let mut out = classifier.map(|c| finding_json(c, head)).unwrap_or_default();
    if let Some(classifier) = classifier {
        out.insert("head".into(), json!(&*classifier.heads()[head].name));
    }
    let mut display = Count::new("pictures", quiet);
    let ended = pipeline::explain_pictures(plan, &mut |done, of| display.update(done, of));
    display.clear();
    let (pictures, failed) = ended.map_err(Failure::run)?;
    let looks: Vec<Look> = pictures.iter().flat_map(|p| p.looks.iter().cloned()).collect();
    let faithfulness = Faithfulness::of(&looks);
    if args.json {
        if let Some(found) = &faithfulness {
            out.insert("faithfulness".into(), json!(found));
        }
        result(format_args!("{:#}", as_json(out, &pictures, &failed)));
    } else {
        pictures.iter().for_each(describe);
        faithfulness.iter().for_each(faithful::print);
    }
    verdict(pictures.len(), &failed).map_err(Failure::run)
}

fn job(args: &Args) -> Result<ExplainPictures, Failure> {
    let measures = args.faithful.faithfulness;
    if args.output.is_none() && args.map.is_none() && !args.json && !measures {
        return Err(Failure::usage(anyhow!(
            "there is nowhere for the result to go: give -o FILE for one picture, -o FOLDER for several, --faithfulness or --json"
        )));
    }
    let mut settings = args.look.settings();
    settings.extend(args.layouts.settings().map_err(Failure::usage)?);
    let config = Config::load(None, &settings).map_err(Failure::usage)?;
    let overlay = &config.overlay;
    let sheet_opacity =
        if args.look.is_opacity_given() { overlay.opacity as f32 } else { SHEET_OPACITY };
    let style = overlay.look(1);
    let methods = args.method.parse::<Methods>().map_err(Failure::usage)?;
    Ok(ExplainPictures {
        images: args.images.clone(),
        output: args.output.clone(),
        map: args.map.clone(),
        force: args.force,
        model: args.model.clone().unwrap_or_else(|| config.model.name.clone()),
        labels: args.labels.clone(),
        explain: wishes(args, &config, methods, Seed::Auto)?,
        class: args.class.clone(),
        class_index: args.class_index,
        style,
        layout: config.overlay.layout,
        sheet_opacity,
        grid: args.grid,
        faithfulness: measures,
        boxes: args.faithful.boxes.clone(),
        threads: threads(args.threads).map_err(Failure::usage)?,
    })
}

fn as_json(mut out: Map<String, Value>, pictures: &[ExplainedPicture], failed: &[String]) -> Value {
    let of_map = |map: &ExplainedMap| {
        json!({
            "class": map.class.index,
            "label": &*map.class.label,
            "probability": map.class.probability,
            "logit": map.logit,
            "method": map.method.to_string(),
            "peak": rounded(map.heat.max().into()),
            "centroid": map.area.map(|a| a.centroid.map(rounded)),
            "box": map.area.map(|a| a.bbox.map(rounded)),
        })
    };
    let of_picture = |picture: &ExplainedPicture| {
        let top = picture
            .top
            .iter()
            .map(|c| json!({ "class": c.index, "label": &*c.label, "probability": c.probability }));
        json!({
            "picture": picture.input.display().to_string(),
            "output": picture.output.as_ref().map(|p| p.display().to_string()),
            "width": picture.size.width,
            "height": picture.size.height,
            "top": top.collect::<Vec<_>>(),
            "maps": picture.maps.iter().map(of_map).collect::<Vec<_>>(),
        })
    };
    out.insert("pictures".into(), pictures.iter().map(of_picture).collect());
    out.insert("failed".into(), json!(failed));
    Value::Object(out)
}

/// To four decimals.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// One line: the picture, and what speaks for what.
fn describe(picture: &ExplainedPicture) {
    let path = picture.output.as_ref().unwrap_or(&picture.input);
    let maps = picture.maps.iter().map(|map| {
        let (label, probability) = (&map.class.label, map.class.probability);
        format!("{label} {probability:.3} ({}, heat up to {:.2})", map.method, map.heat.max())
    });
    result(format_args!("{}: {}", path.display(), maps.collect::<Vec<_>>().join("; ")));
}

/// What went wrong, in one sentence for each picture.
fn verdict(done: usize, failed: &[String]) -> anyhow::Result<()> {
    let Some((last, others)) = failed.split_last() else { return Ok(()) };
    others.iter().for_each(|why| talk(format_args!("{why}")));
    match done {
        0 => bail!("{last}"),
        1 => bail!("{last}; the other picture is done"),
        n => bail!("{last}; the other {n} pictures are done"),
    }
}
