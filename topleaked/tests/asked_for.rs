//! Objects asked for by what answers show of them, and by their module.

use testkit::native::{Build, Crash, compile, crash};
use topleaked::image::{Image, OpenOptions};
use topleaked::report::{Fields, FieldsError, FieldsOptions, Look, Report};
use topleaked::session::Session;
use topleaked::task::Task;

fn asked(crash: &Crash, name: &str, asked: &FieldsOptions<'_>) -> Result<(serde_json::Value, String), FieldsError> {
    let (options, task) = (OpenOptions::default(), Task::default());
    let image = Image::open(&crash.core, &options, &task).unwrap();
    let session = Session::new(&image, &options, &task);
    let fields = Fields::new(&session, name, asked, None)?;
    let said: Vec<String> = fields.diagnostics().iter().map(|said| format!("{}: {}", said.code, said.effect)).collect();
    Ok((serde_json::to_value(&fields).unwrap(), said.join("\n")))
}

fn in_words(crash: &Crash, name: &str, asked: &FieldsOptions<'_>) -> String {
    let (options, task) = (OpenOptions::default(), Task::default());
    let image = Image::open(&crash.core, &options, &task).unwrap();
    let session = Session::new(&image, &options, &task);
    let mut text = Vec::new();
    let report = Report::new("fields", "core", Fields::new(&session, name, asked, None).unwrap());
    report.write_human(&mut text, &Look::PLAIN).unwrap();
    String::from_utf8(text).unwrap()
}

const LIBRARY: &str = r#"
#include <cstdlib>
#include <vector>
struct Thing { virtual ~Thing() {} int a = rand() % 3; int kind = 0; char pad[40] = {}; long q = rand() % 4; };
static std::vector<Thing *> kept;
extern "C" __attribute__((visibility("default"))) void make_others() {
    for (int i = 0; i < 600; i++) {
        Thing *thing = new Thing;
        bool leaks = i % 3 == 0;
        thing->kind = leaks ? 5 : rand() % 3;
        if (!leaks) kept.push_back(thing);
    }
}
"#;
const USER: &str = r#"
#include <cstdlib>
#include <vector>
struct Thing { virtual ~Thing() {} double w = rand() % 3; int a = rand() % 3; int mood = 0; };
static std::vector<Thing *> kept;
extern "C" void make_others();
__attribute__((noinline)) static void make() {
    for (int i = 0; i < 900; i++) {
        Thing *thing = new Thing;
        bool leaks = i % 3 == 0;
        thing->mood = leaks ? 7 : rand() % 3;
        if (!leaks) kept.push_back(thing);
    }
}
__attribute__((noinline)) static void wipe() { volatile char zero[8192]; for (unsigned i = 0; i < sizeof zero; i++) zero[i] = 0; }
int main() { make(); make_others(); wipe(); abort(); }
"#;

#[test]
fn objects_are_read_by_their_own_modules_layout() {
    let shared = &["-shared", "-fPIC", "-O1", "-g", "-fvisibility=hidden"];
    let library = compile("things", "cpp", LIBRARY, &Build { compiler: "c++", options: shared });
    let options = &["-O1", "-g", "-fvisibility=hidden", "-Wl,--no-as-needed", library.path.to_str().unwrap()];
    let crash = crash(&compile("thing-user", "cpp", USER, &Build { compiler: "c++", options }), &[]);
    let module = format!("module == {}", library.path.file_name().unwrap().to_str().unwrap());
    for (only, count, member, value) in [(None, 900, "mood", "7"), (Some(&*module), 600, "kind", "5")] {
        let (result, said) = asked(&crash, "Thing", &FieldsOptions { only, ..FieldsOptions::default() }).unwrap();
        let of = |group: &str| result[group]["count"].as_u64().unwrap();
        assert_eq!(of("suspects") + of("reference") + result["possibly_leaked"].as_u64().unwrap(), count, "{said}");
        let first = &result["members"][0];
        assert_eq!((&first["name"], &first["suspects"][0]["value"]), (&member.into(), &value.into()), "{first:#}");
        assert!(said.contains(&format!("other-layout: {} objects", 1500 - count)), "{said}");
        assert!(!said.contains("layout-doubtful"), "{said}");
    }
}

