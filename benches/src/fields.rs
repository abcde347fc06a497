//! What `fields` costs beyond `leaks`: ten million objects of 56 bytes with twelve members, a third of them leaked.

use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use topleaked::image::{Image, OpenOptions};
use topleaked::report::{Fields, FieldsOptions};
use topleaked::session::Session;
use topleaked::task::Task;

const PROGRAM: &str = include_str!("../programs/clients.cpp");

/// Compiles and crashes the program in `folder` unless its core is there, and prints a row for each number of threads.
pub(crate) fn run(folder: &Path, objects: u32, pairs: usize) -> anyhow::Result<()> {
    let core = make(folder, objects)?;
    let mut out = std::io::stdout();
    writeln!(
        out,
        "| objects | threads | leaks, processor s | fields beyond it, processor s | of a plain sum |\n|---|---|---|---|---|"
    )?;
    for threads in [1, 2] {
        let (mut leaks, mut fields, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..pairs.max(1) {
            let file = std::fs::File::open(&core)?;
            let (_, _, sum) = super::timed(|| super::plain_sum(&file, threads))?;
            let options = OpenOptions::default();
            let task = Task { threads: NonZeroUsize::new(threads).context("threads")?, ..Task::default() };
            let image = Image::open(&core, &options, &task)?;
            let session = Session::new(&image, &options, &task);
            let (_, _, before) = super::timed(|| {
                session.graph()?;
                session.objects()?;
                Ok(())
            })?;
            let (answer, _, beyond) =
                super::timed(|| Ok(Fields::new(&session, "Client", &FieldsOptions::default(), None)?))?;
            let answer = serde_json::to_value(&answer)?;
            ensure!(answer["members"][0]["name"] == "state", "the state does not come first: {}", answer["members"][0]);
            let count = |group: &str| answer[group]["count"].as_u64().unwrap_or(0);
            ensure!(count("suspects") + count("reference") == u64::from(objects), "objects are missing");
            leaks.push(before);
            fields.push(beyond);
            ratios.push(beyond / sum);
        }
        writeln!(
            out,
            "| {objects} | {threads} | {:.2} | {:.2} | {:.1} |",
            super::median(&mut leaks),
            super::median(&mut fields),
            super::median(&mut ratios)
        )?;
    }
    Ok(())
}

fn make(folder: &Path, objects: u32) -> anyhow::Result<std::path::PathBuf> {
    let folder = folder.join(format!("clients-{objects}"));
    let core = folder.join("core");
    if core.exists() {
        return Ok(core);
    }
    std::fs::create_dir_all(&folder)?;
    let (source, program) = (folder.join("clients.cpp"), folder.join("clients"));
    std::fs::write(&source, PROGRAM)?;
    let count = format!("-DCOUNT={objects}");
    let built = Command::new("c++").args(["-O1", "-g", &count, "-o"]).arg(&program).arg(&source).status()?;
    ensure!(built.success(), "c++ refuses the program");
    Command::new("sh").args(["-c", "ulimit -c unlimited && exec ./clients"]).current_dir(&folder).status()?;
    let entries = std::fs::read_dir(&folder)?.flatten().map(|entry| entry.path());
    let found = entries
        .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("core")));
    let found = found.max().context("the program left no core: /proc/sys/kernel/core_pattern has to be `core`")?;
    if found != core {
        std::fs::rename(&found, &core)?;
    }
    Ok(core)
}
