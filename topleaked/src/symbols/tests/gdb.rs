//! The same addresses asked of gdb.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::*;

/// So many words of each dump are compared.
const SAMPLE: usize = 1000;

/// A program that leaves pointers of many sorts in its memory.
const BUSY: &str = r#"
#include <cstdlib>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
struct Shape { virtual ~Shape() {} virtual double area() const = 0; };
template <int N> struct Polygon : Shape { double area() const override { return N; } };
static std::map<std::string, std::unique_ptr<Shape>> shapes;
static int zeros[1000];
int main() {
    shapes["three"] = std::make_unique<Polygon<3>>();
    shapes["four"] = std::make_unique<Polygon<4>>();
    std::ostringstream out;
    for (auto &[name, shape] : shapes) out << name << ' ' << shape->area() << zeros[3];
    std::function<int()> call = [&] { return int(out.str().size()); };
    if (call() > 0) std::abort();
}
"#;

/// Different words that lie in modules, spread evenly over all of the dump's.
fn sample(image: &Image) -> Vec<Addr> {
    let width = image.target().width.bytes();
    let mut words = BTreeSet::new();
    for segment in image.space().segments().iter().filter(|segment| segment.permissions.write) {
        for bytes in image.space().segment_bytes(segment).chunks_exact(width) {
            let addr = Addr(image.target().word(bytes).unwrap());
            if image.module_at(addr).is_some() {
                words.insert(addr);
            }
        }
    }
    let step = words.len().div_ceil(SAMPLE).max(1);
    words.into_iter().step_by(step).collect()
}

/// What gdb's `info symbol` says of each address: name, offset, section.
fn ask_gdb(program: &Program, crash: &Crash, words: &[Addr]) -> Vec<Option<(String, u64, String)>> {
    let mut commands = "set debuginfod enabled off\nset print demangle off\nset print asm-demangle off\n".to_owned();
    for word in words {
        writeln!(commands, "echo \\n@\\n\ninfo symbol {:#x}", word.0).unwrap();
    }
    let script = scratch_folder().join("commands");
    std::fs::write(&script, commands).unwrap();
    let output = Command::new("gdb")
        .args(["-batch", "-nx", "-x"])
        .args([&script, &program.path, &crash.core])
        .output()
        .expect("gdb can be run; `cargo xtask test` installs it");
    std::fs::remove_dir_all(script.parent().unwrap()).unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let answers = text.split("\n@\n").skip(1).map(|answer| {
        let (symbol, place) = answer.lines().find_map(|line| line.split_once(" in section "))?;
        let section = place.split(' ').next()?.to_owned();
        let (name, offset) =
            symbol.split_once(" + ").map_or(Some((symbol, 0)), |(name, offset)| Some((name, offset.parse().ok()?)))?;
        Some((name.to_owned(), offset, section))
    });
    answers.collect()
}

/// The share of answers that must not be empty on gdb's side, lest the comparison say nothing.
const FEWEST_NAMED: usize = 100;

fn assert_agreement(program: &Program) {
    let crash = crash(program, &[]);
    let image = open(&crash.core, &SearchPaths::default());
    let symbols = Symbols::new(&image, SearchPaths::default());
    let words = sample(&image);
    let answers = ask_gdb(program, &crash, &words);
    assert_eq!(answers.len(), words.len());
    let mut wrong = Vec::new();
    let mut named = 0;
    for (word, answer) in words.iter().zip(answers) {
        let Some((name, offset, section)) = answer else { continue };
        // Places of the linkage table have names that gdb makes up; and `.tbss` takes no memory: what lies at its
        // address belongs to the section behind it.
        if name.ends_with("@plt") || name.ends_with("@got.plt") || section == ".tbss" {
            continue;
        }
        named += 1;
        let name = name.split('@').next().unwrap_or_default().to_owned();
        let hit = symbols.find(*word);
        let agrees = hit.is_some_and(|hit| {
            // One thing can have several names; gdb takes the one its string table has last.
            let names = symbols.find_all(hit.address);
            let same = |other: &SymbolHit<'_>| other.name.split(|byte| *byte == b'@').next() == Some(name.as_bytes());
            hit.offset == offset
                && names.iter().any(same)
                && hit.section.is_some_and(|at| at.name == section.as_bytes())
        });
        if !agrees {
            let ours = hit.map(|hit| (String::from_utf8_lossy(hit.name).into_owned(), hit.offset));
            wrong.push(format!("{word}: gdb says {name}+{offset} in {section}, we {ours:?}"));
        }
    }
    assert!(named >= FEWEST_NAMED, "gdb named {named} of {} words", words.len());
    assert!(wrong.is_empty(), "{} of {named} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn names_agree_with_gdb() {
    assert_agreement(&compile("busy", "cpp", BUSY, &Build { compiler: "c++", options: &["-g", "-std=c++17"] }));
    assert_agreement(&compile("busy", "cpp", BUSY, &Build { compiler: "c++", options: &["-O2", "-s", "-std=c++17"] }));
    assert_agreement(&compile(
        "busy",
        "cpp",
        BUSY,
        &Build { compiler: "c++", options: &["-O1", "-static", "-std=c++17"] },
    ));
}
