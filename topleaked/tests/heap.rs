//! The heap walk measured against programs that recorded what they held.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use testkit::native::{self, Build, Program};
use testkit::recorder::{self, Record, RecordedCrash};
use topleaked::addr::Addr;
use topleaked::heap::{AllocatorId, ArenaKind, DamageKind, Heap, State, walk_heaps};
use topleaked::image::{Image, OpenOptions};
use topleaked::report::{Answer, HeapAnswer, Look};
use topleaked::session::Session;
use topleaked::task::Task;

fn walk(core: &Path) -> (Image, Heap) {
    let task = Task::default();
    let image = Image::open(core, &OpenOptions::default(), &task).unwrap();
    let heap = walk_heaps(&image, &task).unwrap();
    (image, heap)
}

fn program(options: &[&str]) -> Program {
    let mut all = vec!["-O1", "-pthread", "-Wno-use-after-free"];
    all.extend(options);
    recorder::compile("heap_truth", "c", recorder::HEAP_TRUTH, "cc", &all)
}

fn linked(compiler: &str, options: &[&str]) -> Program {
    let mut all = vec!["-O1", "-pthread", "-Wno-use-after-free"];
    all.extend(options);
    recorder::compile_linked("heap_truth", "c", recorder::HEAP_TRUTH, compiler, &all)
}

/// What `-m32` needs beside it where only the versioned multilib package is installed.
const M32: &[&str] = &["-m32", "-idirafter", "/usr/include/x86_64-linux-gnu"];

/// Runs the program with one argument, preloaded for 64 bits.
fn recorded(program: &Program, state: &str) -> RecordedCrash {
    recorder::crash_preloaded(program, &[state], &recorder::library("cc", &[]))
}

/// What differs between the walk and the record: allocations the program held that are not used in the table with
/// their usable size, and used ones that it did not hold.
fn differences(heap: &Heap, records: &[Record]) -> (BTreeSet<u64>, BTreeSet<u64>) {
    let held: BTreeMap<u64, u64> = records.iter().map(|record| (record.address, record.usable)).collect();
    let used: BTreeMap<u64, u64> = heap
        .table
        .iter()
        .filter(|allocation| allocation.state.is_used())
        .map(|allocation| (allocation.address.0, allocation.usable_size))
        .collect();
    let missed = held.iter().filter(|(address, size)| used.get(address) != Some(size)).map(|(address, _)| *address);
    let invented = used.keys().filter(|address| !held.contains_key(address)).copied();
    (missed.collect(), invented.collect())
}

fn assert_same(heap: &Heap, records: &[Record]) {
    let (missed, invented) = differences(heap, records);
    let some = |addresses: &BTreeSet<u64>| addresses.iter().take(8).map(|at| Addr(*at)).collect::<Vec<_>>();
    assert!(
        missed.is_empty() && invented.is_empty(),
        "of {} missed {} {:?}, the first being {:?}, invented {} {:?}",
        records.len(),
        missed.len(),
        some(&missed),
        missed.first().map(|at| (
            records.iter().find(|record| record.address == *at),
            heap.table.find(Addr(*at)).map(|(id, _)| heap.table.get(id))
        )),
        invented.len(),
        some(&invented)
    );
}

/// The table is exact, and accounts for all of the heap.
fn assert_exact(heap: &Heap, records: &[Record]) {
    assert_same(heap, records);
    assert_eq!(heap.diagnostics, []);
    for allocator in &heap.allocators {
        assert_eq!(allocator.damage, []);
        for arena in &allocator.arenas {
            assert_eq!(arena.tally.bytes(), arena.bytes(), "{arena:?}");
            if let Some(system) = arena.system_bytes {
                assert_eq!(arena.bytes(), system, "the arena's memory is what it says it has: {arena:?}");
            }
        }
        assert_eq!(allocator.tally().used().count, records.len() as u64);
    }
    for record in records {
        let addr = Addr(record.address);
        let (id, offset) = heap.table.find(addr).unwrap();
        assert_eq!((heap.table.address(id), offset), (addr, 0));
    }
}

