//! The most frequent words of a process, each read for a person.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::addr::{Addr, Span};
use crate::image::{Image, MemoryKind, ModuleId, Region};
use crate::task::Task;
use crate::words::{Count, Keep, Question, Tail, count_given, count_hottest, count_words};

use super::number::LARGEST_CHUNK_BYTES;
use super::pieces::MemoryPieces;
use super::reading::{Reader, Reading, WordKind};

/// What [`top_words`] is asked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TopQuestion {
    /// How many words are wanted.
    pub n: u64,
    /// Whether noise is wanted too.
    pub noise: bool,
    /// Only words of these kinds; all where empty. A kind that is noise is shown without asking for noise.
    pub kinds: Vec<WordKind>,
    /// Only words found in these kinds of memory, and their counts there; [`DATA_MEMORY`] where empty.
    pub memory: Vec<MemoryKind>,
    /// Only words that point into this module.
    pub module: Option<ModuleId>,
}

impl TopQuestion {
    fn looks_in(&self, kind: MemoryKind) -> bool {
        let kinds = if self.memory.is_empty() { &DATA_MEMORY[..] } else { &self.memory };
        kinds.contains(&kind)
    }
}

/// The memory that a process fills itself: where leaks are. Code, constants and mapped files are the same in every process,
/// and some writers of dumps include them and others do not: counts that left them in would not compare.
pub const DATA_MEMORY: [MemoryKind; 8] = [
    MemoryKind::MainHeap,
    MemoryKind::Anonymous,
    MemoryKind::Stack,
    MemoryKind::Tls,
    MemoryKind::Relro,
    MemoryKind::Data,
    MemoryKind::Bss,
    MemoryKind::Shared,
];

/// One frequent word.
#[derive(Clone, PartialEq, Debug)]
pub struct FoundWord {
    /// The word.
    pub value: u64,
    /// How often it occurs.
    pub count: u64,
    /// What it is.
    pub reading: Reading,
    /// How often in which kind of memory: by count descending, then in the order of the kinds.
    pub memory: Vec<(MemoryKind, u64)>,
}

/// What was left out as noise: words that are more frequent than the last one shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Noise {
    /// Occurrences of zero.
    pub zeros: u64,
    /// Occurrences of small numbers, and of two or four small numbers in one word.
    pub small: u64,
    /// Occurrences of size fields.
    pub chunk_sizes: u64,
    /// Occurrences of fill patterns.
    pub fills: u64,
}

impl Noise {
    fn add(&mut self, reading: &Reading, count: u64) {
        match reading {
            Reading::Zero => self.zeros += count,
            Reading::Small(_) | Reading::Pair(..) | Reading::Quad(_) => self.small += count,
            Reading::ChunkSize { .. } => self.chunk_sizes += count,
            Reading::Fill(_) => self.fills += count,
            _ => {}
        }
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.zeros + self.small + self.chunk_sizes + self.fills
    }
}

/// The answer of [`top_words`].
#[derive(Clone, PartialEq, Debug)]
pub struct TopAnswer {
    /// The words: count descending, then value ascending.
    pub words: Vec<FoundWord>,
    /// How many words the memory that was asked about has.
    pub total_words: u64,
    /// What was left out.
    pub noise: Noise,
    /// Whether fewer words than wanted were found among those that the memory budget allows to be read: rarer ones may
    /// be of the kind as well.
    pub cut: bool,
}

impl TopAnswer {
    fn of(total_words: u64) -> TopAnswer {
        TopAnswer { words: Vec::new(), total_words, noise: Noise::default(), cut: false }
    }
}

/// Why there is no answer.
pub type TopError = crate::words::Error;

/// More words than this are not asked of the walk that counts the hottest alone: it knows some dozens, noise included.
const MOST_HOTTEST: u64 = 40;

/// A count of a few hundred words costs hardly more than one of this many, so noise is outnumbered at the first try.
const LEAST_COUNTED: u64 = 96;

