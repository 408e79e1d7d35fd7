//! Debug info as compilers and distributions really make it.

mod aliases;
mod bounds;
mod formats;
mod separate;

use crate::process::Executable;
use crate::symbolize::Names;
use crate::telemetry::metrics::Metrics;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// The function `outer` calls `middle` in line 9, which calls `innermost` in line 6; both are inlined. The label `here`
/// is in line 3.
const C_SOURCE: &str = r#"volatile int sink;
static inline __attribute__((always_inline)) void innermost(int n) {
    __asm__ volatile(".globl here\nhere:\n\tnop"); sink = n;
}
static inline __attribute__((always_inline)) void middle(int n) {
    innermost(n * 3);
}
__attribute__((noinline)) void outer(int n) {
    middle(n + 1);
    sink++;
}
int main(void) {
    outer(1);
    return 0;
}
"#;

/// What is at `here`.
const C_SITES: [&str; 3] = ["innermost a.c:3", "middle a.c:6", "outer a.c:9"];

struct Compiled {
    folder: tempfile::TempDir,
    program: PathBuf,
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Compiles a source named `name` with a compiler and its flags.
fn compile(compiler: &str, name: &str, source: &str, flags: &[&str]) -> Compiled {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    std::fs::write(folder.path().join(name), source).unwrap();
    run(Command::new(compiler).current_dir(folder.path()).args(flags).arg(name).arg("-o").arg(&program));
    Compiled { folder, program }
}

fn c(flags: &[&str]) -> Compiled {
    compile("gcc", "a.c", C_SOURCE, &[&["-O2"], flags].concat())
}

impl Compiled {
    /// Runs objcopy on the program, in its folder.
    fn objcopy(&self, arguments: &[&str]) {
        run(Command::new("objcopy").current_dir(self.folder.path()).args(arguments));
    }

    fn address(&self, symbol: &str) -> u64 {
        let text = run(Command::new("nm").arg(&self.program));
        let line = text.lines().find(|line| line.split(' ').nth(2) == Some(symbol)).expect("the symbol is there");
        u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn names(time: Duration) -> (Names, Arc<Metrics>) {
    let metrics = Arc::<Metrics>::default();
    (Names::new(Arc::clone(&metrics), time), metrics)
}

/// `function file:line` of each site, files without their folders.
fn sites_of(names: &mut Names, program: &Path, address: u64) -> Vec<String> {
    sites_in(names, &Executable::of_file(program).unwrap(), address)
}

fn sites_in(names: &mut Names, executable: &Executable, address: u64) -> Vec<String> {
    let found = names.find(executable, &[address]);
    let text = |site: &crate::symbolize::Site| {
        let file = site.file.rsplit('/').next().unwrap_or_default();
        format!("{} {file}:{}", site.name, site.line)
    };
    found[0].iter().map(text).collect()
}

fn sites(program: &Path, address: u64) -> Vec<String> {
    sites_of(&mut names(Duration::from_secs(3600)).0, program, address)
}
