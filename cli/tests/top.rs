//! `topleaked top` on programs that know how many objects of each class they left.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use testkit::native::{Build, M32, Program, compile, crash, crash_emulated, dump_twice, scratch_folder};

/// 5,000 clients, 3,000 sessions in an anonymous namespace, 2,000 objects with C callbacks, 1,500 objects with a second
/// base, 1,200 that hold a constant string; then it says `ready`, and dies where it is not killed first.
const PROGRAM: &str = r#"
#include <cstdio>
#include <cstdlib>
#include <unistd.h>
namespace net { struct Client { virtual ~Client() {} long id = 1; }; }
namespace { struct Session { virtual void tick() {} long a = 2; }; }
struct Left { virtual void left() {} long l = 3; };
struct Right { virtual void right() {} long r = 4; };
struct Both : Left, Right { void left() override {} void right() override {} };
extern "C" { static int tcp_open(void) { return 1; } static int tcp_close(void) { return 2; }
struct ops { int (*open)(void); int (*close)(void); };
extern const struct ops tcp_ops;
const struct ops tcp_ops = { tcp_open, tcp_close };
struct socket { const struct ops *ops; void (*on_close)(void); };
void connection_closed(void) { puts("closed"); } }
struct Tagged { const char *tag; long n; };
static void *volatile sink;
int main(int argc, char **) {
    for (int i = 0; i < 5000; ++i) sink = new net::Client;
    for (int i = 0; i < 3000; ++i) sink = new Session;
    for (int i = 0; i < 2000; ++i) { socket *s = (socket *)malloc(sizeof *s); s->ops = &tcp_ops; s->on_close = connection_closed; sink = s; }
    for (int i = 0; i < 1500; ++i) sink = new Both;
    for (int i = 0; i < 1200; ++i) { Tagged *t = (Tagged *)malloc(sizeof *t); t->tag = "silent since connect"; t->n = 99; sink = t; }
    puts("ready");
    fflush(stdout);
    if (argc > 1) pause();
    abort();
}
"#;

