//! Which member tells, in cases that differ in what there is to find, each built in several ways and held to what the program
//! counted.

use testkit::native::{Build, Crash, M32, compile, crash};
use topleaked::image::{Image, OpenOptions};
use topleaked::report::{Fields, FieldsError, FieldsOptions, Look, Report};
use topleaked::session::Session;
use topleaked::task::Task;

const CPP: &str = include_str!("programs/contrasts.cpp");
const RUST: &str = include_str!("programs/contrasts.rs");

/// What tells: the number that the program knows it by, the member, the value that the suspects have.
struct Case {
    number: u32,
    member: &'static str,
    value: &'static str,
}

const CASES: &[Case] = &[
    Case { number: 1, member: "state", value: "4" },
    Case { number: 2, member: "state", value: "4" },
    Case { number: 3, member: "handler", value: "null" },
    Case { number: 4, member: "armed", value: "0" },
    Case { number: 5, member: "label", value: "\"probe\"" },
    Case { number: 6, member: "conn.tls.phase", value: "1" },
];
const PAIR: u32 = 7;
const NOTHING: u32 = 8;

fn crashed(compiler: &str, case: u32, options: &[&str]) -> Crash {
    let case = format!("-DCASE={case}");
    let mut all = vec!["-O1", "-std=c++17", "-w", &case];
    all.extend(options);
    crash(&compile("contrasts", "cpp", CPP, &Build { compiler, options: &all }), &[])
}

fn ask(
    crash: &Crash,
    name: &str,
    asked: &FieldsOptions<'_>,
    baseline: Option<&Crash>,
) -> Result<(serde_json::Value, String), FieldsError> {
    let (options, task) = (OpenOptions::default(), Task::default());
    let image = Image::open(&crash.core, &options, &task).unwrap();
    let session = Session::new(&image, &options, &task);
    let other = baseline.map(|crash| Image::open(&crash.core, &options, &task).unwrap());
    let other = other.as_ref().map(|image| Session::new(image, &options, &task));
    let report = Report::new("fields", "core", Fields::new(&session, name, asked, other.as_ref())?);
    let (mut json, mut text) = (Vec::new(), Vec::new());
    report.write_json(&mut json).unwrap();
    report.write_human(&mut text, &Look::PLAIN).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    Ok((json["result"].clone(), String::from_utf8(text).unwrap()))
}

fn asked(crash: &Crash) -> (serde_json::Value, String) {
    ask(crash, "Client", &FieldsOptions::default(), None).unwrap()
}

/// What the program counted: member, value, live, dropped.
fn counted(crash: &Crash) -> Vec<(String, String, u64, u64)> {
    let counts = crash.stdout.lines().filter(|line| !line.starts_with('@'));
    let count = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        (words[0].to_owned(), words[1].to_owned(), words[2].parse().unwrap(), words[3].parse().unwrap())
    };
    counts.map(count).collect()
}

/// Where the program says a member is: the first byte, and the one behind the last.
fn place(crash: &Crash, member: &str) -> (u64, u64) {
    let line = crash.stdout.lines().find(|line| line.starts_with(&format!("@ {member} "))).unwrap();
    let numbers: Vec<u64> = line.split(' ').skip(2).map(|number| number.parse().unwrap()).collect();
    (numbers[0], numbers[0] + numbers[1])
}

fn members(result: &serde_json::Value) -> &Vec<serde_json::Value> {
    result["members"].as_array().unwrap()
}

/// Whether a member lies where the program says that another does.
fn is_at(member: &serde_json::Value, (from, to): (u64, u64)) -> bool {
    let offset = member["offset"].as_u64().unwrap();
    offset < to && offset + member["width"].as_u64().unwrap() > from
}

