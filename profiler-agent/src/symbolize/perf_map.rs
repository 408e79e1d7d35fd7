//! `/tmp/perf-PID.map`: names of code made at run time, a line `START SIZE name` each, numbers in hexadecimal.
//!
//! The format is that of the kernel's `tools/perf/Documentation/jit-interface.txt`. Programs append to it while they run
//! or write it anew. Where pieces of code overlap, the later line is true.

use super::arena::Arena;
use super::code_spans::CodeSpans;
use super::growing::Growing;
use std::collections::HashMap;
use std::fs::File;

/// Read at a time.
const PIECE_BYTES: usize = 256 << 10;
/// Names of code that is there no more are thrown away when this many bytes have come together, and then at each
/// doubling.
const COMPACT_BYTES: usize = 4 << 20;

/// The names of one process, as far as its map has been read.
pub(crate) struct PerfMap {
    spans: CodeSpans,
    names: Arena,
    read: Growing,
    /// In the middle of a line that is too long to be one.
    skips: bool,
    compact_at: usize,
}

impl Default for PerfMap {
    fn default() -> Self {
        let (spans, names, read) = Default::default();
        Self { spans, names, read, skips: false, compact_at: COMPACT_BYTES }
    }
}

impl PerfMap {
    /// Reads what was written since; at most `budget` bytes, which it lessens.
    pub(crate) fn refresh(&mut self, file: &File, budget: &mut u64) {
        if self.read.is_another(file) {
            *self = Self::default();
        }
        let mut piece = Vec::new();
        loop {
            piece.resize(PIECE_BYTES, 0);
            let filled = self.read.read(file, self.read.offset(), &mut piece, budget);
            let Some(done) = self.take(&piece[..filled]) else { break };
            self.read.advance_to(file, self.read.offset() + done as u64);
        }
        self.spans.settle();
        self.compact();
    }

    /// The newest name for an address.
    pub(crate) fn find(&self, address: u64) -> Option<&str> {
        self.spans.find(address).map(|name| self.names.get(name))
    }

    /// Memory in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.spans.bytes() + self.names.bytes()
    }

    /// Takes whole lines; says how many bytes they are, none when there is no whole one or no room for more.
    fn take(&mut self, piece: &[u8]) -> Option<usize> {
        let Some(end) = piece.iter().rposition(|&byte| byte == b'\n') else {
            // The rest of the last line is still to be written, or this is no text.
            self.skips |= piece.len() == PIECE_BYTES;
            return self.skips.then_some(piece.len()).filter(|&length| length > 0);
        };
        for line in piece[..end].split(|&byte| byte == b'\n') {
            if !std::mem::take(&mut self.skips) && !self.take_line(line) {
                return None;
            }
        }
        Some(end + 1)
    }

    /// False when there is no room; a line that makes no sense is left out.
    fn take_line(&mut self, line: &[u8]) -> bool {
        let Some((start, size, name)) = parse(line) else { return true };
        self.names.push(name).is_some_and(|name| self.spans.push(start, size, name))
    }

    fn compact(&mut self) {
        if self.names.bytes() < self.compact_at {
            return;
        }
        let (mut names, mut moved) = (Arena::default(), HashMap::new());
        for value in self.spans.values_mut() {
            let name = self.names.get(*value).as_bytes();
            *value = *moved.entry(*value).or_insert_with(|| names.push(name).unwrap_or_default());
        }
        names.shrink();
        self.compact_at = (2 * names.bytes()).max(COMPACT_BYTES);
        self.names = names;
    }
}

/// Start, size and name; none for what is no line of a map.
fn parse(line: &[u8]) -> Option<(u64, u64, &[u8])> {
    let (start, rest) = field(line)?;
    let (size, rest) = field(rest)?;
    let name = rest.trim_ascii();
    Some((hexadecimal(start)?, hexadecimal(size)?, name)).filter(|(_, size, name)| *size > 0 && !name.is_empty())
}

/// Up to the next blank, and what is behind it.
fn field(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.trim_ascii_start();
    let end = text.iter().position(u8::is_ascii_whitespace)?;
    Some(text.split_at(end))
}

