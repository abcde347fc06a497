//! What a dump says of its process: what died and why, threads, modules, memory, what is missing.

mod advice;
mod human;
mod signal;

use std::collections::BTreeMap;
use std::io;

use serde::Serialize;

use crate::addr::{ByteOrder, Width};
use crate::image::{
    Content, Evidence, Image, MemoryKind, MissingReason, Module, ModuleId, ModuleRole, Refusal, Thread,
};
use crate::session::Session;
use crate::symbols::SourceKind;

use super::{Answer, Hex, Look, safe_text::lossless};

/// The answer of `info`.
#[derive(Clone, Debug, Serialize)]
pub struct Info {
    process: ProcessRow,
    target: TargetRow,
    /// Whether the dump ends before what its own headers promise.
    truncated: bool,
    /// The size of the dump, unpacked, and the size it would have if it were whole.
    file_bytes: u64,
    expected_bytes: u64,
    threads: Vec<ThreadRow>,
    modules: Vec<ModuleRow>,
    memory: Vec<MemoryRow>,
    /// What can be done about what is missing, most useful first.
    advice: Vec<String>,
    /// Whether people are shown every thread and module.
    #[serde(skip)]
    all: bool,
}

#[derive(Clone, Debug, Serialize)]
struct ProcessRow {
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    executable: Option<String>,
    command: String,
    /// The path by which it was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    started_as: Option<String>,
    arguments: Vec<String>,
    /// Whether the dump has room for the first 80 bytes of the arguments alone.
    arguments_cut: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<SignalRow>,
}

#[derive(Clone, Debug, Serialize)]
struct SignalRow {
    number: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<i32>,
    /// What the code means, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    meaning: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault_address: Option<Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender_pid: Option<u32>,
}

#[derive(Clone, Debug, Serialize)]
struct TargetRow {
    machine: String,
    /// Bits of a pointer.
    class: u32,
    endian: &'static str,
}

#[derive(Clone, Debug, Serialize)]
struct ThreadRow {
    tid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pc: Option<Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sp: Option<Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<String>,
    /// How far behind the start of the function, or of the module where no function is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    module: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stack: Option<StackRow>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct StackRow {
    start: Hex,
    end: Hex,
    /// Bytes in use.
    live_bytes: u64,
    /// Bytes in use that the dump does not hold.
    missing_bytes: u64,
}

#[derive(Clone, Debug, Serialize)]
struct ModuleRow {
    path: String,
    role: &'static str,
    base: Hex,
    end: Hex,
    #[serde(skip_serializing_if = "Option::is_none")]
    build_id: Option<String>,
    /// Its file on this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    /// What showed that the file is the module's.
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<&'static str>,
    /// Files that were there and were not used.
    refused: Vec<RefusedRow>,
    /// Where symbols were found; empty where they were not.
    symbols: Vec<SymbolsRow>,
    /// Bytes of its code and constants that neither the dump nor a file has.
    missing_bytes: u64,
}

#[derive(Clone, Debug, Serialize)]
struct RefusedRow {
    path: String,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    build_id: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct SymbolsRow {
    source: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    count: u64,
}

/// Memory of one kind. `bytes` = present + elided + missing, without guard pages, which have none.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct MemoryRow {
    #[serde(serialize_with = "kind_name")]
    kind: Option<MemoryKind>,
    regions: u64,
    bytes: u64,
    present_bytes: u64,
    elided_bytes: u64,
    missing_bytes: u64,
}

fn kind_name<S: serde::Serializer>(kind: &Option<MemoryKind>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.map_or("all", MemoryKind::name))
}

impl Info {
    /// Gathers the answer. Reads the symbols of all modules.
    pub fn new(session: &Session<'_>) -> Info {
        let image = session.image();
        let memory = memory_rows(image);
        let missing = missing_by_module(image);
        let modules: Vec<ModuleRow> = (0u32..)
            .zip(image.modules())
            .map(|(index, module)| {
                let missing_bytes = missing.get(&index).copied().unwrap_or(0);
                module_row(session, ModuleId(index), module, missing_bytes)
            })
            .collect();
        let advice = advice::advice(image, &modules);
        Info {
            process: process_row(image),
            target: TargetRow {
                machine: image.machine().to_string(),
                class: match image.target().width {
                    Width::W4 => 32,
                    Width::W8 => 64,
                },
                endian: match image.target().order {
                    ByteOrder::Little => "little",
                    ByteOrder::Big => "big",
                },
            },
            truncated: image.truncated(),
            file_bytes: image.file_bytes(),
            expected_bytes: image.expected_bytes(),
            threads: image.threads().iter().map(|thread| thread_row(session, thread)).collect(),
            modules,
            memory,
            advice,
            all: false,
        }
    }

    /// The same, with every thread and module in the text for people.
    #[must_use]
    pub fn show_all(mut self, all: bool) -> Info {
        self.all = all;
        self
    }

    /// Whether nothing of the process's memory is missing.
    pub fn is_complete(&self) -> bool {
        !self.truncated && self.memory.iter().all(|row| row.missing_bytes == 0)
    }
}

impl Answer for Info {
    fn write_human(&self, out: &mut dyn io::Write, look: &Look) -> io::Result<()> {
        human::write(self, out, look)
    }
}

