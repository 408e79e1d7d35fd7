//! Executable files that are garbage, cut short, empty, huge, sparse or change while they run cost their process its
//! names, never the agent: it stays up and small, its ledger balances, and everybody else is named as before.

use profiler_tests::agent::{Agent, Metrics, binary};
use profiler_tests::hostile::{Code, Elf, PAGE, symbol};
use profiler_tests::page_api::{Function, functions, wait_for, wait_for_function};
use profiler_tests::workload::{Running, compile_c, run};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

const MAX_RSS_KIB: u64 = 200 << 10;
const PATIENCE: Duration = Duration::from_secs(30);

/// Each needs the CPUs for itself.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A folder with the workloads; a process that is named well runs at its side.
struct Stage {
    folder: TempDir,
    hostile: PathBuf,
    code: Code,
    _burn: Running,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let burn = compile_c(folder.path(), "burn.c", &[]);
        let hostile = compile_c(folder.path(), "hostile.c", &[]);
        let code = Code::compile(folder.path());
        Self { _burn: Running::start(&burn, &[]), folder, hostile, code }
    }

    fn elf(&self) -> Elf {
        Elf::new(&self.code, b"hostile_function")
    }

    /// Writes a file and runs the code in its second page.
    fn start(&self, name: &OsStr, bytes: &[u8]) -> (PathBuf, Running) {
        let file = self.folder.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        let running = self.start_at(&file, PAGE);
        (file, running)
    }

    fn start_at(&self, file: &Path, offset: u64) -> Running {
        self.spawn(Command::new(&self.hostile).arg(file).args([offset, self.code.entry].map(|n| n.to_string())))
    }

    fn spawn(&self, command: &mut Command) -> Running {
        let running = Running::spawn(command);
        let comm = format!("/proc/{}/comm", running.pid());
        let started = Instant::now();
        while std::fs::read_to_string(&comm).unwrap().trim() != "mapped" {
            assert!(started.elapsed() < PATIENCE, "the hostile workload does not run");
            std::thread::sleep(Duration::from_millis(5));
        }
        running
    }
}

/// The agent as the tests here run it, and what must hold of it at all times.
struct Watched(Agent);

impl Watched {
    fn start() -> Self {
        Self(Agent::run(&["--frequency", "99", "--interval", "1s"]))
    }

    fn check(&self) -> Metrics {
        assert_eq!(self.0.get_any("/healthz").0, 200);
        let metrics = self.0.metrics();
        metrics.assert_balance();
        let kib = self.rss_kib("VmHWM");
        assert!(kib < MAX_RSS_KIB, "the agent has used {kib} KiB");
        metrics
    }

    fn rss_kib(&self, what: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
        line.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap()
    }

    /// Waits for the hostile process to show, checks that its neighbour is named before and after.
    #[track_caller]
    fn shows(&self, fits: impl Fn(&Function) -> bool) -> Vec<Function> {
        wait_for(&self.0, "burn", "alpha");
        self.check();
        let found = wait_for_function(&self.0, "hostile", fits);
        self.is_all_right();
        found
    }

    /// The neighbour is named in what is sampled from now on, and all else is well.
    #[track_caller]
    fn is_all_right(&self) {
        let taken = self.check().taken();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().to_string();
        let started = Instant::now();
        loop {
            let burn = functions(&self.0, "burn", &now);
            let unnamed = burn.iter().any(|function| function.name.contains("burn+0x"));
            assert!(!unnamed, "functions of burn have lost their names: {burn:#?}");
            if ["alpha", "beta", "gamma_"].iter().all(|name| burn.iter().any(|function| function.name == *name)) {
                break;
            }
            assert!(started.elapsed() < PATIENCE, "nobody is named any more: {burn:#?}");
            std::thread::sleep(Duration::from_millis(300));
        }
        assert!(self.check().taken() > taken, "sampling has stopped");
    }

