//! Programs that crash, and what their addresses are called.

use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::native::{Build, Crash, Program, compile, crash, scratch_folder};

use crate::addr::Addr;
use crate::image::{Image, OpenOptions, SearchPaths};
use crate::task::Task;

use super::*;

mod gdb;
mod hostile;

/// Prints the addresses of a function, a variable and a table, each behind its name, and crashes.
const PROGRAM: &str = r#"
#include <stdio.h>
#include <stdlib.h>
static int counter[40] = {1};
int exported[3] = {7, 8, 9};
static char zeros[100];
__attribute__((noinline)) static int twice(int x) { return 2 * x + counter[0]; }
__attribute__((noinline)) int exported_call(int x) { return twice(x) + exported[1] + zeros[5]; }
int main(int argc, char **argv) {
    printf("twice %p\ncounter %p\nexported %p\nzeros %p\nexported_call %p\n", (void *)twice, (void *)counter,
           (void *)exported, (void *)zeros, (void *)exported_call);
    fflush(stdout);
    return exported_call(argc) ? (abort(), 0) : 1;
}
"#;

fn build(options: &[&str]) -> Program {
    compile("named", "c", PROGRAM, &Build { compiler: "cc", options })
}

fn printed(crash: &Crash) -> Vec<(String, Addr)> {
    crash
        .stdout
        .lines()
        .map(|line| {
            let (name, address) = line.split_once(" 0x").unwrap();
            (name.to_owned(), Addr(u64::from_str_radix(address, 16).unwrap()))
        })
        .collect()
}

fn open(core: &Path, search: &SearchPaths) -> Image {
    Image::open(core, &OpenOptions { search: search.clone() }, &Task::default()).unwrap()
}

fn run(program: &str, arguments: &[&Path]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?} failed");
}

/// A copy of the program in a folder of its own, which may be changed.
fn copy_of(program: &Program) -> (PathBuf, Program) {
    let folder = scratch_folder();
    let path = folder.join("named");
    std::fs::copy(&program.path, &path).unwrap();
    (folder, Program { path })
}

/// That every address the program printed has its name, two bytes further on as well.
fn assert_all_named(crash: &Crash, search: &SearchPaths, kind: SourceKind) {
    let image = open(&crash.core, search);
    let symbols = Symbols::new(&image, search.clone());
    let printed = printed(crash);
    assert_eq!(printed.len(), 5);
    for (name, address) in printed {
        let inside = Addr(address.0 + 2);
        let hit = symbols.find(inside).unwrap_or_else(|| panic!("{name} at {address} has no name"));
        assert_eq!((hit.name, hit.offset), (name.as_bytes(), 2), "{:?}", symbols.diagnostics());
        let expected = match name.as_str() {
            "counter" | "exported" => SectionKind::Data,
            "zeros" => SectionKind::Bss,
            _ => SectionKind::Text,
        };
        assert_eq!(hit.section.unwrap().kind, expected);
    }
    let (exe, _) = image.executable().unwrap();
    assert!(symbols.sources(exe).iter().any(|source| source.kind == kind), "{:?}", symbols.sources(exe));
}

#[test]
fn each_way_of_linking_gives_the_same_names() {
    for options in [
        &["-O1", "-pie", "-fPIE"][..],
        &["-O1", "-no-pie"],
        &["-O1", "-static"],
        &["-O1", "-static-pie"],
        &["-O1", "-m32"],
        &["-O1", "-m32", "-no-pie"],
        &["-O1", "-Wl,-z,noseparate-code"],
        &["-O1", "-Wl,--build-id=none"],
    ] {
        let crash = crash(&build(options), &[]);
        assert_all_named(&crash, &SearchPaths::default(), SourceKind::OwnFile);
    }
}

#[test]
fn a_debug_file_is_found_by_build_id_and_by_its_link() {
    let (folder, program) = copy_of(&build(&["-O1", "-g"]));
    let debug = folder.join("named.debug");
    run("objcopy", &[Path::new("--only-keep-debug"), &program.path, &debug]);
    run("strip", &[&program.path]);
    let link = format!("--add-gnu-debuglink={}", debug.display());
    run("objcopy", &[Path::new(&link), &program.path]);
    let crash = crash(&program, &[]);
    assert_all_named(&crash, &SearchPaths::default(), SourceKind::DebugFile);

    // The same file where a build-id folder has it, and nowhere else.
    let image = open(&crash.core, &SearchPaths::default());
    let build_id = image.executable().unwrap().1.build_id.clone().unwrap().to_string();
    let dir = folder.join("symbols");
    let place = dir.join(".build-id").join(&build_id[..2]);
    std::fs::create_dir_all(&place).unwrap();
    std::fs::rename(&debug, place.join(format!("{}.debug", &build_id[2..]))).unwrap();
    let search = SearchPaths { symbol_dirs: vec![dir], ..SearchPaths::default() };
    assert_all_named(&crash, &search, SourceKind::DebugFile);

    // Without it, what is exported has a name, and the rest has none rather than a wrong one.
    let symbols = Symbols::new(&image, SearchPaths::default());
    let (exe, _) = image.executable().unwrap();
    assert!(symbols.sources(exe).iter().all(|source| source.kind == SourceKind::OwnFileDynamic));
    let twice = printed(&crash)[0].1;
    assert_eq!(symbols.find(twice), None);
}

