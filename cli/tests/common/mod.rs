//! Runs the binary, and writes what it reads.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A folder that goes when this value goes.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        Folder(testkit::native::scratch_folder())
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

pub(crate) fn topleaked() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_topleaked"));
    command.stdin(Stdio::null()).env_remove("NO_COLOR");
    command
}

pub(crate) fn run<I>(arguments: I) -> Output
where
    I: IntoIterator,
    I::Item: AsRef<OsStr>,
{
    topleaked().args(arguments).output().unwrap()
}

/// What it printed; it must have answered, and silently on stderr.
pub(crate) fn answer<I>(arguments: I) -> String
where
    I: IntoIterator,
    I::Item: AsRef<OsStr>,
{
    let output = run(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*stderr), (Some(0), ""), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The line on stderr of a command that cannot answer: exit code 2, nothing on stdout, one line.
pub(crate) fn refusal(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "nothing that looks like an answer: {stderr}");
    assert!(stderr.ends_with('\n') && stderr.lines().count() == 1, "one line: {stderr:?}");
    stderr
}

pub(crate) fn refused<I>(arguments: I) -> String
where
    I: IntoIterator,
    I::Item: AsRef<OsStr>,
{
    refusal(&run(arguments))
}

/// Answers with `bytes` on a pipe.
pub(crate) fn piped(bytes: &[u8], arguments: &[&str]) -> Output {
    let mut child = topleaked()
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    // It may stop reading before the end: that is its right.
    let feeder = std::thread::spawn(move || drop(stdin.write_all(&bytes)));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    output
}

/// Runs a tool that the tests need, on one file, and hands over what it writes to stdout.
pub(crate) fn tool(program: &str, options: &[&str], file: &Path) -> Vec<u8> {
    let output = Command::new(program)
        .args(options)
        .arg(file)
        .output()
        .unwrap_or_else(|error| panic!("cannot run {program}: {error}; `cargo xtask test` installs it"));
    assert!(output.status.success(), "{program} {options:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Words of which some repeat and some do not, the same each time.
pub(crate) fn sample_words(count: usize) -> Vec<u64> {
    let mut state = 42_u64;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            if state >> 63 == 0 { state >> 60 } else { state >> 16 }
        })
        .collect()
}

/// What a terminal of 80 columns gets of a command line, run in `folder`; `$TOPLEAKED` is the program.
pub(crate) fn terminal(script: &str, folder: &Path) -> String {
    let output = Command::new("script")
        .args(["-qec", &format!("stty cols 80 rows 24; {script}"), "/dev/null"])
        .env("TOPLEAKED", env!("CARGO_BIN_EXE_topleaked"))
        .env_remove("NO_COLOR")
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}
