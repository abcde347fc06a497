//! Everything that can be read gives the answer of the plain file.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{Folder, answer, piped, run, sample_words, tool, topleaked, words};

fn plain(folder: &Folder) -> (PathBuf, Vec<u8>) {
    let mut bytes = words(&sample_words(100_000));
    bytes.extend(b"tail");
    (folder.write("plain", &bytes), bytes)
}

/// Each way to ask, with what the plain file answers.
fn questions(plain: &Path) -> Vec<(Vec<&'static str>, String)> {
    let questions: [&[&str]; 6] = [
        &["-n20"],
        &["-n100000"],
        &["-s", "300003", "-n5"],
        &["-s4", "-l1000"],
        &["-f5", "--memberOffset=-3", "--memberType=uint16"],
        &["-s", "9999999999"],
    ];
    questions
        .into_iter()
        .map(|options| (options.to_vec(), answer([&[plain.to_str().unwrap()], options].concat())))
        .collect()
}

#[track_caller]
fn same_answers(packed: &[u8], folder: &Folder, questions: &[(Vec<&str>, String)], what: &str) {
    // The name says nothing; the bytes do.
    let path = folder.write("packed.txt", packed);
    for (options, expected) in questions {
        let arguments = [&[path.to_str().unwrap()], &options[..]].concat();
        assert!(&answer(arguments) == expected, "{what} {options:?}");
        let output = piped(packed, &[&options[..], &["-"]].concat());
        assert!(String::from_utf8_lossy(&output.stdout) == *expected, "{what} {options:?} on a pipe: {output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
    }
}

#[test]
fn a_pipe_answers_as_the_file() {
    let folder = Folder::new();
    let (path, bytes) = plain(&folder);
    same_answers(&bytes, &folder, &questions(&path), "plain");
}

#[test]
fn compressed_dumps_answer_as_the_file() {
    let folder = Folder::new();
    let (path, bytes) = plain(&folder);
    let asked = questions(&path);
    for (program, options) in [
        ("zstd", &["-c", "-q"][..]),
        ("zstd", &["-c", "-q", "-19", "--long=27"]),
        ("lz4", &["-c", "-q"]),
        ("lz4", &["-c", "-q", "-B4", "-BX", "-BD"]),
        ("lz4", &["-c", "-q", "-l"]),
        ("xz", &["-c", "-1"]),
        ("xz", &["-c", "-0", "-T2", "--block-size=100000"]),
        ("gzip", &["-c"]),
        ("bzip2", &["-c"]),
    ] {
        same_answers(&tool(program, options, &path), &folder, &asked, &format!("{program} {options:?}"));
    }
    // Two compressed halves, one behind the other.
    let (front, back) = bytes.split_at(400_001);
    let (front, back) = (folder.write("front", front), folder.write("back", back));
    for program in ["zstd", "lz4", "xz", "gzip", "bzip2"] {
        let packed = [tool(program, &["-c", "-q"], &front), tool(program, &["-c", "-q"], &back)].concat();
        same_answers(&packed, &folder, &asked, &format!("{program} in two pieces"));
    }
}

#[test]
fn a_fifo_that_is_named_is_read() {
    let folder = Folder::new();
    let (path, _) = plain(&folder);
    let script = "\"$0\" <(zstd -c -q \"$1\") -n20 && \"$0\" -n20 <(cat \"$1\")";
    let output =
        Command::new("bash").args(["-c", script, env!("CARGO_BIN_EXE_topleaked")]).arg(&path).output().unwrap();
    let expected = answer([path.to_str().unwrap(), "-n20"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected.repeat(2), "{output:?}");
}

#[test]
fn standard_input_may_be_a_file_that_stands_anywhere() {
    let folder = Folder::new();
    let (path, bytes) = plain(&folder);
    let mut file = File::open(&path).unwrap();
    let from_here = |file: &File| topleaked().args(["-", "-n20"]).stdin(file.try_clone().unwrap()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&from_here(&file).stdout), answer([path.to_str().unwrap(), "-n20"]));
    file.seek(SeekFrom::Start(1001)).unwrap();
    let rest = folder.write("rest", &bytes[1001..]);
    assert_eq!(String::from_utf8_lossy(&from_here(&file).stdout), answer([rest.to_str().unwrap(), "-n20"]));
}

#[test]
fn holes_of_a_sparse_file_are_zeros() {
    let folder = Folder::new();
    let path = folder.0.join("sparse");
    let mut file = File::create(&path).unwrap();
    file.set_len(1 << 40).unwrap();
    file.seek(SeekFrom::Start(1 << 39)).unwrap();
    file.write_all(&words(&[7, 7])).unwrap();
    let expected = format!("0x0000000000000000 : {}\n0x0000000000000007 : 2\n", (1_u64 << 37) - 2);
    assert_eq!(answer([&path]), expected);
}

/// An ELF64 core whose memory begins at this offset of the file.
fn core_with_memory_at(offset: u64, memory: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0\x3e\0\x01\0\0\0".to_vec();
    bytes.extend(words(&[0, 64, 0]));
    bytes.extend(b"\0\0\0\0\x40\0\x38\0\x01\0\0\0\0\0\0\0");
    bytes.extend(b"\x01\0\0\0\x06\0\0\0");
    bytes.extend(words(&[offset, 0x7f00_0000_0000, 0, memory.len() as u64, memory.len() as u64, 1]));
    bytes.resize(offset as usize, 0xee);
    bytes.extend(memory);
    bytes
}

#[test]
fn a_core_that_is_not_aligned_to_the_step_is_said_and_the_answer_is_untouched() {
    let folder = Folder::new();
    let core = core_with_memory_at(0x1fc, &words(&sample_words(5000)));
    let raw = folder.write("raw", &core[8..]);
    let path = folder.write("core", &core);
    let path = path.to_str().unwrap();
    let zst = folder.write("core.zst", tool("zstd", &["-c", "-q"], Path::new(path)));
    for file in [path, zst.to_str().unwrap()] {
        let output = run([file, "-s8"]);
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(String::from_utf8_lossy(&output.stdout), answer([&raw]), "the answer is that of the plain bytes");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(stderr.lines().count() == 1 && stderr.contains("; -s 12 fits"), "{stderr}");
        let stderr = String::from_utf8_lossy(&run([file]).stderr).into_owned();
        assert!(stderr.contains("from byte 0") && stderr.contains("; -s 4 fits"), "{stderr}");
        // Where nothing is read, nothing is cut in two; a pipe has no end that is known.
        if file == path {
            assert_eq!(answer([file, "-s", "9999999999"]), "");
        }
        // With the step that was named, nothing is left to say.
        assert!(answer([file, "-s4", "-n3"]).contains("0x0000000000000005 : "));
    }
    let json: serde_json::Value = serde_json::from_slice(&run([path, "--json"]).stdout).unwrap();
    assert_eq!(json["diagnostics"][0]["code"], "misaligned");
    let piped = piped(&core, &["-"]);
    assert!(String::from_utf8_lossy(&piped.stderr).contains("; -s 4 fits"));
    let aligned = folder.write("aligned", core_with_memory_at(0x200, &words(&sample_words(500))));
    assert!(!answer([&aligned]).is_empty());
}

#[test]
fn words_of_another_width_or_order_are_said_and_the_answer_is_untouched() {
    let folder = Folder::new();
    // The smallest heads of cores with one segment: 32-bit little-endian, 64-bit big-endian.
    let mut narrow = b"\x7fELF\x01\x01\x01".to_vec();
    narrow.resize(52, 0);
    (narrow[16], narrow[28], narrow[42], narrow[44]) = (4, 52, 32, 1);
    narrow.extend([1_u32, 88, 0x1000, 0, 8, 8, 6, 1].map(u32::to_le_bytes).concat());
    narrow.resize(88, 0);
    narrow.extend(words(&[5]));
    let mut swapped = b"\x7fELF\x02\x02\x01".to_vec();
    swapped.resize(64, 0);
    (swapped[17], swapped[39], swapped[55], swapped[57]) = (4, 64, 56, 1);
    swapped.extend([1_u32, 6].map(u32::to_be_bytes).concat());
    swapped.extend([120_u64, 0x1000, 0, 8, 8, 1].map(u64::to_be_bytes).concat());
    swapped.extend(5_u64.to_be_bytes());
    for (bytes, says) in [(narrow, "4 bytes"), (swapped, "most significant byte first")] {
        let path = folder.write("core", &bytes);
        let raw = folder.write("raw", &bytes[8..]);
        let path = path.to_str().unwrap();
        let output = run([path, "-s8"]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), answer([&raw]));
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(stderr.lines().count() == 1 && stderr.contains(says) && stderr.contains("topleaked top"), "{stderr}");
        let json: serde_json::Value = serde_json::from_slice(&run([path, "--json"]).stdout).unwrap();
        assert_eq!(json["diagnostics"][0]["code"], "other-words");
    }
}
