//! Functions whose frames do not follow from the size of their frame alone: tops of stacks, changes of stacks, signal
//! returns, and assembly that keeps the frame pointer where it likes.
//!
//! Sources: `asm_amd64.s`, `asm_arm64.s`, `sys_linux_*.s` and `traceback.go` of Go's `runtime`.

use super::code::Code;
use super::image::Machine;
use super::pclntab::{Function, Pclntab, Version};
use super::rows::MAX_FRAME_BYTES;
use profiler_common::unwind::Rule;
use profiler_common::unwind::rule::cfa;
use std::collections::HashMap;
use std::fs::File;

/// Bytes of a function's code that are looked at.
const MAX_CODE_BYTES: usize = 16 << 10;
/// Bytes of all code that is looked at: ten times the assembly of a large program.
const MAX_ALL_CODE_BYTES: usize = 64 << 20;
/// `FuncFlagTopFrame`
const TOP_FRAME: u8 = 1;
/// `FuncFlagSPWrite`: the stack pointer gets another value than one from adding or subtracting.
const WRITES_SP: u8 = 2;
/// `FuncFlagAsm`, since Go 1.18.
const ASSEMBLY: u8 = 4;
/// Slot of x28, which holds `g`, in `struct user_pt_regs`.
const X28: u8 = 28;
/// The caller of these is on another stack or nowhere.
const TOPS: [&str; 9] = [
    "runtime.goexit",
    "runtime.mstart",
    "runtime.rt0_go",
    "runtime.mcall",
    "runtime.gogo",
    "gogo",
    "_rt0_amd64",
    "_rt0_amd64_linux",
    "_rt0_arm64_linux",
];
/// These write the stack pointer, but only where the kernel has started a child on another stack.
const CLONES: [&str; 2] = ["runtime.clone", "syscall.rawVforkSyscall"];
/// What Go 1.16 does not flag as [`WRITES_SP`].
const WRITE_SP: [&str; 6] = [
    "runtime.systemstack",
    "runtime.asmcgocall",
    "runtime.cgocallback",
    "runtime.nanotime1",
    "runtime.walltime",
    "runtime.walltime1",
];

/// What is special.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Special {
    /// One rule for all of the function.
    Whole(Rule),
    /// Rules from addresses on; before the first the usual ones.
    From(Vec<(u64, Rule)>),
    /// The stack changes, the frame pointer does not: it is set at an address, to a frame of so many bytes.
    Switch { from: u64, size: i32 },
    /// Where a frame has at least so many bytes, the frame pointer is stored at a distance from the CFA.
    Stored { delta: i32, fp_offset: i32 },
}

/// A function with a name or flag that matters.
struct Candidate {
    number: u64,
    function: Function,
    name: String,
    code: Vec<u8>,
}

/// Special functions by number.
pub(super) struct Specials(HashMap<u64, Special>);

impl Specials {
    /// None of them.
    pub(super) fn none() -> Self {
        Self(HashMap::new())
    }

    /// What is special about a function.
    pub(super) fn get(&self, number: u64) -> Option<&Special> {
        self.0.get(&number)
    }

    /// Looks at all functions, given with their number and end. `frames` gives the sizes of a function's frame and
    /// where each ends.
    pub(super) fn collect(
        table: &Pclntab,
        file: &File,
        functions: impl Iterator<Item = (u64, Function, u64)>,
        frames: impl Fn(&Function) -> Vec<(i32, u64)>,
    ) -> Self {
        let mut left = MAX_ALL_CODE_BYTES;
        let marked = functions
            .filter(|(_, function, _)| function.id != 0 || function.flags != 0 || table.version == Version::Go116);
        let candidates: Vec<Candidate> = marked
            .filter_map(|(number, function, end)| {
                let name = table.name(file, function.name);
                let matters = function.flags != 0 || is_named(&name);
                let code = if matters { code(table, file, &function, end, &mut left) } else { Vec::new() };
                matters.then_some(Candidate { number, function, name, code })
            })
            .collect();
        let machine = table.machine;
        let saved = Saved::find(machine, &candidates);
        let special = |candidate: &Candidate| {
            let frames = frames(&candidate.function);
            Some((candidate.number, candidate.special(machine, &frames, saved)?))
        };
        Self(candidates.iter().filter_map(special).collect())
    }
}

fn is_named(name: &str) -> bool {
    TOPS.contains(&name) || WRITE_SP.contains(&name) || name == "runtime.morestack" || is_signal_return(name)
}

fn is_signal_return(name: &str) -> bool {
    name == "runtime.sigreturn__sigaction" || name == "runtime.sigreturn"
}

fn code(table: &Pclntab, file: &File, function: &Function, end: u64, left: &mut usize) -> Vec<u8> {
    let bytes = usize::try_from(end - function.entry).unwrap_or(usize::MAX).min(MAX_CODE_BYTES).min(*left);
    let mut code = vec![0; bytes];
    let read = table.code(function.entry).and_then(|region| region.read(file, 0, &mut code)).map_or(0, <[u8]>::len);
    code.truncate(read);
    *left -= read;
    code
}

