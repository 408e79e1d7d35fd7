//! `jit-PID.dump`: names and source lines of code made at run time.
//!
//! The format is that of the kernel's `tools/perf/Documentation/jitdump-specification.txt`: a header, then records that
//! programs append while they run. All numbers are in the byte order that the header's magic number shows.

use super::arena::{Arena, MAX_STRING_BYTES};
use super::code_spans::{CodeSpans, MAX_SPANS};
use super::growing::Growing;
use super::jit_lines::{Lines, Order, Place};
use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;

/// `JiTD`, as the writer's own number.
const MAGIC: u32 = 0x4a69_5444;
/// Magic, version, size of the header, machine, padding, pid, time, flags.
const HEADER_BYTES: usize = 40;
/// Kind, size, time.
const PREFIX_BYTES: usize = 16;
/// Of a load: pid, tid, address twice, size, index; then the name.
const LOAD_BYTES: usize = 40;
/// Of a move: pid, tid, address, old and new address, size, index.
const MOVE_BYTES: usize = 48;
/// Read at a time, and most that is looked at of one record: lines of a function beyond that are lost.
const PIECE_BYTES: usize = 256 << 10;
/// As much of a load as may be needed: what follows is the code itself.
const LOAD_HEAD_BYTES: usize = PREFIX_BYTES + LOAD_BYTES + MAX_STRING_BYTES + 1;

/// Kinds of records.
const LOAD: u32 = 0;
const MOVE: u32 = 1;
const DEBUG_INFO: u32 = 2;
const CLOSE: u32 = 3;

/// A piece of code as it was loaded or moved.
#[derive(Clone)]
struct Function {
    name: u32,
    /// Its first address.
    start: u64,
    lines: Range<u32>,
}

/// What one process has said, as far as it has been read.
#[derive(Default)]
pub(crate) struct JitDump {
    spans: CodeSpans,
    functions: Vec<Function>,
    names: Arena,
    lines: Lines,
    /// Functions by the index that the writer gave them.
    by_index: HashMap<u64, u32>,
    /// Lines stand before the code that they are of: its address, and they.
    told: Option<(u64, Range<u32>)>,
    order: Option<Order>,
    read: Growing,
    /// The writer is done, or makes no sense.
    over: bool,
}

/// Name and source line of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found<'a> {
    /// As the writer has it.
    pub(crate) name: &'a str,
    /// File and line, when known.
    pub(crate) place: Option<Place>,
}

impl JitDump {
    /// Reads what was written since; at most `budget` bytes, which it lessens.
    pub(crate) fn refresh(&mut self, file: &File, budget: &mut u64) {
        if self.read.is_another(file) {
            *self = Self::default();
        }
        let mut piece = Vec::new();
        while !self.over {
            piece.resize(PIECE_BYTES, 0);
            let filled = self.read.read(file, self.read.offset(), &mut piece, budget);
            let done = self.take(&piece[..filled]);
            if done == 0 {
                break;
            }
            self.read.advance_to(file, self.read.offset().saturating_add(done));
        }
        self.spans.settle();
    }

    /// The newest code at an address.
    pub(crate) fn find(&self, address: u64) -> Option<Found<'_>> {
        let function = self.functions.get(self.spans.find(address)? as usize)?;
        let place = self.lines.find(&function.lines, address.wrapping_sub(function.start));
        Some(Found { name: self.names.get(function.name), place })
    }

    /// Memory in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.spans.bytes()
            + self.names.bytes()
            + self.lines.bytes()
            + self.functions.capacity() * size_of::<Function>()
            + self.by_index.capacity() * size_of::<(u64, u32)>()
    }

    /// Takes whole records; says how many bytes to go on, 0 when there is no whole one yet.
    fn take(&mut self, piece: &[u8]) -> u64 {
        let mut done = 0_u64;
        loop {
            let rest = usize::try_from(done).ok().and_then(|done| piece.get(done..)).unwrap_or_default();
            let whole = match self.order {
                None => self.header(rest),
                Some(order) => self.record(order, rest, piece.len() == PIECE_BYTES && done == 0),
            };
            match whole {
                Some(bytes) if !self.over => done += bytes,
                _ => return done,
            }
        }
    }

    fn header(&mut self, bytes: &[u8]) -> Option<u64> {
        let magic = bytes.get(..HEADER_BYTES)?[..4].try_into().ok()?;
        let order = match (u32::from_le_bytes(magic), u32::from_be_bytes(magic)) {
            (MAGIC, _) => Order::Little,
            (_, MAGIC) => Order::Big,
            _ => {
                self.over = true;
                return None;
            }
        };
        self.order = Some(order);
        // Later versions may have a longer header.
        Some(u64::from(order.u32(bytes, 8)?).max(HEADER_BYTES as u64))
    }

    /// Takes one record; its size, none when it is not there as a whole. `all`: more of it cannot be had.
    fn record(&mut self, order: Order, bytes: &[u8], all: bool) -> Option<u64> {
        let (kind, size) = (order.u32(bytes, 0)?, order.u32(bytes, 4)? as usize);
        if size < PREFIX_BYTES || kind == CLOSE {
            self.over = true;
            return None;
        }
        let needed = match kind {
            LOAD => size.min(LOAD_HEAD_BYTES),
            MOVE | DEBUG_INFO => size,
            _ => PREFIX_BYTES,
        };
        if bytes.len() < needed && !all {
            return None;
        }
        let body = &bytes[PREFIX_BYTES..bytes.len().min(size)];
        let room = match kind {
            LOAD => self.load(order, body),
            MOVE => self.moved(order, body),
            DEBUG_INFO => self.debug_info(order, body),
            _ => Some(()),
        };
        // Without room for more there is no sense in reading on.
        self.over |= room.is_none();
        Some(size as u64)
    }

    /// None when there is no room.
    fn load(&mut self, order: Order, body: &[u8]) -> Option<()> {
        let field = |at| order.u64(body, at);
        let (Some(start), Some(size), Some(index)) = (field(16), field(24), field(32)) else { return Some(()) };
        let name = body.get(LOAD_BYTES..).unwrap_or_default();
        let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        let lines = self.told.take().filter(|(of, _)| *of == start).map_or(0..0, |(_, lines)| lines);
        let name = self.names.push(name)?;
        self.add(Function { name, start, lines }, size, index)
    }

    fn moved(&mut self, order: Order, body: &[u8]) -> Option<()> {
        let field = |at| order.u64(body, at).filter(|_| body.len() >= MOVE_BYTES);
        let (Some(start), Some(size), Some(index)) = (field(24), field(32), field(40)) else { return Some(()) };
        let known = self.by_index.get(&index).and_then(|&known| self.functions.get(known as usize));
        let Some(function) = known.cloned() else { return Some(()) };
        self.add(Function { start, ..function }, size, index)
    }

    fn debug_info(&mut self, order: Order, body: &[u8]) -> Option<()> {
        let start = order.u64(body, 0);
        self.told = start.map(|start| (start, self.lines.read(order, start, body.get(16..).unwrap_or_default())));
        Some(())
    }

    fn add(&mut self, function: Function, size: u64, index: u64) -> Option<()> {
        // A code that nobody can find any more still has its place here.
        if self.functions.len() >= 2 * MAX_SPANS {
            return None;
        }
        let value = self.functions.len() as u32;
        self.functions.push(function.clone());
        self.by_index.insert(index, value);
        self.spans.push(function.start, size, value).then_some(())
    }
}

#[cfg(test)]
mod tests;
