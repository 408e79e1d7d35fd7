//! An executable with more unwind rows than a compiler's largest: 2.6 million, 100,000 rules.

use profiler_tests::batch::{Batch, Job};
use profiler_tests::builds::Start;
use profiler_tests::chain::{Chain, Link, functions};
use profiler_tests::rows;

/// Below forty functions from all over the file. Its table takes seconds to build; the program is known by then.
#[test]
fn two_and_a_half_million_rows_are_whole_stacks() {
    let folder = tempfile::tempdir().unwrap();
    let program = rows::compile(folder.path(), &["-rdynamic", "-ldl"]);
    // In a pseudo-random order, the file's first and last function among them.
    let mut indices: Vec<usize> = (0..40).map(|step| step * 61_803 % rows::FUNCTIONS).collect();
    indices[20] = rows::FUNCTIONS - 1;
    let names: Vec<String> = indices.iter().rev().map(|index| format!("big_{index:06}")).collect();
    let mut below = functions(&["work"]);
    below.extend(names.into_iter().map(Link::Function));
    let below = Start::Glibc.below_main(below);
    let texts: Vec<String> = indices.iter().map(usize::to_string).collect();
    let arguments = |seconds: &'static str| [seconds].into_iter().chain(texts.iter().map(String::as_str)).collect();
    let (first, arguments): (Vec<&str>, Vec<&str>) = (arguments("10"), arguments("2.6"));
    let name = format!("{} rows, {} rules", rows::FUNCTIONS * rows::ROWS, rows::RULES);
    let job = Job::new(&name, &program, &arguments, vec![Chain::new(below)]).known(&program, &first);
    Batch::record(vec![job]).assert_whole();
}
