//! `cargo xtask fixtures`: builds the demo's server, lets it run until it dies, and packs its dump.
//! `cargo xtask fixtures glibc [RELEASE…]`: runs the heap's truth program with the libc of other releases instead, and packs
//! those dumps; `fixtures/glibc/make.sh` says how.
//!
//! The result is committed, so this runs only when the demo's sources change. What it needs besides the tests' needs:
//! `unshare` (util-linux) and `xz`, which Debian and Ubuntu always have.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

use crate::run::{is_root, root, say};
use crate::{core_pattern, needs};

/// One file is compiled, since a file of its own for each class would repeat the library's types in the debug information.
const CPP: &[&str] = &["connection", "session", "timer", "server", "handlers", "main"];
const C: &[&str] = &["request", "workers"];

/// Rebuilds everything in `fixtures/demo` that is not written by hand.
///
/// # Errors
/// Where a tool is missing or fails, the server does not die as it should, or the dump tells about this machine.
pub(crate) fn fixtures(arguments: &[String]) -> anyhow::Result<()> {
    needs::ensure()?;
    let _restore = core_pattern::ensure()?;
    match arguments.split_first() {
        Some((first, releases)) if first == "glibc" => {
            let mut make = Command::new("sh");
            return crate::run::step("fixtures/glibc", make.arg(root().join("fixtures/glibc/make.sh")).args(releases));
        }
        Some((other, _)) => bail!("no fixtures are called {other}: `glibc`, or nothing for the demo"),
        None => {}
    }
    let demo = root().join("fixtures/demo");
    let scratch = tempfile::tempdir()?;
    let server = scratch.path().join("server");
    let traffic = scratch.path().join("traffic");
    build(&demo, scratch.path(), &server, &traffic)?;
    let (core, status) = run(scratch.path(), &server, &traffic)?;
    let mut bytes = fs::read(&core)?;
    blank_vdso_paths(&mut bytes);
    fs::write(&core, &bytes)?;
    for file in [&core, &server] {
        refuse_traces_of_this_machine(file)?;
    }
    let mut truth = status;
    truth.push_str(&addresses(&server, &core)?);
    fs::write(demo.join("truth.txt"), &truth)?;
    // Words are 8 bytes, allocations multiples of 16: the compressor does better when it is told.
    pack(&core, &demo.join("demo.core.xz"), &["--lzma2=preset=9e,lc=0,lp=4,pb=4,nice=273"])?;
    pack(&server, &demo.join("server.xz"), &["--x86", "--lzma2=preset=9e"])?;
    say(&truth);
    let packed = ["demo.core.xz", "server.xz"].iter().map(|name| Ok(fs::metadata(demo.join(name))?.len()));
    let packed = packed.sum::<anyhow::Result<u64>>()?;
    ensure!(packed < 1_000_000, "the demo is {packed} bytes packed, and has to stay under 1 MB");
    say(&format!("packed: {packed} bytes"));
    Ok(())
}

fn build(demo: &Path, scratch: &Path, server: &Path, traffic: &Path) -> anyhow::Result<()> {
    let mut options: Vec<String> =
        ["-O1", "-g", "-fPIE", "-ffunction-sections", "-fdata-sections", "-Wall", "-Wno-unused-private-field"]
            .map(str::to_owned)
            .to_vec();
    options.push(format!("-ffile-prefix-map={}/=", demo.display()));
    options.push(format!("-ffile-prefix-map={}=/build", demo.display()));
    let unity = scratch.join("all.cpp");
    fs::write(&unity, CPP.iter().map(|name| format!("#include \"src/{name}.cpp\"\n")).collect::<String>())?;
    options.push(format!("-ffile-prefix-map={}/=", scratch.display()));
    let mut objects = Vec::new();
    for name in C {
        let object = scratch.join(format!("{name}.o"));
        let source = format!("src/{name}.c");
        checked(
            Command::new("clang")
                .current_dir(demo)
                .args(&options)
                .args(["-std=c17", "-D_GNU_SOURCE", "-c", &source, "-o"])
                .arg(&object),
        )?;
        objects.push(object);
    }
    let object = scratch.join("all.o");
    checked(
        Command::new("clang++")
            .current_dir(demo)
            .args(&options)
            .args(["-std=c++17", "-I.", "-c"])
            .arg(&unity)
            .arg("-o")
            .arg(&object),
    )?;
    objects.push(object);
    // Static: a reader of the dump needs no library of the machine that it was made on.
    checked(
        Command::new("c++")
            .args(["-static-pie", "-Wl,--gc-sections", "-Wl,--build-id", "-o"])
            .arg(server)
            .args(&objects),
    )?;
    let source = demo.join("traffic/traffic.cpp");
    checked(Command::new("c++").args(["-std=c++17", "-O2", "-o"]).arg(traffic).arg(source))
}

