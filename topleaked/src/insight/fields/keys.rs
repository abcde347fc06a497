//! Pointers and texts as numbers: what a pointer leads to, what a text is, each with an id of its own.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use crate::addr::Addr;
use crate::types::Value;

use super::super::groups::WordHasher;
use super::Meaning;
use super::part::{Names, Part};

/// Texts and targets that are told apart in one member; all further ones are one.
const MOST_KEYS: usize = 1 << 14;
/// Targets that are counted one by one.
const MOST_TARGETS: usize = 1 << 17;
/// A place to which one in so many objects points is a value of its own.
const SHARED: u64 = 20;
/// Bytes by which texts are put together that are too many to be told apart.
const PREFIX: usize = 4;
/// Classes of length: up to so many bytes each.
const LENGTHS: [u64; 7] = [0, 7, 15, 31, 63, 127, u64::MAX];

/// What a pointer leads to or a text is.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) enum Key {
    Null,
    Absent,
    Implausible,
    /// Not to be told apart from others.
    Other,
    /// To no allocation and no module.
    Elsewhere,
    /// To no memory at all: a number that is kept where a pointer could be.
    Nowhere,
    /// This place, which many objects share or which a module has.
    Place(u64),
    /// An object of this identity.
    Typed(u32),
    /// An allocation of so many usable bytes.
    Sized(u64),
    /// This number, of a member with 128 bits.
    Number(i128),
    /// An allocation.
    Allocated,
    /// These bytes.
    Text(Vec<u8>),
    /// Bytes that begin so.
    Prefix(Vec<u8>),
    /// Bytes of this class of length.
    Length(usize),
}

impl Key {
    fn of_text(text: &Value) -> Key {
        match text {
            Value::Null => Key::Null,
            Value::Absent => Key::Absent,
            Value::Implausible => Key::Implausible,
            Value::Text { bytes, .. } | Value::Bytes(bytes) => Key::Text(bytes.clone()),
            Value::UInt(number) => Key::Number(i128::from(*number)),
            Value::Int(number) => Key::Number(i128::from(*number)),
            _ => Key::Other,
        }
    }

    fn length(value: &Value) -> u64 {
        match value {
            Value::Text { bytes, length } => length.unwrap_or(bytes.len() as u64),
            Value::Bytes(bytes) => bytes.len() as u64,
            _ => 0,
        }
    }

    /// What it says. `quoted` texts are text, others bytes; across dumps places count `by_name_only`.
    pub(super) fn meaning(&self, part: &Part<'_>, names: &Names<'_>, quoted: bool, by_name_only: bool) -> Meaning {
        match self {
            Key::Null => Meaning::Null,
            Key::Absent => Meaning::Text("absent".to_owned()),
            Key::Implausible => Meaning::Text("implausible".to_owned()),
            Key::Other => Meaning::Other,
            Key::Elsewhere => Meaning::Elsewhere,
            Key::Nowhere => Meaning::Nowhere,
            Key::Place(addr) => part.place(Addr(*addr), names, by_name_only),
            Key::Typed(identity) => part.type_of(*identity),
            Key::Sized(size) => Meaning::Allocation(*size),
            Key::Number(number) => Meaning::Text(number.to_string()),
            Key::Allocated => Meaning::AnyAllocation,
            Key::Text(bytes) if quoted => Meaning::Text(format!("\"{}\"", String::from_utf8_lossy(bytes))),
            Key::Text(bytes) => Meaning::Text(bytes.iter().take(16).map(|byte| format!("{byte:02x}")).collect()),
            Key::Prefix(bytes) => Meaning::Prefix(String::from_utf8_lossy(bytes).into_owned()),
            Key::Length(class) => {
                let most = LENGTHS.get(*class).copied().unwrap_or(u64::MAX);
                let least = class.checked_sub(1).and_then(|below| LENGTHS.get(below)).map_or(0, |below| below + 1);
                Meaning::Length(least, most)
            }
        }
    }
}

/// How texts are told apart that are too many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rest {
    Whole,
    Prefix,
    Length,
}

/// The hash only has to be fast: what is hashed was put there by allocators and linkers.
type ByWord = HashMap<u64, u32, BuildHasherDefault<WordHasher>>;

/// Knows the keys of one member in one dump, from a sample.
#[derive(Clone, Debug)]
pub(super) struct KeyBook {
    places: ByWord,
    /// By identity.
    types: Vec<u32>,
    sizes: ByWord,
    texts: HashMap<Vec<u8>, u32>,
    numbers: HashMap<i128, u32>,
    prefixes: HashMap<Vec<u8>, u32>,
    lengths: [u32; LENGTHS.len()],
    rest: Rest,
    /// Bytes of a beginning.
    cut: usize,
    null: u32,
    absent: u32,
    implausible: u32,
    elsewhere: u32,
    nowhere: u32,
    allocated: u32,
}

/// The id of what no sample held.
pub(super) const OTHER_ID: u32 = u32::MAX;

