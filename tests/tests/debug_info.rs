//! Inlined functions, source files and lines, wherever the debug info is.

use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::profiles::v1development::{Location, ProfilesDictionary};
use profiler_tests::agent::binary;
use profiler_tests::recorded::Recorded;
use profiler_tests::workload::{run, source};
use prost::Message as _;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// What is right for nearly all samples of a program that does little else.
const NEARLY_ALL: f64 = 0.95;

/// A program in a folder of its own.
struct Program {
    folder: TempDir,
    path: PathBuf,
}

impl Program {
    fn compile(compiler: &str, name: &str, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("program");
        run(Command::new(compiler).args(flags).arg(source(name)).arg("-o").arg(&path));
        Self { folder, path }
    }

    fn c(flags: &[&str]) -> Self {
        Self::compile("gcc", "inlined.c", &[&["-O2", "-fno-omit-frame-pointer"], flags].concat())
    }

    fn objcopy(&self, arguments: &[&str]) {
        run(Command::new("objcopy").current_dir(self.folder.path()).args(arguments));
    }

    /// Moves the debug info into a file, here `debug`.
    fn split(&self, debug: &str, link: bool) {
        let debug_file = self.folder.path().join(debug);
        std::fs::create_dir_all(debug_file.parent().expect("a folder")).expect("a folder");
        self.objcopy(&["--only-keep-debug", "program", debug]);
        self.objcopy(&["--strip-all", "program"]);
        if link {
            self.objcopy(&[&format!("--add-gnu-debuglink={debug}"), "program"]);
        }
    }

    fn build_id(&self) -> String {
        let notes = Command::new("readelf").arg("--notes").arg(&self.path).output().expect("readelf");
        let notes = String::from_utf8(notes.stdout).expect("text");
        notes.split("Build ID: ").nth(1).expect("a build ID").split_whitespace().next().expect("a build ID").to_owned()
    }

    /// Records it for a second.
    fn leaves(&self) -> Leaves {
        Leaves::record(&[self.path.to_str().expect("a path"), "1"])
    }
}

/// The functions at the leaf addresses in user code, the innermost first, as `function file:line`; and samples.
struct Leaves(BTreeMap<Vec<String>, i64>);

impl Leaves {
    fn record(command: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("recorded.otlp");
        let mut agent = Command::new(binary());
        run(agent.args(["record", "--frequency", "997", "--output"]).arg(&file).arg("--").args(command));
        let bytes = std::fs::read(&file).expect("the recording");
        let request = ExportProfilesServiceRequest::decode(&*bytes).expect("OTLP");
        let tables = request.dictionary.expect("a dictionary");
        let mut leaves = BTreeMap::new();
        let scopes = request.resource_profiles.iter().flat_map(|resource| &resource.scope_profiles);
        for sample in scopes.flat_map(|scope| &scope.profiles).flat_map(|profile| &profile.samples) {
            let stack = &tables.stack_table[sample.stack_index as usize].location_indices;
            let locations = stack.iter().map(|&index| &tables.location_table[index as usize]);
            let mut native = locations.filter(|location| path(&tables, location).ends_with("/program"));
            if let Some(leaf) = native.next() {
                *leaves.entry(sites(&tables, leaf)).or_default() += sample.values[0];
            }
        }
        Self(leaves)
    }

    /// Share of the samples that satisfy a condition.
    fn share(&self, is_right: impl Fn(&[String]) -> bool) -> f64 {
        let all: i64 = self.0.values().sum();
        assert!(all > 200, "{all} samples: {:#?}", self.0);
        let right: i64 = self.0.iter().filter(|(sites, _)| is_right(sites)).map(|(_, count)| count).sum();
        right as f64 / all as f64
    }

    fn assert(&self, expected: &[&[&str]]) {
        let share = self.share(|sites| expected.iter().any(|expected| sites == *expected));
        assert!(share > NEARLY_ALL, "{share}: {:#?}", self.0);
    }
}

fn path<'a>(tables: &'a ProfilesDictionary, location: &Location) -> &'a str {
    let mapping = &tables.mapping_table[location.mapping_index as usize];
    &tables.string_table[mapping.filename_strindex as usize]
}

fn sites(tables: &ProfilesDictionary, location: &Location) -> Vec<String> {
    let site = |line: &opentelemetry_proto::tonic::profiles::v1development::Line| {
        let function = &tables.function_table[line.function_index as usize];
        let [name, file] = [function.name_strindex, function.filename_strindex]
            .map(|index| tables.string_table[index as usize].as_str());
        format!("{name} {}:{}", file.rsplit('/').next().unwrap_or(file), line.line)
    };
    location.lines.iter().map(site).collect()
}

/// The loop in inlined.c, and its body.
const C_CHAINS: &[&[&str]] = &[
    &["innermost inlined.c:8", "middle inlined.c:14", "outer inlined.c:18"],
    &["innermost inlined.c:9", "middle inlined.c:14", "outer inlined.c:18"],
];

#[test]
fn gcc_dwarf_5_and_4() {
    for version in ["-gdwarf-5", "-gdwarf-4"] {
        Program::c(&[version]).leaves().assert(C_CHAINS);
    }
}

#[test]
fn clang_dwarf_5_and_4() {
    for version in ["-gdwarf-5", "-gdwarf-4", "-gline-tables-only"] {
        let flags = ["-O2", "-fno-omit-frame-pointer", "-fno-unroll-loops", version];
        Program::compile("clang", "inlined.c", &flags).leaves().assert(C_CHAINS);
    }
}

