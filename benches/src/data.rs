//! The files that are measured, made anew where they are not there yet.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

/// A file, and what an exact count of it must say.
pub(crate) struct Data {
    /// What it is, for the table.
    pub(crate) name: &'static str,
    pub(crate) path: PathBuf,
    /// The most frequent words by a plain sort.
    pub(crate) top: Vec<(u64, u64)>,
}

/// How large the files are.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) core_words: usize,
    pub(crate) random_words: usize,
    pub(crate) zero_words: usize,
}

/// Where the module with the vtables of the made core lies.
pub(crate) const MODULE: (u64, u64) = (0x55d0_1230_0000, 0x55d0_1250_0000);
/// The hottest vtable of the made core.
pub(crate) const VTABLE: u64 = MODULE.0 + 0x4_0010;
const HEAP: u64 = 0x7f12_0000_0000;
/// The states of the hottest vtable's objects, in the 4 bytes after it: 11 of 16 are in the first.
const STATES: [u64; 16] = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 2, 2, 3, 4];
/// Changes where the files do, so that old ones are not taken for them.
const GENERATION: u32 = 2;
/// How many of the most frequent words a check looks at.
const KNOWN: usize = 10_000;

/// SplitMix64: the same file on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Makes what is not there yet.
pub(crate) fn prepare(folder: &Path, sizes: Sizes, only: &str) -> anyhow::Result<Vec<Data>> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    type Make = fn(&mut dyn Write, Sizes) -> std::io::Result<()>;
    let files: [(&'static str, usize, Make); 3] = [
        ("core of a C++ service", sizes.core_words, write_core),
        ("random words", sizes.random_words, write_random),
        ("zeros", sizes.zero_words, write_zeros),
    ];
    let mut data = Vec::new();
    for (name, words, make) in files.into_iter().filter(|(name, ..)| name.contains(only)) {
        let path = folder.join(format!("{}-{words}-{GENERATION}", name.replace(' ', "-")));
        if !path.exists() {
            crate::say(&format!("makes {name}, {} MB, once", words / (125_000)))?;
            let half = path.with_extension("half");
            let mut file = BufWriter::with_capacity(1 << 20, File::create(&half)?);
            make(&mut file, sizes)?;
            file.flush()?;
            fs::rename(&half, &path)?;
        }
        data.push(Data { name, top: known(&path)?, path });
    }
    Ok(data)
}

/// Sorts half and half on two threads, then merges: the standard library's sort knows runs that are in order.
fn sort(all: &mut [u64]) {
    let (left, right) = all.split_at_mut(all.len() / 2);
    std::thread::scope(|scope| {
        scope.spawn(|| left.sort_unstable());
        right.sort_unstable();
    });
    all.sort();
}

/// The most frequent words by a plain sort; kept beside the file, for it is slow.
fn known(path: &Path) -> anyhow::Result<Vec<(u64, u64)>> {
    let kept = path.with_extension("top");
    let words = |bytes: &[u8]| -> Vec<u64> { bytes.as_chunks().0.iter().map(|raw| u64::from_le_bytes(*raw)).collect() };
    if let Ok(bytes) = fs::read(&kept) {
        return Ok(words(&bytes).as_chunks::<2>().0.iter().map(|[value, count]| (*value, *count)).collect());
    }
    crate::say(&format!("sorts {} for its answers, once", path.display()))?;
    let mut all = words(&fs::read(path)?);
    sort(&mut all);
    let mut by_count: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let mut held = 0;
    for run in all.chunk_by(|a, b| a == b) {
        let (Some(value), count) = (run.first(), run.len() as u64) else { continue };
        // The values come in order, so the first of a count are the ones that stay.
        if held >= KNOWN && by_count.first_key_value().is_some_and(|(least, _)| *least >= count) {
            continue;
        }
        by_count.entry(count).or_default().push(*value);
        held += 1;
        if let Some(mut least) = by_count.first_entry()
            && held > KNOWN
        {
            least.get_mut().pop();
            held -= 1;
            if least.get().is_empty() {
                least.remove();
            }
        }
    }
    let top: Vec<(u64, u64)> =
        by_count.iter().rev().flat_map(|(count, values)| values.iter().map(|value| (*value, *count))).collect();
    let bytes: Vec<u8> = top.iter().flat_map(|(value, count)| [*value, *count]).flat_map(u64::to_le_bytes).collect();
    fs::write(kept, bytes)?;
    Ok(top)
}

