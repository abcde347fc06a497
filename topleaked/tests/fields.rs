//! Which member tells, held to a program that counted what it set.

use testkit::native::{Build, Crash, compile, crash};
use topleaked::image::{Image, OpenOptions};
use topleaked::report::{Fields, FieldsError, FieldsOptions, Look, Report};
use topleaked::session::Session;
use topleaked::task::Task;

const CPP: &str = include_str!("programs/members.cpp");

fn crashed(options: &[&str]) -> Crash {
    let mut all = vec!["-O1", "-std=c++17"];
    all.extend(options);
    crash(&compile("members", "cpp", CPP, &Build { compiler: "c++", options: &all }), &[])
}

fn asked(crash: &Crash, name: &str, member: Option<&str>) -> Result<(serde_json::Value, String), FieldsError> {
    let (options, task) = (OpenOptions::default(), Task::default());
    let image = Image::open(&crash.core, &options, &task).unwrap();
    let session = Session::new(&image, &options, &task);
    let asked = FieldsOptions { member, ..FieldsOptions::default() };
    let report = Report::new("fields", "core", Fields::new(&session, name, &asked, None)?);
    let (mut json, mut text) = (Vec::new(), Vec::new());
    report.write_json(&mut json).unwrap();
    report.write_human(&mut text, &Look::PLAIN).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    Ok((json["result"].clone(), String::from_utf8(text).unwrap()))
}

/// What the program printed: of the live and of the dropped objects how many are in each state.
fn counted(crash: &Crash) -> Vec<Vec<u64>> {
    crash.stdout.lines().map(|line| line.split(' ').map(|count| count.parse().unwrap()).collect()).collect()
}

/// The first member holds exactly the counts of the program. A few dropped objects may still be in a register or
/// on the stack.
fn assert_state_first(crash: &Crash, result: &serde_json::Value) {
    let (counts, first) = (counted(crash), &result["members"][0]);
    for (group, counts) in [("reference", &counts[0]), ("suspects", &counts[1])] {
        for (value, count) in (1..).zip(counts) {
            let rows = first[group].as_array().unwrap();
            let row = rows.iter().find(|row| row["value"] == format!("{value}"));
            let found = row.unwrap_or_else(|| panic!("{value}: {first:#}"))["count"].as_u64().unwrap();
            assert!(found.abs_diff(*count) <= 2, "{group}, state {value}: {found} for {count}");
        }
    }
    assert_eq!((&first["significant"], &first["age_like"]), (&true.into(), &false.into()));
    let others = &result["members"].as_array().unwrap()[1..];
    assert!(others.len() >= 10, "{result:#}");
    assert!(others.iter().all(|member| member["significant"] == false), "{result:#}");
}

#[test]
fn the_state_is_found_by_name() {
    let crash = crashed(&["-g", "-DSIGNAL=1"]);
    let (result, text) = asked(&crash, "Job", None).unwrap();
    assert_eq!(result["layout"], "debug-info");
    assert_eq!(result["members"][0]["name"], "state_");
    assert_state_first(&crash, &result);
    assert!(text.contains(" leaked have state_ = Closing ("), "{text}");
    let (result, _) = asked(&crash, "Job", Some("state_")).unwrap();
    assert_eq!(result["members"].as_array().unwrap().len(), 1);
    assert!(matches!(asked(&crash, "Job", Some("none")), Err(FieldsError::NoMember { .. })));
    assert!(matches!(asked(&crash, "Task", None), Err(FieldsError::NoObjects { .. })));
}

#[test]
fn the_state_is_found_by_its_place() {
    for options in [&["-DSIGNAL=1"] as &[&str], &["-DSIGNAL=1", "-s"]] {
        let crash = crashed(options);
        let (result, text) = asked(&crash, "Job", None).unwrap();
        assert_eq!(result["layout"], "inferred");
        assert_eq!(
            (&result["members"][0]["offset"], &result["members"][0]["width"]),
            (&16.into(), &4.into()),
            "{text}"
        );
        assert_state_first(&crash, &result);
        assert!(text.contains(" leaked have +0x10 u32 (4 values) = 4 ("), "{text}");
    }
}

#[test]
fn nothing_is_claimed_where_nothing_tells() {
    for options in [&["-DSIGNAL=0", "-g"] as &[&str], &["-DSIGNAL=0"]] {
        let (result, text) = asked(&crashed(options), "Job", None).unwrap();
        assert!(text.contains("No member tells the leaked from the live ones"), "{text}");
        assert!(result["members"].as_array().unwrap().iter().all(|member| member["significant"] == false));
    }
}