/// A value that many objects of one group have is one of its own, where so many have it.
const LEAST_OF_GROUP: u64 = 5;

/// The keys of a sample.
pub(super) struct Keys {
    /// By object; `None` for what is missing.
    pub(super) of_objects: Vec<Option<Key>>,
    /// Keys of their own because one group has them often, each with what it is otherwise.
    pub(super) chosen: Vec<(Key, Key)>,
    /// Values among which they were chosen.
    pub(super) choices: u64,
}

/// How often values are there, in all objects and in the suspects.
struct Frequencies<K> {
    counts: HashMap<K, [u64; 2]>,
    known: [u64; 2],
}

impl<K: std::hash::Hash + Eq> Frequencies<K> {
    fn of(values: impl Iterator<Item = (Option<K>, bool)>) -> Frequencies<K> {
        let mut found = Frequencies { counts: HashMap::new(), known: [0; 2] };
        for (value, suspect) in values {
            let Some(value) = value else { continue };
            found.known[usize::from(suspect)] += 1;
            if found.counts.len() < MOST_TARGETS || found.counts.contains_key(&value) {
                found.counts.entry(value).or_default()[usize::from(suspect)] += 1;
            }
        }
        found
    }

    fn all(&self) -> u64 {
        self.known[0] + self.known[1]
    }

    fn count(&self, value: &K) -> u64 {
        self.counts.get(value).map_or(0, |[a, b]| a + b)
    }

    /// Whether one in `part` objects of one group has the value, where there are two groups.
    fn is_of_group(&self, value: &K, part: u64) -> bool {
        let often = |count: u64, of: u64| count >= LEAST_OF_GROUP && count * part >= of;
        self.known[0].min(self.known[1]) > 0
            && self.counts.get(value).is_some_and(|[a, b]| often(*a, self.known[0]) || often(*b, self.known[1]))
    }
}

/// The keys of a sample of pointers; `suspect` says for each object whether it is one.
pub(super) fn pointer_keys(part: &Part<'_>, values: &[Value], suspect: &[bool]) -> Keys {
    let target = |value: &Value| match value {
        Value::Pointer(addr) | Value::Code(addr) => Some(addr.0),
        _ => None,
    };
    let targets = Frequencies::of(values.iter().map(target).zip(suspect.iter().copied()));
    let least = (values.len() as u64 / SHARED).max(2);
    let mut chosen: HashMap<u64, Key> = HashMap::new();
    let mut key = |value: &Value| {
        Some(match value {
            Value::Null => Key::Null,
            Value::Absent => Key::Absent,
            Value::Implausible => Key::Implausible,
            Value::Pointer(addr) | Value::Code(addr) => {
                if targets.count(&addr.0) >= least || part.image.module_at(*addr).is_some() {
                    Key::Place(addr.0)
                } else {
                    let otherwise = part.target_of(*addr);
                    if !targets.is_of_group(&addr.0, SHARED) {
                        return Some(otherwise);
                    }
                    chosen.insert(addr.0, otherwise);
                    Key::Place(addr.0)
                }
            }
            _ => return None,
        })
    };
    let of_objects = values.iter().map(&mut key).collect();
    let mut chosen: Vec<(Key, Key)> =
        chosen.into_iter().map(|(place, otherwise)| (Key::Place(place), otherwise)).collect();
    chosen.sort();
    Keys { of_objects, chosen, choices: targets.counts.len() as u64 }
}

/// The keys of a sample of texts, those that are frequent as they are, the others by their beginning or their length.
pub(super) fn text_keys(values: &[Value], suspect: &[bool], most_values: usize) -> Keys {
    let text = |value: &Value| match value {
        Value::Text { bytes, .. } | Value::Bytes(bytes) => Some(bytes.clone()),
        _ => None,
    };
    let texts = Frequencies::of(values.iter().map(text).zip(suspect.iter().copied()));
    let few = texts.counts.len() <= most_values;
    let most = most_values as u64;
    let frequent = |bytes: &Vec<u8>| few || texts.count(bytes) * most >= texts.all();
    // What all have in common says nothing: a beginning goes on behind it.
    let mut rest = texts.counts.keys().filter(|bytes| !bytes.is_empty() && !frequent(bytes));
    let first = rest.next().cloned().unwrap_or_default();
    let common = rest.fold(first.len(), |common, bytes| {
        let same = first.iter().zip(bytes).take(common).take_while(|(a, b)| a == b).count();
        same.min(common)
    });
    let cut = common + PREFIX;
    let prefixes: std::collections::HashSet<&[u8]> =
        texts.counts.keys().filter(|bytes| !frequent(bytes)).map(|bytes| bytes.get(..cut).unwrap_or(bytes)).collect();
    let by_prefix = prefixes.len() > 1 && prefixes.len() <= most_values;
    let mut chosen: HashMap<Vec<u8>, Key> = HashMap::new();
    let key = |value: &Value| {
        Some(match value {
            Value::Missing => return None,
            Value::Text { bytes, .. } | Value::Bytes(bytes) if !frequent(bytes) => {
                let otherwise = match by_prefix {
                    true => Key::Prefix(bytes.get(..cut).unwrap_or(bytes).to_vec()),
                    false => Key::Length(length_class(Key::length(value))),
                };
                if !texts.is_of_group(bytes, most) {
                    return Some(otherwise);
                }
                chosen.insert(bytes.clone(), otherwise);
                Key::Text(bytes.clone())
            }
            value => Key::of_text(value),
        })
    };
    let of_objects = values.iter().map(key).collect();
    let mut chosen: Vec<(Key, Key)> =
        chosen.into_iter().map(|(bytes, otherwise)| (Key::Text(bytes), otherwise)).collect();
    chosen.sort();
    Keys { of_objects, chosen, choices: texts.counts.len() as u64 }
}

