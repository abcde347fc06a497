//! The classic form, byte for byte.

use crate::common::{Folder, answer, run, words};

#[track_caller]
fn check(bytes: &[u8], options: &[&str], expected: &str) {
    let folder = Folder::new();
    let path = folder.write("input", bytes);
    let mut arguments = vec![path.to_str().unwrap()];
    arguments.extend(options);
    let lines: String = expected.split_terminator(", ").map(|line| format!("0x{line}\n")).collect();
    assert_eq!(answer(&arguments), lines, "{options:?}");
    // Options may stand on both sides of the file.
    arguments.rotate_left(1);
    assert_eq!(answer(&arguments), lines, "{arguments:?}");
    // A pipe holds the same words.
    let output = crate::common::piped(bytes, &[options, &["-"]].concat());
    assert_eq!((String::from_utf8_lossy(&output.stdout), output.status.code()), (lines.into(), Some(0)), "{options:?}");
}

fn bytes_1_to_24() -> Vec<u8> {
    (1..=0x18).collect()
}

fn searched() -> Vec<u8> {
    words(&[0xaa, 0x1122334455667788, 0xaa, 0x1122334455660099, 0xbb, 0xaa])
}

#[test]
fn the_most_frequent_words() {
    check(&words(&[1, 2, 3, 1, 2, 1]), &[], "0000000000000001 : 3, 0000000000000002 : 2, 0000000000000003 : 1");
}

#[test]
fn a_tail_is_one_word_of_zero() {
    let mut bytes = words(&[5]);
    bytes.extend(b"abc");
    check(&bytes, &[], "0000000000000000 : 1, 0000000000000005 : 1");
    check(b"abc", &[], "0000000000000000 : 1");
    check(b"abcdefg", &["-n1"], "0000000000000000 : 1");
}

#[test]
fn the_offset_may_be_any() {
    check(&bytes_1_to_24(), &["-s", "1"], "0000000000000000 : 1, 0908070605040302 : 1, 11100f0e0d0c0b0a : 1");
    check(&bytes_1_to_24(), &["-s", "20"], "0000000000000000 : 1");
    check(&bytes_1_to_24(), &["-s", "23"], "0000000000000000 : 1");
    check(&bytes_1_to_24(), &["-s", "24"], "");
    check(&bytes_1_to_24(), &["-s", "18446744073709551615"], "");
    check(&bytes_1_to_24(), &["-s", "16", "-l", "18446744073709551615"], "1817161514131211 : 1");
}

#[test]
fn the_limit_counts_words() {
    let bytes = words(&[1, 2, 2, 3, 3, 3]);
    check(&bytes, &["-l3"], "0000000000000002 : 2, 0000000000000001 : 1");
    check(&bytes, &["-l", "2", "-s8"], "0000000000000002 : 2");
    check(&bytes, &["-l0"], "");
    check(&bytes, &["-n0"], "");
    check(&[&bytes[..], b"x"].concat(), &["-l7", "-n2"], "0000000000000003 : 3, 0000000000000002 : 2");
    check(&[&bytes[..], b"x"].concat(), &["-l1", "-s48"], "0000000000000000 : 1");
}

#[test]
fn equal_counts_come_by_value_and_the_cut_follows() {
    let bytes = words(&[9, 7, 8, 7, 5, 6, 9]);
    check(&bytes, &["-n3"], "0000000000000007 : 2, 0000000000000009 : 2, 0000000000000005 : 1");
    check(
        &bytes,
        &["-n18446744073709551615"],
        "0000000000000007 : 2, 0000000000000009 : 2, 0000000000000005 : 1, 0000000000000006 : 1, 0000000000000008 : 1",
    );
}