#[test]
fn links_below_the_sysroot_are_followed_inside_of_it_alone() {
    use std::os::unix::fs::symlink;
    let (folder, program) = copy_of(&build(&["-O1", "-g"]));
    let debug = folder.join("outside.debug");
    run("objcopy", &[Path::new("--only-keep-debug"), &program.path, &debug]);
    run("strip", &[&program.path]);
    let crash = crash(&program, &[]);
    let build_id = open(&crash.core, &SearchPaths::default()).executable().unwrap().1.build_id.clone().unwrap();
    let build_id = build_id.to_string();

    // The program where its path leads to by an absolute link, as the sysroot's own programs see it.
    let sysroot = folder.join("root");
    let recorded = sysroot.join(program.path.strip_prefix("/").unwrap());
    std::fs::create_dir_all(recorded.parent().unwrap()).unwrap();
    std::fs::create_dir_all(sysroot.join("store")).unwrap();
    symlink("/store/named", &recorded).unwrap();
    std::fs::rename(&program.path, sysroot.join("store/named")).unwrap();
    let place = sysroot.join("usr/lib/debug/.build-id").join(&build_id[..2]);
    std::fs::create_dir_all(&place).unwrap();
    let link = place.join(format!("{}.debug", &build_id[2..]));

    // A debug file that lies outside, however right it is.
    symlink(&debug, &link).unwrap();
    let search = SearchPaths { sysroot: Some(sysroot.clone()), ..SearchPaths::default() };
    let image = open(&crash.core, &search);
    let symbols = Symbols::new(&image, search.clone());
    let (exe, _) = image.executable().unwrap();
    let kinds: Vec<_> = symbols.sources(exe).iter().map(|source| source.kind).collect();
    assert_eq!(kinds, [SourceKind::OwnFileDynamic], "{:?}", symbols.sources(exe));

    // The same file inside.
    std::fs::remove_file(&link).unwrap();
    std::fs::rename(&debug, sysroot.join("store/named.debug")).unwrap();
    symlink("/store/named.debug", &link).unwrap();
    assert_all_named(&crash, &search, SourceKind::DebugFile);
}

#[test]
fn a_file_of_another_build_is_refused_and_both_are_named() {
    let (folder, program) = copy_of(&build(&["-O1", "-g"]));
    run("strip", &[&program.path]);
    let other = build(&["-O2", "-g"]);
    let dir = folder.join("symbols");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::copy(&other.path, dir.join("named.debug")).unwrap();
    let crash = crash(&program, &[]);
    let search = SearchPaths { symbol_dirs: vec![dir], ..SearchPaths::default() };
    let image = open(&crash.core, &search);
    let symbols = Symbols::new(&image, search);
    let (exe, module) = image.executable().unwrap();
    assert!(symbols.sources(exe).iter().all(|source| source.kind != SourceKind::DebugFile));
    let wanted = module.build_id.clone().unwrap().to_string();
    let refusal = symbols.diagnostics().into_iter().find(|refusal| refusal.code == "symbol-file-refused").unwrap();
    assert!(refusal.effect.contains(&wanted), "{refusal:?}");
    assert!(refusal.effect.contains("its build id is "), "{refusal:?}");
    assert!(refusal.at.ends_with("named.debug"), "{refusal:?}");
}

#[test]
fn the_dump_alone_names_what_is_exported() {
    // `coredump_filter` 0x7f has the kernel dump file-backed pages as well.
    let (_, program) = copy_of(&build(&["-O1", "-rdynamic"]));
    let shell = Program { path: PathBuf::from("/bin/sh") };
    let command = format!("echo 0x7f > /proc/self/coredump_filter; exec {}", program.path.display());
    let crash = crash(&shell, &["-c", &command]);
    std::fs::remove_file(&program.path).unwrap();
    let image = open(&crash.core, &SearchPaths::default());
    let symbols = Symbols::new(&image, SearchPaths::default());
    let (exe, _) = image.executable().unwrap();
    assert_eq!(symbols.sources(exe).iter().map(|source| source.kind).collect::<Vec<_>>(), [SourceKind::Dump]);
    for (name, address) in printed(&crash).into_iter().filter(|(name, _)| name.starts_with("exported")) {
        let hit = symbols.find(address).unwrap();
        assert_eq!((hit.name, hit.offset), (name.as_bytes(), 0));
    }
}

#[test]
fn mini_debug_info_names_functions() {
    let (folder, program) = copy_of(&build(&["-O1"]));
    let (mini, packed) = (folder.join("mini"), folder.join("mini.xz"));
    std::fs::copy(&program.path, &mini).unwrap();
    // As Fedora makes it: the symbols alone, packed by xz, in a section of the stripped file.
    let keep = Path::new("--only-keep-debug");
    run("objcopy", &[keep, &mini]);
    run("xz", &[Path::new("-k"), &mini]);
    run("strip", &[&program.path]);
    let section = format!(".gnu_debugdata={}", packed.display());
    run("objcopy", &[Path::new("--add-section"), Path::new(&section), &program.path]);
    let crash = crash(&program, &[]);
    assert_all_named(&crash, &SearchPaths::default(), SourceKind::MiniDebugInfo);
}

#[test]
fn a_name_leads_to_its_address() {
    let crash = crash(&build(&["-O1"]), &[]);
    let image = open(&crash.core, &SearchPaths::default());
    let symbols = Symbols::new(&image, SearchPaths::default());
    let counter = printed(&crash).into_iter().find(|(name, _)| name == "counter").unwrap().1;
    let found = symbols.find_by_name(None, b"counter");
    assert!(found.iter().any(|hit| hit.address == counter && hit.size == 160 && hit.kind == SymbolKind::Object));
    assert!(symbols.find_by_name(None, b"no such name").is_empty());
}
