//! Layouts without debug information: what the bytes of many objects of one kind say of their members.
//!
//! Each word is a pointer where nearly all its values are null or lead into memory, a text where they are printable.
//! Otherwise it is cut in two as long as the halves have lives of their own: where one varies and the other stands still,
//! or where the upper varies though the lower never runs through its range, as the lower half of one number would. What it
//! gets wrong: two numbers with many values each that happen to fill the range, and zeros behind a number that
//! are padding: they are taken for its upper half.

use std::collections::HashMap;

use crate::addr::{ByteOrder, Target};

use super::text::text_in_word;

/// Bytes of an object in which members are looked for.
const MOST_BYTES: usize = 1024;
/// One of so many values may be an exception: a member that was never set, an object that was freed half.
const EXCEPTIONS: usize = 20;
/// A member with more values is no state.
const MOST_STATES: usize = 16;
/// A half with more values has a life of its own only where it fits nothing else.
const FEW: usize = 64;
/// Smaller numbers are no addresses.
const LOWEST: u64 = 4096;

/// What a pointer leads to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PointsTo {
    /// Code.
    Function,
    /// A text.
    Text,
    /// An allocation of this type.
    Type(String),
    /// An allocation of no known type, of so many usable bytes.
    Allocation(u64),
    /// Data of a module.
    Data,
    /// Other memory.
    Elsewhere,
}

/// Where an address leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pointed {
    /// What is there.
    pub what: PointsTo,
    /// Bytes from there to the end of the allocation.
    pub usable_size: Option<u64>,
}

/// What counts a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeUnit {
    /// Seconds since 1970.
    Seconds,
    /// Milliseconds.
    Milliseconds,
    /// Microseconds.
    Microseconds,
    /// Nanoseconds.
    Nanoseconds,
}

impl TimeUnit {
    /// Its name, in the plural.
    pub fn name(self) -> &'static str {
        match self {
            TimeUnit::Seconds => "seconds",
            TimeUnit::Milliseconds => "milliseconds",
            TimeUnit::Microseconds => "microseconds",
            TimeUnit::Nanoseconds => "nanoseconds",
        }
    }

    /// How many of it a second has.
    pub fn per_second(self) -> u64 {
        match self {
            TimeUnit::Seconds => 1,
            TimeUnit::Milliseconds => 1_000,
            TimeUnit::Microseconds => 1_000_000,
            TimeUnit::Nanoseconds => 1_000_000_000,
        }
    }
}

/// What a member is for, by its values.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Role {
    /// It is the same in all objects.
    Constant(u64),
    /// A pointer, null in some.
    Pointer,
    /// Printable characters, here.
    Text,
    /// 0 or 1.
    Flag,
    /// One of few small values.
    State,
    /// It rises or falls with the address of the objects, without gaps to speak of.
    Counter,
    /// A moment between 2000 and 2040.
    Time(TimeUnit),
    /// A floating-point number.
    Float,
    /// Not more than what the pointer at this offset leads to has room for: a size or a capacity in bytes.
    Size {
        /// Where the pointer is.
        pointer: u64,
    },
    /// A number that is negative in some objects.
    Signed,
    /// Any other number.
    Number,
}

/// One member that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InferredMember {
    /// Bytes from the beginning of the object.
    pub offset: u64,
    /// Bytes that it takes.
    pub width: u64,
    /// What it is for.
    pub role: Role,
    /// How many different values it has in the objects that were looked at.
    pub distinct: usize,
    /// What a pointer leads to, by how many objects, the most frequent first.
    pub targets: Vec<(PointsTo, usize)>,
}

/// Finds the members of objects of one kind from their bytes, in the order of addresses. `look` says where an address leads.
/// O(objects x bytes).
pub fn infer_layout(objects: &[&[u8]], target: Target, look: &dyn Fn(u64) -> Option<Pointed>) -> Vec<InferredMember> {
    let size = objects.iter().map(|bytes| bytes.len()).min().unwrap_or(0).min(MOST_BYTES);
    let word = target.width.bytes();
    let mut inference = Inference { objects, target, look, members: Vec::new() };
    let mut offset = 0;
    while offset + word <= size {
        offset = inference.word(offset, word, size);
    }
    if offset + 4 <= size {
        inference.number(offset, 4);
    }
    inference.sizes();
    inference.members
}

