//! A text as a jq program, as a path of values to hide, and as what passes between the two processes: no panic, and whatever is wrong with
//! it has a reason.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nomad_firehose::program;

fuzz_target!(|bytes: &[u8]| {
    program::take_apart(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Err(fault) = program::check(text) {
        assert!(!fault.to_string().is_empty());
    }
    if let Ok(path) = text.parse::<program::Path>() {
        assert_eq!(path.to_string().parse(), Ok(path));
    }
});
