//! Vtables and run-time type information from hostile bytes: the data of one module, of which every word is taken
//! for a pointer to a vtable, and for one to a `type_info`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use topleaked::addr::Addr;
use topleaked::image::{Image, OpenOptions};
use topleaked::symbols::{SymbolOptions, Symbols};
use topleaked::types::Vtables;

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

/// A core with one module: a page of code, and `data` behind it.
fn core_with(data: &[u8]) -> Vec<u8> {
    let size = data.len() as u64;
    let mut code = elf_header(3, 2);
    load(&mut code, 5, 0, 0, 0x1000);
    load(&mut code, 6, 0x1000, 0x1000, size);
    code.resize(0x1000, 0xcc);
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
    load(&mut core, 6, code_at + 0x1000, DATA, size);
    core.extend_from_slice(&note);
    core.resize(code_at as usize, 0);
    core.extend_from_slice(&code);
    core.extend_from_slice(data);
    core
}

fuzz_target!(|data: &[u8]| {
    if data.is_empty() || data.len() > 64 << 10 {
        return;
    }
    let Ok(image) = Image::from_bytes(core_with(data), &OpenOptions::default()) else { return };
    let symbols = Symbols::new(&image, SymbolOptions::default());
    let vtables = Vtables::new(&image, &symbols);
    let ranges = vtables.candidate_ranges();
    for at in (DATA..=DATA + data.len() as u64).step_by(8).take(256) {
        if let Some(found) = vtables.classify(Addr(at)) {
            assert!(ranges.iter().any(|range| range.contains(Addr(at))));
            let _ = found.to_string();
        }
        let _ = vtables.bases(Addr(at));
        let _ = vtables.function_table(Addr(at));
    }
});
