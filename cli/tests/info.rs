//! `topleaked info` on real and on hostile dumps.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::elf_core::{CoreBuilder, R, Shape, W, X};
use testkit::native::{Build, compile, crash, scratch_folder};

fn info(core: &Path, options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_topleaked")).arg("info").arg(core).args(options).output().unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Dies at a null pointer's member, deep in a call.
const NULL: &str = r#"
#include <stdlib.h>
struct client { long id; char name[24]; struct client *next; };
__attribute__((noinline)) long next_of(struct client *client) { return (long)client->next; }
int main(int argc, char **argv) { return (int)next_of(argc > 9 ? malloc(9) : NULL) + (argv == NULL); }
"#;

#[test]
fn a_crash_is_told_in_its_first_lines() {
    let program = compile("null-member", "c", NULL, &Build { compiler: "cc", options: &["-O1"] });
    let long = "x".repeat(100);
    let dead = crash(&program, &["--name", "two words", &long]);
    let output = info(&dead.core, &[]);
    let text = text(&output);
    let mut lines = text.lines();
    assert_eq!(
        lines.next(),
        Some("null-member was ended by SIGSEGV: address 0x20 is not mapped (a null pointer, 32 bytes into the object)")
    );
    let command = lines.next().unwrap();
    assert!(command.ends_with(&format!(" --name 'two words' {long}")), "{command}");
    assert!(text.contains("next_of+0x"), "{text}");
    assert!(output.stderr.is_empty(), "{output:?}");

    let json: Value = serde_json::from_str(&self::text(&info(&dead.core, &["--json"]))).unwrap();
    assert_eq!(
        (&json["schema_version"], &json["command"], &json["complete"]),
        (&1.into(), &"info".into(), &true.into())
    );
    let result = &json["result"];
    assert_eq!(result["process"]["signal"]["name"], "SIGSEGV");
    assert_eq!(result["process"]["signal"]["fault_address"], "0x0000000000000020");
    assert_eq!(result["process"]["arguments"][2], "two words");
    assert_eq!(result["target"], serde_json::json!({"machine": "x86-64", "class": 64, "endian": "little"}));
    assert_eq!(result["threads"][0]["function"], "next_of");
    assert_eq!(result["truncated"], false);
    let executable = &result["modules"][0];
    assert_eq!(executable["path"], program.path.to_str().unwrap());
    assert_eq!(executable["symbols"][0]["source"], "own-file");
    let heap = result["memory"].as_array().unwrap().iter().find(|row| row["kind"] == "data").unwrap();
    assert!(heap["bytes"].as_u64().unwrap() > 0 && heap["missing_bytes"] == 0);
}

#[test]
fn a_program_started_by_a_link_is_called_by_the_links_name() {
    use std::os::unix::fs::symlink;
    let program = compile("box-of-programs", "c", NULL, &Build { compiler: "cc", options: &["-O1"] });
    let folder = scratch_folder();
    let link = folder.join("cache-server");
    symlink(&program.path, &link).unwrap();
    let dead = crash(&testkit::native::Program { path: link }, &[]);
    let told = text(&info(&dead.core, &[]));
    assert!(told.starts_with("cache-server was ended by SIGSEGV"), "{told}");
    assert!(told.contains(&format!("  program  {}\n", program.path.display())), "{told}");
    // What the program calls itself in its arguments alone is no name.
    let core = |command: &[u8]| {
        let path = folder.join("core");
        let builder = CoreBuilder::new(Shape::LITTLE_64, 62).thread(1, 6, &[0x40_0000; 27]);
        let builder = builder.process(1, command, b"nginx: worker").memory(0x50_0000, R | W, &[0; 64]);
        std::fs::write(&path, builder.build()).unwrap();
        text(&info(&path, &[]))
    };
    assert!(core(b"nginx").starts_with("nginx was ended"), "{}", core(b"nginx"));
    assert!(core(b"other").starts_with("other was ended"), "{}", core(b"other"));
    // gdb writes the title that the program gave itself into the record; the kernel told the program how it was started.
    let path = folder.join("titled");
    let builder = CoreBuilder::new(Shape::LITTLE_64, 62).thread(1, 6, &[0x40_0000; 27]).auxv(&[(31, 0x50_0000)]);
    let builder = builder.process(1, b"redis-server *:", b"redis-server *:7001");
    std::fs::write(&path, builder.memory(0x50_0000, R | W, b"/usr/bin/redis-server\0").build()).unwrap();
    let told = text(&info(&path, &[]));
    assert!(told.starts_with("redis-server was ended"), "{told}");
    let _ = std::fs::remove_dir_all(folder);
}

#[test]
fn what_is_missing_comes_with_what_would_help() {
    let program = compile("null-member", "c", NULL, &Build { compiler: "cc", options: &["-O1", "-s"] });
    let dead = crash(&program, &[]);
    let stripped = text(&info(&dead.core, &[]));
    assert!(stripped.contains("/usr/lib/debug/.build-id/"), "{stripped}");
    let moved = program.path.with_extension("moved");
    std::fs::rename(&program.path, &moved).unwrap();
    let without = info(&dead.core, &[]);
    let with = info(&dead.core, &["--exe", moved.to_str().unwrap()]);
    let wrong = info(&dead.core, &["--exe", "/bin/true"]);
    std::fs::rename(&moved, &program.path).unwrap();
    assert!(text(&without).contains("--exe FILE"), "{without:?}");
    assert!(!text(&with).contains("--exe FILE"), "{with:?}");
    let warned = String::from_utf8(wrong.stderr.clone()).unwrap();
    assert!(
        warned.contains("/bin/true: not used: it has build id") && warned.contains("[module-file-refused]"),
        "{warned}"
    );

    for (option, place) in [("--exe", "/no/such/file"), ("--symbols", "/no/such/folder"), ("--sysroot", "/bin/true")] {
        let refused = info(&dead.core, &[option, place]);
        let told = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(refused.stdout.is_empty() && told.contains(option) && told.contains(place), "{refused:?}");
    }

    let whole = std::fs::read(&dead.core).unwrap();
    let cut = scratch_folder().join("cut");
    std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let output = info(&cut, &[]);
    let told = text(&output);
    assert!(told.contains("truncated, 50.0 % are there") && told.contains("ulimit -c unlimited"), "{told}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("[dump-truncated]"));
    std::fs::write(&cut, &whole[..500]).unwrap();
    let told = text(&info(&cut, &[]));
    assert!(told.starts_with("what ended the process is not in the dump"), "{told}");
    let _ = std::fs::remove_dir_all(cut.parent().unwrap());
}

#[test]
fn a_dump_may_come_from_standard_input() {
    let program = compile("null-member", "c", NULL, &Build { compiler: "cc", options: &["-O1"] });
    let dead = crash(&program, &[]);
    let from = |stdin: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_topleaked"));
        text(&command.args(["info", "-"]).stdin(stdin).output().unwrap())
    };
    let named = text(&info(&dead.core, &[]));
    assert_eq!(from(std::fs::File::open(&dead.core).unwrap().into()), named);
    let mut cat = Command::new("cat").arg(&dead.core).stdout(Stdio::piped()).spawn().unwrap();
    assert_eq!(from(cat.stdout.take().unwrap().into()), named);
    assert!(cat.wait().unwrap().success());
}

#[test]
fn names_from_a_dump_cannot_steer_the_terminal() {
    let core = CoreBuilder::new(Shape::LITTLE_64, 62)
        .thread(1, 6, &[0x40_0000; 27])
        .process(1, b"\x1b]0;evil\x07", b"\x1b[2Jboo \x9b31m")
        .files(&[(0x40_0000, 0x40_1000, 0, b"/tmp/\x1b[31mred\n\xe2\x80\xaelanif")])
        .partial_memory(0x40_0000, R | X, b"", 0x1000)
        .memory(0x50_0000, R | W, &[0; 64])
        .build();
    let folder = scratch_folder();
    let path = folder.join("hostile");
    std::fs::write(&path, core).unwrap();
    for options in [&[][..], &["--json"], &["--all"]] {
        let output = info(&path, options);
        assert!(output.status.success(), "{output:?}");
        for bytes in [&output.stdout, &output.stderr] {
            let shown = String::from_utf8(bytes.clone()).unwrap();
            assert!(!shown.contains(|c: char| c != '\n' && c.is_control() || c == '\u{202e}'), "{shown:?}");
        }
    }
    let _ = std::fs::remove_dir_all(folder);
}

#[test]
fn a_large_dump_is_answered_at_once() {
    let folder = scratch_folder();
    let path = folder.join("large");
    let mut builder = CoreBuilder::new(Shape::LITTLE_64, 62).thread(1, 6, &[0x1000; 27]).process(1, b"large", b"large");
    for index in 0..64u64 {
        builder = builder.lying_memory((index + 1) << 32, 64 << 20, (64 << 20) * (index + 1), 64 << 20);
    }
    std::fs::write(&path, builder.build()).unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(65 * (64 << 20)).unwrap();
    let began = Instant::now();
    let told = text(&info(&path, &[]));
    assert!(told.contains("4.1 GiB, whole"), "{told}");
    // As it ships it takes a hundredth of that; tests run unoptimised beside each other.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let _ = std::fs::remove_dir_all(folder);
}

#[test]
fn no_dump_is_one_line_and_exit_code_2() {
    for path in ["/bin/true", "/dev/null", "/", "/nowhere/at/all"] {
        let output = info(path.as_ref(), &[]);
        assert_eq!(output.status.code(), Some(2), "{path}");
        assert!(output.stdout.is_empty());
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!((told.lines().count(), told.matches(path).count()), (1, 1), "{told}");
    }
}

/// What is cut off is said to be cut off: no advice that would not help, and no file called missing that is there.
#[test]
fn a_cut_dump_asks_for_a_whole_one() {
    let program = compile("null-member", "c", NULL, &Build { compiler: "cc", options: &["-O1", "-s"] });
    let dead = crash(&program, &[]);
    let whole = std::fs::read(&dead.core).unwrap();
    let folder = scratch_folder();
    let cut = |size: usize| {
        let path = folder.join("cut.core");
        std::fs::write(&path, &whole[..size]).unwrap();
        text(&info(&path, &[]))
    };
    // Behind the notes, and before the C library: its build id is gone.
    let mut pages = (4096..whole.len() / 4).step_by(4096).map(&cut);
    let told = pages.find(|told| told.contains("what would show it was cut off")).expect("some page before it");
    assert!(told.contains("its file here may be another build"), "{told}");
    assert!(!told.contains("copy them from where"), "{told}");
    // Within the notes: libraries look like private memory.
    let told = cut(3000);
    assert!(told.contains("a whole dump") && !told.contains("was left out of the dump"), "{told}");
    let _ = std::fs::remove_dir_all(folder);
}