#[test]
fn a_class_that_leaks_and_lives_is_walked_exactly() {
    for options in [&["-g"][..], &["-s"], &["-s", "-no-pie"]] {
        let run = recorded(&program(options), "leak");
        assert_eq!(run.records.len(), 3000);
        let (image, heap) = walk(&run.crash.core);
        assert_exact(&heap, &run.records);
        let [allocator] = heap.allocators.as_slice() else { panic!("{:?}", heap.allocators) };
        assert_eq!((allocator.name, allocator.id), ("glibc", AllocatorId(0)));
        let module = image.module(allocator.module.unwrap()).unwrap();
        assert!(module.name().starts_with(b"libc"), "{:?}", String::from_utf8_lossy(module.name()));
    }
}

#[test]
fn a_churned_heap_is_walked_exactly_and_alike_on_any_number_of_threads() {
    let run = recorded(&program(&["-s"]), "churn");
    let (image, heap) = walk(&run.crash.core);
    assert_exact(&heap, &run.records);
    let one = Task { threads: std::num::NonZeroUsize::MIN, ..Task::default() };
    let alone = walk_heaps(&image, &one).unwrap();
    assert!(heap.table.iter().eq(alone.table.iter()));
    let tally = heap.allocators[0].tally();
    assert!(tally.state(State::Free).count > 100 && tally.state(State::ThreadCached).count > 100, "{tally:?}");
}

#[test]
fn arenas_of_threads_are_walked_exactly() {
    let run = recorded(&program(&["-s"]), "threads");
    let (_, heap) = walk(&run.crash.core);
    assert_exact(&heap, &run.records);
    let allocator = &heap.allocators[0];
    assert_eq!(allocator.arenas.iter().filter(|arena| arena.kind == ArenaKind::Thread).count(), 6);
    assert!(allocator.arenas.iter().any(|arena| arena.spans.len() == 2), "one arena has two heaps");
    assert_eq!(allocator.thread_caches, 7);
}

#[test]
fn chunks_in_caches_and_fastbins_are_free() {
    let run = recorded(&program(&["-s"]), "caches");
    let (_, heap) = walk(&run.crash.core);
    assert_exact(&heap, &run.records);
    assert_eq!(heap.allocators[0].tally().state(State::ThreadCached).count, 64 * 7);
    let run = recorded(&program(&["-s"]), "fastbins");
    let (_, heap) = walk(&run.crash.core);
    assert_exact(&heap, &run.records);
    // Of each of seven sizes 320 of 400 were freed: seven went to the cache, and of sizes up to 128 bytes the rest to
    // fastbins; some small requests share a chunk size.
    assert!(heap.allocators[0].tally().state(State::FastFree).count > 1500, "{:?}", heap.allocators[0].tally());
}

#[test]
fn what_threads_gave_back_last_is_in_their_caches() {
    for (options, library) in [(&["-s"][..], recorder::library("cc", &[])), (M32, recorder::library("cc", M32))] {
        let run = recorder::crash_preloaded(&program(options), &["thread-caches"], &library);
        let (_, heap) = walk(&run.crash.core);
        assert_exact(&heap, &run.records);
        let cached = run.crash.stdout.lines().filter_map(|line| line.strip_prefix("cached ")?.split_once(" 0x"));
        let cached: Vec<(u64, u64)> =
            cached.map(|(size, address)| (size.parse().unwrap(), u64::from_str_radix(address, 16).unwrap())).collect();
        assert_eq!(cached.len(), 4 * 5 * 6);
        for (size, address) in cached {
            let (id, offset) = heap.table.find(Addr(address)).unwrap();
            assert_eq!((heap.table.state(id), offset), (State::ThreadCached, 0), "{address:#x}");
            assert!((size..size + 16).contains(&heap.table.usable_size(id)), "{address:#x}");
        }
        // The main thread has a cache, too.
        assert_eq!(heap.allocators[0].thread_caches, 5);
    }
}

