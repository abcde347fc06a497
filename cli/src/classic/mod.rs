//! The classic form, `topleaked FILE [options]`: the original's command, options and output.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::time::Instant;

use topleaked::addr::{ByteOrder, Target, Width};
use topleaked::image::{Input, core_head_bytes, core_target, word_alignment};
use topleaked::report::{Answer, Look, MemberValues, Report, WordCounts, WriteGdb};
use topleaked::task::{Diagnostic, Task};
use topleaked::words::{self, Extent, Member, MemberAt, Question, Search, Source, Tail, count_members, count_words};

use crate::examples::Example;
use crate::{Exit, output, terminal};

mod options;
mod values;

pub(crate) use options::decimal;
pub use options::{Form, MemberType, Options};

/// Command lines that work, for the top of the help.
pub const EXAMPLES: &[Example] = &[
    ("topleaked app.core", "the ten most frequent words"),
    ("topleaked app.core -n10 -ogdb | gdb app app.core", "the same, with their names from gdb"),
    (
        "topleaked app.core -f 0x55697c45cd78 --memberOffset=8 --memberType=uint64",
        "values of a member of the objects found",
    ),
];

/// The size of a word, and the step from one to the next.
const WORD_BYTES: u64 = 8;

/// Answers the question.
///
/// # Errors
/// Where the input cannot be opened or read to its end, or the memory budget does not suffice.
pub fn run(options: &Options) -> anyhow::Result<Exit> {
    let began = Instant::now();
    if options.json && options.output == Form::Gdb {
        anyhow::bail!("--json and --output=gdb exclude each other");
    }
    let mut task = options.means.task();
    let mut input =
        if options.file.as_os_str() == "-" { Input::open_stdin(&task)? } else { Input::open(&options.file, &task)? };
    let (given, reserved) = (task.memory_budget_bytes, input.reserved_bytes());
    task.memory_budget_bytes = given.saturating_sub(reserved);
    let answer = terminal::with_progress(&task, || answer(&mut input, options, &task));
    let (diagnostics, answer) = answer.map_err(|error| {
        let error = error.downcast().map_or_else(|other| other, |error| with_reserve(error, given, reserved).into());
        error.context(options.file.display().to_string())
    })?;
    let name = options.file.as_os_str().to_owned();
    match answer {
        Found::Words(answer) => print(name, answer, diagnostics, options, began)?,
        Found::Values(answer) => print(name, answer, diagnostics, options, began)?,
    }
    Ok(Exit::Answered)
}

/// The error in the user's own numbers, where the input keeps `reserved` bytes of the `given` ones for itself. Of a larger
/// budget it keeps no larger part.
fn with_reserve(error: words::Error, given: u64, reserved: u64) -> words::Error {
    let whole = |part: u64| {
        let left = u128::from(given.saturating_sub(reserved).max(1));
        let whole = (u128::from(part) * u128::from(given.max(1))).div_ceil(left);
        u64::try_from(whole).unwrap_or(u64::MAX).max(part)
    };
    match error {
        words::Error::Budget { needed, .. } => words::Error::Budget { needed: whole(needed), given },
        words::Error::Results { needed } => words::Error::Results { needed: whole(needed) },
        other => other,
    }
}

enum Found {
    Words(WordCounts),
    Values(MemberValues),
}

fn answer(input: &mut Input, options: &Options, task: &Task) -> anyhow::Result<(Vec<Diagnostic>, Found)> {
    let diagnostics = core_hints(input, options.offset)?;
    let found = match options.find {
        None => {
            let counts = with_source(input, options, |source| count_words(source, &Question::top(options.size), task))?;
            Found::Words(WordCounts::new(counts))
        }
        Some(value) => {
            let search = Search {
                value,
                member: Some(MemberAt { offset: options.member_offset, member: options.member_type.member() }),
                n: options.size,
                target: Target::LITTLE_8,
                tail: Tail::Zero,
                isa: None,
            };
            let counts = with_source(input, options, |source| count_members(source, &search, task))?;
            Found::Values(MemberValues {
                values: options.member_type.rows(&counts),
                matches: counts.matches,
                members: counts.members,
            })
        }
    };
    Ok((diagnostics, found))
}

