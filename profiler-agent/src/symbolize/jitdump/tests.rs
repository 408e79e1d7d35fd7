use super::*;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

/// Writes numbers in one order.
#[derive(Clone, Copy)]
struct Writer(Order);

impl Writer {
    fn u32(self, value: u32) -> Vec<u8> {
        if self.0 == Order::Little { value.to_le_bytes() } else { value.to_be_bytes() }.to_vec()
    }

    fn u64(self, value: u64) -> Vec<u8> {
        if self.0 == Order::Little { value.to_le_bytes() } else { value.to_be_bytes() }.to_vec()
    }

    fn header(self) -> Vec<u8> {
        [MAGIC, 1, 40, 62, 0, 7].map(|word| self.u32(word)).concat().into_iter().chain([0; 16]).collect()
    }

    fn record(self, kind: u32, body: &[u8]) -> Vec<u8> {
        [self.u32(kind), self.u32(16 + body.len() as u32), self.u64(99), body.to_vec()].concat()
    }

    fn load(self, start: u64, code: usize, index: u64, name: &str) -> Vec<u8> {
        let numbers = [start, start, code as u64, index].map(|number| self.u64(number)).concat();
        let body = [self.u32(7), self.u32(7), numbers, name.into(), vec![0], vec![0x90; code]].concat();
        self.record(LOAD, &body)
    }

    fn moved(self, old: u64, new: u64, code: u64, index: u64) -> Vec<u8> {
        let numbers = [new, old, new, code, index].map(|number| self.u64(number)).concat();
        self.record(MOVE, &[self.u32(7), self.u32(7), numbers].concat())
    }

    fn lines(self, start: u64, entries: &[(u64, u32, &[u8])]) -> Vec<u8> {
        let mut body = [self.u64(start), self.u64(entries.len() as u64)].concat();
        for (address, line, file) in entries {
            body.extend([self.u64(*address), self.u32(*line), self.u32(0), file.to_vec(), vec![0]].concat());
        }
        self.record(DEBUG_INFO, &body)
    }
}

const LITTLE: Writer = Writer(Order::Little);

fn file(parts: &[Vec<u8>]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&parts.concat()).unwrap();
    file
}

fn read(parts: &[Vec<u8>]) -> JitDump {
    let mut dump = JitDump::default();
    dump.refresh(&file(parts), &mut (64 << 20));
    dump
}

fn name(dump: &JitDump, address: u64) -> Option<String> {
    dump.find(address).map(|found| found.name.to_owned())
}

fn line(dump: &JitDump, address: u64) -> Option<(Arc<str>, u32)> {
    dump.find(address)?.place.map(|place| (place.file, place.line))
}

#[test]
fn reads_names_and_lines_in_both_byte_orders() {
    for order in [Order::Little, Order::Big] {
        let w = Writer(order);
        let dump = read(&[
            w.header(),
            w.lines(0x1000, &[(0x1000, 3, b"a.js"), (0x1020, 5, b"\xff"), (0x1010, 4, b"b.js")]),
            w.load(0x1000, 0x30, 1, "first"),
            w.load(0x2000, 0x30, 2, "second"),
            w.record(4, &[0; 100]),
            w.moved(0x1000, 0x3000, 0x30, 1),
        ]);
        assert_eq!(name(&dump, 0x100f).as_deref(), Some("first"));
        assert_eq!(line(&dump, 0x100f), Some(("a.js".into(), 3)));
        assert_eq!(line(&dump, 0x1010), Some(("b.js".into(), 4)));
        assert_eq!(line(&dump, 0x102f), Some(("a.js".into(), 5)));
        assert_eq!((name(&dump, 0x2000).as_deref(), line(&dump, 0x2000)), (Some("second"), None));
        assert_eq!((name(&dump, 0x3011).as_deref(), line(&dump, 0x3011)), (Some("first"), Some(("b.js".into(), 4))));
        assert_eq!(name(&dump, 0x3030), None);
    }
}

#[test]
fn the_newest_code_wins() {
    let w = LITTLE;
    let dump = read(&[w.header(), w.load(0x1000, 0x100, 1, "old"), w.load(0x1040, 0x10, 2, "new")]);
    let found = [0x1000, 0x1040, 0x1050].map(|address| name(&dump, address).unwrap());
    assert_eq!(found, ["old", "new", "old"]);
}

/// V8 counts from before the ELF header that `perf inject` makes.
#[test]
fn lines_of_v8_are_where_its_code_is() {
    let w = LITTLE;
    let lines = w.lines(0x1000, &[(0x1040, 3, b"a.js"), (0x1050, 4, b"\xff")]);
    let dump = read(&[w.header(), lines, w.load(0x1000, 0x30, 1, "f")]);
    assert_eq!((line(&dump, 0x1000), line(&dump, 0x1010)), (Some(("a.js".into(), 3)), Some(("a.js".into(), 4))));
}

