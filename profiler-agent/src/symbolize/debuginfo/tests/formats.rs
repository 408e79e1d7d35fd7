//! Versions of DWARF, packed sections, languages.

use super::*;

#[test]
fn every_version_of_dwarf_has_inlined_functions_and_lines() {
    for flags in [
        &["-gdwarf-5"][..],
        &["-gdwarf-4"],
        &["-gdwarf-3", "-gstrict-dwarf"],
        &["-gdwarf-2"],
        &["-gdwarf-5", "-gdwarf64"],
        &["-gdwarf-5", "-no-pie"],
        &["-gdwarf-5", "-flto", "-ffat-lto-objects"],
        &["-gdwarf-5", "-ffunction-sections", "-Wl,--gc-sections"],
    ] {
        let compiled = c(flags);
        assert_eq!(sites(&compiled.program, compiled.address("here")), C_SITES, "{flags:?}");
    }
}

#[test]
fn packed_sections_are_unpacked() {
    for packing in ["zlib", "zlib-gnu", "zstd", "none"] {
        let compiled = c(&["-gdwarf-5"]);
        compiled.objcopy(&[&format!("--compress-debug-sections={packing}"), "program"]);
        assert_eq!(sites(&compiled.program, compiled.address("here")), C_SITES, "{packing}");
    }
}

#[test]
fn a_unit_without_aranges_is_found_by_its_ranges() {
    let compiled = c(&["-g"]);
    let here = compiled.address("here");
    compiled.objcopy(&["--remove-section=.debug_aranges", "program"]);
    assert_eq!(sites(&compiled.program, here), C_SITES);
}

#[test]
fn files_have_their_folders() {
    let compiled = c(&["-g"]);
    let (mut names, _) = names(Duration::from_secs(3600));
    let found = names.find(&Executable::of_file(&compiled.program).unwrap(), &[compiled.address("here")]);
    assert_eq!(&*found[0][0].file, compiled.path("a.c").canonicalize().unwrap().to_str().unwrap());
}

#[test]
fn lines_without_functions_go_with_the_symbol() {
    let assembly = ".globl main, here\n.type main, @function\nmain:\n\tnop\nhere:\n\tnop\n\tret\n.size main, .-main\n";
    let compiled = compile("gcc", "a.s", assembly, &["-g"]);
    assert_eq!(sites(&compiled.program, compiled.address("here")), ["main a.s:6"]);
}

#[test]
fn split_debug_info_leaves_names_and_lines() {
    let compiled = c(&["-gdwarf-5", "-gsplit-dwarf"]);
    let (mut names, metrics) = names(Duration::from_secs(3600));
    assert_eq!(sites_of(&mut names, &compiled.program, compiled.address("here")), ["outer a.c:3"]);
    assert!(metrics.get(crate::telemetry::metrics::Metric::DebugInfoRefused, "split") > 0.0);
}

#[test]
fn cplusplus_names_have_scope_and_arguments() {
    let source = r#"volatile int sink;
namespace shop {
template <typename T> struct Cart {
    inline __attribute__((always_inline)) void add(T n) {
        __asm__ volatile(".globl here\nhere:\n\tnop"); sink = n;
    }
};
static __attribute__((noinline, noclone)) void fill(int n) {
    Cart<int> cart;
    cart.add(n);
}
}
int main() { shop::fill(1); return 0; }
"#;
    let compiled = compile("g++", "a.cc", source, &["-O2", "-g"]);
    assert_eq!(
        sites(&compiled.program, compiled.address("here")),
        ["shop::Cart<int>::add(int) a.cc:5", "shop::fill(int) a.cc:10"]
    );
}

#[test]
fn rust_closures_have_their_functions_name() {
    let source = r#"#![allow(named_asm_labels)]
use std::hint::black_box;
#[inline(never)]
fn work(values: &[u64]) -> u64 {
    values.iter().map(|&value| {
        unsafe { std::arch::asm!(".globl here", "here:", "nop") };
        value * 3
    }).fold(0, u64::wrapping_add)
}
fn main() {
    black_box(work(black_box(&[1])));
}
"#;
    for debug in ["-Cdebuginfo=2", "-Cdebuginfo=1"] {
        let flags = [debug, "-Copt-level=1", "--edition=2024"];
        let compiled = compile("rustc", "a.rs", source, &flags);
        let sites = sites(&compiled.program, compiled.address("here"));
        assert_eq!(sites[0], "a::work::{{closure}} a.rs:6", "{debug}: {sites:?}");
        assert_eq!(sites.last().unwrap(), "a::work a.rs:8", "{debug}: {sites:?}");
        assert!(sites.iter().any(|site| site.contains("::fold ")), "{debug}: {sites:?}");
    }
}

#[test]
fn a_c_name_is_never_demangled() {
    let source = C_SOURCE.replace("innermost", "_Z1fv");
    let compiled = compile("gcc", "a.c", &source, &["-O2", "-g"]);
    assert_eq!(sites(&compiled.program, compiled.address("here"))[0], "_Z1fv a.c:3");
}
