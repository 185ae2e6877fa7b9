#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| leadelect_fuzz::vote_file(bytes));
