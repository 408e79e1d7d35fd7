//! Literal profiles and the trees they make.

use super::*;
use crate::profile::{Function, Line, Location, Mapping, Process, Sample, Service, Thread};

/// A profile of one process, two threads; each stack is function names, root first, `thread` and `count`.
fn profile(service: &str, period_ns: u64, stacks: &[(&[&str], u32, u64)]) -> Profile {
    let mut names: Vec<&str> = stacks.iter().flat_map(|(names, _, _)| names.iter().copied()).collect();
    names.sort_unstable();
    names.dedup();
    let id = |name: &str| names.binary_search(&name).unwrap() as u32;
    let sample =
        |(stack, &(_, thread, count)): (usize, &(&[&str], u32, u64))| Sample { stack: stack as u32, thread, count };
    Profile {
        period_ns,
        mappings: vec![Mapping { path: "/bin/a".into(), build_id: "".into() }],
        functions: names
            .iter()
            .map(|&name| Function { name: name.into(), system_name: name.into(), file: "".into() })
            .collect(),
        locations: (0..names.len() as u32)
            .map(|function| Location {
                mapping: 0,
                address: 1 + u64::from(function),
                kind: FrameKind::Native,
                lines: Box::new([Line { function, line: 0 }]),
            })
            .collect(),
        stacks: stacks.iter().map(|(names, _, _)| names.iter().rev().map(|name| id(name)).collect()).collect(),
        processes: vec![Process { pid: 7, start_ns: 0, name: "a".into() }],
        threads: [7, 8].map(|tid| Thread { process: 0, tid, name: "a".into() }).into(),
        services: vec![Service {
            name: service.into(),
            labels: vec![],
            samples: stacks.iter().enumerate().map(sample).collect(),
        }],
        ..Profile::default()
    }
}

fn lines(tree: &Tree) -> Vec<String> {
    let line = |node: &Node| {
        let name = &tree.frames[node.frame as usize].name;
        format!("{}{name} {}/{}", "-".repeat(node.depth.into()), node.self_ns, node.total_ns)
    };
    tree.nodes.iter().map(line).collect()
}

fn of_service(name: &str) -> Selection {
    Selection { service: Some(name.into()), ..Selection::default() }
}

#[test]
fn merges_stacks_from_the_root_and_weighs_by_period() {
    let first = profile("s", 10, &[(&["main", "b"], 0, 1), (&["main", "a"], 0, 2), (&["main"], 1, 1)]);
    let second = profile("s", 5, &[(&["main", "a", "c"], 0, 4)]);
    let tree = tree([first, second], &of_service("s"));
    assert_eq!(lines(&tree), ["s 0/60", "-main 10/60", "--a 20/40", "---c 20/20", "--b 10/10"]);
    assert_eq!((tree.samples, tree.total_ns()), (8, 60));
}

#[test]
fn all_services_stand_below_the_root() {
    let profiles = [profile("x", 1, &[(&["f"], 0, 1)]), profile("w", 1, &[(&["f"], 0, 2)])];
    let tree = tree(profiles, &Selection::default());
    assert_eq!(lines(&tree), ["all services 0/3", "-w 0/2", "--f 2/2", "-x 0/1", "--f 1/1"]);
    assert_eq!(tree.functions.len(), 1);
    assert_eq!((tree.functions[0].self_ns, tree.functions[0].total_ns), (3, 3));
}

/// What is too small to show counts for its module all the same.
#[test]
fn modules_hold_all_self_time() {
    let mut names: Vec<String> = (0..5000).map(|index| format!("f{index}")).collect();
    names.sort_unstable();
    let paths: Vec<[&str; 1]> = names.iter().map(|name| [name.as_str()]).collect();
    let stacks: Vec<(&[&str], u32, u64)> = paths.iter().map(|path| (&path[..], 0, 1)).collect();
    let mut kernel = profile("s", 1, &[(&["read"], 0, 7)]);
    kernel.locations[0].kind = FrameKind::Kernel;
    let tree = tree([profile("s", 1, &stacks), kernel], &of_service("s"));
    assert_eq!(lines(&tree)[1..], ["-read 7/7", "-(other) 5000/5000"]);
    let modules: Vec<_> = tree.modules.iter().map(|total| (&*total.module, total.kind, total.self_ns)).collect();
    assert_eq!(modules, [("/bin/a", FrameKind::Native, 5000), ("kernel", FrameKind::Kernel, 7)]);
}

