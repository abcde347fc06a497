//! Types that spread along pointers, held to programs that allocate known numbers of each.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU32;

use testkit::native::{Build, M32, compile, crash};
use topleaked::heap::walk_heaps;
use topleaked::image::{Image, OpenOptions};
use topleaked::objects::Evidence;
use topleaked::objects::spread::{SpreadGround, spread};
use topleaked::session::Session;
use topleaked::task::Task;
use topleaked::types::{Confidence, DebugInfo, Types};

const C: &str = include_str!("programs/spread.c");
const CPP: &str = include_str!("programs/spread.cpp");
const RUST: &str = include_str!("programs/spread.rs");

/// By name and whether that is sure, how many allocations.
type Found = BTreeMap<(String, bool), u64>;

fn found(source: &str, extension: &str, build: &Build<'_>) -> Found {
    let program = compile("spread", extension, source, build);
    let crash = crash(&program, &[]);
    let task = Task::default();
    let image = Image::open(&crash.core, &OpenOptions::default(), &task).unwrap();
    let heap = walk_heaps(&image, &task).unwrap();
    let mut all = Vec::new();
    for threads in [1, 3] {
        let task = Task { threads: threads.try_into().unwrap(), ..Task::default() };
        let mut types = Types::new(DebugInfo::of_image(&image));
        let variables = types.variables(&task);
        let mut column: Vec<AtomicU32> = Vec::new();
        column.resize_with(heap.table.len(), AtomicU32::default);
        let ground =
            SpreadGround { space: image.space(), table: &heap.table, variables: &variables, seeds: &[], guarded: 0 };
        let answer = spread(&ground, &mut types, &column, &task);
        assert!(!answer.truncated);
        let mut found = Found::new();
        for number in column.into_iter().map(AtomicU32::into_inner).filter(|number| *number > 0) {
            let ty = &answer.types[number as usize - 1];
            *found.entry((ty.name.clone(), ty.confidence >= Confidence::Likely)).or_default() += 1;
        }
        all.push(found);
    }
    assert_eq!(all[0], all[1], "the answer depends on the number of threads");
    all.pop().unwrap()
}

fn assert_counts(found: &Found, expected: &[(&str, u64)]) {
    for (name, count) in expected {
        let sure = found.get(&((*name).to_owned(), true)).copied().unwrap_or(0);
        assert_eq!(sure, *count, "{name}: {found:#?}");
    }
}

#[test]
fn structs_of_c_are_named() {
    for options in [&["-g", "-O1"] as &[&str], &["-g", "-gdwarf-4"], &[&["-g"], M32].concat()] {
        let found = found(C, "c", &Build { compiler: "cc", options });
        assert_counts(
            &found,
            &[
                ("item", 5000 + 1 + 600 + 70),
                ("stream", 70),
                ("owner", 40),
                ("leaf", 1023),
                ("entry *[]", 1),
                ("entry", 3000),
                ("points", 1),
                ("point[]", 1),
                ("packet", 20),
                ("slot", 1000),
            ],
        );
        // Numbers and bytes fit anywhere; a union tells not which; of a type that is only declared the size is not known.
        let doubtful = |name: &str| found.get(&(name.to_owned(), false)).copied().unwrap_or(0);
        assert_eq!((doubtful("int[]"), doubtful("char[]"), doubtful("hidden")), (40, 3000, 1), "{found:#?}");
        assert_eq!((doubtful("circle"), doubtful("square")), (4, 4), "{found:#?}");
        // One allocation that two variables name differently has one of the names, and no certainty.
        assert_eq!(doubtful("twin_a") + doubtful("twin_b"), 1, "{found:#?}");
        assert!(!found.keys().any(|(name, sure)| *sure && name.starts_with("twin")), "{found:#?}");
        assert!(!found.keys().any(|(name, _)| name == "void"), "{found:#?}");
    }
}

