//! Debug info of one executable: from an address to functions and lines.

use super::budget::Budget;
use super::entry_name::{self, EntryName, Place};
use super::functions::{Activation, Functions};
use super::lines::Lines;
use super::load::Loaded;
use super::unit::{Dwarf, Unit};
use super::units::Units;
use crate::symbolize::source::{Answer, RawName, RawSite, Source};
use crate::telemetry::metrics::{Metric, Metrics};
use gimli::DebugInfoOffset;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// Heads of units kept: for names that other units refer to.
const MAX_HEADS: usize = 128;
/// What a head takes, about.
const HEAD_BYTES: u64 = 16 << 10;
/// Functions and lines kept of the units of one file, in bytes.
const MAX_UNIT_BYTES: u64 = 32 << 20;

/// Functions and lines of a unit.
struct Parsed {
    unit: Rc<Unit>,
    functions: Functions,
    lines: Option<Lines>,
}

impl Parsed {
    fn bytes(&self) -> u64 {
        self.functions.bytes() + self.lines.as_ref().map_or(0, Lines::bytes) + HEAD_BYTES
    }
}

/// A unit that was looked at: none when it cannot be used.
struct Looked {
    parsed: Option<Rc<Parsed>>,
    last_used: u64,
}

/// Debug info that is read as addresses need it.
pub(in crate::symbolize) struct DebugInfo {
    loaded: Loaded,
    units: Units,
    supplement_units: Units,
    heads: HashMap<(Place, u64), Rc<Unit>>,
    looked: HashMap<u64, Looked>,
    clock: u64,
    budget: Rc<Budget>,
    metrics: Arc<Metrics>,
}

impl DebugInfo {
    /// Nothing is read yet but the sections that have to be unpacked.
    pub(super) fn new(loaded: Loaded, budget: Rc<Budget>, metrics: Arc<Metrics>) -> Self {
        Self {
            loaded,
            units: Units::default(),
            supplement_units: Units::default(),
            heads: HashMap::new(),
            looked: HashMap::new(),
            clock: 0,
            budget,
            metrics,
        }
    }

    /// The sections of a file; none where there is no supplementary file.
    pub(super) fn dwarf(&self, place: Place) -> Option<&Dwarf> {
        match place {
            Place::Main => Some(&self.loaded.dwarf),
            Place::Supplement => self.loaded.dwarf.sup(),
        }
    }

    /// The unit that an offset in `.debug_info` is in.
    pub(super) fn unit_holding(&mut self, place: Place, offset: u64) -> gimli::Result<Rc<Unit>> {
        let dwarf = match place {
            Place::Main => &self.loaded.dwarf,
            Place::Supplement => self.loaded.dwarf.sup().ok_or(gimli::Error::NoEntryAtGivenOffset(offset))?,
        };
        let units = if place == Place::Main { &mut self.units } else { &mut self.supplement_units };
        let start = units.holding(dwarf, &self.budget, offset)?;
        self.head(place, start)
    }

    fn head(&mut self, place: Place, start: u64) -> gimli::Result<Rc<Unit>> {
        if let Some(unit) = self.heads.get(&(place, start)) {
            return Ok(Rc::clone(unit));
        }
        let dwarf = self.dwarf(place).ok_or(gimli::Error::NoEntryAtGivenOffset(start))?;
        let header = dwarf.debug_info.header_from_offset(DebugInfoOffset(start))?;
        let unit = Rc::new(Unit::open(dwarf, header)?);
        if self.heads.len() >= MAX_HEADS {
            self.heads.clear();
        }
        self.heads.insert((place, start), Rc::clone(&unit));
        Ok(unit)
    }

    fn parse(&mut self, start: u64) -> gimli::Result<Parsed> {
        let unit = self.head(Place::Main, start)?;
        let dwarf = &self.loaded.dwarf;
        let functions = Functions::read(dwarf, &unit, &self.budget)?;
        let lines = match Lines::read(dwarf, &unit, &self.budget) {
            Ok(lines) => lines,
            Err(error) if self.budget.is_over() => return Err(error),
            Err(error) => {
                tracing::debug!(%error, "source lines of a unit cannot be read");
                self.metrics.add(Metric::DebugInfoRefused, "malformed_lines", 1);
                None
            }
        };
        if unit.is_split {
            self.metrics.add(Metric::DebugInfoRefused, "split", 1);
        }
        Ok(Parsed { unit, functions, lines })
    }

