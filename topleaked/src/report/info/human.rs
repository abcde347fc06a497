//! The answer of `info` for people.

use std::collections::BTreeMap;
use std::io;

use crate::image::MemoryKind;

use super::super::{Bytes, Column, Grouped, Look, SafeText, Share, Table};
use super::{Info, MemoryRow, ModuleRow, ProcessRow, ThreadRow};

/// So many threads and modules are shown unless all are asked for.
const SHOWN: usize = 20;
/// So many digits of a build id are shown where the whole does not fit.
const SHORT_BUILD_ID: usize = 12;
/// So many characters of a function's name are shown unless all is asked for: names of templates fill pages.
const SHOWN_NAME: usize = 100;
/// From this width on, a whole build id fits.
const WIDE: u16 = 150;

pub(super) fn write(info: &Info, out: &mut dyn io::Write, look: &Look) -> io::Result<()> {
    death(info, out)?;
    dump(info, out)?;
    memory(info, out, look)?;
    threads(info, out, look)?;
    modules(info, out, look)?;
    if !info.advice.is_empty() {
        writeln!(out, "\nWhat would help:")?;
    }
    for advice in &info.advice {
        writeln!(out, "  - {}", SafeText::from(advice.as_str()))?;
    }
    Ok(())
}

fn safe(text: &str) -> SafeText<'_> {
    SafeText::from(text)
}

fn death(info: &Info, out: &mut dyn io::Write) -> io::Result<()> {
    let process = &info.process;
    let name = called(process);
    match &process.signal {
        // Every thread's note tells the process, and the signal with it: without one, nothing is known.
        None if process.pid.is_none() => writeln!(out, "what ended {} is not in the dump", safe(name))?,
        None => writeln!(out, "{} was dumped while it ran: no signal ended it", safe(name))?,
        Some(signal) => {
            let number = format!("signal {}", signal.number);
            write!(out, "{} was ended by {}", safe(name), signal.name.unwrap_or(&number))?;
            if let Some(meaning) = &signal.meaning {
                write!(out, ": {}", safe(meaning))?;
            }
            writeln!(out)?;
        }
    }
    let mut line = String::new();
    for argument in &process.arguments {
        line.push(' ');
        line.push_str(&quoted(argument));
    }
    if !line.is_empty() {
        writeln!(out, "  command  {}{}", safe(line.trim_start()), if process.arguments_cut { " …" } else { "" })?;
    }
    if let Some(executable) = &process.executable {
        writeln!(out, "  program  {}", safe(executable))?;
    }
    let target = &info.target;
    let pid = process.pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string());
    writeln!(out, "  process  {pid}, {}, {}-bit, {}-endian", target.machine, target.class, target.endian)
}

/// The name that people know the process by: the one that it was started by (`redis-server` may be a link to
/// `redis-check-rdb`, and `sh` one to a box of many programs), as its arguments say where the kernel's record agrees, or as
/// the kernel told the program; else its file's.
fn called(process: &ProcessRow) -> &str {
    fn last(path: &str) -> &str {
        path.rsplit('/').next().unwrap_or(path)
    }
    // A program that rewrites its arguments keeps its name in front: `nginx: worker process`.
    let started = process.arguments.first().and_then(|argument| argument.split([' ', ':']).next()).map_or("", last);
    // The kernel keeps 15 bytes of it.
    let recorded = |name: &str| match process.command.len() {
        0 => false,
        15 => name.starts_with(&process.command),
        _ => name == process.command,
    };
    let path = process.executable.as_deref().unwrap_or(&process.command);
    // Started by hand, the dynamic linker is what the kernel started.
    let told = process.started_as.as_deref().map(last).filter(|name| !name.is_empty() && !name.starts_with("ld-"));
    match (recorded(started), told, last(path)) {
        (true, ..) => started,
        (false, Some(name), _) => name,
        (false, None, "") => "the process",
        (false, None, name) => name,
    }
}

/// As one would type it into a shell.
fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-./:=,+@%*".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        return argument.to_owned();
    }
    format!("'{}'", argument.replace('\'', r"'\''"))
}

fn dump(info: &Info, out: &mut dyn io::Write) -> io::Result<()> {
    let held = Bytes(info.file_bytes);
    if info.truncated {
        let share = Share { part: info.file_bytes, whole: info.expected_bytes };
        return writeln!(out, "  dump     {held} of {}: truncated, {share} are there", Bytes(info.expected_bytes));
    }
    writeln!(out, "  dump     {held}, whole")
}

