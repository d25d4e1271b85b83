#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| gateway::fuzz::tagging(text));
