//! One member of all objects as codes of categories, learnt from a sample.

use std::collections::{HashMap, HashSet};

use crate::image::AddressSpace;
use crate::types::{LeafKind, Value};

use super::super::contrast::{Binning, Category, Cell, NO_CODE};
use super::Meaning;
use super::keys::{Key, KeyBook, OTHER_ID, pointer_keys, text_keys};
use super::part::{Names, Part};
use super::read::{Class, Source, ordered_cell, plain_cell};

/// One member, and how its values become codes.
#[derive(Debug)]
pub(super) struct Column {
    /// Where it is, by dump.
    pub(super) sources: Vec<Source>,
    pub(super) class: Class,
    pub(super) binning: Binning,
    /// What ids stand for.
    meanings: Vec<Meaning>,
    /// By dump, of pointers and texts.
    books: Vec<KeyBook>,
    /// The codes of ids; of pointers and texts.
    codes_of_ids: Vec<u16>,
    /// Numbers that are seconds since 1970, by all that can be told.
    pub(super) times: bool,
    /// Values that stand alone at most.
    pub(super) most_values: usize,
    /// Members of which this is the best one: its test is paid for by all.
    pub(super) tried: u64,
    /// Cells of the sample, over all dumps.
    pub(super) sample: Vec<Cell>,
    /// Codes of the sample.
    pub(super) sample_codes: Vec<u16>,
}

/// What a thread reads for a column: cells, or indices into a list of keys.
pub(super) enum Sampled {
    Cells(Vec<Cell>),
    Keys { indices: Vec<Option<u32>>, list: Vec<Key>, chosen: Vec<(Key, Key)>, choices: u64 },
}

/// Reads the sampled objects of one dump.
pub(super) fn read_sample(part: &Part<'_>, source: &Source, positions: &[usize], most_values: usize) -> Sampled {
    let space = part.image.space();
    let values = positions.iter().map(|at| {
        let bytes = part.objects.get(*at).and_then(|id| space.bytes(part.table.span(*id)));
        bytes.map_or(Value::Missing, |bytes| source.read(bytes, space))
    });
    let suspect: Vec<bool> = positions.iter().map(|at| part.suspect.get(*at).copied().unwrap_or(false)).collect();
    let keys = match source.class() {
        Class::Ordered(_) => return Sampled::Cells(values.map(|value| ordered_cell(&value)).collect()),
        Class::Plain => return Sampled::Cells(values.map(|value| plain_cell(&value)).collect()),
        Class::Pointer => pointer_keys(part, &values.collect::<Vec<_>>(), &suspect),
        Class::Text => text_keys(&values.collect::<Vec<_>>(), &suspect, most_values),
    };
    let mut known: HashMap<Key, u32> = HashMap::new();
    let mut list = Vec::new();
    let indices = keys.of_objects.into_iter().map(|key| {
        let key = key?;
        if let Some(at) = known.get(&key) {
            return Some(*at);
        }
        let at = list.len() as u32;
        list.push(key.clone());
        known.insert(key, at);
        Some(at)
    });
    let indices = indices.collect();
    Sampled::Keys { indices, list, chosen: keys.chosen, choices: keys.choices }
}

/// A class of values some of which stand for themselves is what remains of it: a claim about the class would be false.
fn say_others(meanings: &mut [Meaning], binning: &Binning, parents: &HashMap<u64, u64>) {
    let apart: Vec<u64> = (binning.categories().iter())
        .filter_map(|category| match category {
            Category::Value(id) => Some(*id),
            _ => None,
        })
        .collect();
    let text = |id: &u64| {
        let meaning = usize::try_from(*id).ok().and_then(|id| meanings.get(id));
        matches!(meaning, Some(Meaning::Text(_)))
    };
    let texts_apart = apart.iter().any(text);
    let mut rests: HashSet<u64> = apart.iter().filter_map(|id| parents.get(id).copied()).collect();
    if texts_apart {
        let class = |meaning: &Meaning| matches!(meaning, Meaning::Prefix(_) | Meaning::Length(..));
        rests.extend(meanings.iter().zip(0..).filter(|(meaning, _)| class(meaning)).map(|(_, id)| id));
    }
    for (meaning, id) in meanings.iter_mut().zip(0..) {
        if rests.contains(&id) {
            *meaning = Meaning::Others(Box::new(meaning.clone()));
        }
    }
}

