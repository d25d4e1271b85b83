#![no_main]

use format::{Marker, PathGrammar};

// What a listing of a backend may hold: anything, for others write there too.
libfuzzer_sys::fuzz_target!(|path: &str| {
    for prefix in ["", "some/prefix/"] {
        let _ = PathGrammar::new(prefix).parse(path);
    }
    let _ = Marker::parse(path);
});
