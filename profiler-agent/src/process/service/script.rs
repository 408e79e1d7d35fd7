//! What an interpreter runs, from its command line: script, module, jar or main class.

use super::base_name;

/// An interpreter, and how to skip its options.
struct Interpreter {
    name: &'static str,
    /// Options that take the next argument.
    with_value: &'static [&'static str],
    /// Options by which it runs text given on the command line, or nothing.
    inline: &'static [&'static str],
    /// Short options that can be joined (`-bc`); none where they cannot.
    letters: Option<Letters>,
}

/// Short options by what follows them.
struct Letters {
    /// Text to run.
    inline: &'static str,
    /// A value: the rest of the argument, else the next one.
    value: &'static str,
    /// A value that is the rest of the argument.
    attached: &'static str,
    /// The script or module to run: the rest of the argument, else the next one.
    main: &'static str,
}

const PYTHON: Option<Letters> = Some(Letters { inline: "c", value: "WX", attached: "", main: "m" });

const INTERPRETERS: [Interpreter; 8] = [
    Interpreter { name: "python", with_value: &["--check-hash-based-pycs"], inline: &[], letters: PYTHON },
    Interpreter { name: "pypy", with_value: &["--jit"], inline: &[], letters: PYTHON },
    Interpreter {
        name: "node",
        with_value: &[
            "-r",
            "--require",
            "--import",
            "--loader",
            "--experimental-loader",
            "-C",
            "--conditions",
            "--env-file",
            "--input-type",
            "--unhandled-rejections",
            "--max-http-header-size",
            "--openssl-config",
            "--diagnostic-dir",
            "--title",
        ],
        inline: &["-e", "--eval", "-p", "--print", "-pe"],
        letters: None,
    },
    Interpreter {
        name: "java",
        with_value: &[
            "-cp",
            "-classpath",
            "--class-path",
            "-p",
            "--module-path",
            "--upgrade-module-path",
            "--add-modules",
            "--add-opens",
            "--add-exports",
            "--add-reads",
            "--limit-modules",
            "--patch-module",
            "--enable-native-access",
            "--source",
        ],
        inline: &[],
        letters: None,
    },
    Interpreter {
        name: "ruby",
        with_value: &["--encoding", "--external-encoding", "--internal-encoding"],
        inline: &[],
        letters: Some(Letters { inline: "e", value: "IrCE", attached: "FiKTWx", main: "" }),
    },
    Interpreter {
        name: "perl",
        with_value: &[],
        inline: &[],
        letters: Some(Letters { inline: "eE", value: "I", attached: "iMmFxdDC", main: "" }),
    },
    Interpreter {
        name: "php",
        with_value: &["--php-ini", "--define", "--docroot", "--server", "--zend-extension"],
        inline: &["--run"],
        letters: Some(Letters { inline: "rBRE", value: "cdzSt", attached: "", main: "f" }),
    },
    Interpreter {
        name: "bash",
        with_value: &["--rcfile", "--init-file"],
        inline: &[],
        letters: Some(Letters { inline: "cs", value: "oO", attached: "", main: "" }),
    },
];

fn interpreter(exe: &str) -> Option<&'static Interpreter> {
    let name = match base_name(exe) {
        "sh" | "dash" | "zsh" | "ksh" => "bash",
        "nodejs" => "node",
        name => name,
    };
    INTERPRETERS.iter().find(|known| {
        name.strip_prefix(known.name)
            .is_some_and(|version| version.chars().all(|c| c.is_ascii_digit() || c == '.' || c == '-'))
    })
}

/// What an option says about the arguments after it.
enum Follows {
    Option,
    Value,
    Main(Option<String>),
    Nothing,
}

/// The script's file name, the module, the jar or the main class; of a process that writes a title over its command
/// line, the title's first word.
pub(super) fn script(exe: &str, cmdline: &[u8]) -> Option<String> {
    let interpreter = interpreter(exe)?;
    let mut arguments = cmdline.split(|&byte| byte == 0).map(String::from_utf8_lossy);
    let first = arguments.next()?;
    let mut arguments = arguments.filter(|argument| !argument.is_empty()).peekable();
    if arguments.peek().is_none() {
        return title(&first);
    }
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            return arguments.next().map(|main| name_of(interpreter, &main));
        }
        let skipped = argument.starts_with('-') || interpreter.name == "java" && argument.starts_with('@');
        if !skipped {
            return Some(name_of(interpreter, &argument));
        }
        match follows(interpreter, &argument) {
            Follows::Option => {}
            Follows::Value => drop(arguments.next()),
            Follows::Main(Some(main)) => return Some(name_of(interpreter, &main)),
            Follows::Main(None) => return arguments.next().map(|main| name_of(interpreter, &main)),
            Follows::Nothing => return None,
        }
    }
    None
}