#[test]
fn follows_a_file_that_grows_record_by_record() {
    let w = LITTLE;
    let whole = [w.header(), w.lines(0x1000, &[(0x1000, 3, b"a.js")]), w.load(0x1000, 0x30, 1, "first")].concat();
    let file = tempfile::tempfile().unwrap();
    let mut dump = JitDump::default();
    for end in 0..=whole.len() {
        file.write_all_at(&whole[..end], 0).unwrap();
        dump.refresh(&file, &mut 100_000);
        // The code itself is not waited for.
        assert!(end == whole.len() || name(&dump, 0x1000).is_none() || end > whole.len() - 0x30, "{end}");
    }
    assert_eq!(line(&dump, 0x1000), Some(("a.js".into(), 3)));
    let anew = [w.header(), w.load(0x5000, 0x30, 1, "anew")].concat();
    file.set_len(0).unwrap();
    file.write_all_at(&anew, 0).unwrap();
    dump.refresh(&file, &mut 100_000);
    assert_eq!((name(&dump, 0x1000), name(&dump, 0x5000).as_deref()), (None, Some("anew")));
}

#[test]
fn nothing_is_read_behind_the_end() {
    let w = LITTLE;
    let dump = read(&[w.header(), w.load(0x1000, 8, 1, "a"), w.record(CLOSE, &[]), w.load(0x2000, 8, 2, "b")]);
    assert_eq!((name(&dump, 0x1000).as_deref(), name(&dump, 0x2000)), (Some("a"), None));
}

#[test]
fn code_larger_than_what_is_read_at_a_time_is_passed_over() {
    let w = LITTLE;
    let (file, mut dump) =
        (file(&[w.header(), w.load(0x10_0000, 5 << 20, 1, "large"), w.load(0x1000, 8, 2, "b")]), JitDump::default());
    let mut budget = 4 << 20;
    dump.refresh(&file, &mut budget);
    assert_eq!((name(&dump, 0x10_0000).as_deref(), name(&dump, 0x1000).as_deref()), (Some("large"), Some("b")));
    assert!(budget > 3 << 20, "the code itself is not read: {budget}");
}

#[test]
fn hostile_files_are_survived() {
    let w = LITTLE;
    let good =
        [w.header(), w.lines(0x1000, &[(0x1000, 3, b"a.js"), (0x1004, 4, b"\xff")]), w.load(0x1000, 0x30, 1, "f")]
            .concat();
    // Every byte in turn has every bit wrong.
    for index in 0..good.len() {
        let mut bad = good.clone();
        bad[index] ^= 0xff;
        let dump = read(&[bad]);
        let _ = (name(&dump, 0x1000), line(&dump, 0x1000), line(&dump, u64::MAX));
    }
    let wild = |size: u32| [w.header(), [LOAD, size].map(|word| w.u32(word)).concat(), vec![0xff; 100]].concat();
    for size in [0, 1, 15, 16, 17, 60, u32::MAX] {
        assert!(read(&[wild(size)]).find(0).is_none());
    }
    let none = read(&[b"\x7fELF not a dump at all, and long enough for a header".to_vec()]);
    assert!(none.over && none.bytes() == 0);
    let same_without_a_first = read(&[w.header(), w.lines(0x1000, &[(0x1000, 3, b"\xff")]), w.load(0x1000, 8, 1, "f")]);
    assert_eq!(
        (name(&same_without_a_first, 0x1000).as_deref(), line(&same_without_a_first, 0x1000)),
        (Some("f"), None)
    );
    let sparse = file(&[w.header()]);
    sparse.set_len(8 << 40).unwrap();
    let (mut dump, mut budget) = (JitDump::default(), 8 << 20);
    dump.refresh(&sparse, &mut budget);
    assert!(dump.over && budget > 7 << 20);
}

/// A function with more lines than are looked at of one record keeps those.
#[test]
fn a_long_list_of_lines_is_cut() {
    let w = LITTLE;
    let entries: Vec<(u64, u32, &[u8])> =
        (0..40_000).map(|index| (0x1000 + index, index as u32, &b"a.js"[..])).collect();
    let dump = read(&[w.header(), w.lines(0x1000, &entries), w.load(0x1000, 0x10000, 1, "f")]);
    assert_eq!(line(&dump, 0x1064), Some(("a.js".into(), 100)));
    assert_eq!(line(&dump, 0x1000 + 39_999).unwrap().1, 12_480);
}