fn length_class(length: u64) -> usize {
    LENGTHS.iter().position(|most| length <= *most).unwrap_or(LENGTHS.len() - 1)
}

impl KeyBook {
    /// A book of keys that have ids.
    pub(super) fn new<'k>(keys: impl Iterator<Item = (&'k Key, u32)>) -> KeyBook {
        let mut book = KeyBook {
            places: ByWord::default(),
            types: Vec::new(),
            sizes: ByWord::default(),
            texts: HashMap::new(),
            numbers: HashMap::new(),
            prefixes: HashMap::new(),
            lengths: [OTHER_ID; LENGTHS.len()],
            rest: Rest::Whole,
            cut: 0,
            null: OTHER_ID,
            absent: OTHER_ID,
            implausible: OTHER_ID,
            elsewhere: OTHER_ID,
            nowhere: OTHER_ID,
            allocated: OTHER_ID,
        };
        for (key, id) in keys.take(MOST_KEYS) {
            match key {
                Key::Null => book.null = id,
                Key::Absent => book.absent = id,
                Key::Implausible => book.implausible = id,
                Key::Other => {}
                Key::Elsewhere => book.elsewhere = id,
                Key::Nowhere => book.nowhere = id,
                Key::Allocated => book.allocated = id,
                Key::Place(addr) => drop(book.places.insert(*addr, id)),
                Key::Typed(identity) => {
                    let place = *identity as usize;
                    book.types.resize(book.types.len().max(place + 1), OTHER_ID);
                    if let Some(place) = book.types.get_mut(place) {
                        *place = id;
                    }
                }
                Key::Sized(size) => drop(book.sizes.insert(*size, id)),
                Key::Number(number) => drop(book.numbers.insert(*number, id)),
                Key::Text(bytes) => drop(book.texts.insert(bytes.clone(), id)),
                Key::Prefix(bytes) => {
                    book.rest = Rest::Prefix;
                    book.cut = book.cut.max(bytes.len());
                    book.prefixes.insert(bytes.clone(), id);
                }
                Key::Length(class) => {
                    book.rest = Rest::Length;
                    if let Some(place) = book.lengths.get_mut(*class) {
                        *place = id;
                    }
                }
            }
        }
        book
    }

    /// The id of a pointer.
    #[inline]
    pub(super) fn pointer_id(&self, part: &Part<'_>, word: u64) -> u32 {
        if word == 0 {
            return self.null;
        }
        if let Some(id) = self.places.get(&word) {
            return *id;
        }
        match part.target_of(Addr(word)) {
            Key::Typed(identity) => self.types.get(identity as usize).copied().unwrap_or(OTHER_ID),
            Key::Sized(size) => self.sizes.get(&size).copied().unwrap_or(OTHER_ID),
            Key::Nowhere => self.nowhere,
            Key::Allocated => self.allocated,
            _ => self.elsewhere,
        }
    }

    /// The id of a pointer or a text; `None` for what is missing.
    pub(super) fn id(&self, part: &Part<'_>, value: &Value) -> Option<u32> {
        Some(match value {
            Value::Missing => return None,
            Value::Null => self.null,
            Value::Absent => self.absent,
            Value::Implausible => self.implausible,
            Value::Pointer(addr) | Value::Code(addr) => self.pointer_id(part, addr.0),
            Value::Text { bytes, .. } | Value::Bytes(bytes) => match self.texts.get(bytes.as_slice()) {
                Some(id) => *id,
                None => match self.rest {
                    Rest::Whole => OTHER_ID,
                    Rest::Prefix => {
                        self.prefixes.get(bytes.get(..self.cut).unwrap_or(bytes)).copied().unwrap_or(OTHER_ID)
                    }
                    Rest::Length => self.lengths.get(length_class(Key::length(value))).copied().unwrap_or(OTHER_ID),
                },
            },
            value => match Key::of_text(value) {
                Key::Number(number) => self.numbers.get(&number).copied().unwrap_or(OTHER_ID),
                _ => OTHER_ID,
            },
        })
    }
}
