//! Programs from Debian that nobody here wrote, under load, and what the agent makes of their stacks.

pub mod files;
pub mod heavy;
pub mod load;
pub mod perf;
pub mod programs;
pub mod survey;
