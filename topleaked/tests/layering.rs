//! Holds the rooms of the library to their order: each imports only from rooms above it.

use std::fs;
use std::path::Path;

/// The rooms, from the one that knows least to the one that knows most; `ARCHITECTURE.md` says what each is for.
const ROOMS: &[&str] =
    &["addr", "task", "image", "words", "symbols", "types", "heap", "graph", "objects", "insight", "session", "report"];

fn rust_files(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The rooms that a source text names after `crate::`, also in a group: `use crate::{addr::Addr, words}`.
fn rooms_named(text: &str) -> Vec<String> {
    let code: String =
        text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let mut rooms = Vec::new();
    for rest in code.split("crate::").skip(1) {
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 1;
            let mut name = String::new();
            let mut leading = true;
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                if depth == 1 && leading && (c.is_alphanumeric() || c == '_') {
                    name.push(c);
                } else if depth == 1 && c == ',' {
                    leading = true;
                } else if !c.is_whitespace() {
                    leading = false;
                }
                if !leading || depth == 0 || c == ',' {
                    rooms.extend((!name.is_empty()).then(|| std::mem::take(&mut name)));
                }
                if depth == 0 {
                    break;
                }
            }
        } else {
            rooms.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    rooms
}

#[test]
fn each_room_imports_only_from_rooms_above_it() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut checked = 0;
    for (place, room) in ROOMS.iter().enumerate() {
        let mut files = Vec::new();
        let folder = source.join(room);
        if folder.is_dir() {
            rust_files(&folder, &mut files);
        }
        for (path, text) in files {
            for named in rooms_named(&text) {
                let Some(at) = ROOMS.iter().position(|other| *other == named) else {
                    panic!("{path} names crate::{named}, which is no room");
                };
                assert!(at <= place, "{path}: room `{room}` may not know room `{named}`, which is below it");
                checked += usize::from(at < place);
            }
        }
    }
    assert!(checked > 0, "no import between rooms was found: the scan is blind");
}

#[test]
fn every_folder_of_the_library_is_a_room() {
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name == "lib.rs" || ROOMS.contains(&name.as_str()), "src/{name} is no room of the table");
    }
}

#[test]
fn the_scan_sees_grouped_and_nested_imports() {
    let text = "use crate::{addr::{Addr, Span}, words};\nuse crate::image::Image; // crate::report\n";
    assert_eq!(rooms_named(text), ["addr", "words", "image"]);
}
