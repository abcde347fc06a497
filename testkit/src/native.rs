//! Compiles small C and C++ programs, runs them, and hands over the core that they leave.

use std::collections::hash_map::DefaultHasher;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::hash::{Hash, Hasher};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A compiled program, and the folder it may write to.
#[derive(Clone, Debug)]
pub struct Program {
    /// The executable.
    pub path: PathBuf,
}

/// How a program is compiled.
#[derive(Clone, Debug, Hash)]
pub struct Build<'a> {
    /// The compiler: `c++`, `cc`, `clang++`.
    pub compiler: &'a str,
    /// Its options, in order.
    pub options: &'a [&'a str],
}

/// Options of `cc` and `c++` that make a 32-bit program.
///
/// The kernel's headers are named by hand because the package that links them into `/usr/include` cannot be installed
/// beside a cross compiler.
pub const M32: &[&str] = &["-m32", "-idirafter", "/usr/include/x86_64-linux-gnu"];

/// The folder for compiled programs and their dumps: `target/testkit`.
pub fn folder() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("testkit lies in the workspace");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let folder = target.join("testkit");
    fs::create_dir_all(&folder).expect("the target folder can be written");
    folder
}

/// Compiles `source` (the text of one file with the given extension). The same call again gives the same
/// file without compiling.
///
/// # Panics
/// Where the compiler is missing or refuses the source: a test cannot go on without its program.
pub fn compile(name: &str, extension: &str, source: &str, build: &Build<'_>) -> Program {
    let mut hasher = DefaultHasher::new();
    (source, extension, build).hash(&mut hasher);
    let folder = folder().join(format!("{name}-{:016x}", hasher.finish()));
    let path = folder.join(name);
    if path.exists() {
        return Program { path };
    }
    fs::create_dir_all(&folder).expect("the target folder can be written");
    // Built under a name of its own and then linked to the common one: tests run side by side, in several processes.
    let unique = format!("{}-{:?}", std::process::id(), std::thread::current().id()).replace(['(', ')'], "");
    let source_path = folder.join(format!("{name}-{unique}.{extension}"));
    let built = folder.join(format!("{name}-{unique}"));
    fs::write(&source_path, source).expect("the target folder can be written");
    let output = Command::new(build.compiler)
        .args(build.options)
        .arg("-o")
        .arg(&built)
        .arg(&source_path)
        .output()
        .unwrap_or_else(|error| panic!("cannot run {}: {error}; `cargo xtask test` installs it", build.compiler));
    assert!(output.status.success(), "{} failed:\n{}", build.compiler, String::from_utf8_lossy(&output.stderr));
    // The first to be ready wins, and stays: the name of the source is in the debug information, so a second build has a
    // build id of its own, and the dump of a program that already runs would lose its symbol file.
    match fs::hard_link(&built, &path) {
        Ok(()) => {
            let _ = fs::rename(&source_path, folder.join(format!("{name}.{extension}")));
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let _ = fs::remove_file(&source_path);
        }
        Err(error) => panic!("{} cannot be written: {error}", path.display()),
    }
    let _ = fs::remove_file(&built);
    Program { path }
}

/// A core that a program left, in a folder that goes when this value goes.
#[derive(Debug)]
pub struct Crash {
    /// The core file.
    pub core: PathBuf,
    /// What the program wrote to stdout before it died.
    pub stdout: String,
    folder: PathBuf,
}

impl Drop for Crash {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Runs a program that ends by a signal, and hands over the core that the kernel wrote.
///
/// # Panics
/// Where it ends in another way, or the kernel leaves no core: `/proc/sys/kernel/core_pattern` has to be a
/// plain file name, which `cargo xtask test` checks beforehand.
pub fn crash(program: &Program, arguments: &[&str]) -> Crash {
    crash_in(program, arguments, &[])
}

/// As [`crash`], with additions to the program's environment.
///
/// # Panics
/// As [`crash`].
pub fn crash_in(program: &Program, arguments: &[&str], environment: &[(&str, &OsStr)]) -> Crash {
    let folder = scratch_folder();
    let output = run_for_core(program, arguments, environment, &folder);
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.signal().is_some(), "the program did not crash: {output:?}");
    let core = find_core(&folder).unwrap_or_else(|| {
        panic!(
            "the kernel left no core in {}: /proc/sys/kernel/core_pattern is {:?}, and has to be `core`",
            folder.display(),
            fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default().trim()
        )
    });
    Crash { core, stdout, folder }
}