    fn refused(&self, reason: &str) -> f64 {
        self.0.metrics().get(&format!("profiler_files_refused_total{{reason=\"{reason}\"}}"))
    }

    fn stop(self) {
        println!("peak {} KiB", self.rss_kib("VmHWM"));
        let (status, stderr) = self.0.stop();
        assert_eq!(status.code(), Some(0), "{stderr}");
        for word in ["panicked", " ERROR"] {
            assert!(!stderr.contains(word), "{stderr}");
        }
    }
}

/// `file+0x…`.
fn unnamed(file: &str) -> impl Fn(&Function) -> bool {
    let start = format!("{file}+0x");
    move |function| function.name.starts_with(&start)
}

/// One file from its beginning: how its code shows.
#[track_caller]
fn costs_only_its_names(name: &str, make: impl FnOnce(&Stage) -> Vec<u8>, refused: Option<&str>) {
    let _alone = ONE_AT_A_TIME.lock();
    let stage = Stage::new();
    let (_, hostile) = stage.start(name.as_ref(), &make(&stage));
    let agent = Watched::start();
    agent.shows(unnamed(name));
    if let Some(reason) = refused {
        assert!(agent.refused(reason) >= 1.0, "no refusal for being {reason}: {:#?}", agent.0.metrics().0);
    }
    drop(hostile);
    agent.stop();
}

#[test]
fn a_good_file_is_named() {
    let _alone = ONE_AT_A_TIME.lock();
    let stage = Stage::new();
    let (_, _hostile) = stage.start("good.so".as_ref(), &stage.elf().bytes());
    let agent = Watched::start();
    agent.shows(|function| function.name == "hostile_function");
    agent.stop();
}

#[test]
fn headers_of_garbage() {
    let garbage = |stage: &Stage| {
        let mut bytes = stage.elf().bytes();
        bytes[..PAGE as usize].iter_mut().enumerate().for_each(|(index, byte)| *byte = (index * 7 + 165) as u8);
        bytes
    };
    costs_only_its_names("garbage.so", garbage, Some("malformed"));
}

#[test]
fn no_headers_at_all() {
    let zeros = |stage: &Stage| [vec![0; PAGE as usize], stage.code.page.clone()].concat();
    costs_only_its_names("zeros.so", zeros, Some("malformed"));
}

#[test]
fn a_magic_number_and_garbage() {
    let mixed = |stage: &Stage| {
        let mut bytes = stage.elf().bytes();
        bytes[16..PAGE as usize].fill(0xff);
        bytes
    };
    costs_only_its_names("magic.so", mixed, Some("too_large"));
}

#[test]
fn more_sections_than_there_can_be() {
    let many = |stage: &Stage| Elf { sections: 0, null_size: u64::from(u32::MAX), ..stage.elf() }.bytes();
    costs_only_its_names("sections.so", many, None);
}

#[test]
fn section_headers_beyond_the_file() {
    let beyond = |stage: &Stage| Elf { sections_at: Some(u64::MAX - 64), ..stage.elf() }.bytes();
    costs_only_its_names("beyond.so", beyond, None);
}

#[test]
fn a_symbol_table_larger_than_the_file() {
    let large = |stage: &Stage| Elf { symbols_bytes: Some(200 << 20), ..stage.elf() }.bytes();
    costs_only_its_names("large.so", large, None);
}

#[test]
fn a_symbol_table_of_impossible_size_and_place() {
    let impossible =
        |stage: &Stage| Elf { symbols_bytes: Some(1 << 60), symbols_at: Some(u64::MAX - 5), ..stage.elf() }.bytes();
    costs_only_its_names("impossible.so", impossible, None);
}

#[test]
fn names_larger_than_memory_in_a_section_that_is_not_there() {
    let names = |stage: &Stage| Elf { names_bytes: Some(1 << 40), ..stage.elf() }.bytes();
    costs_only_its_names("names.so", names, None);
    let link = |stage: &Stage| Elf { link: 4_000_000_000, ..stage.elf() }.bytes();
    costs_only_its_names("link.so", link, None);
}

