//! A function with many names, as the C library has them, is called the same wherever the names come from.

use super::*;

/// The label `here` is in line 3, the call of `innermost` in line 6.
const SOURCE: &str = r#"volatile int sink;
static inline __attribute__((always_inline)) void innermost(int n) {
    __asm__ volatile(".globl here\nhere:\n\tnop"); sink = n;
}
__attribute__((visibility("hidden"))) void __shop_open_impl(int n) {
    innermost(n * 3);
    sink++;
}
#define ALIAS(name) extern __typeof(__shop_open_impl) name __attribute__((alias("__shop_open_impl")));
ALIAS(__GI_shop_open) ALIAS(__shop_open) ALIAS(shop_open64) ALIAS(shop_open)
__attribute__((visibility("hidden"))) void __close_impl(int n) {
    __asm__ volatile(".globl there\nthere:\n\tnop"); sink = n;
}
extern __typeof(__close_impl) __close __attribute__((alias("__close_impl")));
"#;

/// The linker writes versions into the full symbol table.
fn library(debug: &str) -> Compiled {
    let script = tempfile::NamedTempFile::new().unwrap();
    let versions = "SHOP_2.0 { global: shop_open; shop_open64; __shop_open; __close; local: *; };";
    std::fs::write(script.path(), versions).unwrap();
    let versions = format!("-Wl,--version-script={}", script.path().display());
    let flags = ["-O2", "-shared", "-fPIC", "-Wl,--build-id", debug, &versions];
    compile("gcc", "a.c", SOURCE, &flags)
}

/// What is at `here` and at `there`, with time for debug info and without.
fn both(compiled: &Compiled, addresses: [u64; 2]) -> [[Vec<String>; 2]; 2] {
    [3600, 0].map(|seconds| {
        let mut names = names(Duration::from_secs(seconds)).0;
        addresses.map(|address| sites_of(&mut names, &compiled.program, address))
    })
}

#[test]
fn every_source_has_the_name_that_users_call() {
    let with_lines = [vec!["innermost a.c:3", "shop_open a.c:6"], vec!["__close a.c:12"]];
    let without = [vec!["shop_open :0"], vec!["__close :0"]];

    let compiled = library("-g");
    let addresses = ["here", "there"].map(|label| compiled.address(label));
    assert_eq!(both(&compiled, addresses), [&with_lines, &without].map(Clone::clone));
    compiled.objcopy(&["--only-keep-debug", "program", "program.debug"]);
    compiled.objcopy(&["--strip-all", "--add-gnu-debuglink=program.debug", "program"]);
    assert_eq!(both(&compiled, addresses), [&with_lines, &without].map(Clone::clone));
    std::fs::remove_file(compiled.path("program.debug")).unwrap();
    assert_eq!(both(&compiled, addresses), [&without, &without].map(Clone::clone));

    let compiled = library("-g0");
    let addresses = ["here", "there"].map(|label| compiled.address(label));
    assert_eq!(both(&compiled, addresses), [&without, &without].map(Clone::clone));
}

#[test]
fn a_full_symbol_table_alone_has_the_name_that_users_call() {
    let compiled = compile("gcc", "a.c", &format!("{SOURCE}int main(void) {{ return 0; }}"), &["-O2", "-g0"]);
    let addresses = ["here", "there"].map(|label| compiled.address(label));
    let expected = [vec!["shop_open :0"], vec!["__close :0"]];
    assert_eq!(both(&compiled, addresses), [&expected, &expected].map(Clone::clone));
}