/// Words that are looked up at once where more and more are wanted.
const MOST_LOOKED_UP: usize = 1 << 16;

/// The most words that are read: the engine has 16 bytes for each in a quarter of the budget, twice over while it sorts.
fn most_counted(task: &Task) -> u64 {
    (task.memory_budget_bytes / 128).max(LEAST_COUNTED)
}

/// Counts the process's words by virtual address and reads the most frequent ones.
///
/// # Errors
/// What the counting engine says.
pub fn top_words(reader: &Reader<'_, '_>, question: &TopQuestion, task: &Task) -> Result<TopAnswer, TopError> {
    let mut answer = find_words(reader, question, task)?;
    tell_apart(reader.image(), &mut answer.words);
    Ok(answer)
}

/// Adds the module to the names of classes that are called the same in several.
fn tell_apart(image: &Image, words: &mut [FoundWord]) {
    let mut modules: HashMap<String, BTreeSet<ModuleId>> = HashMap::new();
    let module_of = |word: &FoundWord| image.module_at(Addr(word.value));
    for word in words.iter() {
        if let (Reading::Vtable { name, .. }, Some((id, _))) = (&word.reading, module_of(word)) {
            modules.entry(name.clone()).or_default().insert(id);
        }
    }
    for word in words {
        let module = module_of(word);
        if let (Reading::Vtable { name, .. }, Some((_, module))) = (&mut word.reading, module)
            && modules.get(name).is_some_and(|modules| modules.len() > 1)
        {
            name.push_str(&format!(", in {}", String::from_utf8_lossy(module.name())));
        }
    }
}

fn find_words(reader: &Reader<'_, '_>, question: &TopQuestion, task: &Task) -> Result<TopAnswer, TopError> {
    let image = reader.image();
    let pieces = MemoryPieces::of_regions(image, |region| question.looks_in(region.kind));
    let within = value_spans(reader, question);
    if within.is_none() && question.n <= MOST_HOTTEST {
        let groups = groups(image, question);
        let parts: Vec<_> = groups.iter().map(|(_, pieces)| pieces.parts()).collect();
        if let Some(hottest) = count_hottest(pieces.parts(), &parts, image.target(), task)? {
            let mut answer = TopAnswer::of(hottest.total_words);
            let find = |counts: &[Count]| {
                let in_group = |count: &Count, group: &Vec<u64>| {
                    let at = hottest.top.iter().position(|other| other == count);
                    at.and_then(|at| group.get(at)).copied().unwrap_or_default()
                };
                let of_word = |count: &Count| {
                    let by_kind = groups.iter().zip(&hottest.groups);
                    sorted(by_kind.map(|((kind, _), group)| (*kind, in_group(count, group))).collect())
                };
                Ok(counts.iter().map(of_word).collect())
            };
            if pick(reader, question, &hottest.top, &mut answer, &find)? {
                return Ok(answer);
            }
        }
    }
    let keep = within.as_deref().map_or(Keep::All, Keep::Within);
    let most = most_counted(task).max(question.n);
    let few = question.n.saturating_mul(4).max(LEAST_COUNTED);
    // Where most words are passed over, counting all that are left costs no more than counting few.
    let mut counted = if within.is_some() { most } else { few.min(question.n.saturating_add(4096)).min(most) };
    loop {
        let words = Question { n: counted, target: image.target(), tail: Tail::Ignore, keep, isa: None };
        let counts = count_words(pieces.source(), &words, task)?;
        let exhausted = (counts.top.len() as u64) < counted;
        let mut answer = TopAnswer::of(counts.total_words);
        let find = |counts: &[Count]| find_memory(image, question, counts, task);
        let found = pick(reader, question, &counts.top, &mut answer, &find)?;
        if found || exhausted || counted >= most {
            answer.cut = !found && !exhausted;
            return Ok(answer);
        }
        counted = counted.saturating_mul(16).min(most);
    }
}

