//! Dumps of a megabyte that would cost hours or terabytes: each is read in bounded time, and says what was left out.

use std::time::{Duration, Instant};

use testkit::elf_core::Shape;

use super::{Content, Image, OpenOptions};

/// A program header: type, flags, offset in the bytes, address, size in the file, size in memory.
type Row = (u32, u32, u64, u64, u64, u64);

const PAGE: u64 = 4096;

fn elf(file_type: u16, rows: &[Row], base: u64) -> Vec<u8> {
    let shape = Shape::LITTLE_64;
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    shape.put16(&mut bytes, file_type);
    shape.put16(&mut bytes, 62);
    shape.put32(&mut bytes, 1);
    bytes.extend(shape.words(&[0, 64, 0]));
    shape.put32(&mut bytes, 0);
    for half in [64, 56, rows.len() as u16, 64, 0, 0] {
        shape.put16(&mut bytes, half);
    }
    for (kind, flags, offset, vaddr, filesz, memsz) in rows {
        shape.put32(&mut bytes, *kind);
        shape.put32(&mut bytes, *flags);
        bytes.extend(shape.words(&[base + offset, *vaddr, *vaddr, *filesz, *memsz, PAGE]));
    }
    bytes
}

/// A core whose program headers refer to `bytes`, as many of them as like to the same.
fn image(rows: &[Row], bytes: &[u8]) -> Image {
    let headers = 64 + 56 * rows.len() as u64;
    let core = [elf(4, rows, headers), bytes.to_vec()].concat();
    Image::from_bytes(core, &OpenOptions::default()).unwrap()
}

fn says(image: &Image, code: &str) -> bool {
    image.diagnostics().iter().any(|diagnostic| diagnostic.code == code)
}

#[test]
fn segments_that_share_bytes_are_no_more_than_some_dumps() {
    let bytes = vec![1; 1 << 20];
    let size = bytes.len() as u64;
    let rows: Vec<Row> = (0..200).map(|at| (1, 6, 0, (at + 1) << 32, size, size)).collect();
    let image = image(&rows, &bytes);
    let present = image.space().segments().iter().filter(|segment| matches!(segment.content, Content::Present(..)));
    let present: u64 = present.map(|segment| segment.span.size_bytes()).sum();
    assert!(present >= size && present <= 5 * size, "{present}");
    assert!(says(&image, "segments-share-bytes"));
    assert_eq!(image.space().segments().len(), 201, "the rest is there, and missing");
}

#[test]
fn modules_that_each_claim_all_memory_are_painted_in_bounded_time() {
    let module = elf(3, &[(1, 4, 0, 0, 1 << 40, 1 << 40)], 0);
    let size = module.len() as u64;
    let rows: Vec<Row> = (1..2500).map(|at| (1, 4, 0, at << 16, size, size)).collect();
    let image = image(&rows, &module);
    assert!(image.modules().len() > 2000);
    assert!(says(&image, "memory-kinds-unsettled"));
}

#[test]
fn threads_and_modules_with_thread_local_storage_are_not_multiplied() {
    let mut segments: Vec<Row> = vec![(1, 4, 0, 0, PAGE, PAGE)];
    segments.resize(120, (7, 4, 0, 0, 8, 8));
    let mut bytes = elf(3, &segments, 0);
    let size = bytes.len() as u64;
    let stack = bytes.len() as u64;
    bytes.resize(bytes.len() + PAGE as usize, 0);
    let notes = bytes.len() as u64;
    for tid in 1..=1000 {
        let shape = Shape::LITTLE_64;
        for word in [5, 336, 1] {
            shape.put32(&mut bytes, word);
        }
        bytes.extend(b"CORE\0\0\0\0");
        let mut words = [0; 42];
        words[4] = tid;
        words[14 + 19] = 0x7f00_0000_0800;
        words[14 + 21] = 0x7f00_0000_0900;
        bytes.extend(shape.words(&words));
    }
    let mut rows: Vec<Row> = (1..=200).map(|at| (1, 4, 0, at << 16, size, size)).collect();
    rows.push((1, 6, stack, 0x7f00_0000_0000, PAGE, PAGE));
    rows.push((4, 0, notes, 0, bytes.len() as u64 - notes, 0));
    let started = Instant::now();
    let image = image(&rows, &bytes);
    assert_eq!((image.threads().len(), image.modules().len()), (1000, 200));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}
