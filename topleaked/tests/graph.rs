//! What is found leaked, measured against programs that recorded what they held and what they dropped.

use std::collections::BTreeSet;

use testkit::native::{self, Build, Program};
use testkit::recorder::{self, RecordedCrash};
use topleaked::addr::Addr;
use topleaked::graph::{AllocSet, Graph, References, Roots, Tags};
use topleaked::heap::{Heap, walk_heaps};
use topleaked::image::{Image, OpenOptions};
use topleaked::task::Task;

/// What the truth programs note with an allocation that they let go.
const DROPPED: u32 = 1;
/// The same for one that only pointers into the middle refer to, and these prove nothing.
const DOUBTFUL: u32 = 2;

/// How the recorder got into the program.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Recorder {
    Preloaded,
    Linked,
}

struct Found {
    heap: Heap,
    graph: Graph,
}

fn analyse(crash: &RecordedCrash) -> Found {
    let task = Task::default();
    let image = Image::open(&crash.crash.core, &OpenOptions::default(), &task).unwrap();
    let heap = walk_heaps(&image, &task).unwrap();
    let roots = Roots::find(&image, &heap);
    let graph = References::new(&image, &heap, &roots, Tags::default()).build_graph(&task);
    Found { heap, graph }
}

impl Found {
    fn addresses(&self, set: &AllocSet) -> BTreeSet<u64> {
        set.iter().map(|id| self.heap.table.address(id).0).collect()
    }
}

fn shown(addresses: impl Iterator<Item = u64>) -> Vec<Addr> {
    addresses.take(8).map(Addr).collect()
}

/// Every recorded allocation is where the program says: leaked the dropped ones, anchored the held ones, and none in
/// between.
fn assert_exact(crash: &RecordedCrash, fewest_dropped: usize) {
    assert_exact_as(Recorder::Preloaded, crash, fewest_dropped);
}

fn assert_exact_as(recorder: Recorder, crash: &RecordedCrash, fewest_dropped: usize) {
    let found = analyse(crash);
    let labelled = |dropped: bool| -> BTreeSet<u64> {
        let records = crash.records.iter().filter(|record| (record.label == DROPPED) == dropped);
        records.map(|record| record.address).collect()
    };
    let (dropped, held) = (labelled(true), labelled(false));
    // What libc allocates for itself in a static program does not pass the recorder.
    let seen: BTreeSet<u64> = crash.records.iter().map(|record| record.address).collect();
    assert!(dropped.len() >= fewest_dropped, "the program dropped {} allocations alone", dropped.len());
    let mut leaked = found.addresses(&found.graph.marks.leaked);
    if recorder == Recorder::Linked {
        leaked.retain(|address| seen.contains(address));
    }
    let sure = found.addresses(&found.graph.marks.anchored);
    let size = |address: &u64| found.heap.table.find(Addr(*address)).map(|(id, _)| found.heap.table.usable_size(id));
    let false_leaks: Vec<_> = leaked.difference(&dropped).map(|at| (Addr(*at), size(at))).collect();
    let missed: Vec<_> = dropped.difference(&leaked).map(|at| (Addr(*at), size(at))).collect();
    let doubtful: Vec<_> = held.difference(&sure).map(|at| (Addr(*at), size(at))).collect();
    assert!(
        false_leaks.is_empty() && missed.is_empty() && doubtful.is_empty(),
        "of {} held and {} dropped: false leaks {:?}, missed {:?}, held but not anchored {:?}",
        held.len(),
        dropped.len(),
        false_leaks.iter().take(8).collect::<Vec<_>>(),
        missed.iter().take(8).collect::<Vec<_>>(),
        doubtful.iter().take(8).collect::<Vec<_>>(),
    );
}

fn program(compiler: &str, options: &[&str]) -> Program {
    let mut all = vec!["-std=c++17", "-pthread"];
    all.extend(options);
    recorder::compile("graph_truth", "cc", recorder::GRAPH_TRUTH, compiler, &all)
}

fn recorded(program: &Program, state: &str) -> RecordedCrash {
    recorder::crash_preloaded(program, &[state], &recorder::library("cc", &[]))
}

