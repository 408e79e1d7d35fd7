//! Files that lie, and time that is short.

use super::*;
use crate::telemetry::metrics::Metric;

#[test]
fn without_time_functions_have_symbol_names_and_are_asked_again() {
    let compiled = c(&["-g"]);
    let (mut names, metrics) = names(Duration::ZERO);
    let executable = Executable::of_file(&compiled.program).unwrap();
    let here = compiled.address("here");
    for asked in 1..=2 {
        assert_eq!(sites_in(&mut names, &executable, here), ["outer :0"]);
        assert_eq!(metrics.get(Metric::DebugInfoPostponed, ""), f64::from(asked));
        names.end_window();
    }
}

#[test]
fn damaged_debug_info_costs_lines_and_never_the_agent() {
    let compiled = c(&["-gdwarf-5"]);
    let here = compiled.address("here");
    let whole = std::fs::read(&compiled.program).unwrap();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..300 {
        let mut damaged = whole.clone();
        for _ in 0..1 + round % 40 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            // Debug info and what comes after it.
            let at = 0x3000 + random as usize % (damaged.len() - 0x3000);
            damaged[at] = (random >> 32) as u8;
        }
        let path = compiled.path("damaged");
        std::fs::write(&path, &damaged).unwrap();
        let sites = sites(&path, here);
        assert!(!sites.is_empty() && sites.len() <= 129, "{sites:?}");
    }
}

#[test]
fn packed_sections_that_are_too_large_are_refused() {
    let compiled = c(&["-g"]);
    let here = compiled.address("here");
    std::fs::write(compiled.path("zeros"), vec![0; 80 << 20]).unwrap();
    compiled.objcopy(&["--update-section", ".debug_str=zeros", "program"]);
    compiled.objcopy(&["--compress-debug-sections=zlib", "program"]);
    let (mut names, metrics) = names(Duration::from_secs(3600));
    assert_eq!(sites_of(&mut names, &compiled.program, here), ["outer :0"]);
    assert_eq!(metrics.get(Metric::DebugInfoRefused, "debug_info_too_large"), 1.0);
}

#[test]
fn inlined_functions_nested_without_end_end() {
    // Each function of a chain of 200 is inlined into the next.
    let mut source = String::from("volatile int sink;\n#define I static inline __attribute__((always_inline)) void\n");
    source += "I f0(void) { __asm__ volatile(\".globl here\\nhere:\\n\\tnop\"); sink = 1; }\n";
    for index in 1..200 {
        source += &format!("I f{index}(void) {{ f{}(); }}\n", index - 1);
    }
    source += "int main(void) { f199(); return 0; }\n";
    let compiled = compile("gcc", "a.c", &source, &["-O2", "-g"]);
    let sites = sites(&compiled.program, compiled.address("here"));
    assert_eq!(sites.len(), super::super::functions::MAX_INLINED + 1);
    assert_eq!(sites.last().unwrap(), "main a.c:203");
}
