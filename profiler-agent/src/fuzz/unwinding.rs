//! Unwind tables and steps: structured input, compared with the plainest model.

use crate::bpf::Event;
use crate::bpf::event;
use crate::unwind::finish::{Lookup, finish};
use crate::unwind::table::Slice;
use crate::unwind::{Encoder, UnwindTable};
use arbitrary::{Result, Unstructured};
use profiler_common::limits::{MAX_USER_FRAMES, REGISTER_SLOTS};
use profiler_common::unwind::arch::{Aarch64, Arch, X86_64};
use profiler_common::unwind::rule::cfa;
use profiler_common::unwind::step::{Cursor, EXACT, INNERMOST, Stack, step};
use profiler_common::unwind::{Rule, page};
use std::convert::Infallible;
use std::hint::black_box;

/// Rows of a table at most: more than a page can hold of different rules.
const MAX_ROWS: usize = 4000;
/// Steps of a walk at most.
const MAX_STEPS: u32 = 64;

/// Any bytes as a page of rows: a lookup ends, with some rule.
pub fn unwind_page(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let place = |input: &mut Unstructured<'_>| -> Result<(u32, u32, u32)> {
        let page_bits = input.int_in_range(page::MIN_PAGE_BITS..=page::MAX_PAGE_BITS)?;
        Ok((u32::from(input.arbitrary::<u16>()?) & !7, input.int_in_range(0..=(1 << page_bits) - 1)?, page_bits))
    };
    let Ok((at, low, page_bits)) = place(&mut input) else { return };
    black_box(page::lookup(Slice(input.take_rest()), at, low, page_bits));
}

/// Any rows: what is looked up is what was pushed.
pub fn unwind_table(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let rows = rows(&mut input);
    let feed = |encoder: &mut Encoder| {
        rows.iter().for_each(|(address, rule)| encoder.push(*address, *rule));
        Ok::<(), Infallible>(())
    };
    let Ok(table) = UnwindTable::build(feed);
    let model = Model::new(&rows, &table);
    for (address, _) in &rows {
        for address in [address.wrapping_sub(1), *address, address.wrapping_add(1)] {
            assert_eq!(table.rule(address), model.rule(address), "{address:#x}");
        }
    }
    let page = 1 << table.page_bits();
    for address in (0..64).map(|number| table.base().wrapping_add(number * page)) {
        assert_eq!(table.rule(address), model.rule(address), "{address:#x}");
    }
}

/// Any frame, rule and memory: a step ends, and goes up the stack unless its rule says otherwise.
pub fn unwind_step(data: &[u8]) {
    let _ = walk::<X86_64>(Unstructured::new(data));
    let _ = walk::<Aarch64>(Unstructured::new(data));
}

/// Any record with a stack, finished by any rules: it ends, and the frames are as many as the header says.
pub fn copied_stack(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok(rules) = rules(&mut input) else { return };
    let Some(Event::Sample(mut sample)) = event::decode(input.take_rest()) else { return };
    let rule = |address: u64| match address % (rules.len() as u64 + 1) {
        0 => Lookup::Later,
        index => Lookup::Rule(rules[index as usize - 1]),
    };
    let finished = finish(&mut sample, rule);
    assert_eq!(finished, sample.stack.is_none());
    assert!(sample.user_frames().len() <= MAX_USER_FRAMES);
    assert_eq!(sample.user_frames().len(), sample.header.user_frames as usize);
}

/// What was accepted of the pushed rows, in order of address.
struct Model {
    rows: Vec<(u64, Rule)>,
    /// Address after the last page.
    end: u128,
}

impl Model {
    fn new(pushed: &[(u64, Rule)], table: &UnwindTable) -> Self {
        let mut rows: Vec<(u64, Rule)> = Vec::new();
        let page = |address: u64| u128::from(address - table.base()) >> table.page_bits();
        for &(address, rule) in pushed {
            match rows.last_mut() {
                None if rule == Rule::NONE => {}
                None => rows.push((address, rule)),
                Some(last) if address == last.0 => last.1 = rule,
                Some(last) if address < last.0 || page(address) >= 1 << 20 => {}
                Some(_) => rows.push((address, rule)),
            }
        }
        let end = rows.last().map_or(0, |last| ((page(last.0) + 1) << table.page_bits()) + u128::from(table.base()));
        Self { rows, end }
    }

    fn rule(&self, address: u64) -> Rule {
        let after = self.rows.partition_point(|row| row.0 <= address);
        let row = after.checked_sub(1).filter(|_| u128::from(address) < self.end);
        row.map_or(Rule::NONE, |row| self.rows[row].1)
    }
}