/// Runs the server in a root of its own, without environment, until it dies; hands over its core and what it wrote.
fn run(scratch: &Path, server: &Path, traffic: &Path) -> anyhow::Result<(std::path::PathBuf, String)> {
    let jail = scratch.join("root");
    let home = jail.join("srv/game");
    fs::create_dir_all(&home)?;
    fs::copy(server, home.join("server"))?;
    let mut journal = Command::new(traffic).stdout(Stdio::piped()).spawn().context("cannot run the traffic")?;
    let stdin = journal.stdout.take().context("the traffic has no stdout")?;
    let namespace: &[&str] = if is_root() { &[] } else { &["--user", "--map-root-user"] };
    let mut arguments =
        vec!["-c", "ulimit -c unlimited && echo 0x33 > /proc/self/coredump_filter && exec env -i unshare \"$@\"", "sh"];
    arguments.extend(namespace);
    let output = Command::new("sh")
        .args(arguments)
        .arg(format!("--root={}", jail.display()))
        .args(["--wd=/srv/game", "/srv/game/server"])
        .stdin(stdin)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run the server")?;
    journal.wait()?;
    let core = fs::read_dir(&home)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("core")));
    let Some(core) = core else { bail!("the server left no core: {output:?}") };
    Ok((core, String::from_utf8(output.stdout)?))
}

/// The kernel's own page of code names the folder that the kernel was built in. It tells about this machine, and
/// nothing about the server.
fn blank_vdso_paths(core: &mut [u8]) {
    const PAGE: usize = 4096;
    for page in (0..core.len()).step_by(PAGE) {
        let end = core.len().min(page + 2 * PAGE);
        let Some(vdso) = core.get_mut(page..end) else { continue };
        if !vdso.starts_with(b"\x7fELF") || !vdso.windows(13).any(|name| name == b"linux-vdso.so") {
            continue;
        }
        for string in vdso.split_mut(|byte| *byte == 0) {
            if string.len() > 6 && string.starts_with(b"/") && string.iter().all(u8::is_ascii_graphic) {
                string.fill(0);
            }
        }
    }
}

fn refuse_traces_of_this_machine(file: &Path) -> anyhow::Result<()> {
    let bytes = fs::read(file)?;
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let mut traces =
        vec![root().display().to_string(), std::env::temp_dir().display().to_string() + "/.tmp", "/home/".into()];
    traces.push(host.trim().to_owned());
    traces.extend(std::env::var("HOME"));
    traces.extend(["/nix/store".into(), "PATH=".into()]);
    for trace in traces.iter().filter(|trace| trace.len() > 4) {
        if bytes.windows(trace.len()).any(|window| window == trace.as_bytes()) {
            bail!("{} holds {trace:?}, which tells about this machine", file.display());
        }
    }
    Ok(())
}

/// What the tour needs to know, asked of gdb: where the class's vtable lies in the dump, and a member in the class.
fn addresses(server: &Path, core: &Path) -> anyhow::Result<String> {
    let output = Command::new("gdb")
        .args(["-q", "-batch", "-nx", "-iex", "set auto-load off"])
        .args(["-ex", "printf \"vtable-of-TcpClient 0x%lx\\n\", (unsigned long)&'vtable for game::TcpClient' + 16"])
        .args(["-ex", "printf \"offset-of-state %d\\n\", (int)(long)&((game::Connection*)0)->state_"])
        .arg(server)
        .arg(core)
        .stdin(Stdio::null())
        .output()
        .context("cannot run gdb")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: String = text
        .lines()
        .filter(|line| line.starts_with("vtable-of") || line.starts_with("offset-of"))
        .map(|line| format!("{line}\n"))
        .collect();
    ensure!(lines.lines().count() == 2, "gdb did not tell the addresses: {text}");
    Ok(lines)
}

fn pack(from: &Path, to: &Path, options: &[&str]) -> anyhow::Result<()> {
    let out = fs::File::create(to)?;
    checked(Command::new("xz").args(["--threads=1", "--stdout"]).args(options).arg(from).stdout(out))
}

fn checked(command: &mut Command) -> anyhow::Result<()> {
    let status =
        command.stdin(Stdio::null()).status().with_context(|| format!("cannot run {:?}", command.get_program()))?;
    ensure!(status.success(), "{:?} ended with {status}", command.get_program());
    Ok(())
}
