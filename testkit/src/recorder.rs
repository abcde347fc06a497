//! Programs that record what they hold when they die: the truth that a heap walk is measured against.
//!
//! The recorder (`programs/recorder.c`) stands in front of malloc, preloaded or linked, and leaves nothing in the dump
//! that points at an allocation.

use std::collections::hash_map::DefaultHasher;
use std::ffi::OsStr;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

use crate::native::{self, Build, Crash, Program};

const MASK: u64 = 0xa5c3_5a3c_c3a5_3c5a;
const MAGIC: u64 = 0x0102_0304_0506_0708;

/// What a truth program includes to label its allocations: `RECORDER_LABEL(memory, number)`.
pub const HEADER: &str = include_str!("../programs/recorder.h");
const RECORDER: &str = include_str!("../programs/recorder.c");
/// The program whose first argument names the state it brings its heap into.
pub const HEAP_TRUTH: &str = include_str!("../programs/heap_truth.c");
/// The program for allocators that keep slabs of one size; its first argument names the state.
pub const SLAB_TRUTH: &str = include_str!("../programs/slab_truth.c");

/// The C++ program that holds and drops objects of many shapes; its first argument names a state.
pub const GRAPH_TRUTH: &str = include_str!("../programs/graph_truth.cc");
/// The Rust program that does the same.
pub const GRAPH_TRUTH_RUST: &str = include_str!("../programs/graph_truth.rs");

/// The C++ program that notes the kind of each allocation; its numbers are listed in it.
pub const TYPES_TRUTH: &str = include_str!("../programs/types_truth.cc");

/// One allocation that the program held.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Record {
    /// Its address.
    pub address: u64,
    /// What the program asked for, in bytes.
    pub requested: u64,
    /// What `malloc_usable_size` says.
    pub usable: u64,
    /// What the program noted with it; 0 for nothing.
    pub label: u32,
}

/// A core, and what the program held, by address.
#[derive(Debug)]
pub struct RecordedCrash {
    /// The core and what the program wrote.
    pub crash: Crash,
    /// What it held.
    pub records: Vec<Record>,
}

/// The folder of the recorder's sources: an include path for truth programs.
pub fn programs_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("programs")
}

/// Compiles a truth program that is to run with the recorder preloaded. `options` come after those for the header.
pub fn compile(name: &str, extension: &str, source: &str, compiler: &str, options: &[&str]) -> Program {
    let include = format!("-I{}", programs_folder().display());
    let options: Vec<&str> = [include.as_str()].into_iter().chain(options.iter().copied()).collect();
    native::compile(name, extension, source, &Build { compiler, options: &options })
}

/// Compiles a truth program with the recorder linked in: for static programs, and libcs that cannot be preloaded.
pub fn compile_linked(name: &str, extension: &str, source: &str, compiler: &str, options: &[&str]) -> Program {
    let recorder = programs_folder().join("recorder.c").display().to_string();
    let wrapped =
        ["malloc", "free", "calloc", "realloc", "memalign", "aligned_alloc", "posix_memalign", "reallocarray"];
    let wraps: Vec<String> = wrapped.iter().map(|name| format!("-Wl,--wrap={name}")).collect();
    // The recorder is C, whatever the program is.
    let language = if extension == "c" { "c" } else { "c++" };
    // The recorder is compiled along: what changes in it has to change the command, or an older program would be kept.
    let mut hasher = DefaultHasher::new();
    (RECORDER, HEADER).hash(&mut hasher);
    let edition = format!("-DRECORDER_EDITION={}", hasher.finish());
    let mut all = vec!["-DRECORDER_WRAP", edition.as_str(), "-x", "c", recorder.as_str(), "-x", language];
    all.extend(wraps.iter().map(String::as_str));
    all.extend(options);
    compile(name, extension, source, compiler, &all)
}

/// The recorder as a library to preload, built by `compiler` with `options` (`-m32`).
pub fn library(compiler: &str, options: &[&str]) -> PathBuf {
    let all: Vec<&str> = ["-O1", "-shared", "-fPIC"].into_iter().chain(options.iter().copied()).collect();
    compile("recorder", "c", RECORDER, compiler, &all).path
}

/// Runs a program with a recorder preloaded until it dies.
///
/// # Panics
/// Where it leaves no core, or no record.
pub fn crash_preloaded(program: &Program, arguments: &[&str], library: &Path) -> RecordedCrash {
    crash(program, arguments, &[("LD_PRELOAD", library.as_os_str())])
}

/// Runs a program that has the recorder linked in until it dies.
///
/// # Panics
/// Where it leaves no core, or no record.
pub fn crash_linked(program: &Program, arguments: &[&str]) -> RecordedCrash {
    crash(program, arguments, &[])
}

fn crash(program: &Program, arguments: &[&str], environment: &[(&str, &OsStr)]) -> RecordedCrash {
    let folder = native::scratch_folder();
    let file = folder.join("record");
    let mut environment = environment.to_vec();
    environment.push(("TOPLEAKED_RECORD", file.as_os_str()));
    let crash = native::crash_in(program, arguments, &environment);
    let bytes = fs::read(&file).expect("the recorder wrote what the program held");
    let _ = fs::remove_dir_all(&folder);
    RecordedCrash { crash, records: read(&bytes) }
}

/// Reads a recorder's file.
///
/// # Panics
/// Where it is none, or the recorder ran out of places.
pub fn read(bytes: &[u8]) -> Vec<Record> {
    let raw = |at: usize| -> [u8; 8] { bytes[at..at + 8].try_into().expect("a record has whole words") };
    let big = u64::from_be_bytes(raw(0)) == MAGIC;
    let word = |at: usize| if big { u64::from_be_bytes(raw(at)) } else { u64::from_le_bytes(raw(at)) };
    assert_eq!(word(0), MAGIC, "a recorder's file begins with its mark");
    assert_eq!(word(8), 0, "the recorder had no place for some allocations");
    let mut records: Vec<Record> = (32..bytes.len())
        .step_by(32)
        .map(|at| Record {
            address: word(at) ^ MASK,
            requested: word(at + 8),
            usable: word(at + 16),
            label: word(at + 24) as u32,
        })
        .collect();
    records.sort_unstable();
    records
}
