//! Any bytes as a picture file, made small for a classifier.
#![no_main]

use heatcast::preprocess::{InputSpec, Preprocessor, Resize};
use heatcast::still::Still;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(still) = Still::decode(bytes) else { return };
    assert_eq!(still.rgb.len(), 3 * still.size.width * still.size.height);
    for resize in [Resize::Stretch, Resize::Crop, Resize::Letterbox] {
        let spec = InputSpec { resize, ..InputSpec::new(24, 16) };
        let tensor = Preprocessor::new(&spec).run_still(&still);
        assert!(tensor.iter().all(|v| (0.0..=255.0).contains(v)));
    }
});
