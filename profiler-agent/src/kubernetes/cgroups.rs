//! Where the cgroups of pods are: kernel programs know cgroups by the inode numbers of their folders.

use crate::container;
use std::collections::HashMap;
use std::os::unix::fs::DirEntryExt as _;
use std::path::Path;

/// Folders looked at; below a pod none is.
const MAX_FOLDERS: usize = 16_384;
/// kubelet's own are five deep, in a container ten.
const MAX_DEPTH: usize = 16;

/// Ids of cgroups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PodCgroups {
    /// By the uid of the pod; one that is moved may have two for a moment.
    pub(super) pods: HashMap<String, Vec<u64>>,
    /// Around all pods.
    pub(super) around: Vec<u64>,
}

impl PodCgroups {
    /// Those below a folder.
    pub(super) fn find(root: &Path) -> Self {
        let mut found = Self::default();
        let mut folders = vec![(root.to_owned(), 0)];
        let mut looked = 0;
        while let Some((folder, depth)) = folders.pop() {
            looked += 1;
            if looked > MAX_FOLDERS {
                break;
            }
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    continue;
                }
                let name = entry.file_name();
                let Some(name) = name.to_str() else { continue };
                if let Some(uid) = container::pod_uid(name) {
                    found.pods.entry(uid).or_default().push(entry.ino());
                    continue;
                }
                if is_around_pods(name) {
                    found.around.push(entry.ino());
                }
                if depth < MAX_DEPTH {
                    folders.push((entry.path(), depth + 1));
                }
            }
        }
        found
    }
}

/// `kubepods`, `kubepods.slice`, and `kubelet-kubepods.slice` as in kind.
fn is_around_pods(name: &str) -> bool {
    let name = name.strip_suffix(".slice").unwrap_or(name);
    name == "kubepods" || name.ends_with("-kubepods")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn pods_are_found_with_both_drivers_and_below_prefixes() {
        let root = tempfile::tempdir().unwrap();
        let make = |path: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(&path).unwrap();
            path.metadata().unwrap().ino()
        };
        let ino = |path: &str| root.path().join(path).metadata().unwrap().ino();
        let uid = |last: char| format!("7be6f2a4-0c1d-4d5e-9f8a-12ab34cd56e{last}");
        let a = make(&format!("kubepods/burstable/pod{}", uid('a')));
        make(&format!("kubepods/burstable/pod{}/{}", uid('a'), "c".repeat(64)));
        let slice = format!("kubelet-kubepods-pod{}.slice", uid('b').replace('-', "_"));
        let b = make(&format!("kubelet.slice/kubelet-kubepods.slice/{slice}"));
        make("system.slice/ssh.service");
        let found = PodCgroups::find(root.path());
        assert_eq!(found.pods, HashMap::from([(uid('a'), vec![a]), (uid('b'), vec![b])]));
        let mut around = found.around;
        around.sort_unstable();
        let mut wanted = [ino("kubepods"), ino("kubelet.slice/kubelet-kubepods.slice")];
        wanted.sort_unstable();
        assert_eq!(around, wanted);
    }
}
