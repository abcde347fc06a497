//! Images of dumps that are built byte by byte: every class and byte order, and every way to lie.

use std::io::Write as _;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use testkit::elf_core::{CoreBuilder, R, Shape, W, X};
use testkit::native::scratch_folder;
use topleaked::addr::{Addr, Span};
use topleaked::image::{
    Content, Evidence, Image, ImageError, Machine, MemoryKind, MissingReason, ModuleRole, OpenOptions, Refusal,
};
use topleaked::task::Task;

fn image(core: &[u8]) -> Image {
    Image::from_bytes(core.to_vec(), &OpenOptions::default()).unwrap()
}

fn codes(image: &Image) -> Vec<&'static str> {
    image.diagnostics().iter().map(|diagnostic| diagnostic.code).collect()
}

/// `e_machine`, where the stack pointer and the program counter stand among the registers, and how many there are.
fn machine(shape: Shape) -> (u16, Machine, usize, usize, usize) {
    match (shape.wide, shape.big) {
        (true, false) => (62, Machine::X86_64, 19, 16, 27),
        (true, true) => (22, Machine::S390, 17, 1, 28),
        (false, false) => (3, Machine::X86, 15, 12, 17),
        (false, true) => (20, Machine::Ppc, 1, 32, 48),
    }
}

#[test]
fn a_dump_of_any_class_and_byte_order_is_read() {
    for shape in Shape::ALL {
        let (number, expected, sp_at, pc_at, count) = machine(shape);
        let mut registers = vec![0; count];
        registers[sp_at] = 0x7000_0f00;
        registers[pc_at] = 0x40_1234;
        let core = CoreBuilder::new(shape, number)
            .thread(77, 11, &registers)
            .process(77, b"server", b"server --port 80 ")
            .auxv(&[(6, 4096), (25, 0x7000_0ff0)])
            .files(&[(0x40_0000, 0x40_2000, 0, b"/bin/server"), (0x40_2000, 0x40_3000, 0x1000, b"/data")])
            .memory(0x7000_0000, R | W, &[7; 0x1000])
            .partial_memory(0x40_0000, R | X, b"", 0x2000)
            .build();
        let image = image(&core);
        assert_eq!((image.machine(), image.diagnostics()), (expected, &[][..]), "{shape:?}");
        let process = image.process();
        assert_eq!((process.pid, process.command.as_slice()), (Some(77), &b"server"[..]));
        assert_eq!(process.arguments, [b"server".to_vec(), b"--port".to_vec(), b"80".to_vec()]);
        assert_eq!(process.signal.unwrap().number, 11);
        let thread = &image.threads()[0];
        assert_eq!((thread.tid, thread.pc, thread.sp), (77, Some(Addr(0x40_1234)), Some(Addr(0x7000_0f00))));
        assert_eq!(thread.stack, Span::with_size(Addr(0x7000_0000), 0x1000));
        assert_eq!(image.auxv().get(6), Some(4096));
        assert_eq!(image.mapped_files()[1].file_offset, 0x1000);
        assert_eq!(image.region(Addr(0x7000_0010)).unwrap().kind, MemoryKind::Stack);
        let width = image.target().width;
        assert_eq!(image.space().word(Addr(0x7000_0000)), Some(0x0707_0707_0707_0707 & width.max_word()));
        let text = image.space().find_segment(Addr(0x40_1234)).unwrap();
        assert!(matches!(text.content, Content::Missing(_)));
    }
}

#[test]
fn more_segments_than_the_header_can_count_are_counted_in_section_0() {
    for shape in [Shape::LITTLE_64, Shape { wide: false, big: true }] {
        let mut builder = CoreBuilder::new(shape, 62);
        let count = 70_000u64;
        for index in 0..count {
            builder = builder.memory(0x1000_0000 + index * 0x1000, R | W, &[index as u8; 8]);
        }
        let core = builder.process(5, b"many", b"many").build();
        let whole = image(&core);
        assert_eq!(whole.space().segments().len() as u64, count);
        assert_eq!(
            whole.space().bytes(Span::with_size(Addr(0x1000_0000 + 69_999 * 0x1000), 8).unwrap()),
            Some(&[69_999u64 as u8; 8][..])
        );
        assert!(whole.diagnostics().is_empty());
        // The count is at the very end; without it, the headers run up to the notes.
        let cut = image(&core[..core.len() - 40]);
        assert_eq!(cut.space().segments().len() as u64, count);
        assert!(codes(&cut).contains(&"segment-count-guessed"));
    }
}

