//! How a firing of the kernel program ended, and how a user-stack walk ended.
//!
//! The numbers are indices into counters; the names are label values in `/metrics`.

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $label:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// All codes in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            /// How many codes there are.
            pub const COUNT: usize = Self::ALL.len();
            /// The label value in `/metrics`.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }
            /// The code of a number.
            #[must_use]
            pub fn from_code(code: u32) -> Option<Self> {
                Self::ALL.get(code as usize).copied()
            }
        }
    };
}

codes! {
    /// What a firing on an allowed task came to; exactly one is counted per firing, at its end.
    Outcome {
        /// The record is in the ring buffer.
        Submitted = "submitted",
        /// The ring buffer had no room.
        RingFull = "ring_full",
        /// The chain of programs broke (a tail call failed).
        TailCall = "tail_call",
    }
}

codes! {
    /// Why a user-stack walk stopped.
    UnwindStop {
        /// The outermost frame was reached.
        Root = "root",
        /// The task has no user stack: a kernel thread, or a task that ends and has given its memory back.
        NoUserStack = "no_user_stack",
        /// The user registers could not be read.
        NoRegisters = "no_registers",
        /// Stack memory could not be read.
        BadMemory = "bad_memory",
        /// Code without unwind rows, and the frame pointer does not point up the stack.
        BadFramePointer = "bad_frame_pointer",
        /// Deeper than [`MAX_USER_FRAMES`](crate::limits::MAX_USER_FRAMES).
        TooDeep = "too_deep",
        /// A rule that the unwinder cannot follow.
        UnsupportedRule = "unsupported_rule",
        /// The caller's frame would not be further up the stack.
        NotUpward = "not_upward",
        /// The program counter is in no mapping whose rows are at hand; registers and stack were copied for the agent.
        Copied = "copied",
        /// The same, but too many stacks were copied in this second.
        CopyLimit = "copy_limit",
        /// The copied stack ends below the root.
        CopyShort = "copy_short",
    }
}

/// Slots of the per-CPU counter array: entries, then one per [`Outcome`], then time and losses.
pub mod counter {
    use super::Outcome;

    /// Firings on an allowed task, counted at entry: equals the sum of outcomes at rest.
    pub const ENTERED: u32 = 0;
    /// First outcome.
    pub const OUTCOMES: u32 = 1;
    /// Nanoseconds spent in the sampling programs.
    pub const RUN_NS: u32 = OUTCOMES + Outcome::COUNT as u32;
    /// Process events that found no room in the ring buffer.
    pub const EVENTS_LOST: u32 = RUN_NS + 1;
    /// Nanoseconds spent in the programs of process events.
    pub const EVENT_RUN_NS: u32 = EVENTS_LOST + 1;
    /// Process events not reported because the agent had asked for none.
    pub const EVENTS_SHED: u32 = EVENT_RUN_NS + 1;
    /// Processes that found no room in the pid filter.
    pub const FILTER_FULL: u32 = EVENTS_SHED + 1;
    /// How many.
    pub const COUNT: u32 = FILTER_FULL + 1;
}
