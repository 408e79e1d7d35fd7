//! Which of several names of one function is shown.
//!
//! The C library has up to ten for one address. Users know what they call, which is exported and has no leading
//! underscores: `clock_gettime` rather than `__GI___clock_gettime`, `__libc_start_main` rather than
//! `__libc_start_main_impl`. The order depends on nothing but the names, so that every symbol table that has the same
//! ones leads to the same.

use super::symbol_file::{SYMBOL_BYTES, symbol_at};
use object::elf::{SHN_UNDEF, STB_LOCAL, SymbolBind};
use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// Symbols that share an address with another: what is beyond is left as it is.
const MAX_ALIASES: usize = 100_000;
/// Bytes of a name that are compared with another.
const MAX_ALIAS_BYTES: usize = 512;

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
    pub(super) fn new(name: &[u8], bind: SymbolBind) -> Self {
        let name = &name[..without_version(name)];
        let is_mangled = [&b"_Z"[..], b"__Z", b"_R"].iter().any(|prefix| name.starts_with(prefix));
        let underscores = name.iter().take_while(|&&byte| byte == b'_').count();
        Self {
            is_local: bind == STB_LOCAL,
            underscores: if is_mangled { 0 } else { underscores },
            length: name.len(),
            name: name.into(),
        }
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

/// Leaves one symbol of each address in a copy of a symbol table, and makes it as large as the largest; the number of
/// those that no longer count. `starts` are addresses with the numbers of their symbols.
///
/// # Errors
/// The copy cannot be read or written.
pub(super) fn hide(copy: &File, starts: &mut [(u64, u32)], names_at: u64) -> std::io::Result<usize> {
    starts.sort_unstable();
    let mut hidden = 0;
    let mut left = MAX_ALIASES;
    for group in starts.chunk_by(|(one, _), (other, _)| one == other).filter(|group| group.len() > 1) {
        if group.len() > left {
            break;
        }
        left -= group.len();
        let (first, bytes) = first(copy, group, names_at)?;
        copy.write_all_at(&bytes.to_le_bytes(), symbol_at(first) + 16)?;
        for &(_, number) in group.iter().filter(|(_, number)| *number != first) {
            copy.write_all_at(&SHN_UNDEF.0.to_le_bytes(), symbol_at(number) + 6)?;
            hidden += 1;
        }
    }
    Ok(hidden)
}

/// The symbol of a group that is shown, and the largest size of all.
fn first(copy: &File, group: &[(u64, u32)], names_at: u64) -> std::io::Result<(u32, u64)> {
    let mut best: Option<(Rank, u32)> = None;
    let mut largest = 0;
    for &(_, number) in group {
        let (mut symbol, mut name) = ([0; SYMBOL_BYTES as usize], [0; MAX_ALIAS_BYTES]);
        copy.read_exact_at(&mut symbol, symbol_at(number))?;
        let [n0, n1, n2, n3, kind, .., s0, s1, s2, s3, s4, s5, s6, s7] = symbol;
        largest = largest.max(u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]));
        let name_at = u64::from(u32::from_le_bytes([n0, n1, n2, n3]));
        let read = copy.read_at(&mut name, names_at + name_at)?;
        let name = name[..read].split(|byte| *byte == 0).next().unwrap_or_default();
        let candidate = (Rank::new(name, SymbolBind(kind >> 4)), number);
        if best.as_ref().is_none_or(|best| candidate < *best) {
            best = Some(candidate);
        }
    }
    Ok((best.map_or(0, |(_, number)| number), largest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::elf::{STB_GLOBAL, STB_WEAK};

    fn first<'a>(names: &[(&'a str, SymbolBind)]) -> &'a str {
        names.iter().min_by_key(|(name, bind)| Rank::new(name.as_bytes(), *bind)).unwrap().0
    }

    #[test]
    fn what_is_called_from_elsewhere_comes_first() {
        let start = [
            ("__libc_start_main_alias_1", STB_LOCAL),
            ("__libc_start_main_impl", STB_LOCAL),
            ("__libc_start_main@@GLIBC_2.34", STB_GLOBAL),
        ];
        assert_eq!(first(&start), "__libc_start_main@@GLIBC_2.34");
        assert_eq!(first(&[("impl", STB_LOCAL), ("__start", STB_GLOBAL)]), "__start");
    }

    #[test]
    fn underscores_come_last_then_the_shortest() {
        let clock = [
            ("__GI___clock_gettime", STB_LOCAL),
            ("__clock_gettime", STB_GLOBAL),
            ("clock_gettime@@GLIBC_2.17", STB_GLOBAL),
            ("__clock_gettime_2", STB_LOCAL),
        ];
        assert_eq!(first(&clock), "clock_gettime@@GLIBC_2.17");
        assert_eq!(first(&[("_IO_puts", STB_GLOBAL), ("puts", STB_WEAK)]), "puts");
        assert_eq!(first(&[("fallocate64", STB_GLOBAL), ("fallocate", STB_WEAK)]), "fallocate");
        assert_eq!(first(&[("__GI___open", STB_LOCAL), ("__open", STB_LOCAL)]), "__open");
        // The version does not count.
        assert_eq!(first(&[("ab@VERSION_1", STB_GLOBAL), ("abc", STB_GLOBAL)]), "ab@VERSION_1");
    }

    #[test]
    fn underscores_of_mangled_names_do_not_count() {
        assert_eq!(first(&[("_ZN1aC2Ev", STB_WEAK), ("_ZN1aC1Ev", STB_WEAK)]), "_ZN1aC1Ev");
        assert_eq!(first(&[("_ZN1a4workEv", STB_GLOBAL), ("_a_work", STB_GLOBAL)]), "_ZN1a4workEv");
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
