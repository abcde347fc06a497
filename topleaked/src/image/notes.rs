//! The notes of a core: process, threads, signal, auxiliary vector, mapped files.
//!
//! Layouts: Linux `include/linux/elfcore.h` (`elf_prstatus`, `elf_prpsinfo`), `fs/binfmt_elf.c`
//! (`fill_files_note`), `include/uapi/asm-generic/siginfo.h`.

use std::ops::Range;

use crate::addr::{Addr, Span, Target, Width};
use crate::task::Diagnostic;

use super::elf;
use super::machine::{Machine, Registers};
use super::process::{AuxiliaryVector, Process, Signal};
use super::thread::Thread;

const NT_PRSTATUS: u32 = 1;
const NT_PRPSINFO: u32 = 3;
const NT_AUXV: u32 = 6;
const NT_386_TLS: u32 = 0x200;
const NT_ARM_TLS: u32 = 0x401;
const NT_SIGINFO: u32 = 0x5349_4749;
const NT_FILE: u32 = 0x4649_4c45;

/// Threads beyond this many are not read: the kernel's own bound on threads is 2^22.
const MAX_THREADS: usize = 1 << 22;
/// A path longer than this is cut: the kernel's bound is 4,096 bytes.
const MAX_PATH_BYTES: usize = 4096;

/// A range of memory that mirrors a range of a file, as the dump's list of mapped files has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MappedFile {
    /// The memory.
    pub span: Span,
    /// Where in the file its first byte lies.
    pub file_offset: u64,
    /// The file's path in the process's mount namespace; bytes of the dump, not to be trusted.
    pub path: Vec<u8>,
}

/// What the notes say.
#[derive(Debug, Default)]
pub(super) struct CoreNotes {
    pub(super) process: Process,
    pub(super) threads: Vec<Thread>,
    pub(super) auxv: AuxiliaryVector,
    pub(super) files: Vec<MappedFile>,
    /// Whether the dump has a list of mapped files at all.
    pub(super) has_file_list: bool,
}

/// Reads all notes in `bytes`, which lie one after another as one program header names them.
pub(super) fn read(
    bytes: &[u8],
    alignment: u64,
    machine: Machine,
    target: Target,
    into: &mut CoreNotes,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let mut notes = elf::notes(target, bytes, alignment);
    let mut dropped_threads = 0u64;
    for note in notes.by_ref() {
        // Linux names the generic ones CORE and a machine's own LINUX; other owners' types mean other things.
        match (note.name, note.kind) {
            (b"CORE", NT_PRSTATUS) if into.threads.len() >= MAX_THREADS => dropped_threads += 1,
            (b"CORE", NT_PRSTATUS) => into.threads.extend(thread(note.data, machine, target)),
            (b"CORE", NT_PRPSINFO) => process(note.data, target, &mut into.process),
            (b"CORE", NT_AUXV) => into.auxv = auxv(note.data, target),
            (b"CORE", NT_FILE) => {
                into.has_file_list = true;
                mapped_files(note.data, target, &mut into.files, diagnostics);
            }
            (b"CORE", NT_SIGINFO) => {
                if let Some(signal) = siginfo(note.data, machine, target) {
                    // After the thread it belongs to, in the kernel's order and in gdb's. What gdb stopped the thread
                    // with for `gcore` is in no thread's status: nothing was delivered then.
                    let status = into.threads.last_mut().and_then(|thread| thread.signal.as_mut());
                    if let Some(status) = status.filter(|status| status.number == signal.number) {
                        *status = signal;
                    }
                }
            }
            (b"LINUX", NT_386_TLS) => {
                if let Some(thread) = into.threads.last_mut() {
                    thread.thread_pointer = i386_thread_pointer(note.data, target, &thread.registers);
                }
            }
            (b"LINUX", NT_ARM_TLS) => {
                if let (Some(thread), Some(value)) = (into.threads.last_mut(), target.word(note.data)) {
                    thread.registers.push("tpidr", value);
                    thread.thread_pointer = Some(Addr(value));
                }
            }
            _ => {}
        }
    }
    into.process.signal = into.threads.first().and_then(|thread| thread.signal);
    if notes.is_cut_off() {
        diagnostics.push(Diagnostic {
            code: "notes-cut-off",
            at: "the dump's notes".into(),
            effect: "threads, registers or mapped files after that point are unknown".into(),
        });
    }
    if dropped_threads > 0 {
        diagnostics.push(Diagnostic {
            code: "too-many-threads",
            at: "the dump's notes".into(),
            effect: format!("{dropped_threads} threads past the first {MAX_THREADS} are not read"),
        });
    }
}