const SHOWN: &str = r#"
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>
namespace net { struct D1 { virtual ~D1() {} long x = 1; }; struct D2 : D1 { long y[3] = {}; }; }
static void cb_a() {}
static void cb_b(int) {}
enum Err { FAIL = -1, NONE = 0, BUSY = 1, LATE = 2 };
struct Shown {
    virtual ~Shown() {}
    net::D1 *target; void *code; float ratio; char letter; std::string name; std::chrono::system_clock::time_point at; time_t when_made; Err err : 3; bool on; __int128 big; std::string text; int row[300];
};
static std::vector<Shown *> kept;
int main() {
    for (int i = 0; i < 400; i++) {
        Shown *it = new Shown;
        it->target = i % 4 == 0 ? new net::D1 : i % 4 == 1 ? new net::D2 : nullptr;
        it->code = i % 5 ? (void *)cb_a : (void *)cb_b;
        it->ratio = i % 8 ? 0.8272f : 0.1f;
        it->letter = i % 2 ? 'x' : 'y';
        it->name = i % 2 ? "007" : "7";
        it->at = std::chrono::system_clock::time_point(std::chrono::seconds(1700000000 + 86400 * (i % 10)));
        it->when_made = 1700000000 + 86400 * (i % 10);
        it->err = (Err)(i % 4 - 1);
        it->on = i % 2;
        it->text = std::string(200, i % 2 ? 'a' : 'b');
        it->big = i % 4 ? -5 : (__int128)1 << 100;
        kept.push_back(it);
    }
    std::puts("made");
    abort();
}
"#;

#[test]
fn what_is_shown_can_be_asked_for() {
    let options = &["-g", "-O0", "-std=c++17", "-w"];
    let crash = crash(&compile("shown", "cpp", SHOWN, &Build { compiler: "c++", options }), &[]);
    for (filter, count) in [
        ("target == D1", 100),
        ("target == 'a pointer to net::D2'", 100),
        ("target ~ net::D*", 200),
        ("target !~ net::D*", 200),
        ("target != D1", 300),
        ("target == null", 200),
        ("code == cb_a", 320),
        ("code == '&cb_b(int)'", 80),
        ("code ~ *cb_b*", 80),
        ("ratio == 0.8272", 350),
        ("ratio < 0.8272", 50),
        ("letter == 'x'", 200),
        ("letter == y", 200),
        ("name == 007", 200),
        ("name == 7", 200),
        ("at > 2023-11-20", 160),
        ("at == '2023-11-14 22:13:20Z'", 40),
        ("when_made >= 2023-11-20", 160),
        ("when_made == '1700000000 (2023-11-14 22:13:20Z)'", 40),
        ("err == FAIL", 100),
        ("err < NONE", 100),
        ("on == true", 200),
    ] {
        let suspects = Some(filter);
        let found = asked(&crash, "Shown", &FieldsOptions { suspects, ..FieldsOptions::default() });
        let (result, _) = found.unwrap_or_else(|error| panic!("{filter}: {error}"));
        assert_eq!(result["suspects"]["count"], count, "{filter}");
    }
    for filter in ["ratio == many", "at == never", "on == maybe", "err == null", "when_made > soon"] {
        let suspects = Some(filter);
        let error = asked(&crash, "Shown", &FieldsOptions { suspects, ..FieldsOptions::default() }).unwrap_err();
        assert!(matches!(error, FieldsError::Condition(_)), "{filter}: {error}");
    }
    let text = in_words(&crash, "Shown", &FieldsOptions { member: Some("text"), ..FieldsOptions::default() });
    assert!(text.contains("bbbb…\" (200 letters)"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() < 200), "{text}");
    let asked_for = FieldsOptions { member: Some("big"), ..FieldsOptions::default() };
    let (result, said) = asked(&crash, "Shown", &asked_for).unwrap();
    let rows = result["members"][0]["suspects"].as_array().unwrap();
    let found: Vec<_> =
        rows.iter().map(|row| (row["value"].as_str().unwrap(), row["count"].as_u64().unwrap())).collect();
    assert_eq!(found, [("-5", 300), ("00000010000000000000000000000000", 100)]);
    assert!(said.contains("elements-left-out: 44 elements of row are not looked at"), "{said}");
    let error = asked(&crash, "Show", &FieldsOptions::default()).unwrap_err().to_string();
    assert!(error.contains("(perhaps Shown)"), "{error}");
    let asked_for = FieldsOptions { member: Some("targets"), ..FieldsOptions::default() };
    let error = asked(&crash, "Shown", &asked_for).unwrap_err().to_string();
    assert!(error.contains("there are: target, ") && error.ends_with(" more"), "{error}");
    let asked_for = FieldsOptions { suspects: Some("on == +'a'"), ..FieldsOptions::default() };
    let error = asked(&crash, "Shown", &asked_for).unwrap_err();
    assert_eq!(error.to_string(), "on == +'a': column 7: a number is expected, not `+'a'`");
    assert!(std::error::Error::source(&error).is_none(), "said twice");
    // A value that answers show is taken as it stands there.
    for (member, value, count) in
        [("target", "a pointer to net::D1", 100), ("letter", "'x'", 200), ("code", "&cb_a()", 320)]
    {
        let asked_for = FieldsOptions { member: Some(member), objects: Some(value), ..FieldsOptions::default() };
        let (result, _) = asked(&crash, "Shown", &asked_for).unwrap();
        assert_eq!(result["objects"].as_array().map(Vec::len), Some(count), "{member} {value}");
    }
}