fn process_row(image: &Image) -> ProcessRow {
    let process = image.process();
    let signal = process.signal.map(|signal| SignalRow {
        number: signal.number,
        name: signal.name(image.machine()),
        code: signal.code,
        meaning: signal::meaning(image, &signal),
        fault_address: signal.fault_address.map(Hex::from),
        sender_pid: signal.sender_pid,
    });
    ProcessRow {
        pid: process.pid,
        parent_pid: process.parent_pid,
        executable: process.executable.as_deref().map(lossless),
        command: lossless(&process.command),
        started_as: process.started_as.as_deref().map(lossless),
        arguments: process.arguments.iter().map(|argument| lossless(argument)).collect(),
        arguments_cut: process.arguments_cut,
        signal,
    }
}

fn thread_row(session: &Session<'_>, thread: &Thread) -> ThreadRow {
    let image = session.image();
    let hit = thread.pc.and_then(|pc| session.symbols().find(pc));
    let module = thread.pc.and_then(|pc| Some((pc, image.module_at(pc)?.1)));
    let in_module = module.and_then(|(pc, module)| pc.offset_from(module.base()));
    let stack = thread.stack.map(|stack| {
        let live = thread.live_stack.unwrap_or(stack);
        let held: u64 = image
            .space()
            .segments_in(live)
            .filter(|segment| !matches!(segment.content, Content::Missing(_)))
            .filter_map(|segment| Some(segment.span.intersection(live)?.size_bytes()))
            .sum();
        let live_bytes = live.size_bytes();
        let missing_bytes = live_bytes.saturating_sub(held);
        StackRow { start: stack.start().into(), end: stack.end().into(), live_bytes, missing_bytes }
    });
    ThreadRow {
        tid: thread.tid,
        pc: thread.pc.map(Hex::from),
        sp: thread.sp.map(Hex::from),
        function: hit.as_ref().map(|hit| hit.demangled().into_owned()),
        offset: hit.map(|hit| hit.offset).or(in_module),
        module: module.map(|(_, module)| lossless(&module.path)),
        stack,
    }
}

fn module_row(session: &Session<'_>, id: ModuleId, module: &Module, missing_bytes: u64) -> ModuleRow {
    let symbols = session.symbols().sources(id).iter().map(|source| SymbolsRow {
        source: match source.kind {
            SourceKind::OwnFile => "own-file",
            SourceKind::OwnFileDynamic => "own-file-dynamic",
            SourceKind::MiniDebugInfo => "mini-debug-info",
            SourceKind::DebugFile => "debug-file",
            SourceKind::Dump => "dump",
        },
        path: source.path.as_ref().map(|path| lossless(path.as_os_str().as_encoded_bytes())),
        count: source.symbols as u64,
    });
    let refused = module.file.refused.iter().map(|(path, refusal)| RefusedRow {
        path: lossless(path.as_os_str().as_encoded_bytes()),
        reason: match refusal {
            Refusal::OtherBuild(_) => "other-build",
            Refusal::ModuleBuildIdUnknown => "unverifiable",
            Refusal::NotRegular => "not-a-regular-file",
            Refusal::TooLarge(_) => "too-large",
            Refusal::NotElf => "not-elf",
            Refusal::Unreadable(_) => "unreadable",
        },
        build_id: match refusal {
            Refusal::OtherBuild(found) => found.as_ref().map(ToString::to_string),
            _ => None,
        },
    });
    let found = module.file.found.as_ref();
    ModuleRow {
        path: lossless(&module.path),
        role: match module.role {
            ModuleRole::Executable => "executable",
            ModuleRole::Interpreter => "interpreter",
            ModuleRole::Library => "library",
            ModuleRole::Vdso => "vdso",
        },
        base: module.base().into(),
        end: module.span.end().into(),
        build_id: module.build_id.as_ref().map(ToString::to_string),
        file: found.map(|found| lossless(found.path.as_os_str().as_encoded_bytes())),
        evidence: found.map(|found| match found.evidence {
            Evidence::BuildId => "build-id",
            Evidence::FirstPage => "first-page",
            Evidence::DynamicSection => "dynamic-section",
            Evidence::Data => "data",
            Evidence::UserSays => "named-by-user",
        }),
        refused: refused.collect(),
        symbols: symbols.collect(),
        missing_bytes,
    }
}

/// Bytes of each kind, in the order of the kinds; kinds without memory are left out.
fn memory_rows(image: &Image) -> Vec<MemoryRow> {
    let mut rows: BTreeMap<MemoryKind, MemoryRow> = BTreeMap::new();
    for region in image.regions() {
        let row = rows.entry(region.kind).or_default();
        row.regions += 1;
        for segment in image.space().segments_in(region.span) {
            let bytes = segment.span.intersection(region.span).map_or(0, |common| common.size_bytes());
            row.bytes = row.bytes.saturating_add(bytes);
            let sum = match segment.content {
                Content::Present(..) => &mut row.present_bytes,
                Content::Elided(..) => &mut row.elided_bytes,
                Content::Missing(MissingReason::Guard) => continue,
                Content::Missing(_) => &mut row.missing_bytes,
            };
            *sum = sum.saturating_add(bytes);
        }
    }
    let rows = MemoryKind::ALL.iter().filter_map(|kind| Some(MemoryRow { kind: Some(*kind), ..*rows.get(kind)? }));
    rows.collect()
}

/// Missing bytes of each module, by its index.
fn missing_by_module(image: &Image) -> BTreeMap<u32, u64> {
    let mut missing = BTreeMap::new();
    for region in image.regions() {
        let Some(ModuleId(index)) = region.module else { continue };
        for segment in image.space().segments_in(region.span) {
            if matches!(segment.content, Content::Missing(reason) if reason != MissingReason::Guard) {
                let bytes = segment.span.intersection(region.span).map_or(0, |common| common.size_bytes());
                *missing.entry(index).or_default() += bytes;
            }
        }
    }
    missing
}