#[test]
fn mapped_blocks_are_found_also_where_alignment_moved_them() {
    for options in [&["-s"][..], &["-g"]] {
        let run = recorded(&program(options), "mapped");
        let (_, heap) = walk(&run.crash.core);
        assert_exact(&heap, &run.records);
        assert!(heap.allocators[0].mapped.spans.len() > 20, "{:?}", heap.allocators[0].mapped);
    }
}

#[test]
fn a_main_arena_that_cannot_grow_goes_on_in_pieces() {
    let run = recorded(&program(&["-s"]), "blocked");
    let (_, heap) = walk(&run.crash.core);
    assert_exact(&heap, &run.records);
    let main = &heap.allocators[0].arenas[0];
    assert_eq!(main.kind, ArenaKind::MainInPieces);
    assert!(main.spans.len() > 1, "{main:?}");
}

#[test]
fn memory_that_others_took_from_sbrk_is_not_claimed() {
    let run = recorded(&program(&["-s"]), "sbrk");
    let (_, heap) = walk(&run.crash.core);
    assert_same(&heap, &run.records);
    let main = &heap.allocators[0].arenas[0];
    assert_eq!(main.spans.len(), 3, "two foreign blocks lie between: {main:?}");
    // glibc counts foreign memory as its own, up to the next page.
    let foreign = main.system_bytes.unwrap() - main.bytes();
    assert!((12345 + 100..12345 + 100 + 2 * 4096).contains(&foreign), "{foreign} bytes");
}

#[test]
fn two_copies_of_glibc_in_one_process_are_told_apart() {
    for options in [&["-s", "-DSECOND_LIBC", "-ldl"][..], &["-g", "-DSECOND_LIBC", "-ldl"]] {
        let run = recorded(&program(options), "two");
        let (image, heap) = walk(&run.crash.core);
        let [first, second] = heap.allocators.as_slice() else { panic!("{:?}", heap.allocators) };
        assert_ne!(first.module, second.module);
        for allocator in [first, second] {
            assert!(image.module(allocator.module.unwrap()).unwrap().name().starts_with(b"libc"));
            assert_eq!(allocator.damage, []);
        }
        let theirs = printed(&run);
        assert_eq!(theirs.len(), 4000);
        let all: Vec<Record> = run.records.iter().chain(&theirs).copied().collect();
        assert_same(&heap, &all);
        assert_eq!(heap.diagnostics, []);
        let owner = |record: &Record| heap.table.allocator(heap.table.find(Addr(record.address)).unwrap().0);
        let owners = |records: &[Record]| records.iter().map(owner).collect::<BTreeSet<_>>();
        assert_eq!((owners(&run.records).len(), owners(&theirs).len()), (1, 1));
        assert_ne!(owners(&run.records), owners(&theirs));
    }
}

/// What a run printed of blocks that the recorder did not see.
fn printed(run: &RecordedCrash) -> Vec<Record> {
    let blocks = run.crash.stdout.lines().filter_map(|line| line.strip_prefix("block "));
    let blocks = blocks.map(|line| {
        let (usable, address) = line.split_once(" 0x").unwrap();
        let usable = usable.parse().unwrap();
        Record { address: u64::from_str_radix(address, 16).unwrap(), requested: usable, usable, label: 0 }
    });
    blocks.collect()
}

#[test]
fn three_copies_of_glibc_with_mapped_blocks_each_are_walked_exactly() {
    let run = recorded(&program(&["-s", "-DSECOND_LIBC", "-ldl"]), "three");
    let (_, heap) = walk(&run.crash.core);
    assert_eq!(heap.allocators.len(), 3, "{:?}", heap.allocators);
    let all = [run.records.as_slice(), &printed(&run)].concat();
    assert_same(&heap, &all);
    // Nothing says which copy's a mapped block is: all together have as many as they count, so nothing is amiss.
    assert_eq!(heap.diagnostics, []);
    let mapped: u64 = heap.allocators.iter().map(|allocator| allocator.mapped.tally.used().count).sum();
    assert!(mapped > 20 + 2 * 5, "{mapped}");
    assert!(heap.allocators.iter().all(|allocator| allocator.damage.is_empty()));
}