/// Each value of a member is found as often as the program counted. A few dropped objects may still be in a register or on
/// the stack: they are in neither group.
fn assert_counts(crash: &Crash, name: &str, member: &serde_json::Value) {
    let mut compared = 0;
    for (_, value, live, dropped) in counted(crash).iter().filter(|(counted, ..)| counted == name) {
        for (group, count) in [("reference", live), ("suspects", dropped)] {
            let rows = member[group].as_array().unwrap();
            let of_value = |row: &&serde_json::Value| match value.as_str() {
                "set" => row["value"] != "null",
                "0" | "1" if matches!(row["value"].as_str(), Some("true" | "false")) => {
                    (row["value"] == "true") == (value == "1")
                }
                value => row["value"] == value,
            };
            let found: u64 = rows.iter().filter(of_value).map(|row| row["count"].as_u64().unwrap()).sum();
            assert!(found.abs_diff(*count) <= 2, "{name} {value} in {group}: {found} for {count}\n{member:#}");
            compared += 1;
        }
    }
    assert!(compared > 0, "{name} was not counted");
}

fn check_with_layout(compiler: &str, options: &[&str]) {
    let mut all = vec!["-g"];
    all.extend(options);
    for case in CASES {
        let crash = crashed(compiler, case.number, &all);
        let (result, text) = asked(&crash);
        assert_eq!(result["layout"], "debug-info");
        let members = members(&result);
        let first = &members[0];
        assert_eq!(first["name"], case.member, "case {}, {compiler} {options:?}:\n{text}", case.number);
        assert_eq!((&first["significant"], &first["age_like"]), (&true.into(), &false.into()), "{text}");
        assert!(members.len() >= 10, "{text}");
        let telling = members.iter().filter(|member| member["significant"] == true).count();
        assert_eq!(telling, 1, "case {}:\n{text}", case.number);
        for name in [
            "state",
            "handler",
            "armed",
            "kind",
            "left",
            "retries",
            "conn.tls.version",
            "conn.tls.phase",
            "label",
            "color",
        ] {
            let member =
                members.iter().find(|member| member["name"] == name).unwrap_or_else(|| panic!("{name}: {text}"));
            assert_counts(&crash, name, member);
        }
        let top = first["suspects"][0]["value"].as_str().unwrap();
        assert!(top == case.value || case.number == 4 && top == "false", "{top}:\n{text}");
        assert!(text.contains(&format!(" leaked have {} = ", case.member)), "{text}");
    }
    let crash = crashed(compiler, PAIR, &all);
    assert_pair(&asked(&crash), &crash);
    assert_nothing(&asked(&crashed(compiler, NOTHING, &all)));
}

/// Two members that tell nothing alone are found together, and cover what they have to.
fn assert_pair((result, text): &(serde_json::Value, String), crash: &Crash) {
    assert!(members(result).iter().all(|member| member["significant"] == false), "{text}");
    assert!(text.contains("No member alone tells the leaked from the live ones"), "{text}");
    let rules = result["rules"].as_array().unwrap();
    assert_eq!(rules.len(), 2, "{text}");
    let mut covered = 0;
    for rule in rules {
        let conditions = rule["members"].as_array().unwrap();
        assert_eq!(conditions.len(), 2, "{text}");
        for (condition, name) in conditions.iter().zip(["left", "right"]) {
            let (from, to) = place(crash, name);
            assert!((from..to).contains(&condition["offset"].as_u64().unwrap()), "{name}:\n{text}");
        }
        covered += rule["coverage_suspects"]["count"].as_u64().unwrap();
        assert!(rule["coverage_reference"]["count"].as_u64().unwrap() <= 2, "{text}");
    }
    assert_eq!(covered, result["suspects"]["count"].as_u64().unwrap(), "{text}");
}

fn assert_nothing((result, text): &(serde_json::Value, String)) {
    assert!(members(result).iter().all(|member| member["significant"] == false), "{text}");
    assert_eq!(result["rules"].as_array().unwrap().len(), 0, "{text}");
    assert!(text.contains("No member tells the leaked from the live ones (best: "), "{text}");
}

#[test]
fn the_member_that_tells_is_first() {
    check_with_layout("g++", &[]);
}

