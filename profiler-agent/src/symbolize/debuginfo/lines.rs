//! The source lines of a unit.

use super::budget::Budget;
use super::functions::Clock;
use super::reader::Reader;
use super::unit::{Dwarf, Unit};
use gimli::{AttributeValue, FileEntry, IncompleteLineProgram, LineInstruction, LineRow, Reader as _, Section as _};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// Tables of files and folders of one unit in bytes; a hostile one takes a hundred times that in memory.
const MAX_HEADER_BYTES: u64 = 256 << 10;
/// Rows of one unit: 32 MiB.
const MAX_ROWS: usize = 2 << 20;
/// Longest path in bytes.
const MAX_PATH_BYTES: u64 = 4096;
/// What a file takes in gimli's table, about.
const FILE_BYTES: u64 = 256;

/// From here to the next row a line; the end of a sequence has none.
#[derive(Clone, Copy, Debug)]
struct Row {
    address: u64,
    file: u32,
    line: u32,
}

/// Stands for the end of a sequence.
const END: u32 = u32::MAX;

/// Lines by address.
pub(super) struct Lines {
    rows: Vec<Row>,
    program: IncompleteLineProgram<Reader>,
    paths: RefCell<HashMap<u32, Arc<str>>>,
}

impl Lines {
    /// Runs the line program of a unit; none when it has none.
    pub(super) fn read(dwarf: &Dwarf, unit: &Unit, budget: &Budget) -> gimli::Result<Option<Self>> {
        let Some(offset) = unit.lines_at else { return Ok(None) };
        check_header(dwarf, offset.0)?;
        let (directory, name) = (unit.inner.comp_dir.clone(), unit.inner.name.clone());
        let mut program = dwarf.debug_line.program(offset, unit.inner.header.address_size(), directory, name)?;
        let rows = run(&mut program, budget)?;
        Ok(Some(Self { rows: sorted(rows), program, paths: RefCell::default() }))
    }

    /// File index and line at an address.
    pub(super) fn at(&self, address: u64) -> Option<(u64, u32)> {
        let after = self.rows.partition_point(|row| row.address <= address);
        let row = self.rows[..after].last().filter(|row| row.file != END)?;
        Some((row.file.into(), row.line))
    }

    /// Path of a file, as absolute as the unit has it; empty when there is none.
    pub(super) fn path(&self, dwarf: &Dwarf, unit: &Unit, index: u64) -> Arc<str> {
        let key = u32::try_from(index).unwrap_or(END);
        if let Some(path) = self.paths.borrow().get(&key) {
            return Arc::clone(path);
        }
        let header = self.program.header();
        let path = header.file(index).and_then(|file| path(dwarf, unit, &self.program, file)).unwrap_or_default();
        let path: Arc<str> = Arc::from(path);
        self.paths.borrow_mut().insert(key, Arc::clone(&path));
        path
    }

    /// Memory held, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        let files = (self.program.header().file_names().len() + self.paths.borrow().len()) as u64;
        (self.rows.capacity() * size_of::<Row>()) as u64 + files * FILE_BYTES
    }
}

/// Refuses what gimli would read into memory without end.
fn check_header(dwarf: &Dwarf, offset: u64) -> gimli::Result<()> {
    let mut head = dwarf.debug_line.reader().clone();
    head.skip(offset)?;
    let (_, format) = head.read_initial_length()?;
    if head.read_u16()? >= 5 {
        head.skip(2)?;
    }
    match head.read_length(format)? {
        bytes if bytes > MAX_HEADER_BYTES => Err(gimli::Error::UnsupportedOffset),
        _ => Ok(()),
    }
}

fn run(program: &mut IncompleteLineProgram<Reader>, budget: &Budget) -> gimli::Result<Vec<Row>> {
    let mut instructions = program.header().instructions();
    let mut row = LineRow::new(program.header());
    let (mut rows, mut clock, mut is_gone) = (Vec::<Row>::new(), Clock::default(), false);
    let highest = u64::MAX >> (64 - 8 * u32::from(program.header().address_size().clamp(1, 8)));
    while let Some(instruction) = instructions.next_instruction(program.header())? {
        clock.tick(budget)?;
        match instruction {
            // Nobody has written these for twenty years, and they would grow the table of files.
            LineInstruction::DefineFile(_) => continue,
            // Code that the linker left out: 0, or the largest addresses.
            LineInstruction::SetAddress(address) => {
                is_gone = address == 0 || address < row.address() || address >= highest - 1;
            }
            _ => {}
        }
        if !row.execute(instruction, program)? {
            continue;
        }
        if !is_gone && row.address() > 0 {
            push(&mut rows, &row);
        }
        is_gone &= !row.end_sequence();
        if rows.len() > MAX_ROWS {
            return Err(gimli::Error::UnsupportedOffset);
        }
        row.reset(program.header());
    }
    Ok(rows)
}

fn push(rows: &mut Vec<Row>, row: &LineRow) {
    let line = row.line().and_then(|line| u32::try_from(line.get()).ok()).unwrap_or(0);
    let file = if row.end_sequence() { END } else { u32::try_from(row.file_index()).unwrap_or(END) };
    let row = Row { address: row.address(), file, line };
    match rows.last_mut() {
        // Of several rows for one address the last counts.
        Some(last) if last.address == row.address && last.file != END => *last = row,
        Some(last) if file != END && (last.file, last.line) == (row.file, row.line) => {}
        _ => rows.push(row),
    }
}

/// Sequences lie in any order; where one begins at another's end, the beginning counts.
fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by_key(|row| (row.address, row.file != END));
    rows.shrink_to_fit();
    rows
}

fn path(
    dwarf: &Dwarf,
    unit: &Unit,
    program: &IncompleteLineProgram<Reader>,
    file: &FileEntry<Reader>,
) -> Option<String> {
    let text = |value: AttributeValue<Reader>| dwarf.attr_string(&unit.inner, value).ok()?.text(MAX_PATH_BYTES).ok();
    let mut path = text(file.path_name())?;
    let folder = file.directory(program.header()).and_then(text);
    let base = || unit.inner.comp_dir.clone().and_then(|base| base.text(MAX_PATH_BYTES).ok());
    for folder in folder.into_iter().chain(base()) {
        if path.starts_with('/') {
            break;
        }
        path = format!("{}/{path}", folder.trim_end_matches('/'));
    }
    Some(path)
}
