//! Functions are called what other files call them, whatever else the source says: debug info and symbol tables know the
//! C library's functions by names of its authors, and which of them can be read changes from window to window.

use super::debuginfo;
use super::source::{Answer, Context, NotOpened, Source};
use super::symbol_table::{self, SymbolTables};
use crate::process::Executable;

/// A source, and what the file exports.
struct Exported {
    source: Box<dyn Source>,
    exported: SymbolTables,
}

/// Debug info.
///
/// # Errors
/// As [`debuginfo::open`].
pub(super) fn debug_info(executable: &Executable, context: &Context) -> Result<Box<dyn Source>, NotOpened> {
    debuginfo::open(executable, context).map(|source| over(source, executable))
}

/// Symbol tables.
///
/// # Errors
/// As [`symbol_table::open`].
pub(super) fn symbols(executable: &Executable, context: &Context) -> Result<Box<dyn Source>, NotOpened> {
    symbol_table::open(executable, context).map(|source| over(source, executable))
}

fn over(source: Box<dyn Source>, executable: &Executable) -> Box<dyn Source> {
    match symbol_table::exported(executable) {
        Some(exported) => Box::new(Exported { source, exported }),
        None => source,
    }
}

impl Source for Exported {
    fn find(&mut self, addresses: &[u64]) -> Vec<Answer> {
        let mut answers = self.source.find(addresses);
        let known: Vec<usize> =
            (0..answers.len()).filter(|&index| matches!(answers[index], Answer::Sites(_))).collect();
        let asked: Vec<u64> = known.iter().map(|&index| addresses[index]).collect();
        for (index, exported) in known.into_iter().zip(self.exported.find(&asked)) {
            rename(&mut answers[index], exported);
        }
        answers
    }

    fn bytes(&self) -> u64 {
        self.source.bytes() + self.exported.bytes()
    }
}

/// The outermost function is the one that was compiled; the others are inlined into it.
fn rename(answer: &mut Answer, exported: Answer) {
    if let (Answer::Sites(sites), Answer::Sites(exported)) = (answer, exported)
        && let (Some(outermost), Some(exported)) = (sites.last_mut(), exported.into_iter().next_back())
    {
        outermost.name = exported.name;
    }
}
