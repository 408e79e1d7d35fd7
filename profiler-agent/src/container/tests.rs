use super::{Container, Runtime, parse, runtime};

const A: &str = "3f0b9a6d51c2e47f80aa1be9d2c4f6083f0b9a6d51c2e47f80aa1be9d2c4f608";
const B: &str = "b1946ac92492d2347c6235b4d2611184b1946ac92492d2347c6235b4d2611184";
const UID: &str = "7be6f2a4-0c1d-4d5e-9f8a-12ab34cd56ef";
const ESCAPED: &str = "7be6f2a4_0c1d_4d5e_9f8a_12ab34cd56ef";
const HASH: &str = "f2b1c3d4e5a697880123456789abcdef";

fn text(pattern: &str) -> String {
    pattern.replace("{A}", A).replace("{B}", B).replace("{UID}", UID).replace("{ESC}", ESCAPED).replace("{HASH}", HASH)
}

/// Ids, pod and runtime of a cgroup file.
fn found(pattern: &str) -> (Vec<String>, Option<String>, Option<Runtime>) {
    let text = text(pattern);
    let Container { ids, pod_uid } = parse(&text).unwrap_or(Container { ids: vec![], pod_uid: None });
    (ids.iter().map(|id| id.to_string()).collect(), pod_uid.map(|uid| uid.to_string()), runtime(&text))
}

#[test]
fn containers_of_pods_are_found_with_every_driver() {
    use Runtime::{Containerd, CriO, Docker};
    let cases = [
        // v2, systemd.
        (
            "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{ESC}.slice/cri-containerd-{A}.scope",
            Some(Containerd),
        ),
        ("0::/kubepods.slice/kubepods-pod{ESC}.slice/crio-{A}.scope", Some(CriO)),
        (
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{ESC}.slice/docker-{A}.scope",
            Some(Docker),
        ),
        ("0::/kubepods.slice/kubepods-pod{ESC}.slice/crio-{A}.scope/container", Some(CriO)),
        // v2, cgroupfs.
        ("0::/kubepods/burstable/pod{UID}/{A}", None),
        ("0::/kubepods/besteffort/pod{UID}/crio-{A}", Some(CriO)),
        // v1.
        (
            "12:pids:/kubepods/burstable/pod{UID}/{A}\n11:memory:/kubepods/burstable/pod{UID}/{A}\n1:name=systemd:/kubepods/burstable/pod{UID}/{A}",
            None,
        ),
        ("4:cpu,cpuacct:/kubepods.slice/kubepods-pod{ESC}.slice/docker-{A}.scope", Some(Docker)),
        // Hybrid: the unified tree has the unit of the runtime only.
        ("9:pids:/kubepods/pod{UID}/{A}\n0::/system.slice/containerd.service", None),
        ("0::/system.slice/containerd.service\n9:pids:/kubepods/pod{UID}/{A}", None),
        // Only one hierarchy has the pod's container.
        ("9:pids:/docker/{B}\n8:cpu:/docker/{B}\n0::/kubepods/pod{UID}/{A}", None),
        // containerd without systemd's driver below a kubelet with it.
        ("0::/system.slice/containerd.service/kubepods-besteffort-pod{ESC}.slice:cri-containerd:{A}", Some(Containerd)),
        // Seen from a cgroup namespace.
        ("0::/../../kubepods-burstable-pod{ESC}.slice/cri-containerd-{A}.scope", Some(Containerd)),
        ("0::/../../pod{UID}/{A}", None),
        // systemd inside the container.
        ("0::/kubepods/pod{UID}/{A}/system.slice/nginx.service", None),
        // The container has been removed already.
        ("0::/kubepods/pod{UID}/{A} (deleted)", None),
        // A prefix before kubepods, without a container.
        ("0::/kubelet/kubepods/besteffort/pod{UID}/{A}", None),
        (
            "0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod{ESC}.slice/cri-containerd-{A}.scope",
            Some(Containerd),
        ),
    ];
    for (cgroup, runtime) in cases {
        assert_eq!(found(cgroup), (vec![A.into()], Some(UID.into()), runtime), "{cgroup}");
    }
}