#[test]
fn the_member_that_tells_is_first_by_clang() {
    check_with_layout("clang++", &[]);
}

#[test]
fn the_member_that_tells_is_first_in_32_bits() {
    check_with_layout("g++", M32);
}

#[test]
fn the_place_that_tells_is_first_without_debug_information() {
    for options in [&[] as &[&str], &["-s"]] {
        for case in CASES {
            let crash = crashed("g++", case.number, options);
            let (result, text) = asked(&crash);
            assert_eq!(result["layout"], "inferred");
            let first = &members(&result)[0];
            assert!(is_at(first, place(&crash, case.member)), "case {}, {options:?}:\n{text}", case.number);
            assert_eq!((&first["significant"], &first["age_like"]), (&true.into(), &false.into()), "{text}");
            if !matches!(case.number, 4 | 5) {
                assert_counts(&crash, case.member, first);
            }
        }
        let crash = crashed("g++", PAIR, options);
        let (result, text) = asked(&crash);
        assert!(members(&result).iter().all(|member| member["significant"] == false), "{text}");
        let rules = result["rules"].as_array().unwrap();
        assert!(!rules.is_empty(), "{text}");
        assert_nothing(&asked(&crashed("g++", NOTHING, options)));
    }
}

#[test]
fn the_variant_of_a_rust_object_tells() {
    let build = Build { compiler: "rustc", options: &["-g", "-O", "--edition=2024"] };
    let crash = crash(&compile("contrasts-rust", "rs", RUST, &build), &[]);
    let (result, text) = ask(&crash, "Session", &FieldsOptions::default(), None).unwrap();
    assert_eq!(result["layout"], "debug-info", "{text}");
    let first = &members(&result)[0];
    assert_eq!(first["name"], "phase", "{text}");
    for (group, counts) in [("reference", [0, 1]), ("suspects", [2, 2])] {
        let rows = first[group].as_array().unwrap();
        let names = ["Idle", "Reading", "Closing"];
        let all: u64 = counted(&crash)
            .iter()
            .map(|(_, _, live, dropped)| if group == "suspects" { *dropped } else { *live })
            .sum();
        let found: u64 = rows.iter().map(|row| row["count"].as_u64().unwrap()).sum();
        assert!(found.abs_diff(all) <= 2, "{found} for {all}:\n{text}");
        assert!(rows.iter().all(|row| counts.iter().any(|at| row["value"] == names[*at])), "{text}");
    }
    assert!(text.contains("phase = Closing"), "{text}");
}

fn rust(case: &str) -> (serde_json::Value, String) {
    let case = format!("case=\"{case}\"");
    let build = Build { compiler: "rustc", options: &["-g", "-O", "--edition=2024", "--cfg", &case] };
    let crash = crash(&compile("contrasts-rust", "rs", RUST, &build), &[]);
    ask(&crash, "Session", &FieldsOptions::default(), None).unwrap()
}

#[test]
fn two_members_of_a_rust_object_tell_together() {
    let (result, text) = rust("pair");
    assert!(members(&result).iter().all(|member| member["significant"] == false), "{text}");
    let rules = result["rules"].as_array().unwrap();
    assert_eq!(rules.len(), 2, "{text}");
    let mut covered = 0;
    for rule in rules {
        let conditions = rule["members"].as_array().unwrap();
        let names: Vec<&str> = conditions.iter().map(|condition| condition["name"].as_str().unwrap()).collect();
        // An option and what is in it say the same of the objects.
        assert!(names.len() == 2 && names.contains(&"tls"), "{text}");
        assert!(names.iter().any(|name| name.starts_with("limit")), "{text}");
        covered += rule["coverage_suspects"]["count"].as_u64().unwrap();
        assert!(rule["coverage_reference"]["count"].as_u64().unwrap() <= 2, "{text}");
    }
    assert_eq!(covered, result["suspects"]["count"].as_u64().unwrap(), "{text}");
}

