//! How each command ends: exit codes, and the words that tell a user what to do next.

use profiler_tests::agent::{binary, ledger_line};
use profiler_tests::workload::{Running, compile_c};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// Exit code, standard output, standard error.
struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ended {
    /// Fails unless it ended with this code and standard error holds all the words.
    #[track_caller]
    fn with(&self, code: i32, words: &[&str]) -> &Self {
        assert_eq!(self.code, code, "standard error:\n{}\nstandard output:\n{}", self.stderr, self.stdout);
        for word in words {
            assert!(self.stderr.contains(word), "no {word:?} in standard error:\n{}", self.stderr);
        }
        self
    }
}

/// The agent with no variable of ours or of OpenTelemetry's in its environment.
fn agent() -> Command {
    clean(Command::new(binary()))
}

fn clean(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("PROFILER_") || name.starts_with("OTEL_") {
            command.env_remove(name);
        }
    }
    command
}

fn end(command: &mut Command) -> Ended {
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let [stdout, stderr] = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    let code = status.code().unwrap_or_else(|| panic!("{command:?} ended with {status}:\n{stderr}"));
    assert!(!stderr.contains("panicked"), "{command:?}:\n{stderr}");
    Ended { code, stdout, stderr }
}

fn ended(arguments: &[&str]) -> Ended {
    end(agent().args(arguments))
}

/// The agent where other users can execute it.
fn for_others() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("profiler-agent");
    std::fs::copy(binary(), &program).unwrap();
    for path in [folder.path(), &program] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    (folder, program)
}

/// The agent started by setpriv (Debian package util-linux).
fn with_privileges(flags: &[&str], program: &Path, arguments: &[&str]) -> Ended {
    end(clean(Command::new("setpriv")).args(flags).arg(program).args(arguments))
}

const NOBODY: [&str; 5] = ["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", "--inh-caps=-all"];

/// Root without these capabilities.
fn without(capabilities: &str, program: &Path, arguments: &[&str]) -> Ended {
    let list: Vec<String> = capabilities.split(',').map(|capability| format!("-{capability}")).collect();
    let list = list.join(",");
    with_privileges(&[&format!("--bounding-set={list}"), &format!("--inh-caps={list}")], program, arguments)
}

#[test]
fn help_names_every_command_and_ends_well() {
    let help = ended(&["--help"]);
    help.with(0, &[]);
    for word in ["run", "record", "doctor", "explain", "config", "http://127.0.0.1:4041/"] {
        assert!(help.stdout.contains(word), "{}", help.stdout);
    }
    for (command, words) in [
        ("run", ["--endpoint", "--interval", "--listen", "--frequency"]),
        ("record", ["--duration", "--output", "--pid", "--cgroup"]),
    ] {
        let help = ended(&[command, "--help"]);
        help.with(0, &[]);
        assert!(words.into_iter().all(|word| help.stdout.contains(word)), "{}", help.stdout);
    }
    ended(&["--version"]).with(0, &[]);
}

#[test]
fn wrong_usage_is_2() {
    let cases: [(&[&str], &str); 9] = [
        (&[], "Usage"),
        (&["fly"], "fly"),
        (&["run", "--nope"], "--nope"),
        (&["record", "--nope"], "--nope"),
        (&["run", "--frequency", "fast"], "fast"),
        (&["run", "--interval", "soon"], "soon"),
        (&["record", "--duration", "long"], "long"),
        (&["run", "--protocol", "smtp"], "smtp"),
        (&["record", "--pid", "me"], "me"),
    ];
    for (arguments, word) in cases {
        ended(arguments).with(2, &[word]);
    }
}

#[test]
fn an_unknown_output_extension_is_2_and_names_those_that_are_known() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("host.png");
    let ended = ended(&["record", "--output", output.to_str().unwrap()]);
    ended.with(2, &["host.png", ".pb.gz", ".folded", ".svg", ".otlp", ".json"]);
    assert!(!output.exists());
}

