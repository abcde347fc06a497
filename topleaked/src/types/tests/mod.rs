//! Programs whose classes are known, and what is read back from their dumps.

use std::path::Path;

use testkit::native::{Build, Crash, Program, compile, crash, crash_emulated};

use crate::addr::Addr;
use crate::image::{Image, OpenOptions};
use crate::symbols::{SymbolOptions, Symbols};
use crate::task::Task;

use super::*;

mod hostile;
mod modules;
mod rust;

/// Classes of all sorts. Each line it prints: what the vtable at the address after it is to be called.
const CLASSES: &str = r#"
#include <cstdio>
#include <cstdlib>
#include <vector>
template <typename T> static void *word(T *object, int at = 0) { return ((void **)object)[at]; }
static void say(const char *expected, void *vtable) { std::printf("%p %s\n", vtable, expected); }

namespace net { struct Client { virtual ~Client() {} virtual int id() { return 1; } int number = 1; }; }
struct Derived : net::Client { int id() override { return 2; } };
namespace { struct Hidden { virtual ~Hidden() {} int x = 0; }; }
template <typename T> struct Box { virtual ~Box() {} T value{}; };
struct Outer { struct Inner { virtual ~Inner() {} }; };
struct Left { virtual ~Left() {} long l = 1; };
struct Right { virtual ~Right() {} virtual int r() { return 1; } long v = 2; };
struct Both : Left, Right { int r() override { return 3; } };
struct Deep : Both { long d = 4; };
struct Root { virtual ~Root() {} long root = 1; };
struct One : virtual Root { long one = 1; };
struct Two : virtual Root { long two = 2; };
struct Diamond : One, Two { long diamond = 3; };
struct Abstract { virtual ~Abstract() = 0; virtual int a() = 0; };
Abstract::~Abstract() {}
struct Concrete : Abstract { int a() override { return 1; } };
struct Plain { long p = 1; };
struct Bare : virtual Plain { long q = 2; };

int main() {
    struct Local { virtual ~Local() {} };
    say("vtable of net::Client", word(new net::Client));
    say("vtable of Derived", word(new Derived));
    say("vtable of (anonymous namespace)::Hidden", word(new Hidden));
    say("vtable of Box<int>", word(new Box<int>));
    say("vtable of Box<Box<char> >", word(new Box<Box<char>>));
    say("vtable of Outer::Inner", word(new Outer::Inner));
    say("vtable of main::Local", word(new Local));
    Both *both = new Both;
    say("vtable of Both", word(both));
    say("vtable of Both for its base Right", word(static_cast<Right *>(both)));
    Deep *deep = new Deep;
    say("vtable of Deep", word(deep));
    say("vtable of Deep for its base Right", word(static_cast<Right *>(deep)));
    Diamond *diamond = new Diamond;
    say("vtable of Diamond", word(diamond));
    say("vtable of Diamond for its base Two", word(static_cast<Two *>(diamond)));
    say("vtable of Diamond for its base Root", word(static_cast<Root *>(diamond)));
    One *one = new One;
    say("vtable of One", word(one));
    say("vtable of One for its base Root", word(static_cast<Root *>(one)));
    say("vtable of Concrete", word(new Concrete));
    say("vtable of Bare", word(new Bare));
    std::fflush(stdout);
    std::abort();
}
"#;

fn expectations(crash: &Crash) -> Vec<(Addr, String)> {
    crash
        .stdout
        .lines()
        .map(|line| {
            let (address, expected) = line.split_once(' ').unwrap();
            (Addr(u64::from_str_radix(address.trim_start_matches("0x"), 16).unwrap()), expected.to_owned())
        })
        .collect()
}

fn open(core: &Path) -> Image {
    Image::open(core, &OpenOptions::default(), &Task::default()).unwrap()
}

fn assert_all_named(program: &Program, count: usize, evidence: &[Evidence]) {
    assert_crash_is_named(&crash(program, &[]), Path::new("/"), count, evidence);
}

fn assert_crash_is_named(crash: &Crash, root: &Path, count: usize, evidence: &[Evidence]) {
    let search = SymbolOptions { sysroot: Some(root.to_path_buf()), ..SymbolOptions::default() };
    let image = Image::open(&crash.core, &OpenOptions { search: search.clone() }, &Task::default()).unwrap();
    let symbols = Symbols::new(&image, search);
    let vtables = Vtables::new(&image, &symbols);
    let ranges = vtables.candidate_ranges();
    let expected = expectations(crash);
    assert_eq!(expected.len(), count);
    for (addr, expected) in expected {
        let found = vtables.classify(addr).unwrap_or_else(|| panic!("{expected} at {addr} is not recognised"));
        assert_eq!(found.to_string(), expected);
        assert!(evidence.contains(&found.evidence), "{found:?}");
        assert!(ranges.iter().any(|range| range.contains(addr)), "{expected} lies in no candidate range");
        // Next to an address point is none.
        let width = image.target().width.bytes() as u64;
        for beside in [addr.0 - width, addr.0 + width, addr.0 + 1] {
            assert_eq!(vtables.classify(Addr(beside)).filter(|near| near.class == found.class), None);
        }
    }
    assert_eq!(vtables.diagnostics(), []);
}

