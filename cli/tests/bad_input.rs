//! What cannot be answered gives one clear line, exit code 2 and no answer.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::{Folder, answer, piped, refusal, refused, run, sample_words, tool, topleaked, words};

#[test]
fn an_empty_file_has_no_words() {
    let folder = Folder::new();
    let path = folder.write("empty", b"");
    assert_eq!(answer([&path]), "");
    assert_eq!(piped(b"", &["-"]).status.code(), Some(0));
    let json: serde_json::Value = serde_json::from_str(&answer([path.to_str().unwrap(), "--json"])).unwrap();
    assert_eq!(json["result"], serde_json::json!({"words": [], "total_words": 0, "distinct_shown": 0}));
}

#[test]
fn three_bytes_are_a_word_of_zero() {
    let folder = Folder::new();
    let path = folder.write("short", b"abc");
    assert_eq!(answer([&path]), "0x0000000000000000 : 1\n");
}

#[test]
fn an_offset_past_the_end_gives_nothing() {
    let folder = Folder::new();
    let path = folder.write("input", words(&[1, 2]));
    for offset in ["16", "17", "1000000000000", "18446744073709551615"] {
        assert_eq!(answer([path.to_str().unwrap(), "-s", offset]), "", "{offset}");
        assert_eq!(answer([path.to_str().unwrap(), "-s", offset, "-f1"]), "", "{offset}");
    }
}

#[test]
fn any_number_of_results_may_be_asked_for() {
    let folder = Folder::new();
    let path = folder.write("input", words(&sample_words(10_000)));
    let path = path.to_str().unwrap();
    let all = answer([path, "-n18446744073709551615"]);
    assert!(all.lines().count() > 4000);
    assert_eq!(answer([path, "-n1000000000"]), all);
    assert_eq!(answer([path, "-n3"]), all.split_inclusive('\n').take(3).collect::<String>());
    assert!(refused([path, "-n18446744073709551616"]).contains("more than 18446744073709551615"));
}

#[test]
fn a_missing_file() {
    let line = refused(["/nonexistent/core"]);
    assert_eq!(line, "topleaked: cannot open /nonexistent/core: No such file or directory (os error 2)\n");
    assert!(refused([""]).contains("a value is required for '<FILE>'"));
}

#[test]
fn a_missing_file_or_a_folder_says_the_same_to_every_verb() {
    let folder = Folder::new();
    let text = folder.write("text", "no dump");
    for (verb, rest) in [("info", None), ("top", None), ("fields", Some("T")), ("layout", Some("T"))] {
        let ask = |path: &str| refused([verb, path].into_iter().chain(rest));
        assert_eq!(
            ask("/nonexistent/core"),
            "topleaked: cannot open /nonexistent/core: No such file or directory (os error 2)\n",
            "{verb}"
        );
        assert!(ask(folder.0.to_str().unwrap()).ends_with("is a folder, not a dump\n"), "{verb}");
        let text = text.to_str().unwrap();
        assert!(ask(text).starts_with(&format!("topleaked: {text}: not a core dump")), "{verb}");
    }
}

#[test]
fn a_folder() {
    let folder = Folder::new();
    let line = refused([&folder.0]);
    assert!(line.ends_with("is a folder, not a dump\n"), "{line}");
    let output = topleaked().arg("-").stdin(File::open(&folder.0).unwrap()).output().unwrap();
    assert!(refusal(&output).ends_with("standard input is a folder, not a dump\n"));
}

#[test]
fn a_file_without_permission() {
    let folder = Folder::new();
    let path = folder.write("secret", words(&[1]));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o0)).unwrap();
    // Root may read everything: there, the program runs as somebody who may not. It is copied, since
    // the folder of the build may be closed to that one, too.
    let output = if File::open(&path).is_err() {
        topleaked().arg(&path).output().unwrap()
    } else {
        let open = std::env::temp_dir().join(format!("topleaked-test-{}", std::process::id()));
        fs::create_dir_all(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
        let program = open.join("topleaked");
        fs::copy(env!("CARGO_BIN_EXE_topleaked"), &program).unwrap();
        let secret = open.join("secret");
        fs::write(&secret, words(&[1])).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&program)
            .arg(&secret)
            .output()
            .expect("setpriv can be run");
        fs::remove_dir_all(open).unwrap();
        output
    };
    let line = refusal(&output);
    assert!(line.ends_with("secret: Permission denied (os error 13)\n"), "{line}");
}

#[test]
fn what_is_no_file_for_reading() {
    let folder = Folder::new();
    let socket = folder.0.join("s");
    // The path of a socket has 107 bytes at most; this one is short wherever the folder is.
    let opened = File::open(&folder.0).unwrap();
    let _listener = UnixListener::bind(format!("/proc/self/fd/{}/s", opened.as_raw_fd())).unwrap();
    let line = refused([&socket]);
    assert!(line.contains("No such device or address"), "{line}");
    // A device with nothing in it, and one that does not end.
    assert_eq!(answer(["/dev/null"]), "");
    assert_eq!(answer(["/dev/zero", "-l", "100000"]), "0x0000000000000000 : 100000\n");
    // Memory of a process is a file that cannot be read at its beginning.
    assert!(refused(["/proc/self/mem"]).contains("cannot read /proc/self/mem: "));
}

