//! `docs/json-schema.md` against what the commands really print.
//!
//! A member that the page does not name fails here, so that the page says all.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::common::{Folder, answer, words};
use serde_json::{Value, json};

const PAGE: &str = include_str!("../../docs/json-schema.md");

/// The schemas of the page, by the name behind `schema=`.
fn schemas() -> BTreeMap<String, Value> {
    PAGE.split("```json schema=")
        .skip(1)
        .map(|block| {
            let (name, rest) = block.split_once('\n').unwrap();
            let text = rest.split("```").next().unwrap();
            (name.to_owned(), serde_json::from_str(text).unwrap_or_else(|error| panic!("schema {name}: {error}")))
        })
        .collect()
}

/// Checks `value` against the part of JSON Schema that the page uses; anything else in a schema is an error of the page.
fn check(value: &Value, schema: &Value, all: &BTreeMap<String, Value>, place: &str) -> Result<(), String> {
    for (keyword, wanted) in schema.as_object().ok_or(format!("{place}: the schema is no object"))? {
        match (keyword.as_str(), wanted) {
            ("type", Value::String(name)) => {
                let fits = match name.as_str() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_u64() || value.is_i64(),
                    "number" => value.is_number(),
                    other => return Err(format!("{place}: unknown type {other}")),
                };
                if !fits {
                    return Err(format!("{place}: {value} is not of type {name}"));
                }
            }
            ("$ref", Value::String(name)) => {
                check(value, all.get(name).ok_or(format!("{place}: the page has no {name}"))?, all, place)?;
            }
            ("const", wanted) if value == wanted => {}
            ("enum", Value::Array(allowed)) if allowed.contains(value) => {}
            ("pattern", Value::String(pattern)) if matches_pattern(value, pattern) => {}
            ("required", Value::Array(names)) => {
                for name in names.iter().filter_map(Value::as_str) {
                    if value.get(name).is_none() {
                        return Err(format!("{place}: {name} is missing"));
                    }
                }
            }
            ("properties", Value::Object(members)) => {
                for (name, member) in value.as_object().into_iter().flatten() {
                    let schema = members.get(name).ok_or(format!("{place}: the page does not name {name}"))?;
                    check(member, schema, all, &format!("{place}.{name}"))?;
                }
            }
            ("items", schema) => {
                for (at, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(item, schema, all, &format!("{place}[{at}]"))?;
                }
            }
            (keyword, wanted) => return Err(format!("{place}: {value} is against {keyword} {wanted}")),
        }
    }
    Ok(())
}

fn matches_pattern(value: &Value, pattern: &str) -> bool {
    let Some(text) = value.as_str() else { return false };
    match pattern {
        "^0x[0-9a-f]{16}$" => text
            .strip_prefix("0x")
            .is_some_and(|digits| digits.len() == 16 && digits.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))),
        "^[a-z]+(-[a-z]+)*$" => {
            text.split('-').all(|word| !word.is_empty() && word.bytes().all(|c| c.is_ascii_lowercase()))
        }
        other => panic!("the test does not know the pattern {other}"),
    }
}

/// The output of a command, held to the schema of its result.
#[track_caller]
fn checked(arguments: &[&str], result: &str) -> Value {
    let schemas = schemas();
    let value: Value = serde_json::from_str(&answer(arguments)).unwrap();
    let mut envelope = schemas["envelope"].clone();
    envelope["properties"]["result"] = json!({"$ref": result});
    check(&value, &envelope, &schemas, "output").unwrap_or_else(|fault| panic!("{fault}\n{value:#}"));
    value
}

#[test]
fn the_classic_form_is_as_the_page_says() {
    let folder = Folder::new();
    let path = folder.write("input", words(&[7, 0x5555_0000_1234, 7, 0]));
    let path = path.to_str().unwrap();
    let value = checked(&[path, "--json"], "classic");
    assert_eq!(value["command"], "classic");
    assert_eq!(value["result"]["words"][0], json!({"value": "0x0000000000000007", "count": 2, "kind": "small"}));
    assert_eq!(value["result"]["total_words"], 4);
}

#[test]
fn a_search_is_as_the_page_says() {
    let folder = Folder::new();
    let path = folder.write("input", words(&[7, 0xff, 7, 0x100, 7]));
    let path = path.to_str().unwrap();
    for member in ["uint8", "uint64", "int8", "float64", "pointer", "bool", "cstring"] {
        let arguments = [path, "--json", "-f7", "--memberOffset=8", &format!("--memberType={member}")];
        let value = checked(&arguments, "classic-find");
        assert_eq!(value["result"]["matches"], 3, "{member}");
    }
}

