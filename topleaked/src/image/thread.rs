//! One thread, as it was when the dump was taken.

use crate::addr::{Addr, Span};

use super::machine::Registers;
use super::process::Signal;

/// The index of a [`Thread`] in its image. The thread that died comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ThreadId(pub u32);

/// One thread.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Thread {
    /// The kernel's id of it; for the first thread of the process the process id.
    pub tid: u32,
    /// Its general registers; empty where the machine's layout is not known here.
    pub registers: Registers,
    /// Where it was running.
    pub pc: Option<Addr>,
    /// Its stack pointer.
    pub sp: Option<Addr>,
    /// Its thread pointer: what thread-local variables are found from.
    pub thread_pointer: Option<Addr>,
    /// All of its stack, where the stack pointer or the thread pointer tells which memory that is.
    pub stack: Option<Span>,
    /// The part of `stack` in use: from the red zone below the stack pointer up to its end. All of it where the stack
    /// pointer is elsewhere.
    pub live_stack: Option<Span>,
    /// Where the stack pointer is elsewhere: the part in use there (a signal handler's stack, a coroutine's).
    pub alternate_stack: Option<Span>,
    /// The signal delivered to it.
    pub signal: Option<Signal>,
}
