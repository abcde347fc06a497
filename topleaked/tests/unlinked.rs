//! What leaked objects have in common that only pointers make objects of a type, and to which no pointer leads any more; and what is
//! said of it.

use testkit::native::{Build, compile, crash};
use topleaked::image::{Image, OpenOptions};
use topleaked::report::{Fields, FieldsOptions, Look, Report};
use topleaked::session::Session;
use topleaked::task::Task;

const C: &str = include_str!("programs/unlinked.c");

/// What the program printed of leaked and held ones, and what `fields` says of them, as JSON and in words.
fn asked(case: u32) -> (Vec<u64>, serde_json::Value, String) {
    let case = format!("-DCASE={case}");
    let program = compile("unlinked", "c", C, &Build { compiler: "gcc", options: &["-O1", "-g", "-w", &case] });
    let crash = crash(&program, &[]);
    let (options, task) = (OpenOptions::default(), Task::default());
    let image = Image::open(&crash.core, &options, &task).unwrap();
    let session = Session::new(&image, &options, &task);
    let fields = Fields::new(&session, "session", &FieldsOptions::default(), None).unwrap();
    let value = serde_json::to_value(&fields).unwrap();
    let mut text = Vec::new();
    Report::new("fields", "core", fields).write_human(&mut text, &Look::PLAIN).unwrap();
    let counts = crash.stdout.split_whitespace().map(|count| count.parse().unwrap()).collect();
    (counts, value, String::from_utf8(text).unwrap())
}

/// The suspects are those that leaked, and the first sentence says what they have in common.
#[track_caller]
fn check(case: u32, member: &str, said: &str) {
    let (counts, result, text) = asked(case);
    let count = |group: &str| result[group]["count"].as_u64().unwrap();
    // A few may still be in a register or on the stack.
    assert!(count("suspects").abs_diff(counts[0]) <= 3, "{counts:?}: {text}");
    assert!(count("reference").abs_diff(counts[1]) <= 3, "{counts:?}: {text}");
    assert!(result["by_likeness"].as_u64().unwrap().abs_diff(counts[0]) <= 3, "{text}");
    let first = &result["members"][0];
    assert_eq!((&first["name"], &first["significant"]), (&member.into(), &true.into()), "{text}");
    assert!(text.contains(&format!("leaked have {said}")), "no {said}: {text}");
    assert!(!text.contains("No member"), "{text}");
    let detail = result["members"].as_array().unwrap().iter().find(|member| member["name"] == "detail");
    assert_eq!(detail.unwrap()["significant"], false, "{text}");
}

#[test]
fn a_bit_of_a_word_of_flags_tells() {
    check(1, "flags & 0x40", "flags & 0x40 = set (");
}

#[test]
fn one_of_many_targets_tells_few_suspects() {
    check(2, "shard", "shard = one shard (0x");
}

#[test]
fn one_of_many_texts_tells_few_suspects() {
    check(3, "user", "user = \"user77\" (");
}

#[test]
fn a_bound_tells() {
    check(4, "tries", "tries >= 6 (");
}

#[test]
fn what_the_suspects_lack_tells() {
    check(5, "state", "state != IDLE (0.0 % of");
}

#[test]
fn a_cause_within_one_incident_is_not_denied() {
    check(6, "state", "state = CLOSING (");
}

#[test]
fn one_of_many_numbers_tells() {
    check(7, "port", "port = 8080 (");
}

#[test]
fn a_class_of_texts_is_not_denied_to_those_that_are_of_it() {
    // All names have seven letters; those of the leaked ones are fourteen, each so frequent that it stands for itself.
    let (_, result, text) = asked(8);
    assert_eq!(result["members"][0]["name"], "user", "{text}");
    assert!(!text.contains("user != texts of"), "{text}");
    assert!(text.contains("leaked have user not among the other texts of"), "{text}");
}
