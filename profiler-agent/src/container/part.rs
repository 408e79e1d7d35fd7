//! One part of a cgroup's path.
//!
//! Sources: `cri-containerd` and containerd's `SystemdCgroup`, CRI-O's `cgroup_manager`, Docker's `native.cgroupdriver`,
//! Podman's `libpod`, and kubelet's `pkg/kubelet/cm` (`cgroup_manager_linux.go`, `pod_container_manager_linux.go`).

use super::Runtime;

/// Hexadecimal digits of a container's id.
const ID_DIGITS: usize = 64;
/// Bytes of a pod's uid.
const UID_BYTES: usize = 36;
/// Of a static pod, whose uid is a hash of its file.
const HASH_DIGITS: usize = 32;

/// What a part says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Part<'a> {
    /// A container.
    pub(super) id: Option<&'a str>,
    /// What runs it.
    pub(super) runtime: Option<Runtime>,
    /// A pod.
    pub(super) pod_uid: Option<String>,
}

/// None for a part that says nothing.
pub(super) fn read(name: &str) -> Option<Part<'_>> {
    // containerd that is not told of systemd's driver makes one part of three: `slice:cri-containerd:id`.
    if let Some((slice, rest)) = name.split_once(':') {
        let (prefix, id) = rest.rsplit_once(':')?;
        is_id(id).then_some(())?;
        return Some(Part { id: Some(id), runtime: runtime(prefix), pod_uid: pod(slice) });
    }
    if let Some(pod_uid) = pod(name) {
        return Some(Part { pod_uid: Some(pod_uid), ..Part::default() });
    }
    let name = name.strip_suffix(".scope").unwrap_or(name);
    // Digits alone, or `prefix-digits`.
    let at = name.len().checked_sub(ID_DIGITS)?;
    let (prefix, id) = (name.get(..at)?, name.get(at..)?);
    is_id(id).then_some(())?;
    let prefix = if prefix.is_empty() { prefix } else { prefix.strip_suffix('-')? };
    // What watches over a container is not in it.
    let watches = prefix == "conmon" || prefix.ends_with("-conmon");
    (!watches).then_some(Part { id: Some(id), runtime: runtime(prefix), pod_uid: None })
}

fn runtime(prefix: &str) -> Option<Runtime> {
    match prefix {
        "cri-containerd" => Some(Runtime::Containerd),
        "crio" => Some(Runtime::CriO),
        "docker" => Some(Runtime::Docker),
        // The second below a systemd unit that started it (`--cgroups=split`).
        "libpod" | "libpod-payload" => Some(Runtime::Podman),
        _ => None,
    }
}

fn is_id(text: &str) -> bool {
    text.len() == ID_DIGITS && text.bytes().all(is_hex)
}

fn is_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// `podUID`, or `kubepods-burstable-podUID.slice` with underscores, as dashes separate slices.
fn pod(name: &str) -> Option<String> {
    let uid = match name.strip_suffix(".slice") {
        Some(slice) => slice.rsplit_once("-pod")?.1.replace('_', "-"),
        None => name.strip_prefix("pod")?.to_owned(),
    };
    is_uid(&uid).then_some(uid)
}

/// `8-4-4-4-12` digits, or those of a hash.
fn is_uid(text: &str) -> bool {
    let dash = |at: usize| matches!(at, 8 | 13 | 18 | 23);
    let fits = |(at, byte): (usize, u8)| if dash(at) { byte == b'-' } else { is_hex(byte) };
    match text.len() {
        UID_BYTES => text.bytes().enumerate().all(fits),
        HASH_DIGITS => text.bytes().all(is_hex),
        _ => false,
    }
}