#[test]
fn five_million_symbols() {
    let many = |stage: &Stage| {
        let mut elf = stage.elf();
        for index in 0..5_000_000_u64 {
            elf.symbols.extend(symbol(1, 0x10_0000 + index * 16, 16));
        }
        elf.bytes()
    };
    costs_only_its_names("many.so", many, None);
}

/// As many as are looked at, in several files at a time: names or none, but no memory without end.
#[test]
fn several_files_of_many_symbols() {
    let _alone = ONE_AT_A_TIME.lock();
    let stage = Stage::new();
    let mut elf = stage.elf();
    for index in 0..1_900_000_u64 {
        elf.symbols.extend(symbol(1, 0x10_0000 + index * 16, 16));
    }
    let bytes = elf.bytes();
    let _hostile = [1, 2, 3].map(|index| stage.start(format!("many{index}.so").as_ref(), &bytes));
    let agent = Watched::start();
    let of_ours = |function: &Function| function.name == "hostile_function" || function.name.contains("many");
    agent.shows(of_ours);
    agent.is_all_right();
    agent.stop();
}

/// Two hundred megabytes of names, all true ones.
#[test]
fn long_names_of_many_symbols() {
    let _alone = ONE_AT_A_TIME.lock();
    let stage = Stage::new();
    let mut elf = stage.elf();
    for index in 0..200_000_u64 {
        elf.symbols.extend(symbol(elf.names.len() as u32, 0x10_0000 + index * 16, 16));
        elf.names.extend(format!("{index:01000}\0").bytes());
    }
    let (_, _hostile) = stage.start("names.so".as_ref(), &elf.bytes());
    let agent = Watched::start();
    agent.shows(|function| function.name == "hostile_function" || function.name.starts_with("names.so+0x"));
    agent.is_all_right();
    agent.stop();
}

#[test]
fn a_name_of_a_megabyte() {
    let _alone = ONE_AT_A_TIME.lock();
    let stage = Stage::new();
    let elf = Elf::new(&stage.code, &vec![b'x'; 1 << 20]);
    let (_, _hostile) = stage.start("long.so".as_ref(), &elf.bytes());
    let agent = Watched::start();
    let found = agent.shows(|function| function.name.starts_with("xxxx") || function.name.starts_with("long.so+0x"));
    let longest = found.iter().map(|function| function.name.len()).max();
    // The bound of servers for a symbol is 65,535 bytes; nobody reads more.
    assert!(longest < Some(65_536), "a name of {longest:?} bytes");
    agent.stop();
}

/// A mangled name of hundreds of bytes that is gigabytes when it is written out: each template argument refers twice to
/// the one before.
#[test]
fn a_name_that_explodes() {
    let _alone = ONE_AT_A_TIME.lock();
    let stage = Stage::new();
    let digits = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let mut bomb = b"_Z1fI1aIiiES_IS0_S0_E".to_vec();
    for &digit in &digits[1..35] {
        let seq = char::from(digit);
        bomb.extend(format!("S_IS{seq}_S{seq}_E").bytes());
    }
    bomb.extend(b"EvT_");
    let deep = [&b"_Z1fI"[..], &b"1aI".repeat(100_000), &b"E".repeat(100_001), b"vv"].concat();
    let _hostile = [
        stage.start("bomb.so".as_ref(), &Elf::new(&stage.code, &bomb).bytes()),
        stage.start("deep.so".as_ref(), &Elf::new(&stage.code, &deep).bytes()),
    ];
    let agent = Watched::start();
    let found = agent.shows(|function| function.module.ends_with("bomb.so"));
    assert!(found.iter().all(|function| function.name.len() < 65_536));
    let found = agent.shows(|function| function.module.ends_with("deep.so"));
    assert!(found.iter().all(|function| function.name.len() < 65_536));
    agent.stop();
}