/// Hands out the part of the input that `--offset` and `--limit` name; `count` is called once.
fn with_source<T>(
    input: &mut Input,
    options: &Options,
    count: impl FnOnce(Source<'_>) -> Result<T, words::Error>,
) -> anyhow::Result<T> {
    let most_bytes = options.limit.map_or(u64::MAX, |limit| limit.saturating_mul(WORD_BYTES));
    match input {
        Input::File(input) => {
            let size_bytes = input.size_bytes.saturating_sub(options.offset).min(most_bytes);
            // A file that shrinks meanwhile ends the program clearly: see `sigbus`.
            Ok(count(Source::Mapped(&[Extent { file: &input.file, offset: options.offset, size_bytes }]))?)
        }
        Input::Stream(stream) => {
            stream.skip(options.offset)?;
            Ok(count(Source::Stream(&mut stream.take(most_bytes)))?)
        }
    }
}

/// What is to be said of an ELF core whose words are not those that are counted: eight bytes, little-endian, at the step
/// that `--offset` starts.
fn core_hints(input: &mut Input, offset: u64) -> anyhow::Result<Vec<Diagnostic>> {
    let is_past_the_end = matches!(input, Input::File(file) if offset >= file.size_bytes);
    let head = input.head(64)?;
    let Some(wanted) = core_head_bytes(&head).filter(|_| !is_past_the_end) else { return Ok(Vec::new()) };
    let head = input.head(usize::try_from(wanted).unwrap_or(usize::MAX))?;
    Ok(other_words(&head).into_iter().chain(misaligned(&head, offset)).collect())
}

fn other_words(head: &[u8]) -> Option<Diagnostic> {
    let words = match core_target(head)? {
        Target { width: Width::W8, order: ByteOrder::Little } => return None,
        Target { width: Width::W4, order: ByteOrder::Little } => "4 bytes",
        Target { width: Width::W8, order: ByteOrder::Big } => "their most significant byte first",
        Target { width: Width::W4, order: ByteOrder::Big } => "4 bytes, the most significant byte first",
    };
    Some(Diagnostic {
        code: "other-words",
        at: "memory of the core".to_owned(),
        effect: format!(
            "its words have {words}, and are counted here as little-endian ones of 8 bytes; `topleaked top` takes them \
             as they are"
        ),
    })
}

fn misaligned(head: &[u8], offset: u64) -> Option<Diagnostic> {
    let (remainder, width) = word_alignment(head)?;
    let width = width.bytes() as u64;
    if offset % width == remainder {
        return None;
    }
    // The nearest start from the one asked for on.
    let fits = offset.checked_add((remainder + width - offset % width) % width)?;
    Some(Diagnostic {
        code: "misaligned",
        at: "memory of the core".to_owned(),
        effect: format!("it is not aligned to the step from byte {offset}, so words are cut in two; -s {fits} fits"),
    })
}

fn print<A: Answer + WriteGdb>(
    name: OsString,
    answer: A,
    diagnostics: Vec<Diagnostic>,
    options: &Options,
    began: Instant,
) -> anyhow::Result<()> {
    let report = Report::new("classic", name, answer).with_diagnostics(diagnostics);
    let took = || format!("Done in {:.3} s", began.elapsed().as_secs_f64());
    if options.json {
        output::print_report(&report, true)?;
        if options.time {
            let _ = writeln!(std::io::stderr(), "{}", took());
        }
        return Ok(());
    }
    output::print(|out| {
        match options.output {
            Form::Human => report.write_human(out, &Look::PLAIN)?,
            Form::Gdb => report.result.write_gdb(out)?,
        }
        if options.time { writeln!(out, "{}", took()) } else { Ok(()) }
    })?;
    output::print_diagnostics(&report.diagnostics);
    Ok(())
}

impl MemberType {
    fn member(self) -> Member {
        match self {
            MemberType::Uint8 | MemberType::Int8 | MemberType::Bool => Member::Bits(1),
            MemberType::Uint16 | MemberType::Int16 => Member::Bits(2),
            MemberType::Uint32 | MemberType::Int32 | MemberType::Float32 => Member::Bits(4),
            MemberType::Uint64 | MemberType::Int64 | MemberType::Float64 | MemberType::Pointer => Member::Bits(8),
            MemberType::Cstring => Member::CString { max_bytes: values::MAX_TEXT_BYTES },
        }
    }
}
