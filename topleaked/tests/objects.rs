//! What allocations are found to be, measured against programs that noted it.

use std::collections::BTreeMap;

use testkit::native::M32;
use testkit::recorder::{self, RecordedCrash};
use topleaked::graph::Reachability;
use topleaked::image::{Image, OpenOptions};
use topleaked::insight::filter::{Filter, Prepared};
use topleaked::session::Session;
use topleaked::task::Task;

/// What the truth program notes with an allocation that it lets go, on top of its kind.
const DROPPED: u32 = 0x100;

/// The kinds of the truth program, and what the names of such allocations begin with.
const KINDS: [(u32, &str); 20] = [
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
