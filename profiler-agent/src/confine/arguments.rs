//! Secrets among the agent's own arguments, which every user of the host can read in `/proc/PID/cmdline`.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

/// The flag whose values are secrets.
const FLAG: &[u8] = b"--header";

/// What became of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arguments {
    /// None of them is a secret.
    Harmless,
    /// Secrets that were there are overwritten.
    Hidden,
    /// Secrets are there for everybody to see.
    Visible,
}

impl Arguments {
    /// Warns of secrets.
    pub fn report(self) {
        let seen = match self {
            Self::Harmless => return,
            Self::Hidden => "was readable by every user of this host until the agent had overwritten it",
            Self::Visible => "is readable by every user of this host",
        };
        tracing::warn!(fix = "--header-file, or PROFILER_HEADER", "the value of --header on the command line {seen}");
    }
}

/// Overwrites the values of `--header` where the kernel shows them. Called once they were parsed.
#[must_use]
pub fn hide_arguments() -> Arguments {
    let text = std::fs::read("/proc/self/cmdline").unwrap_or_default();
    let secrets = secrets(&text);
    match secrets {
        secrets if secrets.is_empty() => Arguments::Harmless,
        secrets => overwrite(&secrets).map_or(Arguments::Visible, |()| Arguments::Hidden),
    }
}

/// What stands behind the `=` of each header.
fn secrets(text: &[u8]) -> Vec<Range<usize>> {
    let (mut found, mut at, mut is_value) = (Vec::new(), 0, false);
    for argument in text.split(|&byte| byte == 0) {
        let attached = argument.strip_prefix(FLAG).and_then(|rest| rest.strip_prefix(b"="));
        let value = if is_value { Some(argument) } else { attached };
        if let Some(value) = value {
            let end = at + argument.len();
            let name = value.iter().position(|&byte| byte == b'=').map_or(0, |equals| equals + 1);
            found.push(end - value.len() + name..end);
        }
        is_value = !is_value && argument == FLAG;
        at += argument.len() + 1;
    }
    found
}

/// Through the file of our own memory: no reference to the arguments exists while the agent has one thread.
fn overwrite(secrets: &[Range<usize>]) -> io::Result<()> {
    let start = start_of_arguments().ok_or(ErrorKind::NotFound)?;
    let memory = OpenOptions::new().write(true).open("/proc/self/mem")?;
    secrets
        .iter()
        .try_for_each(|secret| memory.write_all_at(&vec![b'*'; secret.len()], start + secret.start as u64))?;
    let now = std::fs::read("/proc/self/cmdline")?;
    let is_hidden = |secret: &Range<usize>| now.get(secret.clone()).is_some_and(|now| now.iter().all(|&b| b == b'*'));
    if secrets.iter().all(is_hidden) { Ok(()) } else { Err(ErrorKind::Other.into()) }
}

/// `arg_start`, field 48 of `/proc/self/stat`; the name in field 2 may hold anything.
fn start_of_arguments() -> Option<u64> {
    let stat = io::read_to_string(File::open("/proc/self/stat").ok()?).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(45)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&str> {
        secrets(text.as_bytes()).into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn values_of_headers_are_secrets() {
        assert_eq!(found("agent\0run\0--header\0X-Key=hush\0--listen\0off\0"), ["hush"]);
        assert_eq!(found("agent\0run\0--header=X-Key=a=b\0--header\0Y=\0"), ["a=b", ""]);
        assert_eq!(found("agent\0run\0--header\0hush\0"), ["hush"]);
        assert_eq!(found("agent\0run\0--header-file\0/run/header=s\0--label\0a=b\0"), [""; 0]);
        assert_eq!(found(""), [""; 0]);
        assert_eq!(found("--header"), [""; 0]);
    }

    #[test]
    fn the_kernel_says_where_arguments_are() {
        let mut first = [0; 1];
        let memory = File::open("/proc/self/mem").unwrap();
        memory.read_exact_at(&mut first, start_of_arguments().unwrap()).unwrap();
        assert_eq!(first[0], std::fs::read("/proc/self/cmdline").unwrap()[0]);
    }
}