#[test]
fn nothing_is_claimed_of_a_rust_object_where_nothing_tells() {
    assert_nothing(&rust("nothing"));
}

#[test]
fn a_healthy_dump_is_something_to_compare_with() {
    let sick = crashed("g++", 1, &["-g"]);
    let healthy = crashed("g++", 1, &["-g", "-DSHARE=0"]);
    let (result, text) = ask(&sick, "Client", &FieldsOptions::default(), Some(&healthy)).unwrap();
    assert_eq!(result["members"][0]["name"], "state", "{text}");
    assert_eq!(result["members"][0]["significant"], true, "{text}");
    assert_eq!(result["suspects"]["count"].as_u64().unwrap() + result["reference"]["count"].as_u64().unwrap(), 12_002);
    let telling = members(&result).iter().filter(|member| member["significant"] == true).count();
    assert_eq!(telling, 1, "{text}");
    assert!(text.contains("suspected have state = Closing ("), "{text}");
    // A shared target is told by its name, since its address means nothing in another process.
    let handler = members(&result).iter().find(|member| member["name"] == "handler").unwrap();
    let values = |group: &str| -> Vec<String> {
        let mut values: Vec<String> =
            handler[group].as_array().unwrap().iter().map(|row| row["value"].as_str().unwrap().to_owned()).collect();
        values.sort();
        values
    };
    assert_eq!(values("suspects"), values("reference"));
    assert!(values("suspects").contains(&"&handlers".to_owned()), "{:?}", values("suspects"));
}

#[test]
fn one_group_alone_is_ranked_by_what_is_unusual_in_the_process() {
    let crash = crashed("g++", 1, &["-g", "-DSHARE=92", "-DHOLD=1"]);
    let (result, text) = asked(&crash);
    assert_eq!((&result["suspects"]["group"], &result["reference"]["count"]), (&"live".into(), &0.into()), "{text}");
    assert_eq!(result["members"][0]["name"], "state", "{text}");
    assert!(text.contains(" of the live ones have state = Closing ("), "{text}");
    assert!(text.contains("usual for states: ") && text.contains("--baseline"), "{text}");
}

#[test]
fn groups_are_what_the_user_says() {
    let crash = crashed("g++", 6, &["-g", "-DHOLD=1"]);
    let options = FieldsOptions { suspects: Some("conn.tls.phase == Hello"), ..FieldsOptions::default() };
    let (result, text) = ask(&crash, "Client", &options, None).unwrap();
    let hello: u64 = counted(&crash)
        .iter()
        .filter(|(name, value, ..)| name == "conn.tls.phase" && value == "1")
        .map(|(_, _, live, dropped)| live + dropped)
        .sum();
    assert_eq!(result["suspects"]["count"], hello, "{text}");
    // What they were chosen by tells them apart, of course.
    assert!(members(&result).iter().all(|member| member["name"] != "conn.tls.phase"), "{text}");
    assert!(text.contains("not looked at: conn.tls.phase, by which they were chosen"), "{text}");
    // All objects may be restricted, whatever the groups.
    let options = FieldsOptions { only: Some("retries == 2"), ..options };
    let (result, text) = ask(&crash, "Client", &options, None).unwrap();
    let two: u64 = (counted(&crash).iter())
        .filter(|(name, value, ..)| name == "retries" && value == "2")
        .map(|(_, _, live, dropped)| live + dropped)
        .sum();
    let count = |group: &str| result[group]["count"].as_u64().unwrap();
    assert_eq!((count("suspects") + count("reference"), &result["where"]), (two, &"retries == 2".into()), "{text}");
    assert!(text.contains(" objects of Client where retries == 2; "), "{text}");
    let options = FieldsOptions { only: Some("retries == 99"), ..FieldsOptions::default() };
    let refused = ask(&crash, "Client", &options, None).unwrap_err().to_string();
    assert_eq!(refused, "no object of Client is retries == 99");
    let options = FieldsOptions {
        suspects: Some("conn.tls.phase == Hello and retries > 3"),
        reference: Some("retries <= 3"),
        rules: true,
        ..FieldsOptions::default()
    };
    let (result, text) = ask(&crash, "Client", &options, None).unwrap();
    assert_eq!(result["rules"].as_array().unwrap().len(), 0, "{text}");
    assert!(text.contains("not looked at: conn.tls.phase, retries, by which"), "{text}");
    let options = FieldsOptions { reference: Some("retries <= 3 or leaked"), rules: false, ..options };
    let (_, text) = ask(&crash, "Client", &options, None).unwrap();
    assert!(!text.contains("in both groups"), "{text}");
    let options = FieldsOptions { suspects: Some("size > 8"), reference: Some("retries == 2"), ..options };
    let refused = ask(&crash, "Client", &options, None).unwrap_err().to_string();
    assert_eq!(refused, "all objects of Client in the reference group are suspects, too");
    let options = FieldsOptions { suspects: Some("retries == 2"), reference: Some("size > 8"), ..options };
    let (_, text) = ask(&crash, "Client", &options, None).unwrap();
    assert!(text.contains("in both groups: "), "{text}");
    for (wrong, error) in [
        ("phase == Hello", "there is no member `phase`"),
        ("conn.tls.phase == Bye", "it is one of Plain, Hello, Open, Shut"),
        ("retries > many", "it is a number"),
        ("retries", "a condition is expected"),
        ("", "a condition is expected"),
        ("retries > 100", "no object of Client is retries > 100"),
    ] {
        let options = FieldsOptions { suspects: Some(wrong), ..FieldsOptions::default() };
        let refused = ask(&crash, "Client", &options, None).unwrap_err().to_string();
        assert!(refused.contains(error), "{wrong}: {refused}");
    }
}