/// Runs a program until it says `ready` on a line of its own, and hands over the core that gdb's `gcore` takes of it; the program is
/// ended then.
///
/// # Panics
/// Where the program ends before it is ready, or `gcore` fails.
pub fn gcore(program: &Program, arguments: &[&str]) -> Crash {
    let folder = scratch_folder();
    let mut child = Command::new(&program.path)
        .args(arguments)
        .current_dir(&folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program can be run");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
    let mut stdout = String::new();
    for line in lines.by_ref() {
        let line = line.expect("the program writes text");
        stdout.push_str(&line);
        stdout.push('\n');
        if line == "ready" {
            break;
        }
    }
    let output = Command::new("gcore").arg("-o").arg(folder.join("core")).arg(child.id().to_string()).output();
    let _ = child.kill();
    let _ = child.wait();
    let output = output.unwrap_or_else(|error| panic!("cannot run gcore: {error}; `cargo xtask test` installs it"));
    let core = find_core(&folder).unwrap_or_else(|| panic!("gcore wrote no core: {output:?}"));
    Crash { core, stdout, folder }
}

/// A fresh folder under [`folder`].
pub fn scratch_folder() -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = folder().join(format!("run-{}-{number}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("the target folder can be written");
    folder
}

fn run_for_core(program: &Program, arguments: &[&str], environment: &[(&str, &OsStr)], folder: &Path) -> Output {
    let additions = environment.iter().map(|(name, value)| {
        let mut addition = OsString::from(name);
        addition.push("=");
        addition.push(value);
        addition
    });
    // The shell raises the limit for this process alone; `env` keeps the additions from the shell itself.
    Command::new("sh")
        .args(["-c", "ulimit -c unlimited && exec env \"$@\"", "sh"])
        .args(additions)
        .arg(&program.path)
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("sh can be run")
}

fn find_core(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?;
    entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("core")))
}

/// Two dumps of one process: by gdb while it waits, and by the kernel when it then dies.
#[derive(Debug)]
pub struct TwoDumps {
    /// The dump that `gcore` wrote.
    pub gcore: PathBuf,
    /// The dump that the kernel wrote, by SIGABRT from outside.
    pub kernel: PathBuf,
    /// The first line the program wrote.
    pub stdout: String,
    folder: PathBuf,
}

impl Drop for TwoDumps {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Runs a program until it has written a line that says `ready`, dumps it with `gcore`, then ends it by SIGABRT.
///
/// # Panics
/// Where the program ends before, or one of the dumps is not written.
pub fn dump_twice(program: &Program, arguments: &[&str]) -> TwoDumps {
    use std::io::{BufRead, BufReader};
    let folder = scratch_folder();
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -c unlimited && exec \"$@\"", "sh"])
        .arg(&program.path)
        .args(arguments)
        .current_dir(&folder)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("sh can be run");
    let mut stdout = String::new();
    for line in BufReader::new(child.stdout.take().expect("stdout is a pipe")).lines() {
        let line = line.expect("the program writes text");
        if line == "ready" {
            break;
        }
        stdout.push_str(&line);
        stdout.push('\n');
    }
    let pid = child.id().to_string();
    let gcore = folder.join(format!("by-gdb.{pid}"));
    let output = Command::new("gcore").arg("-o").arg(folder.join("by-gdb")).arg(&pid).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run gcore: {error}; `cargo xtask test` installs it"));
    assert!(gcore.exists(), "gcore wrote no dump: {output:?}");
    let killed = Command::new("sh").args(["-c", &format!("kill -ABRT {pid}")]).status().expect("sh can be run");
    assert!(killed.success());
    child.wait().expect("the program ends");
    let kernel = find_core(&folder).expect("the kernel wrote a dump: core_pattern has to be `core`");
    TwoDumps { gcore, kernel, stdout, folder }
}

/// Runs a program of another machine under qemu until it dies by a signal, and hands over the dump that qemu wrote of it.
/// `machine` is qemu's name (`aarch64`, `s390x`); `root` holds the machine's libraries.
///
/// # Panics
/// Where qemu is missing, or wrote no dump.
pub fn crash_emulated(machine: &str, root: &Path, program: &Program) -> Crash {
    let folder = scratch_folder();
    let output = Command::new("sh")
        .args(["-c", "ulimit -c unlimited && exec \"$@\"", "sh"])
        .arg(format!("qemu-{machine}"))
        .arg("-L")
        .arg(root)
        .arg(&program.path)
        .current_dir(&folder)
        .output()
        .expect("sh can be run");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let entries = fs::read_dir(&folder).expect("the folder can be read").flatten().map(|entry| entry.path());
    let mut dumps = Vec::new();
    for path in entries {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("qemu_") && name.ends_with(".core") {
            dumps.push(path);
        } else if name.starts_with("core") {
            // The kernel dumps the emulator itself as well: of no use, and large.
            let _ = fs::remove_file(path);
        }
    }
    let core = dumps.pop().unwrap_or_else(|| {
        panic!("qemu-{machine} wrote no dump; `cargo xtask test` installs it: {output:?}");
    });
    Crash { core, stdout, folder }
}
