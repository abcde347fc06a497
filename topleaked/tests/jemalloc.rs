//! jemalloc's heaps measured against programs that recorded what they held and what they let go.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use testkit::native::Program;
use testkit::recorder::{self, RecordedCrash};
use topleaked::addr::Addr;
use topleaked::graph::{Graph, References, Roots, Tags};
use topleaked::heap::{AllocatorReport, ArenaKind, Heap, State, walk_heaps};
use topleaked::image::{Image, OpenOptions};
use topleaked::task::Task;

/// What the truth program notes with an allocation that it let go.
const DROPPED: u32 = 1;

struct Found {
    image: Image,
    heap: Heap,
    graph: Graph,
}

fn analyse(core: &Path) -> Found {
    let task = Task::default();
    let image = Image::open(core, &OpenOptions::default(), &task).unwrap();
    let heap = walk_heaps(&image, &task).unwrap();
    let roots = Roots::find(&image, &heap);
    let graph = References::new(&image, &heap, &roots, Tags::default()).build_graph(&task);
    Found { image, heap, graph }
}

fn program(options: &[&str]) -> Program {
    let mut all = vec!["-O1", "-pthread", "-Wl,--no-as-needed", "-ljemalloc"];
    all.extend(options);
    recorder::compile("slab_truth", "c", recorder::SLAB_TRUTH, "cc", &all)
}

fn recorded(options: &[&str], state: &str) -> RecordedCrash {
    recorder::crash_preloaded(&program(options), &[state], &recorder::library("cc", &["-DRECORDER_NEXT", "-ldl"]))
}

/// The program with the recorder and Debian's static jemalloc linked in: symbols are there to compare with.
fn recorded_static(state: &str) -> (RecordedCrash, Program) {
    let options = ["-O1", "-pthread", "-no-pie", "-Wl,--whole-archive", "-l:libjemalloc.a", "-Wl,--no-whole-archive"];
    let libraries = ["-lm", "-lstdc++", "-ldl"];
    let all: Vec<&str> = options.iter().chain(&libraries).copied().collect();
    let program = recorder::compile_linked("slab_truth", "c", recorder::SLAB_TRUTH, "cc", &all);
    (recorder::crash_linked(&program, &[state]), program)
}

fn jemalloc(heap: &Heap) -> &AllocatorReport {
    let [allocator] = heap.allocators.as_slice() else { panic!("{:?}", heap.allocators) };
    assert_eq!(allocator.name, "jemalloc");
    allocator
}

/// The used allocations are those recorded, each with the size that jemalloc said; all memory is accounted for.
fn assert_exact(found: &Found, run: &RecordedCrash) {
    let held: BTreeMap<u64, u64> = run.records.iter().map(|record| (record.address, record.usable)).collect();
    let used: BTreeMap<u64, u64> = found
        .heap
        .table
        .iter()
        .filter(|allocation| allocation.state.is_used())
        .map(|allocation| (allocation.address.0, allocation.usable_size))
        .collect();
    let missed: Vec<_> = held.iter().filter(|(address, size)| used.get(address) != Some(size)).collect();
    let invented: Vec<_> = used.iter().filter(|(address, _)| !held.contains_key(address)).collect();
    let table = &found.heap.table;
    assert!(
        missed.is_empty() && invented.is_empty(),
        "of {} missed {}: {:x?} (as {:?}), invented {}: {:x?}",
        held.len(),
        missed.len(),
        missed.iter().take(8).collect::<Vec<_>>(),
        missed.first().and_then(|(address, _)| table.find(Addr(**address)).map(|(id, _)| table.get(id))),
        invented.len(),
        invented.iter().take(8).collect::<Vec<_>>(),
    );
    assert_eq!(found.heap.diagnostics, []);
    let allocator = jemalloc(&found.heap);
    assert_eq!((&allocator.damage, allocator.damage_count), (&Vec::new(), 0));
    for arena in &allocator.arenas {
        assert_eq!(arena.kind, ArenaKind::Shared);
        assert_eq!(arena.tally.bytes(), arena.bytes(), "{arena:?}");
    }
}