/// What `heap` says of a dump to people.
fn told(core: &Path) -> String {
    let (options, task) = (OpenOptions::default(), Task::default());
    let image = Image::open(core, &options, &task).unwrap();
    let session = Session::new(&image, &options, &task);
    let answer = HeapAnswer::new(&session, session.heap().unwrap());
    let mut out = Vec::new();
    answer.write_human(&mut out, &Look::PLAIN).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_fragmented_heap_is_told_from_a_full_one() {
    let run = recorded(&program(&["-s"]), "fragment");
    assert_exact(&walk(&run.crash.core).1, &run.records);
    let fragmented = told(&run.crash.core);
    assert!(fragmented.contains("fragmentation is the story: 6"), "{fragmented}");
    assert!(fragmented.contains("most of it on pages that used allocations share"), "{fragmented}");
    let run = recorded(&program(&["-s"]), "holes");
    assert_exact(&walk(&run.crash.core).1, &run.records);
    let holes = told(&run.crash.core);
    assert!(holes.contains("fragmentation is the story: 9"), "{holes}");
    assert!(holes.contains("most of it in whole pages, which malloc_trim(0) would give back"), "{holes}");
    let full = told(&recorded(&program(&["-s"]), "leak").crash.core);
    assert!(full.contains("fragmentation is not the story"), "{full}");
}

#[test]
fn a_forked_child_keeps_the_arenas_of_threads_it_does_not_have() {
    let run = recorded(&program(&["-s"]), "fork");
    let (image, heap) = walk(&run.crash.core);
    assert_eq!(image.threads().len(), 1);
    assert_exact(&heap, &run.records);
    assert_eq!(heap.allocators[0].thread_caches, 7, "the caches of the threads that stayed behind are no allocations");
}

#[test]
fn static_programs_are_walked_exactly() {
    for options in [&["-static", "-s"][..], &["-static-pie", "-s"], &["-static", "-g"]] {
        for state in ["leak", "churn", "threads", "mapped", "blocked"] {
            let run = recorder::crash_linked(&linked("cc", options), &[state]);
            assert_exact(&walk(&run.crash.core).1, &run.records);
        }
    }
}

#[test]
fn thirty_two_bit_programs_are_walked_exactly() {
    let library = recorder::library("cc", M32);
    for options in [[M32, &["-s"]].concat(), [M32, &["-g"]].concat()] {
        for state in ["leak", "churn", "threads", "caches", "fastbins", "mapped", "blocked", "sbrk", "fork"] {
            let run = recorder::crash_preloaded(&program(&options), &[state], &library);
            let (_, heap) = walk(&run.crash.core);
            if state == "sbrk" {
                assert_same(&heap, &run.records);
            } else {
                assert_exact(&heap, &run.records);
            }
        }
    }
    let run = recorder::crash_linked(&linked("cc", &[M32, &["-static", "-s"]].concat()), &["churn"]);
    assert_exact(&walk(&run.crash.core).1, &run.records);
}

#[test]
fn musl_programs_are_walked_exactly_with_the_sizes_they_asked_for() {
    for options in [&["-static", "-s"][..], &["-static", "-g"]] {
        for state in ["leak", "churn", "threads", "mapped"] {
            let run = recorder::crash_linked(&linked("musl-gcc", options), &[state]);
            let (_, heap) = walk(&run.crash.core);
            let [allocator] = heap.allocators.as_slice() else { panic!("{:?}", heap.allocators) };
            assert_eq!(allocator.name, "musl");
            assert_exact(&heap, &run.records);
            assert!(
                run.records.iter().all(|record| record.requested == record.usable),
                "musl keeps what was asked for"
            );
        }
    }
}

#[test]
fn dynamic_musl_programs_are_walked_too() {
    for options in [&["-s"][..], &["-g"]] {
        for state in ["leak", "churn", "threads", "mapped"] {
            let run = recorder::crash_linked(&linked("musl-gcc", options), &[state]);
            let (image, heap) = walk(&run.crash.core);
            let [allocator] = heap.allocators.as_slice() else { panic!("{:?}", heap.diagnostics) };
            assert_eq!((allocator.name, allocator.damage.as_slice()), ("musl", &[][..]));
            assert_eq!(heap.diagnostics, []);
            let (missed, invented) = differences(&heap, &run.records);
            assert_eq!(missed, BTreeSet::new());
            // What libc's loader holds for itself was recorded by nobody.
            assert!(invented.len() < 32, "{} allocations of the loader", invented.len());
            let module = image.module(allocator.module.unwrap()).unwrap();
            assert!(module.name().ends_with(b"musl-x86_64.so.1") || module.name().starts_with(b"libc"), "{module:?}");
        }
    }
}

/// The addresses of the row of blocks in the middle of which the program did its damage.
fn row(run: &RecordedCrash) -> Vec<u64> {
    let blocks = run.crash.stdout.lines().filter_map(|line| line.strip_prefix("block "));
    blocks
        .map(|line| line.split_once(" 0x").map(|(_, address)| u64::from_str_radix(address, 16).unwrap()).unwrap())
        .collect()
}

/// Writes over a core's memory in its file (64-bit, this machine's order).
fn overwrite(core: &Path, address: u64, bytes: &[u8]) {
    let mut file = std::fs::read(core).unwrap();
    let word = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().unwrap());
    let headers = word(32) as usize;
    let count = usize::from(u16::from_le_bytes([file[56], file[57]]));
    let segments = (0..count).map(|at| headers + 56 * at).filter(|at| file[*at] == 1);
    let mut places = segments.map(|at| (word(at + 8), word(at + 16), word(at + 32)));
    let place = places.find(|(_, vaddr, size)| (*vaddr..vaddr + size).contains(&address));
    let (offset, vaddr, _) = place.expect("the core has the address");
    let at = (offset + address - vaddr) as usize;
    file[at..at + bytes.len()].copy_from_slice(bytes);
    std::fs::write(core, file).unwrap();
}

