//! Real files.

use super::{id, ids, part};
use crate::spool::{Counts, Disk as _, Folder, SpoolError, Store};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;

/// `/dev/shm` is a tmpfs: nothing is written to a disk.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

fn open(path: &Path) -> Store {
    Store::open(path, 1 << 20).unwrap().0
}

#[test]
fn keeps_a_window_and_a_state_across_a_restart() {
    let folder = folder();
    let path = folder.path().join("a/spool");
    let mut store = open(&path);
    store.append(&[part("first", 1000), part("second", 1000)]).unwrap();
    store.append(&[part("third", 1000)]).unwrap();
    store.end(id(1, 0));
    store.save(&Counts { taken: 3000, ..Counts::default() }, true).unwrap();
    drop(store);
    let (mut store, recovered) = Store::open(&path, 1 << 20).unwrap();
    assert_eq!(ids(&recovered.parts), [(1, 1), (2, 0)]);
    assert_eq!(recovered.state.unwrap().counts.taken, 3000);
    assert_eq!(store.read(id(2, 0)).unwrap(), part("third", 1000).body);
    store.end(id(1, 1));
    store.save(&Counts::default(), false).unwrap();
    assert!(!path.join("0000000000000001.window").exists());
}

#[test]
fn nobody_else_may_read_what_it_makes() {
    let folder = folder();
    let path = folder.path().join("spool");
    open(&path).append(&[part("a", 1)]).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
    for name in ["lock", "state", "0000000000000001.window"] {
        assert_eq!(fs::metadata(path.join(name)).unwrap().mode() & 0o777, 0o600, "{name}");
    }
}

#[test]
fn a_folder_in_use_is_refused_until_it_is_free() {
    let folder = folder();
    let store = open(folder.path());
    let error = Store::open(folder.path(), 1 << 20).unwrap_err();
    assert!(matches!(error, SpoolError::Locked { .. }), "{error}");
    assert!(error.to_string().ends_with("is in use by another process"), "{error}");
    drop(store);
    open(folder.path());
}

#[test]
fn links_are_not_followed() {
    let folder = folder();
    let outside = folder.path().join("outside");
    fs::write(&outside, "untouched").unwrap();
    let path = folder.path().join("spool");
    open(&path).append(&[part("a", 1)]).unwrap();
    for name in ["0000000000000002.window", "0000000000000003.tmp"] {
        symlink(&outside, path.join(name)).unwrap();
    }
    let (mut store, recovered) = Store::open(&path, 1 << 20).unwrap();
    assert_eq!((ids(&recovered.parts), recovered.left_alone, recovered.unfinished), (vec![(1, 0)], 1, 1));
    // The name of the next temporary file.
    symlink(&outside, path.join("0000000000000004.tmp")).unwrap();
    store.append(&[part("b", 1)]).unwrap();
    fs::remove_file(path.join("state")).unwrap();
    symlink(&outside, path.join("state")).unwrap();
    store.save(&Counts::default(), true).unwrap_err();
    drop(store);
    let error = Store::open(&path, 1 << 20).unwrap_err();
    assert!(error.to_string().starts_with("cannot read state in the spool"), "{error}");
    assert_eq!(fs::read_to_string(&outside).unwrap(), "untouched");
}

#[test]
fn what_is_no_file_of_the_spool_is_left_alone() {
    let folder = folder();
    let foreign = ["notes.txt", "1.window", "000000000000000G.window", "0000000000000001.window.bak"];
    foreign.iter().for_each(|name| fs::write(folder.path().join(name), name).unwrap());
    rustix::fs::mkfifoat(rustix::fs::CWD, folder.path().join("0000000000000009.window"), 0o600.into()).unwrap();
    fs::create_dir(folder.path().join("0000000000000008.window")).unwrap();
    let (mut store, recovered) = Store::open(folder.path(), 1 << 20).unwrap();
    assert_eq!((recovered.left_alone, recovered.corrupt_records, recovered.parts.len()), (2, 0, 0));
    assert_eq!(ids(&store.append(&[part("a", 1)]).unwrap().stored), [(10, 0)]);
    for name in foreign {
        assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), *name);
    }
}

#[test]
fn a_folder_removed_at_run_time_is_an_error_and_no_more() {
    let folder = folder();
    let path = folder.path().join("spool");
    let mut store = open(&path);
    store.append(&[part("a", 1)]).unwrap();
    fs::remove_dir_all(&path).unwrap();
    store.read(id(1, 0)).unwrap_err();
    let error = store.append(&[part("b", 1)]).unwrap_err();
    assert!(error.to_string().starts_with("cannot create 0000000000000002.tmp in the spool: No such file"), "{error}");
    store.end(id(1, 0));
    store.save(&Counts::default(), true).unwrap_err();
    drop(store);
    assert_eq!(Store::open(&path, 1 << 20).unwrap().1.parts, []);
}

#[test]
fn a_window_file_removed_at_run_time_costs_its_parts_alone() {
    let folder = folder();
    let mut store = open(folder.path());
    store.append(&[part("a", 1)]).unwrap();
    store.append(&[part("b", 1)]).unwrap();
    fs::remove_file(folder.path().join("0000000000000001.window")).unwrap();
    store.read(id(1, 0)).unwrap_err();
    store.read(id(2, 0)).unwrap();
    store.end(id(1, 0));
    store.save(&Counts::default(), false).unwrap();
    assert_eq!(store.bytes(), 32 + 57);
}

#[test]
fn a_sparse_terabyte_is_not_read() {
    let folder = folder();
    let name = "0000000000000001.window";
    fs::File::create(folder.path().join(name)).unwrap().set_len(1 << 40).unwrap();
    let (_, recovered) = Store::open(folder.path(), 1 << 20).unwrap();
    assert_eq!((recovered.left_alone, recovered.corrupt_records), (1, 0));
    assert!(folder.path().join(name).exists());
}

#[test]
fn a_path_that_is_no_folder_is_an_error() {
    let folder = folder();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Store::open(&file, 1 << 20).unwrap_err();
    assert!(error.to_string().starts_with("cannot make folder"), "{error}");
}

#[test]
fn a_file_that_lost_its_name_is_not_written_to() {
    let folder = folder();
    let mut disk = Folder::open(folder.path()).unwrap();
    disk.create("file").unwrap();
    fs::remove_file(folder.path().join("file")).unwrap();
    assert_eq!(disk.write("file", 0, b"x").unwrap_err().kind(), std::io::ErrorKind::NotFound);
}
