//! Any bytes as a NumPy array; what is read is written and read again.
#![no_main]

use heatcast::npy::Array;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(array) = Array::parse(bytes) else { return };
    let again = Array::parse(&array.to_bytes()).expect("what was written is read");
    assert_eq!(array.shape, again.shape);
    let bits = |array: &Array| array.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&array), bits(&again));
});
