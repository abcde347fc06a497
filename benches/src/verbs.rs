//! What the verbs `top` and `info` cost, next to the classic count and the plain sum of the same memory.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use topleaked::addr::Target;
use topleaked::image::{Image, OpenOptions};
use topleaked::insight::{Reader, TopQuestion, WordKind, top_words};
use topleaked::report::{Answer as _, Info, Look};
use topleaked::session::Session;
use topleaked::symbols::Symbols;
use topleaked::task::Task;
use topleaked::types::Vtables;
use topleaked::words::{Extent, Question, Source, count_words};

use crate::{plain_sum, timed};

/// A program of 100,000 functions and 2,000 classes, whose file has
/// some 50 MB.
fn write_large_program(path: &Path) -> anyhow::Result<()> {
    let source = path.with_extension("cpp");
    let mut out = std::io::BufWriter::new(File::create(&source)?);
    writeln!(out, "#include <cstdlib>")?;
    for function in 0..100_000 {
        writeln!(
            out,
            "namespace service::component_{} {{ int function_number_{function}(int x) {{ return x + {function}; }} }}",
            function % 100
        )?;
    }
    for class in 0..2000 {
        writeln!(
            out,
            "namespace service::classes {{ struct Class{class} {{ virtual ~Class{class}() {{}} virtual int value() {{ return {class}; }} long id = {class}; }}; }}"
        )?;
    }
    // Constants that make the file as large as it is said to be.
    writeln!(out, "extern const char ballast[40 << 20]; const char ballast[40 << 20] = {{1}};")?;
    writeln!(out, "static void *volatile sink;\nint main() {{\n    for (int i = 0; i < 50000; ++i) {{")?;
    for class in 0..2000 {
        writeln!(out, "        if (i % 25 == {}) sink = new service::classes::Class{class};", class % 25)?;
    }
    writeln!(out, "    }}\n    abort();\n}}")?;
    out.flush()?;
    let status = Command::new("c++").args(["-O0", "-o"]).arg(path).arg(&source).status().context("c++")?;
    ensure!(status.success(), "c++ failed");
    Ok(())
}

/// The dump of the large program, made where it is not there yet. The system has to write dumps as `core`.
fn large_program_dump(folder: &Path) -> anyhow::Result<PathBuf> {
    let folder = folder.join("large-program");
    let (program, core) = (folder.join("program"), folder.join("core"));
    if core.exists() {
        return Ok(core);
    }
    fs::create_dir_all(&folder)?;
    write_large_program(&program)?;
    let limited = format!("ulimit -c unlimited; exec {}", program.display());
    Command::new("sh").args(["-c", &limited]).current_dir(&folder).status()?;
    let written = fs::read_dir(&folder)?.filter_map(Result::ok).find(|entry| {
        let name = entry.file_name();
        name.to_string_lossy().starts_with("core")
    });
    let written = written.context("no dump was written: /proc/sys/kernel/core_pattern has to be `core`")?;
    if written.path() != core {
        fs::rename(written.path(), &core)?;
    }
    Ok(core)
}

/// Processor seconds, the least of several tries: what is left when nobody else is in the way.
fn least(pairs: usize, mut work: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let mut least = f64::INFINITY;
    for _ in 0..pairs.max(1) {
        least = least.min(timed(&mut work)?.2);
    }
    Ok(least)
}

fn answer_top(core: &Path, question: &TopQuestion) -> anyhow::Result<usize> {
    let (options, task) = (OpenOptions::default(), Task::default());
    let image = Image::open(core, &options, &task)?;
    let symbols = Symbols::new(&image, options.search.clone());
    let vtables = Vtables::new(&image, &symbols);
    Ok(top_words(&Reader::new(&symbols, &vtables), question, &task)?.words.len())
}

/// What the names cost: the first answer reads symbols, the second has them.
fn naming(core: &Path, pairs: usize) -> anyhow::Result<f64> {
    let mut differences = Vec::new();
    for _ in 0..pairs.max(1) {
        let (options, task) = (OpenOptions::default(), Task::default());
        let image = Image::open(core, &options, &task)?;
        let symbols = Symbols::new(&image, options.search.clone());
        let vtables = Vtables::new(&image, &symbols);
        let reader = Reader::new(&symbols, &vtables);
        let question = TopQuestion { n: 20, ..TopQuestion::default() };
        let ask = || Ok(timed(|| Ok(top_words(&reader, &question, &task)?))?.2);
        let (first, second): (anyhow::Result<f64>, anyhow::Result<f64>) = (ask(), ask());
        differences.push(first? - second?);
    }
    Ok(differences.into_iter().fold(f64::INFINITY, f64::min))
}

/// Measures the verbs on a dump: one that is named, else that of the large program.
pub(crate) fn measure(folder: &Path, named: Option<&Path>, pairs: usize) -> anyhow::Result<()> {
    let large = large_program_dump(folder)?;
    let mut out = std::io::stdout();
    writeln!(out, "| dump | question | processor s | beside it | ratio |\n|---|---|---|---|---|")?;
    for core in named.into_iter().chain([large.as_path()]) {
        let file = File::open(core)?;
        let size_bytes = file.metadata()?.len();
        let name = match core == large {
            true => "large program".to_owned(),
            false => format!("{:.1} GB", size_bytes as f64 / 1e9),
        };
        let sum = least(pairs, || plain_sum(&file, 2).map(drop))?;
        let classic = |n: u64| {
            let task = Task::default();
            let extent = Extent { file: &file, offset: 0, size_bytes };
            let question = Question { target: Target::LITTLE_8, ..Question::top(n) };
            count_words(Source::Mapped(&[extent]), &question, &task).map(drop).context("classic")
        };
        let mut row = |question: &str, seconds: f64, beside: &str, other: f64, ratio: f64| {
            writeln!(out, "| {name} | {question} | {seconds:.3} | {beside}: {other:.3} | {ratio:.2} |")
        };
        for n in [10, 20] {
            let count = least(pairs, || classic(n))?;
            let top = least(pairs, || {
                let words = answer_top(core, &TopQuestion { n, ..TopQuestion::default() })?;
                ensure!(words as u64 == n, "{words} words, {n} were asked for");
                Ok(())
            })?;
            row(&format!("`top -n {n}`"), top, "classic", count, top / count)?;
        }
        let naming = naming(core, pairs)?;
        row(
            "naming in `top -n 20`: the first answer less the second, in a budget of 0.15 s",
            naming,
            "budget",
            0.15,
            naming / 0.15,
        )?;
        let kinds = vec![WordKind::Vtable];
        let vtables = least(pairs, || {
            let found = answer_top(core, &TopQuestion { n: 20, kinds: kinds.clone(), ..TopQuestion::default() })?;
            ensure!(found > 0, "no vtable was found");
            Ok(())
        })?;
        row("`top --kind vtable`, speed against the plain sum", vtables, "plain sum", sum, sum / vtables)?;
        let info = least(pairs, || {
            let (options, task) = (OpenOptions::default(), Task::default());
            let image = Image::open(core, &options, &task)?;
            let mut text = Vec::new();
            Info::new(&Session::new(&image, &options, &task)).write_human(&mut text, &Look::PLAIN)?;
            ensure!(!text.is_empty(), "no answer");
            Ok(())
        })?;
        row("`info`, in a budget of 0.2 s", info, "budget", 0.2, info / 0.2)?;
    }
    Ok(())
}
