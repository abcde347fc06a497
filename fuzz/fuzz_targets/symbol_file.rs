//! Symbol tables from hostile bytes: an ELF file in memory, as the vdso is one, and a dynamic section that leads anywhere.

#![no_main]

use libfuzzer_sys::fuzz_target;
use topleaked::addr::Addr;
use topleaked::image::{Image, ModuleId, OpenOptions};
use topleaked::symbols::{SymbolOptions, Symbols};

const BASE: u64 = 0x10_0000;
/// `AT_SYSINFO_EHDR`: where the vdso's ELF header is.
const AT_SYSINFO_EHDR: u64 = 33;

fn put(bytes: &mut Vec<u8>, words: &[(u64, usize)]) {
    for (value, size) in words {
        bytes.extend_from_slice(&value.to_le_bytes()[..*size]);
    }
}

/// A core whose only memory is `module`, which the auxiliary vector says is the vdso.
fn core_with(module: &[u8]) -> Vec<u8> {
    let mut note = Vec::new();
    put(&mut note, &[(5, 4), (32, 4), (6, 4)]);
    note.extend_from_slice(b"CORE\0\0\0\0");
    put(&mut note, &[(AT_SYSINFO_EHDR, 8), (BASE, 8), (0, 8), (0, 8)]);
    let mut core = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    put(&mut core, &[(4, 2), (62, 2), (1, 4), (0, 8), (64, 8), (0, 8), (0, 4), (64, 2), (56, 2), (2, 2), (64, 2), (0, 4)]);
    let note_at = 64 + 2 * 56;
    let size = module.len() as u64;
    put(&mut core, &[(4, 4), (4, 4), (note_at, 8), (0, 8), (0, 8), (note.len() as u64, 8), (0, 8), (4, 8)]);
    put(&mut core, &[(1, 4), (5, 4), (0x1000, 8), (BASE, 8), (0, 8), (size, 8), (size, 8), (0x1000, 8)]);
    core.extend_from_slice(&note);
    core.resize(0x1000, 0);
    core.extend_from_slice(module);
    core
}

fuzz_target!(|data: &[u8]| {
    if data.len() > 256 << 10 {
        return;
    }
    let mut module = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    module.extend_from_slice(data);
    let size = module.len() as u64;
    let Ok(image) = Image::from_bytes(core_with(&module), &OpenOptions::default()) else { return };
    let symbols = Symbols::new(&image, SymbolOptions::default());
    for id in 0..image.modules().len() as u32 {
        let count = symbols.count(ModuleId(id));
        // Each symbol takes 16 bytes at least, and one table is read.
        assert!(count as u64 <= size / 16 + 1);
    }
    for at in (BASE..BASE + size).step_by(61).take(512) {
        if let Some(hit) = symbols.find(Addr(at)) {
            assert!(hit.name.len() as u64 <= size);
            let _ = hit.demangled();
        }
    }
});
