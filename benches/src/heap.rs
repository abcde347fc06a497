//! The heap: walk, marking, clusters, and the answers that need them, on heaps that are made here.
//!
//! Of eight allocations one is on a list that a root holds, the others hang together in pairs that nothing holds.

use std::fs::{self, File};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use testkit::elf_core::{CoreBuilder, R, Shape, W};
use testkit::heap::{Piece, Words};
use topleaked::addr::Addr;
use topleaked::image::{Image, OpenOptions};
use topleaked::report::{Explain, Leaks};
use topleaked::session::Session;
use topleaked::task::Task;

use super::{plain_sum, timed};

/// Changes where the files do, so that old ones are not taken for them.
const GENERATION: u32 = 1;
/// Of so many allocations one is held.
const HELD_OF: usize = 8;

/// A dump, and what has to be found in it.
struct Made {
    path: PathBuf,
    allocations: u64,
    leaked: u64,
    /// The address that is explained.
    one: u64,
}

/// A heap of `count` allocations of 24 to 136 bytes.
fn make(folder: &Path, count: usize) -> anyhow::Result<Made> {
    let words = Words { width: 8, big: false };
    let pieces: Vec<Piece> =
        (0..count).map(|at| Piece::Used(24 + (at as u32).wrapping_mul(2_654_435_761) % 112)).collect();
    let held = count.div_ceil(HELD_OF) as u64;
    let path = folder.join(format!("heap-{GENERATION}-{count}.core"));
    // Addresses are the same in each run, and cheap to have again; the file is not.
    let mut written = testkit::heap::write(words, &pieces);
    let addresses: Vec<u64> = written.written.iter().map(|chunk| chunk.address).collect();
    let made = Made {
        path,
        allocations: count as u64,
        leaked: count as u64 - held,
        one: *addresses.get(1).context("a heap of two allocations or more")?,
    };
    if made.path.exists() {
        return Ok(made);
    }
    for chunk in &written.written {
        let at = (chunk.address - written.heap_start) as usize;
        let bytes = written.heap.get_mut(at..at + chunk.usable as usize).context("a chunk in the heap")?;
        bytes.fill(0);
    }
    let mut next_held = 0;
    for (at, address) in addresses.iter().enumerate() {
        if at % HELD_OF == 0 {
            written.put(*address, next_held);
            next_held = *address;
        } else if at % 2 == 1 && (at + 1) % HELD_OF != 0 {
            written.put(*address, addresses.get(at + 1).copied().unwrap_or(0));
        }
    }
    let last = written.data.len() - 8;
    written.data.get_mut(last..).context("data")?.copy_from_slice(&next_held.to_le_bytes());
    let core = CoreBuilder::new(Shape { wide: true, big: false }, 62)
        .memory(written.heap_start, R | W, &written.heap)
        .memory(written.data_start, R | W, &written.data)
        .build();
    // Under another name until it is whole.
    let partial = made.path.with_extension("partial");
    fs::write(&partial, core)?;
    fs::rename(&partial, &made.path)?;
    Ok(made)
}

/// What one stage cost.
struct Stage {
    name: &'static str,
    wall: f64,
    processor: f64,
}

/// Runs everything once; gives what each stage cost.
fn run(path: &Path, known: Option<&Made>, task: &Task) -> anyhow::Result<(u64, Vec<Stage>)> {
    let options = OpenOptions::default();
    let mut stages = Vec::new();
    let mut note = |name, wall, processor| stages.push(Stage { name, wall, processor });
    let (image, wall, processor) = timed(|| Ok(Image::open(path, &options, task)?))?;
    note("open", wall, processor);
    let session = Session::new(&image, &options, task);
    let (heap, wall, processor) = timed(|| Ok(session.heap()?))?;
    note("heap: the walk", wall, processor);
    let (graph, wall, processor) = timed(|| Ok(session.graph()?))?;
    note("leaks: marking and clusters", wall, processor);
    let (_, wall, processor) = timed(|| Ok(Leaks::new(&session, None)?))?;
    note("leaks: types and sums", wall, processor);
    let used = heap.table.iter().filter(|allocation| allocation.state.is_used()).count() as u64;
    let one = match known {
        Some(made) => {
            ensure!(used == made.allocations, "{used} allocations in use, {} were written", made.allocations);
            let leaked = graph.marks.leaked.count();
            ensure!(leaked == made.leaked, "{leaked} allocations leaked, {} were let go", made.leaked);
            Addr(made.one)
        }
        None => heap.table.iter().find(|allocation| allocation.state.is_used()).map_or(Addr(0), |first| first.address),
    };
    let fresh = Session::new(&image, &options, task);
    let (_, wall, processor) = timed(|| Ok(Explain::new(&fresh, one)?))?;
    note("explain, with the walk", wall, processor);
    Ok((heap.table.len() as u64, stages))
}

/// Measures heaps of these sizes, or the dump that is given; hands back a table in Markdown.
pub(crate) fn measure(folder: &Path, counts: &[usize], core: Option<&Path>, pairs: usize) -> anyhow::Result<String> {
    fs::create_dir_all(folder)?;
    let mut table = String::from(
        "| allocations | stage | threads | processor s | ns an allocation | wall of processor time | plain sums by processor time |\n\
         |---|---|---|---|---|---|---|\n",
    );
    let mut dumps = Vec::new();
    match core {
        Some(core) => dumps.push((core.to_owned(), None)),
        None => {
            for count in counts {
                let made = make(folder, *count)?;
                dumps.push((made.path.clone(), Some(made)));
            }
        }
    }
    for (path, known) in &dumps {
        let file = File::open(path)?;
        for threads in [1, 2] {
            let task = Task { threads: NonZeroUsize::new(threads).context("threads")?, ..Task::default() };
            plain_sum(&file, threads)?;
            let mut best: Option<(u64, f64, Vec<Stage>)> = None;
            for _ in 0..pairs.max(1) {
                let (_, _, sum) = timed(|| plain_sum(&file, threads))?;
                let (allocations, stages) = run(path, known.as_ref(), &task)?;
                let total = |stages: &[Stage]| stages.iter().map(|stage| stage.processor).sum::<f64>();
                if best.as_ref().is_none_or(|(_, _, known)| total(&stages) < total(known)) {
                    best = Some((allocations, sum, stages));
                }
            }
            let Some((allocations, sum, stages)) = best else { continue };
            for stage in stages {
                table.push_str(&format!(
                    "| {allocations} | {} | {threads} | {:.2} | {:.1} | {:.2} | {:.1} |\n",
                    stage.name,
                    stage.processor,
                    stage.processor * 1e9 / allocations.max(1) as f64,
                    stage.wall / stage.processor.max(1e-9),
                    stage.processor / sum.max(1e-9),
                ));
            }
        }
    }
    Ok(table)
}
