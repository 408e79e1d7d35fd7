//! Capabilities that are there, and whether what they are for can be done: a security module or a container's profile may
//! forbid it all the same.

use super::capabilities::{CHECKPOINT_RESTORE, DAC_READ_SEARCH, SYS_PTRACE, effective};
use super::host::Host;
use super::report::{Check, Status};
use rustix::fs::{MemfdFlags, Mode};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd as _;
use std::path::Path;

/// What came of trying.
pub(crate) struct Trials {
    /// `CAP_SYS_PTRACE`: where the executable of any other process is.
    pub(crate) processes: io::Result<()>,
    /// `CAP_DAC_READ_SEARCH`: reading a file whose mode allows nobody anything.
    pub(crate) files: io::Result<()>,
    /// `CAP_CHECKPOINT_RESTORE`: opening a file through the mapping of it.
    pub(crate) mapped_files: io::Result<()>,
}

impl Trials {
    /// Tries everything; nothing is left of it.
    pub(crate) fn made() -> Self {
        Self { processes: see_a_process(), files: read_a_closed_file(), mapped_files: open_a_mapped_file() }
    }
}

/// One is enough: single processes may be protected. The kernel's own have no executable.
fn see_a_process() -> io::Result<()> {
    let own = std::process::id().to_string();
    let is_other = |name: &OsString| name.to_str().is_some_and(|name| name != own && name.parse::<u32>().is_ok());
    let mut refused = Ok(());
    for name in std::fs::read_dir("/proc")?.filter_map(|entry| Some(entry.ok()?.file_name())).filter(is_other) {
        match std::fs::read_link(Path::new("/proc").join(name).join("exe")) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => refused = Err(error),
            Err(_) => {}
        }
    }
    refused
}

fn read_a_closed_file() -> io::Result<()> {
    let closed = rustix::fs::memfd_create("profiler-doctor", MemfdFlags::CLOEXEC)?;
    rustix::fs::fchmod(&closed, Mode::empty())?;
    File::open(format!("/proc/self/fd/{}", closed.as_raw_fd())).map(drop)
}

fn open_a_mapped_file() -> io::Result<()> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let of_a_file = |line: &&str| line.split_ascii_whitespace().nth(5).is_some_and(|path| path.starts_with('/'));
    let Some(range) = maps.lines().find(of_a_file).and_then(|line| line.split(' ').next()) else { return Ok(()) };
    File::open(format!("/proc/self/map_files/{}", without_zeros(range))).map(drop)
}

/// `00400000-00452000` is `400000-452000` there.
fn without_zeros(range: &str) -> String {
    let part = |part: &str| part.trim_start_matches('0').to_owned();
    range.split('-').map(part).collect::<Vec<_>>().join("-")
}

/// Names of what the capability is there for and cannot be done.
pub(super) fn tried(host: &Host, trials: &Trials) -> Check {
    let name = "tried for real";
    let held = effective(host);
    let refused = [
        ("CAP_SYS_PTRACE", SYS_PTRACE, &trials.processes, "/proc/PID/exe of others", Status::Fail),
        ("CAP_DAC_READ_SEARCH", DAC_READ_SEARCH, &trials.files, "a file of mode 0", Status::Fail),
        ("CAP_CHECKPOINT_RESTORE", CHECKPOINT_RESTORE, &trials.mapped_files, "/proc/self/map_files", Status::Warn),
    ];
    let refused = refused.into_iter().filter_map(|(named, capability, outcome, what, status)| {
        let error = outcome.as_ref().err().filter(|_| held.has(capability))?;
        Some((format!("{named} is there, but {what}: {error}"), status))
    });
    let refused: Vec<(String, Status)> = refused.collect();
    if refused.is_empty() {
        return Check::pass(
            name,
            "processes, closed files and mapped files can be read, as far as there is a capability",
        );
    }
    let fails = refused.iter().any(|(_, status)| *status == Status::Fail);
    let found: Vec<String> = refused.into_iter().map(|(found, _)| found).collect();
    Check {
        name,
        status: if fails { Status::Fail } else { Status::Warn },
        found: found.join("; "),
        fixes: vec![
            "let its security module allow it: AppArmor (Kubernetes: appArmorProfile: {type: Unconfined}, docker: \
             --security-opt apparmor=unconfined) or SELinux (seLinuxOptions: {type: spc_t})"
                .into(),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_named_as_the_kernel_does() {
        assert_eq!(without_zeros("00400000-00452000"), "400000-452000");
        assert_eq!(without_zeros("7f00aa000000-7f00aa001000"), "7f00aa000000-7f00aa001000");
    }

    #[test]
    fn a_file_of_mode_zero_is_read_by_the_capability_alone() {
        assert!(read_a_closed_file().is_ok());
        let refused = std::thread::spawn(|| {
            let mut sets = rustix::thread::capabilities(None).unwrap();
            sets.effective = rustix::thread::CapabilitySet::empty();
            rustix::thread::set_capabilities(None, sets).unwrap();
            [read_a_closed_file(), open_a_mapped_file()].map(|tried| tried.unwrap_err().raw_os_error())
        });
        assert_eq!(refused.join().unwrap(), [Some(libc::EACCES), Some(libc::EPERM)]);
    }
}
