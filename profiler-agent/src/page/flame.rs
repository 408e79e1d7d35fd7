//! Profiles to one tree of frames, root first. A function from values to values.
//!
//! Values are CPU nanoseconds: samples times the period of the profile they are from, so that windows of different
//! frequencies add up. In every node `total = self + sum(total of children)`.

use crate::aggregate::merge::Selection;
use crate::profile::{FrameKind, Profile};
use std::collections::HashMap;
use std::sync::Arc;

/// Nodes while folding. What comes after is put into "(other)" below the last node that exists.
const MAX_NODES: usize = 300_000;

/// Frames of one stack, inlined ones included; what is deeper is "(other)". Bounds the recursion below.
const MAX_DEPTH: usize = 1500;

/// Nodes in the answer.
const MAX_SHOWN: usize = 20_000;

/// A node is shown from this share of the whole on: 1/2000 is 0.05 %, less than a pixel of a wide screen.
const MIN_SHARE: u64 = 2000;

/// Modules in the answer.
const MAX_MODULES: usize = 8;

/// The frame that stands for frames too small to show.
pub const OTHER: &str = "(other)";

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodeKind {
    /// The whole selection.
    Root,
    /// A service, when all services are shown.
    Service,
    /// A function.
    Frame(FrameKind),
    /// Frames too small to show.
    Other,
}

impl NodeKind {
    /// Its name in the answer.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Service => "service",
            Self::Frame(kind) => kind.as_str(),
            Self::Other => "other",
        }
    }
}

/// What tells frames apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// Function or service. Hostile text.
    pub name: Arc<str>,
    /// Path of the file it lies in. Hostile text.
    pub module: Arc<str>,
    /// What it is.
    pub kind: NodeKind,
}

/// A frame in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Index into [`Tree::frames`].
    pub frame: u32,
    /// Distance from the root.
    pub depth: u16,
    /// CPU nanoseconds of the frame itself.
    pub self_ns: u64,
    /// CPU nanoseconds of the frame and what it called.
    pub total_ns: u64,
}

/// A function wherever it is in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionTotal {
    /// Index into [`Tree::frames`].
    pub frame: u32,
    /// CPU nanoseconds of the function itself.
    pub self_ns: u64,
    /// CPU nanoseconds of stacks it is in, each counted once however often it recurs.
    pub total_ns: u64,
}

/// A file that functions are in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleTotal {
    /// Its path; `kernel` for the kernel and its modules. Hostile text.
    pub module: Arc<str>,
    /// What its frames are.
    pub kind: FrameKind,
    /// CPU nanoseconds of its functions themselves, shown or not.
    pub self_ns: u64,
}

/// The folded stacks of a selection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// Samples.
    pub samples: u64,
    /// Distinct frames.
    pub frames: Vec<Frame>,
    /// Depth first from the root, siblings by name: a node's children follow it, one deeper.
    pub nodes: Vec<Node>,
    /// Functions by self time, largest first, cut at the same share as the nodes.
    pub functions: Vec<FunctionTotal>,
    /// Largest first, at most [`MAX_MODULES`].
    pub modules: Vec<ModuleTotal>,
}

/// Folds the selected samples of all profiles.
pub fn tree(profiles: impl IntoIterator<Item = Profile>, selection: &Selection) -> Tree {
    let mut fold = Fold::new(selection);
    for profile in profiles {
        fold.add(&profile);
    }
    fold.finish()
}

struct Grown {
    frame: u32,
    self_ns: u64,
    total_ns: u64,
    children: Vec<u32>,
}

struct Fold<'s> {
    selection: &'s Selection,
    frames: Vec<Frame>,
    frame_ids: HashMap<Frame, u32>,
    nodes: Vec<Grown>,
    node_ids: HashMap<(u32, u32), u32>,
    samples: u64,
    max_nodes: usize,
}

impl<'s> Fold<'s> {
    fn new(selection: &'s Selection) -> Self {
        let name = selection.service.as_deref().unwrap_or("all services");
        let mut fold = Self {
            selection,
            frames: Vec::new(),
            frame_ids: HashMap::new(),
            nodes: Vec::new(),
            node_ids: HashMap::new(),
            samples: 0,
            max_nodes: MAX_NODES,
        };
        let frame = fold.frame(name.into(), "".into(), NodeKind::Root);
        fold.nodes.push(Grown { frame, self_ns: 0, total_ns: 0, children: Vec::new() });
        fold
    }