fn follows(interpreter: &Interpreter, option: &str) -> Follows {
    match (interpreter.name, option) {
        (_, "-") => return Follows::Nothing,
        ("java", "-jar" | "-m" | "--module") => return Follows::Main(None),
        ("java", _) if option.starts_with("--module=") => {
            return Follows::Main(Some(option["--module=".len()..].into()));
        }
        _ => {}
    }
    if interpreter.with_value.contains(&option) {
        return Follows::Value;
    }
    if interpreter.inline.contains(&option) {
        return Follows::Nothing;
    }
    let Some(letters) = interpreter.letters.as_ref().filter(|_| !option.starts_with("--")) else {
        return Follows::Option;
    };
    for (at, letter) in option.char_indices().skip(1) {
        let rest = &option[at + letter.len_utf8()..];
        if letters.inline.contains(letter) {
            return Follows::Nothing;
        }
        if letters.main.contains(letter) {
            return Follows::Main(Some(rest.to_owned()).filter(|rest| !rest.is_empty()));
        }
        if letters.value.contains(letter) {
            return if rest.is_empty() { Follows::Value } else { Follows::Option };
        }
        if letters.attached.contains(letter) {
            break;
        }
    }
    Follows::Option
}

/// Java's `module/class` is its module, unless it is the path of a jar or a source file.
fn name_of(interpreter: &Interpreter, main: &str) -> String {
    let file = main.starts_with('/') || [".jar", ".java"].iter().any(|suffix| main.ends_with(suffix));
    match main.split_once('/') {
        Some((module, _)) if interpreter.name == "java" && !file => module.to_owned(),
        _ => base_name(main).to_owned(),
    }
}

