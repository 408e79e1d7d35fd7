//! A small reader of the kernel's type information: offsets of struct members, sizes, enum values.
//!
//! Format: <https://docs.kernel.org/bpf/btf.html>. The bytes come from the kernel, yet every index is checked.

use std::collections::HashMap;

/// Where kernels publish their types.
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Types of a kernel.
pub struct Btf {
    bytes: Vec<u8>,
    strings: usize,
    /// Offset of each type's record; type ids begin with 1.
    types: Vec<u32>,
    structs: HashMap<Box<str>, u32>,
}

/// Why the types could not be used.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// The file could not be read.
    #[error("cannot read {KERNEL_BTF}: {0}")]
    Read(#[from] std::io::Error),
    /// It is no BTF.
    #[error("malformed BTF: {0}")]
    Malformed(&'static str),
    /// A type or member that the kernel does not have.
    #[error("the kernel's BTF has no {0}")]
    Missing(String),
}

const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;

struct Record {
    kind: u32,
    members: usize,
    bitfields: bool,
    name: u32,
    size_or_type: u32,
}

impl Btf {
    /// Reads the running kernel's types.
    pub fn of_kernel() -> Result<Self, BtfError> {
        Self::parse(std::fs::read(KERNEL_BTF)?)
    }

    /// Indexes the types of a raw BTF blob.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, BtfError> {
        if bytes.get(..2) != Some(&[0x9f, 0xeb]) {
            return Err(BtfError::Malformed("no magic"));
        }
        let word = |at| read_u32(&bytes, at).ok_or(BtfError::Malformed("short header"));
        let header = word(4)? as usize;
        let (types_at, types_len) = (header + word(8)? as usize, word(12)? as usize);
        let strings = header + word(16)? as usize;
        let mut btf = Self { bytes, strings, types: Vec::new(), structs: HashMap::new() };
        btf.index(types_at, types_at.saturating_add(types_len))?;
        Ok(btf)
    }

    fn index(&mut self, mut at: usize, end: usize) -> Result<(), BtfError> {
        while at < end {
            let record = self.record(at).ok_or(BtfError::Malformed("short type"))?;
            let length = 12 + trailer(&record).ok_or(BtfError::Malformed("unknown kind"))?;
            self.types.push(at as u32);
            if matches!(record.kind, STRUCT | UNION)
                && let Some(name) = self.string(record.name).filter(|name| WANTED.contains(name))
            {
                let name = name.into();
                self.structs.entry(name).or_insert(self.types.len() as u32);
            }
            at += length;
        }
        Ok(())
    }

    fn record(&self, at: usize) -> Option<Record> {
        let info = read_u32(&self.bytes, at + 4)?;
        Some(Record {
            kind: info >> 24 & 0x1f,
            members: (info & 0xffff) as usize,
            bitfields: info >> 31 == 1,
            name: read_u32(&self.bytes, at)?,
            size_or_type: read_u32(&self.bytes, at + 8)?,
        })
    }

    fn string(&self, offset: u32) -> Option<&str> {
        let rest = self.bytes.get(self.strings + offset as usize..)?;
        let end = rest.iter().take(256).position(|&byte| byte == 0)?;
        std::str::from_utf8(&rest[..end]).ok()
    }

    fn type_at(&self, id: u32) -> Option<(usize, Record)> {
        let at = *self.types.get(id.checked_sub(1)? as usize)? as usize;
        Some((at, self.record(at)?))
    }

    /// Size of a struct or union in bytes.
    pub fn size(&self, name: &str) -> Result<u32, BtfError> {
        let id = self.structs.get(name).copied();
        id.and_then(|id| self.type_at(id))
            .map(|(_, record)| record.size_or_type)
            .ok_or_else(|| BtfError::Missing(format!("struct {name}")))
    }

    /// Offset in bytes of a member given as `a` or `a.b`, looked for in anonymous members too.
    pub fn offset(&self, name: &str, path: &str) -> Result<u32, BtfError> {
        self.bit(name, path).map(|bits| bits / 8)
    }

    /// The same in bits.
    pub fn bit(&self, name: &str, path: &str) -> Result<u32, BtfError> {
        let missing = || BtfError::Missing(format!("struct {name} with a member {path}"));
        let mut id = *self.structs.get(name).ok_or_else(missing)?;
        let mut bits = 0;
        for member in path.split('.') {
            let (offset, member_type) = self.member(id, member, 0).ok_or_else(missing)?;
            bits += offset;
            id = member_type;
        }
        Ok(bits)
    }

    /// Bit offset and type of a member.
    fn member(&self, id: u32, name: &str, depth: u32) -> Option<(u32, u32)> {
        let (at, record) = self.type_at(id)?;
        if depth > 8 || !matches!(record.kind, STRUCT | UNION) {
            return None;
        }
        for index in 0..record.members {
            let member = at + 12 + 12 * index;
            let (name_offset, member_type) = (read_u32(&self.bytes, member)?, read_u32(&self.bytes, member + 4)?);
            let mask = if record.bitfields { 0xff_ffff } else { u32::MAX };
            let offset = read_u32(&self.bytes, member + 8)? & mask;
            match self.string(name_offset)? {
                found if found == name => return Some((offset, member_type)),
                "" => {
                    if let Some((inner, inner_type)) = self.member(member_type, name, depth + 1) {
                        return Some((offset + inner, inner_type));
                    }
                }
                _ => {}
            }
        }
        None
    }

    /// Value of an enumerator, whatever enum it is in.
    pub fn enumerator(&self, name: &str) -> Option<u32> {
        self.types.iter().find_map(|&at| {
            let at = at as usize;
            let record = self.record(at).filter(|record| record.kind == ENUM)?;
            (0..record.members).map(|index| at + 12 + 8 * index).find_map(|member| {
                let found = self.string(read_u32(&self.bytes, member)?)? == name;
                found.then(|| read_u32(&self.bytes, member + 4)).flatten()
            })
        })
    }
}