#[test]
fn what_fails_is_1_and_known_before_recording() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("missing/host.svg");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let cases: [(&[&str], &str); 4] = [
        (&["record", "--duration", "60s", "--output", nowhere.to_str().unwrap()], "missing"),
        (&["record", "--duration", "60s", "--output", "/proc/host.svg"], "/proc"),
        (&["record", "--duration", "60s", "--pid", "4194305"], "4194305"),
        (&["run", "--listen", &taken], &taken),
    ];
    for (arguments, word) in cases {
        let started = std::time::Instant::now();
        ended(arguments).with(1, &[word]);
        assert!(started.elapsed().as_secs() < 30, "{arguments:?} recorded first");
    }
    ended(&["run", "--listen", &taken]).with(1, &["--listen", "in use"]);
}

/// Three mistakes in the file, one in the environment, one in a flag.
#[test]
fn bad_configuration_is_64_with_every_mistake_and_its_origin() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.toml");
    std::fs::write(&file, "frequency = 0\nno-such-key = 1\nendpoint = [\"localhost:4040\"]\n").unwrap();
    let path = file.to_str().unwrap();
    let place = |place: &str| format!("{path}:{place}");
    let places = [place("1:13"), place("2:1"), place("3:13")];
    let of_file = [&*places[0], "frequency", &places[1], "no-such-key", &places[2]];
    let run = end(agent().args(["run", "--config", path, "--label", "a"]).env("PROFILER_INTERVAL", "10ms"));
    run.with(64, &of_file).with(64, &["5 mistakes", "PROFILER_INTERVAL", "10ms", "--label"]);
    let check = ended(&["config", "check", path]);
    check.with(64, &of_file).with(64, &["3 mistakes"]);
    ended(&["config", "show", "--config", path]).with(64, &of_file);
    std::fs::write(&file, "frequency = [\n").unwrap();
    ended(&["config", "check", path]).with(64, &[path]);
    ended(&["config", "check", "/nowhere/profiler.toml"]).with(64, &["/nowhere/profiler.toml"]);
}

#[test]
fn bad_environment_alone_is_64() {
    let run = end(agent().arg("run").env("PROFILER_FREQUENCY", "many").env("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://x"));
    run.with(64, &["PROFILER_FREQUENCY", "many", "OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://x"]);
    let record = end(agent().arg("record").env("PROFILER_FREQUENCY", "many"));
    record.with(64, &["PROFILER_FREQUENCY", "many"]);
}

#[test]
fn config_check_of_a_good_file_is_0() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("good.toml");
    std::fs::write(&file, "frequency = 97\ninterval = \"15s\"\nlabel = { env = \"prod\" }\n").unwrap();
    ended(&["config", "check", file.to_str().unwrap()]).with(0, &[]);
}

#[test]
fn config_show_names_origins_and_masks_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("good.toml");
    std::fs::write(&file, "frequency = 97\nheader = { X-Key = \"hush-file\" }\n").unwrap();
    let mut show = agent();
    show.args(["config", "show", "--interval", "15s", "--config"]).arg(&file);
    let shown = end(show.env("PROFILER_TENANT", "team-a").env("OTEL_EXPORTER_OTLP_ENDPOINT", "https://p.example.com"));
    shown.with(0, &[]);
    let text = &shown.stdout;
    let line = |key: &str| {
        let start = format!("{key} = ");
        text.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("no {key}: {text}"))
    };
    for (key, value, origin) in [
        ("frequency", "97", "good.toml:1:13"),
        ("header", "X-Key", "good.toml:2:20"),
        ("interval", "15s", "--interval"),
        ("tenant", "team-a", "PROFILER_TENANT"),
        ("endpoint", "https://p.example.com", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ("listen", "127.0.0.1:4041", "default"),
    ] {
        assert!(line(key).contains(value) && line(key).contains(origin), "{}", line(key));
    }
    assert!(!text.contains("hush-file") && !shown.stderr.contains("hush-file"), "{text}{}", shown.stderr);
}

#[test]
fn credentials_in_an_endpoint_are_64_and_not_repeated() {
    for command in [&["run"][..], &["config", "show"]] {
        let ended =
            end(agent().args(command).env("OTEL_EXPORTER_OTLP_ENDPOINT", "https://user:hush-url@p.example.com"));
        ended.with(64, &["OTEL_EXPORTER_OTLP_ENDPOINT", "p.example.com", "basic-auth-password-file"]);
        assert!(!ended.stderr.contains("hush-url") && !ended.stdout.contains("hush-url"), "{}", ended.stderr);
    }
}