/// `gunicorn: master [app]` is `gunicorn`, `[celeryd: w@h] ready` is `celeryd`. Numbers at the end are pids or
/// counters: they would make every process a service of its own.
fn title(text: &str) -> Option<String> {
    let word = text.split_whitespace().next()?.trim_start_matches('-');
    if interpreter(word).is_some() {
        return None;
    }
    let word = base_name(word).trim_matches(['[', ']', ':', '(', ')']);
    let unnumbered = word.trim_end_matches(|c: char| c.is_ascii_digit());
    let word = if unnumbered.ends_with(['-', '_', ':', '#', '.']) { unnumbered } else { word };
    let word = word.trim_end_matches(['-', '_', ':', '#', '.']);
    Some(word.to_owned()).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Arguments are separated by `|` here.
    fn of(exe: &str, cmdline: &str) -> Option<String> {
        script(exe, cmdline.replace('|', "\0").as_bytes())
    }

    #[test]
    fn python() {
        let cases = [
            ("python3|-u|/srv/app.py|--port|1", Some("app.py")),
            ("python3|-X|dev|-Wignore|-m|http.server|80", Some("http.server")),
            ("python3|-um|shop.web", Some("shop.web")),
            ("python3|-mshop", Some("shop")),
            ("python3|-IBc|import time", None),
            ("python3|-|x", None),
            ("python3|--check-hash-based-pycs|always|a.py", Some("a.py")),
            ("python3", None),
            ("/srv/venv/bin/python||", None),
            ("/usr/bin/python3|/usr/local/bin/gunicorn|app:app", Some("gunicorn")),
            ("/srv/venv/bin/python|/srv/venv/bin/celery|-A|shop|worker", Some("celery")),
            ("/usr/bin/python3|-Es|/usr/sbin/tuned|-l|-P", Some("tuned")),
            ("/usr/bin/python3|manage.py|runserver", Some("manage.py")),
            ("gunicorn: worker [app]|||", Some("gunicorn")),
            ("[celeryd: celery@host:MainProcess] -active- (worker)", Some("celeryd")),
            ("worker-1234", Some("worker")),
        ];
        for (cmdline, wanted) in cases {
            assert_eq!(of("/usr/bin/python3.11", cmdline).as_deref(), wanted, "{cmdline}");
        }
    }

    #[test]
    fn java() {
        let cases = [
            ("java|-Xmx1g|-cp|a.jar:b.jar|-Dx=y|com.acme.Main|-p|1", Some("com.acme.Main")),
            ("java|-XX:+UseZGC|-jar|/opt/shop.jar|server", Some("shop.jar")),
            ("java|-cp|x|-jar|lib/app.jar", Some("app.jar")),
            ("java|-p|mods|-m|shop/com.acme.Main", Some("shop")),
            ("java|--module-path=mods|--module=shop/com.acme.Main", Some("shop")),
            ("java|--add-opens|java.base/java.lang=ALL-UNNAMED|-javaagent:/otel.jar|Main", Some("Main")),
            (
                "java|@/etc/args|org.apache.cassandra.service.CassandraDaemon",
                Some("org.apache.cassandra.service.CassandraDaemon"),
            ),
            ("java|--source|17|src/Tool.java", Some("Tool.java")),
            ("java|-version", None),
        ];
        for (cmdline, wanted) in cases {
            assert_eq!(of("/usr/lib/jvm/bin/java", cmdline).as_deref(), wanted, "{cmdline}");
        }
    }

    #[test]
    fn node() {
        let cases = [
            ("node|--require|./trace.js|--max-old-space-size=1|server.js", Some("server.js")),
            ("node|--import=x.mjs|--inspect|dist/main.js", Some("main.js")),
            ("node|-r|dotenv/config|-e|1", None),
            ("node|-pe|1", None),
            ("node|/usr/bin/npm|start", Some("npm")),
            ("npm run start", Some("npm")),
            ("node", None),
        ];
        for (cmdline, wanted) in cases {
            assert_eq!(of("/usr/bin/node", cmdline).as_deref(), wanted, "{cmdline}");
        }
    }

    #[test]
    fn shells_ruby_perl_and_php() {
        let cases = [
            ("/bin/dash", "sh|/etc/init.d/x|start", Some("x")),
            ("/bin/bash", "bash|-euo|pipefail|deploy.sh", Some("deploy.sh")),
            ("/bin/bash", "bash|-lc|make all", None),
            ("/bin/bash", "bash|-s|x", None),
            ("/bin/bash", "-bash", None),
            ("/bin/bash", "bash|--|run.sh", Some("run.sh")),
            ("/usr/bin/ruby3.1", "ruby|-I|lib|bin/rails|s", Some("rails")),
            ("/usr/bin/ruby", "ruby|-Ilib|-rset|a.rb", Some("a.rb")),
            ("/usr/bin/ruby", "puma 5.6.5 (tcp://0.0.0.0:3000) [shop]", Some("puma")),
            ("/usr/bin/ruby", "ruby|-ne|puts", None),
            ("/usr/bin/perl", "perl|-w|tool.pl", Some("tool.pl")),
            ("/usr/bin/perl5.36.0", "perl|-MData::Dumper|-Ilib|t.pl", Some("t.pl")),
            ("/usr/bin/perl", "perl|-lane|print", None),
            ("/usr/bin/php8.2", "php|-c|/etc/php.ini|artisan|queue:work", Some("artisan")),
            ("/usr/bin/php", "php|-d|memory_limit=1G|-f|a.php", Some("a.php")),
            ("/usr/bin/php", "php|-S|:80|-t|public|router.php", Some("router.php")),
            ("/usr/bin/php", "php|-r|phpinfo();", None),
            ("/usr/sbin/php-fpm8.2", "php-fpm: pool www", None),
            ("/usr/bin/javac", "javac|A.java", None),
            ("/usr/bin/nodemon", "nodemon|x.js", None),
        ];
        for (exe, cmdline, wanted) in cases {
            assert_eq!(of(exe, cmdline).as_deref(), wanted, "{exe} {cmdline}");
        }
    }

    #[test]
    fn hostile_command_lines_are_survived() {
        for cmdline in [
            &b""[..],
            b"\0",
            b"\0\0\0",
            b"python3\0-\xff\xc3\xa9m",
            b"python3\0-m",
            b"python3\0-W",
            b"\xff\xff",
            b"---\0",
        ] {
            let _ = script("/usr/bin/python3", cmdline);
        }
    }
}
