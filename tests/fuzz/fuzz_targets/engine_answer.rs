#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| profiler_fuzz::fuzz::engine_answer(data));