/// The demo's dump and its program, as they are bundled.
fn demo() -> (String, String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/demo");
    let named = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let scratch = testkit::native::folder().join("json-schema");
    std::fs::create_dir_all(&scratch).unwrap();
    let program = scratch.join(format!("server-{}-{:?}", std::process::id(), std::thread::current().id()));
    let unpacked = Command::new("xz").args(["-dc", &named("server.xz")]).output().unwrap();
    assert!(unpacked.status.success(), "{unpacked:?}");
    std::fs::write(&program, unpacked.stdout).unwrap();
    (named("demo.core.xz"), program.to_str().unwrap().to_owned())
}

#[test]
fn the_verbs_are_as_the_page_says() {
    let (core, program) = demo();
    let about = checked(&["info", &core, "--exe", &program, "--json"], "info");
    let executable =
        about["result"]["modules"].as_array().unwrap().iter().find(|module| module["role"] == "executable");
    assert_eq!(executable.unwrap()["evidence"], "build-id", "{about:#}");
    let leaks = checked(&["leaks", &core, "--exe", &program, "--addresses", "--json"], "leaks");
    let leaked = leaks["result"]["leaked"]["count"].as_u64().unwrap();
    assert!(leaked > 0);
    assert_eq!(leaks["result"]["addresses"].as_array().unwrap().len() as u64, leaked);
    let address = leaks["result"]["addresses"][0].as_str().unwrap();
    let explained = checked(&["explain", &core, address, "--exe", &program, "--json"], "explain");
    assert_eq!(explained["result"]["allocation"]["reachability"], "leaked");
    let heap = checked(&["heap", &core, "--exe", &program, "--json"], "heap");
    assert_eq!(heap["result"]["used"], leaks["result"]["used"]);
    let types = checked(&["types", &core, "--exe", &program, "--json"], "types");
    assert_eq!(types["result"]["leaked"], leaks["result"]["leaked"]);
    checked(&["top", &core, "--exe", &program, "--json"], "top");
    let fields = checked(&["fields", &core, "game::TcpClient", "--exe", &program, "--json"], "fields");
    assert_eq!(fields["result"]["members"][0]["name"], "state_");
    let asked = ["fields", &core, "game::TcpClient", "--exe", &program, "--json"];
    let with = |more: &[&str]| checked(&[&asked, more].concat(), "fields");
    let cross = with(&["--member", "state_", "--group-by", "idle_timer_"]);
    assert!(!cross["result"]["cross"]["counts"].as_array().unwrap().is_empty());
    let objects = with(&["--member", "state_", "--objects", "Closing"]);
    assert!(!objects["result"]["objects"].as_array().unwrap().is_empty());
    let rules = with(&["--suspects", "state_ == Connected", "--rules"]);
    assert!(!rules["result"]["rules"].as_array().unwrap().is_empty());
    let values = ["top", &core, "--exe", &program, "--type", "game::TcpClient", "--member", "state_", "--json"];
    assert_eq!(checked(&values, "top-type")["result"]["values"][0]["name"], "Connected");
    let layout = checked(&["layout", &program, "game::TcpClient", "--json"], "layout");
    assert_eq!(layout["result"]["types"][0]["name"], "game::TcpClient");
    std::fs::remove_file(program).unwrap();
}

#[test]
fn a_diagnostic_is_as_the_page_says() {
    let schemas = schemas();
    let row = json!([{"code": "stack-missing", "at": "thread 7", "effect": "leaks may be overstated"}]);
    let schema = &schemas["envelope"]["properties"]["diagnostics"];
    check(&row, schema, &schemas, "diagnostics").unwrap();
    let fault = json!([{"code": "Stack missing", "at": "", "effect": ""}]);
    assert!(check(&fault, schema, &schemas, "diagnostics").is_err());
}

#[test]
fn the_check_sees_faults() {
    let schemas = schemas();
    let schema = &schemas["classic"];
    let good = json!({"words": [], "total_words": 0, "distinct_shown": 0});
    check(&good, schema, &schemas, "result").unwrap();
    for fault in [
        json!({"words": [], "total_words": 0}),
        json!({"words": [], "total_words": 0, "distinct_shown": 0, "more": 1}),
        json!({"words": {}, "total_words": 0, "distinct_shown": 0}),
        json!({"words": [{"value": "7", "count": 1, "kind": "small"}], "total_words": 0, "distinct_shown": 0}),
    ] {
        assert!(check(&fault, schema, &schemas, "result").is_err(), "{fault}");
    }
}