/// Finds out in which kinds of memory each of some words lies, and how often.
type FindMemory<'a> = dyn Fn(&[Count]) -> Result<Vec<Vec<(MemoryKind, u64)>>, TopError> + 'a;

/// The memory that is looked in, by its kind, where there is any of it.
fn groups<'i>(image: &'i Image, question: &TopQuestion) -> Vec<(MemoryKind, MemoryPieces<'i>)> {
    MemoryKind::ALL
        .into_iter()
        .filter(|kind| question.looks_in(*kind))
        .map(|kind| (kind, MemoryPieces::of_regions(image, |region| region.kind == kind)))
        .filter(|(_, pieces)| pieces.size_bytes() > 0)
        .collect()
}

/// Only kinds in which the word is, the one with most of it first.
fn sorted(mut memory: Vec<(MemoryKind, u64)>) -> Vec<(MemoryKind, u64)> {
    memory.retain(|(_, count)| *count > 0);
    memory.sort_by_key(|(kind, count)| (std::cmp::Reverse(*count), *kind));
    memory
}

/// Reads words in their order until `n` are found; whether they were.
///
/// Only words that may be wanted are looked up in memory: whatever is asked for, that is few walks.
fn pick(
    reader: &Reader<'_, '_>,
    question: &TopQuestion,
    counts: &[Count],
    answer: &mut TopAnswer,
    find_memory: &FindMemory<'_>,
) -> Result<bool, TopError> {
    if question.n == 0 {
        return Ok(true);
    }
    let wanted = |reading: &Reading| match question.kinds.is_empty() {
        true => question.noise || !reading.is_noise(),
        false => question.kinds.contains(&reading.kind()),
    };
    let mut most = usize::try_from(question.n.max(LEAST_COUNTED)).unwrap_or(usize::MAX);
    let mut rest = counts;
    while !rest.is_empty() {
        // Up to `most` words to be looked up, and those between them that no memory can make wanted.
        let mut looked_up = Vec::new();
        let mut passed_over = Vec::new();
        let mut taken = 0;
        for count in rest {
            if looked_up.len() >= most {
                break;
            }
            taken += 1;
            let reading = reader.read_value(count.value).filter(|reading| !wanted(reading));
            match reading {
                Some(reading) if reading.is_noise() => passed_over.push((looked_up.len(), count.count, reading)),
                Some(_) => {}
                None => looked_up.push(*count),
            }
        }
        rest = rest.get(taken..).unwrap_or_default();
        let found_in = find_memory(&looked_up)?;
        let mut passed_over = passed_over.into_iter().peekable();
        for (at, (count, memory)) in looked_up.iter().zip(found_in).enumerate() {
            while let Some((_, count, reading)) = passed_over.next_if(|(before, ..)| *before <= at) {
                answer.noise.add(&reading, count);
            }
            let reading = reader.read(count.value, &memory);
            if wanted(&reading) {
                answer.words.push(FoundWord { value: count.value, count: count.count, reading, memory });
                if answer.words.len() as u64 >= question.n {
                    return Ok(true);
                }
            } else {
                answer.noise.add(&reading, count.count);
            }
        }
        passed_over.for_each(|(_, count, reading)| answer.noise.add(&reading, count));
        most = most.saturating_mul(4).min(MOST_LOOKED_UP.max(most));
    }
    Ok(false)
}

