//! What maps cost: one pass without maps, with one Grad-CAM map, with five
//! methods for five classes, taking turns in one run; and what loading costs.
//! Times are the thread's own processor time, so that a busy machine disturbs
//! them less. The row of 200 classes is a control: its cost must show, or the
//! others mean nothing. Run with `cargo bench --bench explain`;
//! `HEATCAST_BENCH_MODEL=x.onnx` measures another network than the shipped one.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "stdout is for results")]

use std::time::Instant;

use heatcast::explain::{Method, Methods};
use heatcast::model::{Classifier, Explain, Heads, Model, Options, Places, Wanted};

const ROUNDS: usize = 60;
const WARM_UP: usize = 10;

fn main() {
    let name = std::env::var("HEATCAST_BENCH_MODEL").unwrap_or("imagenet".to_owned());
    let model = Model::find(&name, &Places::from_env()).unwrap();
    let megabytes = std::fs::metadata(&model.onnx).unwrap().len() as f64 / 1e6;
    println!("{name}: {megabytes:.0} MB");
    let one = |method| Methods::These(vec![method]);
    let variants = [
        ("without maps", Heads::None, Methods::Auto, 0),
        ("cam, 1 class", Heads::First, one(Method::Cam), 1),
        ("gradcam, 1 class", Heads::First, one(Method::GradCam), 1),
        ("every method, 1 class", Heads::First, Methods::All, 1),
        ("every method, 5 classes", Heads::First, Methods::All, 5),
        ("every method, 200 classes", Heads::First, Methods::All, 200),
    ];
    let mut loaded = Vec::new();
    for (name, heads, methods, classes) in variants {
        let explain = Explain { heads, methods, top_k: 0, ..Explain::default() };
        let options = Options { explain, ..Options::default() };
        let begun = Instant::now();
        let classifier = Classifier::load(&model, &options).unwrap();
        let seconds = begun.elapsed().as_secs_f64();
        if classes > 0 && classifier.finding(0).is_none() {
            println!("{name:26} {}", classifier.why_no_map(0).unwrap());
            continue;
        }
        println!("{name:26} loaded in {seconds:.3} s");
        let classes = classes.min(classifier.heads()[0].labels.len());
        let wanted: Vec<Wanted> = (0..classes).map(|class| Wanted { head: 0, class }).collect();
        let methods = classifier.methods(0).len();
        loaded.push((name, classifier, wanted, methods, Vec::new()));
    }
    let count = loaded[0].1.input_len();
    let picture: Vec<f32> = (0..count).map(|i| (i % 251) as f32 / 125.0 - 1.0).collect();
    for round in 0..ROUNDS + WARM_UP {
        for (_, classifier, wanted, methods, times) in &mut loaded {
            let begun = cpu_time::ThreadTime::now();
            let out = classifier.run(&picture, wanted).unwrap();
            let took = begun.elapsed().as_secs_f64() * 1e3;
            assert_eq!(out.maps.len(), *methods * wanted.len());
            if round >= WARM_UP {
                times.push(took);
            }
        }
    }
    let mut base = None;
    for (name, _, _, _, mut times) in loaded {
        times.sort_by(f64::total_cmp);
        let (median, least) = (times[times.len() / 2], times[0]);
        let (base_median, base_least) = *base.get_or_insert((median, least));
        println!(
            "{name:26} median {median:8.3} ms ({:.3}x)  least {least:8.3} ms ({:.3}x, {:+.3} ms)",
            median / base_median,
            least / base_least,
            least - base_least
        );
    }
}