#[test]
fn a_sparse_file_of_three_gigabytes() {
    let _alone = ONE_AT_A_TIME.lock();
    let stage = Stage::new();
    let offset = (3 << 30) - PAGE;
    let mut running = Vec::new();
    for (name, head) in [
        ("sparse.so", &[][..]),
        ("sparse_elf.so", &{
            let elf = stage.elf();
            Elf { symbols_at: Some(PAGE), symbols_bytes: Some(2 << 30), names_bytes: Some(2 << 30), ..elf }.bytes()
        }),
    ] {
        let path = stage.folder.path().join(name);
        let file = File::create(&path).unwrap();
        file.write_all_at(head, 0).unwrap();
        file.write_all_at(&stage.code.page, offset).unwrap();
        running.push(stage.start_at(&path, offset));
    }
    let agent = Watched::start();
    agent.shows(unnamed("sparse.so"));
    agent.shows(unnamed("sparse_elf.so"));
    assert!(agent.refused("malformed") >= 1.0);
    agent.stop();
}

#[test]
fn cut_short_after_it_was_mapped() {
    let _alone = ONE_AT_A_TIME.lock();
    let stage = Stage::new();
    let (before, _before) = stage.start("cut_before.so".as_ref(), &stage.elf().bytes());
    File::options().write(true).open(&before).unwrap().set_len(2 * PAGE).unwrap();
    let (while_read, _while_read) = stage.start("cut_while.so".as_ref(), &stage.elf().bytes());
    let agent = Watched::start();
    agent.shows(|function| function.name == "hostile_function");
    File::options().write(true).open(&while_read).unwrap().set_len(2 * PAGE).unwrap();
    agent.shows(unnamed("cut_before.so"));
    // What has been read from it is still true of the code that runs.
    agent.shows(|function| function.name == "hostile_function");
    agent.stop();
}

/// The mapping still is the old file, and whatever stands at its path is none of the agent's business: neither is it
/// taken for the file, nor opened. Once with every capability and once without CHECKPOINT_RESTORE, so that the path is
/// the only way to the file.
#[test]
fn something_else_stands_at_its_path() {
    let _alone = ONE_AT_A_TIME.lock();
    let stage = Stage::new();
    let elf = |name: &str| Elf::new(&stage.code, format!("function_of_{name}").as_bytes()).bytes();
    let names = ["empty", "fifo", "zero", "folder", "other", "gone"];
    let running = names.map(|name| {
        let (file, running) = stage.start(format!("{name}.so").as_ref(), &elf(name));
        std::fs::remove_file(&file).unwrap();
        match name {
            "empty" => drop(File::create(&file).unwrap()),
            "fifo" => run(Command::new("mkfifo").arg(&file)),
            "zero" => symlink("/dev/zero", &file).unwrap(),
            "folder" => std::fs::create_dir(&file).unwrap(),
            "other" => std::fs::write(&file, elf("another_file")).unwrap(),
            _ => {}
        }
        running
    });
    let agent = Watched::start();
    for name in names {
        agent.shows(|function| function.name == format!("function_of_{name}"));
    }
    agent.stop();

    let mut setpriv = Command::new("setpriv");
    setpriv.args(["--bounding-set=-checkpoint_restore,-sys_admin", "--inh-caps=-checkpoint_restore,-sys_admin"]);
    setpriv.arg(binary()).args(["run", "--frequency", "99", "--interval", "1s"]);
    let agent = Watched(Agent::start(&mut setpriv));
    for name in names {
        let found = agent.shows(unnamed(&format!("{name}.so")));
        assert!(!found.iter().any(|function| function.name == "function_of_another_file"), "{found:#?}");
    }
    assert!(agent.refused("not_found") >= 1.0, "{:#?}", agent.0.metrics().0);
    drop(running);
    agent.stop();
}