#[test]
fn two_members_make_a_table_and_a_value_has_addresses() {
    let crash = crashed("g++", PAIR, &["-g"]);
    let options = FieldsOptions { member: Some("left"), group_by: Some("right"), ..FieldsOptions::default() };
    let (result, text) = ask(&crash, "Client", &options, None).unwrap();
    for count in result["cross"]["counts"].as_array().unwrap() {
        let differ = count["row"] != count["column"];
        assert_eq!(count[if differ { "reference" } else { "suspects" }], 0, "{text}");
    }
    assert!(text.contains("left down, right across"), "{text}");
    // Numbers with many values are columns in their order, from the least that there is to the greatest.
    for (by, least, greatest) in [("serial", "0 to ", " to 6000"), ("weight", "0 to ", " to 124.875")] {
        let options = FieldsOptions { member: Some("left"), group_by: Some(by), ..FieldsOptions::default() };
        let (_, text) = ask(&crash, "Client", &options, None).unwrap();
        let titles = text.lines().find(|line| line.contains(" to ")).unwrap_or_else(|| panic!("{text}"));
        assert!(!text.contains("-922337") && !text.contains("NaN") && !text.contains("others"), "{text}");
        assert!(titles.trim_start().starts_with(least) && titles.trim_end().ends_with(greatest), "{text}");
        let starts: Vec<f64> =
            titles.split("  ").filter_map(|title| title.trim().split(' ').next()?.parse().ok()).collect();
        assert!(starts.len() == 8 && starts.is_sorted(), "{text}");
    }
    let options = FieldsOptions { member: Some("label"), objects: Some("probe"), ..FieldsOptions::default() };
    let (result, text) = ask(&crash, "Client", &options, None).unwrap();
    let objects = result["objects"].as_array().unwrap();
    let row = result["members"][0]["suspects"].as_array().unwrap().iter().find(|row| row["value"] == "\"probe\"");
    let leaked = objects.iter().filter(|object| object["group"] == "leaked").count();
    assert_eq!(leaked as u64, row.unwrap()["count"].as_u64().unwrap(), "{text}");
    assert!(objects[0]["address"].as_str().unwrap().starts_with("0x"), "{text}");
    assert!(text.contains("more (--json lists them)"), "{text}");
}
