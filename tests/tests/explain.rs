//! `explain`: what it says of processes whose rows, symbols and runtime are known.

use profiler_tests::agent::binary;
use profiler_tests::workload::{Running, compile_c, run, source};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Exit code, standard output and standard error of the agent.
fn ended(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let [stdout, stderr] = [stdout, stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(!stderr.contains("panicked"), "{stderr}");
    (status.code().unwrap(), stdout, stderr)
}

fn explain(pid: u32) -> String {
    let (code, stdout, stderr) = ended(Command::new(binary()).args(["explain", &pid.to_string()]));
    assert_eq!(code, 0, "{stderr}");
    stdout
}

/// Once the loader has done its work.
fn explain_when(pid: u32, word: &str) -> String {
    let started = Instant::now();
    loop {
        let text = explain(pid);
        if text.contains(word) {
            return text;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "no {word:?} in\n{text}");
    }
}

/// The line of a file.
#[track_caller]
fn line_of<'a>(text: &'a str, path: &Path) -> &'a str {
    let path = path.to_str().unwrap();
    text.lines().find(|line| line.trim().starts_with(path)).unwrap_or_else(|| panic!("no {path} in\n{text}"))
}

#[test]
fn a_c_program_has_rows_of_eh_frame_and_symbols_of_symtab() {
    let folder = tempfile::tempdir().unwrap();
    let program = compile_c(folder.path(), "burn.c", &[]);
    let mut command = Command::new(&program);
    let running =
        Running::spawn(command.env("OTEL_SERVICE_NAME", "shop").env("OTEL_RESOURCE_ATTRIBUTES", "service.version=7"));
    let text = explain_when(running.pid(), "/libc.so.6");
    let line = line_of(&text, &program);
    assert!(line.contains("  .eh_frame  .symtab ("), "{text}");
    for wanted in [
        &format!("  pid            {}\n", running.pid()),
        "  name           burn\n",
        "  service        shop, from env\n                 exe would say burn; nothing from ",
        "  labels         service.version=7\n",
        &format!("  parent         {} ", std::process::id()),
        "\nruntime\n  native code\n",
        "\nwhy stacks would be incomplete\n  nothing: stacks of this process should be whole\n",
        "\n  [vdso] ",
    ] {
        assert!(text.contains(wanted), "no {wanted:?} in\n{text}");
    }
}

#[test]
fn a_stripped_program_has_the_symbols_of_its_debug_file() {
    let folder = tempfile::tempdir().unwrap();
    let program = compile_c(folder.path(), "burn.c", &["-g"]);
    let debug = folder.path().join("burn.debug");
    run(Command::new("objcopy").arg("--only-keep-debug").arg(&program).arg(&debug));
    run(Command::new("strip").arg("--strip-all").arg(&program));
    run(Command::new("objcopy").arg(format!("--add-gnu-debuglink={}", debug.display())).arg(&program));
    let running = Running::start(&program, &[]);
    let text = explain(running.pid());
    let wanted = format!("  .eh_frame  debug info by debug link {}, its .symtab (", debug.display());
    assert!(line_of(&text, &program).contains(&wanted), "no {wanted:?} in\n{text}");
    drop(running);
    std::fs::remove_file(&debug).unwrap();
    let running = Running::start(&program, &[]);
    let text = explain(running.pid());
    assert!(line_of(&text, &program).ends_with("  none: no symbols"), "{text}");
    let wanted =
        format!("  {} has no symbols (no symbols): its functions are shown as burn+0x1234\n", program.display());
    assert!(text.contains(&wanted), "no {wanted:?} in\n{text}");
}

#[test]
fn a_go_program_has_both_of_its_own_table() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("chain");
    let mut go = Command::new("go");
    go.current_dir(folder.path()).env("CGO_ENABLED", "0").env("GO111MODULE", "off").env("GOFLAGS", "");
    run(go.args(["build", "-ldflags=-s -w", "-o"]).arg(&program).arg(source("chains").join("chain.go")));
    let running = Running::start(&program, &["600", "4"]);
    let text = explain(running.pid());
    let line = line_of(&text, &program);
    assert!(line.contains("  Go pclntab") && line.contains("  Go pclntab ("), "{text}");
    let release = Command::new("go").args(["env", "GOVERSION"]).output().unwrap();
    let release = String::from_utf8(release.stdout).unwrap();
    let wanted = format!("\nruntime\n  Go, {}: ", release.trim());
    assert!(text.contains(&wanted), "no {wanted:?} in\n{text}");
    assert!(text.contains("\n  nothing: stacks of this process should be whole\n"), "{text}");
}