#[test]
fn overlapping_and_unsorted_segments_are_settled_and_said() {
    let core = CoreBuilder::new(Shape::LITTLE_64, 62)
        .memory(0x5000, R | W, &[1; 0x1000])
        .memory(0x1000, R | W, &[2; 0x1000])
        .memory(0x5800, R | W, &[3; 0x1000])
        .memory(0x0800, R | W, &[4; 0x6000])
        .build();
    let image = image(&core);
    let byte = |addr| image.space().bytes_from(Addr(addr)).first().copied();
    assert_eq!([byte(0x5000), byte(0x5fff), byte(0x6000), byte(0x67ff)], [Some(1), Some(1), Some(3), Some(3)]);
    assert_eq!([byte(0x0800), byte(0x1000), byte(0x2000), byte(0x4fff)], [Some(4), Some(2), Some(4), Some(4)]);
    assert_eq!([byte(0x07ff), byte(0x6800)], [None, None]);
    assert_eq!(codes(&image), ["segments-overlap"]);
}

#[test]
fn many_segments_that_claim_the_same_memory_cost_no_more_than_others() {
    let mut builder = CoreBuilder::new(Shape::LITTLE_64, 62);
    for index in 0..60_000u64 {
        let (vaddr, size) = if index % 2 == 0 { (0x10_0000 + index * 0x2000, 0x1000) } else { (0x1000, 1 << 40) };
        builder = builder.lying_memory(vaddr, size, 0, 16);
    }
    let core = builder.build();
    let began = Instant::now();
    let image = image(&core);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(image.space().segments().len() <= 4 * 60_000);
    assert!(codes(&image).contains(&"segments-overlap"));
}

#[test]
fn sizes_that_overflow_are_refused_or_missing() {
    let core = CoreBuilder::new(Shape::LITTLE_64, 62)
        .lying_memory(u64::MAX - 0xfff, 0x2000, 0, 0x2000)
        .lying_memory(0x1000, 0x1000, u64::MAX - 8, 0x1000)
        .lying_memory(0x10_0000, u64::MAX - 0x20_0000, 64, u64::MAX)
        .memory(0x3000, R | W, &[9; 16])
        .build();
    let image = image(&core);
    assert_eq!(image.space().bytes_from(Addr(0x3000)), [9; 16]);
    assert_eq!(image.space().find_segment(Addr(0x1000)).unwrap().content, Content::Missing(MissingReason::Truncated));
    assert!(codes(&image).contains(&"segment-impossible"));
    assert!(image.truncated());
    for region in image.regions() {
        assert!(image.space().find_segment(region.span.start()).is_some());
    }
}

#[test]
fn notes_that_lie_cost_only_what_they_lie_about() {
    let shape = Shape::LITTLE_64;
    let mut endless = Vec::new();
    for value in [5, u32::MAX, 1] {
        shape.put32(&mut endless, value);
    }
    endless.extend(b"CORE\0\0\0\0");
    let lying_files = shape.words(&[u64::MAX, 4096, 0x1000, 0x2000, 0]);
    let core = CoreBuilder::new(shape, 62)
        .process(9, b"liar", b"liar")
        .note(b"CORE", 1, &[0; 20])
        .note(b"CORE", 0x4649_4c45, &lying_files)
        .note(b"CORE", 0x5349_4749, &[1])
        .note(b"CORE", 6, &[3; 7])
        .note(b"OTHER", 1, &[1; 400])
        .raw_notes(&endless)
        .memory(0x1000, R, &[1; 64])
        .build();
    let image = image(&core);
    assert_eq!((image.process().pid, image.threads().len()), (Some(9), 0));
    assert!(codes(&image).contains(&"notes-cut-off") && codes(&image).contains(&"mapped-files-damaged"));
    assert_eq!(image.space().bytes_from(Addr(0x1000)).len(), 64);
}

#[test]
fn a_name_of_100_megabytes_is_cut() {
    let shape = Shape::LITTLE_64;
    let mut data = shape.words(&[1, 1, 0x1000, 0x2000, 0]);
    data.resize(data.len() + (100 << 20), b'a');
    let core = CoreBuilder::new(shape, 62).note(b"CORE", 0x4649_4c45, &data).memory(0x1000, R, &[1; 64]).build();
    let image = image(&core);
    assert_eq!(image.mapped_files()[0].path.len(), 4096);
}