#[test]
fn numbers_that_are_none() {
    let folder = Folder::new();
    let path = folder.write("input", words(&[1]));
    let path = path.to_str().unwrap();
    for (option, hint) in [
        ("-faag", "not a hexadecimal number"),
        ("-f=", "not a hexadecimal number"),
        ("--find=0x", "not a hexadecimal number"),
        ("-f-1", "not a hexadecimal number"),
        ("-f11112222333344445", "more than 16 hexadecimal digits"),
        ("-n1x", "not a decimal number"),
        ("-n=", "not a decimal number"),
        ("-n-1", "not a decimal number"),
        ("-s0x10", "not a decimal number"),
        ("-l1.5", "not a decimal number"),
        ("--memberOffset=abc", "not a decimal number"),
        ("--memberOffset=9223372036854775808", "further than any member can lie"),
        ("--memberType=uint7", "possible values"),
        ("--memberType=", "possible values"),
        ("-oxml", "possible values"),
        ("--memory=lots", "a size is a number"),
        ("--threads=0", "invalid value"),
        ("--bogus", "unexpected argument"),
        ("-x", "unexpected argument"),
        ("--time=yes", "unexpected value"),
    ] {
        let line = refused([path, option]);
        assert!(line.starts_with("topleaked: ") && line.contains(hint), "{option}: {line}");
        // Behind a question a sentence begins.
        let ends = ["; see `topleaked --help`\n", "? See `topleaked --help`\n"];
        assert!(ends.iter().any(|end| line.ends_with(end)), "{option}: {line}");
    }
    assert!(refused(["top", path, "-nx"]).contains("not a decimal number"));
    assert!(refused([path, "-n"]).contains("a value is required for '--size <N>'"));
    assert!(refused(["-n1"]).contains("<FILE>"));
    assert!(refused([path, path]).contains("one file at a time"));
    assert!(refused(["man", "nothing"]).contains("there is no verb"));
    assert!(refused(["completions", "dos"]).contains("see `topleaked completions --help`"));
    assert!(!refused([path, "--a\x1b[2J"]).contains('\x1b'), "nothing steers the terminal");
}

const TOOLS: [(&str, &[&str]); 6] = [
    ("zstd", &["-c", "-q", "--check"]),
    ("lz4", &["-c", "-q"]),
    ("lz4", &["-c", "-q", "-B4", "-BX"]),
    ("xz", &["-c"]),
    ("gzip", &["-c"]),
    ("bzip2", &["-c"]),
];

#[test]
fn a_truncated_compressed_dump_has_no_answer() {
    let folder = Folder::new();
    let plain = folder.write("plain", words(&sample_words(200_000)));
    for (program, options) in TOOLS {
        let packed = tool(program, options, &plain);
        for end in [packed.len() - 1, packed.len() / 2, 100] {
            let path = folder.write("cut", &packed[..end]);
            let line = refused([&path]);
            assert!(line.contains("stream ends early: the dump is truncated"), "{program} at {end}: {line}");
            assert!(line.contains("cut: "), "{line}");
            let output = piped(&packed[..end], &["-"]);
            assert!(refusal(&output).contains("truncated"), "{program} at {end} on a pipe");
            assert!(refused([path.to_str().unwrap(), "--json"]).contains("truncated"));
            assert!(refused([path.to_str().unwrap(), "-f5"]).contains("truncated"));
        }
    }
}

#[test]
fn a_damaged_compressed_dump_has_no_answer() {
    let folder = Folder::new();
    let plain = folder.write("plain", words(&sample_words(200_000)));
    for (program, options) in TOOLS {
        let mut packed = tool(program, options, &plain);
        let middle = packed.len() / 2;
        for byte in &mut packed[middle..middle + 16] {
            *byte = !*byte;
        }
        let path = folder.write("damaged", &packed);
        let line = refused([&path]);
        assert!(line.contains("damaged: "), "{program}: {line}");
        assert!(refusal(&piped(&packed, &["-"])).contains("stream is damaged"), "{program} on a pipe");
    }
}

#[test]
fn a_memory_budget_too_small_for_anything() {
    let folder = Folder::new();
    let path = folder.write("input", words(&sample_words(1000)));
    for budget in ["0", "1", "1K"] {
        let line = refused([path.to_str().unwrap(), "--memory", budget]);
        assert!(line.contains("memory budget") && line.contains("too small"), "{budget}: {line}");
        assert!(refused([path.to_str().unwrap(), "-f5", "--memory", budget]).contains("too small"));
    }
    let packed = folder.write("packed", tool("xz", &["-c"], &path));
    let line = refused([packed.to_str().unwrap(), "--memory", "1M"]);
    assert!(line.contains("needs more memory to unpack"), "{line}");
    assert_eq!(answer([packed.to_str().unwrap(), "--memory", "64M"]), answer([&path]));
}

