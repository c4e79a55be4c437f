//! `heatcast explain` on pictures whose answer and heat are known: the counter
//! model's evidence lies in the top left corner, a quarter of the width and half
//! of the height.

use std::path::Path;
use std::process::Command;

use heatcast::npy::Array;

use crate::common::{Dir, counter_model, fails, heatcast, json_of, text};
use crate::pictures::{number, write_number};

/// `heatcast explain` with the counter model.
fn explain(images: &[&Path], more: &[&str]) -> Command {
    let mut command = heatcast(["explain", "-q", "--model"]);
    command.arg(counter_model()).args(images).args(more);
    command
}

fn to(mut command: Command, output: &Path) -> Command {
    command.arg("-o").arg(output);
    command
}

fn done(mut command: Command) -> String {
    let out = command.output().unwrap();
    assert!(out.status.success(), "{command:?}: {}", text(&out.stderr));
    text(&out.stdout)
}

fn opened(path: &Path) -> image::RgbImage {
    image::ImageReader::open(path).unwrap().with_guessed_format().unwrap().decode().unwrap().into()
}

/// Mean difference of two pictures in a part: left, top, right and bottom in
/// hundredths.
fn change(a: &image::RgbImage, b: &image::RgbImage, part: [u32; 4]) -> f64 {
    let (w, h) = a.dimensions();
    let (mut sum, mut n) = (0.0, 0.0);
    for y in part[1] * h / 100..part[3] * h / 100 {
        for x in part[0] * w / 100..part[2] * w / 100 {
            let (a, b) = (a.get_pixel(x, y).0, b.get_pixel(x, y).0);
            sum += (0..3).map(|c| f64::from(a[c].abs_diff(b[c]))).sum::<f64>();
            n += 3.0;
        }
    }
    sum / n
}

#[test]
fn heat_is_painted_where_the_evidence_is_and_nowhere_else_in_every_format() {
    let dir = Dir::new();
    let before = number(100, 320, 180);
    for input in ["in.png", "in.webp"] {
        before.save(dir.path(input)).unwrap();
        for (output, exact) in [("out.png", true), ("out.webp", true), ("out.JPG", false)] {
            let (input, output) = (dir.path(input), dir.path(output));
            let said = done(to(explain(&[&input], &["--hud", "off", "--force"]), &output));
            assert!(said.contains("n100 1.000 (cam"), "{said}");
            let after = opened(&output);
            assert_eq!(after.dimensions(), (320, 180));
            let inside = change(&before, &after, [2, 2, 23, 45]);
            let outside = change(&before, &after, [40, 0, 100, 100]);
            assert!(inside > 15.0, "{inside}");
            assert!(if exact { outside == 0.0 } else { outside < 3.0 }, "{outside}");
        }
    }
    assert_eq!(dir.names(), ["in.png", "in.webp", "out.JPG", "out.png", "out.webp"]);
    // The panel lies over the picture, and other colours look different.
    let (png, panel) = (dir.path("in.png"), dir.path("panel.png"));
    done(to(explain(&[&png], &[]), &panel));
    assert!(change(&opened(&dir.path("out.png")), &opened(&panel), [5, 5, 40, 30]) > 10.0);
    let viridis = dir.path("viridis.png");
    done(to(explain(&[&png], &["--hud", "off", "--colormap", "viridis"]), &viridis));
    assert!(change(&opened(&dir.path("out.png")), &opened(&viridis), [2, 2, 23, 45]) > 5.0);
    let clear = dir.path("clear.png");
    done(to(explain(&[&png], &["--hud", "off", "--opacity", "0"]), &clear));
    assert_eq!(opened(&clear), before);
}