struct Inference<'a> {
    objects: &'a [&'a [u8]],
    target: Target,
    look: &'a dyn Fn(u64) -> Option<Pointed>,
    members: Vec<InferredMember>,
}

/// A number of 1, 2, 4 or 8 bytes.
fn read(bytes: &[u8], offset: usize, width: usize, target: Target) -> Option<u64> {
    target.number(bytes.get(offset..)?, width as u64)
}

/// Nearly all: but for one in [`EXCEPTIONS`].
fn nearly_all(count: usize, of: usize) -> bool {
    of > 0 && count * EXCEPTIONS >= of * (EXCEPTIONS - 1)
}

fn distinct(values: &[u64]) -> usize {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    sorted.len()
}

/// The value that nearly all have, but not all.
fn usual(values: &[u64]) -> Option<u64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    // What more than half have is in the middle.
    let middle = *sorted.get(sorted.len() / 2)?;
    let count = sorted.iter().filter(|value| **value == middle).count();
    (count < sorted.len() && nearly_all(count, sorted.len())).then_some(middle)
}

impl Inference<'_> {
    fn values(&self, offset: usize, width: usize) -> Vec<u64> {
        self.objects.iter().filter_map(|bytes| read(bytes, offset, width, self.target)).collect()
    }

    fn push(&mut self, offset: usize, width: usize, role: Role, distinct: usize) {
        let targets = Vec::new();
        self.members.push(InferredMember { offset: offset as u64, width: width as u64, role, distinct, targets });
    }

    /// Explains the word at `offset`, and returns where the next one begins.
    fn word(&mut self, offset: usize, word: usize, size: usize) -> usize {
        let values = self.values(offset, word);
        let set: Vec<u64> = values.iter().copied().filter(|value| *value != 0).collect();
        let pointed: Vec<Option<Pointed>> =
            set.iter().map(|value| (*value >= LOWEST).then(|| (self.look)(*value)).flatten()).collect();
        if nearly_all(pointed.iter().flatten().count(), set.len()) {
            let mut counts: HashMap<PointsTo, usize> = HashMap::new();
            for there in pointed.into_iter().flatten() {
                *counts.entry(there.what).or_default() += 1;
            }
            let mut targets: Vec<(PointsTo, usize)> = counts.into_iter().collect();
            targets.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            self.push(offset, word, Role::Pointer, distinct(&values));
            if let Some(member) = self.members.last_mut() {
                member.targets = targets;
            }
            return offset + word;
        }
        let text = |values: &[u64]| {
            let set = values.iter().filter(|value| **value != 0).count();
            (values.iter().filter(|value| text_in_word(**value, self.target).is_some()).count(), set)
        };
        let (texts, set) = text(&values);
        if nearly_all(texts, set) {
            let end = self.text_end(offset, word, size);
            let mut texts: Vec<&[u8]> = self.objects.iter().filter_map(|bytes| bytes.get(offset..end)).collect();
            texts.sort_unstable();
            texts.dedup();
            self.push(offset, end - offset, Role::Text, texts.len());
            return end;
        }
        self.split(offset, word);
        offset + word
    }

    /// Where a text ends that begins at `offset`: as long as what its objects go on with is text or nothing.
    fn text_end(&self, offset: usize, word: usize, size: usize) -> usize {
        let mut end = offset + word;
        while end + word <= size {
            let goes_on = |bytes: &&&[u8]| {
                let (before, here) = (bytes.get(end - 1), bytes.get(end..end + word));
                // A text that ended before leaves whatever was there.
                before == Some(&0)
                    || here.is_some_and(|here| {
                        let text = here.iter().position(|byte| *byte == 0).unwrap_or(word);
                        here.iter().take(text).all(|byte| (0x20..0x7f).contains(byte))
                    })
            };
            let continued = |bytes: &&&[u8]| {
                bytes.get(end - 1).is_some_and(|byte| *byte != 0)
                    && bytes.get(end).is_some_and(|byte| (0x20..0x7f).contains(byte))
            };
            let some = self.objects.iter().filter(continued).count();
            if some == 0 || !nearly_all(self.objects.iter().filter(goes_on).count(), self.objects.len()) {
                break;
            }
            end += word;
        }
        end
    }

    /// Explains a run of bytes as one number or as several.
    fn split(&mut self, offset: usize, width: usize) {
        match self.halves(offset, width) {
            Some(parts) => {
                for (offset, width) in parts {
                    self.split(offset, width);
                }
            }
            None => self.number(offset, width),
        }
    }

    /// The two halves of a run of bytes, or one of them where the other is padding; `None` where it is one number.
    fn halves(&self, offset: usize, width: usize) -> Option<Vec<(usize, usize)>> {
        if width == 1 {
            return None;
        }
        let values = self.values(offset, width);
        if time_unit(&values, width).is_some() || (is_float(&values, width) && !is_two_floats(&values, width)) {
            return None;
        }
        // What few objects have is too little to tell parts by: they may be of another kind.
        let usual = usual(&values);
        if usual == Some(0) || (usual.is_some() && width <= 4) {
            return None;
        }
        let half = width / 2;
        let bits = half as u32 * 8;
        let (low_at, high_at) = match self.target.order {
            ByteOrder::Little => (offset, offset + half),
            ByteOrder::Big => (offset + half, offset),
        };
        let mask = (1u64 << bits) - 1;
        let lows: Vec<u64> = values.iter().map(|value| value & mask).collect();
        let highs: Vec<u64> = values.iter().map(|value| value >> bits).collect();
        let both = || Some(vec![(offset, half), (offset + half, half)]);
        let (few_lows, few_highs) = (distinct(&lows), distinct(&highs));
        if few_highs == 1 && few_lows == 1 {
            return None;
        }
        if highs.iter().all(|high| *high == 0) {
            // The upper half is padding, or the zeros of a larger number: it is its own only where the lower half falls apart.
            return self.halves(low_at, half).map(|_| vec![(low_at, half)]);
        }
        // A number with a sign, negative in some objects: its upper half repeats the sign of the lower one.
        let sign = 1u64 << (bits - 1);
        let extended = |(low, high): (&u64, &u64)| *high == if low & sign != 0 { mask } else { 0 };
        if highs.contains(&mask) && lows.iter().zip(&highs).all(extended) {
            return None;
        }
        if lows.iter().all(|low| *low == 0) {
            return Some(vec![(low_at, half), (high_at, half)]);
        }
        if few_lows == 1 {
            return both();
        }
        // The upper half of numbers that are large and near each other.
        if few_highs == 1 {
            return if few_lows > FEW { None } else { both() };
        }
        // The lower half of a number whose upper half varies runs through its whole range.
        let upper = lows.iter().filter(|low| **low & sign != 0).count() * 100 / lows.len().max(1);
        let own = time_unit(&highs, half).is_some()
            || is_float(&highs, half)
            || is_signed(&lows, half)
            || self.halves(low_at, half).is_some();
        let wraps = !own
            && few_lows >= MOST_STATES / 2
            && (20..=80).contains(&upper)
            && lows.iter().any(|low| *low > mask - mask / 8)
            && lows.iter().any(|low| *low < mask / 8);
        if !wraps {
            return both();
        }
        // Few values with gaps between them are no upper half.
        let (least, most) = (highs.iter().min()?, highs.iter().max()?);
        let repeated = few_highs <= FEW && few_highs * 4 <= highs.len();
        let sparse = repeated && most - least > few_highs as u64 * 2;
        let narrow = few_highs <= MOST_STATES / 2 && *most < 256 && width == 8;
        if sparse || narrow { both() } else { None }
    }

    fn number(&mut self, offset: usize, width: usize) {
        let values = self.values(offset, width);
        let count = distinct(&values);
        let most = values.iter().copied().max().unwrap_or(0);
        let role = if count <= 1 {
            Role::Constant(most)
        } else if most <= 1 {
            Role::Flag
        } else if is_float(&values, width) {
            Role::Float
        } else if let Some(unit) = time_unit(&values, width) {
            Role::Time(unit)
        } else if is_counter(&values) {
            Role::Counter
        } else if is_signed(&values, width) {
            Role::Signed
        } else if count <= MOST_STATES && most < 256 {
            Role::State
        } else {
            Role::Number
        };
        self.push(offset, width, role, count);
    }

    /// A number near a pointer that is never more than what the pointer leads to has room for, and says so exactly.
    fn sizes(&mut self) {
        let word = self.target.width.bytes() as u64;
        let pointers: Vec<u64> =
            self.members.iter().filter(|member| member.role == Role::Pointer).map(|member| member.offset).collect();
        let mut found = Vec::new();
        for (at, member) in self.members.iter().enumerate() {
            if !matches!(member.role, Role::Number | Role::State) || member.width < 4 {
                continue;
            }
            let near = pointers.iter().copied().filter(|pointer| pointer.abs_diff(member.offset) <= 2 * word);
            let sized = |pointer: &u64| {
                let (mut fit, mut all, mut full) = (0usize, 0usize, 0usize);
                for bytes in self.objects {
                    let to = read(bytes, *pointer as usize, word as usize, self.target);
                    let size = read(bytes, member.offset as usize, member.width as usize, self.target);
                    let (Some(to), Some(size)) = (to.filter(|to| *to != 0), size) else { continue };
                    all += 1;
                    let room = (self.look)(to).and_then(|there| there.usable_size);
                    fit += usize::from(room.is_some_and(|room| size <= room));
                    full += usize::from(room.is_some_and(|room| size <= room && size * 2 >= room));
                }
                nearly_all(fit, all) && full * 2 >= all
            };
            if let Some(pointer) = near.min_by_key(|pointer| (!sized(pointer), pointer.abs_diff(member.offset)))
                && sized(&pointer)
            {
                found.push((at, pointer));
            }
        }
        for (at, pointer) in found {
            if let Some(member) = self.members.get_mut(at) {
                member.role = Role::Size { pointer };
            }
        }
    }
}

