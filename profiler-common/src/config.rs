//! Settings of the kernel program: one read-only global, set before load.
//!
//! Offsets are in bytes and come from the running kernel's BTF; rustc emits no CO-RE relocations.
//! The struct is never all zero: LLVM may otherwise merge it with a literal 0 used as a map key.

/// First field of [`Config`]; never zero.
pub const MAGIC: u32 = 0x5052_4f46;

/// Take kernel stacks.
pub const KERNEL_STACKS: u32 = 1;
/// Sample only processes in the pid filter.
pub const FILTER_PIDS: u32 = 1 << 1;
/// Sample only the subtree of [`Config::filter_cgroup`].
pub const FILTER_CGROUP: u32 = 1 << 2;
/// A process forked by one in the pid filter joins it.
pub const FOLLOW_FORKS: u32 = 1 << 3;
/// Some processes have a rate of their own.
pub const PROCESS_RATES: u32 = 1 << 4;

/// "The unified hierarchy" where a v1 controller's index stands otherwise.
pub const UNIFIED: u32 = u32::MAX;

/// Read-only settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Config {
    /// [`MAGIC`].
    pub magic: u32,
    /// Or of the flags of this module.
    pub flags: u32,
    /// kernfs id of the cgroup whose subtree is sampled.
    pub filter_cgroup: u64,
    /// Hierarchy of `filter_cgroup`: v1 controller index or [`UNIFIED`].
    pub filter_hierarchy: u32,
    /// Hierarchy that carries containers: v1 controller index or [`UNIFIED`].
    pub container_hierarchy: u32,
    /// Offset from `task->stack` to the saved user registers.
    pub user_regs: u32,
    /// The same where the top of the stack is padded by 16 bytes (x86 with FRED); equal to `user_regs` elsewhere.
    pub user_regs_padded: u32,
    /// `task_struct.flags`.
    pub task_flags: u32,
    /// `task_struct.pid`.
    pub task_pid: u32,
    /// `task_struct.tgid`.
    pub task_tgid: u32,
    /// `task_struct.group_leader`.
    pub task_group_leader: u32,
    /// `task_struct.start_boottime`.
    pub task_start_boottime: u32,
    /// `task_struct.stack`.
    pub task_stack: u32,
    /// `task_struct.signal`.
    pub task_signal: u32,
    /// `signal_struct.live`.
    pub signal_live: u32,
    /// `task_struct.cgroups`.
    pub task_cgroups: u32,
    /// `css_set.dfl_cgrp`.
    pub css_set_dfl_cgrp: u32,
    /// `css_set.subsys`.
    pub css_set_subsys: u32,
    /// `cgroup_subsys_state.cgroup`.
    pub css_cgroup: u32,
    /// `cgroup.self.parent`.
    pub cgroup_parent: u32,
    /// `cgroup.kn`.
    pub cgroup_kn: u32,
    /// `kernfs_node.id`.
    pub kernfs_id: u32,
    /// `task_struct.thread.fsbase` (x86_64) or `.thread.uw.tp_value` (aarch64).
    pub task_thread_pointer: u32,
    /// `task_struct.mm`.
    pub task_mm: u32,
    /// `mm_struct.exec_vm`.
    pub mm_exec_vm: u32,
    /// `mm_struct.mm_lock_seq`; 0 where the kernel has none.
    pub mm_lock_seq: u32,
    /// `task_struct.in_execve`, in bits; 0 where the kernel has none.
    pub task_in_execve: u32,
}

const _: () = assert!(size_of::<Config>() == 16 + 24 * 4);

impl Config {
    /// No filter, no offset known.
    pub const EMPTY: Self = Self {
        magic: MAGIC,
        flags: 0,
        filter_cgroup: 0,
        filter_hierarchy: UNIFIED,
        container_hierarchy: UNIFIED,
        user_regs: 0,
        user_regs_padded: 0,
        task_flags: 0,
        task_pid: 0,
        task_tgid: 0,
        task_group_leader: 0,
        task_start_boottime: 0,
        task_stack: 0,
        task_signal: 0,
        signal_live: 0,
        task_cgroups: 0,
        css_set_dfl_cgrp: 0,
        css_set_subsys: 0,
        css_cgroup: 0,
        cgroup_parent: 0,
        cgroup_kn: 0,
        kernfs_id: 0,
        task_thread_pointer: 0,
        task_mm: 0,
        mm_exec_vm: 0,
        mm_lock_seq: 0,
        task_in_execve: 0,
    };
}