/// Structs that are looked up; the index holds no others.
const WANTED: [&str; 9] = [
    "task_struct",
    "mm_struct",
    "signal_struct",
    "css_set",
    "cgroup_subsys_state",
    "cgroup",
    "kernfs_node",
    "pt_regs",
    "thread_union",
];

/// Bytes after the common 12 of a type's record.
fn trailer(record: &Record) -> Option<usize> {
    Some(match record.kind {
        2 | 7 | 8 | 9 | 10 | 11 | 12 | 16 | 18 => 0,
        1 | 14 | 17 => 4,
        3 => 12,
        STRUCT | UNION | 15 | 19 => 12 * record.members,
        ENUM | 13 => 8 * record.members,
        _ => return None,
    })
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct task_struct { int tgid; union { u64 start_time; }; }`, `enum { pids_cgrp_id = 7 }`,
    /// `struct mm_struct { int : 3; int tgid : 1; }`
    fn sample() -> Vec<u8> {
        let strings = b"\0task_struct\0tgid\0start_time\0pids_cgrp_id\0int\0mm_struct\0";
        let mut types = Vec::new();
        let mut push = |words: &[u32]| words.iter().for_each(|word| types.extend(word.to_ne_bytes()));
        push(&[42, 1 << 24, 4, 32]);
        push(&[0, 5 << 24 | 1, 8, 18, 1, 0]);
        push(&[1, 4 << 24 | 2, 16, 13, 1, 32, 0, 2, 64]);
        push(&[0, 6 << 24 | 1, 4, 29, 7]);
        // A struct with bit fields has their sizes in the upper bytes of the offsets.
        push(&[46, 1 << 31 | 4 << 24 | 1, 4, 13, 1, 1 << 24 | 3]);
        let mut blob = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32] {
            blob.extend(word.to_ne_bytes());
        }
        blob.extend(types);
        blob.extend(strings);
        blob
    }

    #[test]
    fn finds_members_in_anonymous_unions() {
        let btf = Btf::parse(sample()).unwrap();
        assert_eq!(btf.offset("task_struct", "tgid").unwrap(), 4);
        assert_eq!(btf.offset("task_struct", "start_time").unwrap(), 8);
        assert_eq!(btf.size("task_struct").unwrap(), 16);
        assert_eq!(btf.bit("mm_struct", "tgid").unwrap(), 3);
        assert_eq!(btf.enumerator("pids_cgrp_id"), Some(7));
        assert!(btf.offset("task_struct", "nothing").is_err());
    }

    #[test]
    fn every_truncation_is_an_error_or_empty() {
        let blob = sample();
        for length in 0..blob.len() {
            if let Ok(btf) = Btf::parse(blob[..length].to_vec()) {
                let _ = btf.offset("task_struct", "start_time");
            }
        }
    }
}
