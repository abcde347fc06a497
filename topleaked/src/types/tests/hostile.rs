//! Memory that lies about its types.

use std::time::{Duration, Instant};

use super::*;

/// A 64-bit core with one module at `BASE`: a page of code, then `data`, writable. Written by hand after the
/// System V gABI; the module is the ELF image that the first page begins with.
const BASE: u64 = 0x10_0000;
const DATA: u64 = BASE + 0x1000;

fn put(bytes: &mut Vec<u8>, words: &[(u64, usize)]) {
    for (value, size) in words {
        bytes.extend_from_slice(&value.to_le_bytes()[..*size]);
    }
}

fn elf_header(kind: u64, segments: u64) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    put(&mut bytes, &[(kind, 2), (62, 2), (1, 4), (0, 8), (64, 8), (0, 8), (0, 4), (64, 2), (56, 2), (segments, 2)]);
    put(&mut bytes, &[(64, 2), (0, 2), (0, 2)]);
    bytes
}

fn load(bytes: &mut Vec<u8>, flags: u64, offset: u64, address: u64, size: u64) {
    put(bytes, &[(1, 4), (flags, 4), (offset, 8), (address, 8), (address, 8), (size, 8), (size, 8), (0x1000, 8)]);
}

fn image_with(data: &[u8]) -> Image {
    image_with_missing(data, 0)
}

/// The same, whose module has more data behind `data`, which is not in the dump.
fn image_with_missing(data: &[u8], missing: u64) -> Image {
    let in_dump = data.len() as u64;
    let size = in_dump + missing;
    let mut code = elf_header(3, 2);
    load(&mut code, 5, 0, 0, 0x1000);
    load(&mut code, 6, 0x1000, 0x1000, size);
    code.resize(0x1000, 0xcc);
    // NT_FILE names the module's mappings.
    let mut files = Vec::new();
    put(&mut files, &[(2, 8), (0x1000, 8), (BASE, 8), (DATA, 8), (0, 8), (DATA, 8), (DATA + size, 8), (1, 8)]);
    files.extend_from_slice(b"/no/such/module\0/no/such/module\0");
    let mut note = Vec::new();
    put(&mut note, &[(5, 4), (files.len() as u64, 4), (0x4649_4c45, 4)]);
    note.extend_from_slice(b"CORE\0\0\0\0");
    note.extend_from_slice(&files);
    let mut core = elf_header(4, 3);
    let note_at = 64 + 3 * 56;
    let code_at = (note_at + note.len() as u64).next_multiple_of(0x1000);
    put(&mut core, &[(4, 4), (4, 4), (note_at, 8), (0, 8), (0, 8), (note.len() as u64, 8), (0, 8), (4, 8)]);
    load(&mut core, 5, code_at, BASE, 0x1000);
    load(&mut core, 6, code_at + 0x1000, DATA, in_dump);
    // The size in memory is the last word but one.
    let at = core.len() - 16;
    core[at..at + 8].copy_from_slice(&size.to_le_bytes());
    core.extend_from_slice(&note);
    core.resize(code_at as usize, 0);
    core.extend_from_slice(&code);
    core.extend_from_slice(data);
    Image::from_bytes(core, &OpenOptions::default()).unwrap()
}

/// Data in which records can be put at any place.
struct Data(Vec<u8>);

impl Data {
    fn new(size: usize) -> Data {
        Data(vec![0; size])
    }

    fn words(&mut self, at: usize, words: &[u64]) {
        for (index, word) in words.iter().enumerate() {
            self.0[at + 8 * index..][..8].copy_from_slice(&word.to_le_bytes());
        }
    }

    fn text(&mut self, at: usize, text: &[u8]) {
        self.0[at..at + text.len()].copy_from_slice(text);
    }