/// Whether values are numbers of IEEE 754: neither tiny nor huge, as people measure things.
fn is_float(values: &[u64], width: usize) -> bool {
    let exponent = |value: u64| match width {
        8 => Some(((value >> 52 & 0x7ff) as i64) - 1023),
        4 => Some(((value >> 23 & 0xff) as i64) - 127),
        _ => None,
    };
    let set: Vec<u64> = values.iter().copied().filter(|value| *value != 0).collect();
    let plausible = |value: &&u64| exponent(**value).is_some_and(|exponent| (-40..=60).contains(&exponent));
    let count = distinct(&set);
    count > 2 && nearly_all(set.iter().filter(plausible).count(), set.len())
}

/// Whether numbers that could be doubles are a float in the upper half, and a float, a moment or a small number in the lower one:
/// a double's lower bits are zero or anything.
fn is_two_floats(values: &[u64], width: usize) -> bool {
    if width != 8 {
        return false;
    }
    let lows: Vec<u64> = values.iter().map(|value| value & 0xffff_ffff).collect();
    let highs: Vec<u64> = values.iter().map(|value| value >> 32).collect();
    let small = lows.iter().any(|low| *low != 0) && lows.iter().all(|low| *low < 1 << 16);
    is_float(&highs, 4) && (small || is_float(&lows, 4) || time_unit(&lows, 4).is_some())
}

