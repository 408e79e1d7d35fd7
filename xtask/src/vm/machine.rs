//! An emulated machine: boots a kernel with an initramfs and gives what its serial console showed.

use super::archive::Archive;
use super::kernels::Architecture;
use crate::setup::debian;
use crate::shell::{command, output, step};
use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Emulators before this one break x86_64 guests now and then: an oops at boot, a stray trap when a CPU goes.
const MIN_VERSION: u32 = 10;
/// The emulators and the packages that have them.
const EMULATORS: &[(&str, &str)] =
    &[("qemu-system-x86_64", "qemu-system-x86"), ("qemu-system-aarch64", "qemu-system-arm")];
/// Of a console; a machine that shows more is broken.
const MAX_CONSOLE_BYTES: u64 = 16 << 20;
/// Last lines of it that an error shows.
const TAIL_LINES: usize = 40;
/// Begins every line of the guest's own.
pub(crate) const MARKER: &str = "@@ ";
/// Kernel parameters: a panic ends the machine, and the kernel does not test its own ciphers for a minute.
const PARAMETERS: &str = "panic=-1 loglevel=4 cryptomgr.notests";

impl Architecture {
    fn emulator(self) -> (&'static str, &'static str) {
        match self {
            Self::X86_64 => EMULATORS[0],
            Self::Aarch64 => EMULATORS[1],
        }
    }

    /// What differs between the machines. 52-bit addresses stop kernels before 5.12; the cheap form of pointer
    /// authentication keeps emulation fast.
    fn hardware(self) -> &'static [&'static str] {
        match self {
            Self::X86_64 => &["-cpu", "max"],
            Self::Aarch64 => &["-machine", "virt", "-cpu", "max,lpa2=off,pauth-impdef=on"],
        }
    }

    /// Kernel parameters. On x86_64 a kernel panics at boot if its timer does not tick ten times in the right time, which
    /// it cannot on a busy host.
    fn parameters(self) -> &'static str {
        match self {
            Self::X86_64 => "console=ttyS0 no_timer_check",
            Self::Aarch64 => "console=ttyAMA0",
        }
    }
}

/// Installs the emulator of an architecture, from the host's backports where its own is too old.
pub(crate) fn install(architecture: Architecture) -> Result<()> {
    let (program, package) = architecture.emulator();
    if installed(program).is_some_and(|version| version >= MIN_VERSION) {
        return Ok(());
    }
    if debian::candidate(package).is_ok_and(|version| number(&version).is_some_and(|number| number >= MIN_VERSION)) {
        return debian::install(&[(program, package)]);
    }
    step(&format!("installing {package} of Debian's backports"));
    Archive::of_host_with_backports()?.install(&[package])?;
    let version = installed(program);
    ensure!(
        version.is_some_and(|version| version >= MIN_VERSION),
        "{program} {MIN_VERSION} is needed, not {version:?}"
    );
    Ok(())
}

/// "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)": its first number.
fn installed(program: &str) -> Option<u32> {
    let text = output(&mut command(program, ["--version"])).ok()?;
    number(text.split_once("version ")?.1)
}

