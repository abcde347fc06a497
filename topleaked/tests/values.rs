//! Values read by type out of real dumps: what the program set is what is read.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use testkit::native::{Build, Crash, M32, Program, compile, crash, crash_emulated};
use topleaked::addr::{Addr, Span};
use topleaked::image::{Image, OpenOptions, SearchPaths};
use topleaked::task::Task;
use topleaked::types::{DebugInfo, TypeName, Types};

const CPP: &str = include_str!("programs/values.cpp");

/// The leaves of the object whose address the program printed, by path, as a person would read them.
fn read(crash: &Crash, name: &str) -> BTreeMap<String, String> {
    read_with(crash, name, &OpenOptions::default())
}

fn read_with(crash: &Crash, name: &str, options: &OpenOptions) -> BTreeMap<String, String> {
    let image = Image::open(&crash.core, options, &Task::default()).unwrap();
    let info = DebugInfo::of_image(&image);
    let found = info.find_type(&TypeName::parse(name).unwrap(), &Task::default());
    let names: Vec<_> = found.names.iter().map(|found| found.name.as_str()).collect();
    assert_eq!(names.len(), 1, "{names:?}");
    let mut types = Types::new(info);
    let id = types.add(&found.names[0].layouts[0]);
    types.complete(&[id], &Task::default());
    let printed = crash.stdout.lines().next().unwrap().trim_start_matches("0x");
    let object = Addr(u64::from_str_radix(printed, 16).unwrap());
    let space = image.space();
    let bytes = space.bytes(Span::with_size(object, types.size_bytes(id).unwrap()).unwrap()).unwrap();
    let leaves = types.leaves(id, &|_, place| types.virtual_base_offset(place, object, space));
    let mut values = BTreeMap::new();
    for leaf in &leaves.list {
        let value = leaf.read(bytes, space);
        values.insert(leaf.path.clone(), types.describe(leaf, &value).into_owned());
    }
    values
}