#[test]
fn the_original_stands_to_the_left() {
    let dir = Dir::new();
    let (input, over, side) = (dir.path("in.png"), dir.path("over.png"), dir.path("side.png"));
    // An odd width: nothing is rounded.
    let before = number(100, 319, 181);
    before.save(&input).unwrap();
    done(to(explain(&[&input], &["--layout", "over"]), &over));
    done(to(explain(&[&input], &["--layout", "side"]), &side));
    let both = opened(&side);
    assert_eq!(both.dimensions(), (638, 181));
    let half = |left| image::imageops::crop_imm(&both, left, 0, 319, 181).to_image();
    assert_eq!(half(0), before);
    assert_eq!(half(319), opened(&over));
    assert_ne!(half(319), before);

    // On a contact sheet it stands before each row; its caption is no class.
    let size = |more: &[&str]| {
        let mut command = explain(&[&input], more);
        command.args(["--grid", "--force", "--hud", "off"]);
        done(to(command, &side));
        opened(&side)
    };
    let (plain, both) = (size(&[]), size(&["--layout", "side"]));
    let column = both.width() - plain.width();
    assert!(column >= 480 && both.height() == plain.height());
    let right = image::imageops::crop_imm(&both, column + 8, 30, 480, 270).to_image();
    let left = image::imageops::crop_imm(&both, 8, 30, 480, 270).to_image();
    assert_eq!(right, image::imageops::crop_imm(&plain, 8, 30, 480, 270).to_image());
    assert!(change(&left, &right, [2, 2, 23, 45]) > 15.0);
    assert_eq!(change(&left, &right, [40, 0, 100, 100]), 0.0);

    // Both layouts that the flag has are taken at once; a third one is refused.
    done(to(explain(&[&input], &["--layout", "side", "--layout", "nchw", "--force"]), &side));
    assert_eq!(opened(&side).width(), 638);
    fails(explain(&[&input], &["--json", "--layout", "left"]), 2, &["over or side", "tokens"]);
}

#[test]
fn the_findings_tell_class_probability_and_place_of_every_map() {
    let dir = Dir::new();
    let (path, map) = (dir.path("n063.png"), dir.path("map.npy"));
    write_number(&path, 63);
    let mut command =
        explain(&[&path], &["--json", "--class", "top, n005", "--method", "cam,gradcam"]);
    command.arg("--map").arg(&map);
    let said = json_of(command);
    assert_eq!((&said["head"], &said["head_kind"]), (&"number".into(), &"pool_linear".into()));
    let picture = &said["pictures"][0];
    assert_eq!((&picture["width"], &picture["height"]), (&128.into(), &72.into()));
    assert!(picture["output"].is_null() && said["failed"].as_array().unwrap().is_empty());
    assert_eq!(picture["top"][0]["label"], "n063");
    let maps = picture["maps"].as_array().unwrap();
    let named: Vec<_> = maps
        .iter()
        .map(|m| (m["label"].as_str().unwrap(), m["method"].as_str().unwrap()))
        .collect();
    assert_eq!(named, [("n063", "cam"), ("n063", "gradcam"), ("n005", "cam"), ("n005", "gradcam")]);
    assert!(maps[0]["probability"].as_f64().unwrap() > 0.99 && maps[0]["class"] == 63);
    assert!(maps[2]["probability"].as_f64().unwrap() < 0.01);
    // 64/128 of full heat in the top left two by two of four by eight cells.
    for found in &maps[..2] {
        assert!((found["peak"].as_f64().unwrap() - 0.5).abs() < 1e-3, "{found}");
        assert_eq!(found["box"], serde_json::json!([0.0, 0.0, 0.25, 0.5]));
        assert_eq!(found["centroid"], serde_json::json!([0.125, 0.25]));
    }
    assert!(maps[2]["peak"] == 0.0 && maps[2]["box"].is_null() && maps[2]["centroid"].is_null());
    let array = Array::parse(&std::fs::read(&map).unwrap()).unwrap();
    assert_eq!(array.shape, [4, 4, 8]);
    assert!((array.values[0] - 4.0).abs() < 1e-2 && array.values[2] == 0.0);
    assert!((array.values[2 * 32] + 96.0).abs() < 0.1, "evidence against is in the map");
}