#[test]
fn the_innermost_container_comes_first() {
    let cases = [
        "0::/docker/{B}/kubelet/kubepods/besteffort/pod{UID}/{A}",
        "0::/docker/{B}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{ESC}.slice/cri-containerd-{A}.scope",
        "0::/system.slice/docker-{B}.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{ESC}.slice/cri-containerd-{A}.scope",
        // Docker in a pod's container.
        "0::/kubepods/pod{UID}/{B}/docker/{A}",
    ];
    for cgroup in cases {
        let (ids, pod, _) = found(cgroup);
        assert_eq!((ids, pod.as_deref()), (vec![A.into(), B.into()], Some(UID)), "{cgroup}");
    }
}

#[test]
fn static_pods_have_the_hash_of_their_file() {
    for cgroup in ["0::/kubepods/pod{HASH}/{A}", "0::/kubepods.slice/kubepods-pod{HASH}.slice/cri-containerd-{A}.scope"]
    {
        let (ids, pod, _) = found(cgroup);
        assert_eq!((ids, pod.as_deref()), (vec![A.into()], Some(HASH)), "{cgroup}");
    }
}

#[test]
fn containers_of_plain_hosts_have_no_pod() {
    use Runtime::{Docker, Podman};
    let cases = [
        ("0::/system.slice/docker-{A}.scope", Some(Docker)),
        ("12:pids:/docker/{A}\n11:devices:/docker/{A}\n0::/system.slice/containerd.service", Some(Docker)),
        ("0::/machine.slice/libpod-{A}.scope", Some(Podman)),
        ("0::/machine.slice/libpod-{A}.scope/container", Some(Podman)),
        ("0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope/container", Some(Podman)),
        (
            "0::/user.slice/user-1000.slice/user@1000.service/user.slice/user-libpod_pod_{B}.slice/libpod-{A}.scope",
            Some(Podman),
        ),
        ("0::/libpod_parent/libpod-{A}", Some(Podman)),
        ("0::/system.slice/shop.service/libpod-payload-{A}", Some(Podman)),
        ("3:cpuset:/ecs/0123456789abcdef0123456789abcdef/{A}", None),
    ];
    for (cgroup, runtime) in cases {
        assert_eq!(found(cgroup), (vec![A.into()], None, runtime), "{cgroup}");
    }
}

#[test]
fn a_pod_without_a_container_is_still_a_pod() {
    assert_eq!(found("0::/kubepods/burstable/pod{UID}"), (vec![], Some(UID.into()), None));
    // What watches over a container lies beside it.
    assert_eq!(
        found("0::/kubepods.slice/kubepods-pod{ESC}.slice/crio-conmon-{A}.scope"),
        (vec![], Some(UID.into()), None)
    );
}

#[test]
fn what_is_no_container_is_none() {
    let cases = [
        "",
        "0::/",
        "0::/init.scope",
        "0::/system.slice/ssh.service",
        "0::/user.slice/user-1000.slice/session-3.scope",
        "0::/kubepods.slice",
        "0::/kubepods/burstable",
        "0::/machine.slice/libpod-conmon-{A}.scope",
        "0::/conmon-{A}",
        "0::/docker/{A}0",
        "0::/docker/g{A}",
        "0::/pod7be6f2a4",
        "0::/podG{HASH}",
        "0::/DOCKER-3F0B9A6D51C2E47F80AA1BE9D2C4F6083F0B9A6D51C2E47F80AA1BE9D2C4F608.scope",
        ":::",
        "no line",
    ];
    for cgroup in cases {
        assert_eq!(parse(&text(cgroup)), None, "{cgroup}");
    }
    assert_eq!(parse(&text("0::/-é{A}")), None);
}

#[test]
fn odd_names_cost_no_more_than_their_length() {
    let deep = format!("0::{}", "/{A}".repeat(3)).replace("{A}", A);
    assert_eq!(parse(&deep).unwrap().ids.len(), 3);
    let nested = format!("0::{}", format!("/{A}").repeat(1000));
    assert_eq!(parse(&nested).unwrap().ids.len(), super::MAX_NESTED);
    assert_eq!(parse(&"0::/\n".repeat(100_000)), None);
    assert_eq!(parse(&format!("0::/{}", "é".repeat(100))), None);
}
