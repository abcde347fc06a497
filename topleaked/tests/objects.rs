//! What allocations are found to be, measured against programs that noted it.

use std::collections::BTreeMap;

use proptest::prelude::*;
use testkit::elf_core::{CoreBuilder, R, Shape, W};
use testkit::heap::{Piece, Words};
use testkit::native::{self, Build, M32, compile};
use testkit::recorder::{self, RecordedCrash};
use topleaked::addr::Addr;
use topleaked::graph::Reachability;
use topleaked::image::{Image, OpenOptions};
use topleaked::insight::filter::{Filter, Prepared};
use topleaked::report::{Explain, FilterTypes, Leaks, MemberFilterError};
use topleaked::session::Session;
use topleaked::task::Task;

/// What the truth program notes with an allocation that it lets go, on top of its kind.
const DROPPED: u32 = 0x100;

/// The kinds of the truth program, and what the names of such allocations begin with.
const KINDS: [(u32, &str); 24] = [
    (1, "std::list node, "),
    (2, "std::map or std::set node, "),
    (3, "std::unordered_map or std::unordered_set node, "),
    (4, "std::unordered_map or std::unordered_set buckets"),
    (5, "std::deque map"),
    (6, "std::deque block"),
    (7, "std::vector body"),
    (8, "std::string body"),
    (9, "(anonymous namespace)::Plain"),
    (10, "(anonymous namespace)::Multiple"),
    (11, "(anonymous namespace)::Diamond"),
    (12, "(anonymous namespace)::Plain[]"),
    (13, "(anonymous namespace)::Plain at +"),
    (14, "(anonymous namespace)::Session by std::make_shared"),
    (15, "std::shared_ptr control block for (anonymous namespace)::Session"),
    (16, "(anonymous namespace)::Session"),
    (17, "C object with "),
    (18, "text"),
    (19, "(anonymous namespace)::Box<int>"),
    (20, "std::list node of (anonymous namespace)::Plain"),
    (21, "std::wstring body"),
    (22, "std::u16string body"),
    (23, "wide text"),
    (24, "text behind its length"),
];

fn is_named(name: &str, expected: &str) -> bool {
    let open = expected.ends_with([' ', '+']) || expected == "text";
    if open { name.starts_with(expected) } else { name == expected }
}

fn truth(compiler: &str, options: &[&str], library: &[&str]) -> RecordedCrash {
    let mut all = vec!["-std=c++17", "-pthread"];
    all.extend(options);
    let program = recorder::compile("types_truth", "cc", recorder::TYPES_TRUTH, compiler, &all);
    recorder::crash_preloaded(&program, &[], &recorder::library("cc", library))
}

