//! Whole stacks of a process with as many mappings as the kernel allows by default.

use profiler_tests::batch::{Batch, Job};
use profiler_tests::builds::{Start, compile};
use profiler_tests::chain::{Chain, functions};

/// Some below `vm.max_map_count`, which counts those of the program itself, too.
const MAPPINGS: &str = "65000";

#[test]
fn a_process_with_65000_mappings_has_whole_stacks() {
    let folder = tempfile::tempdir().unwrap();
    let program = compile(folder.path(), "mapped", "gcc -O2", &["mapped.c", "leaf.c"]);
    let chains = vec![Chain::new(Start::Glibc.below_main(functions(&["work", "outer"])))];
    let few = Job::new("40 mappings", &program, &["4", "40"], chains.clone());
    let many = Job::new("65,000 mappings", &program, &["4", MAPPINGS], chains);
    Batch::record(vec![few, many]).assert_whole();
}
