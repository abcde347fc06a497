//! What is asked of `top` bounds its work, whatever is in the dump: rare kinds, many different words, little memory.

use std::time::{Duration, Instant};

use testkit::elf_core::{CoreBuilder, R, Shape, W};
use topleaked::image::{Image, OpenOptions};
use topleaked::insight::{Reader, TopAnswer, TopQuestion, WordKind, top_words};
use topleaked::symbols::{SymbolOptions, Symbols};
use topleaked::task::Task;
use topleaked::types::Vtables;

const MEMORY: u64 = 0x7f00_0000_0000;
const STACK: u64 = 0x7ffc_0000_0000;
const WORDS: u64 = 300_000;

/// Words that are no text and no number, each there once, among them `rare`; and a stack of as many again.
fn image(word: impl Fn(u64) -> u64, rare: &[u64]) -> Image {
    let mut words: Vec<u64> = (0..WORDS).map(word).collect();
    words.extend(rare);
    let stack: Vec<u64> = (0..1 << 16).map(|at| 0x8123_4567_0000_0000 | at << 4 | 1).collect();
    let mut registers = vec![0; 27];
    registers[19] = STACK;
    let core = CoreBuilder::new(Shape::LITTLE_64, 62)
        .thread(1, 6, &registers)
        .memory(MEMORY, R | W, &Shape::LITTLE_64.words(&words))
        .memory(STACK, R | W, &Shape::LITTLE_64.words(&stack))
        .build();
    Image::from_bytes(core, &OpenOptions::default()).unwrap()
}

fn ask(image: &Image, kind: WordKind, memory_budget_bytes: u64) -> TopAnswer {
    let symbols = Symbols::new(image, SymbolOptions::default());
    let vtables = Vtables::new(image, &symbols);
    let question = TopQuestion { n: 20, kinds: vec![kind], ..TopQuestion::default() };
    let task = Task { memory_budget_bytes, ..Task::default() };
    top_words(&Reader::new(&symbols, &vtables), &question, &task).unwrap()
}

fn noise(at: u64) -> u64 {
    0x9000_0000_0000_0001 | at << 8
}

#[test]
fn a_kind_of_which_there_is_little_is_found_without_a_walk_for_every_other_word() {
    let image = image(noise, &[7, 0, 7, 0x21, 9, 0, 0]);
    for (kind, expected) in [
        (WordKind::Small, &[(7, 2), (9, 1)][..]),
        (WordKind::Zero, &[(0, 3)]),
        (WordKind::Text, &[]),
        (WordKind::ChunkSize, &[(0x21, 1)]),
    ] {
        let began = Instant::now();
        let answer = ask(&image, kind, Task::DEFAULT_MEMORY_BUDGET_BYTES);
        let found: Vec<(u64, u64)> = answer.words.iter().map(|word| (word.value, word.count)).collect();
        assert_eq!(found, expected, "{kind:?}");
        assert!(!answer.cut, "{kind:?}");
        assert!(began.elapsed() < Duration::from_secs(20), "{kind:?}: {:?}", began.elapsed());
    }
}

#[test]
fn many_different_words_are_no_reason_to_ask_for_more_memory() {
    let pointers = image(|at| MEMORY + 8 * at, &[]);
    let answer = ask(&pointers, WordKind::Heap, 2 << 20);
    assert_eq!((answer.words.len(), answer.cut), (20, false));
    assert_eq!(answer.words.first().map(|word| word.value), Some(MEMORY));
    // Nothing of the kind is among the words that fit: whether it is among the others is not known, and said.
    let others = image(noise, &[7]);
    assert!(ask(&others, WordKind::Text, 2 << 20).cut);
}
