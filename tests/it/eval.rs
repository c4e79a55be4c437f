//! `heatcast eval` on pictures whose answers are known.

use std::path::Path;
use std::process::Command;

use crate::common::{Dir, counter_model, fails, heatcast, json_of, text};
use crate::pictures::write_number;

fn eval(dataset: &Path, more: &[&str]) -> Command {
    let mut command = heatcast(["eval", "-q", "--model"]);
    command.arg(counter_model()).arg(dataset).args(more);
    command
}

/// Sixteen pictures of two classes, two of them under the wrong label.
fn sixteen(dir: &Dir) -> std::path::PathBuf {
    for i in 0..8 {
        let spot = format!("set/n001/spot {}/{i}.png", i / 4);
        write_number(&dir.path(&spot), 1);
        let wrong = i >= 6;
        let spot = format!("set/N002/spot {}/{i}.png", 2 + i / 4);
        write_number(&dir.path(&spot), if wrong { 3 } else { 2 });
    }
    dir.path("set")
}

#[test]
fn a_set_with_known_answers_gets_the_known_scores() {
    let dir = Dir::new();
    let set = sixteen(&dir);
    let scores = json_of(eval(&set, &["--json", "--head", "number"]));
    let near = |key: &str, wanted: f64| {
        let got = scores[key].as_f64().unwrap();
        assert!((got - wanted).abs() < 1e-9, "{key}: {got}");
    };
    assert_eq!((&scores["head"], &scores["n"]), (&"number".into(), &16.into()));
    near("accuracy", 14.0 / 16.0);
    near("balanced_accuracy", (1.0 + 6.0 / 8.0) / 2.0);
    assert!(scores["auc"].is_null(), "of 128 classes there is no area");
    // Always sure, right fourteen times out of sixteen.
    assert!((scores["ece"].as_f64().unwrap() - 0.125).abs() < 0.01, "{}", scores["ece"]);
    assert_eq!(scores["labels"], serde_json::json!(["n001", "n002", "n003"]));
    assert_eq!(scores["confusion"], serde_json::json!([[8, 0, 0], [0, 6, 2], [0, 0, 0]]));
    assert_eq!(scores["per_class"][1]["recall"], 0.75);
    assert_eq!(scores["per_class"][2]["precision"], 0.0);
    assert!(scores["per_class"][2]["recall"].is_null());
    let worst = &scores["groups"][0];
    assert_eq!((&worst["group"], &worst["accuracy"]), (&"spot 3".into(), &0.5.into()));
    assert_eq!(scores["groups"].as_array().unwrap().len(), 4);
}

#[test]
fn the_report_shows_the_mistakes_with_their_heat() {
    let dir = Dir::new();
    let (set, page) = (sixteen(&dir), dir.path("out.html"));
    let report = |more: &[&str]| {
        let mut command = eval(&set, more);
        command.arg("--report").arg(&page);
        command
    };
    let out = report(&[]).output().unwrap();
    assert!(out.status.success(), "{}", text(&out.stderr));
    let said = text(&out.stdout);
    assert!(said.contains("balanced accuracy  0.875") && said.contains("spot 3"), "{said}");
    let html = std::fs::read_to_string(&page).unwrap();
    assert_eq!(html.matches("<figure>").count(), 2);
    assert_eq!(html.matches("data:image/jpeg;base64,").count(), 4, "each mistake with its heat");
    assert!(html.contains("N002/spot 3/6.png") && html.contains("<b>n003</b>"));
    // The picture and the one with heat differ.
    let mut pictures = html.split("base64,").skip(1).map(|rest| rest.split('"').next().unwrap());
    assert_ne!(pictures.next(), pictures.next());
    fails(report(&[]), 2, &["exists", "--force"]);
    assert!(report(&["--force", "--mistakes", "1"]).output().unwrap().status.success());
    assert_eq!(std::fs::read_to_string(&page).unwrap().matches("<figure>").count(), 1);
}

#[test]
fn rows_of_a_table_are_chosen_by_task_and_split() {
    let dir = Dir::new();
    for n in [1, 2, 3] {
        write_number(&dir.path(&format!("images/{n}.png")), n);
    }
    let rows = "path,task,cls,split,group\nimages/1.png,a,n001,val,x\nimages/2.png,a,n009,train,y\n\
                images/3.png,b,other thing,val,z\nimages/2.png,a,n002,val,y\n";
    std::fs::write(dir.path("manifest.csv"), rows).unwrap();
    let chosen = ["--json", "--task", "a", "--split", "val"];
    let by_table = json_of(eval(&dir.path("manifest.csv"), &chosen));
    let by_folder = json_of(eval(&dir.path(""), &chosen));
    assert_eq!((&by_table["n"], &by_table["accuracy"]), (&2.into(), &1.0.into()));
    assert_eq!(by_table["balanced_accuracy"], by_folder["balanced_accuracy"]);
    fails(eval(&dir.path("manifest.csv"), &[]), 2, &["--task: a, b"]);
    fails(eval(&dir.path("manifest.csv"), &["--task", "b"]), 2, &["no class \"other thing\""]);
}

