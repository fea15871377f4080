#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| baseten_auth::fuzzing::lent_line(input));