fn hexadecimal(digits: &[u8]) -> Option<u64> {
    let digits = digits.strip_prefix(b"0x").or_else(|| digits.strip_prefix(b"0X")).unwrap_or(digits);
    // `from_str_radix` would take a sign.
    digits.iter().all(u8::is_ascii_hexdigit).then_some(())?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn file(text: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text).unwrap();
        file
    }

    fn read(text: &[u8]) -> PerfMap {
        let mut map = PerfMap::default();
        map.refresh(&file(text), &mut (64 << 20));
        map
    }

    #[test]
    fn reads_what_node_java_and_dotnet_write() {
        let map = read(
            b"7f1234500000 1a0 LazyCompile:~fib /srv/app one.js:1:13\n\
              0x00007F1234500200 0x40 Ljava/lang/String;::hashCode\r\n\
              7f1234500300 18   int32 [App] Program::Main(string[])[Optimized]  \n\
              7f1234500400 20 _ZN4main3fib17h0123456789abcdefE\n",
        );
        assert_eq!(map.find(0x7f12_3450_0000), Some("LazyCompile:~fib /srv/app one.js:1:13"));
        assert_eq!(map.find(0x7f12_3450_019f), Some("LazyCompile:~fib /srv/app one.js:1:13"));
        assert_eq!(map.find(0x7f12_3450_01a0), None);
        assert_eq!(map.find(0x7f12_3450_0210), Some("Ljava/lang/String;::hashCode"));
        assert_eq!(map.find(0x7f12_3450_0310), Some("int32 [App] Program::Main(string[])[Optimized]"));
        assert_eq!(map.find(0x7f12_3450_0410), Some("_ZN4main3fib17h0123456789abcdefE"));
    }

    #[test]
    fn the_later_line_is_true() {
        let map = read(b"3000 100 third\n1000 100 old\n1080 100 new\n2000 10 second\n1080 8 newest\n");
        let found = [0x1000, 0x1080, 0x1088, 0x117f, 0x1180, 0x2008, 0x30ff].map(|address| map.find(address));
        let (old, new, second) = (Some("old"), Some("new"), Some("second"));
        assert_eq!(found, [old, Some("newest"), new, new, None, second, Some("third")]);
    }

    #[test]
    fn leaves_out_what_is_no_line() {
        let map = read(
            b"\n \nx\n10\n10 20\n10 20 \n-10 20 minus\n+10 20 plus\n0x 20 empty\n10 0 none\n10 zz bad\n\
              11112222333344445 10 long\n10 20\tgood\x07\xff\nffffffffffffffff ffffffffffffffff end\n20 10 half a li",
        );
        assert_eq!(map.find(0x10), Some("good?\u{fffd}"));
        assert_eq!(map.find(0x20), Some("good?\u{fffd}"));
        assert_eq!((map.spans.len(), map.find(u64::MAX)), (1, None));
    }

    #[test]
    fn follows_a_file_that_grows_and_one_written_anew() {
        let mut file = file(b"1000 10 first\n2000 10 sec");
        let mut map = PerfMap::default();
        map.refresh(&file, &mut 1000);
        assert_eq!((map.find(0x1000), map.find(0x2000)), (Some("first"), None));
        file.write_all(b"ond\n1000 8 third\n").unwrap();
        map.refresh(&file, &mut 1000);
        assert_eq!(
            (map.find(0x1000), map.find(0x1008), map.find(0x2000)),
            (Some("third"), Some("first"), Some("second"))
        );
        let anew = tempfile::tempfile().unwrap();
        std::os::unix::fs::FileExt::write_all_at(&anew, &b"1000 10 anew\n".repeat(10), 0).unwrap();
        map.refresh(&anew, &mut 1000);
        assert_eq!((map.find(0x1000), map.find(0x2000)), (Some("anew"), None));
    }

    #[test]
    fn reads_no_more_than_the_budget_and_goes_on_later() {
        let text: String = (0..1000).map(|i| format!("{:x} 10 function {i}\n", 0x1000 + 16 * i)).collect();
        let file = file(text.as_bytes());
        let (mut map, mut budget) = (PerfMap::default(), 100);
        map.refresh(&file, &mut budget);
        assert_eq!((map.find(0x1010), map.find(0x1100), budget), (Some("function 1"), None, 0));
        map.refresh(&file, &mut 1_000_000);
        assert_eq!(map.find(0x1000 + 16 * 999), Some("function 999"));
    }

    #[test]
    fn hostile_files_cost_little() {
        let mut lines = b"1000 10 before\n".to_vec();
        lines.extend(vec![b'x'; 3 * PIECE_BYTES]);
        lines.extend(b" 10 20 part of the long line\n2000 10 after\n");
        let map = read(&lines);
        assert_eq!((map.find(0x1000), map.find(0x2000), map.spans.len()), (Some("before"), Some("after"), 2));
        let sparse = tempfile::tempfile().unwrap();
        sparse.set_len(8 << 40).unwrap();
        let (mut map, mut budget) = (PerfMap::default(), 8 << 20);
        map.refresh(&sparse, &mut budget);
        assert_eq!((budget, map.bytes()), (0, 0));
    }

    /// A program that compiles the same place again and again.
    #[test]
    fn forgets_names_of_code_that_is_gone() {
        let name = "n".repeat(1000);
        let file = file(format!("1000 10 {name}\n").repeat(20_000).as_bytes());
        let mut map = PerfMap::default();
        map.refresh(&file, &mut (64 << 20));
        assert_eq!(map.find(0x1000), Some(&*name));
        assert!(map.bytes() < 2000, "{} bytes", map.bytes());
    }
}