    fn frame(&mut self, name: Arc<str>, module: Arc<str>, kind: NodeKind) -> u32 {
        let frame = Frame { name, module, kind };
        let next = self.frames.len() as u32;
        *self.frame_ids.entry(frame).or_insert_with_key(|frame| {
            self.frames.push(frame.clone());
            next
        })
    }

    /// The child of `parent` with this frame; `None` when there is no room for a new one.
    fn child(&mut self, parent: u32, frame: u32) -> Option<u32> {
        if let Some(&node) = self.node_ids.get(&(parent, frame)) {
            return Some(node);
        }
        if self.nodes.len() >= self.max_nodes {
            return None;
        }
        let node = self.nodes.len() as u32;
        self.node_ids.insert((parent, frame), node);
        self.nodes.push(Grown { frame, self_ns: 0, total_ns: 0, children: Vec::new() });
        self.nodes[parent as usize].children.push(node);
        Some(node)
    }

    fn add(&mut self, profile: &Profile) {
        let locations = self.location_frames(profile);
        for service in &profile.services {
            if self.selection.service.as_deref().is_some_and(|name| *name != *service.name) {
                continue;
            }
            let top = self
                .selection
                .service
                .is_none()
                .then(|| self.frame(Arc::clone(&service.name), "".into(), NodeKind::Service));
            for sample in &service.samples {
                let thread = &profile.threads[sample.thread as usize];
                let pid = profile.processes[thread.process as usize].pid;
                if self.selection.pid.is_some_and(|wanted| wanted != pid)
                    || self.selection.tid.is_some_and(|wanted| wanted != thread.tid)
                {
                    continue;
                }
                self.samples += sample.count;
                let stack = profile.stacks[sample.stack as usize].iter().rev();
                let frames = stack.flat_map(|&location| locations[location as usize].iter().copied());
                self.add_stack(top.into_iter().chain(frames), sample.count.saturating_mul(profile.period_ns));
            }
        }
    }

    /// Per location its frames, outermost first.
    fn location_frames(&mut self, profile: &Profile) -> Vec<Box<[u32]>> {
        let locations = profile.locations.iter();
        locations
            .map(|location| {
                let module = &profile.mappings[location.mapping as usize].path;
                let lines = location.lines.iter().rev();
                lines
                    .map(|line| {
                        let name = &profile.functions[line.function as usize].name;
                        self.frame(Arc::clone(name), Arc::clone(module), NodeKind::Frame(location.kind))
                    })
                    .collect()
            })
            .collect()
    }

    fn add_stack(&mut self, frames: impl Iterator<Item = u32>, value_ns: u64) {
        let mut node = 0;
        self.nodes[0].total_ns += value_ns;
        for (depth, frame) in frames.enumerate() {
            let child = if depth < MAX_DEPTH { self.child(node, frame) } else { None };
            let Some(child) = child else {
                self.add_overflow(node, value_ns);
                return;
            };
            node = child;
            self.nodes[node as usize].total_ns += value_ns;
        }
        self.nodes[node as usize].self_ns += value_ns;
    }

    /// One "(other)" per node may exceed the bound, so that nothing is counted as what it is not.
    fn add_overflow(&mut self, parent: u32, value_ns: u64) {
        let frame = self.frame(OTHER.into(), "".into(), NodeKind::Other);
        let full = std::mem::replace(&mut self.max_nodes, usize::MAX);
        if let Some(other) = self.child(parent, frame) {
            self.nodes[other as usize].total_ns += value_ns;
            self.nodes[other as usize].self_ns += value_ns;
        }
        self.max_nodes = full;
    }

    fn finish(mut self) -> Tree {
        let other = self.frame(OTHER.into(), "".into(), NodeKind::Other);
        let mut min_ns = self.nodes[0].total_ns / MIN_SHARE;
        while self.nodes.iter().filter(|node| node.total_ns >= min_ns).count() > MAX_SHOWN {
            min_ns = min_ns * 2 + 1;
        }
        self.sort_children();
        let functions = self.function_totals(self.nodes[0].total_ns / MIN_SHARE);
        let modules = self.module_totals();
        let mut nodes = Vec::new();
        self.show(0, 0, min_ns, other, &mut nodes);
        Tree { samples: self.samples, frames: self.frames, nodes, functions, modules }.without_unused_frames()
    }

