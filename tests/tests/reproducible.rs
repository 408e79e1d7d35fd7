//! What is shipped is the same again, to the byte.

use profiler_tests::oci::made;
use profiler_tests::workload::run;
use std::path::{Path, PathBuf};
use std::process::Command;

fn tree() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn image() -> PathBuf {
    made("PROFILER_IMAGE", "cargo xtask image")
}

/// `cargo xtask VERB --output OUTPUT` in a folder that holds the tree, without what the test's own cargo says.
fn xtask(verb: &str, folder: &Path, output: &Path) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.args(["xtask", verb, "--output"]).arg(output).current_dir(folder);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO_PKG_")) {
        cargo.env_remove(name);
    }
    cargo.env_remove("CARGO_MANIFEST_DIR");
    cargo
}

fn assert_same_files(one: &Path, other: &Path) {
    run(Command::new("diff").args(["--recursive", "--brief"]).arg(one).arg(other));
}

#[test]
#[ignore = "may build both agents again: cargo xtask test --long"]
fn packing_again_makes_the_same_image() {
    let again = tempfile::tempdir().unwrap();
    run(&mut xtask("image", tree(), again.path()));
    assert_same_files(&image(), again.path());
}

/// Everything is built anew, in another folder with another folder of cargo's.
#[test]
#[ignore = "builds the agent twice more: cargo xtask test --long"]
fn another_folder_makes_the_same_image_and_packages() {
    let other = tempfile::tempdir().unwrap();
    let at = |name: &str| other.path().join(name);
    std::fs::create_dir(at("tree")).unwrap();
    let copy = "git ls-files -z | tar --create --null --files-from=- | tar --extract --directory \"$1\"";
    run(Command::new("sh").args(["-ec", copy, "sh"]).arg(at("tree")).current_dir(tree()));
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.unwrap_or_else(|| Path::new(&std::env::var_os("HOME").unwrap()).join(".cargo"));
    std::fs::create_dir(at("cargo")).unwrap();
    std::os::unix::fs::symlink(home.join("registry"), at("cargo/registry")).unwrap();
    let git = Command::new("git").args(["rev-parse", "--absolute-git-dir"]).current_dir(tree()).output().unwrap();
    let git = String::from_utf8(git.stdout).unwrap();
    let packages = made("PROFILER_PACKAGE", "cargo xtask package");
    for (verb, first) in [("image", image()), ("package", packages)] {
        let mut xtask = xtask(verb, &at("tree"), &at(verb));
        xtask
            .env("CARGO_HOME", at("cargo"))
            .env("CARGO_TARGET_DIR", at("target"))
            .env("CARGO_BUILD_BUILD_DIR", at("build"));
        // The copy has no repository: revision and time are asked of this one.
        run(xtask.env("GIT_DIR", git.trim()).env("GIT_WORK_TREE", at("tree")));
        assert_same_files(&first, &at(verb));
    }
}