impl Candidate {
    fn special(&self, machine: Machine, frames: &[(i32, u64)], saved: Option<Saved>) -> Option<Special> {
        let flags = self.function.flags;
        let name = self.name.as_str();
        let code = Code { machine, bytes: &self.code };
        if TOPS.contains(&name) || flags & TOP_FRAME != 0 && name != "runtime.sigtramp" {
            return Some(Special::Whole(Rule::END));
        }
        if is_signal_return(name) {
            return Some(Special::Whole(Rule::SIGNAL));
        }
        if name == "runtime.morestack" {
            let rule = saved.map_or(Rule::UNSUPPORTED, |saved| saved.rule(machine));
            let from = code.switches().first().map_or(0, |at| *at as u64);
            return Some(Special::From(vec![(self.function.entry.saturating_add(from), rule)]));
        }
        let opened = opened(frames);
        if name == "runtime.asmcgocall" && (machine == Machine::Aarch64 || opened.is_none()) {
            return Some(call(code, self.function.entry, opened));
        }
        if CLONES.contains(&name) {
            return None;
        }
        if flags & WRITES_SP != 0 || WRITE_SP.contains(&name) {
            return Some(self.switch(code, opened, saved));
        }
        if flags & ASSEMBLY != 0 {
            return stored(code, frames);
        }
        None
    }

    /// Up to Go 1.20 `systemstack` of x86_64 has no frame, but saves where it is.
    fn switch(&self, code: Code<'_>, opened: Option<(usize, i32)>, saved: Option<Saved>) -> Special {
        let rule = || saved.map_or(Rule::UNSUPPORTED, |saved| saved.rule(code.machine));
        // Up to Go 1.21 `systemstack` of aarch64 takes the scheduler's frame pointer, then the goroutine's again.
        if code.machine == Machine::Aarch64
            && let [first, _, ..] = code.frame_pointer_loads()[..]
        {
            return Special::From(vec![(self.function.entry.saturating_add(first as u64), rule())]);
        }
        let set = opened.and_then(|(at, delta)| Some((code.frame_pointer_set(at)?, delta)));
        if let Some((from, delta)) = set {
            let size = match code.machine {
                Machine::X86_64 => 16,
                Machine::Aarch64 => delta + 8,
            };
            return Special::Switch { from: self.function.entry.saturating_add(from as u64), size };
        }
        let saves = opened.is_none() && self.name == "runtime.systemstack";
        Special::Whole(if saves { rule() } else { Rule::UNSUPPORTED })
    }
}

/// Where a function's frame is opened, and its size.
fn opened(frames: &[(i32, u64)]) -> Option<(usize, i32)> {
    let index = frames.iter().position(|(delta, _)| (1..MAX_FRAME_BYTES).contains(delta))?;
    let start = index.checked_sub(1).map_or(0, |before| frames[before].1);
    Some((usize::try_from(start).ok()?, frames[index].0))
}

/// Assembly may store the frame pointer itself. On aarch64 it stores the link register with it, and neither moves when
/// the frame grows later.
fn stored(code: Code<'_>, frames: &[(i32, u64)]) -> Option<Special> {
    let (at, size) = opened(frames)?;
    let set = code.frame_pointer_set(at);
    if code.machine == Machine::Aarch64 && set.is_some() {
        return Some(Special::Stored { delta: 1, fp_offset: -size - 8 });
    }
    if set.is_some() || code.machine == Machine::X86_64 && code.pushes_frame_pointer(at) {
        return None;
    }
    let Some(store) = code.frame_pointer_store() else {
        // On aarch64 the link register lies where it always does.
        let untouched = Special::Stored { delta: i32::MAX, fp_offset: 0 };
        return (code.machine == Machine::X86_64).then_some(untouched);
    };
    let delta = frames.iter().find(|(_, end)| (store.at as u64) < *end)?.0;
    let below = if code.machine == Machine::X86_64 { 8 } else { 0 };
    Some(Special::Stored { delta: delta.max(1), fp_offset: store.slot.checked_sub(delta)?.checked_sub(below)? })
}

/// How the registers of the goroutine that left its stack are found.
#[derive(Clone, Copy)]
struct Saved {
    /// Offset of `g` from the thread pointer.
    thread_local: i32,
    /// Offset of `m.curg`.
    current: i32,
    /// Offset of the saved frame pointer in `g`.
    frame_pointer: i32,
}

impl Saved {
    /// The offsets as the program itself uses them: they change from release to release.
    fn find(machine: Machine, candidates: &[Candidate]) -> Option<Self> {
        let code = |name: &str| {
            let candidate = candidates.iter().find(|candidate| candidate.name == name)?;
            Some(Code { machine, bytes: &candidate.code })
        };
        let systemstack = code("runtime.systemstack")?;
        let morestack = code("runtime.morestack")?;
        let thread_local = match machine {
            Machine::X86_64 => morestack.thread_local_g()?,
            Machine::Aarch64 => 0,
        };
        let (current, frame_pointer) = (systemstack.current_goroutine()?, morestack.saved_frame_pointer()?);
        Some(Self { thread_local, current, frame_pointer })
    }

    fn rule(self, machine: Machine) -> Rule {
        Rule {
            cfa: cfa::GO_SAVED,
            register: if machine == Machine::Aarch64 { X28 } else { 0 },
            cfa_offset: self.current,
            fp_offset: self.thread_local,
            extra: self.frame_pointer,
            ..Rule::NONE
        }
    }
}

/// On the other stack lie the goroutine that was left and how deep on its stack it was, or 0 and the stack pointer.
fn call(code: Code<'_>, entry: u64, opened: Option<(usize, i32)>) -> Special {
    let (user, depth, size) = match code.machine {
        Machine::X86_64 => (48, 40, 8),
        Machine::Aarch64 => (0, 8, opened.map_or(0, |(_, delta)| delta)),
    };
    let rule = Rule { cfa: cfa::GO_CALL, cfa_offset: user, fp_offset: depth, extra: size, ..Rule::NONE };
    let from = code.switches().first().map_or(0, |at| *at as u64);
    Special::From(vec![(entry.saturating_add(from), rule)])
}