#[test]
fn a_word_is_found_and_its_member_read() {
    check(&searched(), &["-faa"], "00000000000000aa : 3");
    check(&searched(), &["-faa", "--memberOffset=8"], "0000000000000088 : 1, 0000000000000099 : 1");
    check(
        &searched(),
        &["-faa", "--memberOffset=8", "--memberType=uint16"],
        "0000000000000099 : 1, 0000000000007788 : 1",
    );
    check(
        &searched(),
        &["-faa", "--memberOffset=8", "--memberType=uint32"],
        "0000000055660099 : 1, 0000000055667788 : 1",
    );
    check(
        &searched(),
        &["-faa", "--memberOffset=9", "--memberType=uint64"],
        "aa11223344556677 : 1, bb11223344556600 : 1",
    );
    check(&searched(), &["-faa", "--memberOffset=40"], "00000000000000aa : 1");
    check(&searched(), &["-faa", "--memberOffset=41"], "");
}

#[test]
fn a_member_in_the_tail_reads_as_zero() {
    let mut bytes = words(&[0xaa, 0x1122334455667788, 0xaa]);
    bytes.extend([1, 2, 3]);
    check(&bytes, &["-faa", "--memberOffset=8", "--memberType=uint64"], "0000000000000000 : 1, 1122334455667788 : 1");
}

#[test]
fn a_member_may_lie_before_its_match() {
    for offset in ["-8", "-0x8", "-0X8"] {
        check(
            &searched(),
            &["-faa", "--memberOffset", offset, "--memberType=uint64"],
            "00000000000000bb : 1, 1122334455667788 : 1",
        );
    }
    check(&searched(), &["-faa", "--memberOffset=0x28"], "00000000000000aa : 1");
    check(&searched(), &["-faa", "--memberOffset=-9223372036854775808"], "");
    check(&searched(), &["-faa", "--memberOffset=9223372036854775807"], "");
}

/// A match, and a member of every kind eight bytes behind it.
fn members() -> Vec<u8> {
    let mut bytes = words(&[0xaa, 0xff, 0xaa, 0xffff_ffff_ffff_fffe, 0xaa]);
    bytes.extend(1.5_f64.to_le_bytes());
    bytes.extend(0xaa_u64.to_le_bytes());
    bytes.extend(b"hi\x1b[m\"\0x");
    bytes.extend(0xaa_u64.to_le_bytes());
    bytes.extend(1_u64.to_le_bytes());
    bytes
}