#[test]
fn every_shape_is_found_leaked_or_held() {
    assert_exact(&recorded(&program("c++", &["-g", "-O1"]), "all"), 4000);
}

#[test]
fn optimised_and_stripped_programs_are_as_exact() {
    assert_exact(&recorded(&program("c++", &["-O2", "-s"]), "all"), 4000);
}

#[test]
fn one_arena_for_all_threads_is_as_exact() {
    assert_exact(&recorded(&program("c++", &["-g", "-O1"]), "main-arena"), 4000);
}

#[test]
fn a_main_arena_in_mappings_is_as_exact() {
    assert_exact(&recorded(&program("c++", &["-g", "-O1"]), "no-brk"), 4000);
}

#[test]
fn stacks_of_waiting_threads_hold() {
    assert_exact(&recorded(&program("c++", &["-g", "-O1"]), "threads"), 4000);
}

#[test]
fn the_child_of_a_fork_is_as_exact() {
    assert_exact(&recorded(&program("c++", &["-g", "-O1"]), "fork"), 4000);
}

#[test]
fn without_run_time_type_information_second_bases_hold() {
    assert_exact(&recorded(&program("c++", &["-O1", "-fno-rtti", "-DNO_RTTI"]), "all"), 4000);
}

#[test]
fn libcxx_is_as_exact() {
    assert_exact(&recorded(&program("clang++", &["-O1", "-stdlib=libc++"]), "all"), 4000);
}

#[test]
fn four_byte_words_are_as_exact() {
    let library = recorder::library("cc", native::M32);
    for build in [&["-O1", "-g"][..], &["-O2", "-s"]] {
        let options = [build, native::M32].concat();
        assert_exact(&recorder::crash_preloaded(&program("c++", &options), &["all"], &library), 4000);
    }
}

#[test]
fn static_programs_are_as_exact() {
    for linked in [&["-static-pie", "-fPIE", "-g"][..], &["-static", "-s"]] {
        let options = [&["-std=c++17", "-pthread", "-O1"], linked].concat();
        let program = recorder::compile_linked("graph_truth", "cc", recorder::GRAPH_TRUTH, "c++", &options);
        assert_exact_as(Recorder::Linked, &recorder::crash_linked(&program, &["all"]), 4000);
    }
}

/// A list that a C program holds, and the objects of the same kind that it dropped.
fn assert_clients_exact(recorder: Recorder, crash: &RecordedCrash) {
    const LIVE: u32 = 1;
    const DROPPED: u32 = 2;
    let found = analyse(crash);
    let labelled = |label: u32| -> BTreeSet<u64> {
        crash.records.iter().filter(|record| record.label == label).map(|record| record.address).collect()
    };
    let seen: BTreeSet<u64> = crash.records.iter().map(|record| record.address).collect();
    let mut leaked = found.addresses(&found.graph.marks.leaked);
    if recorder == Recorder::Linked {
        leaked.retain(|address| seen.contains(address));
    }
    assert_eq!((labelled(LIVE).len(), labelled(DROPPED).len()), (1000, 2000));
    assert!(leaked == labelled(DROPPED), "{:?}", shown(leaked.symmetric_difference(&labelled(DROPPED)).copied()));
    assert!(labelled(LIVE).is_subset(&found.addresses(&found.graph.marks.anchored)));
}