fn top(core: &Path, options: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_topleaked")).arg("top").arg(core).args(options).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Name and count of each word that has a name.
fn named(core: &Path, options: &[&str]) -> Vec<(String, u64)> {
    let json: Value = serde_json::from_str(&top(core, &[options, &["--json"]].concat())).unwrap();
    let words = json["result"]["words"].as_array().unwrap();
    words.iter().filter_map(|row| Some((row["name"].as_str()?.to_owned(), row["count"].as_u64()?))).collect()
}

/// The count of the word with this name.
fn count_of(words: &[(String, u64)], name: &str) -> Option<u64> {
    words.iter().find(|(other, _)| other == name).map(|(_, count)| *count)
}

/// Each object has its word; a register or a stack may hold a few more.
fn assert_counts(words: &[(String, u64)], expected: &[(&str, u64)]) {
    for (name, objects) in expected {
        let count = count_of(words, name).unwrap_or_else(|| panic!("{name} is not among {words:#?}"));
        assert!((*objects..objects + 8).contains(&count), "{name}: {count} words, {objects} objects");
    }
}

const CLASSES: &[(&str, u64)] = &[
    ("vtable of net::Client", 5000),
    ("vtable of (anonymous namespace)::Session", 3000),
    ("vtable of Both", 1500),
    ("vtable of Both for its base Right", 1500),
];

#[test]
fn the_linkers_records_are_no_part_of_its_image() {
    let program = compile("records", "cpp", PROGRAM, &Build { compiler: "c++", options: &["-O1"] });
    let shown = top(&crash(&program, &[]).core, &["-n", "400"]);
    assert!(!shown.contains(", of ld-linux") && !shown.contains("+0xffffffffffff"), "{shown}");
    // Each is named by its module: most words point at that of the program, of the C++ library and of the vdso.
    for module in ["records", "libstdc++.so.6", "[vdso]"] {
        assert!(shown.contains(&format!("link map of {module}")), "{module}: {shown}");
    }
    assert!(!shown.contains("table of functions (0x"), "{shown}");
}

#[test]
fn classes_are_named_however_the_program_was_built() {
    let static_stripped: &[&str] = &["-O1", "-static", "-s"];
    let builds: &[(&str, &[&str])] = &[
        ("c++", &["-g"]),
        ("c++", &["-O1", "-s"]),
        ("c++", static_stripped),
        ("c++", &["-O1", "-static-pie", "-s"]),
        ("c++", &["-O1", "-s", "-Wl,-z,noseparate-code"]),
        ("c++", &[M32, &["-O1", "-s"]].concat()),
        ("clang++", &["-stdlib=libc++", "-O1", "-s"]),
    ];
    for (compiler, options) in builds {
        let program = compile("top-truth", "cpp", PROGRAM, &Build { compiler, options });
        let dead = crash(&program, &[]);
        let words = named(&dead.core, &["--kind", "vtable"]);
        assert_counts(&words, CLASSES);
        // What else has a vtable is the library's, and rarer than all of the program's own.
        let rarest = CLASSES.iter().map(|(_, count)| *count).min().unwrap();
        let others = words.iter().filter(|(name, _)| CLASSES.iter().all(|(class, _)| class != name));
        for (name, count) in others {
            assert!(*count < rarest, "{compiler} {options:?}: {count} × {name}");
        }
    }
}

#[test]
fn c_objects_are_told_by_their_tables_functions_and_strings() {
    // Where constants share a segment with the code, only sections tell them from it.
    for options in [&["-g"][..], &["-g", "-Wl,-z,noseparate-code"], &["-g", "-no-pie", "-Wl,-z,noseparate-code"]] {
        let program = compile("top-truth", "cpp", PROGRAM, &Build { compiler: "c++", options });
        let words = named(&crash(&program, &[]).core, &["--in", "heap"]);
        assert_counts(
            &words,
            &[
                ("table of functions tcp_ops", 2000),
                ("connection_closed", 2000),
                ("string \"silent since connect\"", 1200),
            ],
        );
        assert_counts(&words, CLASSES);
    }
    let program = compile("top-truth", "cpp", PROGRAM, &Build { compiler: "c++", options: &["-g"] });
    let dead = crash(&program, &[]);
    let functions = named(&dead.core, &["--in", "heap", "--kind", "function", "-n", "1"]);
    assert_eq!(functions, [("connection_closed".to_owned(), 2000)]);
}

/// A library with a class of its own, and one that is called the same in every library built from this.
const LIBRARY: &str = r#"
namespace { struct Job { virtual ~Job() {} virtual int run() { return 1; } long id = 1; }; }
struct WORKER { virtual ~WORKER() {} virtual int work() { return 1; } long id = 2; };
extern "C" void *make_job() { return new Job; }
extern "C" void *make_worker() { return new WORKER; }
"#;

const USER: &str = r#"
#include <cstdlib>
#include <dlfcn.h>
extern "C" void *make_job();
extern "C" void *make_worker();
static void *volatile sink;
int main(int, char **argv) {
    void *plugin = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    if (!plugin) return 1;
    auto job = (void *(*)())dlsym(plugin, "make_job"), worker = (void *(*)())dlsym(plugin, "make_worker");
    for (int i = 0; i < 700; ++i) sink = make_job();
    for (int i = 0; i < 800; ++i) sink = make_worker();
    for (int i = 0; i < 900; ++i) sink = job();
    for (int i = 0; i < 1000; ++i) sink = worker();
    abort();
}
"#;

#[test]
fn classes_of_libraries_and_plugins_are_counted_each_for_itself() {
    for strip in [&[][..], &["-s"]] {
        let shared = |class| [&["-shared", "-fPIC", "-O1", class], strip].concat();
        let compiler = "c++";
        let linked =
            compile("linked.so", "cpp", LIBRARY, &Build { compiler, options: &shared("-DWORKER=LinkedWorker") });
        let plugin =
            compile("plugin.so", "cpp", LIBRARY, &Build { compiler, options: &shared("-DWORKER=PluginWorker") });
        let options = [&["-O1", "-Wl,--no-as-needed", linked.path.to_str().unwrap()], strip].concat();
        let user = compile("user", "cpp", USER, &Build { compiler, options: &options });
        let dead = crash(&user, &[plugin.path.to_str().unwrap()]);
        let words = named(&dead.core, &["--kind", "vtable"]);
        assert_counts(
            &words,
            &[
                ("vtable of (anonymous namespace)::Job, in linked.so", 700),
                ("vtable of LinkedWorker", 800),
                ("vtable of (anonymous namespace)::Job, in plugin.so", 900),
                ("vtable of PluginWorker", 1000),
            ],
        );
    }
}

#[test]
fn a_module_without_its_file_comes_with_what_would_name_it() {
    let program = compile("top-truth", "cpp", PROGRAM, &Build { compiler: "c++", options: &["-O1"] });
    let folder = scratch_folder();
    let gone = Program { path: folder.join("gone") };
    std::fs::copy(&program.path, &gone.path).unwrap();
    let dead = crash(&gone, &[]);
    let moved = folder.join("moved");
    std::fs::rename(&gone.path, &moved).unwrap();
    let without = top(&dead.core, &["--in", "heap"]);
    assert!(without.contains("into gone, whose file is not here") && without.contains("--exe FILE"), "{without}");
    // The names of classes are constants, which the kernel leaves to the file.
    assert!(without.contains("vtable of an unnamed class, gone+0x"), "{without}");
    let with = top(&dead.core, &["--in", "heap", "--exe", moved.to_str().unwrap()]);
    assert!(
        with.contains("connection_closed") && with.contains("vtable of net::Client") && !with.contains("--exe"),
        "{with}"
    );
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn noise_is_left_out_and_counted() {
    let program = compile("top-truth", "cpp", PROGRAM, &Build { compiler: "c++", options: &["-g"] });
    let dead = crash(&program, &[]);
    let plain = top(&dead.core, &["-n", "5"]);
    assert!(plain.lines().nth(1).unwrap().contains("vtable of net::Client"), "{plain}");
    assert!(plain.contains("left out as noise"), "{plain}");
    assert!(plain.contains("size fields of chunks"), "{plain}");
    let all = top(&dead.core, &["-n", "5", "--all"]);
    assert!(all.contains("size field: 32-byte chunk"), "{all}");
    assert!(all.lines().nth(1).unwrap().ends_with("zero") || all.contains("  zero  "), "{all}");
}

#[test]
fn the_word_is_where_it_is_said_to_be() {
    let program = compile("top-truth", "cpp", PROGRAM, &Build { compiler: "c++", options: &["-g"] });
    let dead = crash(&program, &[]);
    let json: Value = serde_json::from_str(&top(&dead.core, &["--json", "-n", "3"])).unwrap();
    let client = &json["result"]["words"][0];
    assert_eq!(client["name"], "vtable of net::Client");
    assert_eq!(client["kind"], "vtable");
    assert_eq!(client["memory"][0], "main-heap");
    assert_eq!(json["result"]["distinct_shown"], 3);
    // The dynamic linker's records of modules are its data, and lie in front of it.
    let many = top(&dead.core, &["-n", "200"]);
    assert!(!many.contains("+0xffff"), "{many}");
    let in_bss = named(&dead.core, &["--in", "bss", "--kind", "vtable"]);
    assert!(CLASSES.iter().all(|(class, _)| count_of(&in_bss, class).is_none()), "none is static: {in_bss:?}");
}

#[test]
fn a_module_can_be_asked_for() {
    let program = compile("top-truth", "cpp", PROGRAM, &Build { compiler: "c++", options: &["-g"] });
    let dead = crash(&program, &[]);
    let words = named(&dead.core, &["--module", "top-truth", "-n", "100"]);
    assert_counts(&words, CLASSES);
    let foreign = named(&dead.core, &["--module", "libc.so.6", "-n", "1000"]);
    assert!(CLASSES.iter().all(|(class, _)| count_of(&foreign, class).is_none()), "{foreign:?}");
    assert!(!foreign.is_empty(), "libc points at itself");
    let ours = named(&dead.core, &["--module", "top-truth", "--kind", "vtable"]);
    assert_counts(&ours, CLASSES);
    let foreign = named(&dead.core, &["--module", "libc.so.6", "--kind", "vtable", "-n", "1000"]);
    assert!(CLASSES.iter().all(|(class, _)| count_of(&foreign, class).is_none()), "{foreign:?}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_topleaked"));
    let output = command.arg("top").arg(&dead.core).args(["--module", "nosuch"]).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{output:?}");
}

#[test]
fn gdb_is_handed_the_same_words() {
    let program = compile("top-truth", "cpp", PROGRAM, &Build { compiler: "c++", options: &["-g"] });
    let dead = crash(&program, &[]);
    let text = top(&dead.core, &["-n", "1", "-ogdb"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("p 500"), "{text}");
    assert!(lines[2].starts_with("info symbol 0x"), "{text}");
}

#[test]
fn kernel_and_gcore_dumps_of_one_process_agree() {
    let program = compile("top-truth", "cpp", PROGRAM, &Build { compiler: "c++", options: &["-g"] });
    let dumps = dump_twice(&program, &["stay"]);
    let ask = |core: &Path| named(core, &["-n", "30", "--in", "heap"]);
    let (kernel, gcore) = (ask(&dumps.kernel), ask(&dumps.gcore));
    assert_counts(&kernel, CLASSES);
    assert_eq!(kernel, gcore);
}

#[test]
fn other_machines_have_named_words() {
    for (machine, triple) in
        [("aarch64", "aarch64-linux-gnu"), ("s390x", "s390x-linux-gnu"), ("arm", "arm-linux-gnueabihf")]
    {
        let compiler = format!("{triple}-g++-12");
        let options = ["-O1", "-static", "-s"];
        let program = compile("top-truth", "cpp", PROGRAM, &Build { compiler: &compiler, options: &options });
        let dead = crash_emulated(machine, Path::new("/"), &program);
        assert_counts(&named(&dead.core, &["--kind", "vtable"]), CLASSES);
    }
}

#[test]
fn what_a_stripped_program_has_no_symbols_for_is_told_by_its_shape() {
    let program = compile("top-truth", "cpp", PROGRAM, &Build { compiler: "c++", options: &["-O1", "-s"] });
    let dead = crash(&program, &[]);
    let words = named(&dead.core, &["--module", "top-truth", "--in", "relro", "-n", "200"]);
    for class in ["Both", "Right", "(anonymous namespace)::Session"] {
        assert!(count_of(&words, &format!("typeinfo for {class}")).is_some(), "{class}: {words:?}");
    }
    let program =
        compile("top-truth", "cpp", PROGRAM, &Build { compiler: "c++", options: &[M32, &["-O1", "-s"]].concat() });
    let shown = top(&crash(&program, &[]).core, &["--in", "heap"]);
    assert!(shown.contains("table of functions (0x"), "{shown}");
    assert!(!shown.contains("0x00000000"), "addresses have as many digits as the machine has: {shown}");
}

/// Holds 300 pointers to an empty string, 400 to one of a single character and 500 to zeros, all constants.
const SHORT_STRINGS: &str = r#"
#include <stdlib.h>
const char *first = "one of several strings", *last = "another string";
const long zeros[8] = {0};
static void *volatile sink;
static void hold(int count, const void *what) {
    for (int i = 0; i < count; ++i) { const void **p = malloc(24); *p = what; sink = p; }
}
int main(void) {
    hold(300, ""); hold(400, "/"); hold(500, zeros + 4);
    abort();
}
"#;

#[test]
fn short_strings_are_told_from_zeros() {
    // Beside the code or apart from it.
    for options in [&["-O1", "-s"][..], &["-O1", "-s", "-Wl,-z,noseparate-code"]] {
        let program = compile("short-strings", "c", SHORT_STRINGS, &Build { compiler: "cc", options });
        let dead = crash(&program, &[]);
        let words = named(&dead.core, &["--in", "heap"]);
        assert_counts(&words, &[("string \"\"", 300), ("string \"/\"", 400)]);
        assert!(words.iter().all(|(_, count)| !(500..508).contains(count)), "zeros are no string: {words:?}");
        let shown = top(&dead.core, &["--in", "heap", "--kind", "data"]);
        let zeros = shown.lines().find(|line| line.trim_start().starts_with("50")).unwrap_or_else(|| panic!("{shown}"));
        assert!(zeros.contains("read-only data, short-strings+0x"), "{shown}");
    }
}

/// Frees what it allocated, so that the thread's cache is full.
const FREED: &str = r#"
#include <stdlib.h>
#include <string.h>
static void *held[7];
int main(int argc, char **argv) {
    char copy[64];
    for (int i = 0; i < 7; ++i) held[i] = malloc(40);
    for (int i = 0; i < 7; ++i) free(held[i]);
    strcpy(copy, argv[0]);
    abort();
}
"#;

#[test]
fn numbers_that_the_c_library_drew_are_known() {
    let options = &["-O1", "-static", "-fstack-protector-all"];
    let program = compile("freed", "c", FREED, &Build { compiler: "cc", options });
    let words = named(&crash(&program, &[]).core, &["-n", "400"]);
    let freed = count_of(&words, "mark of a freed chunk (tcache_key)").unwrap_or_else(|| panic!("{words:?}"));
    assert!((7..12).contains(&freed), "{words:?}");
    assert!(count_of(&words, "stack guard (-fstack-protector)").is_some_and(|count| count >= 2), "{words:?}");
}

/// A heap as V8 has it, with the constants that V8 exports to debuggers: a map of maps, one of functions, one of strings,
/// one of objects that the function `Client` makes, 2,000 of those, and what is not there.
const V8: &str = r#"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
int v8dbg_HeapObjectTag = 1, v8dbg_HeapObjectTagMask = 3, v8dbg_TaggedSize = 8;
int v8dbg_SmiTag = 0, v8dbg_SmiTagMask = 1, v8dbg_SmiValueShift = 1, v8dbg_SmiShiftSize = 31;
int v8dbg_class_HeapObject__map__Map = 0, v8dbg_class_Map__instance_type__uint16_t = 12;
int v8dbg_class_Map__constructor_or_back_pointer__Object = 32;
int v8dbg_class_JSFunction__shared__SharedFunctionInfo = 24;
int v8dbg_class_SharedFunctionInfo__name_or_scope_info__Object = 16;
int v8dbg_class_String__length__int32_t = 12, v8dbg_class_SeqOneByteString__chars__char = 16;
int v8dbg_class_Oddball__kind_offset__int = 40, v8dbg_OddballTheHole = 2, v8dbg_OddballUndefined = 5;
int v8dbg_FirstNonstringType = 128, v8dbg_StringRepresentationMask = 7, v8dbg_SeqStringTag = 0;
int v8dbg_StringEncodingMask = 8, v8dbg_OneByteStringTag = 8;
int v8dbg_type_Map__MAP_TYPE = 240, v8dbg_type_JSObject__JS_OBJECT_TYPE = 1057, v8dbg_type_Oddball__ODDBALL_TYPE = 131;
int v8dbg_type_JSFunction__JS_FUNCTION_TYPE = 2060, v8dbg_type_SharedFunctionInfo__SHARED_FUNCTION_INFO_TYPE = 250;
typedef uint64_t word;
static word *make(word *map) { word *p = calloc(8, 8); p[0] = (word)map + 1; return p; }
static word *make_map(word *of_maps, int type) {
    word *map = make(of_maps);
    *(uint16_t *)((char *)map + 12) = type;
    return map;
}
static void *volatile sink;
int main(void) {
    word *maps = calloc(8, 8);
    maps[0] = (word)maps + 1;
    *(uint16_t *)((char *)maps + 12) = 240;
    word *functions = make_map(maps, 2060), *strings = make_map(maps, 8), *oddballs = make_map(maps, 131);
    word *objects = make_map(maps, 1057), *derived = make_map(maps, 1057), *lost = make_map(maps, 1057);
    word *name = make(strings), *shared = make(make_map(maps, 250)), *function = make(functions), *hole = make(oddballs);
    ((int *)name)[3] = 6;
    memcpy(name + 2, "Client", 6);
    hole[5] = (word)v8dbg_OddballTheHole << 32;
    shared[2] = (word)name + 1;
    function[3] = (word)shared + 1;
    objects[4] = (word)function + 1;
    derived[4] = (word)objects + 1;
    lost[4] = (word)lost + 1; /* leads back to itself */
    for (int i = 0; i < 2000; ++i) { word *o = make(derived); o[1] = (word)hole + 1; o[2] = (word)name + 1; sink = o; }
    for (int i = 0; i < 900; ++i) sink = make(lost);
    for (int i = 0; i < 800; ++i) { word *p = make(objects); p[1] = (word)functions + 9; sink = p; }
    abort();
}
"#;

#[test]
fn objects_of_v8_are_told_by_their_maps() {
    let program = compile("v8", "c", V8, &Build { compiler: "cc", options: &["-O1"] });
    let dead = crash(&program, &[]);
    let words = named(&dead.core, &["--kind", "heap"]);
    assert_counts(
        &words,
        &[
            ("V8 the hole", 2000),
            ("V8 string \"Client\"", 2000),
            ("V8 map of JSObject made by Client", 2000),
            ("V8 map of JSObject", 900),
        ],
    );
    // A pointer with the mark that leads to no object is left alone.
    let shown = top(&dead.core, &["--kind", "heap"]);
    let in_the_middle = shown.lines().find(|line| line.contains("(tagged?)")).unwrap_or_else(|| panic!("{shown}"));
    assert!(in_the_middle.trim_start().starts_with("80"), "{shown}");
    // A program with such words but without the constants has no V8.
    let source = V8.replace("v8dbg_", "other_");
    let program = compile("no-v8", "c", &source, &Build { compiler: "cc", options: &["-O1"] });
    let shown = top(&crash(&program, &[]).core, &["--kind", "heap"]);
    assert!(!shown.contains("V8") && shown.contains("tagged"), "{shown}");
}