fn memory(info: &Info, out: &mut dyn io::Write, look: &Look) -> io::Result<()> {
    let mut table = Table::new(&[
        Column::text("memory"),
        Column::number("bytes"),
        Column::number("in the dump"),
        Column::number("from files"),
        Column::number("missing"),
    ]);
    let size = |bytes: u64| if bytes == 0 { String::new() } else { Bytes(bytes).to_string() };
    let mut total = MemoryRow::default();
    let mut guard = 0;
    for row in &info.memory {
        let name = row.kind.map_or("", |kind| kind.name()).to_owned();
        if row.kind == Some(MemoryKind::Guard) {
            // Address space set aside, not memory: it would drown the sum.
            guard = row.bytes;
            continue;
        }
        table.row([name, size(row.bytes), size(row.present_bytes), size(row.elided_bytes), size(row.missing_bytes)]);
        total.bytes = total.bytes.saturating_add(row.bytes);
        total.present_bytes = total.present_bytes.saturating_add(row.present_bytes);
        total.elided_bytes = total.elided_bytes.saturating_add(row.elided_bytes);
        total.missing_bytes = total.missing_bytes.saturating_add(row.missing_bytes);
    }
    let sums = [total.bytes, total.present_bytes, total.elided_bytes, total.missing_bytes];
    table.row(std::iter::once("total".to_owned()).chain(sums.map(size)));
    writeln!(out)?;
    table.write(out, look)?;
    if guard > 0 {
        writeln!(out, "and {} of address space without access (guard pages, reserves)", Bytes(guard))?;
    }
    Ok(())
}

/// A long name without its middle: its beginning tells the class, its end the function.
fn shortened(name: &str) -> String {
    let count = name.chars().count();
    if count <= SHOWN_NAME {
        return name.to_owned();
    }
    let half = SHOWN_NAME / 2;
    let head: String = name.chars().take(half).collect();
    let tail: String = name.chars().skip(count - half).collect();
    format!("{head}…{tail}")
}

/// Where a thread was: the function, else the place in the module, else the address.
fn place(thread: &ThreadRow, all: bool) -> String {
    let module = thread.module.as_deref().map(|path| path.rsplit('/').next().unwrap_or(path));
    let offset = thread.offset.map(|offset| format!("+{offset:#x}")).unwrap_or_default();
    let function = thread.function.as_ref().map(|function| if all { function.clone() } else { shortened(function) });
    match (function, module, thread.pc) {
        (Some(function), Some(module), _) => format!("{function}{offset} ({module})"),
        (Some(function), None, _) => format!("{function}{offset}"),
        (None, Some(module), _) => format!("{module}{offset}"),
        (None, None, Some(pc)) => format!("{pc} (no module)"),
        (None, None, None) => "unknown".to_owned(),
    }
}

fn threads(info: &Info, out: &mut dyn io::Write, look: &Look) -> io::Result<()> {
    let count = info.threads.len();
    if count == 0 {
        return writeln!(out, "\nno threads: the dump does not tell them");
    }
    // The thread that died, then the others by where they were, most first.
    let mut groups: Vec<(String, Vec<&ThreadRow>)> = Vec::new();
    if info.all || count <= SHOWN {
        groups.extend(info.threads.iter().map(|thread| (place(thread, info.all), vec![thread])));
    } else {
        groups.extend(info.threads.first().map(|thread| (place(thread, info.all), vec![thread])));
        let mut by_place: BTreeMap<String, Vec<&ThreadRow>> = BTreeMap::new();
        for thread in info.threads.iter().skip(1) {
            by_place.entry(place(thread, info.all)).or_default().push(thread);
        }
        let mut others: Vec<_> = by_place.into_iter().collect();
        others.sort_by(|left, right| right.1.len().cmp(&left.1.len()).then_with(|| left.0.cmp(&right.0)));
        groups.extend(others);
    }
    let limit = if info.all { usize::MAX } else { SHOWN };
    let mut table =
        Table::new(&[Column::text("thread"), Column::text("was in"), Column::number("stack in use"), Column::text("")]);
    for (place, threads) in groups.iter().take(limit) {
        let Some(first) = threads.first() else { continue };
        let name = match threads.len() {
            1 => first.tid.to_string(),
            more => format!("{} and {} more", first.tid, Grouped(more as u64 - 1)),
        };
        let live: u64 = threads.iter().filter_map(|thread| thread.stack.map(|stack| stack.live_bytes)).sum();
        let lost = threads.iter().any(|thread| thread.stack.is_none_or(|stack| stack.missing_bytes > 0));
        let live = if live == 0 { String::new() } else { Bytes(live).to_string() };
        let note = if lost { "stack missing" } else { "" };
        table.row([name, place.clone(), live, note.to_owned()]);
    }
    match count {
        1 => writeln!(out, "\n1 thread:")?,
        _ if info.process.signal.is_some() => {
            writeln!(out, "\n{} threads, the one that died first:", Grouped(count as u64))?;
        }
        _ => writeln!(out, "\n{} threads:", Grouped(count as u64))?,
    }
    table.write(out, look)?;
    let hidden: usize = groups.iter().skip(limit).map(|(_, threads)| threads.len()).sum();
    if hidden > 0 {
        writeln!(out, "… {} more threads (--all)", Grouped(hidden as u64))?;
    }
    Ok(())
}