#[test]
fn inlined_functions_are_frames_of_collapsed_stacks() {
    let program = Program::c(&["-g"]);
    let recorded = Recorded::new(&["--frequency", "997", "--", program.path.to_str().expect("a path"), "1"]);
    let all: u64 = recorded.stacks.iter().map(|(_, count)| count).sum();
    let is_right = |stack: &[String]| stack.windows(3).any(|frames| frames == ["outer", "middle", "innermost"]);
    let right: u64 = recorded.stacks.iter().filter(|(stack, _)| is_right(stack)).map(|(_, count)| count).sum();
    assert!(right as f64 > 0.9 * all as f64, "{right} of {all}: {:#?}", recorded.stacks);
}

#[test]
fn stripped_with_a_debug_link() {
    let program = Program::c(&["-g", "-Wl,--build-id=none"]);
    program.split("program.debug", true);
    program.leaves().assert(C_CHAINS);
}

/// The process sees another root than the agent, and is gone when its frames get their names.
#[test]
fn stripped_in_a_root_of_its_own_with_debug_info_by_build_id() {
    let program = Program::c(&["-g", "-static", "-Wl,--build-id"]);
    let build_id = program.build_id();
    program.split(&format!("usr/lib/debug/.build-id/{}/{}.debug", &build_id[..2], &build_id[2..]), false);
    let root = program.folder.path().to_str().expect("a path");
    Leaves::record(&["chroot", root, "/program", "1"]).assert(C_CHAINS);
}

#[test]
fn packed_debug_sections() {
    let program = Program::c(&["-g"]);
    program.objcopy(&["--compress-debug-sections=zlib", "program"]);
    program.leaves().assert(C_CHAINS);
}

#[test]
fn stripped_with_mini_debug_info() {
    let program = Program::c(&["-g"]);
    program.objcopy(&["-S", "--keep-symbol=outer", "program", "mini"]);
    run(Command::new("xz").arg("mini").current_dir(program.folder.path()));
    program.objcopy(&["--strip-all", "--add-section", ".gnu_debugdata=mini.xz", "program"]);
    program.leaves().assert(&[&["outer :0"]]);
}

#[test]
fn rust_closures() {
    for debug in ["-Cdebuginfo=1", "-Cdebuginfo=2"] {
        let flags = ["--edition=2024", "-Copt-level=3", "-Cforce-frame-pointers=yes", debug];
        let leaves = Program::compile("rustc", "inlined.rs", &flags).leaves();
        // The closure is in `work`, and what it calls is in the closure.
        let is_right = |sites: &[String]| {
            let names: Vec<&str> = sites.iter().map(|site| site.split(' ').next().unwrap_or_default()).collect();
            names.last() == Some(&"inlined::work") && names.contains(&"inlined::work::{{closure}}")
        };
        let share = leaves.share(is_right);
        assert!(share > 0.5, "{share}: {:#?}", leaves.0);
        let call = |sites: &[String]| {
            !is_right(sites) || sites.last().is_some_and(|site| site == "inlined::work inlined.rs:14")
        };
        assert!(leaves.share(call) == 1.0, "{:#?}", leaves.0);
    }
}

#[test]
fn cplusplus_templates() {
    let chain = |line: u32| {
        [
            format!("shop::Cart<unsigned long>::add(unsigned long) inlined.cc:{line}"),
            "void shop::fill<unsigned long>(unsigned long) inlined.cc:19".to_owned(),
        ]
    };
    for compiler in ["g++", "clang++"] {
        let flags = ["-O2", "-g", "-fno-omit-frame-pointer"];
        let leaves = Program::compile(compiler, "inlined.cc", &flags).leaves();
        let share = leaves.share(|sites| [11, 12].iter().any(|&line| sites == chain(line)));
        assert!(share > NEARLY_ALL, "{compiler}, {share}: {:#?}", leaves.0);
    }
}

/// Of two functions of one name in two files, each keeps its own.
#[test]
fn functions_of_one_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let part = |name: &str| {
        format!(
            "extern volatile unsigned long sink;\n\
             static __attribute__((noinline)) void burn(void) {{ for (int i = 0; i < 100000; i++) sink += i; sink++; }}\n\
             void {name}(void) {{ burn(); sink++; }}\n"
        )
    };
    let main = "#include <time.h>\nvolatile unsigned long sink;\nvoid one(void), two(void);\n\
                int main(void) { while (clock() < CLOCKS_PER_SEC) { one(); two(); } return 0; }\n";
    for (name, text) in [("one.c", part("one")), ("two.c", part("two")), ("main.c", main.to_owned())] {
        std::fs::write(folder.path().join(name), text).expect("a source");
    }
    let mut gcc = Command::new("gcc");
    gcc.current_dir(folder.path()).args(["-O2", "-g", "one.c", "two.c", "main.c", "-o", "program"]);
    run(&mut gcc);
    let leaves = Leaves::record(&[folder.path().join("program").to_str().expect("a path")]);
    for expected in ["burn one.c:2", "burn two.c:2"] {
        let share = leaves.share(|sites| sites == [expected]);
        assert!(share > 0.2, "{expected} {share}: {:#?}", leaves.0);
    }
}