#[test]
fn an_overwritten_heap_info_costs_no_allocation() {
    // An arena of one heap, and one of two: there the first heap is hit, in which the top does not lie.
    for heaps in [1, 2] {
        let run = recorded(&program(&["-s"]), "threads");
        let (_, whole) = walk(&run.crash.core);
        let hit = whole.allocators[0].arenas[1..].iter().find(|arena| arena.spans.len() == heaps).unwrap();
        let heap_info = hit.address.0 & !4095;
        overwrite(&run.crash.core, heap_info, &[b'H'; 32]);
        let (_, heap) = walk(&run.crash.core);
        assert_same(&heap, &run.records);
        assert_eq!(heap.allocators[0].arenas.len(), whole.allocators[0].arenas.len());
        let [damage] = heap.allocators[0].damage.as_slice() else { panic!("{:?}", heap.allocators[0].damage) };
        assert_eq!(
            (damage.kind, damage.at, damage.expected),
            (DamageKind::Header, Addr(heap_info), Some(hit.address.0))
        );
    }
}

#[test]
fn an_overwritten_arena_costs_no_other_and_is_told() {
    let run = recorded(&program(&["-s"]), "threads");
    let (_, whole) = walk(&run.crash.core);
    let hit = &whole.allocators[0].arenas[3];
    overwrite(&run.crash.core, hit.address.0, &[b'A'; 0x890]);
    let (_, heap) = walk(&run.crash.core);
    assert_eq!(heap.allocators[0].arenas.len(), whole.allocators[0].arenas.len());
    assert!(heap.diagnostics.iter().any(|diagnostic| diagnostic.code == "arenas-missing"), "{:?}", heap.diagnostics);
    let in_hit = |address: u64| hit.spans.iter().any(|span| span.contains(Addr(address)));
    let (missed, invented) = differences(&heap, &run.records);
    assert_eq!(missed, BTreeSet::new());
    // What lay in its fastbins looks used.
    assert!(invented.iter().all(|address| in_hit(*address)), "{invented:x?}");
}

