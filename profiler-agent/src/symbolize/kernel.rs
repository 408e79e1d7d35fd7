//! Functions of the running kernel as a source of names.

use super::kallsyms::Kallsyms;
use super::source::{Answer, Context, NotOpened, RawName, RawSite, Source};
use crate::process::Executable;
use std::sync::Arc;
use std::time::Instant;

/// The kernel's symbols.
///
/// # Errors
/// None: what is missing shows when it is asked.
pub(super) fn open(_: &Executable, context: &Context) -> Result<Box<dyn Source>, NotOpened> {
    Ok(Box::new(Kallsyms::opened(context.kallsyms.clone())))
}

impl Source for Kallsyms {
    fn find(&mut self, addresses: &[u64]) -> Vec<Answer> {
        let answer = |found| match found {
            Ok(name) => Answer::Sites(vec![RawSite { name: RawName::Mangled(name), file: Arc::from(""), line: 0 }]),
            Err(reason) => Answer::Unknown(reason),
        };
        self.names(addresses, Instant::now()).into_iter().map(answer).collect()
    }

    fn bytes(&self) -> u64 {
        self.memory() as u64
    }
}
