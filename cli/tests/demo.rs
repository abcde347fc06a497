//! The demo: its dump holds what its server counted, and the tour shows it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::{Folder, answer, refused, terminal};

/// The order of `enum class State` in the server, from 1.
const STATES: &[&str] = &["Connected", "Handshake", "Authenticating", "Lobby", "InGame", "Closing"];

fn truth() -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/demo/truth.txt");
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| line.rsplit_once(' ').unwrap()).map(|(name, value)| (name.into(), value.into())).collect()
}

fn number(truth: &BTreeMap<String, String>, name: &str) -> u64 {
    truth.get(name).unwrap_or_else(|| panic!("no {name:?} in truth.txt")).parse().unwrap()
}

fn unpacked() -> (Folder, String) {
    let folder = Folder::new();
    answer(["demo", "--keep", folder.0.to_str().unwrap()]);
    let core = folder.0.join("demo.core").to_str().unwrap().to_owned();
    (folder, core)
}

#[test]
fn the_dump_holds_the_clients_that_the_server_counted() {
    let truth = truth();
    let (_folder, core) = unpacked();
    let clients: u64 = STATES.iter().map(|state| number(&truth, &format!("tcp {state}"))).sum();
    let vtable = &truth["vtable-of-TcpClient"];
    assert_eq!(
        answer([&core, "-f", vtable, "--memberType=pointer"]),
        format!("{vtable} : {clients}\n").replace("0x", "0x0000")
    );
    assert!(answer([&core, "-n10"]).contains(&format!("{} : {clients}\n", vtable.trim_start_matches("0x"))));

    let offset = format!("--memberOffset={}", truth["offset-of-state"]);
    let mut by_state: Vec<(u64, usize)> =
        STATES.iter().enumerate().map(|(at, state)| (number(&truth, &format!("tcp {state}")), at + 1)).collect();
    by_state.sort_by_key(|(count, value)| (u64::MAX - count, *value));
    let expected: String = by_state.iter().map(|(count, value)| format!("0x{value:016x} : {count}\n")).collect();
    assert_eq!(answer([&core, "-f", vtable, &offset, "--memberType=uint32"]), expected);
}

#[test]
fn the_dump_tells_the_story() {
    let truth = truth();
    let (zombies, connections) = (number(&truth, "overdue"), number(&truth, "connections"));
    assert!((16_500..17_500).contains(&zombies) && connections == 20_000, "{truth:?}");
    // Some of the living are in the zombies' state, too.
    assert!(number(&truth, "tcp Connected") > zombies && number(&truth, "ws Connected") > 0);
    assert!((100..10_000).contains(&number(&truth, "rejected")));
}

#[test]
fn gdb_agrees_on_the_class_and_its_member() {
    let truth = truth();
    let (folder, core) = unpacked();
    let output = Command::new("gdb")
        .args(["-q", "-nx", "-batch", "-ex", &format!("info symbol {}", truth["vtable-of-TcpClient"])])
        .args(["-ex", "ptype /o game::Connection", "-ex", "thread apply all backtrace"])
        .arg(folder.0.join("server"))
        .arg(&core)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("vtable for game::TcpClient + 16"), "{said}");
    let member = said.lines().find(|line| line.contains("State state_;")).unwrap_or_else(|| panic!("{said}"));
    assert!(member.split(|c: char| !c.is_ascii_digit()).any(|word| word == truth["offset-of-state"]), "{member}");
    assert!(said.contains("abort") && said.contains("main ()"), "{said}");
}

#[test]
fn the_tour() {
    insta::assert_snapshot!(answer(["demo"]));
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error() {
    let folder = Folder::new();
    let file = folder.write("file", b"");
    let said = refused(["demo", "--keep", file.join("below").to_str().unwrap()]);
    assert!(said.contains("cannot make the folder"), "{said}");
}

#[test]
fn the_search_by_name_counts_what_the_search_by_word_counts() {
    let truth = truth();
    let (folder, core) = unpacked();
    let program = folder.0.join("server").to_str().unwrap().to_owned();
    let values = |arguments: &[&str]| -> BTreeMap<u64, u64> {
        let value: serde_json::Value = serde_json::from_str(&answer(arguments)).unwrap();
        let rows = value["result"]["values"].as_array().unwrap().clone();
        let number = |text: &str| match text.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).unwrap(),
            None => text.parse().unwrap(),
        };
        rows.iter().map(|row| (number(row["value"].as_str().unwrap()), row["count"].as_u64().unwrap())).collect()
    };
    let offset = format!("--memberOffset={}", truth["offset-of-state"]);
    let by_word = values(&[&core, "-f", &truth["vtable-of-TcpClient"], &offset, "--memberType=uint32", "--json"]);
    let named = ["top", &core, "--exe", &program, "--type", "game::TcpClient", "--member", "state_", "--json"];
    // Every occurrence of the word is an object here.
    assert_eq!(values(&named), by_word);
}

#[test]
fn the_readme_shows_what_the_tour_prints() {
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let readme = include_str!("../../README.md");
    let shown = readme.split("$ topleaked fields demo.core").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let (_command, shown) = shown.split_once('\n').unwrap();
    let tour = one_line(&answer(["demo"]));
    let mut rest = &*tour;
    // An ellipsis stands for what the page leaves out.
    for part in one_line(shown).split('…').map(str::trim) {
        let (_, behind) = rest.split_once(part).unwrap_or_else(|| panic!("the tour does not print {part:?}"));
        rest = behind;
    }
}

#[test]
fn on_a_terminal_the_tour_fits_its_tables_and_its_text() {
    let folder = Folder::new();
    let tour = terminal("TERM=xterm \"$TOPLEAKED\" demo", &folder.0);
    assert!(tour.contains("\x1b[1m$ topleaked info demo.core --exe server\x1b[0m"), "{tour}");
    let heads: Vec<&str> = tour.lines().filter(|line| line.contains("found in")).collect();
    assert!(
        heads.len() == 2 && heads.iter().all(|head| head.trim_end().len() <= 80 + "\x1b[1m\x1b[0m".len()),
        "{heads:?}"
    );
}

#[test]
fn a_reader_that_leaves_the_tour_ends_it_quietly() {
    let output = Command::new("bash")
        .args(["-c", "\"$0\" demo | head -1; exit ${PIPESTATUS[0]}", env!("CARGO_BIN_EXE_topleaked")])
        .output()
        .unwrap();
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]));
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("A game server has died"));
}
