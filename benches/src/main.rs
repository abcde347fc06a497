//! Measures the stages of topleaked against the plain read of the same bytes.
//!
//! A time says little on a busy machine, so each measurement is a pair: the plain sum of all words (from a fresh
//! mapping, vectorised for the same instructions), then the question, in turns. The ratio of the two is what counts;
//! the best and the median of all pairs are shown. Every answer is compared with that of a plain sort.

mod data;
mod fields;
mod heap;
mod verbs;

use std::fs::{self, File};
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use topleaked::addr::{Addr, Span, Target};
use topleaked::task::Task;
use topleaked::words::{
    Count, Extent, Isa, Keep, Member, MemberAt, Question, Search, Source, Tail, count_members, count_words,
};

use data::{Data, MODULE, Sizes, VTABLE};

/// What one run of a question says: the most bytes it took, and how many passes.
type Outcome = anyhow::Result<(u64, u64)>;

/// Asks a question about a file, and checks the answer.
type Run = dyn Fn(&Data, &File, &Task) -> Outcome;

/// A row of the table. Another stage is another row.
struct Row {
    name: String,
    /// The file that it is asked about.
    data: &'static str,
    isa: Isa,
    run: Box<Run>,
}

fn top(name: &str, data: &'static str, n: u64, isa: Isa) -> Row {
    let run = move |data: &Data, file: &File, task: &Task| {
        let extent = Extent { file, offset: 0, size_bytes: file.metadata()?.len() };
        let question = Question { isa: Some(isa), ..Question::top(n) };
        let counts = count_words(Source::Mapped(&[extent]), &question, task)?;
        let size = usize::try_from(n)?.min(data.top.len());
        check(&counts.top, &data.top[..size])?;
        Ok((counts.cost.peak_bytes, counts.cost.passes))
    };
    Row { name: name.to_owned(), data, isa, run: Box::new(run) }
}

/// A member of that many bytes after the hottest vtable: the first 4 are one of five states, the next 4 differ.
fn members(name: &str, size_bytes: u8) -> Row {
    let run = move |data: &Data, file: &File, task: &Task| {
        let extent = Extent { file, offset: 0, size_bytes: file.metadata()?.len() };
        let member = Some(MemberAt { offset: 8, member: Member::Bits(size_bytes) });
        let search = Search { value: VTABLE, member, n: 10, target: Target::LITTLE_8, tail: Tail::Zero, isa: None };
        let counts = count_members(Source::Mapped(&[extent]), &search, task)?;
        let known = data.top.iter().find(|(value, _)| *value == VTABLE).map_or(0, |(_, count)| *count);
        ensure!(counts.matches == known, "{} matches, {known} by a plain sort", counts.matches);
        Ok((counts.cost.peak_bytes, counts.cost.passes))
    };
    Row { name: name.to_owned(), data: "core of a C++ service", isa: Isa::best(), run: Box::new(run) }
}

fn check(counted: &[Count], known: &[(u64, u64)]) -> anyhow::Result<()> {
    ensure!(
        counted.iter().map(|count| (count.value, count.count)).eq(known.iter().copied()),
        "the answer is not that of a plain sort"
    );
    Ok(())
}

fn rows() -> Vec<Row> {
    let core = "core of a C++ service";
    let mut rows = vec![
        top("N = 10", core, 10, Isa::Avx512),
        top("N = 100", core, 100, Isa::Avx512),
        top("N = 10,000", core, 10_000, Isa::Avx512),
        top("N = 10, AVX2", core, 10, Isa::Avx2),
        top("N = 100, AVX2", core, 100, Isa::Avx2),
        top("N = 10, portable", core, 10, Isa::Portable),
        top("N = 10", "random words", 10, Isa::Avx512),
        top("N = 10,000", "random words", 10_000, Isa::Avx512),
        top("N = 10", "zeros", 10, Isa::Avx512),
    ];
    rows.push(members("-f, a state of 4 bytes", 4));
    rows.push(members("-f, a member that is nearly unique", 8));
    rows.push(Row {
        name: "words in 256 given ranges".to_owned(),
        data: core,
        isa: Isa::Avx512,
        run: Box::new(|data, file, task| {
            let step = (MODULE.1 - MODULE.0) / 256;
            let spans: Vec<Span> =
                (0..256).filter_map(|i| Span::with_size(Addr(MODULE.0 + i * step), step - 8)).collect();
            let extent = Extent { file, offset: 0, size_bytes: file.metadata()?.len() };
            let question = Question { keep: Keep::Within(&spans), ..Question::top(10) };
            let counts = count_words(Source::Mapped(&[extent]), &question, task)?;
            let inside = |value: u64| spans.iter().any(|span| span.contains(Addr(value)));
            let known: Vec<_> = data.top.iter().filter(|(value, _)| inside(*value)).take(10).copied().collect();
            check(&counts.top, &known)?;
            Ok((counts.cost.peak_bytes, counts.cost.passes))
        }),
    });
    rows
}