/// A small program in memory, whose headers say `PT_LOAD`, `PT_DYNAMIC` and `PT_NOTE`.
struct Program {
    bytes: Vec<u8>,
    file: Vec<u8>,
}

const BASE: u64 = 0x5000_0000;
const DYNAMIC: u64 = 0x400;

fn program(build_id: Option<&[u8]>, debug: u64) -> Program {
    let shape = Shape::LITTLE_64;
    let mut bytes = vec![0x7f, b'E', b'L', b'F', 2, 1, 1];
    bytes.resize(16, 0);
    shape.put16(&mut bytes, 3);
    shape.put16(&mut bytes, 62);
    shape.put32(&mut bytes, 1);
    bytes.extend(shape.words(&[0x800, 64, 0]));
    shape.put32(&mut bytes, 0);
    for value in [64, 56, 4, 64, 0, 0] {
        shape.put16(&mut bytes, value);
    }
    for (kind, flags, offset, size) in
        [(1, 5, 0, 0x2000), (6, 4, 64, 4 * 56), (2, 6, DYNAMIC, 0x20), (4, 4, 0x300, 0x24)]
    {
        shape.put32(&mut bytes, kind);
        shape.put32(&mut bytes, flags);
        bytes.extend(shape.words(&[offset, offset, offset, size, size, 8]));
    }
    bytes.resize(0x300, 0);
    if let Some(id) = build_id {
        for value in [4, id.len() as u32, 3] {
            shape.put32(&mut bytes, value);
        }
        bytes.extend(b"GNU\0");
        bytes.extend(id);
    }
    bytes.resize(DYNAMIC as usize, 0);
    bytes.extend(shape.words(&[21, debug, 0, 0]));
    bytes.resize(0x1000, 0x90);
    let mut file = bytes.clone();
    file[DYNAMIC as usize + 8..DYNAMIC as usize + 16].fill(0);
    file.resize(0x2000, 0x77);
    Program { bytes, file }
}

fn core_of(program: &Program, path: &[u8]) -> CoreBuilder {
    CoreBuilder::new(Shape::LITTLE_64, 62)
        .process(3, b"prog", b"prog")
        .auxv(&[(3, BASE + 64), (5, 4), (6, 4096), (9, BASE + 0x800)])
        .files(&[(BASE, BASE + 0x1000, 0, path), (BASE + 0x1000, BASE + 0x2000, 0x1000, path)])
        .memory(BASE, R | W | X, &program.bytes)
}

#[test]
fn a_link_map_that_loops_ends() {
    let shape = Shape::LITTLE_64;
    let maps = 0x6000_0000u64;
    let program = program(None, maps);
    let mut memory = shape.words(&[1, maps + 0x100]);
    memory.resize(0x100, 0);
    // Two records that point at each other, and a name that never ends.
    memory.extend(shape.words(&[BASE, 0, BASE + DYNAMIC, maps + 0x200, 0]));
    memory.resize(0x200, 0);
    memory.extend(shape.words(&[0x7777_0000, maps + 0x300, 0x7777_1000, maps + 0x100, 0]));
    memory.resize(0x300, 0);
    memory.resize(0x9000, b'x');
    let core = core_of(&program, b"/nowhere/prog").memory(maps, R | W, &memory).build();
    let image = image(&core);
    assert!(codes(&image).contains(&"link-map-broken"));
    assert_eq!(image.executable().unwrap().1.path, b"/nowhere/prog");
    let linked = image.modules().iter().find(|module| module.bias == 0x7777_0000).unwrap();
    assert_eq!(linked.path.len(), 4096);
}

/// Each of as many modules as are read at all is looked up among all others.
#[test]
fn a_link_map_of_60_000_records_costs_little() {
    const RECORDS: u64 = 60_000;
    let shape = Shape::LITTLE_64;
    let maps = 0x6000_0000u64;
    let program = program(None, maps);
    let record = |index: u64| maps + 0x100 + index * 40;
    let mut memory = shape.words(&[1, record(0)]);
    memory.extend(b"library");
    memory.resize(0x100, 0);
    for index in 0..RECORDS {
        let next = if index + 1 < RECORDS { record(index + 1) } else { 0 };
        let bias = 0x7000_0000_0000 + index * 0x10_0000;
        memory.extend(shape.words(&[bias, maps + 16, bias + 0x1000, next, 0]));
    }
    let core = core_of(&program, b"/nowhere/prog").memory(maps, R | W, &memory).build();
    let began = Instant::now();
    let image = image(&core);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert!(image.modules().len() as u64 >= RECORDS, "{}", image.modules().len());
}

