//! The C library's heap, told to give back what is free. It is here because nothing else may call what is unsafe.

/// Larger blocks are mappings of their own, which go back to the kernel when they are freed. Without a word the C library
/// raises this bound to the largest block ever freed, 32 MiB at most: tables and sections would then leave holes behind.
#[cfg(target_env = "gnu")]
const MAX_HEAP_BLOCK_BYTES: i32 = 128 << 10;
/// What is free at the end of a heap goes back from this size on.
#[cfg(target_env = "gnu")]
const MAX_FREE_END_BYTES: i32 = 128 << 10;
/// Heaps that threads share. Without a bound each thread has its own, with holes of its own.
#[cfg(target_env = "gnu")]
const HEAPS: i32 = 2;

/// Bounds what the heap keeps though it is free; before the first thread is started.
#[cfg(target_env = "gnu")]
pub fn bound_heap() {
    let bounds = [
        (libc::M_MMAP_THRESHOLD, MAX_HEAP_BLOCK_BYTES),
        (libc::M_TRIM_THRESHOLD, MAX_FREE_END_BYTES),
        (libc::M_ARENA_MAX, HEAPS),
    ];
    for (parameter, value) in bounds {
        // SAFETY: sets a number of the allocator; any is allowed.
        unsafe { libc::mallopt(parameter, value) };
    }
}

/// Gives back whole pages that are free between what is in use.
#[cfg(target_env = "gnu")]
pub fn trim_heap() {
    // SAFETY: takes the allocator's own locks, and touches nothing that is in use.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators have no such bounds.
#[cfg(not(target_env = "gnu"))]
pub fn bound_heap() {}

/// Other allocators have no such call.
#[cfg(not(target_env = "gnu"))]
pub fn trim_heap() {}
