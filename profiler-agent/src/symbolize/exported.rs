//! Functions are called what other files call them, whatever else the source says: debug info and symbol tables know the
//! C library's functions by names of its authors, and which of them can be read changes from window to window.

use super::debuginfo;
use super::source::{Answer, Context, NotOpened, RawSite, Source};
use super::symbol_index::SymbolIndex;
use super::symbol_table;
use crate::process::Executable;
use std::rc::Rc;

/// A source, and what the file exports.
struct Exported {
    source: Box<dyn Source>,
    exported: Rc<SymbolIndex>,
}

/// Debug info.
///
/// # Errors
/// As [`debuginfo::open`].
pub(super) fn debug_info(executable: &Executable, context: &Context) -> Result<Box<dyn Source>, NotOpened> {
    debuginfo::open(executable, context).map(|source| over(source, executable, context))
}

/// Symbol tables.
///
/// # Errors
/// As [`symbol_table::open`].
pub(super) fn symbols(executable: &Executable, context: &Context) -> Result<Box<dyn Source>, NotOpened> {
    symbol_table::open(executable, context).map(|source| over(source, executable, context))
}

fn over(source: Box<dyn Source>, executable: &Executable, context: &Context) -> Box<dyn Source> {
    match symbol_table::exported(executable, context) {
        Some(exported) => Box::new(Exported { source, exported }),
        None => source,
    }
}

impl Source for Exported {
    fn find(&mut self, addresses: &[u64]) -> Vec<Answer> {
        let mut answers = self.source.find(addresses);
        for (answer, &address) in answers.iter_mut().zip(addresses) {
            if let Answer::Sites(sites) = answer {
                rename(sites, self.exported.answer(address));
            }
        }
        answers
    }

    fn bytes(&self) -> u64 {
        self.source.bytes() + self.exported.bytes()
    }
}

/// The outermost function is the one that was compiled; the others are inlined into it.
fn rename(sites: &mut [RawSite], exported: Answer) {
    if let Answer::Sites(exported) = exported
        && let (Some(outermost), Some(exported)) = (sites.last_mut(), exported.into_iter().next_back())
    {
        outermost.name = exported.name;
    }
}
