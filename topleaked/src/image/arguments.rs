//! The program's arguments, from the main stack.
//!
//! The note about the process has room for 80 bytes of them. The kernel put all of them on the main stack
//! (System V ABI, "Initial Process Stack"): a count, the pointers and a zero, the environment's and a zero, then the
//! auxiliary vector, whose entries tell where that is.

use crate::addr::{Addr, Span};

use super::process::AuxiliaryVector;
use super::space::AddressSpace;

/// The kernel gives arguments and environment at most a quarter of 8 MiB, unless told otherwise.
const MOST_BYTES: u64 = 16 << 20;
/// More arguments than this are not read.
const MOST_ARGUMENTS: u64 = 1 << 16;
/// A longer argument is cut; the kernel's bound is 128 KiB.
const MOST_ARGUMENT_BYTES: usize = 1 << 17;

/// All arguments, the program's name first; `None` where the stack does not show them.
pub(super) fn find(space: &AddressSpace, auxv: &AuxiliaryVector, stack: Span) -> Option<Vec<Vec<u8>>> {
    let width = space.target().width.bytes() as u64;
    let mut at = auxiliary_vector(space, auxv, stack)?;
    let below = |at: Addr| Some((at.checked_sub(width)?, space.word(at.checked_sub(width)?)?));
    let is_pointer = |value: u64| stack.contains(Addr(value));
    // Down over the environment's zero, its pointers, the arguments' zero.
    let (zero, value) = below(at)?;
    if value != 0 {
        return None;
    }
    at = zero;
    let mut steps = 0;
    loop {
        let (lower, value) = below(at)?;
        at = lower;
        steps += 1;
        if value == 0 {
            break;
        }
        if !is_pointer(value) || steps > MOST_ARGUMENTS {
            return None;
        }
    }
    // Down over the arguments' pointers to their count.
    let mut pointers = Vec::new();
    loop {
        let (lower, value) = below(at)?;
        at = lower;
        if value == pointers.len() as u64 {
            break;
        }
        if !is_pointer(value) || pointers.len() as u64 > MOST_ARGUMENTS {
            return None;
        }
        pointers.push(Addr(value));
    }
    pointers.reverse();
    pointers.into_iter().map(|pointer| space.text(pointer, MOST_ARGUMENT_BYTES)).collect()
}

/// Where the auxiliary vector lies on the stack: its first entries, word for word.
fn auxiliary_vector(space: &AddressSpace, auxv: &AuxiliaryVector, stack: Span) -> Option<Addr> {
    let target = space.target();
    let width = target.width.bytes();
    let wanted: Vec<u64> = auxv.iter().take(4).flat_map(|(kind, value)| [kind, value]).collect();
    if wanted.len() < 8 {
        return None;
    }
    let start = stack.start().max(stack.end().checked_sub(MOST_BYTES).unwrap_or(stack.start()));
    let bytes = space.bytes(Span::new(start, stack.end())?)?;
    let words = bytes.len() / width;
    let word = |index: usize| target.word(bytes.get(index.checked_mul(width)?..)?);
    let index = (0..words).rev().find(|index| {
        word(*index) == wanted.first().copied()
            && wanted.iter().enumerate().all(|(ahead, wanted)| word(index + ahead) == Some(*wanted))
    })?;
    start.checked_add((index * width) as u64)
}