#[test]
fn elements_of_containers_are_named() {
    let all: &[(&[&str], &str)] = &[
        (&["-std=c++17", "-g"], "c++"),
        (&["-std=c++17", "-g", "-O2"], "c++"),
        (&["-std=c++17", "-g", "-fstandalone-debug"], "clang++"),
    ];
    for (options, compiler) in all {
        let found = found(CPP, "cpp", &Build { compiler, options });
        let count = |part: &str| -> u64 {
            found.iter().filter(|((name, sure), _)| *sure && name.contains(part)).map(|(_, count)| count).sum()
        };
        assert_counts(
            &found,
            &[
                ("A", 500 + 63 * 3),
                ("A *[]", 1),
                ("B[]", 1),
                ("B", 40),
                ("C", 400),
                ("D", 300),
                ("E", 600),
                ("F", 150),
                ("G", 120),
                ("H", 1000),
                ("I", 1),
                ("J", 1),
                ("K", 1),
                ("Node", 63),
            ],
        );
        assert_eq!(count("_Rb_tree_node<"), 400 + 300 + 90, "{found:#?}");
        assert_eq!(count("_Hash_node<"), 600 + 1, "{found:#?}");
        assert_eq!(count("_List_node<"), 150, "{found:#?}");
        assert_eq!(count("_Fwd_list_node<"), 120, "{found:#?}");
    }
}

#[test]
fn what_rust_holds_is_named() {
    let options = &["--edition=2021", "-g", "-Awarnings", "--crate-name=spread"];
    let found = found(RUST, "rs", &Build { compiler: "rustc", options });
    let count = |part: &str| -> u64 {
        found.iter().filter(|((name, sure), _)| *sure && name.contains(part)).map(|(_, count)| count).sum()
    };
    assert_counts(
        &found,
        &[
            ("spread::World", 1),
            ("spread::A", 500 + 300),
            ("spread::B", 20),
            ("spread::B[]", 1),
            ("spread::C", 25),
            ("spread::D", 1),
            ("spread::E", 700),
            ("spread::F", 128),
            ("spread::Tree", 254),
        ],
    );
    assert_eq!(count("ArcInner<spread::C"), 1, "{found:#?}");
    assert_eq!(count("Rc"), 40 + 1, "{found:#?}");
    assert!(count("LeafNode<u32") >= 300 / 11, "{found:#?}");
}

#[test]
fn types_spread_from_objects_that_nothing_reaches() {
    // Only their vtables tell the jobs; only the jobs' members tell what they lead to.
    let source = r#"
        #include <cstdlib>
        struct Part { long a[5]; Part *next; };
        struct Job { virtual ~Job() {} long id = 0; Part *parts = nullptr; void *opaque = nullptr; };
        struct Large : Job { long more[12] = {}; Part *own = nullptr; };
        static void *volatile sink;
        int main() {
            for (int i = 0; i < 900; i++) {
                Job *job = i % 3 ? new Job() : new Large();
                for (int j = 0; j < 4; j++) job->parts = new Part{{}, job->parts};
                if (i % 3 == 0) static_cast<Large *>(job)->own = new Part();
                job->opaque = calloc(1, 200);
                sink = job;
            }
            sink = nullptr;
            abort();
        }"#;
    let crash = crash(&compile("spread-seeds", "cpp", source, &Build { compiler: "c++", options: &["-g"] }), &[]);
    let (options, task) = (OpenOptions::default(), Task::default());
    let image = Image::open(&crash.core, &options, &task).unwrap();
    let session = Session::new(&image, &options, &task);
    let (heap, objects) = (session.heap().unwrap(), session.objects().unwrap());
    let mut counts: BTreeMap<(&str, Evidence), u64> = BTreeMap::new();
    for id in heap.table.ids().filter_map(|id| objects.of(id)) {
        let identity = objects.identity(id);
        *counts.entry((&identity.name, identity.evidence)).or_default() += 1;
    }
    let part = counts.get(&("Part", Evidence::TypedPointer)).copied();
    assert_eq!(part, Some(900 * 4 + 300), "{counts:#?}");
    let of = |name: &str| -> u64 { counts.iter().filter(|((own, _), _)| *own == name).map(|(_, count)| count).sum() };
    assert_eq!((of("Job"), of("Large"), of("void")), (600, 300, 0), "{counts:#?}");
}