/// Whether values are moments between 2000 and 2040, zero apart.
fn time_unit(values: &[u64], width: usize) -> Option<TimeUnit> {
    const UNITS: [TimeUnit; 4] =
        [TimeUnit::Seconds, TimeUnit::Milliseconds, TimeUnit::Microseconds, TimeUnit::Nanoseconds];
    let set: Vec<u64> = values.iter().copied().filter(|value| *value != 0).collect();
    let count = distinct(&set);
    let units = UNITS.iter().take(match width {
        8 => 4,
        4 => 1,
        _ => 0,
    });
    units.into_iter().find_map(|unit| {
        let per_second = unit.per_second();
        let range = 946_684_800 * per_second..2_208_988_800 * per_second;
        let inside = set.iter().filter(|value| range.contains(value)).count();
        // Some letters and small numbers in a row look like a moment too, but do not pass as time does.
        let last: Vec<u64> = set.iter().map(|value| value & 0xff).collect();
        let passes = count > MOST_STATES && distinct(&last) * 2 > count.min(FEW);
        (passes && nearly_all(inside, set.len())).then_some(*unit)
    })
}

/// Whether some values are negative and none is large: their upper byte repeats the sign. All ones alone stand for none.
fn is_signed(values: &[u64], width: usize) -> bool {
    if width < 2 {
        return false;
    }
    let bits = width as u32 * 8;
    let ones = u64::MAX >> (64 - bits);
    let upper = |value: u64| value >> (bits - 9);
    let negative = values.iter().any(|value| upper(*value) == 0x1ff && *value != ones);
    negative && values.iter().all(|value| matches!(upper(*value), 0 | 0x1ff))
}

