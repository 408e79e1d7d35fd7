//! Functions of the running kernel, from `/proc/kallsyms`.

use super::source::{Answer, Context, NotOpened, Source};
use super::symbol_table::{names, symbolizer};
use crate::process::Executable;
use blazesym::MaybeDefault;
use blazesym::symbolize::source::{Kernel, Source as Tables};
use blazesym::symbolize::{Input, Symbolizer};
use std::path::Path;

/// What the kernel's symbols take, about.
const KALLSYMS_BYTES: u64 = 10 << 20;

struct Kallsyms {
    symbolizer: Symbolizer,
    tables: Tables<'static>,
}

/// The kernel's symbols.
///
/// # Errors
/// None: what is missing shows when it is asked.
pub(super) fn open(_: &Executable, _: &Context) -> Result<Box<dyn Source>, NotOpened> {
    let kallsyms = MaybeDefault::Some(Path::new("/proc/kallsyms").into());
    let kernel = Kernel { kallsyms, vmlinux: MaybeDefault::None, debug_syms: false, ..Kernel::default() };
    Ok(Box::new(Kallsyms { symbolizer: symbolizer(), tables: Tables::Kernel(kernel) }))
}

impl Source for Kallsyms {
    fn find(&mut self, addresses: &[u64]) -> Vec<Answer> {
        names(&self.symbolizer, &self.tables, Input::AbsAddr(addresses))
    }

    fn bytes(&self) -> u64 {
        KALLSYMS_BYTES
    }
}
