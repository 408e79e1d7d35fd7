//! What runs the code of a process: Go, an interpreter, a compiler at run time.

use super::code::{AllCode, Code};
use crate::golang::Pclntab;
use crate::output::visible;
use crate::process::{ExecutableKind, Living};
use crate::symbolize::SymbolOrigin;

/// A language whose functions are no native code, or only at times.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Language {
    /// What people call it.
    pub(super) name: &'static str,
    /// The program is called so, and a version may follow.
    programs: &'static [&'static str],
    /// The library, likewise.
    library: &'static str,
    /// How its compiler is made to tell what it compiles.
    pub(super) perf_map: &'static str,
    /// How its compiler is made to keep frame pointers; none where it does so anyway.
    pub(super) frame_pointers: &'static str,
}

const LANGUAGES: [Language; 6] = [
    Language {
        name: "Python",
        programs: &["python", "pypy"],
        library: "libpython",
        perf_map: "Python 3.12 or newer: python -X perf",
        frame_pointers: "",
    },
    Language {
        name: "JavaScript",
        programs: &["node", "nodejs"],
        library: "libnode",
        perf_map: "node --perf-basic-prof --interpreted-frames-native-stack",
        frame_pointers: "",
    },
    Language {
        name: "Java",
        programs: &["java"],
        library: "libjvm",
        perf_map: "JDK 17 or newer: jcmd PID Compiler.perfmap",
        frame_pointers: "java -XX:+PreserveFramePointer",
    },
    Language {
        name: "Ruby",
        programs: &["ruby"],
        library: "libruby",
        perf_map: "ruby --yjit-perf",
        frame_pointers: "",
    },
    Language { name: "Perl", programs: &["perl"], library: "libperl", perf_map: "", frame_pointers: "" },
    Language { name: "PHP", programs: &["php", "php-fpm"], library: "libphp", perf_map: "", frame_pointers: "" },
];

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Runtimes {
    /// Releases of Go; empty texts for programs that do not say.
    pub(super) go: Vec<String>,
    /// Languages that are interpreted here.
    pub(super) languages: Vec<&'static Language>,
}

/// Looks at the files of a process.
pub(super) fn find(living: &Living, code: &AllCode) -> Runtimes {
    let names: Vec<&str> = code.files.iter().map(|code| base_name(&code.executable.path)).collect();
    let program = base_name(&living.exe);
    let is_here = |language: &&Language| {
        language.programs.iter().any(|known| is_version_of(program, known))
            || names.iter().any(|name| is_version_of(name, language.library))
    };
    Runtimes {
        go: code.files.iter().filter_map(go_release).collect(),
        languages: LANGUAGES.iter().filter(is_here).collect(),
    }
}

fn go_release(code: &Code) -> Option<String> {
    let ExecutableKind::Elf { file, .. } = &code.executable.kind else { return None };
    let table = Pclntab::open(file).ok()??;
    Some(table.release(file).unwrap_or_default())
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// `python3.11` of `python`, `libjvm.so` of `libjvm`.
fn is_version_of(name: &str, known: &str) -> bool {
    let rest = name.strip_prefix(known);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(|c: char| c.is_ascii_digit() || c == '.' || c == '-'))
}

/// One line for each.
pub(super) fn lines(runtimes: &Runtimes, code: &AllCode) -> Vec<String> {
    let mut lines: Vec<String> = runtimes.go.iter().take(3).map(|release| go_line(release)).collect();
    let interpreted = |language: &&Language| {
        format!("{0}: {0} functions are not read yet; the interpreter's own native frames are shown", language.name)
    };
    lines.extend(runtimes.languages.iter().map(interpreted));
    lines.extend(code.files.iter().filter(|code| code.is_made()).map(made));
    if lines.is_empty() {
        lines.push("native code".to_owned());
    }
    lines
}

fn go_line(release: &str) -> String {
    let release = if release.is_empty() { "of a release that it does not say" } else { release };
    format!("Go, {}: functions and unwind rows are those of Go's own table", visible(release))
}

fn made(code: &Code) -> String {
    let says = match code.symbols.as_deref().unwrap_or_default() {
        [] => "nothing names it",
        [SymbolOrigin::Jitdump, _] => "named by jitdump and perf map",
        [SymbolOrigin::Jitdump] => "named by a jitdump",
        _ => "named by a perf map",
    };
    format!("code made at run time, {} KiB: {says}", code.bytes >> 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_by_program_and_library() {
        let cases = [
            ("python3.11", "python", true),
            ("python", "python", true),
            ("pythonic", "python", false),
            ("libpython3.11.so.1.0", "libpython", true),
            ("libjvm.so", "libjvm", true),
            ("javac", "java", false),
            ("php-fpm8.2", "php-fpm", true),
        ];
        for (name, known, wanted) in cases {
            assert_eq!(is_version_of(name, known), wanted, "{name}");
        }
    }

    #[test]
    fn native_code_is_called_so() {
        assert_eq!(lines(&Runtimes::default(), &AllCode::default()), ["native code"]);
        let runtimes = Runtimes { go: vec!["go1.24.4".into()], languages: vec![&LANGUAGES[0]] };
        assert_eq!(
            lines(&runtimes, &AllCode::default()),
            [
                "Go, go1.24.4: functions and unwind rows are those of Go's own table",
                "Python: Python functions are not read yet; the interpreter's own native frames are shown"
            ]
        );
    }
}