    fn module_totals(&self) -> Vec<ModuleTotal> {
        let mut totals: HashMap<Arc<str>, ModuleTotal> = HashMap::new();
        for node in self.nodes.iter().filter(|node| node.self_ns > 0) {
            let frame = &self.frames[node.frame as usize];
            let NodeKind::Frame(kind) = frame.kind else { continue };
            let module = if kind == FrameKind::Kernel { "kernel".into() } else { Arc::clone(&frame.module) };
            let total = totals.entry(Arc::clone(&module)).or_insert(ModuleTotal { module, kind, self_ns: 0 });
            total.self_ns += node.self_ns;
        }
        let mut totals: Vec<ModuleTotal> = totals.into_values().collect();
        totals.sort_by(|a, b| (b.self_ns, &a.module).cmp(&(a.self_ns, &b.module)));
        totals.truncate(MAX_MODULES);
        totals
    }

    fn sort_children(&mut self) {
        let mut order: Vec<u32> = (0..self.frames.len() as u32).collect();
        let key = |frame: u32| {
            let frame = &self.frames[frame as usize];
            (&frame.name, &frame.module)
        };
        order.sort_by(|&a, &b| key(a).cmp(&key(b)));
        let mut rank = vec![0u32; order.len()];
        for (position, frame) in order.into_iter().enumerate() {
            rank[frame as usize] = position as u32;
        }
        for index in 0..self.nodes.len() {
            let mut children = std::mem::take(&mut self.nodes[index].children);
            children.sort_by_key(|&child| rank[self.nodes[child as usize].frame as usize]);
            self.nodes[index].children = children;
        }
    }

    /// Recursion as deep as a stack is, at most [`MAX_DEPTH`].
    fn show(&self, index: u32, depth: u16, min_ns: u64, other: u32, nodes: &mut Vec<Node>) {
        let node = &self.nodes[index as usize];
        nodes.push(Node { frame: node.frame, depth, self_ns: node.self_ns, total_ns: node.total_ns });
        let mut hidden_ns = 0;
        for &child in &node.children {
            let shown = &self.nodes[child as usize];
            if shown.total_ns >= min_ns && shown.frame != other {
                self.show(child, depth + 1, min_ns, other, nodes);
            } else {
                hidden_ns += shown.total_ns;
            }
        }
        if hidden_ns > 0 {
            nodes.push(Node { frame: other, depth: depth + 1, self_ns: hidden_ns, total_ns: hidden_ns });
        }
    }

    fn function_totals(&self, min_ns: u64) -> Vec<FunctionTotal> {
        let mut totals: Vec<FunctionTotal> =
            (0..self.frames.len() as u32).map(|frame| FunctionTotal { frame, self_ns: 0, total_ns: 0 }).collect();
        let mut on_path = vec![0u32; self.frames.len()];
        self.count_functions(0, &mut on_path, &mut totals);
        totals.retain(|function| {
            let is_frame = matches!(self.frames[function.frame as usize].kind, NodeKind::Frame(_));
            is_frame && function.total_ns > 0 && function.total_ns >= min_ns
        });
        totals.sort_by_key(|function| std::cmp::Reverse((function.self_ns, function.total_ns)));
        totals
    }

    fn count_functions(&self, index: u32, on_path: &mut [u32], totals: &mut [FunctionTotal]) {
        let node = &self.nodes[index as usize];
        let frame = node.frame as usize;
        totals[frame].self_ns += node.self_ns;
        if on_path[frame] == 0 {
            totals[frame].total_ns += node.total_ns;
        }
        on_path[frame] += 1;
        for &child in &node.children {
            self.count_functions(child, on_path, totals);
        }
        on_path[frame] -= 1;
    }
}

impl Tree {
    /// CPU nanoseconds of the selection.
    #[must_use]
    pub fn total_ns(&self) -> u64 {
        self.nodes.first().map_or(0, |root| root.total_ns)
    }

    fn without_unused_frames(mut self) -> Self {
        let mut new_ids = vec![u32::MAX; self.frames.len()];
        let mut frames = Vec::new();
        let used = self.nodes.iter_mut().map(|node| &mut node.frame);
        for frame in used.chain(self.functions.iter_mut().map(|function| &mut function.frame)) {
            let new_id = &mut new_ids[*frame as usize];
            if *new_id == u32::MAX {
                *new_id = frames.len() as u32;
                frames.push(self.frames[*frame as usize].clone());
            }
            *frame = *new_id;
        }
        self.frames = frames;
        self
    }
}

#[cfg(test)]
#[path = "flame_tests.rs"]
mod tests;