#[track_caller]
fn check_type(kind: &str, expected: &[&str]) {
    let folder = Folder::new();
    let path = folder.write("input", members());
    let kind = format!("--memberType={kind}");
    let text = answer([path.to_str().unwrap(), "-faa", "--memberOffset=8", &kind]);
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn members_of_our_own_types() {
    check_type("int8", &["0 : 1", "1 : 1", "104 : 1", "-2 : 1", "-1 : 1"]);
    check_type("int16", &["0 : 1", "1 : 1", "255 : 1", "26984 : 1", "-2 : 1"]);
    check_type(
        "bool",
        &["false : 1", "true : 1", "0x0000000000000068 : 1", "0x00000000000000fe : 1", "0x00000000000000ff : 1"],
    );
    check_type(
        "pointer",
        &[
            "0x0000000000000001 : 1",
            "0x00000000000000ff : 1",
            "0x3ff8000000000000 : 1",
            "0x7800226d5b1b6968 : 1",
            "0xfffffffffffffffe : 1",
        ],
    );
    check_type(
        "cstring",
        &[
            r#""" : 1"#,
            r#""\x01" : 1"#,
            r#""hi\x1b[m\"" : 1"#,
            r#""\xfe\xff\xff\xff\xff\xff\xff\xff\xaa" : 1"#,
            r#""\xff" : 1"#,
        ],
    );
    let folder = Folder::new();
    let path = folder.write("input", members());
    let typed = |kind: &str| {
        let kind = format!("--memberType={kind}");
        answer([path.to_str().unwrap(), "-faa", "--memberOffset=8", &kind])
    };
    assert!(typed("int64").contains("-2 : 1\n") && typed("int64").contains("255 : 1\n"));
    assert!(typed("int32").contains("-2 : 1\n") && typed("int32").contains("1 : 1\n"));
    assert!(typed("float64").contains("1.5 : 1\n") && typed("float64").contains("NaN (0xfffffffffffffffe) : 1\n"));
    assert!(typed("float32").contains("0.0 : 1\n") && typed("float32").contains("NaN (0x00000000fffffffe) : 1\n"));
}

#[test]
fn gdb_gets_three_commands_a_value() {
    let folder = Folder::new();
    let path = folder.write("input", words(&[0x5569_7c45_cd78, 7, 0x5569_7c45_cd78]));
    let path = path.to_str().unwrap();
    assert_eq!(
        answer([path, "-ogdb"]),
        "p 2\nx 0x000055697c45cd78\ninfo symbol 0x000055697c45cd78\n\
         p 1\nx 0x0000000000000007\ninfo symbol 0x0000000000000007\n"
    );
    assert_eq!(
        answer([path, "-o", "gdb", "-f7", "--memberOffset=8", "--memberType=uint16"]),
        "p 1\nx 0x000000000000cd78\ninfo symbol 0x000000000000cd78\n"
    );
    assert_eq!(answer([path, "-ogdb", "-ohuman", "-n1"]), "0x000055697c45cd78 : 2\n");
}

#[test]
fn the_time_is_the_last_line() {
    let folder = Folder::new();
    let path = folder.write("input", words(&[1]));
    for option in ["-t", "--time", "--TIME"] {
        let text = answer([path.to_str().unwrap(), option]);
        let lines: Vec<_> = text.lines().collect();
        assert!(
            matches!(lines[..], ["0x0000000000000001 : 1", last] if last.starts_with("Done in ")),
            "{option}: {text}"
        );
    }
}

/// The original's flags take a value behind `=`, as its language's `getopt` has it.
#[test]
fn a_flag_may_be_said_to_be_true_or_false() {
    let folder = Folder::new();
    let path = folder.write("input", words(&[1]));
    let path = path.to_str().unwrap();
    let said = |options: &[&str]| answer([&[path], options].concat()).contains("Done in ");
    for yes in ["--time=true", "-t=true", "-ttrue", "--TIME=True", "--t=TRUE"] {
        assert!(said(&[yes]) && said(&["--time=false", yes]), "{yes}");
    }
    for no in ["--time=false", "-t=false", "-tfalse", "--t=False"] {
        assert!(!said(&[no]) && !said(&["-t", no]), "{no}");
    }
}

#[test]
fn json_says_the_same() {
    let folder = Folder::new();
    let mut bytes = words(&[0, 0, 0x21, 0x5569_7c45_cd78]);
    bytes.push(1);
    let path = folder.write("input", bytes);
    let path = path.to_str().unwrap();
    let parse = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap();
    let row = |value: &str, count: u64, kind: &str| serde_json::json!({"value": value, "count": count, "kind": kind});
    let envelope = |result: serde_json::Value| {
        serde_json::json!({
            "schema_version": 1, "command": "classic", "input": path, "complete": true, "diagnostics": [],
            "result": result
        })
    };
    let words = [
        row("0x0000000000000000", 3, "zero"),
        row("0x0000000000000021", 1, "small"),
        row("0x000055697c45cd78", 1, "other"),
    ];
    assert_eq!(
        parse(answer([path, "--json"])),
        envelope(serde_json::json!({"words": words, "total_words": 5, "distinct_shown": 3}))
    );
    assert_eq!(
        parse(answer([path, "--json", "-f", "0", "--memberOffset=8", "--memberType=int16"])),
        envelope(serde_json::json!({
            "values": [{"value": "0", "count": 1}, {"value": "33", "count": 1}], "matches": 3, "members": 2
        }))
    );
    assert_eq!(
        crate::common::refused([path, "--json", "-ogdb"]),
        "topleaked: --json and --output=gdb exclude each other\n"
    );
}

#[test]
fn every_spelling_of_an_option_means_the_same() {
    let folder = Folder::new();
    let path = folder.write("input", words(&[1, 1, 2, 3, 3, 3, 4]));
    let path = path.to_str().unwrap();
    let expected = "0x0000000000000003 : 3\n0x0000000000000001 : 2\n";
    for spelling in [
        &["-n2", path][..],
        &["-n", "2", path],
        &["-n=2", path],
        &["--size=2", path],
        &["--size", "2", path],
        &["--n=2", path],
        &["--n", "2", path],
        &["--SIZE=2", path],
        &["--sIzE", "2", path],
        &["-n02", path],
        &["-n002", path],
        &[path, "-n2"],
        &[path, "--size", "2"],
        &["-n", "2", "--", path],
        &["-n7", path, "-n2"],
        &["--size=7", "-n", "9", path, "--N=2"],
        &["-n2", "-s0", path, "-l", "100"],
        &["--limit=100", "-n2", "--Offset", "0", path],
        &["--l=100", "--o=human", "--s=0", "-n2", path],
    ] {
        assert_eq!(answer(spelling), expected, "{spelling:?}");
    }
    // `010` is ten, not eight.
    let ten = folder.write("ten", words(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]));
    assert_eq!(answer(["-n010", ten.to_str().unwrap()]).lines().count(), 10);
    assert_eq!(answer([ten.to_str().unwrap()]).lines().count(), 10, "the default");
    let find = words(&[0xaa, 5]);
    let find = folder.write("find", find);
    for spelling in ["-faa", "-f=aa", "-fAA", "-f0xaa", "-f0XAA", "--find=0xaa", "--FIND=00aa", "--f=aa"] {
        for offset in ["--memberOffset=8", "--memberoffset=0x8", "--MEMBEROFFSET=8"] {
            let text = answer([spelling, offset, "--MemberType=uint64", find.to_str().unwrap()]);
            assert_eq!(text, "0x0000000000000005 : 1\n", "{spelling} {offset}");
        }
    }
}

