//! The values at an offset from each match of a word, in bytes that come only once: in one pass, with a window of them in
//! memory.
//!
//! The first values are counted as they are found; a value that finds no room among them is set aside, and so is each
//! later occurrence of it.

use std::io::Read;

use crate::addr::{ByteOrder, Target, Width};
use crate::task::Task;

use super::aside::Aside;
use super::count::{count_parts, raw_to_value};
use super::kernel;
use super::search::{Member, MemberCounts, Search};
use super::source::read_full;
use super::table::mix;
use super::top::Top;
use super::{Cost, Error, Isa, Means, Question, Tail};

/// A member farther away than this is not looked for in the window.
const MOST_DISTANT: u64 = 64 << 10;

/// Whether the members lie near enough for the window, and are numbers.
pub(super) fn is_near(search: &Search) -> bool {
    search.member.is_none_or(|at| {
        at.offset.unsigned_abs() <= MOST_DISTANT && (matches!(at.member, Member::Bits(_)) || search.n == 0)
    })
}

/// See [`super::count_members`]; only where [`is_near`] says so.
pub(super) fn search_stream(
    stream: &mut (dyn Read + Send),
    search: &Search,
    means: Means,
    task: &Task,
) -> Result<MemberCounts, Error> {
    let near = search.member.filter(|at| at.offset.unsigned_abs() <= MOST_DISTANT);
    let (offset, size) = near.map_or((0, 0), |at| (at.offset, at.member.size_bytes()));
    let width = search.target.width.bytes();
    let isa = search.isa.filter(|isa| isa.is_available()).unwrap_or_else(Isa::best);
    // As in a search of files: no word of 4 bytes is larger than that.
    let fits = search.value <= search.target.width.max_word();
    let wanted = if fits { raw_to_value(search.target, search.value) } else { u64::MAX };
    let back = offset.min(0).unsigned_abs().next_multiple_of(8) as usize;
    let ahead = (offset.max(0).unsigned_abs() + size).next_multiple_of(8) as usize + width;
    let mut window = vec![0; means.piece_bytes + back + ahead];
    // Of the window, what was read and what was searched; and where it starts in the stream, a multiple of 8.
    let (mut filled, mut searched, mut start) = (0usize, 0usize, 0u64);
    let mut values = Values::new(task.memory_budget_bytes / 4);
    let mut positions = Vec::new();
    let (mut matches, mut members) = (0u64, 0u64);
    task.progress.start("searching", 0);
    loop {
        if task.progress.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let gone = searched.saturating_sub(back) & !7;
        window.copy_within(gone..filled, 0);
        (filled, searched, start) = (filled - gone, searched - gone, start + gone as u64);
        let room = window.get_mut(filled..).unwrap_or_default();
        let all = room.len();
        let at = start + filled as u64;
        let read = read_full(stream, room).map_err(|source| Error::Read { offset: at, source })?;
        task.progress.advance(read as u64);
        let ended = read < all;
        filled += read;
        let whole = filled - filled % width;
        let until = if ended { whole } else { (whole.saturating_sub(ahead) & !7).max(searched) };
        positions.clear();
        let bytes = window.get(searched..until).unwrap_or_default();
        kernel::find_matches(isa, width as u64, bytes, wanted, &mut positions);
        let has_tail = ended && filled > whole && search.tail == Tail::Zero;
        // Leftover bytes are a word of value 0.
        if has_tail && search.value == 0 {
            positions.push((whole - searched) as u32);
        }
        matches += positions.len() as u64;
        let padded = if has_tail { whole + width } else { whole };
        if near.is_some() {
            for position in &positions {
                let Some(at) = (searched + *position as usize).checked_add_signed(offset as isize) else { continue };
                if at + width > padded || at + size as usize > padded && is_number(search) {
                    continue;
                }
                members += 1;
                // What lies behind the last whole word reads as 0.
                let end = (at + size as usize).min(whole).max(at);
                values.add(value(search.target, size as usize, window.get(at..end).unwrap_or_default()), search.n)?;
            }
        }
        searched = until;
        if ended {
            break;
        }
    }
    let mut cost = Cost { passes: 1, peak_bytes: window.len() as u64, ..Cost::default() };
    drop(window);
    let top = values.top(search.n, means, task, &mut cost)?;
    Ok(MemberCounts { top, strings: Vec::new(), matches, members, cost })
}

fn is_number(search: &Search) -> bool {
    search.member.is_some_and(|at| matches!(at.member, Member::Bits(_)))
}

/// The value of a member of `size` bytes, of which those that are missing at the end are 0.
fn value(target: Target, size: usize, bytes: &[u8]) -> u64 {
    let mut raw = [0; 8];
    match target.order {
        ByteOrder::Little => {
            raw.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            u64::from_le_bytes(raw)
        }
        ByteOrder::Big => {
            raw.iter_mut().skip(8 - size.min(8)).zip(bytes).for_each(|(to, from)| *to = *from);
            u64::from_be_bytes(raw)
        }
    }
}

/// Values with room of their own, as a power of 2.
const SLOT_BITS: u32 = if cfg!(test) { 5 } else { 13 };
/// Slots that a value may lie in.
const PROBES: usize = 8;

/// Counts the first values, and sets aside the others.
struct Values {
    /// Value and count; 0 where a slot is free.
    slots: Vec<(u64, u64)>,
    others: Vec<[u8; 8]>,
    aside: Aside,
}

impl Values {
    fn new(most_bytes: u64) -> Values {
        Values { slots: vec![(0, 0); 1 << SLOT_BITS], others: Vec::new(), aside: Aside::new(most_bytes) }
    }

    fn add(&mut self, value: u64, n: u64) -> Result<(), Error> {
        if n == 0 {
            return Ok(());
        }
        let home = mix(value) as usize;
        for probe in 0..PROBES {
            let Some(slot) = self.slots.get_mut((home + probe) & ((1 << SLOT_BITS) - 1)) else { continue };
            if slot.1 == 0 || slot.0 == value {
                *slot = (value, slot.1 + 1);
                return Ok(());
            }
        }
        // No slot is ever free again: a value that was set aside once always is.
        self.others.push(value.to_ne_bytes());
        if self.others.len() >= 8 << 10 {
            self.aside.take(self.others.as_flattened())?;
            self.others.clear();
        }
        Ok(())
    }

    /// The most frequent values.
    fn top(self, n: u64, means: Means, task: &Task, cost: &mut Cost) -> Result<Vec<super::Count>, Error> {
        let Values { slots, others, aside } = self;
        aside.take(others.as_flattened())?;
        drop(others);
        cost.spilled_bytes = aside.spilled_bytes();
        cost.peak_bytes += (slots.len() * 16) as u64 + aside.peak_bytes();
        let mut top = Top::new(n, means.result_bytes);
        for (value, count) in slots.iter().filter(|slot| slot.1 > 0) {
            top.offer(*value, *count)?;
        }
        if aside.is_empty() {
            return Ok(top.finish());
        }
        let order = if cfg!(target_endian = "little") { ByteOrder::Little } else { ByteOrder::Big };
        let question = Question { target: Target { width: Width::W8, order }, ..Question::top(n) };
        let left = Means::share(task.memory_budget_bytes - aside.memory_bytes(), task, n);
        let counts = aside.with_parts(|parts| count_parts(parts, &question, left, task))?;
        for count in counts.top {
            top.offer(count.value, count.count)?;
        }
        cost.passes += counts.cost.passes;
        cost.peak_bytes = cost.peak_bytes.max(counts.cost.peak_bytes + aside.memory_bytes());
        Ok(top.finish())
    }
}
