#![no_main]

libfuzzer_sys::fuzz_target!(|input: &str| baseten_auth::fuzzing::auth_json(input));
