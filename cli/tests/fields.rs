//! `fields` and `layout` as the user has them, and the pages that show them.

use std::process::Command;

use crate::common::{Folder, answer};

const PAGE: &str = include_str!("../../docs/fields.md");

fn unpacked() -> Folder {
    let folder = Folder::new();
    answer(["demo", "--keep", folder.0.to_str().unwrap()]);
    folder
}

/// What a command prints in the folder of the demo.
fn said(folder: &Folder, command: &str) -> String {
    let words = command.split(' ').skip(1);
    let output = Command::new(env!("CARGO_BIN_EXE_topleaked")).args(words).current_dir(&folder.0).output().unwrap();
    assert!(output.status.success(), "{command}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_story_of_the_original_is_told_by_words_and_by_names() {
    let folder = unpacked();
    let blocks: Vec<(&str, &str)> = (PAGE.split("```console\n$ ").skip(1))
        .map(|block| block.split("```").next().unwrap().split_once('\n').unwrap())
        .collect();
    assert_eq!(blocks.len(), 3);
    for (command, printed) in &blocks {
        assert_eq!(said(&folder, command), *printed, "{command}");
    }
    let counts =
        |text: &str, number: &dyn Fn(&str) -> Option<u64>| -> Vec<u64> { text.lines().filter_map(number).collect() };
    let raw = counts(blocks[1].1, &|line| line.split(" : ").nth(1)?.parse().ok());
    let named = counts(blocks[2].1, &|line| line.split_whitespace().next()?.replace(',', "").parse().ok());
    assert_eq!(raw, named);
    let first = said(&folder, "topleaked fields demo.core game::TcpClient --exe server");
    let share = first.lines().find(|line| line.contains(" ones have ")).unwrap();
    assert!(
        share.trim_start().starts_with("93.4 % of the live ones have state_ = Connected (17,057 of 18,256"),
        "{first}"
    );
}

#[test]
fn a_layout_without_debug_information_is_told_by_the_objects() {
    let folder = unpacked();
    let text = said(&folder, "topleaked layout demo.core 104");
    assert!(text.starts_with("(104 bytes): no debug information; from 31 objects in use\n"), "{text}");
    for row in [
        "+0x0   pointer   to data of a module",
        "+0x8   u64       time in seconds",
        "+0x10  u32       state (13 values)",
    ] {
        assert!(text.contains(row), "{row}: {text}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&said(&folder, "topleaked layout demo.core 104 --json")).unwrap();
    let view = &json["result"]["types"][0];
    assert_eq!(
        (&view["kind"], &view["objects"], &view["members"][1]["says"]),
        (&"inferred".into(), &31.into(), &"time in seconds".into())
    );
    // The same objects, member by member.
    let text = said(&folder, "topleaked fields demo.core 104 --member +0x8");
    assert!(text.contains("+0x8 (u64 (time in seconds), offset 8, 8 bytes)") && text.contains(" (20"), "{text}");
    let core = folder.0.join("demo.core");
    let text = answer(["fields", core.to_str().unwrap(), "104", "--where", "+0x10 >= 0"]);
    assert!(text.contains(" of (104 bytes) where +0x10 >= 0"), "{text}");
}
