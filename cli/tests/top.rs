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
    assert!(shown.contains("of ld-linux") && !shown.contains("+0xffffffffffff"), "{shown}");
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
    let program = compile("top-truth", "cpp", PROGRAM, &Build { compiler: "c++", options: &["-g"] });
    let dead = crash(&program, &[]);
    let words = named(&dead.core, &["--in", "heap"]);
    assert_counts(
        &words,
        &[("table of functions tcp_ops", 2000), ("connection_closed", 2000), ("string \"silent since connect\"", 1200)],
    );
    assert_counts(&words, CLASSES);
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
    for machine in ["aarch64", "s390x"] {
        let compiler = format!("{machine}-linux-gnu-g++-12");
        let options = ["-O1", "-static", "-s"];
        let program = compile("top-truth", "cpp", PROGRAM, &Build { compiler: &compiler, options: &options });
        let dead = crash_emulated(machine, Path::new("/"), &program);
        assert_counts(&named(&dead.core, &["--kind", "vtable"]), CLASSES);
    }
}