#[test]
fn a_file_that_shrinks_while_it_is_read() {
    let folder = Folder::new();
    let chunk = words(&sample_words(1 << 17));
    let write = || {
        let path = folder.0.join("shrinks");
        let file = File::create(&path).unwrap();
        // Written, not sparse: holes need not be read.
        for _ in 0..128 {
            (&file).write_all(&chunk).unwrap();
        }
        (path, file)
    };
    let whole = answer([&write().0]);
    // When the cut comes is for the scheduler to say: before the file is open, then the answer is that of a short file;
    // after the last byte is read; or between, which is what must happen at least once.
    for wait in (0..40).map(|step| Duration::from_millis(step % 20)) {
        let (path, file) = write();
        let child = topleaked().arg(&path).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let opened = format!("/proc/{}/fd", child.id());
        let is_open = || {
            let mut links = fs::read_dir(&opened).into_iter().flatten().flatten();
            links.any(|link| fs::read_link(link.path()).is_ok_and(|target| target == path))
        };
        let is_gone =
            || fs::read_to_string(format!("/proc/{}/stat", child.id())).is_ok_and(|stat| stat.contains(") Z"));
        while !is_open() && !is_gone() {
            std::thread::yield_now();
        }
        std::thread::sleep(wait);
        file.set_len(4096).unwrap();
        let output = child.wait_with_output().unwrap();
        if output.status.success() {
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(text == whole || text == answer([&path]), "half an answer: {text}");
            continue;
        }
        assert!(refusal(&output).contains("file shrank"), "{output:?}");
        return;
    }
    panic!("in forty runs no cut fell into the time of reading");
}

/// The input keeps a part of the budget for itself, which is no concern of the user's.
#[test]
fn the_budget_that_an_error_asks_for_is_enough() {
    let folder = Folder::new();
    let path = folder.write("input", words(&sample_words(300_000)));
    let gz = folder.write("input.gz", tool("gzip", &["-c"], &path));
    let bytes = fs::read(&path).unwrap();
    let number = |line: &str, behind: &str, before: &str| -> u64 {
        let (_, rest) = line.split_once(behind).unwrap_or_else(|| panic!("{line}"));
        rest.split_once(before).unwrap_or_else(|| panic!("{line}")).0.parse().unwrap()
    };
    for packed in [false, true] {
        let ask = |budget: u64, n: &str| {
            let memory = format!("--memory={budget}");
            match packed {
                true => run([gz.to_str().unwrap(), &memory, n]),
                false => piped(&bytes, &["-", &memory, n]),
            }
        };
        let line = refusal(&ask(1000, "-n1"));
        assert_eq!(number(&line, "a memory budget of ", " bytes"), 1000, "{line}");
        let needed = number(&line, "too small: ", " bytes is the least");
        assert_eq!(ask(needed, "-n1").status.code(), Some(0), "{needed}");
        // Results: each budget that is named goes on further, to an end.
        let mut budget = needed;
        for round in 0.. {
            let output = ask(budget, "-n150000");
            if output.status.success() {
                break;
            }
            let asked = number(&refusal(&output), "give at least ", " bytes");
            assert!(asked > budget && round < 10, "{asked} after {budget}");
            budget = asked;
        }
    }
}

#[test]
fn more_threads_than_a_machine_has_use_for_are_refused() {
    let folder = Folder::new();
    let path = folder.write("input", words(&sample_words(1000)));
    let path = path.to_str().unwrap();
    for threads in ["0", "257", "1000000", "18446744073709551616", "-1", "x", ""] {
        let line = refused([path, &format!("--threads={threads}")]);
        assert!(line.contains("a number from 1 to 256"), "{threads}: {line}");
    }
    assert_eq!(answer([path, "--threads=256"]), answer([path, "--threads=1"]));
}

#[test]
fn a_full_disk_is_noticed() {
    let folder = Folder::new();
    let path = folder.write("input", words(&[1]));
    for arguments in [&[path.to_str().unwrap()][..], &["--help"], &["man"], &[path.to_str().unwrap(), "--json"]] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = topleaked().args(arguments).stdout(full).output().unwrap();
        assert!(refusal(&output).contains("cannot write to stdout: No space left on device"), "{arguments:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = Folder::new();
    let path = folder.write("input", words(&sample_words(100_000)));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = topleaked().args(["-n100000"]).arg(&path).stdout(OwnedFd::from(writer)).output().unwrap();
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]));
    let script = "\"$0\" -n100000 \"$1\" | head -1";
    let output = Command::new("sh").args(["-c", script, env!("CARGO_BIN_EXE_topleaked")]).arg(&path).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((String::from_utf8_lossy(&output.stdout).lines().count(), &*stderr), (1, ""));
}

#[test]
fn a_limit_of_nothing_is_refused() {
    // It would be reached by a program that leaks nothing.
    for limit in ["count=0", "bytes=0", "bytes=0K"] {
        let line = refused(["leaks", "core", "--fail-on", limit]);
        assert!(line.contains("at least 1"), "{line}");
    }
}