    /// The classes that describe classes, with their records, as a C++ library has them. Their address points are
    /// 0x110 (no bases), 0x150 (one), 0x190 (several).
    fn with_library(mut self) -> Data {
        let names: [&[u8]; 3] = [
            b"N10__cxxabiv117__class_type_infoE",
            b"N10__cxxabiv120__si_class_type_infoE",
            b"N10__cxxabiv121__vmi_class_type_infoE",
        ];
        for (index, name) in names.into_iter().enumerate() {
            let (vtable, record, text) = (0x100 + 0x40 * index, 0x200 + 0x20 * index, 0x300 + 0x40 * index);
            self.words(vtable, &[0, DATA + record as u64, BASE + 0x800, BASE + 0x810]);
            self.words(record, &[DATA + 0x150, DATA + text as u64, DATA + 0x200]);
            self.text(text, name);
        }
        self
    }
}

const PLAIN: u64 = DATA + 0x110;
const SINGLE: u64 = DATA + 0x150;
const MULTIPLE: u64 = DATA + 0x190;

/// What stands at `DATA + 0x410`, within a bounded time.
fn classify(data: Data) -> Option<Vtable> {
    let image = image_with(&data.0);
    let symbols = Symbols::new(&image, SymbolOptions::default());
    let vtables = Vtables::new(&image, &symbols);
    let started = Instant::now();
    let found = vtables.classify(Addr(DATA + 0x410));
    if let Some(record) = found.as_ref().and_then(|found| found.type_info) {
        assert!(vtables.bases(record).len() <= 1024);
    }
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    found
}

fn with_vtable(offset_to_top: i64) -> Data {
    let mut data = Data::new(0x4000).with_library();
    data.words(0x400, &[offset_to_top as u64, DATA + 0x500, BASE + 0x820]);
    data.text(0x600, b"3net");
    data
}

#[test]
fn a_class_is_known_by_the_records_alone() {
    let mut data = with_vtable(0);
    data.words(0x500, &[PLAIN, DATA + 0x600]);
    let found = classify(data).unwrap();
    assert_eq!((found.class.as_deref(), found.evidence), (Some("net"), Evidence::Rtti));
    let mut data = with_vtable(0);
    data.words(0x500, &[DATA + 0x118, DATA + 0x600]);
    assert_eq!(classify(data), None, "a record's vtable pointer that leads nowhere");
}

#[test]
fn bases_that_turn_in_a_circle_end() {
    let mut data = with_vtable(-16);
    data.words(0x500, &[SINGLE, DATA + 0x600, DATA + 0x500]);
    let found = classify(data).unwrap();
    assert_eq!(found.base, Some(ServedBase { offset: 16, class: None }));
}

#[test]
fn a_count_of_two_thousand_million_bases_is_bounded() {
    let mut data = with_vtable(-16);
    data.words(0x500, &[MULTIPLE, DATA + 0x600, 0x8000_0000 << 32]);
    // Each base is the class itself, so that the subobjects would be 1024 to the power of the depth.
    for base in 0..0x380 {
        data.words(0x518 + 16 * base, &[DATA + 0x500, 0x802]);
    }
    data.words(0x400, &[-24_i64 as u64, DATA + 0x500, BASE + 0x820]);
    data.text(0x3e00, b"3net");
    data.words(0x508, &[DATA + 0x3e00]);
    let found = classify(data).unwrap();
    assert_eq!(found.class.as_deref(), Some("net"));
    assert_eq!(found.base.unwrap().class.as_deref(), Some("net"));
}

#[test]
fn a_name_without_end_is_no_name() {
    let mut data = with_vtable(0);
    data.0.resize(0x10_0000, b'a');
    data.words(0x500, &[PLAIN, DATA + 0x4000]);
    assert_eq!(classify(data), None);
    let mut data = with_vtable(0);
    data.words(0x500, &[PLAIN, DATA + 0x600]);
    data.text(0x600, b"3\x1b[m\0");
    assert_eq!(classify(data), None, "a name with a control character");
}