/// The sum of all words of a slice.
fn sum(bytes: &[u8]) -> u64 {
    #[inline(always)]
    fn body(bytes: &[u8]) -> u64 {
        bytes.as_chunks().0.iter().fold(0u64, |sum, raw| sum.wrapping_add(u64::from_le_bytes(*raw)))
    }
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f")]
        fn avx512(bytes: &[u8]) -> u64 {
            body(bytes)
        }
        #[target_feature(enable = "avx2")]
        fn avx2(bytes: &[u8]) -> u64 {
            body(bytes)
        }
        if Isa::Avx512.is_available() {
            // SAFETY: the processor has it: asked right here.
            #[allow(unsafe_code)]
            return unsafe { avx512(bytes) };
        }
        if Isa::Avx2.is_available() {
            // SAFETY: the processor has it: asked right here.
            #[allow(unsafe_code)]
            return unsafe { avx2(bytes) };
        }
    }
    body(bytes)
}

/// The ceiling: all words summed up, from a mapping of its own.
fn plain_sum(file: &File, threads: usize) -> anyhow::Result<u64> {
    // SAFETY: the file is this program's own, and nobody writes to it now.
    #[allow(unsafe_code)]
    let map = unsafe { memmap2::Mmap::map(file)? };
    let share = map.len().div_ceil(threads).next_multiple_of(8);
    Ok(std::thread::scope(|scope| {
        let workers: Vec<_> = map.chunks(share.max(8)).map(|part| scope.spawn(|| sum(part))).collect();
        workers.into_iter().fold(0, |all: u64, worker| all.wrapping_add(worker.join().unwrap_or_default()))
    }))
}

fn processor_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Wall and processor seconds of `work`.
fn timed<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(T, f64, f64)> {
    let (wall, processor) = (Instant::now(), processor_seconds());
    let result = work()?;
    Ok((result, wall.elapsed().as_secs_f64(), processor_seconds() - processor))
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// What is being done, for who waits.
fn say(what: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stderr(), "bench: {what}")?)
}

const USAGE: &str = "\
usage: cargo xtask bench [--quick] [--size small|full] [--only TEXT] [--pairs COUNT] [--markdown] [--core FILE]
       cargo xtask bench --verbs [--core FILE] [--pairs COUNT]
       cargo xtask bench --fields [--size small|full] [--pairs COUNT]
  --quick     one pair of each question, on small files, without the heaps: under a minute
  --size      small: files of some 100 MB; full (default): 1.5 GB core, 0.5 GB random words, 1 GB zeros
  --only      rows whose question or file contains TEXT; `heap` for walk, leaks and explain alone
  --pairs     how often each question is measured (5)
  --markdown  also write docs/benchmarks.md
  --verbs     what `top` and `info` cost instead, on a program of 100,000 functions
  --core      walk, leaks and explain of this dump, instead of made heaps; with --verbs: on this dump, too
  --fields    what `fields` costs beyond `leaks`, and nothing else";