/// Whether values rise or fall in the order of the objects, and are as close as numbers that were given out in turn.
fn is_counter(values: &[u64]) -> bool {
    if values.len() < 8 || distinct(values) * 10 < values.len() * 9 {
        return false;
    }
    let pairs = values.len() - 1;
    let rising = values.windows(2).filter(|pair| matches!(pair, [a, b] if a < b)).count();
    nearly_all(rising, pairs) || nearly_all(pairs - rising, pairs)
}

/// In few words what a member is, for people: `u32 (5 values)`, `pointer to Session`.
impl InferredMember {
    /// Its type as far as it can be told: `u32`, `f64`, `pointer`, `char[16]`.
    pub fn type_name(&self) -> String {
        match self.role {
            Role::Pointer => "pointer".to_owned(),
            Role::Text => format!("char[{}]", self.width),
            Role::Float => format!("f{}", self.width * 8),
            Role::Signed => format!("i{}", self.width * 8),
            _ => format!("u{}", self.width * 8),
        }
    }

    /// The roles of members by name, for output: `flag`, `counter`.
    pub fn role_name(&self) -> &'static str {
        match self.role {
            Role::Constant(_) => "constant",
            Role::Pointer => "pointer",
            Role::Text => "text",
            Role::Flag => "flag",
            Role::State => "state",
            Role::Counter => "counter",
            Role::Time(_) => "time",
            Role::Float => "float",
            Role::Size { .. } => "size",
            Role::Signed | Role::Number => "number",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Width;

    const TARGETS: [Target; 4] = [
        Target { width: Width::W8, order: ByteOrder::Little },
        Target { width: Width::W8, order: ByteOrder::Big },
        Target { width: Width::W4, order: ByteOrder::Little },
        Target { width: Width::W4, order: ByteOrder::Big },
    ];

    /// Writes numbers as the target does.
    struct Writer {
        target: Target,
        bytes: Vec<u8>,
    }

    impl Writer {
        fn put(&mut self, value: u64, width: usize) {
            let (little, big) = (value.to_le_bytes(), value.to_be_bytes());
            match self.target.order {
                ByteOrder::Little => self.bytes.extend_from_slice(&little[..width]),
                ByteOrder::Big => self.bytes.extend_from_slice(&big[8 - width..]),
            }
        }
    }

    /// Numbers that look random and are not.
    fn mixed(seed: u64) -> u64 {
        let mut value = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        value ^= value >> 29;
        value = value.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value ^ value >> 32
    }

    fn found(target: Target, write: impl Fn(&mut Writer, u64)) -> Vec<(u64, u64, &'static str)> {
        let rows: Vec<Vec<u8>> = (0..1000)
            .map(|at| {
                let mut writer = Writer { target, bytes: Vec::new() };
                write(&mut writer, at);
                writer.bytes
            })
            .collect();
        let objects: Vec<&[u8]> = rows.iter().map(Vec::as_slice).collect();
        let look = |addr: u64| {
            (0x5000_0000..0x6000_0000)
                .contains(&addr)
                .then_some(Pointed { what: PointsTo::Elsewhere, usable_size: Some(24 + addr % 1024 / 16 * 16) })
        };
        infer_layout(&objects, target, &look)
            .iter()
            .map(|member| (member.offset, member.width, member.role_name()))
            .collect()
    }

    #[test]
    fn members_have_their_places_and_widths() {
        for target in TARGETS {
            let word = target.width.bytes();
            let members = found(target, |out, at| {
                out.put(0x5000_0000 + mixed(at) % 0x1000 * 16, word);
                out.put(mixed(at) % 5, 4);
                out.put(at * 3 + 100_000, 4);
                out.put(at % 2, 1);
                out.put(mixed(at + 7) % 9 + 3, 1);
                out.put(mixed(at + 9) % 700 * 5, 2);
                out.put(1_700_000_000 + mixed(at + 1) % 100_000, 4);
                out.put((mixed(at + 2) as f64 / 1e17 + 1.0).to_bits(), 8);
                out.put(77, 8);
            });
            let at = word as u64;
            let expected = [
                (0, at, "pointer"),
                (at, 4, "state"),
                (at + 4, 4, "counter"),
                (at + 8, 1, "flag"),
                (at + 9, 1, "state"),
                (at + 10, 2, "number"),
                (at + 12, 4, "time"),
            ];
            assert_eq!(members[..7], expected, "{target:?}");
            if word == 8 {
                assert_eq!(members[7..], [(24, 8, "float"), (32, 8, "constant")], "{target:?}");
            }
        }
    }

    #[test]
    fn small_members_beside_a_time_are_told_apart() {
        for target in TARGETS {
            let members = found(target, |out, at| {
                out.put(mixed(at) % 2, 1);
                out.put(mixed(at + 1) % 9 + 3, 1);
                out.put(mixed(at + 2) % 60_000, 2);
                out.put(1_700_000_000 + mixed(at + 3) % 1_000_000, 4);
            });
            assert_eq!(members, [(0, 1, "flag"), (1, 1, "state"), (2, 2, "number"), (4, 4, "time")], "{target:?}");
        }
    }

    #[test]
    fn a_few_objects_of_another_kind_do_not_cut_members() {
        for target in TARGETS {
            let members = found(target, |out, at| {
                let other = at % 100 == 7;
                out.put(if other { mixed(at) } else { 0 }, target.width.bytes());
                out.put(if other { mixed(at + 1) } else { 1 }, 4);
                out.put(0x6575_6c61 + at % 3, 4);
            });
            let at = target.width.bytes() as u64;
            assert_eq!(members[..2], [(0, at, "number"), (at, 4, "number")], "{target:?}");
            assert!(members.iter().all(|(_, _, role)| *role != "time"), "{target:?}: {members:?}");
        }
    }

    #[test]
    fn large_numbers_stay_whole() {
        for target in TARGETS.into_iter().take(2) {
            let members = found(target, |out, at| {
                out.put(mixed(at), 8);
                out.put(1_700_000_000_000_000_000 + mixed(at) % 1_000_000_000_000_000, 8);
                out.put(mixed(at) % 3_000_000_000_000, 8);
                out.put((mixed(at) % 2000).wrapping_sub(1000), 8);
            });
            let expected = [(0, 8, "number"), (8, 8, "time"), (16, 8, "number"), (24, 8, "number")];
            assert_eq!(members, expected, "{target:?}");
        }
    }

    #[test]
    fn texts_and_sizes_beside_pointers_are_seen() {
        for target in TARGETS {
            let word = target.width.bytes();
            let members = found(target, |out, at| {
                let pointer = 0x5000_0000 + mixed(at) % 0x1000 * 16;
                out.put(pointer, word);
                out.put(24 + pointer % 1024 / 16 * 16 - mixed(at) % 8, word);
                let mut text = format!("name-{:010}", mixed(at) % 1_000_000).into_bytes();
                text.resize(16, 0);
                out.bytes.extend_from_slice(&text);
                out.put(mixed(at) % 3 + 1, word);
            });
            let at = word as u64;
            let expected = [(0, at, "pointer"), (at, at, "size"), (2 * at, 16, "text"), (2 * at + 16, at, "state")];
            assert_eq!(members, expected, "{target:?}");
        }
    }

    #[test]
    fn nothing_comes_of_nothing() {
        let look = |_| None;
        assert!(infer_layout(&[], Target::LITTLE_8, &look).is_empty());
        assert!(infer_layout(&[&[1, 2, 3]], Target::LITTLE_8, &look).is_empty());
    }
}
