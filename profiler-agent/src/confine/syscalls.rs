//! System calls by what they are for.

use std::collections::BTreeMap;

/// Calls with the arguments that they are allowed with; with none, all.
pub(super) type Allowed = BTreeMap<i64, Vec<Test>>;

/// What an argument has to be: `argument & mask == value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Test {
    /// Its place, the first is 0.
    pub(super) argument: u8,
    /// Which of its bits count. The upper half of a number means nothing, that of a pointer does.
    pub(super) mask: u64,
    /// What they are.
    pub(super) value: u64,
}

/// Flags of `open` that change a file or make one.
const WRITES: i32 = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC;
/// Type of the ioctls of perf events: their second byte.
const PERF_IOCTL: u64 = b'$' as u64;
/// Ioctls of terminals and of any file; C libraries do not agree on their type.
const TCGETS: u64 = 0x5401;
const FIONREAD: u64 = 0x541b;
const FIONBIO: u64 = 0x5421;
const FIOCLEX: u64 = 0x5451;
/// `renameat`, which not every C library's header names.
const RENAMEAT: i64 = if cfg!(target_arch = "x86_64") { 264 } else { 38 };
/// `PR_SET_VMA`: the C library names its mappings.
const PR_SET_VMA: u64 = 0x5356_4d41;
/// Commands of `bpf` on maps: create, look up, update, delete, next key, freeze. None loads a program.
const BPF_MAPS: [u64; 6] = [0, BPF_LOOK_UP, 2, 3, 4, 22];
const BPF_LOOK_UP: u64 = 1;

/// Memory, time, threads, and files for reading.
pub(super) fn of_all() -> Allowed {
    let mut allowed = plain(EVERYWHERE);
    let own_process = u64::from(std::process::id());
    allowed.extend([
        // abort() signals the thread itself.
        (libc::SYS_tgkill, vec![equal(0, own_process)]),
        // A thread, not a process.
        (libc::SYS_clone, vec![masked(0, libc::CLONE_THREAD as u64, libc::CLONE_THREAD as u64)]),
        (libc::SYS_mmap, vec![masked(2, libc::PROT_EXEC as u64, 0)]),
        (libc::SYS_mprotect, vec![masked(2, libc::PROT_EXEC as u64, 0)]),
        (libc::SYS_openat, vec![masked(2, WRITES as u64, 0)]),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_open, vec![masked(1, WRITES as u64, 0)]),
        // Asking for a limit, not setting one.
        (libc::SYS_prlimit64, vec![null(2)]),
        (libc::SYS_prctl, [libc::PR_SET_NAME as u64, PR_SET_VMA].map(|what| equal(0, what)).into()),
        (libc::SYS_ioctl, [TCGETS, FIONBIO, FIOCLEX].map(|what| equal(1, what)).into()),
        (libc::SYS_bpf, vec![equal(0, BPF_LOOK_UP)]),
    ]);
    allowed
}

/// Memory of other processes, BPF maps, perf events of CPUs that come.
pub(super) fn of_readers() -> Allowed {
    let mut allowed = plain(&[libc::SYS_process_vm_readv, libc::SYS_perf_event_open, libc::SYS_memfd_create]);
    allowed.extend([
        (libc::SYS_bpf, BPF_MAPS.map(|command| equal(0, command)).into()),
        (libc::SYS_ioctl, vec![equal(1, TCGETS), masked(1, 0xff00, PERF_IOCTL << 8)]),
        // Of a file that is open, by its descriptor: no path.
        (libc::SYS_utimensat, vec![null(1)]),
    ]);
    allowed
}

/// What those that it starts do, what confines them, kernel programs, and a socket to systemd.
pub(super) fn of_the_supervisor() -> Allowed {
    let mut allowed = of_readers();
    allowed.extend(plain(&[libc::SYS_bpf, libc::SYS_seccomp, libc::SYS_capset, libc::SYS_sendto, libc::SYS_sendmsg]));
    let confining = [libc::PR_CAPBSET_DROP, libc::PR_CAP_AMBIENT, libc::PR_SET_NO_NEW_PRIVS, libc::PR_SET_SECCOMP];
    let prctl = confining.iter().map(|&what| what as u64).chain([libc::PR_SET_NAME as u64, PR_SET_VMA]);
    allowed.extend([
        (libc::SYS_prctl, prctl.map(|what| equal(0, what)).collect()),
        (libc::SYS_socket, vec![equal(0, libc::AF_UNIX as u64)]),
        (libc::SYS_connect, Vec::new()),
    ]);
    allowed
}

/// Sockets. Looking names up may load libraries that the host has for it.
pub(super) fn of_the_network() -> Allowed {
    let mut allowed = plain(NETWORK);
    let families = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
    allowed.extend([
        (libc::SYS_socket, families.map(|family| equal(0, family as u64)).into()),
        (libc::SYS_mmap, Vec::new()),
        (libc::SYS_mprotect, Vec::new()),
    ]);
    let more = [TCGETS, FIONBIO, FIOCLEX, FIONREAD];
    allowed.insert(libc::SYS_ioctl, more.map(|what| equal(1, what)).into());
    allowed
}

/// Files and folders, for writing.
pub(super) fn of_writers() -> Allowed {
    plain(WRITERS)
}

fn plain(calls: &[i64]) -> Allowed {
    calls.iter().map(|&call| (call, Vec::new())).collect()
}

fn equal(argument: u8, value: u64) -> Test {
    Test { argument, mask: u32::MAX.into(), value }
}

fn masked(argument: u8, mask: u64, value: u64) -> Test {
    Test { argument, mask, value }
}

fn null(argument: u8) -> Test {
    Test { argument, mask: u64::MAX, value: 0 }
}

/// Harmless whatever their arguments are.
const EVERYWHERE: &[i64] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_readlinkat,
    libc::SYS_faccessat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_fadvise64,
    libc::SYS_readahead,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_pipe2,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_mincore,
    libc::SYS_membarrier,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_rseq,
    libc::SYS_set_tid_address,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    libc::SYS_times,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_eventfd2,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    libc::SYS_capget,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_select,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_getdents,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_dup2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_pipe,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_arch_prctl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
];

/// Of sockets.
const NETWORK: &[i64] = &[
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_socketpair,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvmmsg,
];

/// Of files; where, is for the Landlock domain to say.
const WRITERS: &[i64] = &[
    libc::SYS_openat,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    RENAMEAT,
    libc::SYS_utimensat,
    libc::SYS_fchmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_creat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rmdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
];