#[test]
fn pictures_that_cannot_be_read_are_named_and_skipped() {
    let dir = Dir::new();
    let set = sixteen(&dir);
    let class = set.join("n001");
    std::fs::write(class.join("empty.jpg"), b"").unwrap();
    std::fs::write(class.join("prose.png"), "All happy families are alike.").unwrap();
    let whole = std::fs::read(class.join("spot 0/0.png")).unwrap();
    std::fs::write(class.join("cut.png"), &whole[..whole.len() / 2]).unwrap();
    let mut loud = heatcast(["eval", "--json", "--model"]);
    let out = loud.arg(counter_model()).arg(&set).output().unwrap();
    let (said, scores) = (text(&out.stderr), text(&out.stdout));
    assert!(out.status.success(), "{said}");
    for why in ["empty.jpg is empty", "prose.png is no JPEG", "cut.png is damaged"] {
        assert!(said.contains(why), "no {why}: {said}");
    }
    assert!(scores.contains("\"skipped\": 3") && scores.contains("\"n\": 16"), "{scores}");
    let broken = dir.path("broken");
    std::fs::create_dir_all(broken.join("n001")).unwrap();
    std::fs::write(broken.join("n001/a.jpg"), b"").unwrap();
    fails(eval(&broken, &["--json"]), 1, &["none of the 1 pictures", "a.jpg is empty"]);
}

#[test]
fn what_does_not_fit_is_said_in_one_sentence() {
    let dir = Dir::new();
    let set = sixteen(&dir);
    fails(eval(&dir.path("nowhere"), &[]), 2, &["nowhere", "check that it exists"]);
    fails(eval(&set, &["--head", "sport"]), 2, &["no head \"sport\"", "number"]);
    fails(eval(&set, &["--threads", "0"]), 2, &["--threads is 0"]);
    fails(eval(&set, &["--split", "val"]), 2, &["--manifest"]);
    std::fs::create_dir_all(set.join("n005")).unwrap();
    fails(eval(&set, &[]), 2, &["n005", "holds no JPEG"]);
    write_number(&set.join("n005/1.png"), 5);
    write_number(&set.join("no51/1.png"), 5);
    fails(eval(&set, &[]), 2, &["no class \"no51\"", "did you mean"]);
    let one = dir.path("one");
    write_number(&one.join("n005/1.png"), 5);
    let mut loud = heatcast(["eval", "--model"]);
    let out = loud.arg(counter_model()).arg(&one).output().unwrap();
    assert!(text(&out.stderr).contains("all pictures are of one class"), "{}", text(&out.stderr));
}

#[test]
fn faithfulness_is_part_of_the_scores_and_of_the_report() {
    let dir = Dir::new();
    let (set, page) = (sixteen(&dir), dir.path("out.html"));
    let mut command = eval(&set, &["--json", "--faithfulness", "--sample", "6", "--method", "cam"]);
    command.arg("--report").arg(&page);
    let scores = json_of(command);
    let found = &scores["faithfulness"];
    // Every third picture of sixteen, from all four groups.
    assert_eq!((&found["n"], &found["groups"], &scores["n"]), (&6.into(), &4.into(), &16.into()));
    let methods = found["methods"].as_array().unwrap();
    assert_eq!(methods.len(), 3, "{found}");
    let deletion = &methods[0]["deletion"];
    let ci: Vec<f64> =
        deletion["ci95"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    let mean = deletion["mean"].as_f64().unwrap();
    assert!(0.0 < mean && mean < 1.0 && ci[0] <= mean && mean <= ci[1], "{deletion}");
    let html = std::fs::read_to_string(page).unwrap();
    assert!(html.contains("Faithfulness of the maps") && html.matches("<polyline").count() == 6);
    assert!(json_of(eval(&set, &["--json"])).get("faithfulness").is_none());
    fails(eval(&set, &["--faithfulness", "--sample", "0"]), 2, &["--sample is 0"]);
    fails(eval(&set, &["--faithfulness", "--method", "gradcan"]), 2, &["no method \"gradcan\""]);
}