/// The first number of a version, behind Debian's epoch.
fn number(version: &str) -> Option<u32> {
    let version = version.split_once(' ').map_or(version, |(version, _)| version);
    let upstream = version.split_once(':').map_or(version, |(_, upstream)| upstream);
    upstream.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// What a machine showed.
#[derive(Default)]
pub(crate) struct Console {
    pub(crate) lines: Vec<String>,
    /// From power on to the first line of the guest's own.
    pub(crate) booted: Option<Duration>,
}

impl Console {
    fn push(&mut self, line: String, since_start: Duration) {
        if self.booted.is_none() && line.starts_with(MARKER) {
            self.booted = Some(since_start);
        }
        self.lines.push(line);
    }

    /// What it showed last, for people to read.
    fn tail(&self) -> String {
        self.lines[self.lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}

/// What a machine is made of.
pub(crate) struct Boot<'a> {
    pub(crate) architecture: Architecture,
    pub(crate) image: &'a Path,
    pub(crate) initramfs: &'a Path,
    /// The console is written there as well.
    pub(crate) log: &'a Path,
    pub(crate) patience: Duration,
}

impl Boot<'_> {
    /// Boots and waits until the machine is off, or kills it once a line is the last. Memory is all that it has, unless it
    /// gets a disk.
    ///
    /// # Errors
    /// When it cannot start, does not boot, or is not off in time; with the end of what it showed, the log holds all of it.
    pub(crate) fn run(
        &self,
        disk: Option<&Path>,
        parameters: &str,
        is_last: &mut dyn FnMut(&str) -> bool,
    ) -> Result<Console> {
        let &Self { log, patience, .. } = self;
        let mut log_file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut machine = self.start(disk, parameters, log_file.try_clone()?)?;
        let (started, output) = (Instant::now(), machine.console()?);
        let (mut console, mut killed) = (Console::default(), false);
        loop {
            match output.recv_timeout(patience.saturating_sub(started.elapsed())) {
                Ok(line) => {
                    writeln!(log_file, "{line}")?;
                    if !killed && is_last(&line) {
                        machine.0.kill()?;
                        killed = true;
                    }
                    console.push(line, started.elapsed());
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => bail!(
                    "the machine is not off after {} s; its console, all of it in {}, ends:\n{}",
                    patience.as_secs(),
                    log.display(),
                    console.tail()
                ),
            }
        }
        let status = machine.0.wait()?;
        ensure!(
            (status.success() || killed) && console.booted.is_some(),
            "the machine did not come up or its emulator failed ({status}); its console, all of it in {}, ends:\n{}",
            log.display(),
            console.tail()
        );
        Ok(console)
    }

    fn start(&self, disk: Option<&Path>, parameters: &str, errors: File) -> Result<Machine> {
        let emulator = self.architecture.emulator().0;
        let mut qemu = command(emulator, self.architecture.hardware());
        qemu.args(["-accel", "tcg,thread=multi", "-smp", "2", "-m", "768", "-nodefaults", "-no-reboot"]);
        qemu.args(["-display", "none", "-serial", "stdio", "-append"]);
        qemu.arg(format!("{} {PARAMETERS} {parameters}", self.architecture.parameters()));
        qemu.arg("-kernel").arg(self.image).arg("-initrd").arg(self.initramfs);
        if let Some(disk) = disk {
            qemu.args(["-device", "nvme,drive=disk,serial=disk", "-drive"]);
            // The host keeps its power: what the guest has handed over lasts without the host's syncs, which are slow.
            qemu.arg(format!("if=none,id=disk,format=raw,cache=unsafe,file={}", disk.display()));
        }
        qemu.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
        Ok(Machine(qemu.spawn().with_context(|| format!("cannot start {emulator}"))?))
    }
}

/// A running emulator; killed when dropped.
struct Machine(Child);

impl Machine {
    /// Lines of the serial console, until the machine is off.
    fn console(&mut self) -> Result<Receiver<String>> {
        let output = self.0.stdout.take().context("no console")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output.take(MAX_CONSOLE_BYTES)).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(lines)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_the_guest_ends_the_boot() {
        let mut console = Console::default();
        let lines = ["[ 1.0] kernel", "@@ fact kernel 6.1.0", "@@ fact done"];
        for (seconds, line) in (1..).zip(lines) {
            console.push(line.to_owned(), Duration::from_secs(seconds));
        }
        assert_eq!(console.booted, Some(Duration::from_secs(2)));
        assert_eq!(console.tail(), lines.join("\n"));
    }

    #[test]
    fn reads_versions_of_programs_and_packages() {
        assert_eq!(number("10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)\nCopyright"), Some(10));
        assert_eq!(number("1:7.2+dfsg-7+deb12u18+b3"), Some(7));
        assert_eq!(number("none"), None);
    }
}
