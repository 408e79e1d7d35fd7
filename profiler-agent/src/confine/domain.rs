//! Landlock: which folders a thread writes to, and which TCP ports it uses.
//!
//! Reading is not restricted: certificates and secrets may be anywhere and are read again when they change. UDP is not
//! restricted either, Landlock knows no rules for it; names are looked up over it.

use crate::config::RunConfig;
use crate::export::Endpoint;
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetError,
};
use std::net::SocketAddr;
use std::path::PathBuf;

/// The version that the rules are written for; what an older kernel does not know is left out.
const WRITTEN_FOR: ABI = ABI::V5;
/// First version with rules for ports: Linux 6.7.
pub(crate) const PORTS_SINCE: i32 = 4;
/// Names that are too long for a datagram are looked up over TCP.
const DNS_PORT: u16 = 53;

/// What a thread may use.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Below them it writes; they exist.
    pub folders: Vec<PathBuf>,
    /// TCP ports that it connects to, beside that of name servers.
    pub connect_ports: Vec<u16>,
    /// TCP ports that it listens on.
    pub bind_ports: Vec<u16>,
}

impl Rules {
    /// Of the thread that exports and shows the page.
    #[must_use]
    pub fn of(config: &RunConfig) -> Self {
        let endpoints = config.export.endpoints.iter().chain(config.canary.iter().map(|canary| &canary.url));
        Self {
            folders: Vec::new(),
            connect_ports: endpoints.map(Endpoint::port).collect(),
            bind_ports: config.listen.iter().map(SocketAddr::port).collect(),
        }
    }
}

/// What became of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// It obeys the rules, as far as the kernel knows them.
    Entered,
    /// The kernel has no Landlock.
    Unavailable,
}

/// Confines the calling thread and those that it starts.
pub(super) fn enter(rules: &Rules) -> Result<Domain, RulesetError> {
    let ports = |ports: &[u16], access: AccessNet| {
        let rule = move |&port: &u16| Ok::<_, RulesetError>(NetPort::new(port, access));
        ports.iter().map(rule).collect::<Vec<_>>()
    };
    let mut connect = rules.connect_ports.clone();
    connect.push(DNS_PORT);
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_write(WRITTEN_FOR))?
        .handle_access(AccessNet::from_all(WRITTEN_FOR))?
        .create()?
        .add_rules(ports(&connect, AccessNet::ConnectTcp))?
        .add_rules(ports(&rules.bind_ports, AccessNet::BindTcp))?;
    for folder in &rules.folders {
        ruleset = allow(ruleset, folder)?;
    }
    Ok(match ruleset.restrict_self()?.landlock {
        LandlockStatus::Available { .. } => Domain::Entered,
        _ => Domain::Unavailable,
    })
}

fn allow(ruleset: RulesetCreated, folder: &PathBuf) -> Result<RulesetCreated, RulesetError> {
    match PathFd::new(folder) {
        Ok(opened) => ruleset.add_rule(PathBeneath::new(opened, written())),
        Err(error) => {
            tracing::warn!(%error, "a folder cannot be opened: nothing will be written there");
            Ok(ruleset)
        }
    }
}

/// Files and folders, but neither devices nor sockets.
fn written() -> BitFlags<AccessFs> {
    AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer
}

/// Version of the kernel's Landlock; none where it has none or it is switched off. A thread finds out and ends.
pub(crate) fn landlock_abi() -> Option<i32> {
    let enter = || {
        let ruleset = Ruleset::default().handle_access(AccessFs::WriteFile).ok()?.create().ok()?;
        match ruleset.restrict_self().ok()?.landlock {
            LandlockStatus::Available { effective_abi, kernel_abi } => Some(kernel_abi.unwrap_or(effective_abi as i32)),
            _ => None,
        }
    };
    std::thread::scope(|scope| scope.spawn(enter).join().ok().flatten())
}