#[test]
fn a_ring_that_breaks_at_the_main_arena_costs_nothing_in_any_release() {
    // From the main arena to its pointer to the next one, as 64-bit glibc of the release has it.
    for (release, next) in [("2.23", 0x868), ("2.31", 0x870), ("2.43", 0x818)] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/glibc");
        let packed = std::fs::File::open(folder.join(format!("{release}-amd64.dump.zst"))).unwrap();
        let scratch = testkit::native::scratch_folder();
        let core = scratch.join("core");
        let mut file = std::fs::File::create(&core).unwrap();
        zstd::stream::copy_decode(packed, &mut file).unwrap();
        let (_, whole) = walk(&core);
        overwrite(&core, whole.allocators[0].arenas[0].address.0 + next, &[b'A'; 8]);
        let (_, heap) = walk(&core);
        assert!(heap.table.iter().eq(whole.table.iter()), "{release}");
        assert_eq!(heap.allocators[0].versions, whole.allocators[0].versions);
        assert!(heap.diagnostics.iter().any(|diagnostic| diagnostic.code == "arenas-missing"), "{release}");
        std::fs::remove_dir_all(scratch).unwrap();
    }
}

#[test]
fn an_overflow_costs_its_neighbour_alone() {
    let run = recorded(&program(&["-s"]), "overflow");
    let (_, heap) = walk(&run.crash.core);
    let middle = row(&run)[20];
    let [damage] = heap.allocators[0].damage.as_slice() else { panic!("{:?}", heap.allocators[0].damage) };
    assert_eq!(damage.kind, DamageKind::Header);
    assert_eq!(damage.found, 0x5858_5858_5858_5858);
    assert_eq!(damage.in_front, Some(Addr(middle)), "the overflower is named");
    let (missed, invented) = differences(&heap, &run.records);
    let behind = heap.table.find(damage.at.checked_add(8).unwrap()).unwrap().0;
    assert_eq!(heap.table.state(behind), State::Damaged);
    assert_eq!(damage.resumed.unwrap(), heap.table.address(topleaked::heap::AllocId(behind.0 + 1)));
    assert!(missed.iter().all(|address| *address == heap.table.address(behind).0), "{missed:x?}");
    assert_eq!(invented, BTreeSet::new());
    let [diagnostic] = heap.diagnostics.as_slice() else { panic!("{:?}", heap.diagnostics) };
    assert_eq!((diagnostic.code, diagnostic.at.as_str()), ("heap-damaged", damage.at.to_string().as_str()));
    let resumed = damage.resumed.unwrap();
    let told = [
        "broken-header, found 0x5858585858585858".to_owned(),
        format!("the allocation in front, at {}, most likely wrote over its end", Addr(middle)),
        format!("the walk went on at {resumed}, {} bytes before it", damage.lost_bytes),
    ];
    for part in told {
        assert!(diagnostic.effect.contains(&part), "{part}: {}", diagnostic.effect);
    }
}

#[test]
fn the_class_of_who_wrote_over_its_end_is_told() {
    let build = Build { compiler: "c++", options: &["-O1", "-s"] };
    let crash = native::crash(&native::compile("overflow", "cpp", include_str!("programs/overflow.cpp"), &build), &[]);
    let (_, heap) = walk(&crash.core);
    let block: u64 = {
        let address = crash.stdout.lines().find_map(|line| line.strip_prefix("parser 0x")).unwrap();
        u64::from_str_radix(address, 16).unwrap()
    };
    let [damage] = heap.allocators[0].damage.as_slice() else { panic!("{:?}", heap.allocators[0].damage) };
    assert_eq!(damage.in_front, Some(Addr(block)));
    let told = told(&crash.core);
    let row = told.lines().find(|line| line.starts_with("broken-header")).unwrap_or_else(|| panic!("{told}"));
    for part in [
        damage.at.to_string(),
        "0x4141414141414141".to_owned(),
        format!("{} (net::Parser)", Addr(block)),
        damage.resumed.unwrap().to_string(),
    ] {
        assert!(row.contains(&part), "{part}: {row}");
    }
}