#[test]
fn a_file_is_read_only_when_it_is_regular_and_of_the_same_build() {
    let folder = scratch_folder();
    let program = program(Some(&[0xab; 20]), 0);
    let id = "ab".repeat(20);
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::File::create(&path).unwrap().write_all(bytes).unwrap();
        path
    };
    let right = write("right", &program.file);
    let mut other = program.file.clone();
    other[0x310..0x324].fill(0xcd);
    let other = write("other", &other);
    let no_elf = write("text", b"#!/bin/sh\n");
    let fifo = folder.join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    let open = |path: &std::path::Path| {
        let core = core_of(&program, path.as_os_str().as_encoded_bytes()).build();
        let image = image(&core);
        let module = image.executable().unwrap().1.clone();
        assert_eq!(module.role, ModuleRole::Executable);
        assert_eq!(module.build_id.as_ref().unwrap().to_string(), id);
        (image, module)
    };
    let (found, module) = open(&right);
    assert_eq!(module.file.found.unwrap().evidence, Evidence::BuildId);
    // The second page is not in the dump.
    assert!(matches!(found.space().find_segment(Addr(BASE + 0x1000)).unwrap().content, Content::Elided(..)));
    assert_eq!(found.space().bytes(Span::with_size(Addr(BASE + 0x1000), 4).unwrap()), Some(&[0x77; 4][..]));

    let (refused, module) = open(&other);
    assert!(module.file.found.is_none());
    assert!(matches!(module.file.refused[0].1, Refusal::OtherBuild(Some(_))));
    let told =
        &refused.diagnostics().iter().find(|diagnostic| diagnostic.code == "module-file-refused").unwrap().effect;
    assert!(told.contains(&id) && told.contains(&"cd".repeat(20)), "{told}");
    assert!(refused.space().bytes_from(Addr(BASE + 0x1000)).is_empty());

    for (path, expected) in [
        (no_elf.as_path(), Refusal::NotElf),
        (fifo.as_path(), Refusal::NotRegular),
        ("/dev/zero".as_ref(), Refusal::NotRegular),
        ("/proc".as_ref(), Refusal::NotRegular),
    ] {
        let (_, module) = open(path);
        assert_eq!(module.file.refused, [(path.to_path_buf(), expected)]);
    }
    let missing = open("/nowhere/at/all".as_ref()).1;
    assert_eq!(missing.file, Default::default());
    let _ = std::fs::remove_dir_all(folder);
}

#[test]
fn a_sysroot_is_not_left_by_links_or_dots() {
    let folder = scratch_folder();
    let root = folder.join("root");
    std::fs::create_dir_all(&root).unwrap();
    let program = program(Some(&[0xab; 20]), 0);
    std::fs::write(folder.join("outside"), &program.file).unwrap();
    std::os::unix::fs::symlink(folder.join("outside"), root.join("link")).unwrap();
    let mut options = OpenOptions::default();
    options.search.sysroot = Some(root.clone());
    for path in [&b"/link"[..], b"/../outside", b"../outside"] {
        let image = Image::from_bytes(core_of(&program, path).build(), &options).unwrap();
        assert!(image.executable().unwrap().1.file.found.is_none(), "{}", String::from_utf8_lossy(path));
    }
    // An absolute link within the root leads to where it would have in the process.
    std::fs::write(root.join("inside"), &program.file).unwrap();
    std::os::unix::fs::symlink("/inside", root.join("good")).unwrap();
    let image = Image::from_bytes(core_of(&program, b"/good").build(), &options).unwrap();
    assert!(image.executable().unwrap().1.file.found.is_some());
    let _ = std::fs::remove_dir_all(folder);
}