#[test]
fn one_class_leaks_and_lives_in_known_numbers_with_either_libc() {
    let options = ["-O1", "-pthread", "-w"];
    let with = |more: &[&'static str]| [&options[..], more].concat();
    for more in [&["-g"][..], &["-s"], &["-s", "-no-pie"]] {
        let program = recorder::compile("heap_truth", "c", recorder::HEAP_TRUTH, "cc", &with(more));
        assert_clients_exact(Recorder::Preloaded, &recorded(&program, "leak"));
    }
    for more in [&["-static", "-g"][..], &["-static", "-s"]] {
        let program = recorder::compile_linked("heap_truth", "c", recorder::HEAP_TRUTH, "musl-gcc", &with(more));
        assert_clients_exact(Recorder::Linked, &recorder::crash_linked(&program, &["leak"]));
    }
    for more in [&["-g"][..], &["-s"]] {
        let program =
            recorder::compile("heap_truth", "c", recorder::HEAP_TRUTH, "cc", &with(&[native::M32, more].concat()));
        let library = recorder::library("cc", native::M32);
        assert_clients_exact(Recorder::Preloaded, &recorder::crash_preloaded(&program, &["leak"], &library));
    }
}

#[test]
fn a_vector_that_only_grows_is_no_leak() {
    let crash = recorded(&program("c++", &["-g", "-O1"]), "grow");
    assert_exact(&crash, 0);
    assert!(crash.records.len() > 20_000);
    assert_eq!(analyse(&crash).graph.marks.leaked.count(), 0);
}

#[test]
fn pointers_into_the_middle_that_prove_nothing_leave_it_open() {
    for options in [&["-g", "-O1"][..], native::M32] {
        let crash = recorder::crash_preloaded(
            &program("c++", &[&["-O1"], options].concat()),
            &["stale-interiors"],
            &recorder::library("cc", options),
        );
        let found = analyse(&crash);
        let interior = found.addresses(&found.graph.marks.interior);
        let doubtful = crash.records.iter().filter(|record| record.label == DOUBTFUL);
        let doubtful: BTreeSet<u64> = doubtful.map(|record| record.address).collect();
        assert_eq!(doubtful.len(), 27);
        assert_eq!(interior, doubtful);
    }
}

#[test]
fn what_ended_threads_forgot_on_their_stacks_is_never_anchored_by_it() {
    let crash = recorded(&program("c++", &["-g", "-O1"]), "cached-stacks");
    let found = analyse(&crash);
    let sure = found.addresses(&found.graph.marks.anchored);
    let leaked = found.addresses(&found.graph.marks.leaked);
    for record in &crash.records {
        match record.label {
            DROPPED => assert!(!sure.contains(&record.address), "{:#x} is anchored", record.address),
            _ => assert!(!leaked.contains(&record.address), "{:#x} is leaked", record.address),
        }
    }
    assert!(leaked.len() > 500, "{} leaked", leaked.len());
}

#[test]
fn rust_objects_are_found_leaked_or_held() {
    for symbols in ["-g", "-Cstrip=symbols"] {
        let options = ["--edition=2021", "-Copt-level=1", "-Awarnings", symbols];
        let build = Build { compiler: "rustc", options: &options };
        let program = native::compile("graph_truth_rust", "rs", recorder::GRAPH_TRUTH_RUST, &build);
        assert_exact(&recorder::crash_preloaded(&program, &[], &recorder::library("cc", &[])), 300);
    }
}

/// The rounding of jemalloc is another one, by which proofs have to go.
#[test]
fn rust_objects_are_as_exact_with_jemalloc() {
    let options = ["--edition=2021", "-Copt-level=1", "-Awarnings"];
    let build = Build { compiler: "rustc", options: &options };
    let program = native::compile("graph_truth_rust", "rs", recorder::GRAPH_TRUTH_RUST, &build);
    // Both are preloaded, the recorder first.
    let recorder = recorder::library("cc", &["-DRECORDER_NEXT", "-ldl"]);
    let both = format!("{}:libjemalloc.so.2", recorder.display());
    let crash = recorder::crash_preloaded(&program, &[], both.as_ref());
    assert_eq!(analyse(&crash).heap.allocators[0].name, "jemalloc");
    assert_exact(&crash, 300);
}

#[test]
fn what_was_let_go_heads_its_cluster() {
    let crash = recorded(&program("c++", &["-g", "-O1"]), "all");
    let found = analyse(&crash);
    let clusters = &found.graph.clusters;
    // Three rings of nodes and one of hooks; and containers whose parts point back at them.
    let cycles = shown(clusters.cycles().iter().map(|id| found.heap.table.address(id).0));
    assert!(clusters.cycles().count() >= 4, "{cycles:?}");
    let mut counted = 0;
    for id in found.graph.marks.leaked.iter() {
        let head = clusters.head(id).expect("a leaked allocation has a head");
        assert!(clusters.is_head(head) && clusters.head(head) == Some(head));
        counted += 1;
    }
    assert_eq!(counted, found.graph.marks.leaked.count());
}
