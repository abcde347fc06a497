//! The classic form together with gdb, on programs that really crashed.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::{Folder, answer, run};
use testkit::native::{Build, Crash, Program, compile, crash, gcore};

const CPP: Build<'_> = Build { compiler: "c++", options: &["-g", "-O0"] };

/// The program of the article that the original tool comes with: a million objects, and nobody holds them.
const MILLION: &str = "
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <unistd.h>
class A {
    size_t val = 12345678910;
    virtual ~A() {}
};
int main(int argc, char**) {
    for (size_t i = 0; i < 1000000; i++) new A;
    if (argc == 1) abort();
    puts(\"ready\");
    fflush(stdout);
    pause();
}
";

/// Its second program: the member of a derived class.
const DERIVED: &str = "
#include <cstddef>
#include <cstdlib>
struct Base { virtual ~Base() {} };
struct Der : Base { size_t a = 15; };
int main() {
    for (size_t i = 0; i < 10001; i++) new Der;
    abort();
}
";

const VALUE: u64 = 12345678910;

/// What a shell prints of `topleaked CORE -n10 -ogdb | gdb EXE CORE`.
fn piped_into_gdb(program: &Program, core: &Path, options: &str) -> String {
    let output = Command::new("sh")
        .args(["-c", &format!("\"$1\" \"$2\" {options} -ogdb | gdb -q -nx \"$3\" \"$2\" 2>&1"), "sh"])
        .arg(env!("CARGO_BIN_EXE_topleaked"))
        .arg(core)
        .arg(&program.path)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The lines of the human form: word and count.
fn counts(text: &str) -> Vec<(u64, u64)> {
    let line = |line: &str| {
        let (word, count) = line.split_once(" : ")?;
        Some((u64::from_str_radix(word.strip_prefix("0x")?, 16).ok()?, count.parse().ok()?))
    };
    text.lines().map(|text| line(text).unwrap_or_else(|| panic!("not `0xWORD : COUNT`: {text:?}"))).collect()
}

/// The one of `words` that gdb says is the vtable of `class`, with its count.
fn vtable(program: &Program, core: &Path, words: &[(u64, u64)], class: &str) -> (u64, u64) {
    let mut gdb = Command::new("gdb");
    gdb.args(["-q", "-nx", "-batch"]);
    for (word, _) in words {
        gdb.args(["-ex", &format!("printf \"{word:#x} is: \""), "-ex", &format!("info symbol {word:#x}")]);
    }
    let output = gdb.arg(&program.path).arg(core).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let of_class = |(word, _): &&(u64, u64)| text.contains(&format!("{word:#x} is: vtable for {class} + 16"));
    *words.iter().find(of_class).unwrap_or_else(|| panic!("no vtable of {class} among {words:x?}:\n{text}"))
}

fn count_of(words: &[(u64, u64)], word: u64) -> u64 {
    words.iter().find(|(other, _)| *other == word).map_or(0, |(_, count)| *count)
}

#[test]
fn a_million_leaked_objects_are_named_by_gdb() {
    let program = compile("million", "cpp", MILLION, &CPP);
    let Crash { core, .. } = &crash(&program, &[]);
    let words = counts(&answer([core.to_str().unwrap(), "-n10"]));
    assert!(vtable(&program, core, &words, "A").1 >= 1_000_000, "{words:x?}");
    assert!(count_of(&words, VALUE) >= 1_000_000, "{words:x?}");

    let said = piped_into_gdb(&program, core, "-n10");
    assert!(said.contains("vtable for A + 16"), "{said}");
    // Each count that the human form has is printed by gdb too.
    for (word, count) in words {
        assert!(said.contains(&format!(" = {count}\n")), "{word:#x}: {said}");
    }
}

#[test]
fn the_member_of_a_derived_class_is_found_behind_its_vtable() {
    let program = compile("derived", "cpp", DERIVED, &CPP);
    let Crash { core, .. } = &crash(&program, &[]);
    let core_name = core.to_str().unwrap();
    let words = counts(&answer([core_name, "-n20"]));
    let (word, count) = vtable(&program, core, &words, "Der");
    assert!(count >= 10_001);

    let search = format!("-f{word:x}");
    let values = counts(&answer([core_name, &search, "--memberOffset=8", "--memberType=uint64"]));
    assert_eq!(values.first(), Some(&(0xf, 10_001)), "{values:x?}");
    let said = piped_into_gdb(&program, core, &format!("{search} --memberOffset=8 --memberType=uint64"));
    assert!(said.contains(" = 10001\n"), "{said}");
}

#[test]
fn a_dump_by_gcore_holds_the_same() {
    let program = compile("million", "cpp", MILLION, &CPP);
    let Crash { core, stdout, .. } = &gcore(&program, &["stay"]);
    assert_eq!(stdout, "ready\n");
    let (words, _) = aligned(core);
    assert!(vtable(&program, core, &words, "A").1 >= 1_000_000, "{words:x?}");
    assert!(count_of(&words, VALUE) >= 1_000_000, "{words:x?}");
}

/// Older `gcore` puts the notes in front of the memory, which then begins in the middle of a word.
#[test]
fn a_dump_whose_notes_come_first_is_said_to_be_misaligned() {
    let program = compile("million", "cpp", MILLION, &CPP);
    let Crash { core, .. } = &crash(&program, &[]);
    let whole = counts(&answer([core.to_str().unwrap(), "-n5"]));
    let folder = Folder::new();
    let shifted = folder.write("shifted.core", shift_memory(fs::read(core).unwrap(), 4));

    let output = run([shifted.to_str().unwrap(), "-n3"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.lines().count() == 1 && stderr.contains("-s 4"), "{stderr}");
    assert_eq!(count_of(&counts(&String::from_utf8_lossy(&output.stdout)), VALUE), 0);

    let (words, start) = aligned(&shifted);
    assert_eq!(start, Some(4));
    // The notes alone are read at another step, and hold small numbers.
    let large: Vec<_> = whole.iter().filter(|(word, _)| *word > 0x1000).collect();
    assert!(large.iter().any(|(word, _)| *word == VALUE), "{whole:x?}");
    for (word, count) in large {
        assert_eq!(count_of(&words, *word), *count, "{word:#x}");
    }
}

/// The ten most frequent words, read from the start that stderr says fits, and that start.
fn aligned(core: &Path) -> (Vec<(u64, u64)>, Option<u64>) {
    let core = core.to_str().unwrap();
    let output = run([core, "-n10"]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let Some((_, rest)) = stderr.split_once("-s ") else {
        assert_eq!(stderr, "");
        return (counts(&String::from_utf8_lossy(&output.stdout)), None);
    };
    let start: String = rest.chars().take_while(char::is_ascii_digit).collect();
    (counts(&answer([core, "-n10", "-s", &start])), Some(start.parse().unwrap()))
}

/// Moves the memory of a 64-bit core `bytes` further down the file.
fn shift_memory(mut core: Vec<u8>, bytes: u64) -> Vec<u8> {
    let u16_at = |core: &[u8], at: usize| u16::from_le_bytes(core[at..at + 2].try_into().unwrap());
    let u64_at = |core: &[u8], at: usize| u64::from_le_bytes(core[at..at + 8].try_into().unwrap());
    let (table, count) = (u64_at(&core, 32) as usize, usize::from(u16_at(&core, 56)));
    let loads: Vec<usize> = (0..count).map(|index| table + index * 56).filter(|at| core[*at] == 1).collect();
    let first = loads.iter().map(|at| u64_at(&core, at + 8)).min().unwrap();
    for at in loads {
        let offset = u64_at(&core, at + 8) + bytes;
        core[at + 8..at + 16].copy_from_slice(&offset.to_le_bytes());
    }
    core.splice(first as usize..first as usize, (0..bytes).map(|_| 0));
    core
}