/// `elf_prstatus`: signal, ids, times, registers.
fn thread(data: &[u8], machine: Machine, target: Target) -> Option<Thread> {
    // x32 has 4-byte pointers and 8-byte registers; its `long`s here are 4 bytes (compat_elf_prstatus).
    let (tid_at, registers_at) = match target.width {
        Width::W4 => (24, 72),
        Width::W8 => (32, 112),
    };
    let tid = target.u32(data.get(tid_at..)?)?;
    let number = target.u16(data.get(12..)?)?;
    let layout = machine.register_layout(target);
    let registers = match (layout, data.get(registers_at..)) {
        // The last four bytes are pr_fpvalid, and padding.
        (Some(layout), Some(bytes)) => Registers::read(layout, target, bytes),
        _ => Registers::default(),
    };
    let register = |name: &str| registers.get(name);
    // 31-bit IBM Z marks its addressing mode in the highest bit.
    let mask =
        if machine == Machine::S390 && target.width == Width::W4 { 0x7fff_ffff } else { target.width.max_word() };
    let pc = layout.and_then(|layout| register(layout.pc)).map(|value| Addr(value & mask));
    let sp = layout.and_then(|layout| register(layout.sp)).map(|value| Addr(value & target.width.max_word()));
    let thread_pointer = layout.and_then(|layout| register(layout.tls?)).filter(|value| *value != 0).map(Addr);
    let signal =
        (number != 0).then_some(Signal { number: number.into(), code: None, fault_address: None, sender_pid: None });
    Some(Thread {
        tid,
        registers,
        pc,
        sp,
        thread_pointer,
        stack: None,
        live_stack: None,
        alternate_stack: None,
        signal,
    })
}

/// `NT_386_TLS`: an array of `struct user_desc`, 16 bytes each; `gs` says which is the thread's.
fn i386_thread_pointer(data: &[u8], target: Target, registers: &Registers) -> Option<Addr> {
    let selected = registers.get("gs").map(|selector| (selector & 0xffff) >> 3);
    let descriptors = data.chunks_exact(16).filter_map(|raw| {
        let (entry, base) = (target.u32(raw)?, target.u32(raw.get(4..)?)?);
        (base != 0).then_some((u64::from(entry), Addr(base.into())))
    });
    let descriptors: Vec<_> = descriptors.take(8).collect();
    let chosen = descriptors.iter().find(|(entry, _)| Some(*entry) == selected).or(descriptors.first());
    chosen.map(|(_, base)| *base)
}

/// `elf_prpsinfo`: ids, the command, the first 80 bytes of the arguments.
fn process(data: &[u8], target: Target, process: &mut Process) {
    // The ids of user and group are 2 bytes each on some 32-bit machines, which shows in the size.
    let (pid_at, command_at) = match (target.width, data.len()) {
        (Width::W8, _) => (24, 40),
        (Width::W4, ..=127) => (12, 28),
        (Width::W4, _) => (16, 32),
    };
    let field = |range: Range<usize>| data.get(range);
    process.pid = field(pid_at..pid_at + 4).and_then(|raw| target.u32(raw));
    process.parent_pid = field(pid_at + 4..pid_at + 8).and_then(|raw| target.u32(raw));
    let text = |raw: &[u8]| raw.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
    process.command = field(command_at..command_at + 16).map(text).unwrap_or_default();
    let line = field(command_at + 16..command_at + 96).map(text).unwrap_or_default();
    // The kernel turned the zeros between arguments into blanks and left one at the end.
    process.arguments_cut = line.len() >= 79;
    process.arguments = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).map(<[u8]>::to_vec).collect();
}

