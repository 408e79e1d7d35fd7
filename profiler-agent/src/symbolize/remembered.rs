//! Names of addresses, remembered across windows.

use super::names::Site;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Memory of the names in each of two generations, in bytes.
const MAX_BYTES: usize = 24 << 20;
/// What an address takes beside its functions and their texts, about.
const ADDRESS_BYTES: usize = 64;

type Sites = HashMap<(u32, u64), Arc<[Site]>>;

/// What was needed lately, and what was needed before that.
#[derive(Default)]
pub(super) struct Remembered {
    young: Sites,
    old: Sites,
    /// Texts of the young generation, each once.
    texts: HashSet<Arc<str>>,
    bytes: usize,
}

impl Remembered {
    /// What is known of an address.
    pub(super) fn get(&mut self, executable: u32, address: u64) -> Option<Arc<[Site]>> {
        let key = (executable, address);
        if let Some(sites) = self.young.get(&key) {
            return Some(Arc::clone(sites));
        }
        let sites = self.old.remove(&key)?;
        self.put(executable, address, Arc::clone(&sites));
        Some(sites)
    }

    /// Remembers an address.
    pub(super) fn put(&mut self, executable: u32, address: u64, sites: Arc<[Site]>) {
        self.bytes += ADDRESS_BYTES + size_of_val(&*sites);
        self.young.insert((executable, address), sites);
        if self.bytes > MAX_BYTES {
            self.age();
        }
    }

    /// The text, shared with all who have the same.
    pub(super) fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        let text: Arc<str> = Arc::from(text);
        self.bytes += ADDRESS_BYTES + text.len();
        self.texts.insert(Arc::clone(&text));
        text
    }

    /// A window ended: texts of addresses that were not remembered may go.
    pub(super) fn end_window(&mut self) {
        if self.bytes > MAX_BYTES {
            self.age();
        }
    }

    fn age(&mut self) {
        self.old = std::mem::take(&mut self.young);
        self.texts = HashSet::new();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sites(remembered: &mut Remembered, name: &str) -> Arc<[Site]> {
        let [name, file] = [name, "a.c"].map(|text| remembered.text(text));
        Arc::from([Site { system_name: Arc::clone(&name), name, file, line: 1 }])
    }

    #[test]
    fn forgets_what_was_not_needed_for_two_generations() {
        let mut remembered = Remembered::default();
        let [needed, other] = ["needed", "other"].map(|name| sites(&mut remembered, name));
        remembered.put(1, 0x10, needed);
        remembered.put(1, 0x20, other);
        for _ in 0..2 {
            remembered.age();
            assert_eq!(&*remembered.get(1, 0x10).unwrap()[0].name, "needed");
        }
        assert!(remembered.get(1, 0x20).is_none() && remembered.get(2, 0x10).is_none());
    }

    #[test]
    fn many_long_names_take_bounded_memory() {
        let mut remembered = Remembered::default();
        for address in 0..2 * MAX_BYTES as u64 / 8192 {
            let sites = sites(&mut remembered, &format!("{address:08192}"));
            remembered.put(1, address, sites);
        }
        let kept = remembered.young.len() + remembered.old.len();
        assert!(kept <= 2 * MAX_BYTES / 8192, "{kept} names of 8 KiB");
    }
}