fn check(values: &BTreeMap<String, String>, expected: &[(&str, &str)]) {
    let mut wrong = String::new();
    for (path, value) in expected {
        let found = values.get(*path).map(String::as_str);
        if found != Some(value) {
            let _ = writeln!(wrong, "{path}: expected {value}, read {found:?}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}\nall of it: {values:#?}");
}

const EXPECTED: &[(&str, &str)] = &[
    ("shared", "77"),
    ("left", "1"),
    ("right", "2"),
    ("state", "CLOSING"),
    ("flags", "READ | APPEND"),
    ("small", "5"),
    ("negative", "-3"),
    ("ready", "true"),
    ("on", "true"),
    ("tiny", "-7"),
    ("large", "18364758544493064720"),
    ("half", "0.5"),
    ("pi", "3.25"),
    ("wide", "-1.5"),
    ("letter", "'x'"),
    ("conn.tls.state", "CONNECTED"),
    ("conn.tls.version", "13"),
    ("conn.peer", "\"10.0.0.7\""),
    ("nothing", "null"),
    ("text", "\"a C string\""),
    ("brief", "\"short\""),
    ("long_text", "\"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\""),
    ("view", "\"a view\""),
    ("vec", "size 3"),
    ("map", "size 2"),
    ("set", "size 1"),
    ("hash", "size 4"),
    ("list", "size 5"),
    ("some", "present"),
    ("some.value", "42"),
    ("none", "none"),
    ("none.value", "absent"),
    ("either", "double"),
    ("free_owner", "null"),
    ("when", "2000-02-29 00:00:00Z"),
    ("at", "2000-02-29 00:00:00Z"),
    ("matrix[0][1]", "2"),
    ("matrix[1][0]", "3"),
    ("place", "4"),
    ("no_place", "-1"),
    ("no_method", "null"),
    ("counter", "3"),
    ("mode", "CONNECTED"),
    ("started", "17"),
    ("held", "std::string"),
    ("many[40]", "77"),
    ("many[63]", "0"),
    ("lamps[20]", "true"),
    ("lamps[39]", "false"),
    ("as_float", "1"),
];

fn cpp(name: &str, compiler: &str, options: &[&str]) -> Program {
    let all: Vec<&str> = ["-w", "-std=c++17", "-g"].iter().chain(options).copied().collect();
    compile(name, "cpp", CPP, &Build { compiler, options: &all })
}

#[test]
fn values_of_a_cpp_object_are_read_as_people_would() {
    let crash = crash(&cpp("values", "g++", &[]), &[]);
    let values = read(&crash, "Client");
    check(&values, EXPECTED);
    check(&values, &[("deque", "size 1000")]);
    let wide = [("below", "-5"), ("above", "7"), ("vast", "0x11223344556677880000000000000099"), ("quad", "2.5")];
    check(&values, &wide);
    assert!(!values.contains_key("wide_letters[256]"), "an array without end");
    for pointer in ["self", "some_method", "handler", "owner", "sharer"] {
        assert!(values[pointer].starts_with("0x"), "{pointer}: {}", values[pointer]);
    }
}

#[test]
fn values_of_a_32_bit_object_are_read_as_people_would() {
    let crash = crash(&cpp("values-m32", "g++", M32), &[]);
    check(&read(&crash, "Client"), EXPECTED);
}

#[test]
fn values_of_libcxx_are_read_as_people_would() {
    let crash = crash(&cpp("values-libcxx", "clang++", &["-stdlib=libc++", "-fstandalone-debug"]), &[]);
    check(&read(&crash, "Client"), EXPECTED);
}

#[test]
fn wide_numbers_of_other_machines_are_read_as_those_have_them() {
    const SOURCE: &str = r#"
#include <cstdio>
struct Wide { long double half = 0.5L, small = -3.25e-7L, none = 0; __int128 below = -9; };
int main() { std::printf("%p\n", (void *)new Wide); std::fflush(stdout); __builtin_trap(); }
"#;
    for (machine, compiler) in [("s390x", "s390x-linux-gnu-g++-12"), ("aarch64", "aarch64-linux-gnu-g++-12")] {
        let options = &["-w", "-std=c++17", "-g", "-static"];
        let program = compile("wide", "cpp", SOURCE, &Build { compiler, options });
        let crash = crash_emulated(machine, Path::new("/"), &program);
        let search = SearchPaths { exe: Some(program.path.clone()), ..SearchPaths::default() };
        let values = read_with(&crash, "Wide", &OpenOptions { search });
        check(&values, &[("half", "0.5"), ("small", "-3.25e-7"), ("none", "0"), ("below", "-9")]);
    }
}

#[test]
fn values_of_a_rust_object_are_read_as_people_would() {
    const SOURCE: &str = r#"
use std::collections::{BTreeMap, HashMap, VecDeque};
#[derive(Clone, Copy)] #[allow(dead_code)] #[repr(u8)] enum State { Fresh, Connected, Closing }
#[allow(dead_code)] enum Event { Nothing, Data { size: u32 }, Text(String) }
#[allow(dead_code)]
struct Client {
    state: State, event: Event, other: Event, name: String, label: &'static str, list: Vec<u64>, queue: VecDeque<u8>,
    map: HashMap<u32, u32>, tree: BTreeMap<u32, u32>, some: Option<u32>, none: Option<u32>, boxed: Option<Box<u32>>,
    empty: Option<Box<u32>>, ready: bool, ratio: f64, delta: i16, pair: (u8, i32),
}
fn main() {
    let client = Box::new(Client {
        state: State::Closing, event: Event::Data { size: 9 }, other: Event::Text("inside".to_owned()),
        name: "a name".to_owned(), label: "a label", list: vec![1, 2, 3], queue: VecDeque::from(vec![1, 2]),
        map: HashMap::from([(1, 1), (2, 2), (3, 3)]), tree: BTreeMap::from([(1, 1)]), some: Some(5), none: None,
        boxed: Some(Box::new(1)), empty: None, ready: true, ratio: 0.25, delta: -2, pair: (3, -4),
    });
    println!("{:p}", &*client);
    let client = std::hint::black_box(client);
    std::process::abort();
    #[allow(unreachable_code)] drop(client);
}
"#;
    let program =
        compile("values-rust", "rs", SOURCE, &Build { compiler: "rustc", options: &["-g", "--edition=2024"] });
    let crash = crash(&program, &[]);
    let values = read(&crash, "Client");
    check(
        &values,
        &[
            ("state", "Closing"),
            ("event", "Data"),
            ("event.Data.size", "9"),
            ("event.Text.__0", "absent"),
            ("other", "Text"),
            ("other.Text.__0", "\"inside\""),
            ("name", "\"a name\""),
            ("label", "\"a label\""),
            ("list", "size 3"),
            ("queue", "size 2"),
            ("map", "size 3"),
            ("tree", "size 1"),
            ("some", "Some"),
            ("some.Some.__0", "5"),
            ("none", "None"),
            ("boxed", "Some"),
            ("empty", "None"),
            ("ready", "true"),
            ("ratio", "0.25"),
            ("delta", "-2"),
            ("pair.__0", "3"),
            ("pair.__1", "-4"),
        ],
    );
}