/// The words that stand out in a core, with their share. The ten hottest are 27 % of all, the hundred hottest 42 %,
/// and the rest is nearly unique.
fn hot_words() -> Vec<(u64, f64)> {
    let module = |rank: u64| MODULE.0 + 0x4_0010 + rank * 0x58;
    let mut hot = Vec::new();
    let ten = [0.10, 0.045, 0.03, 0.025, 0.02, 0.015, 0.0125, 0.01, 0.009, 0.0085];
    let values = [0, VTABLE, 0x31, 0x41, 1, module(5), 0x21, module(7), u64::MAX, module(9)];
    hot.extend(values.into_iter().zip(ten));
    let fall: Vec<f64> = (0..40).map(|i| 0.008 * 0.82f64.powi(i) + 0.0003).collect();
    let sum: f64 = fall.iter().sum();
    for (i, share) in fall.iter().enumerate() {
        let rank = i as u64 + 10;
        hot.push((if i % 2 == 0 { module(rank) } else { rank * 16 + 0x51 }, share * 0.138 / sum));
    }
    hot.extend((0..50u16).map(|i| (module(u64::from(i) + 50), 20_000.0 / 183e6 * 0.95f64.powi(i.into()))));
    hot.extend((100..10_000u64).map(|rank| {
        let value = if rank % 3 == 0 { rank + 1000 } else { HEAP + 0x10_0000_0000 + rank * 0x120 };
        (value, 159_000.0 / rank as f64 / 183e6)
    }));
    hot
}

/// An ELF core: a module with vtables, and a heap of words with the distribution that real services showed.
fn write_core(file: &mut dyn Write, sizes: Sizes) -> std::io::Result<()> {
    let heap_bytes = sizes.core_words as u64 * 8;
    let module_bytes = MODULE.1 - MODULE.0;
    let note_at = 64 + 3 * 56;
    let note_bytes = 12 + 8 + 336u64;
    let module_at = 4096u64;
    let heap_at = module_at + module_bytes;
    let mut head = Vec::new();
    head.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    for half in [4u16, 62] {
        head.extend(half.to_le_bytes());
    }
    head.extend(1u32.to_le_bytes());
    for word in [0u64, 64, 0] {
        head.extend(word.to_le_bytes());
    }
    head.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 3, 64, 0, 0] {
        head.extend(half.to_le_bytes());
    }
    let mut segment = |kind: u32, flags: u32, at: u64, addr: u64, size: u64, align: u64| {
        head.extend(kind.to_le_bytes());
        head.extend(flags.to_le_bytes());
        for word in [at, addr, 0, size, if kind == 4 { 0 } else { size }, align] {
            head.extend(word.to_le_bytes());
        }
    };
    segment(4, 0, note_at, 0, note_bytes, 4);
    segment(1, 4, module_at, MODULE.0, module_bytes, 4096);
    segment(1, 6, heap_at, HEAP, heap_bytes, 4096);
    // One thread, registers zero.
    for word in [5u32, 336, 1] {
        head.extend(word.to_le_bytes());
    }
    head.extend(b"CORE\0\0\0\0");
    head.resize((note_at + note_bytes) as usize, 0);
    head.resize(module_at as usize, 0);
    file.write_all(&head)?;
    let mut random = Random(1);
    for slot in 0..module_bytes / 8 {
        // Tables of functions: addresses in the module's text.
        let word = if slot % 11 == 0 { 0 } else { MODULE.0 - 0x10_0000 + ((random.next() % 0xf_0000) & !15) };
        file.write_all(&word.to_le_bytes())?;
    }
    let hot = hot_words();
    let mut limits = Vec::with_capacity(hot.len());
    let mut share = 0.0;
    for (_, more) in &hot {
        share += more;
        limits.push((share * 4_294_967_296.0) as u64);
    }
    let guide: Vec<usize> = (0..4096u64).map(|bin| limits.partition_point(|limit| *limit <= bin << 20)).collect();
    let objects = (sizes.core_words as u64 * 105 / 183).max(1);
    let mut page = Vec::with_capacity(4096);
    let mut left = sizes.core_words;
    while left > 0 {
        page.clear();
        let zero_page = random.next().is_multiple_of(25);
        for _ in 0..left.min(512) {
            let pick = random.next();
            let at = pick >> 32;
            let first = guide.get((at >> 20) as usize).copied().unwrap_or(0);
            let rank = limits.iter().skip(first).position(|limit| *limit > at).map(|found| first + found);
            let after_vtable = page.last_chunk::<8>().is_some_and(|last| u64::from_le_bytes(*last) == VTABLE);
            let word = match rank.and_then(|rank| hot.get(rank)) {
                _ if zero_page => 0,
                // A state as enumerations have it, and a number that no other object has.
                _ if after_vtable => (random.next() & 0xffff_ffff) << 32 | STATES[(pick & 15) as usize],
                Some((value, _)) => *value,
                None if pick & 7 == 0 => random.next(),
                None => HEAP + random.next() % objects * 16,
            };
            page.extend(word.to_le_bytes());
        }
        left -= page.len() / 8;
        file.write_all(&page)?;
    }
    Ok(())
}

fn write_random(file: &mut dyn Write, sizes: Sizes) -> std::io::Result<()> {
    let mut random = Random(2);
    (0..sizes.random_words).try_for_each(|_| file.write_all(&random.next().to_le_bytes()))
}

fn write_zeros(file: &mut dyn Write, sizes: Sizes) -> std::io::Result<()> {
    (0..sizes.zero_words).try_for_each(|_| file.write_all(&[0; 8]))
}