#[test]
fn a_contact_sheet_has_a_row_for_each_class_and_a_column_for_each_method() {
    let dir = Dir::new();
    let (path, sheet) = (dir.path("n100.png"), dir.path("sheet.png"));
    number(100, 320, 180).save(&path).unwrap();
    let size = |more: &[&str]| {
        let mut command = explain(&[&path], more);
        command.arg("--force");
        done(to(command, &sheet));
        opened(&sheet).dimensions()
    };
    let one = size(&["--grid"]);
    let rows = size(&["--grid", "--class", "n100,n101"]);
    let columns = size(&["--method", "cam,gradcam++,layercam"]);
    assert!(one.0 >= 480 && rows.0 == one.0 && columns.1 == one.1, "{one:?} {rows:?}");
    assert!(rows.1 - one.1 > 270 && columns.0 - one.0 > 2 * 480, "{rows:?} {columns:?}");
    assert_eq!(
        size(&["--method", "all", "--class", "n100,n101"]).0,
        columns.0 + 2 * (columns.0 - one.0) / 2
    );
    // The class with evidence has heat, the one below has none.
    assert_eq!(size(&["--class", "n100,n101"]), rows);
    let both = opened(&sheet);
    let orange = |top: u32| {
        let part = image::imageops::crop_imm(&both, 20, top, 60, 60).to_image();
        part.pixels().filter(|p| p.0[0] > p.0[2].saturating_add(30)).count()
    };
    let step = rows.1 - one.1;
    assert!(orange(60) > 3000, "{}", orange(60));
    assert_eq!(orange(60 + step), 0);
}

#[test]
fn folders_and_patterns_fill_a_folder_and_what_fails_does_not_stop_the_others() {
    let dir = Dir::new();
    for n in [3, 7, 20] {
        write_number(&dir.path(&format!("set/{n}.png")), n);
    }
    let (set, out) = (dir.path("set"), dir.path("out"));
    let said = done(to(explain(&[&set], &[]), &out));
    for n in ["n003", "n007", "n020"] {
        assert!(said.contains(n), "{said}");
    }
    fails(to(explain(&[&set], &[]), &out), 2, &["out/20.png exists", "--force"]);
    let pattern = dir.path("set/?.png");
    let json = json_of(to(explain(&[&pattern], &["--json"]), &dir.path("few")));
    assert_eq!(json["pictures"].as_array().unwrap().len(), 2);
    assert_eq!(json["pictures"][1]["output"], dir.path("few/7.png").display().to_string());

    std::fs::write(set.join("prose.jpg"), "All happy families are alike.").unwrap();
    fails(
        to(explain(&[&set], &[]), &dir.path("again")),
        1,
        &["prose.jpg is no JPEG, PNG or WebP picture; the other 3 pictures are done"],
    );
    assert!(dir.path("again/20.png").exists() && !dir.path("again/prose.jpg").exists());
    let gone = dir.path("gone.png");
    let two = [gone.as_path(), &set.join("3.png")];
    let missing = ["gone.png: there is no such file", "the other picture is done"];
    fails(to(explain(&two, &[]), &dir.path("rest")), 1, &missing);
    assert!(dir.path("rest/3.png").exists());
}

#[test]
fn what_cannot_be_done_is_said_in_one_sentence_before_anything_is_written() {
    let dir = Dir::new();
    let path = dir.path("n001.png");
    write_number(&path, 1);
    let out = dir.path("out.png");
    let wrong = |more: &[&str]| to(explain(&[&path], more), &out);
    fails(wrong(&["--class", "n01"]), 2, &["no class `n01`", "did you mean `n01"]);
    fails(wrong(&["--class", "n001,x"]), 2, &["no class `x`"]);
    fails(wrong(&["--class-index", "128"]), 2, &["no class 128", "0 to 127"]);
    fails(wrong(&["--method", "cam,gradcan"]), 2, &["no method \"gradcan\""]);
    fails(wrong(&["--head", "sport"]), 2, &["no head \"sport\""]);
    fails(wrong(&["--seed", "odds"]), 2, &["no seed \"odds\""]);
    fails(wrong(&["--opacity", "2"]), 2, &["overlay.opacity", "0 (invisible) to 1"]);
    fails(wrong(&["--threads", "0"]), 2, &["--threads is 0"]);
    fails(explain(&[&path], &[]), 2, &["-o FILE"]);
    fails(to(explain(&[&path], &[]), &dir.path("out.gif")), 2, &["unknown output type", ".png"]);
    fails(to(explain(&[&path], &["--force"]), &path), 2, &["n001.png is an input"]);
    fails(to(explain(&[&dir.path("no.png")], &[]), &out), 2, &["no.png: there is no such file"]);
    std::fs::create_dir(dir.path("empty")).unwrap();
    fails(to(explain(&[&dir.path("empty")], &[]), &dir.path("o")), 2, &["holds no JPEG"]);
    fails(to(explain(&[&dir.path("*.jpg")], &[]), &dir.path("o")), 2, &["check the pattern"]);
    let cut = dir.path("cut.png");
    std::fs::write(&cut, &std::fs::read(&path).unwrap()[..60]).unwrap();
    fails(to(explain(&[&cut], &[]), &out), 1, &["cut.png is damaged or cut off"]);
    assert_eq!(dir.names(), ["cut.png", "empty", "n001.png"]);
}