#[test]
fn nobody_gets_77_and_the_way_to_grant() {
    let (_folder, program) = for_others();
    for arguments in [&["record", "--duration", "1s"][..], &["run", "--listen", "127.0.0.1:0"]] {
        let ended = with_privileges(&NOBODY, &program, arguments);
        ended.with(77, &["CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "setcap", "sudo"]);
    }
}

#[test]
fn each_missing_capability_is_77_and_named() {
    let (_folder, program) = for_others();
    let cases = [
        ("bpf,sys_admin", "CAP_BPF"),
        ("perfmon,sys_admin", "CAP_PERFMON"),
        ("sys_ptrace", "CAP_SYS_PTRACE"),
        ("dac_read_search,dac_override", "CAP_DAC_READ_SEARCH"),
    ];
    for (dropped, named) in cases {
        for arguments in [&["record", "--duration", "1s"][..], &["run", "--listen", "127.0.0.1:0"]] {
            let ended = without(dropped, &program, arguments);
            ended.with(77, &[&format!("missing {named}"), "setcap", "securityContext"]);
            let others = cases.iter().filter(|(_, other)| *other != named);
            for (_, other) in others {
                assert!(!ended.stderr.contains(&format!("missing {other}")), "{}", ended.stderr);
            }
        }
    }
}

/// The six capabilities of the documentation and nothing else are enough, for uid 0 and for nobody.
#[test]
fn six_capabilities_are_enough() {
    let (folder, program) = for_others();
    let work = folder.path().join("work");
    std::fs::create_dir(&work).unwrap();
    std::fs::set_permissions(&work, std::fs::Permissions::from_mode(0o777)).unwrap();
    let burn = compile_c(folder.path(), "burn.c", &[]);
    let _burn = Running::start(&burn, &[]);
    let six = "+bpf,+perfmon,+sys_ptrace,+dac_read_search,+syslog,+checkpoint_restore";
    let only = |set: &str| format!("--{set}=-all,{six}");
    for nobody in [false, true] {
        let output = work.join(format!("{nobody}.folded"));
        let mut flags = vec![only("bounding-set"), only("inh-caps")];
        if nobody {
            flags.push(only("ambient-caps"));
            flags.extend(["--reuid=65534", "--regid=65534", "--clear-groups"].map(str::to_owned));
        }
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let arguments = ["record", "--duration", "2s", "--output", output.to_str().unwrap()];
        with_privileges(&flags, &program, &arguments).with(0, &[]);
        let folded = std::fs::read_to_string(&output).unwrap();
        assert!(folded.contains("alpha"), "{folded}");
    }
}

#[test]
fn without_syslog_it_records_and_says_what_is_missing() {
    let (folder, program) = for_others();
    let output = folder.path().join("host.folded");
    let arguments = ["record", "--duration", "1s", "--output", output.to_str().unwrap()];
    let ended = without("syslog,sys_admin", &program, &arguments);
    ended.with(0, &["CAP_SYSLOG"]);
    let doctor = without("syslog,sys_admin", &program, &["doctor"]);
    doctor.with(0, &[]);
    assert!(doctor.stdout.contains("CAP_SYSLOG"), "{}", doctor.stdout);
}

#[test]
fn without_checkpoint_restore_it_records_and_says_what_is_missing() {
    let (folder, program) = for_others();
    let output = folder.path().join("host.folded");
    let arguments = ["record", "--duration", "1s", "--output", output.to_str().unwrap()];
    let ended = without("checkpoint_restore,sys_admin", &program, &arguments);
    ended.with(0, &["CAP_CHECKPOINT_RESTORE", "deleted libraries"]);
}

#[test]
fn doctor_says_whether_run_would_work() {
    let doctor = ended(&["doctor"]);
    doctor.with(0, &[]);
    assert!(doctor.stdout.contains("capabilities"), "{}", doctor.stdout);
    let json = ended(&["doctor", "--json"]);
    json.with(0, &[]);
    let report: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(report["ok"], true, "{report:#}");
    assert!(report["checks"].as_array().is_some_and(|checks| checks.len() > 5), "{report:#}");

    let (_folder, program) = for_others();
    let doctor = with_privileges(&NOBODY, &program, &["doctor"]);
    doctor.with(1, &[]);
    assert!(doctor.stdout.contains("CAP_BPF") && doctor.stdout.contains("setcap"), "{}", doctor.stdout);
    let json = with_privileges(&NOBODY, &program, &["doctor", "--json"]);
    json.with(1, &[]);
    let report: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(report["ok"], false, "{report:#}");
    let failed = report["checks"].as_array().unwrap().iter().filter(|check| check["status"] == "fail");
    let fixed = |check: &serde_json::Value| check["fix"].as_array().is_some_and(|fix| !fix.is_empty());
    assert!(failed.clone().count() > 0 && failed.into_iter().all(fixed), "{report:#}");
}

#[test]
fn the_commands_own_status_is_passed_on() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain");
    std::fs::write(&plain, "no program\n").unwrap();
    let script = folder.path().join("script");
    std::fs::write(&script, "#!/nowhere/interpreter\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let cases: [(&[&str], i32); 8] = [
        (&["true"], 0),
        (&["false"], 1),
        (&["sh", "-c", "exit 7"], 7),
        (&["sh", "-c", "exit 255"], 255),
        (&["sh", "-c", "kill -TERM $$"], 128 + 15),
        (&["sh", "-c", "kill -KILL $$"], 128 + 9),
        (&["no-such-command-anywhere"], 127),
        (&[plain.to_str().unwrap()], 126),
    ];
    for (command, code) in cases {
        println!("{command:?}");
        end(agent().args(["record", "--"]).args(command)).with(code, &[]);
    }
    ended(&["record", "--", "no-such-command-anywhere"]).with(127, &["no-such-command-anywhere"]);
    ended(&["record", "--", plain.to_str().unwrap()]).with(126, &[plain.to_str().unwrap(), "denied"]);
    // What a shell says of a script whose interpreter is missing.
    ended(&["record", "--", script.to_str().unwrap()]).with(127, &[script.to_str().unwrap()]);
}

/// It would hold standard error open for ever.
#[test]
fn a_recording_that_cannot_start_leaves_no_command_behind() {
    let folder = tempfile::tempdir().unwrap();
    let object = folder.path().join("object");
    std::fs::write(&object, "no object\n").unwrap();
    let mut record = agent();
    record.env("PROFILER_BPF_OBJECT", &object).args(["record", "--", "true"]);
    end(&mut record).with(77, &["cannot load the kernel programs"]);
}

/// The command's status also counts when there is an output file, which is written all the same.
#[test]
fn a_failing_command_is_recorded_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let burn = compile_c(folder.path(), "burn.c", &[]);
    let output = folder.path().join("burn.folded");
    let script = format!("{} 0.5; exit 3", burn.display());
    let ended = ended(&["record", "--output", output.to_str().unwrap(), "--", "sh", "-c", &script]);
    ended.with(3, &["alpha"]);
    assert!(std::fs::read_to_string(&output).unwrap().contains("alpha"));
}

#[test]
fn no_samples_is_0_with_a_warning_and_a_valid_file() {
    let folder = tempfile::tempdir().unwrap();
    for extension in ["pb.gz", "folded", "svg", "otlp", "json"] {
        let output = folder.path().join(format!("idle.{extension}"));
        // Once a second: the few milliseconds of sleep are hardly ever hit.
        let arguments = ["record", "--frequency", "1", "--output", output.to_str().unwrap(), "--", "sleep", "0.2"];
        let ended = ended(&arguments);
        ended.with(0, &["no samples"]);
        assert_eq!(ledger_line(&ended.stderr), [0; 5]);
        let bytes = std::fs::read(&output).unwrap();
        match extension {
            "folded" => assert!(bytes.is_empty()),
            "svg" => assert!(String::from_utf8(bytes).unwrap().trim_end().ends_with("</svg>")),
            "json" => drop(serde_json::from_slice::<serde_json::Value>(&bytes).unwrap()),
            "pb.gz" => {
                let top = Command::new("go").args(["tool", "pprof", "-top"]).arg(&output).output().unwrap();
                assert!(top.status.success(), "{}", String::from_utf8_lossy(&top.stderr));
            }
            _ => {}
        }
    }
}
