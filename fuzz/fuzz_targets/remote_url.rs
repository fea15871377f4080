#![no_main]

libfuzzer_sys::fuzz_target!(|input: &str| baseten_auth::fuzzing::remote_url(input));