#[test]
fn all_means_the_methods_that_the_head_allows() {
    let dir = Dir::new();
    let path = dir.path("n001.png");
    write_number(&path, 1);
    let mut command = heatcast(["explain", "-q", "--json", "--method", "all", "--class", "1"]);
    command.arg(&path).arg("--model").arg("tests/golden/gap_mlp_bn_hardswish/model.ts.onnx");
    let said = json_of(command);
    let maps = said["pictures"][0]["maps"].as_array().unwrap();
    let methods: Vec<_> = maps.iter().map(|m| m["method"].clone()).collect();
    assert_eq!(serde_json::Value::from(methods), said["methods"]);
    assert_eq!(maps.len(), 4, "cam needs another head");
    assert!(maps.iter().all(|m| m["class"] == 1));
}

#[test]
fn faithfulness_is_measured_against_chance_and_boxes() {
    let dir = Dir::new();
    for n in [3, 90] {
        write_number(&dir.path(&format!("set/{n}.png")), n);
    }
    // Where the map of the tiny model is: a quarter of the width, half of the
    // height; and a box of another class.
    let table = dir.path("boxes.csv");
    let rows = "path,label,x,y,w,h\nset/90.png,n090,0,0,32,36\nset/90.png,n001,100,50,9,9\n";
    std::fs::write(&table, rows).unwrap();
    let set = dir.path("set");
    let with = |more: &[&str]| {
        let mut command = explain(&[&set], more);
        command.args(["--faithfulness", "--method", "all", "--boxes"]).arg(&table);
        command
    };
    let said = json_of(with(&["--json"]));
    let found = &said["faithfulness"];
    assert_eq!(
        (&found["n"], &found["groups"], &found["with_boxes"]),
        (&2.into(), &2.into(), &1.into())
    );
    let methods = found["methods"].as_array().unwrap();
    let names: Vec<_> = methods.iter().map(|m| m["method"].as_str().unwrap()).collect();
    assert_eq!(names, ["cam", "gradcam", "gradcam++", "layercam", "hirescam", "random", "centre"]);
    let [cam, random] = [&methods[0], &methods[5]];
    assert_eq!(cam["deletion"], methods[1]["deletion"], "one linear layer: the same map");
    assert_eq!(cam["pointing"]["mean"], 1.0);
    assert!(cam["energy"]["mean"].as_f64().unwrap() > 0.6, "{cam}");
    assert!(cam["lead"]["energy"]["mean"].as_f64().unwrap() > 0.1, "{cam}");
    assert!(random["lead"].is_null());
    for method in methods {
        let curve = |name: &str| -> Vec<f64> {
            method[name].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
        };
        let (deletion, insertion) = (curve("deletion_curve"), curve("insertion_curve"));
        assert_eq!((deletion.len(), insertion.len()), (17, 17));
        // Sure of the whole picture, and not of a blank one.
        assert!(deletion[0] > 0.99 && insertion[16] > 0.99, "{method}");
        assert!(deletion[16] < 0.5, "{method}");
    }
    let table = done(with(&["--threads", "1"]));
    for words in ["set/3.png: n003", "faithfulness: 2 pictures", "energy", "centre", "lead over"] {
        assert!(table.contains(words), "no {words} in {table}");
    }
    let mut command = explain(&[&set], &["--json", "--faithfulness", "--boxes"]);
    command.arg(dir.path("no.csv"));
    fails(command, 2, &["cannot read", "no.csv"]);
}