/// Rows at distances small and large, mostly ascending, of a few rules and of many.
fn rows(input: &mut Unstructured<'_>) -> Vec<(u64, Rule)> {
    let mut rows: Vec<(u64, Rule)> = Vec::new();
    let mut address = u64::from(input.arbitrary::<u32>().unwrap_or_default());
    while !input.is_empty() && rows.len() < MAX_ROWS {
        let Ok(rule) = rule(input, &rows) else { break };
        let Ok((distance, times)) = spread(input) else { break };
        for time in 0..times {
            address = address.wrapping_add(distance);
            rows.push((address, Rule { cfa_offset: rule.cfa_offset.wrapping_add(8 * time), ..rule }));
        }
    }
    rows
}

/// How far on the next row is, and how often that repeats.
fn spread(input: &mut Unstructured<'_>) -> Result<(u64, i32)> {
    let distance = match input.int_in_range(0..=9)? {
        0..=5 => u64::from(input.arbitrary::<u8>()?),
        6 => u64::from(input.arbitrary::<u16>()?),
        7 => input.int_in_range(0..=1 << 18)?,
        8 => 0,
        _ => input.arbitrary()?,
    };
    // A rule that holds for megabytes fills as many pages: right, but slow.
    let distance = if distance > 1 << 18 && distance < 1 << 40 { distance & 0x3_ffff } else { distance };
    let times = if input.ratio(1, 32)? { input.int_in_range(1..=600)? } else { 1 };
    Ok((distance, if distance > 1 << 10 { 1 } else { times }))
}

fn rule(input: &mut Unstructured<'_>, before: &[(u64, Rule)]) -> Result<Rule> {
    Ok(match input.int_in_range(0..=7)? {
        0 => Rule::NONE,
        1 | 2 if !before.is_empty() => input.choose(before)?.1,
        3 => wild_rule(input)?,
        _ => Rule {
            cfa: input.int_in_range(cfa::SP..=cfa::FP)?,
            fp: input.int_in_range(0..=2)?,
            ra: input.int_in_range(0..=2)?,
            cfa_offset: 8 * i32::from(input.arbitrary::<u8>()?),
            fp_offset: -8 * i32::from(input.arbitrary::<u8>()?),
            ..Rule::NONE
        },
    })
}

/// A few rules, at least one.
fn rules(input: &mut Unstructured<'_>) -> Result<Vec<Rule>> {
    (0..input.int_in_range(1..=4)?).map(|_| wild_rule(input)).collect()
}

fn wild_rule(input: &mut Unstructured<'_>) -> Result<Rule> {
    Ok(Rule {
        cfa: input.int_in_range(0..=cfa::WIDE)?,
        register: input.arbitrary()?,
        fp: input.int_in_range(0..=4)?,
        ra: input.int_in_range(0..=5)?,
        cfa_offset: offset(input)?,
        fp_offset: offset(input)?,
        extra: offset(input)?,
    })
}

fn offset(input: &mut Unstructured<'_>) -> Result<i32> {
    if input.ratio(1, 4)? { input.arbitrary() } else { Ok(i32::from(input.arbitrary::<i8>()?)) }
}

fn walk<A: Arch>(mut input: Unstructured<'_>) -> Result<()> {
    let mut cursor = Cursor {
        pc: input.arbitrary()?,
        sp: input.arbitrary()?,
        fp: input.arbitrary()?,
        link: input.arbitrary()?,
        flags: input.int_in_range(0..=EXACT | INNERMOST)?,
    };
    let rules = rules(&mut input)?;
    let start = if input.ratio(1, 2)? { cursor.sp } else { input.arbitrary()? };
    let memory = Memory { start, bytes: input.take_rest() };
    for rule in rules.iter().cycle().take(MAX_STEPS as usize) {
        let Ok(caller) = step::<A>(cursor, *rule, &memory) else { break };
        let elsewhere = matches!(rule.cfa, cfa::SIGNAL | cfa::GO_SAVED | cfa::GO_CALL | cfa::FP_SWITCH | cfa::NONE);
        let leaf = caller.sp == cursor.sp && cursor.flags & EXACT != 0;
        assert!(elsewhere || leaf || caller.sp > cursor.sp, "{rule:?}: {cursor:x?} to {caller:x?}");
        cursor = caller;
    }
    Ok(())
}

/// Bytes at an address; the registers are the first of them.
struct Memory<'a> {
    start: u64,
    bytes: &'a [u8],
}

impl Memory<'_> {
    fn at(&self, offset: u64) -> Option<u64> {
        let bytes = self.bytes.get(usize::try_from(offset).ok()?..)?;
        bytes.first_chunk().copied().map(u64::from_le_bytes)
    }
}

impl Stack for Memory<'_> {
    fn word(&self, address: u64) -> Option<u64> {
        self.at(address.wrapping_sub(self.start))
    }

    fn register(&self, slot: u32) -> Option<u64> {
        self.at(8 * u64::from(slot)).filter(|_| (slot as usize) < REGISTER_SLOTS)
    }

    fn thread_pointer(&self) -> Option<u64> {
        self.at(0)
    }
}
