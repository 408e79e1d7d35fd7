//! Debug info in files of its own.

use super::*;
use crate::telemetry::metrics::Metric;

#[test]
fn the_link_of_a_stripped_file_is_followed() {
    for folder in [".", ".debug"] {
        let compiled = c(&["-g", "-Wl,--build-id=none"]);
        let here = compiled.address("here");
        std::fs::create_dir_all(compiled.path(folder)).unwrap();
        let debug = format!("{folder}/program.debug");
        compiled.objcopy(&["--only-keep-debug", "program", &debug]);
        compiled.objcopy(&["--strip-all", &format!("--add-gnu-debuglink={debug}"), "program"]);
        assert_eq!(sites(&compiled.program, here), C_SITES, "{folder}");
    }
}

#[test]
fn debug_info_of_another_build_is_refused() {
    for flags in [["-Wl,--build-id=none"], ["-Wl,--build-id"]] {
        let compiled = c(&[&["-g"], &flags[..]].concat());
        let here = compiled.address("here");
        compiled.objcopy(&["--only-keep-debug", "program", "program.debug"]);
        compiled.objcopy(&["--strip-all", "--add-gnu-debuglink=program.debug", "program"]);
        let other = compile("gcc", "a.c", &C_SOURCE.replace("n + 1", "n + 7"), &[&["-O2", "-g"], &flags[..]].concat());
        other.objcopy(&["--only-keep-debug", "program", compiled.path("program.debug").to_str().unwrap()]);
        let (mut names, metrics) = names(Duration::from_secs(3600));
        assert_eq!(sites_of(&mut names, &compiled.program, here), [format!("program+{here:#x} :0")]);
        assert_eq!(metrics.get(Metric::DebugInfoRefused, "mismatch"), 1.0);
    }
}

#[test]
fn a_symbol_table_in_a_separate_file_names_functions() {
    let compiled = c(&["-g0"]);
    let here = compiled.address("here");
    compiled.objcopy(&["--only-keep-debug", "program", "program.debug"]);
    compiled.objcopy(&["--strip-all", "--add-gnu-debuglink=program.debug", "program"]);
    assert_eq!(sites(&compiled.program, here), ["outer :0"]);
}

#[test]
fn mini_debug_info_names_functions_beside_dynamic_symbols() {
    let compiled = c(&["-g", "-rdynamic"]);
    let (outer, start) = (compiled.address("here"), compiled.address("_start"));
    // As Fedora makes it: `.symtab` without what `.dynsym` has.
    compiled.objcopy(&["-S", "--remove-section=.comment", "--keep-symbol=_start", "program", "mini"]);
    compiled.objcopy(&["--only-keep-debug", "program", "mini"]);
    compiled.objcopy(&["-S", "--keep-symbol=_start", "mini"]);
    run(Command::new("xz").arg(compiled.path("mini")));
    compiled.objcopy(&["--strip-all", "--add-section", ".gnu_debugdata=mini.xz", "program"]);
    assert_eq!(sites(&compiled.program, start), ["_start :0"]);
    assert_eq!(sites(&compiled.program, outer), ["outer :0"]);
}

#[test]
fn a_mini_symbol_table_that_is_none_costs_nothing() {
    let compiled = c(&["-g0"]);
    let here = compiled.address("here");
    std::fs::write(compiled.path("zeros"), vec![0; 40 << 20]).unwrap();
    run(Command::new("xz").args(["-0", "zeros"]).current_dir(compiled.folder.path()));
    compiled.objcopy(&["--strip-all", "--add-section", ".gnu_debugdata=zeros.xz", "program"]);
    assert_eq!(sites(&compiled.program, here), [format!("program+{here:#x} :0")]);
}

#[test]
fn names_that_files_share_are_found() {
    let compiled = c(&["-gdwarf-5"]);
    let here = compiled.address("here");
    std::fs::copy(&compiled.program, compiled.path("other")).unwrap();
    run(Command::new("dwz").args(["-m", "shared", "-r", "program", "other"]).current_dir(compiled.folder.path()));
    assert!(compiled.path("shared").exists());
    assert_eq!(sites(&compiled.program, here), C_SITES);
}
