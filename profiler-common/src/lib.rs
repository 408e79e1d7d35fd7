//! What the kernel program and the agent both know, declared once.
//!
//! Input: nothing. Output: layouts, codes, limits. Invariant: every shared struct is `#[repr(C)]`, made of
//! fixed-width integers, has no hidden padding (const-asserted sizes) and is the same on both sides.
#![no_std]

pub mod config;
pub mod control;
pub mod limits;
pub mod outcome;
pub mod record;
pub mod unwind;
