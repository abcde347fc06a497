//! Files that lie about their symbols.

use std::time::{Duration, Instant};

use super::*;
use crate::symbols::elf::{ElfFile, unpack_xz};

/// A dump of a stripped program, its folder, and its build id in hexadecimal.
fn stripped_dump() -> (PathBuf, Crash, String) {
    let (folder, program) = copy_of(&build(&["-O1"]));
    run("strip", &[&program.path]);
    let link = format!("--add-gnu-debuglink={}", folder.join("named.debug").display());
    std::fs::write(folder.join("named.debug"), b"placeholder").unwrap();
    run("objcopy", &[Path::new(&link), &program.path]);
    std::fs::remove_file(folder.join("named.debug")).unwrap();
    let crash = crash(&program, &[]);
    let image = open(&crash.core, &SearchPaths::default());
    let build_id = image.executable().unwrap().1.build_id.clone().unwrap().to_string();
    (folder, crash, build_id)
}

#[test]
fn a_fifo_in_the_place_of_a_debug_file_is_not_opened() {
    let (folder, crash, build_id) = stripped_dump();
    let place = folder.join("symbols/.build-id").join(&build_id[..2]);
    std::fs::create_dir_all(&place).unwrap();
    run("mkfifo", &[&folder.join("named.debug"), &place.join(format!("{}.debug", &build_id[2..]))]);
    let search = SearchPaths { symbol_dirs: vec![folder.join("symbols")], ..SearchPaths::default() };
    let image = open(&crash.core, &search);
    let symbols = Symbols::new(&image, search);
    let (exe, _) = image.executable().unwrap();
    assert!(symbols.sources(exe).iter().all(|source| source.kind == SourceKind::OwnFileDynamic));
    let refused: Vec<_> = symbols.diagnostics().into_iter().filter(|one| one.code == "symbol-file-refused").collect();
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert!(refused.iter().all(|one| one.effect.contains("no regular file")), "{refused:?}");
}

#[test]
fn a_debug_link_with_another_checksum_is_refused() {
    let (folder, crash, _) = stripped_dump();
    // Without a build id of its own, only the checksum could show that it belongs to the program.
    let other = build(&["-O2", "-Wl,--build-id=none"]);
    std::fs::copy(&other.path, folder.join("named.debug")).unwrap();
    let image = open(&crash.core, &SearchPaths::default());
    let symbols = Symbols::new(&image, SearchPaths::default());
    let (exe, _) = image.executable().unwrap();
    assert!(symbols.sources(exe).iter().all(|source| source.kind == SourceKind::OwnFileDynamic));
    assert!(symbols.diagnostics().iter().any(|one| one.effect.contains("checksum")), "{:?}", symbols.diagnostics());
}

#[test]
fn a_file_whose_bytes_are_changed_or_cut_neither_panics_nor_hangs() {
    let (folder, program) = copy_of(&build(&["-O1", "-static"]));
    let original = std::fs::read(&program.path).unwrap();
    let crash = crash(&program, &[]);
    let header = ElfFile::parse(&original).unwrap();
    let table = header.symbol_table().unwrap();
    let table_at = header.raw_section(table).unwrap().as_ptr() as usize - original.as_ptr() as usize;
    let section_headers = u64::from_le_bytes(original[40..48].try_into().unwrap()) as usize;
    let image = open(&crash.core, &SearchPaths::default());
    let started = Instant::now();
    let mut state = 1_u64;
    for round in 0..60 {
        let mut bytes = original.clone();
        for _ in 0..200 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (state >> 33) as usize;
            let at = match round % 3 {
                0 => section_headers + at % (original.len() - section_headers),
                1 => table_at + at % 0x4000,
                _ => 32 + at % 32,
            };
            bytes[at] = (state >> 25) as u8;
        }
        if round % 7 == 0 {
            bytes.truncate((state >> 20) as usize % original.len());
        }
        // The image has found the file already; what it holds by now is another matter.
        std::fs::write(folder.join("next"), &bytes).unwrap();
        std::fs::rename(folder.join("next"), &program.path).unwrap();
        let symbols = Symbols::new(&image, SearchPaths::default());
        let (exe, module) = image.executable().unwrap();
        let count = symbols.count(exe);
        assert!(count < 100_000, "{count}");
        for step in 0..200 {
            let addr = Addr(module.span.start().0 + step * (module.span.size_bytes() / 200));
            if let Some(hit) = symbols.find(addr) {
                assert!(hit.demangled().len() <= 256 << 10);
            }
        }
    }
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

#[test]
fn what_unpacks_without_end_is_refused() {
    // 64 MiB of zeros are some kilobytes.
    let folder = scratch_folder();
    let path = folder.join("zeros");
    std::fs::write(&path, vec![0; 64 << 20]).unwrap();
    run("xz", &[&path]);
    let packed = std::fs::read(folder.join("zeros.xz")).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(packed.len() < 1 << 20);
    assert_eq!(unpack_xz(&packed, 1 << 20), None);
    assert_eq!(unpack_xz(&packed, 64 << 20).map(|bytes| bytes.len()), Some(64 << 20));
    assert_eq!(unpack_xz(&packed[..packed.len() / 2], 64 << 20), None);
    assert_eq!(unpack_xz(b"not xz", 1 << 20), None);
}

/// 300,000 symbols of one address, whose names begin at each byte of one run of letters without end.
#[test]
fn names_that_share_their_letters_are_put_in_order_at_once() {
    use crate::addr::Target;
    use crate::symbols::table::{RawSymbols, Strings, TableBuilder};

    const SYMBOLS: u32 = 300_000;
    let mut entries = Vec::new();
    for name in 1..=SYMBOLS {
        entries.extend_from_slice(&name.to_le_bytes());
        entries.extend_from_slice(&[0x12, 0, 1, 0]);
        entries.extend_from_slice(&0x1000u64.to_le_bytes());
        entries.extend_from_slice(&8u64.to_le_bytes());
    }
    let section_map = [None, None];
    let raw =
        RawSymbols { entries: &entries, target: Target::LITTLE_8, machine: 62, adjust: 0, section_map: &section_map };
    let mut builder = TableBuilder::default();
    let names = Strings::Copied(vec![b'a'; SYMBOLS as usize + (1 << 20)]);
    let started = Instant::now();
    assert_eq!(builder.add(&raw, names, &[]), SYMBOLS as usize);
    let table = builder.build();
    assert_eq!(table.len(), SYMBOLS as usize, "each has a name of its own");
    assert!(table.find(0x1004, &[]).is_some());
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn many_modules_share_what_is_kept_of_symbols() {
    let (_folder, program) = copy_of(&build(&["-O1"]));
    let crash = crash(&program, &[]);
    let image = open(&crash.core, &SearchPaths::default());
    let (exe, _) = image.executable().unwrap();
    let libc = (0..image.modules().len() as u32)
        .map(ModuleId)
        .find(|id| *id != exe && Symbols::new(&image, SearchPaths::default()).count(*id) > 500);
    let libc = libc.expect("the program is linked dynamically");
    let symbols = Symbols { room: AtomicUsize::new(500), ..Symbols::new(&image, SearchPaths::default()) };
    assert!(symbols.count(exe) > 0 && symbols.diagnostics().is_empty(), "{:?}", symbols.diagnostics());
    assert_eq!(symbols.count(libc), 0);
    assert!(symbols.diagnostics().iter().any(|one| one.code == "symbols-left-out"), "{:?}", symbols.diagnostics());
}