#[test]
fn two_dashes_end_the_options() {
    let folder = Folder::new();
    folder.write("-n1", words(&[1, 2]));
    folder.write("man", words(&[3]));
    let run_there = |arguments: &[&str]| {
        let output = crate::common::topleaked().args(arguments).current_dir(&folder.0).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(run_there(&["--", "-n1"]), "0x0000000000000001 : 1\n0x0000000000000002 : 1\n");
    assert_eq!(run_there(&["-n1", "--", "-n1"]), "0x0000000000000001 : 1\n");
    // A file that is called like a verb.
    assert_eq!(run_there(&["./man"]), "0x0000000000000003 : 1\n");
    assert_eq!(run_there(&["-n1", "man"]), "0x0000000000000003 : 1\n");
    assert_eq!(run_there(&["--", "man"]), "0x0000000000000003 : 1\n");
}

#[test]
fn help_is_help() {
    let plain = answer(["--help"]);
    assert!(plain.starts_with("Looks at a core dump and says why the process leaked\n\nExamples:\n"), "{plain}");
    for (needle, what) in [("-ogdb | gdb", "an example"), ("--memberOffset", "options"), ("completions", "verbs")] {
        assert!(plain.contains(needle), "{what}: {plain}");
    }
    assert!(!plain.contains('\x1b'), "no colour in a file");
    for spelling in [&["-h"][..], &["--HELP"], &["core", "-h"], &["-n10", "--h"]] {
        assert_eq!(answer(spelling), plain, "{spelling:?}");
    }
    assert!(answer(["man", "--help"]).starts_with("Prints the manual page\n\nExamples:\n"));
    assert_eq!(answer(["--version"]), format!("topleaked {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn without_a_question_there_is_help_and_no_answer() {
    let output = run([""; 0]);
    assert_eq!((output.status.code(), &*output.stdout), (Some(2), &b""[..]));
    assert!(String::from_utf8_lossy(&output.stderr).contains("Usage: topleaked"), "{output:?}");
}

#[test]
fn man_page_and_completions_know_the_options() {
    let page = answer(["man"]);
    assert!(page.contains(".TH topleaked 1") && page.contains("memberOffset") && page.contains("topleaked\\-man"));
    assert!(answer(["man", "completions"]).contains("Prints a completion script"));
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = answer(["completions", shell]);
        assert!(script.contains("memberType") && script.contains("completions"), "{shell}");
    }
}