fn modules(info: &Info, out: &mut dyn io::Write, look: &Look) -> io::Result<()> {
    let mut shown: Vec<&ModuleRow> = info.modules.iter().collect();
    // What the program is first, then what lacks most.
    let rank = |module: &ModuleRow| match module.role {
        "executable" => 0,
        "library" => 1,
        _ => 2,
    };
    shown.sort_by(|left, right| {
        let (left_key, right_key) = ((rank(left), right.missing_bytes), (rank(right), left.missing_bytes));
        left_key.cmp(&right_key).then_with(|| left.base.cmp(&right.base))
    });
    if shown.is_empty() {
        return writeln!(out, "\nno modules: the dump does not tell them");
    }
    let whole_ids = look.width.is_some_and(|width| width >= WIDE) || look.width.is_none();
    let mut table =
        Table::new(&[Column::text("module"), Column::text("base"), Column::text("build id"), Column::text("symbols")]);
    let limit = if info.all { usize::MAX } else { SHOWN };
    for module in shown.iter().take(limit) {
        let id = match &module.build_id {
            None => "-".to_owned(),
            Some(id) if whole_ids => id.clone(),
            Some(id) => id.get(..SHORT_BUILD_ID).map_or_else(|| id.clone(), |head| format!("{head}…")),
        };
        let path = if module.path.is_empty() { "(no name)" } else { &module.path };
        let base = match info.target.class {
            32 => format!("{:#010x}", module.base.0),
            _ => module.base.to_string(),
        };
        table.row([path.to_owned(), base, id, symbols(module)]);
    }
    writeln!(out, "\n{} modules:", Grouped(shown.len() as u64))?;
    table.write(out, look)?;
    if shown.len() > limit {
        writeln!(out, "… {} more modules (--all)", Grouped((shown.len() - limit) as u64))?;
    }
    Ok(())
}

/// Whether a module's file and symbols were found, and where.
fn symbols(module: &ModuleRow) -> String {
    let found = |source: &str| module.symbols.iter().find(|symbols| symbols.source == source);
    let at = |path: &Option<String>| match path {
        // The rest of such a path is the build id, which stands beside it.
        Some(path) if path.contains("/.build-id/") => {
            format!(" in {}", path.split("/.build-id/").next().unwrap_or(path))
        }
        Some(path) if *path != module.path => format!(" in {path}"),
        _ => String::new(),
    };
    let mut text = if let Some(symbols) = found("debug-file") {
        format!("debug file{}", at(&symbols.path))
    } else if let Some(symbols) = found("own-file") {
        format!("all{}", at(&symbols.path))
    } else if let Some(symbols) = found("mini-debug-info") {
        format!("functions alone{}", at(&symbols.path))
    } else if let Some(symbols) = found("own-file-dynamic") {
        format!("exported ones alone{}", at(&symbols.path))
    } else if found("dump").is_some() {
        "exported ones alone, from the dump".to_owned()
    } else {
        "none".to_owned()
    };
    if module.role != "vdso" && module.file.is_none() {
        let refused = |reason: &str| module.refused.iter().any(|refused| refused.reason == reason);
        text.push_str(if refused("other-build") {
            "; its file here is another build"
        } else if refused("unverifiable") {
            "; its file here may be another build"
        } else {
            "; its file was not found"
        });
    }
    text
}