#[test]
fn offsets_at_the_ends_of_the_space_are_refused() {
    for offset in [i64::MIN, i64::MAX & !7, 1 << 40, 4] {
        let mut data = with_vtable(offset);
        data.words(0x500, &[PLAIN, DATA + 0x600]);
        assert_eq!(classify(data), None);
    }
    let image = image_with(&with_vtable(0).0);
    let symbols = Symbols::new(&image, SymbolOptions::default());
    let vtables = Vtables::new(&image, &symbols);
    for addr in [0, 1, 8, BASE, DATA, DATA + 8, DATA + 0x3ff8, DATA + 0x4000, u64::MAX, u64::MAX - 7] {
        assert_eq!(vtables.classify(Addr(addr)), None);
        assert_eq!(vtables.function_table(Addr(addr)), None);
        assert_eq!(vtables.bases(Addr(addr)), []);
    }
}

#[test]
fn a_class_is_known_by_its_name_where_the_dump_ends_before_the_library() {
    let classify = |vptr: u64, name: &[u8]| {
        let mut data = with_vtable(0);
        data.words(0x500, &[vptr, DATA + 0x600]);
        data.text(0x600, name);
        let image = image_with_missing(&data.0, 0x4000);
        let symbols = Symbols::new(&image, SymbolOptions::default());
        Vtables::new(&image, &symbols).classify(Addr(DATA + 0x410))
    };
    let found = classify(DATA + 0x5110, b"3net\0").unwrap();
    assert_eq!((found.class.as_deref(), found.confidence), (Some("net"), Confidence::Likely));
    assert_eq!(classify(DATA + 0x5110, b"net\0"), None, "no name of a class");
    assert_eq!(classify(BASE + 0x100_0000, b"3net\0"), None, "the record points at no module");
    assert_eq!(classify(DATA + 0x118, b"3net\0"), None, "what it points at is there, and no vtable");
}

/// Records that have all records for bases: by how many ways one is the base of another grows without bounds.
#[test]
fn classes_that_all_derive_from_each_other_cost_little() {
    const CLASSES: u64 = 900;
    let record = |class: u64| 0x1_0000 + class * 0x4000;
    let mut data = Data::new(record(CLASSES) as usize).with_library();
    data.text(0x600, b"3net");
    let mut points = Vec::new();
    for class in 0..CLASSES {
        let at = record(class) as usize;
        data.words(at, &[MULTIPLE, DATA + 0x600, (CLASSES << 32)]);
        for base in 0..CLASSES as usize {
            data.words(at + 0x18 + 16 * base, &[DATA + record(base as u64), 2]);
        }
        // One address point without functions, which only a virtual base would explain; and one that serves a base.
        data.words(at + 0x3c00, &[0, DATA + at as u64, 7, -8_i64 as u64, DATA + at as u64, BASE + 0x820]);
        points.extend([DATA + at as u64 + 0x3c10, DATA + at as u64 + 0x3c28]);
    }
    let image = image_with(&data.0);
    let symbols = Symbols::new(&image, SymbolOptions::default());
    let vtables = Vtables::new(&image, &symbols);
    let started = Instant::now();
    let named = points.iter().filter(|point| vtables.classify(Addr(**point)).is_some()).count();
    assert_eq!(named as u64, CLASSES);
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

/// A name of the greatest length, at every byte of which a record begins one of its own.
#[test]
fn names_that_share_their_letters_take_bounded_memory() {
    const RECORDS: u64 = 30_000;
    let records = 0x1_0000;
    let mut data = Data::new(records + 16 * RECORDS as usize).with_library();
    data.0.resize(0x10_0000, b'a');
    let text = data.0.len() as u64 - 0x8000;
    data.0[text as usize..].fill(b'a');
    *data.0.last_mut().unwrap() = 0;
    for record in 0..RECORDS {
        data.words(records + 16 * record as usize, &[PLAIN, DATA + text + 1 + record]);
    }
    let image = image_with(&data.0);
    let symbols = Symbols::new(&image, SymbolOptions::default());
    let vtables = Vtables::new(&image, &symbols);
    for record in 0..RECORDS {
        vtables.bases(Addr(DATA + records as u64 + 16 * record));
    }
    let kept = vtables.records.remembered_bytes();
    assert!(kept <= 80 << 20, "{kept} bytes of names are remembered");
}