#[test]
fn code_made_at_run_time_has_a_map_or_no_names() {
    let folder = tempfile::tempdir().unwrap();
    let program = compile_c(folder.path(), "jit.c", &[]);
    let named = Running::start(&program, &["-", "named", "private"]);
    let text = explain_when(named.pid(), "named by a perf map");
    let line = line_of(&text, Path::new("[anon]"));
    assert!(line.contains("  none  ") && line.ends_with("  made at run time  perf map"), "{text}");
    assert!(text.contains(" of code made at run time has no unwind rows: it is walked by frame pointers"), "{text}");
    assert!(!text.contains("is [anon]: "), "{text}");
    // It removes its map.
    let _ = named.finish();
    let silent = Running::start(&program, &["-", "silent", "silent"]);
    let text = explain_when(silent.pid(), "nothing names it");
    assert!(text.contains("code made at run time is [anon]: there is neither a /tmp/perf-PID.map nor "), "{text}");
}

#[test]
fn an_interpreter_is_told_apart_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("python3.99");
    std::fs::copy("/bin/sleep", &program).unwrap();
    let running = Running::start(&program, &["600"]);
    let text = explain(running.pid());
    let wanted = "\n  Python: Python functions are not read yet; the interpreter's own native frames are shown\n";
    assert!(text.contains(wanted), "{text}");
    assert!(text.contains("\n  Python functions are missing: Python frames are not read yet\n"), "{text}");
}

#[test]
fn a_deleted_program_takes_a_capability() {
    let folder = tempfile::tempdir().unwrap();
    let program = compile_c(folder.path(), "burn.c", &[]);
    let running = Running::start(&program, &[]);
    std::fs::remove_file(&program).unwrap();
    let text = explain(running.pid());
    assert!(line_of(&text, &program).contains("  .eh_frame  .symtab ("), "{text}");
    let list = "-checkpoint_restore,-sys_admin";
    let mut without = Command::new("setpriv");
    without.args([&format!("--bounding-set={list}"), &format!("--inh-caps={list}")]).arg(binary());
    let (code, text, stderr) = ended(without.args(["explain", &running.pid().to_string()]));
    assert_eq!(code, 0, "{stderr}");
    assert!(line_of(&text, &program).ends_with("  none: file not found"), "{text}");
    assert!(text.contains("\n    fix: grant CAP_CHECKPOINT_RESTORE: "), "{text}");
}

#[test]
fn what_is_no_process_is_1() {
    let (code, stdout, stderr) = ended(Command::new(binary()).args(["explain", "4194305"]));
    assert_eq!((code, &*stdout, &*stderr), (1, "", "profiler-agent: no process 4194305\n"));
    let (code, _, stderr) = ended(Command::new(binary()).args(["explain", "me"]));
    assert_eq!(code, 2, "{stderr}");
}

#[test]
fn threads_of_the_kernel_are_called_so() {
    let text = explain(2);
    for wanted in ["  name           kthreadd\n", "  service        kernel, ", "  a thread of the kernel: "] {
        assert!(text.contains(wanted), "no {wanted:?} in\n{text}");
    }
}

/// The agent where other users can execute it.
fn for_others(folder: &Path) -> PathBuf {
    let program = folder.join("profiler-agent");
    std::fs::copy(binary(), &program).unwrap();
    for path in [folder, &program] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    program
}

#[test]
fn other_users_may_look_at_their_own_processes_only() {
    let folder = tempfile::tempdir().unwrap();
    let program = for_others(folder.path());
    let nobody = |script: &str| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", "--inh-caps=-all"]);
        ended(command.args(["sh", "-c", script, "sh"]).arg(&program))
    };
    let (code, text, stderr) = nobody("exec \"$1\" explain $$");
    assert_eq!(code, 0, "{stderr}");
    assert!(text.contains("  name           profiler-agent\n"), "{text}");
    assert!(line_of(&text, &program).contains("  .eh_frame  "), "{text}");
    let (code, text, stderr) = nobody("exec \"$1\" explain 1");
    assert_eq!((code, &*text), (77, ""), "{stderr}");
    let wanted = "profiler-agent: cannot read process 1: missing CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH";
    assert!(stderr.starts_with(wanted) && stderr.contains("\n    sudo "), "{stderr}");
}
