//! Who runs on this host and what is mapped where.
//!
//! Input: events in order of time, `/proc`. Output: identities, and addresses in executables. Invariant: what other
//! processes say is read with bounds; it can cost them their names, never the agent.

mod below;
mod containers;
pub(crate) mod elf;
mod executable;
mod identity;
mod jit;
mod living;
mod mapping;
pub(crate) mod maps;
mod proc;
mod root;
mod service;
mod table;

pub use elf::Refusal;
pub use executable::{Executable, ExecutableKind, Executables};
pub use identity::{Identity, Naming};
pub use jit::JitCode;
pub(crate) use living::{Living, NotRead};
pub use mapping::Mapping;
pub use root::Root;
pub use service::NameSource;
pub(crate) use service::{percent_decode, printable};
pub use table::{CodeAddress, ProcessKey, ProcessTable};
