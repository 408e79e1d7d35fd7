//! Which of several names of one function is shown.
//!
//! The C library has up to ten for one address. Users know what they call, which is exported and has no leading
//! underscores: `clock_gettime` rather than `__GI___clock_gettime`, `__libc_start_main` rather than
//! `__libc_start_main_impl`. The order depends on nothing but the names, so that every symbol table that has the same
//! ones leads to the same.

use super::symbol_index::{Part, Window};
use std::fs::File;

/// Symbols that share an address with another: what is beyond is left as it is.
const MAX_ALIASES: usize = 100_000;
/// Bytes of a name that are compared with another.
const MAX_ALIAS_BYTES: usize = 512;

/// A function symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Symbol {
    /// Its address.
    pub(super) start: u64,
    /// Its size, 0 where it is not known.
    pub(super) bytes: u32,
    /// Place of its name in the table of names.
    pub(super) name: u32,
    /// Other files cannot call it.
    pub(super) is_local: bool,
}

/// How far a name is from what users know: the least is shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    /// Other files cannot call it.
    is_local: bool,
    /// Leading underscores, those of a mangled name not counted.
    underscores: usize,
    /// In bytes, without the version: `stat` is before `stat64`.
    length: usize,
    /// Two that are alike otherwise: constructors, or functions that a linker found to be equal.
    name: Box<[u8]>,
}

impl Rank {
    /// Of the name of a symbol.
    pub(super) fn new(name: &[u8], is_local: bool) -> Self {
        let name = &name[..without_version(name)];
        let is_mangled = [&b"_Z"[..], b"__Z", b"_R"].iter().any(|prefix| name.starts_with(prefix));
        let underscores = name.iter().take_while(|&&byte| byte == b'_').count();
        Self { is_local, underscores: if is_mangled { 0 } else { underscores }, length: name.len(), name: name.into() }
    }
}

/// Length of a name without its version, `@GLIBC_2.2.5` or, where it is the default, `@@GLIBC_2.34`: linkers write it
/// into the symbol tables that debuggers read.
pub(super) fn without_version(name: &[u8]) -> usize {
    let is_version = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let version = name.iter().rev().take_while(|&&byte| is_version(byte)).count();
    let rest = &name[..name.len() - version];
    let plain = rest.strip_suffix(b"@@").or_else(|| rest.strip_suffix(b"@"));
    plain.filter(|plain| version > 0 && !plain.is_empty()).map_or(name.len(), <[u8]>::len)
}

/// Leaves one symbol of each address, the one that is shown, and makes it as large as the largest; in order of address.
///
/// # Errors
/// The names cannot be read.
pub(super) fn keep_first(symbols: &mut Vec<Symbol>, file: &File, names: Part) -> std::io::Result<()> {
    symbols.sort_unstable_by_key(|symbol| (symbol.start, symbol.name));
    let firsts = firsts(symbols, file, names)?;
    let mut firsts = firsts.into_iter().peekable();
    let (mut kept, mut at) = (0, 0);
    while let Some(&symbol) = symbols.get(at) {
        let count = symbols[at..].iter().take_while(|other| other.start == symbol.start).count();
        let largest = symbols[at..][..count].iter().map(|symbol| symbol.bytes).max().unwrap_or(0);
        let first = firsts.next_if(|&first| first < at + count).unwrap_or(at);
        symbols[kept] = Symbol { bytes: largest, ..symbols[first] };
        (kept, at) = (kept + 1, at + count);
    }
    symbols.truncate(kept);
    Ok(())
}

/// Of each address that several symbols share, the index of the one that is shown; in order of address.
fn firsts(symbols: &[Symbol], file: &File, names: Part) -> std::io::Result<Vec<usize>> {
    let (mut members, mut groups, mut at) = (Vec::new(), 0, 0);
    for group in symbols.chunk_by(|one, other| one.start == other.start) {
        if members.len() + group.len() > MAX_ALIASES {
            break;
        }
        if group.len() > 1 {
            members.extend((at..at + group.len()).map(|index| (index, groups)));
            groups += 1;
        }
        at += group.len();
    }
    // Names that lie side by side are read together.
    members.sort_unstable_by_key(|&(index, _)| symbols[index].name);
    let mut best: Vec<Option<(Rank, usize)>> = vec![None; groups];
    let mut window = Window::new(file, names);
    for (index, group) in members {
        let rank = Rank::new(window.name(symbols[index].name, MAX_ALIAS_BYTES)?, symbols[index].is_local);
        let best = &mut best[group];
        if best.as_ref().is_none_or(|(known, _)| rank < *known) {
            *best = Some((rank, index));
        }
    }
    Ok(best.into_iter().flatten().map(|(_, index)| index).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether only the file itself can call it.
    const GLOBAL: bool = false;
    const WEAK: bool = false;
    const LOCAL: bool = true;

    fn first<'a>(names: &[(&'a str, bool)]) -> &'a str {
        names.iter().min_by_key(|(name, is_local)| Rank::new(name.as_bytes(), *is_local)).unwrap().0
    }

    #[test]
    fn what_is_called_from_elsewhere_comes_first() {
        let start = [
            ("__libc_start_main_alias_1", LOCAL),
            ("__libc_start_main_impl", LOCAL),
            ("__libc_start_main@@GLIBC_2.34", GLOBAL),
        ];
        assert_eq!(first(&start), "__libc_start_main@@GLIBC_2.34");
        assert_eq!(first(&[("impl", LOCAL), ("__start", GLOBAL)]), "__start");
    }

    #[test]
    fn underscores_come_last_then_the_shortest() {
        let clock = [
            ("__GI___clock_gettime", LOCAL),
            ("__clock_gettime", GLOBAL),
            ("clock_gettime@@GLIBC_2.17", GLOBAL),
            ("__clock_gettime_2", LOCAL),
        ];
        assert_eq!(first(&clock), "clock_gettime@@GLIBC_2.17");
        assert_eq!(first(&[("_IO_puts", GLOBAL), ("puts", WEAK)]), "puts");
        assert_eq!(first(&[("fallocate64", GLOBAL), ("fallocate", WEAK)]), "fallocate");
        assert_eq!(first(&[("__GI___open", LOCAL), ("__open", LOCAL)]), "__open");
        // The version does not count.
        assert_eq!(first(&[("ab@VERSION_1", GLOBAL), ("abc", GLOBAL)]), "ab@VERSION_1");
    }

    #[test]
    fn underscores_of_mangled_names_do_not_count() {
        assert_eq!(first(&[("_ZN1aC2Ev", WEAK), ("_ZN1aC1Ev", WEAK)]), "_ZN1aC1Ev");
        assert_eq!(first(&[("_ZN1a4workEv", GLOBAL), ("_a_work", GLOBAL)]), "_ZN1a4workEv");
    }

    #[test]
    fn versions_are_no_part_of_names() {
        let plain = |name: &'static str| &name[..without_version(name.as_bytes())];
        assert_eq!(plain("__libc_start_main@@GLIBC_2.34"), "__libc_start_main");
        assert_eq!(plain("clock_gettime@GLIBC_2.2.5"), "clock_gettime");
        assert_eq!(plain("_ZNSsC1Ev@@GLIBCXX_3.4"), "_ZNSsC1Ev");
        for name in ["main", "", "@", "a@", "@@V", "@V", "-[Shop buy@price:]", "a@b c"] {
            assert_eq!(plain(name), name);
        }
    }
}