#[test]
fn a_compressed_dump_is_the_same_image() {
    let folder = scratch_folder();
    let core = CoreBuilder::new(Shape::LITTLE_64, 62)
        .memory(0x1000, R | W, &vec![5; 3 << 20])
        .memory(0x100_0000, R | W, &vec![0; 3 << 20])
        .memory(0x200_0000, R | W, b"the end")
        .build();
    let path = folder.join("dump");
    std::fs::write(&path, &core).unwrap();
    assert!(std::process::Command::new("gzip").arg("-k").arg(&path).status().unwrap().success());
    let packed = folder.join("dump.gz");
    let small = Task { memory_budget_bytes: 4 << 20, ..Task::default() };
    for (task, expected) in [(&Task::default(), &[][..]), (&small, &["unpacked-to-disk"][..])] {
        let image = Image::open(&packed, &OpenOptions::default(), task).unwrap();
        assert_eq!(codes(&image), expected);
        assert_eq!(image.space().segments().len(), 3);
        assert_eq!(image.space().bytes_from(Addr(0x200_0000)), b"the end");
        assert_eq!(image.space().bytes_from(Addr(0x100_0000)).len(), 3 << 20);
        assert!(image.space().bytes_from(Addr(0x1000)).iter().all(|byte| *byte == 5));
    }
    let half = std::fs::read(&packed).unwrap();
    std::fs::write(&packed, &half[..half.len() / 2]).unwrap();
    let image = Image::open(&packed, &OpenOptions::default(), &Task::default()).unwrap();
    assert!(image.truncated() && codes(&image).contains(&"compressed-stream-cut"));
    let _ = std::fs::remove_dir_all(folder);
}

#[test]
fn what_is_no_dump_is_refused_in_one_line() {
    let open = |bytes: &[u8]| Image::from_bytes(bytes.to_vec(), &OpenOptions::default()).unwrap_err();
    assert!(matches!(open(b"text"), ImageError::NotACore));
    assert!(matches!(open(b""), ImageError::NotACore));
    assert!(matches!(open(b"\x7fELF\x02\x01"), ImageError::BrokenHeader));
    assert!(matches!(open(&program(None, 0).file), ImageError::NotADump));
    let folder = Image::open("/".as_ref(), &OpenOptions::default(), &Task::default()).unwrap_err();
    assert!(!folder.to_string().contains('\n'));
}

/// How many bytes of memory can be read.
fn readable(image: &Image) -> u64 {
    image.space().segments().iter().map(|segment| image.space().segment_bytes(segment).len() as u64).sum()
}

fn sample() -> Vec<u8> {
    let program = program(Some(&[0xab; 20]), 0x6000_0000);
    core_of(&program, b"/nowhere/prog")
        .thread(3, 11, &[0x6000_0100; 27])
        .thread(4, 0, &[0x6000_0800; 27])
        .memory(0x6000_0000, R | W, &[1; 0x1000])
        .memory(0x7000_0000, R | W, &[2; 0x800])
        .build()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// A longer piece of a dump never tells less.
    #[test]
    fn a_truncated_dump_yields_what_it_holds(short in 0usize..9000, more in 0usize..4000) {
        let core = sample();
        let open = |size: usize| {
            Image::from_bytes(core[..size.min(core.len())].to_vec(), &OpenOptions::default()).ok()
        };
        let (less, more) = (open(short), open(short + more));
        if let Some(less) = less {
            let more = more.unwrap();
            prop_assert!(readable(&less) <= readable(&more));
            prop_assert!(less.threads().len() <= more.threads().len());
            prop_assert!(less.modules().len() <= more.modules().len());
            prop_assert!(less.truncated() || !more.truncated());
        }
    }

    /// Whatever the bytes say, the image is sound: sorted, without overlap, and each region is memory.
    #[test]
    fn a_damaged_dump_is_still_sound(changes in prop::collection::vec((0usize..2000, any::<u8>()), 1..12)) {
        let mut core = sample();
        for (at, byte) in changes {
            core[at] = byte;
        }
        if let Ok(image) = Image::from_bytes(core, &OpenOptions::default()) {
            let segments = image.space().segments();
            prop_assert!(segments.windows(2).all(|pair| pair[0].span.end() <= pair[1].span.start()));
            let regions = image.regions();
            prop_assert!(regions.windows(2).all(|pair| pair[0].span.end() <= pair[1].span.start()));
            let bytes = |spans: &mut dyn Iterator<Item = Span>| spans.map(|span| u128::from(span.size_bytes())).sum::<u128>();
            prop_assert_eq!(
                bytes(&mut segments.iter().map(|segment| segment.span)),
                bytes(&mut regions.iter().map(|region| region.span))
            );
        }
    }
}
