//! Any text as the list of a recording's breaks, whatever its format.
#![no_main]

use heatcast::timeline::cut_list;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for parsed in [cut_list::parse(text), cut_list::parse_edl(text), cut_list::parse_events(text)] {
        for found in parsed.into_iter().flatten() {
            assert!(found.start_s <= found.end_s, "a break ends before it begins: {found:?}");
        }
    }
});