    /// A unit with its functions and lines; none when it cannot be used. One that takes longer than all the time of a
    /// window is not tried again.
    fn parsed(&mut self, start: u64) -> gimli::Result<Option<Rc<Parsed>>> {
        self.clock += 1;
        let clock = self.clock;
        if let Some(looked) = self.looked.get_mut(&start) {
            looked.last_used = clock;
            return Ok(looked.parsed.clone());
        }
        self.budget.check()?;
        let is_fresh = self.budget.is_fresh();
        let parsed = match self.parse(start) {
            Ok(parsed) => Some(Rc::new(parsed)),
            Err(error) if self.budget.is_over() && !is_fresh => return Err(error),
            Err(error) => {
                tracing::debug!(%error, "a unit of debug info cannot be read");
                let reason = if self.budget.is_over() { "unit_too_large" } else { "malformed" };
                self.metrics.add(Metric::DebugInfoRefused, reason, 1);
                None
            }
        };
        self.make_room(parsed.as_ref().map_or(0, |parsed| parsed.bytes()));
        self.looked.insert(start, Looked { parsed: parsed.clone(), last_used: clock });
        Ok(parsed)
    }

    /// Lets units go until there is room for this many bytes, those that were not used for longest first.
    fn make_room(&mut self, bytes: u64) {
        while self.unit_bytes() + bytes > MAX_UNIT_BYTES {
            let used = self.looked.iter().filter(|(_, looked)| looked.parsed.is_some());
            let Some((&start, _)) = used.min_by_key(|(_, looked)| looked.last_used) else { break };
            self.looked.remove(&start);
        }
    }

    fn unit_bytes(&self) -> u64 {
        self.looked.values().filter_map(|looked| looked.parsed.as_ref()).map(|parsed| parsed.bytes()).sum()
    }

    /// Functions and lines at an address, the innermost first; empty when nothing is known.
    fn sites(&mut self, address: u64) -> gimli::Result<Vec<RawSite>> {
        let mut only_line = Vec::new();
        for start in self.units.find(&self.loaded.dwarf, &self.budget, address)? {
            let Some(parsed) = self.parsed(start)? else { continue };
            let chain = parsed.functions.at(&self.loaded.dwarf, &parsed.unit, &self.budget, address)?;
            if !chain.is_empty() {
                return self.chain(&parsed, &chain, address);
            }
            if only_line.is_empty()
                && let Some((file, line)) = self.line(&parsed, address)
            {
                // Assembly, or functions in a file of their own.
                only_line.push(RawSite { name: RawName::Unknown, file, line });
            }
        }
        Ok(only_line)
    }

    fn line(&self, parsed: &Parsed, address: u64) -> Option<(Arc<str>, u32)> {
        let lines = parsed.lines.as_ref()?;
        let (file, line) = lines.at(address)?;
        Some((lines.path(&self.loaded.dwarf, &parsed.unit, file), line))
    }

    /// Each function is where the next inner one was called; the innermost is at the address itself.
    fn chain(&mut self, parsed: &Parsed, chain: &[Activation], address: u64) -> gimli::Result<Vec<RawSite>> {
        let (mut file, mut line) = self.line(parsed, address).unwrap_or_else(|| (Arc::from(""), 0));
        let mut sites = Vec::with_capacity(chain.len());
        for (depth, activation) in chain.iter().enumerate().rev() {
            let name = match entry_name::find(self, &parsed.unit, activation.entry) {
                Err(error) if self.budget.is_over() => return Err(error),
                Ok(Some(EntryName::Linkage(name))) => RawName::Mangled(name),
                Ok(Some(EntryName::Plain(name))) if parsed.unit.has_scopes && depth == 0 => RawName::Short(name),
                Ok(Some(EntryName::Plain(name))) => RawName::Exact(name),
                Ok(None) | Err(_) => RawName::Unknown,
            };
            // An inlined function without a name is part of the one that it is inlined into.
            if depth == 0 || name != RawName::Unknown {
                sites.push(RawSite { name, file: Arc::clone(&file), line });
            }
            let path = |lines: &Lines| {
                let call_file = activation.call_file?;
                Some(lines.path(&self.loaded.dwarf, &parsed.unit, call_file))
            };
            file = parsed.lines.as_ref().and_then(path).unwrap_or_default();
            line = activation.call_line;
        }
        Ok(sites)
    }

    fn answer(&mut self, address: u64) -> Answer {
        match self.sites(address) {
            Ok(sites) if sites.is_empty() => Answer::Unknown("unknown_address"),
            Ok(sites) => Answer::Sites(sites),
            Err(_) if self.budget.is_over() => Answer::Later,
            Err(error) => {
                tracing::debug!(%error, "debug info of an address cannot be read");
                Answer::Unknown("malformed")
            }
        }
    }
}

impl Source for DebugInfo {
    fn find(&mut self, addresses: &[u64]) -> Vec<Answer> {
        let budget = Rc::clone(&self.budget);
        budget.spend(|| addresses.iter().map(|&address| self.answer(address)).collect())
    }

    fn bytes(&self) -> u64 {
        let heads = self.heads.len() as u64 * HEAD_BYTES;
        self.loaded.bytes() + self.units.bytes() + self.supplement_units.bytes() + heads + self.unit_bytes()
    }
}
