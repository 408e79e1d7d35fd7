use super::code::{AllCode, Code};
use super::*;
use crate::output::text_width;
use crate::process::{Executable, ExecutableKind, Refusal};
use crate::symbolize::SymbolOrigin;
use crate::unwind::RowOrigin;
use std::path::PathBuf;

fn code(path: &str, kind: ExecutableKind) -> Code {
    let executable = Arc::new(Executable::new(2, Arc::from(path), kind));
    Code { executable, bytes: 64 << 10, rows: Err("anonymous"), symbols: Err("anonymous") }
}

fn refused(path: &str) -> Code {
    let kind = ExecutableKind::Refused(Refusal::NotFound);
    Code { rows: Err("not_found"), symbols: Err("not_found"), ..code(path, kind) }
}

/// The kind says nothing here: what was found in the file counts.
fn native(path: &str, symbols: Vec<SymbolOrigin>) -> Code {
    let rows = RowOrigin { rows: 12_345, bytes: 56_789, from: vec![".eh_frame"] };
    Code { rows: Ok(rows), symbols: Ok(symbols), bytes: 1_572_864, ..code(path, ExecutableKind::Anonymous) }
}

fn reading(missing: Vec<&'static str>) -> Reading {
    let fixes = Vec::new();
    let pid_namespace = doctor::Check { name: "", status: doctor::Status::Ok, found: String::new(), fixes };
    Reading { missing, grants: vec!["sudo profiler-agent".into()], pid_namespace }
}

fn report() -> Report {
    let debug = PathBuf::from("/usr/lib/debug/.build-id/ab/cd.debug");
    let files = vec![
        native("/srv/shop", vec![SymbolOrigin::DebugInfo, SymbolOrigin::Section(".symtab", 4321)]),
        native("/lib/libc.so.6", vec![SymbolOrigin::ByBuildId(debug.clone()), SymbolOrigin::SeparateSymtab(debug, 99)]),
        code("[anon]", ExecutableKind::Anonymous),
        refused("/srv/old\x1b[31m.so"),
    ];
    let code = AllCode { files, left_out: 3 };
    Report {
        process: vec![("pid", "4242".into()), ("command", "shop --name \x1b[31m\nx".into())],
        runtime: vec!["native code".into()],
        stacks: reasons::stacks(
            &AllCode { files: code.files[2..].to_vec(), left_out: 3 },
            &runtime::Runtimes::default(),
            &reading(vec!["CAP_CHECKPOINT_RESTORE"]),
        ),
        names: Vec::new(),
        code,
    }
}

#[test]
fn says_everything_in_sections() {
    let text = "\
process
  pid            4242
  command        shop --name \u{fffd}[31m\u{fffd}x

files
  path              build ID      text    rows     bytes  rows from         symbols from
  /srv/shop                    1.5 MiB  12,345  55.5 KiB  .eh_frame         debug info, .symtab (4,321)
  /lib/libc.so.6               1.5 MiB  12,345  55.5 KiB  .eh_frame         debug info by build ID /usr/lib/debug/.build-id/ab/cd.debug, its .symtab (99)
  [anon]                      64.0 KiB    none            made at run time  none: made at run time
  /srv/old\u{fffd}[31m.so            64.0 KiB    none            file not found    none: file not found
  and 3 more

runtime
  native code

why stacks would be incomplete
  64 KiB of code made at run time has no unwind rows: it is walked by frame pointers, and where its compiler leaves them out, callers are missing
  /srv/old\u{fffd}[31m.so: the file was not found; it is walked by frame pointers
    fix: grant CAP_CHECKPOINT_RESTORE: a file that was deleted or belongs to others is reached with it
  3 more files were not looked at

why names would be missing
  nothing: all functions should have their names
";
    assert_eq!(report().text(None), text);
}

#[test]
fn a_narrow_terminal_leaves_columns_out() {
    let lines = table::lines(&report().code.files, Some(100));
    assert_eq!(
        lines,
        [
            "path                  text    rows     bytes  rows from         symbols from",
            "/srv/shop          1.5 MiB  12,345  55.5 KiB  .eh_frame         debug info, .symtab (4,321)",
            "/lib/libc.so.6     1.5 MiB  12,345  55.5 KiB  .eh_frame         debug info by buil… its .symtab (99)",
            "[anon]            64.0 KiB    none            made at run time  none: made at run time",
            "/srv/old\u{fffd}[31m.so  64.0 KiB    none            file not found    none: file not found",
        ]
    );
    for width in 40..200 {
        for line in table::lines(&report().code.files, Some(width)) {
            assert!(text_width(&line) <= width, "{width}: {line}");
        }
    }
}

#[test]
fn what_is_whole_is_called_so() {
    let whole = Report { stacks: Vec::new(), ..report() };
    assert!(whole.is_whole() && !report().is_whole());
    assert!(whole.text(None).contains("incomplete\n  nothing: stacks of this process should be whole\n"));
}

#[test]
fn many_files_without_rows_are_counted() {
    let files = vec![refused("/srv/a.so"); 25];
    let found = reasons::stacks(&AllCode { files, left_out: 0 }, &Default::default(), &reading(Vec::new()));
    assert_eq!(found.len(), 11);
    assert_eq!(found[0].fix, "start the program again: its file was replaced");
    assert_eq!(found[10].found, "the same holds for 15 more files");
}

#[test]
fn code_without_a_map_has_no_names() {
    let anonymous = AllCode { files: vec![code("[anon]", ExecutableKind::Anonymous)], left_out: 0 };
    let found = reasons::names(&anonymous, &Default::default());
    let wanted = "code made at run time is [anon]: there is neither a /tmp/perf-PID.map nor a jit-PID.dump";
    assert_eq!(found, [Finding::new(wanted.into(), "")]);
    let exported = AllCode { files: vec![native("/a.so", vec![SymbolOrigin::Section(".dynsym", 7)])], left_out: 0 };
    let found = reasons::names(&exported, &Default::default());
    let wanted = "1 file has .dynsym alone: functions that are not exported are shown as file+0x1234";
    assert_eq!(found[0].found, wanted);
}

#[test]
fn who_may_not_look_is_told_what_to_grant() {
    let forbidden = failure(7, NotRead::Forbidden, &reading(vec!["CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"]));
    let message = "cannot read process 7: missing CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH\n    sudo profiler-agent";
    assert_eq!((forbidden.code, &*forbidden.message), (77, message));
    assert_eq!(failure(7, NotRead::Forbidden, &reading(Vec::new())).code, 77);
    let gone = failure(7, NotRead::Gone, &reading(Vec::new()));
    assert_eq!((gone.code, &*gone.message), (1, "no process 7"));
}

#[test]
fn this_test_is_explained() {
    let report = explain(std::process::id(), vec![NameSource::Exe], &[]).unwrap();
    let text = report.text(None);
    assert!(text.contains("\n  service        profiler_agent"), "{text}");
    let own = text.lines().find(|line| line.contains("/profiler_agent")).unwrap_or_default().to_owned();
    let own = own + text.lines().find(|line| line.contains(".eh_frame")).unwrap_or_default();
    assert!(own.contains("debug info, .symtab ("), "{text}");
    assert!(text.contains("\n  [vdso] "), "{text}");
}