impl Column {
    /// A column of the samples of all dumps; `suspect` says of each sampled object whether it is one.
    pub(super) fn new(
        sources: Vec<Source>,
        sampled: Vec<Sampled>,
        suspect: &[bool],
        parts: &[Part<'_>],
        names: &[Names<'_>],
        most_values: usize,
    ) -> Column {
        let class = sources.first().map_or(Class::Plain, Source::class);
        let by_name_only = parts.len() > 1;
        let quoted = !matches!(sources.first(), Some(Source::Leaf(leaf)) if !matches!(leaf.kind, LeafKind::Text(_)));
        let mut ids: HashMap<Meaning, u32> = HashMap::new();
        let mut meanings: Vec<Meaning> = Vec::new();
        let mut books = Vec::new();
        let (mut parents, mut all_choices): (HashMap<u64, u64>, u64) = (HashMap::new(), 0);
        let mut sample: Vec<Cell> = Vec::new();
        for ((sampled, part), names) in sampled.into_iter().zip(parts).zip(names) {
            match sampled {
                Sampled::Cells(cells) => sample.extend(cells),
                Sampled::Keys { indices, list, chosen, choices } => {
                    let mut id = |key: &Key| {
                        let meaning = key.meaning(part, names, quoted, by_name_only);
                        *ids.entry(meaning.clone()).or_insert_with(|| {
                            meanings.push(meaning);
                            meanings.len() as u32 - 1
                        })
                    };
                    let of_keys: Vec<u32> = list.iter().map(&mut id).collect();
                    let otherwise: Vec<(Key, u32)> =
                        chosen.iter().map(|(_, parent)| (parent.clone(), id(parent))).collect();
                    for ((key, _), (_, parent)) in chosen.iter().zip(&otherwise) {
                        let key = id(key);
                        if key != *parent {
                            parents.insert(u64::from(key), u64::from(*parent));
                        }
                    }
                    all_choices = all_choices.max(choices);
                    let known = list.iter().zip(of_keys.iter().copied());
                    books.push(KeyBook::new(known.chain(otherwise.iter().map(|(key, id)| (key, *id)))));
                    let of_key = |at: &Option<u32>| of_keys.get((*at)? as usize).copied();
                    sample.extend(
                        indices.iter().map(|at| of_key(at).map_or(Cell::Missing, |id| Cell::Value(u64::from(id)))),
                    );
                }
            }
        }
        let ordered = matches!(class, Class::Ordered(_));
        let binning = Binning::of_choices(&sample, suspect, ordered, most_values, &parents, all_choices);
        let sample_codes = sample.iter().map(|cell| binning.code(*cell)).collect();
        say_others(&mut meanings, &binning, &parents);
        let codes_of_ids = (0..meanings.len() as u64).map(|id| binning.code(Cell::Value(id))).collect();
        let times = sources.first().is_some_and(|source| source.may_be_time())
            && sample.iter().all(|cell| match cell {
                Cell::Value(code) => sources.first().is_some_and(|source| source.is_plausible_time(*code)),
                _ => true,
            });
        Column {
            sources,
            class,
            binning,
            meanings,
            books,
            codes_of_ids,
            times,
            most_values,
            tried: 1,
            sample,
            sample_codes,
        }
    }

    /// The order codes of the sample, of an ordered column.
    pub(super) fn sample_values(&self) -> Vec<Option<u64>> {
        let value = |cell: &Cell| match cell {
            Cell::Value(code) => Some(*code),
            _ => None,
        };
        self.sample.iter().map(value).collect()
    }

    /// The codes of objects of one dump; `unseen` is called for values without a code of their own that deserve one,
    /// `ordered` for the order code of each.
    #[inline]
    pub(super) fn encode(
        &self,
        part_at: usize,
        part: &Part<'_>,
        bytes: &[Option<&[u8]>],
        codes: &mut Vec<u16>,
        mut unseen: impl FnMut(usize, u64),
        mut ordered: impl FnMut(u64),
    ) {
        codes.clear();
        if self.encode_fixed(part_at, part, bytes, codes, &mut unseen, &mut ordered) {
            return;
        }
        let Some(source) = self.sources.get(part_at) else { return };
        let space: &AddressSpace = part.image.space();
        let read = |bytes: &Option<&[u8]>| bytes.map_or(Value::Missing, |bytes| source.read(bytes, space));
        let (other, open) = (self.binning.other(), self.binning.is_open());
        match self.class {
            Class::Ordered(_) => {
                for (at, bytes) in bytes.iter().enumerate() {
                    let cell = ordered_cell(&read(bytes));
                    let code = self.binning.code(cell);
                    if let Cell::Value(value) | Cell::Apart(value) = cell {
                        ordered(value);
                        if open && code == other {
                            unseen(at, value);
                        }
                    }
                    codes.push(code);
                }
            }
            Class::Plain => {
                for (at, bytes) in bytes.iter().enumerate() {
                    let cell = plain_cell(&read(bytes));
                    let code = self.binning.code(cell);
                    if let Cell::Value(value) = cell
                        && open
                        && code == other
                    {
                        unseen(at, value);
                    }
                    codes.push(code);
                }
            }
            Class::Pointer | Class::Text => {
                let Some(book) = self.books.get(part_at) else { return };
                for bytes in bytes {
                    codes.push(match book.id(part, &read(bytes)) {
                        None => NO_CODE,
                        Some(OTHER_ID) => other,
                        Some(id) => self.codes_of_ids.get(id as usize).copied().unwrap_or(other),
                    });
                }
            }
        }
    }

    /// The same for members that are the same bytes of each object; false for others.
    #[inline]
    fn encode_fixed(
        &self,
        part_at: usize,
        part: &Part<'_>,
        bytes: &[Option<&[u8]>],
        codes: &mut Vec<u16>,
        unseen: &mut impl FnMut(usize, u64),
        ordered: &mut impl FnMut(u64),
    ) -> bool {
        let Some(fixed) = self.sources.get(part_at).and_then(|source| source.fixed(part.image.target())) else {
            return false;
        };
        let (other, open) = (self.binning.other(), self.binning.is_open());
        let is_ordered = matches!(self.class, Class::Ordered(_));
        match self.class {
            Class::Ordered(_) | Class::Plain => fixed.for_each(bytes, |at, value| {
                let Some(value) = value else { return codes.push(NO_CODE) };
                let code = self.binning.code(Cell::Value(value));
                if is_ordered {
                    ordered(value);
                }
                if open && code == other {
                    unseen(at, value);
                }
                codes.push(code);
            }),
            Class::Pointer => {
                let Some(book) = self.books.get(part_at) else { return false };
                fixed.for_each(bytes, |_, word| {
                    codes.push(match word.map(|word| book.pointer_id(part, word)) {
                        None => NO_CODE,
                        Some(OTHER_ID) => other,
                        Some(id) => self.codes_of_ids.get(id as usize).copied().unwrap_or(other),
                    });
                });
            }
            Class::Text => return false,
        }
        true
    }

    /// What a category means.
    pub(super) fn meaning(&self, category: Category, parts: &[Part<'_>]) -> Meaning {
        let Some(source) = self.sources.first() else { return Meaning::Other };
        let types = parts.first().and_then(|part| part.types);
        let written = |code| match self.times {
            true => source.written_as_time(code, types),
            false => source.written(code, types),
        };
        match (category, self.class) {
            (Category::Other, _) => Meaning::Other,
            (Category::Value(id), Class::Pointer | Class::Text) => {
                usize::try_from(id).ok().and_then(|id| self.meanings.get(id)).cloned().unwrap_or(Meaning::Other)
            }
            (Category::Value(code), _) if source.is_enumeration() => {
                match (written(code), source.enum_number(code, types)) {
                    (name, number) if name == number => Meaning::Text(name),
                    (name, number) => Meaning::Named(name, number),
                }
            }
            (Category::Value(code), _) => Meaning::Text(written(code)),
            (Category::Range(low, high), _) if low == high => Meaning::Text(written(low)),
            (Category::Range(low, high), _) => Meaning::Range(written(low), written(high)),
        }
    }
}