#[test]
fn an_overflow_by_one_byte_is_corrected() {
    let run = recorded(&program(&["-s"]), "one-byte");
    let (_, heap) = walk(&run.crash.core);
    let [damage] = heap.allocators[0].damage.as_slice() else { panic!("{:?}", heap.allocators[0].damage) };
    assert_eq!(damage.kind, DamageKind::Header);
    assert_eq!(damage.found & 0xff, u64::from(b'A'));
    assert_eq!(damage.lost_bytes, 0);
    assert_same(&heap, &run.records);
}

#[test]
fn a_wild_write_costs_the_block_it_hit() {
    let run = recorded(&program(&["-s"]), "wild");
    let (_, heap) = walk(&run.crash.core);
    let middle = row(&run)[20];
    let [damage] = heap.allocators[0].damage.as_slice() else { panic!("{:?}", heap.allocators[0].damage) };
    assert_eq!((damage.at, damage.found), (Addr(middle - 8), 0x1234_5678));
    assert_eq!(differences(&heap, &run.records), (BTreeSet::from([middle]), BTreeSet::new()));
    assert_eq!(heap.table.find(Addr(middle)).map(|(id, _)| heap.table.state(id)), Some(State::Damaged));
}

#[test]
fn a_double_free_is_found_and_loses_nothing() {
    let run = recorded(&program(&["-s"]), "double");
    let (_, heap) = walk(&run.crash.core);
    let twice = row(&run)[10];
    let damage = &heap.allocators[0].damage;
    assert!(
        damage.iter().any(|damage| damage.kind == DamageKind::FreedTwice && damage.at == Addr(twice)),
        "{damage:?}"
    );
    assert_same(&heap, &run.records);
}

/// Dumps of other releases, made by `fixtures/glibc/make.sh`: a main arena, six further ones, caches, fastbins, mapped
/// blocks.
#[test]
fn the_glibc_of_other_releases_is_walked_exactly() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("fixtures/glibc");
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().unwrap().strip_suffix(".live").map(str::to_owned))
        .collect();
    names.sort_unstable();
    assert!(names.len() >= 12, "{names:?}");
    for name in names {
        let mut address = 0;
        let mut records = Vec::new();
        for line in std::fs::read_to_string(folder.join(format!("{name}.live"))).unwrap().lines() {
            let (distance, usable) = line.split_once(' ').unwrap();
            address += u64::from_str_radix(distance, 16).unwrap();
            let usable = u64::from_str_radix(usable, 16).unwrap();
            records.push(Record { address, requested: usable, usable, label: 0 });
        }
        let (_, heap) = walk(&folder.join(format!("{name}.dump.zst")));
        let [allocator] = heap.allocators.as_slice() else { panic!("{name}: {:?}", heap.allocators) };
        let expected = match name.as_str() {
            "2.23-amd64" => "2.12 to 2.26",
            "2.23-i386" => "2.12 to 2.25",
            name if name.starts_with("2.27") => "2.26 to 2.29",
            name if name.starts_with("2.42") => "2.42",
            name if name.starts_with("2.43") => "2.43",
            _ => "2.30 to 2.41",
        };
        assert_eq!(allocator.versions, expected, "{name}");
        // On two processors a 32-bit process has four arenas at most.
        assert_eq!(allocator.arenas.len(), if name.ends_with("i386") { 4 } else { 7 }, "{name}");
        assert_exact(&heap, &records);
    }
}