/// Each allocation has the name of its kind, and no other has it; what was dropped is leaked.
fn assert_exact(crash: &RecordedCrash) {
    let (options, task) = (OpenOptions::default(), Task::default());
    let image = Image::open(&crash.crash.core, &options, &task).unwrap();
    let session = Session::new(&image, &options, &task);
    let (heap, graph, objects) = (session.heap().unwrap(), session.graph().unwrap(), session.objects().unwrap());
    let records: BTreeMap<u64, u32> = crash.records.iter().map(|record| (record.address, record.label)).collect();
    let mut faults = Vec::new();
    let mut seen: BTreeMap<(u32, bool), u32> = BTreeMap::new();
    for id in heap.table.ids().filter(|id| heap.table.state(*id).is_used()) {
        let address = heap.table.address(id);
        let label = records.get(&address.0).copied().unwrap_or(0);
        let (kind, dropped) = (label & !DROPPED, label & DROPPED != 0);
        let name = objects.of(id).map_or("", |identity| objects.identity(identity).name.as_str());
        let expected = KINDS.iter().find(|(number, _)| *number == kind).map(|(_, name)| *name);
        let size = heap.table.usable_size(id);
        match expected {
            Some(expected) if is_named(name, expected) => *seen.entry((kind, dropped)).or_default() += 1,
            Some(expected) => faults.push(format!("{address} ({size}): {expected:?} is called {name:?}")),
            // What nobody labelled is none of the kinds; the program's own owners hold vectors of pointers.
            None => {
                let is_own = name == "std::vector body" || name.starts_with("text");
                let claimed = KINDS.iter().find(|(_, known)| is_named(name, known)).filter(|_| !is_own);
                faults.extend(claimed.map(|_| format!("{address} ({size}): nothing is called {name:?}")));
            }
        }
        if dropped && graph.marks.reachability(id) != Some(Reachability::Leaked) {
            faults.push(format!("{address} ({size}): {name:?} was dropped and is not leaked"));
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults[..faults.len().min(25)].join("\n"));
    for (kind, name) in KINDS {
        let (held, dropped) = (seen.get(&(kind, false)), seen.get(&(kind, true)));
        assert!(held.is_some() && held == dropped, "{name}: {held:?} held, {dropped:?} dropped");
    }
}

#[test]
fn every_kind_is_called_what_it_is() {
    assert_exact(&truth("c++", &["-g", "-O1"], &[]));
}

#[test]
fn optimised_and_stripped_programs_are_as_exact() {
    assert_exact(&truth("c++", &["-O2", "-s"], &[]));
}

#[test]
fn programs_of_llvm_are_as_exact() {
    assert_exact(&truth("clang++", &["-O1", "-g", "-stdlib=libc++"], &[]));
    assert_exact(&truth("clang++", &["-O2", "-s", "-stdlib=libc++"], &[]));
}

#[test]
fn programs_of_32_bits_are_as_exact() {
    let options: Vec<&str> = M32.iter().copied().chain(["-g", "-O1"]).collect();
    assert_exact(&truth("c++", &options, M32));
}

/// A box of a trait object begins with nothing that tells: the pointers to it have the vtable beside them.
#[test]
fn boxes_of_trait_objects_are_known_by_the_pointers_to_them() {
    let build = Build { compiler: "rustc", options: &["--edition=2021", "-Copt-level=1", "-Awarnings"] };
    let program = compile("graph_truth_rust", "rs", recorder::GRAPH_TRUTH_RUST, &build);
    let crash = recorder::crash_preloaded(&program, &[], &recorder::library("cc", &[]));
    let (options, task) = (OpenOptions::default(), Task::default());
    let image = Image::open(&crash.crash.core, &options, &task).unwrap();
    let session = Session::new(&image, &options, &task);
    let (heap, graph, objects) = (session.heap().unwrap(), session.graph().unwrap(), session.objects().unwrap());
    for class in ["Circle", "Square"] {
        let mut counted = BTreeMap::new();
        for id in heap.table.ids() {
            let name = objects.of(id).map_or("", |identity| objects.identity(identity).name.as_str());
            if name.ends_with(class) {
                *counted.entry(graph.marks.reachability(id).map(Reachability::name)).or_insert(0) += 1;
            }
        }
        // Thirty in each of three collections, of which two were let go; to the one that was alone nothing points.
        assert_eq!(counted, BTreeMap::from([(Some("anchored"), 30), (Some("leaked"), 60)]), "{class}");
    }
}

#[test]
fn filters_mean_what_they_say() {
    let crash = truth("c++", &["-g", "-O1"], &[]);
    let (options, task) = (OpenOptions::default(), Task::default());
    let image = Image::open(&crash.crash.core, &options, &task).unwrap();
    let session = Session::new(&image, &options, &task);
    let heap = session.heap().unwrap();
    let counted = |text: &str| {
        let filter: Filter = text.parse().unwrap();
        let prepared = Prepared::new(&filter, session.tables().unwrap(), None);
        heap.table.ids().filter(|id| heap.table.state(*id).is_used() && prepared.selects(*id)).count()
    };
    let labelled = |label: u32| crash.records.iter().filter(|record| record.label == label).count();
    assert_eq!(counted("leaked and type ~ *::Multiple"), labelled(10 | DROPPED));
    assert_eq!(counted("live and type == \"(anonymous namespace)::Multiple\""), labelled(10));
    assert_eq!(counted("type ~ std::list*"), labelled(1) + labelled(1 | DROPPED) + labelled(20) * 2);
    let all = counted("leaked or not leaked");
    assert_eq!(counted("size >= 100") + counted("size < 100"), all);
    assert_eq!(counted("type ~ *") + counted("type !~ *"), all);
    let first = crash.records[0].address;
    assert_eq!(counted(&format!("address == {first:#x}")), 1);
    assert_eq!(counted(&format!("address in 0x0-{first:#x}")), counted(&format!("address <= {first:#x}")));
    assert_eq!(counted("module ~ types_truth* and type ~ *::Diamond"), 4);
    assert_eq!(counted("module == libfoo.so"), 0);
    // Nothing knows members here: neither a condition nor its negation holds.
    assert_eq!(counted("state == 1") + counted("not state == 1"), 0);
    assert_eq!(counted("state == 1 or leaked"), counted("leaked"));
}

#[test]
fn a_filter_that_names_a_type_may_ask_for_its_members() {
    for compiled in [&["-g", "-O1"][..], &["-O1", "-s"]] {
        let crash = truth("c++", compiled, &[]);
        let (options, task) = (OpenOptions::default(), Task::default());
        let image = Image::open(&crash.crash.core, &options, &task).unwrap();
        let session = Session::new(&image, &options, &task);
        let heap = session.heap().unwrap();
        let count = |text: &str| -> Result<usize, MemberFilterError> {
            let filter: Filter = text.parse().unwrap();
            let types = FilterTypes::find(&session, &filter)?;
            let conditions = types.conditions(&session, &filter)?;
            let prepared = Prepared::new(&filter, session.tables()?, Some(&conditions));
            Ok(heap.table.ids().filter(|id| heap.table.state(*id).is_used() && prepared.selects(*id)).count())
        };
        let counted = |text: &str| count(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let plain = crash.records.iter().filter(|record| record.label & !DROPPED == 9).count();
        assert_eq!(plain, 2);
        // Without debug information members go by their offsets.
        let (number, left) = if compiled.contains(&"-s") { ("+0x8", "+0x8") } else { ("number", "left") };
        let is_plain = "type == \"(anonymous namespace)::Plain\"";
        assert_eq!(counted(&format!("{is_plain} and {number} == 7")), plain);
        assert_eq!(counted(&format!("{is_plain} and {number} == 8")), 0);
        assert_eq!(counted(&format!("{is_plain} and {number} == 7 and leaked")), plain / 2);
        assert_eq!(counted(&format!("{is_plain} and not {number} == 7")), 0);
        // Each type that fits is asked for the member; those that have none fulfil nothing.
        let several = format!("type ~ *::Multiple or type ~ *::Plain and {number} == 7");
        assert_eq!(counted(&several), counted("type ~ *::Multiple") + plain);
        if number == "number" {
            assert_eq!(counted("type ~ *::* and number == 7"), plain);
            assert_eq!(counted("type ~ *::Multiple and left == 1"), counted("type ~ *::Multiple"));
            let error = count("type ~ *::Multiple and right == 1 and nothing == 2").unwrap_err().to_string();
            assert!(error.starts_with("there is no member `nothing`; there are: "), "{error}");
        }
        let error = count(&format!("leaked and {left} == 1")).unwrap_err().to_string();
        assert!(error.contains("needs the type whose member it is"), "{error}");
        let error = count(&format!("type == Nobody and {left} == 1")).unwrap_err().to_string();
        assert!(error.starts_with("no object in the heap is of a type that the filter names"), "{error}");
    }
}

/// A heap of `sizes`, with words written over it: the place in words, and either a number or a number of words from the
/// heap's start, as an address.
fn written(words: Words, sizes: &[u32], writes: &[(usize, u64, bool)]) -> Image {
    let pieces: Vec<Piece> = sizes.iter().map(|size| Piece::Used(*size)).collect();
    let mut heap = testkit::heap::write(words, &pieces);
    let width = words.width as usize;
    for (place, number, is_address) in writes {
        let word = if *is_address { heap.heap_start + number * words.width } else { *number };
        let bytes = if words.big { (word << (64 - 8 * width)).to_be_bytes() } else { word.to_le_bytes() };
        let place = place * width % (heap.heap.len() - width);
        heap.heap[place..place + width].copy_from_slice(&bytes[..width]);
    }
    let core = CoreBuilder::new(Shape { wide: words.width == 8, big: words.big }, 62)
        .memory(heap.heap_start, R | W, &heap.heap)
        .memory(heap.data_start, R | W, &heap.data)
        .files(&[(0x1000, 0x2000, 0, b"/lib/libstdc++.so.6"), (0x2000, 0x3000, 0, b"/lib/libc++.so.1")])
        .build();
    Image::from_bytes(core, &OpenOptions::default()).unwrap()
}

fn names(image: &Image) -> Vec<String> {
    let (options, task) = (OpenOptions::default(), Task::default());
    let session = Session::new(image, &options, &task);
    let (heap, objects) = (session.heap().unwrap(), session.objects().unwrap());
    let used = heap.table.ids().filter(|id| heap.table.state(*id).is_used());
    used.map(|id| objects.of(id).map_or(String::new(), |identity| objects.identity(identity).name.clone())).collect()
}

/// An owner, and one node that it leads to.
#[test]
fn an_owner_that_does_not_know_the_number_of_its_nodes_owns_none() {
    let words = Words { width: 8, big: false };
    let sizes = [56, 24, 24];
    let heap = testkit::heap::write(words, &sizes.map(Piece::Used));
    let place = |at: usize| (heap.written[at].address - heap.heap_start) / 8;
    let ring = |count: u64| {
        let (list, first, second) = (place(0) + 2, place(1), place(2));
        let mut writes = Vec::new();
        for (at, next, previous) in [(list, first, second), (first, second, list), (second, list, first)] {
            writes.push((at as usize, next, true));
            writes.push((at as usize + 1, previous, true));
        }
        writes.push((list as usize + 2, count, false));
        names(&written(words, &sizes, &writes))
    };
    let node = "std::list node, 24 bytes";
    assert_eq!(ring(2), ["", node, node]);
    for wrong in [1, 3, 4, 1 << 39] {
        assert_eq!(ring(wrong), ["", "", ""], "{wrong} nodes");
    }
}

proptest! {
    #[test]
    fn any_words_are_read_to_an_end(
        wide in any::<bool>(),
        big in any::<bool>(),
        sizes in prop::collection::vec(0_u32..200, 1..60),
        writes in prop::collection::vec((0_usize..4000, 0_u64..1200, prop::bool::weighted(0.7)), 0..600),
    ) {
        let words = Words { width: if wide { 8 } else { 4 }, big };
        names(&written(words, &sizes, &writes));
    }
}

/// Rust objects alone and behind counts: each is called what it is, whatever the chunk's size leaves open.
#[test]
fn counted_rust_objects_are_told_from_those_alone() {
    let build = Build {
        compiler: "rustc",
        options: &["--edition=2021", "--crate-name=counted", "-Copt-level=1", "-Awarnings"],
    };
    let program = compile("counted", "rs", include_str!("programs/counted.rs"), &build);
    let crash = native::crash(&program, &[]);
    let (options, task) = (OpenOptions::default(), Task::default());
    let image = Image::open(&crash.core, &options, &task).unwrap();
    let session = Session::new(&image, &options, &task);
    let (heap, objects) = (session.heap().unwrap(), session.objects().unwrap());
    let objects_told = crash.stdout.lines().filter_map(|line| line.rsplit_once(" 0x"));
    let mut count = 0;
    for (expected, address) in objects_told {
        let address = u64::from_str_radix(address, 16).unwrap();
        let id = heap.table.find_start(Addr(address)).unwrap_or_else(|| panic!("{expected} at {address:#x}"));
        let name = objects.of(id).map_or("", |identity| objects.identity(identity).name.as_str());
        assert_eq!(name, expected, "{address:#x}, {} bytes", heap.table.usable_size(id));
        count += 1;
    }
    assert_eq!(count, 4 * 20 * 3);
    // Memory that the program never wrote to, as the runtime's stacks for signals, is left out of a dump and not missed.
    session.graph().unwrap();
    assert_eq!(session.diagnostics(), []);
}

#[test]
fn explain_uses_the_names_that_types_uses() {
    let crash = truth("c++", &["-O1", "-s"], &[]);
    let (options, task) = (OpenOptions::default(), Task::default());
    let image = Image::open(&crash.crash.core, &options, &task).unwrap();
    let session = Session::new(&image, &options, &task);
    for (label, name) in
        [(1, "std::list node, "), (8, "std::string body"), (4, "std::unordered_map or std::unordered_set buckets")]
    {
        let address = crash.records.iter().find(|record| record.label == label).unwrap().address;
        let explained = serde_json::to_value(Explain::new(&session, Addr(address)).unwrap()).unwrap();
        let told = explained["allocation"]["type"].as_str().unwrap_or_default();
        assert!(told.starts_with(name), "{name}: {explained:#}");
    }
}

/// The owner of a container is what was let go, not the node that happens to lie lowest.
#[test]
fn leaked_containers_are_headed_by_their_owners() {
    let crash = truth("c++", &["-O1", "-s"], &[]);
    let (options, task) = (OpenOptions::default(), Task::default());
    let image = Image::open(&crash.crash.core, &options, &task).unwrap();
    let session = Session::new(&image, &options, &task);
    let leaks = serde_json::to_value(Leaks::new(&session, None).unwrap()).unwrap();
    for row in leaks["cluster_types"].as_array().unwrap() {
        let name = row["type"].as_str().unwrap_or_default();
        assert!(!name.contains(" node"), "{row:#}");
    }
}