#[test]
fn selects_service_process_and_thread() {
    let stacks = || profile("s", 1, &[(&["f"], 0, 1), (&["g"], 1, 2)]);
    let total = |selection: Selection| tree([stacks()], &selection).total_ns();
    assert_eq!(total(of_service("t")), 0);
    assert_eq!(total(Selection { pid: Some(7), ..of_service("s") }), 3);
    assert_eq!(total(Selection { pid: Some(9), ..of_service("s") }), 0);
    assert_eq!(total(Selection { tid: Some(8), ..of_service("s") }), 2);
}

#[test]
fn inlined_functions_are_frames_of_their_own() {
    let mut inlined = profile("s", 1, &[(&["inner", "outer"], 0, 1)]);
    inlined.locations[0].lines = Box::new([Line { function: 0, line: 1 }, Line { function: 1, line: 2 }]);
    inlined.stacks = vec![Box::new([0])];
    assert_eq!(lines(&tree([inlined], &of_service("s"))), ["s 0/1", "-outer 0/1", "--inner 1/1"]);
}

#[test]
fn recursion_counts_once_in_a_functions_total() {
    let recursive = profile("s", 1, &[(&["f", "g", "f", "f"], 0, 5)]);
    let tree = tree([recursive], &of_service("s"));
    let totals: Vec<_> = tree
        .functions
        .iter()
        .map(|function| (&*tree.frames[function.frame as usize].name, function.self_ns, function.total_ns))
        .collect();
    assert_eq!(totals, [("f", 5, 5), ("g", 0, 5)]);
}

#[test]
fn small_frames_become_other_and_sums_hold() {
    let small: Vec<String> = (0..30).map(|n| format!("small{n}")).collect();
    let paths: Vec<[&str; 2]> = small.iter().map(|name| ["main", name.as_str()]).collect();
    let mut stacks: Vec<(&[&str], u32, u64)> = paths.iter().map(|path| (path.as_slice(), 0, 1)).collect();
    stacks.push((&["main", "large"], 0, 100_000));
    let tree = tree([profile("s", 1, &stacks)], &of_service("s"));
    assert_eq!(lines(&tree), ["s 0/100030", "-main 0/100030", "--large 100000/100000", "--(other) 30/30"]);
}

#[test]
fn stays_within_its_bounds_and_keeps_the_total() {
    let names: Vec<String> = (0..3000).map(|n| format!("f{n}")).collect();
    let paths: Vec<Vec<&str>> = (0..3000).map(|n| (0..20).map(|d| names[(n + d) % 3000].as_str()).collect()).collect();
    let stacks: Vec<(&[&str], u32, u64)> = paths.iter().map(|path| (path.as_slice(), 0, 1)).collect();
    let selection = of_service("s");
    let mut fold = Fold::new(&selection);
    fold.max_nodes = 1000;
    fold.add(&profile("s", 1, &stacks));
    assert!(fold.nodes.len() <= 2001, "{}", fold.nodes.len());
    assert_eq!(fold.finish().total_ns(), 3000);
    let tree = tree([profile("s", 1, &stacks)], &selection);
    assert!(tree.nodes.len() <= 2 * MAX_SHOWN, "{}", tree.nodes.len());
    assert_eq!(tree.total_ns(), 3000);
    assert_eq!(tree.nodes.iter().map(|node| node.self_ns).sum::<u64>(), 3000);
}