/// In which kinds of memory each word lies, and how often. The largest kind is not walked over: it has what the others
/// leave of the whole count.
fn find_memory(
    image: &Image,
    question: &TopQuestion,
    counts: &[Count],
    task: &Task,
) -> Result<Vec<Vec<(MemoryKind, u64)>>, TopError> {
    let mut groups = groups(image, question);
    groups.sort_by_key(|(_, pieces)| std::cmp::Reverse(pieces.size_bytes()));
    let Some(((largest, _), others)) = groups.split_first() else { return Ok(vec![Vec::new(); counts.len()]) };
    let parts: Vec<_> = others.iter().map(|(_, pieces)| pieces.parts()).collect();
    let words: Vec<u64> = counts.iter().map(|count| count.value).collect();
    let given = count_given(&parts, &words, image.target(), task)?;
    let mut found = Vec::with_capacity(counts.len());
    for (at, count) in counts.iter().enumerate() {
        let in_group = |group: &Vec<u64>| group.get(at).copied().unwrap_or_default();
        let mut memory: Vec<(MemoryKind, u64)> =
            others.iter().zip(&given.groups).map(|((kind, _), group)| (*kind, in_group(group))).collect();
        let elsewhere: u64 = memory.iter().map(|(_, count)| count).sum();
        memory.push((*largest, count.count.saturating_sub(elsewhere)));
        found.push(sorted(memory));
    }
    Ok(found)
}

/// The values that a wanted word can have, where the question says that it is an address: then the engine passes over all
/// others at the speed of reading.
fn value_spans(reader: &Reader<'_, '_>, question: &TopQuestion) -> Option<Vec<Span>> {
    let image = reader.image();
    let regions = |wanted: &dyn Fn(&Region) -> bool| -> Vec<Span> {
        image.regions().iter().filter(|region| wanted(region)).map(|region| region.span).collect()
    };
    let of_module = |region: &Region| question.module.is_none_or(|module| region.module == Some(module));
    let mut spans = Vec::new();
    for kind in &question.kinds {
        match kind {
            WordKind::Vtable => spans.extend(reader.vtables().candidate_ranges()),
            WordKind::Zero => spans.extend(Span::with_size(Addr(0), 1)),
            WordKind::ChunkSize => spans.extend(Span::with_size(Addr(0), LARGEST_CHUNK_BYTES + 8)),
            // Numbers and text have no range, and pointers into heaps are among the most frequent words of all.
            WordKind::Small | WordKind::Text | WordKind::Heap | WordKind::Other => {
                return question.module.is_some().then(|| joined(regions(&of_module)));
            }
            WordKind::Data => {
                // Constants may stand beside the code, in modules that have no segment for them alone.
                let rodata = image.regions().iter().filter(|region| region.kind == MemoryKind::Rodata);
                let apart: HashSet<ModuleId> = rodata.filter_map(|region| region.module).collect();
                let beside = |region: &Region| {
                    region.kind == MemoryKind::Text && region.module.is_some_and(|module| !apart.contains(&module))
                };
                spans.extend(regions(&|region| address_kind(region.kind) == WordKind::Data || beside(region)));
            }
            kind => spans.extend(regions(&|region| address_kind(region.kind) == *kind)),
        }
    }
    if question.kinds.is_empty() {
        question.module?;
        return Some(joined(regions(&of_module)));
    }
    if question.module.is_some() {
        let of_module = joined(regions(&of_module));
        spans = spans.iter().flat_map(|span| of_module.iter().filter_map(|other| span.intersection(*other))).collect();
    }
    Some(joined(spans))
}

/// The kind of a word that points into a kind of memory, whatever its name.
fn address_kind(kind: MemoryKind) -> WordKind {
    Reading::Pointer { kind, place: None }.kind()
}

/// The spans sorted, with those joined that touch or overlap.
fn joined(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort();
    let mut joined: Vec<Span> = Vec::new();
    for span in spans.into_iter().filter(|span| !span.is_empty()) {
        match joined.last_mut() {
            Some(last) if last.end() >= span.start() => {
                *last = Span::new(last.start(), last.end().max(span.end())).unwrap_or(*last);
            }
            _ => joined.push(span),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_that_touch_are_joined() {
        let span = |start, end| Span::new(Addr(start), Addr(end)).unwrap();
        let spans = vec![span(8, 16), span(0, 4), span(4, 8), span(20, 30), span(22, 24), span(40, 40)];
        assert_eq!(joined(spans), [span(0, 16), span(20, 30)]);
    }
}