#[test]
fn a_device_is_mapped() {
    let _alone = ONE_AT_A_TIME.lock();
    let stage = Stage::new();
    let page = stage.folder.path().join("page");
    std::fs::write(&page, &stage.code.page).unwrap();
    let entry = stage.code.entry.to_string();
    let _hostile = stage.spawn(Command::new(&stage.hostile).args(["/dev/zero", "0", &entry, "copy"]).arg(&page));
    let agent = Watched::start();
    agent.shows(|function| function.module == "/dev/zero" && function.name.starts_with("zero"));
    assert!(agent.refused("malformed") >= 1.0);
    agent.stop();
}

/// Headers, symbols and length change many times a second; only the page that runs stays.
#[test]
fn a_file_rewritten_while_it_runs() {
    let _alone = ONE_AT_A_TIME.lock();
    let stage = Stage::new();
    let good = stage.elf().bytes();
    let (path, _hostile) = stage.start("changing.so".as_ref(), &good);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let file = File::options().write(true).open(&path).unwrap();
            let garbage: Vec<u8> = (0..4096_u32).map(|index| (index * 131) as u8).collect();
            let end = good.len() as u64;
            for round in 0_u64.. {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                match round % 4 {
                    0 => file.write_all_at(&garbage, 0).unwrap(),
                    1 => file.set_len(2 * PAGE).unwrap(),
                    2 => file.write_all_at(&garbage, end - 200).unwrap(),
                    _ => file.write_all_at(&good, 0).unwrap(),
                }
                std::thread::sleep(Duration::from_millis(3));
            }
        });
        // The writer must end for the scope to end, whatever fails here.
        let result = std::panic::catch_unwind(|| {
            let agent = Watched::start();
            agent.shows(|function| function.module.ends_with("changing.so"));
            for _ in 0..3 {
                agent.is_all_right();
            }
            agent.stop();
        });
        over.store(true, Ordering::Relaxed);
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

/// Control characters of a path reach neither terminal nor log nor the page's names.
#[test]
fn a_path_with_control_characters() {
    let _alone = ONE_AT_A_TIME.lock();
    let stage = Stage::new();
    let bad = [vec![0xa5; PAGE as usize], stage.code.page.clone()].concat();
    let name = OsStr::from_bytes(b"a\nb\x1b[31m\xff;c d.so");
    let (_, _hostile) = stage.start(name, &bad);
    let folder = stage.folder.path().join("e\nx");
    std::fs::create_dir(&folder).unwrap();
    let program = folder.join("evil\x1b[2J");
    std::fs::copy(&stage.hostile, &program).unwrap();
    let good = stage.folder.path().join("new\nline.so");
    std::fs::write(&good, stage.elf().bytes()).unwrap();
    let arguments = [PAGE, stage.code.entry].map(|n| n.to_string());
    let _evil = stage.spawn(Command::new(&program).arg(&good).args(arguments));
    let agent = Watched::start();
    let found = agent.shows(|function| function.name.starts_with("a?b?[31m"));
    let evil = wait_for(&agent.0, "evil?[2J", "hostile_function");
    for function in found.iter().chain(&evil) {
        assert!(!function.name.contains(char::is_control), "{function:?}");
    }
    agent.stop();

    let output = stage.folder.path().join("host.folded");
    let record = Command::new(binary()).args(["record", "--duration", "2s", "--output"]).arg(&output).output().unwrap();
    let stderr = String::from_utf8_lossy(&record.stderr);
    assert!(record.status.success(), "{stderr}");
    assert!(!stderr.contains(|c: char| c.is_control() && c != '\n'), "{stderr:?}");
    let folded = std::fs::read_to_string(&output).unwrap();
    for line in folded.lines() {
        let count = line.rsplit_once(' ').and_then(|(_, count)| count.parse::<u64>().ok());
        assert!(count.is_some() && !line.contains(char::is_control), "{line:?}");
    }
}