fn main() -> anyhow::Result<()> {
    let full = Sizes { core_words: 183 << 20, random_words: 1 << 26, zero_words: 1 << 27 };
    let small = Sizes { core_words: 12 << 20, random_words: 1 << 22, zero_words: 1 << 23 };
    let (mut sizes, mut only, mut pairs, mut markdown) = (full, String::new(), 5usize, false);
    let (mut heaps, mut core) = ([1 << 20, 1 << 21, 1 << 22], None);
    let (mut only_verbs, mut quick) = (false, false);
    let mut fields_alone = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} takes a value\n{USAGE}"));
        match argument.as_str() {
            "--size" => {
                sizes = match value()?.as_str() {
                    "small" => {
                        heaps = [1 << 16, 1 << 17, 1 << 18];
                        small
                    }
                    "full" => full,
                    other => bail!("no size is called {other}\n{USAGE}"),
                }
            }
            "--quick" => {
                (sizes, pairs, quick) = (small, 1, true);
            }
            "--only" => only = value()?,
            "--pairs" => pairs = value()?.parse().context(USAGE)?,
            "--markdown" => markdown = true,
            "--verbs" => only_verbs = true,
            "--core" => core = Some(PathBuf::from(value()?)),
            "--fields" => fields_alone = true,
            _ => bail!("{USAGE}"),
        }
    }
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    if only_verbs {
        verbs::measure(&root.join("target/bench"), core.as_deref(), pairs)?;
        return Ok(());
    }
    if fields_alone {
        let objects = if sizes.core_words == full.core_words { 10_000_000 } else { 500_000 };
        return fields::run(&root.join("target/bench"), objects, pairs);
    }
    let rows: Vec<Row> =
        rows().into_iter().filter(|row| row.name.contains(&only) || row.data.contains(&only)).collect();
    let folder = root.join("target/bench");
    let mut heap_table = String::new();
    if !quick && (only.is_empty() || "heap".contains(&only)) {
        say("measures heaps; --only core leaves them out")?;
        heap_table = heap::measure(&folder, &heaps, core.as_deref(), pairs)?;
        writeln!(std::io::stdout(), "{heap_table}")?;
    }
    if rows.is_empty() {
        return Ok(());
    }
    let all = data::prepare(&folder, sizes, "")?;
    let mut table = String::from(
        "| file | question | threads | plain sum, GB/s | of the plain sum: best | median | by processor time: best | median | processor s | passes | MiB |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let mut out = std::io::stdout();
    write!(out, "{table}")?;
    for row in rows.iter().filter(|row| row.isa.is_available()) {
        let Some(data) = all.iter().find(|data| data.name == row.data) else { continue };
        let file = File::open(&data.path)?;
        let gigabytes = file.metadata()?.len() as f64 / 1e9;
        for threads in [1, 2] {
            say(&format!("{}, {}, {threads} thread(s)", row.data, row.name))?;
            let task = Task { threads: NonZeroUsize::new(threads).context("threads")?, ..Task::default() };
            plain_sum(&file, threads)?;
            let (mut walls, mut processors, mut sums, mut seconds) = (vec![], vec![], vec![], vec![]);
            let mut outcome = (0, 0);
            for _ in 0..pairs.max(1) {
                let (_, sum_wall, sum_processor) = timed(|| plain_sum(&file, threads))?;
                let (cost, wall, processor) = timed(|| (row.run)(data, &file, &task)).context(row.name.clone())?;
                outcome = cost;
                walls.push(sum_wall / wall);
                processors.push(sum_processor / processor);
                sums.push(gigabytes / sum_wall);
                seconds.push(processor);
            }
            let best = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
            let line = format!(
                "| {} | {} | {threads} | {:.1} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {} | {:.1} |\n",
                row.data,
                row.name,
                best(&sums),
                best(&walls),
                median(&mut walls),
                best(&processors),
                median(&mut processors),
                median(&mut seconds),
                outcome.1,
                outcome.0 as f64 / f64::from(1 << 20),
            );
            write!(out, "{line}")?;
            table.push_str(&line);
        }
    }
    if markdown {
        let isa = Isa::best();
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let text = format!(
            "# Benchmarks\n\n\
             Measured by `cargo xtask bench --markdown`, on a shared machine with {processors} processors whose best \
             path is {isa:?}. Each question runs in turns with the plain sum of the same bytes (a fresh mapping inside \
             the timing, as well vectorised); the figures are fractions of the plain sum's speed over {pairs} pairs, by \
             wall time and by processor time. The plain sum is the ceiling: nothing that looks at every word is faster. \
             MiB are tables and buffers at their largest, over all threads, without the page cache. Every answer was \
             compared with that of a plain sort.\n\n{table}\n\
             Walk, marking and explaining, on made heaps whose allocations are all known; the last column says how many \
             plain sums of the dump the stage takes.\n\n{heap_table}"
        );
        // What was measured by hand stands in sections behind the table.
        let path = root.join("docs/benchmarks.md");
        let old = fs::read_to_string(&path).unwrap_or_default();
        let kept = old.find("\n## ").and_then(|at| old.get(at..)).unwrap_or_default();
        fs::write(path, text + kept)?;
    }
    Ok(())
}