fn auxv(data: &[u8], target: Target) -> AuxiliaryVector {
    let width = target.width.bytes();
    let entries =
        data.chunks_exact(2 * width).filter_map(|raw| Some((target.word(raw)?, target.word(raw.get(width..)?)?)));
    // The kernel knows some fifty types.
    AuxiliaryVector::from_entries(entries.take_while(|(kind, _)| *kind != 0).take(1024).collect())
}

/// `siginfo_t`: three numbers, then a union that the signal's number and code tell apart.
fn siginfo(data: &[u8], machine: Machine, target: Target) -> Option<Signal> {
    let i32_at = |at: usize| target.u32(data.get(at..)?).map(u32::cast_signed);
    let number = i32_at(0)?;
    if number == 0 {
        return None;
    }
    // MIPS has si_code before si_errno.
    let code = i32_at(if machine == Machine::Mips { 4 } else { 8 });
    let union_at = match target.width {
        Width::W4 => 12,
        Width::W8 => 16,
    };
    // SI_USER is 0, SI_TKILL -6, SI_QUEUE -1: a process sent it. Positive codes below SI_KERNEL are faults.
    let sent = code.is_some_and(|code| code <= 0);
    let faults = ["SIGILL", "SIGTRAP", "SIGBUS", "SIGFPE", "SIGSEGV"];
    let signal = Signal { number, code, fault_address: None, sender_pid: None };
    let fault = signal.name(machine).is_some_and(|name| faults.contains(&name))
        && code.is_some_and(|code| code > 0 && code < 0x80);
    Some(Signal {
        fault_address: if fault { data.get(union_at..).and_then(|raw| target.word(raw)).map(Addr) } else { None },
        sender_pid: if sent { data.get(union_at..).and_then(|raw| target.u32(raw)) } else { None },
        ..signal
    })
}

/// `NT_FILE`: a count, the unit of offsets, then start, end and offset of each; then the names.
fn mapped_files(data: &[u8], target: Target, files: &mut Vec<MappedFile>, diagnostics: &mut Vec<Diagnostic>) {
    let width = target.width.bytes();
    let word = |index: usize| target.word(data.get(index.checked_mul(width)?..)?);
    let (Some(count), Some(unit)) = (word(0), word(1)) else { return };
    let row = 3 * width;
    // No more rows than fit: the count may lie.
    let fits = data.len().saturating_sub(2 * width) / row;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let rows = data.get(2 * width..).unwrap_or_default().chunks_exact(row).take(count.min(fits));
    let names_at = count.min(fits).saturating_mul(row).saturating_add(2 * width);
    let mut names = data.get(names_at..).unwrap_or_default().split(|byte| *byte == 0);
    let mut broken = count.saturating_sub(fits);
    for raw in rows {
        let name = names.next().unwrap_or_default();
        let parsed = (|| {
            let start = target.word(raw)?;
            let end = target.word(raw.get(width..)?)?;
            let file_offset = target.word(raw.get(2 * width..)?)?.checked_mul(unit)?;
            Some((Span::new(Addr(start), Addr(end))?, file_offset))
        })();
        match parsed {
            Some((span, file_offset)) if !span.is_empty() && !name.is_empty() => {
                let path = name.get(..MAX_PATH_BYTES).unwrap_or(name).to_vec();
                files.push(MappedFile { span, file_offset, path });
            }
            _ => broken += 1,
        }
    }
    files.sort_by_key(|file| (file.span.start(), file.span.end()));
    if broken > 0 {
        diagnostics.push(Diagnostic {
            code: "mapped-files-damaged",
            at: "the dump's list of mapped files".into(),
            effect: format!("{broken} of its rows contradict themselves; modules may be missing or misplaced"),
        });
    }
}
