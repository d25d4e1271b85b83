//! Flags as Go programs take them.

use std::ffi::{OsStr, OsString};

/// `-config` as `--config`, which is all that parsers of flags here know. Single letters stay as they are, and what follows `--` is no flag.
#[must_use]
pub fn with_double_dashes(args: Vec<OsString>) -> Vec<OsString> {
    let mut flags_ended = false;
    let normal = |arg: OsString| {
        flags_ended |= arg == "--";
        let bytes = arg.as_encoded_bytes();
        let is_long = bytes.len() > 2 && bytes[0] == b'-' && bytes[1].is_ascii_alphabetic();
        if flags_ended || !is_long {
            return arg;
        }
        let mut doubled = OsString::from("-");
        doubled.push(OsStr::new(&arg));
        doubled
    };
    args.into_iter().map(normal).collect()
}