const CLASS_COUNT: usize = 18;

#[test]
fn classes_are_named_with_and_without_symbols() {
    let both = [Evidence::RttiAndSymbol];
    let rtti = [Evidence::Rtti];
    for (options, evidence) in [
        (&["-g"][..], &both),
        (&["-O2"], &both),
        (&["-O2", "-s"], &rtti),
        (&["-O2", "-s", "-no-pie"], &rtti),
        (&["-O2", "-s", "-static"], &rtti),
        (&["-O2", "-s", "-static-pie"], &rtti),
        (&["-O2", "-s", "-Wl,-z,noseparate-code"], &rtti),
        (&["-O2", "-s", "-Wl,-z,norelro"], &rtti),
    ] {
        let program = compile("classes", "cpp", CLASSES, &Build { compiler: "c++", options });
        assert_all_named(&program, CLASS_COUNT, evidence);
    }
}

/// An executable at a fixed address has copies of vtables of libraries, whose symbols carry a version.
#[test]
fn the_version_of_a_symbol_is_no_part_of_the_class() {
    const COPIED: &str = r#"
#include <cstdio>
#include <cstdlib>
#include <new>
int main() { std::printf("%p vtable of std::bad_alloc\n", *(void **)new std::bad_alloc); std::fflush(stdout); std::abort(); }
"#;
    let program = compile("copied", "cpp", COPIED, &Build { compiler: "c++", options: &["-O1", "-no-pie"] });
    assert_all_named(&program, 1, &[Evidence::RttiAndSymbol]);
}

#[test]
fn classes_of_32_bit_programs_are_named() {
    for (options, evidence) in [(&["-m32"][..], Evidence::RttiAndSymbol), (&["-m32", "-s", "-no-pie"], Evidence::Rtti)]
    {
        let program = compile("classes", "cpp", CLASSES, &Build { compiler: "c++", options });
        assert_all_named(&program, CLASS_COUNT, &[evidence]);
    }
}

#[test]
fn classes_of_clang_and_libcxx_are_named() {
    for (options, evidence) in [
        (&["-stdlib=libc++", "-O1"][..], Evidence::RttiAndSymbol),
        (&["-stdlib=libc++", "-O1", "-s"], Evidence::Rtti),
        (&["-O1", "-s"], Evidence::Rtti),
    ] {
        let program = compile("classes", "cpp", CLASSES, &Build { compiler: "clang++", options });
        assert_all_named(&program, CLASS_COUNT, &[evidence]);
    }
}

/// Compilers for other machines, and where their libraries lie.
const OTHER_MACHINES: [(&str, &str, &str); 3] = [
    ("s390x", "s390x-linux-gnu-g++-12", "/usr/s390x-linux-gnu"),
    ("aarch64", "aarch64-linux-gnu-g++-12", "/usr/aarch64-linux-gnu"),
    ("arm", "arm-linux-gnueabihf-g++-12", "/usr/arm-linux-gnueabihf"),
];

#[test]
fn classes_of_static_programs_of_other_machines_are_named() {
    for (machine, compiler, root) in OTHER_MACHINES {
        for (options, evidence) in
            [(&["-O1", "-static"][..], Evidence::RttiAndSymbol), (&["-O1", "-s", "-static"], Evidence::Rtti)]
        {
            let program = compile("classes", "cpp", CLASSES, &Build { compiler, options });
            let crash = crash_emulated(machine, Path::new(root), &program);
            assert_crash_is_named(&crash, Path::new(root), CLASS_COUNT, &[evidence]);
        }
    }
}

#[test]
fn classes_of_dynamic_programs_of_other_machines_are_named() {
    for (machine, compiler, root) in OTHER_MACHINES {
        for (options, evidence) in [(&["-O1"][..], Evidence::RttiAndSymbol), (&["-O1", "-s"], Evidence::Rtti)] {
            let program = compile("classes", "cpp", CLASSES, &Build { compiler, options });
            let crash = crash_emulated(machine, Path::new(root), &program);
            assert_crash_is_named(&crash, Path::new(root), CLASS_COUNT, &[evidence]);
        }
    }
}