/// Leaked is what the program let go, all of it and nothing else.
fn assert_leaks(found: &Found, run: &RecordedCrash, fewest: usize) {
    let labelled = |dropped: bool| -> BTreeSet<u64> {
        let records = run.records.iter().filter(|record| (record.label == DROPPED) == dropped);
        records.map(|record| record.address).collect()
    };
    let (dropped, held) = (labelled(true), labelled(false));
    assert!(dropped.len() >= fewest, "the program let go of {} allocations alone", dropped.len());
    let addresses = |set: &topleaked::graph::AllocSet| -> BTreeSet<u64> {
        set.iter().map(|id| found.heap.table.address(id).0).collect()
    };
    let leaked = addresses(&found.graph.marks.leaked);
    let anchored = addresses(&found.graph.marks.anchored);
    let few = |addresses: BTreeSet<&u64>| addresses.into_iter().take(8).map(|at| Addr(*at)).collect::<Vec<_>>();
    let (false_leaks, missed) = (leaked.difference(&dropped).collect(), dropped.difference(&leaked).collect());
    assert_eq!((few(false_leaks), few(missed)), (vec![], vec![]), "false leaks, and missed ones");
    assert_eq!(few(held.difference(&anchored).collect()), [], "held but not anchored");
}

#[test]
fn every_size_class_is_walked_exactly_and_leaks_are_those_let_go() {
    let run = recorded(&["-s"], "classes");
    let found = analyse(&run.crash.core);
    assert_exact(&found, &run);
    assert_leaks(&found, &run, 300);
    let module = found.image.module(jemalloc(&found.heap).module.unwrap()).unwrap();
    assert!(module.name().starts_with(b"libjemalloc"));
}

#[test]
fn regions_in_a_cache_are_free() {
    let run = recorded(&["-s"], "caches");
    let found = analyse(&run.crash.core);
    assert_exact(&found, &run);
    assert_leaks(&found, &run, 2000);
    let tally = jemalloc(&found.heap).tally();
    assert!(tally.state(State::ThreadCached).count > 150, "{tally:?}");
    assert!(tally.state(State::Free).count > 30_000, "{tally:?}");
}

#[test]
fn reallocated_and_aligned_blocks_are_walked_exactly() {
    let run = recorded(&["-s"], "changed");
    let found = analyse(&run.crash.core);
    assert_exact(&found, &run);
    assert_leaks(&found, &run, 15);
}

#[test]
fn what_other_threads_gave_back_is_free() {
    let run = recorded(&["-s"], "threads");
    let found = analyse(&run.crash.core);
    assert_exact(&found, &run);
    assert_leaks(&found, &run, 1000);
    assert_eq!(jemalloc(&found.heap).thread_caches, 5);
    // On any number of threads the same.
    let alone = walk_heaps(&found.image, &Task { threads: std::num::NonZeroUsize::MIN, ..Task::default() }).unwrap();
    assert!(found.heap.table.iter().eq(alone.table.iter()));
}

#[test]
fn a_forked_child_keeps_the_caches_of_threads_it_does_not_have() {
    let run = recorded(&["-s"], "fork");
    let found = analyse(&run.crash.core);
    assert_eq!(found.image.threads().len(), 1);
    assert_exact(&found, &run);
    assert_eq!(jemalloc(&found.heap).thread_caches, 5);
}

#[test]
fn a_static_copy_is_found_where_its_symbol_is() {
    let (run, program) = recorded_static("classes");
    let found = analyse(&run.crash.core);
    let allocator = found.heap.allocators.iter().find(|allocator| allocator.name == "jemalloc").unwrap();
    let symbols = Command::new("nm").arg(&program.path).output().unwrap();
    let symbols = String::from_utf8(symbols.stdout).unwrap();
    let symbol = symbols.lines().find_map(|line| line.strip_suffix(" B je_arena_emap_global")).unwrap();
    let emap = u64::from_str_radix(symbol, 16).unwrap();
    // The tree is the map's first member; its root comes behind what it allocates from, and a lock.
    let root = allocator.evidence[0].split_whitespace().find_map(|word| word.strip_prefix("0x")).unwrap();
    let root = u64::from_str_radix(root, 16).unwrap();
    assert!((emap..emap + 256).contains(&root), "{root:#x} for {emap:#x}");
    let used: BTreeMap<Addr, u64> = found
        .heap
        .table
        .iter()
        .filter(|allocation| allocation.state.is_used())
        .map(|allocation| (allocation.address, allocation.usable_size))
        .collect();
    // libc's own allocations do not pass the recorder.
    let missed = run.records.iter().filter(|record| used.get(&Addr(record.address)) != Some(&record.usable));
    assert_eq!(missed.count(), 0);
    assert!(used.len() < run.records.len() + 20, "{} used, {} recorded", used.len(), run.records.len());
}
