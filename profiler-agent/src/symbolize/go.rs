//! Functions of Go programs, by the table that the Go runtime itself names them by: stripped ones have it, too.

use super::source::{self, Answer, Context, NotOpened, RawName, RawSite, Source};
use crate::golang::{Pclntab, Site};
use crate::process::{Executable, ExecutableKind};
use std::fs::File;
use std::sync::Arc;

/// The table and the file that it is read from.
struct Functions {
    table: Pclntab,
    file: File,
}

/// The functions of a Go program.
///
/// # Errors
/// The file is none.
pub(super) fn open(executable: &Executable, _: &Context) -> Result<Box<dyn Source>, NotOpened> {
    let ExecutableKind::Elf { file, .. } = &executable.kind else {
        return Err(NotOpened::Never(source::without_sources(&executable.kind)));
    };
    let table = Pclntab::open(file).map_err(|unusable| NotOpened::Never(unusable.label()))?;
    let table = table.ok_or(NotOpened::Never("no_symbols"))?;
    let file = file.try_clone().map_err(|_| NotOpened::Later)?;
    Ok(Box::new(Functions { table, file }))
}

impl Source for Functions {
    fn find(&mut self, addresses: &[u64]) -> Vec<Answer> {
        let sites = |&address: &u64| self.table.sites(&self.file, address).into_iter().map(raw).collect();
        let answer = |sites: Vec<RawSite>| match sites.is_empty() {
            true => Answer::Unknown("unknown_address"),
            false => Answer::Sites(sites),
        };
        addresses.iter().map(sites).map(answer).collect()
    }

    /// It holds places only.
    fn bytes(&self) -> u64 {
        0
    }
}

fn raw(site: Site) -> RawSite {
    RawSite { name: RawName::Exact(site.function), file: Arc::from(site.file), line: site.line }
}
