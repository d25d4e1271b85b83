#![no_main]

libfuzzer_sys::fuzz_target!(|input: (&str, u64)| gateway::fuzz::range(input.0, input.1));
