//! Any bytes as a transport stream whose times are looked for.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut times = heatcast::mpegts::PesTimes::new(Cursor::new(bytes));
    for pid in [0x21, 0x41, 0x100] {
        let _ = times.first(pid, 20);
        while times.find(pid, &[0, 0, 1]).is_some() {}
    }
});
