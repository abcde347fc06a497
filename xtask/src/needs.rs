//! What the tests need besides Rust: one table, probed, and installed where that is possible.
//!
//! The tests compile small programs, crash them and look at the dumps, with gdb as a second opinion. Nothing here is
//! needed for building or using `topleaked` itself.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::run::{complain, is_root, on_path, say};

/// How to find out whether something is here.
enum Probe {
    /// A program on the path.
    Program(&'static str),
    /// A small program that has to compile and link: `{v}` in the compiler's name is the version of the
    /// distribution's GCC.
    Compiles { compiler: &'static str, options: &'static [&'static str], source: &'static str },
}

/// One thing the tests need.
struct Need {
    what: &'static str,
    why: &'static str,
    probe: Probe,
    /// Packages of Debian and Ubuntu. `{v}` is the version of the distribution's GCC: the packages without it
    /// exclude each other (`g++-multilib` against any cross compiler), those with it do not.
    packages: &'static [&'static str],
}

const CPLUSPLUS: &str =
    "#include <map>\n#include <string>\nint main() { std::map<int, std::string> m; return (int)m.size(); }\n";
const C: &str = "#include <stdlib.h>\nint main(void) { return malloc(1) == 0; }\n";

const NEEDS: &[Need] = &[
    Need {
        what: "C compiler",
        why: "compiles the programs that the tests crash",
        probe: Probe::Compiles { compiler: "cc", options: &["-x", "c"], source: C },
        packages: &["gcc", "libc6-dev"],
    },
    Need {
        what: "C++ compiler",
        why: "compiles the programs that the tests crash",
        probe: Probe::Compiles { compiler: "c++", options: &["-x", "c++"], source: CPLUSPLUS },
        packages: &["g++"],
    },
    Need {
        what: "gdb",
        why: "reads what `-ogdb` prints, writes dumps with gcore, and checks our names",
        probe: Probe::Program("gdb"),
        packages: &["gdb"],
    },
    Need {
        what: "xz",
        why: "compresses dumps as people leave them",
        probe: Probe::Program("xz"),
        packages: &["xz-utils"],
    },
    Need {
        what: "zstd",
        why: "compresses dumps as systemd-coredump leaves them",
        probe: Probe::Program("zstd"),
        packages: &["zstd"],
    },
    Need {
        what: "lz4",
        why: "compresses dumps as older systemd-coredump leaves them",
        probe: Probe::Program("lz4"),
        packages: &["lz4"],
    },
    Need {
        what: "bzip2",
        why: "compresses dumps as people leave them",
        probe: Probe::Program("bzip2"),
        packages: &["bzip2"],
    },
    Need {
        what: "32-bit C++",
        why: "programs with 4-byte pointers",
        probe: Probe::Compiles {
            compiler: "c++",
            options: &["-m32", "-idirafter", "/usr/include/x86_64-linux-gnu", "-x", "c++"],
            source: CPLUSPLUS,
        },
        packages: &["g++-{v}-multilib"],
    },
    Need {
        what: "clang with libc++",
        why: "classes and containers of the other C++ runtime",
        probe: Probe::Compiles { compiler: "clang++", options: &["-stdlib=libc++", "-x", "c++"], source: CPLUSPLUS },
        packages: &["clang", "libc++-dev", "libc++abi-dev"],
    },
    Need {
        what: "musl compiler",
        why: "programs with musl's allocator",
        probe: Probe::Compiles { compiler: "musl-gcc", options: &["-x", "c"], source: C },
        packages: &["musl-tools"],
    },
    Need {
        what: "jemalloc",
        why: "programs with jemalloc's allocator, linked and static",
        probe: Probe::Compiles { compiler: "cc", options: &["-Wl,--no-as-needed", "-ljemalloc", "-x", "c"], source: C },
        packages: &["libjemalloc-dev"],
    },
    Need {
        what: "emulator of other machines",
        why: "runs programs for ARM and IBM Z, and dumps them",
        probe: Probe::Program("qemu-s390x"),
        packages: &["qemu-user"],
    },
    Need {
        what: "64-bit ARM compiler",
        why: "programs of another machine",
        probe: Probe::Compiles { compiler: "aarch64-linux-gnu-g++-{v}", options: &["-x", "c++"], source: CPLUSPLUS },
        packages: &["g++-{v}-aarch64-linux-gnu"],
    },
    Need {
        what: "IBM Z compiler",
        why: "programs whose words have the most significant byte first",
        probe: Probe::Compiles { compiler: "s390x-linux-gnu-g++-{v}", options: &["-x", "c++"], source: CPLUSPLUS },
        packages: &["g++-{v}-s390x-linux-gnu"],
    },
    Need {
        what: "32-bit ARM compiler",
        why: "programs of another machine with 4-byte pointers",
        probe: Probe::Compiles { compiler: "arm-linux-gnueabihf-g++-{v}", options: &["-x", "c++"], source: CPLUSPLUS },
        packages: &["g++-{v}-arm-linux-gnueabihf"],
    },
    Need {
        what: "setpriv",
        why: "runs the program as a user who may not read a file",
        probe: Probe::Program("setpriv"),
        packages: &["util-linux"],
    },
    Need {
        what: "pahole",
        why: "a second opinion on layouts of types",
        probe: Probe::Program("pahole"),
        packages: &["dwarves"],
    },
    Need {
        what: "dwz",
        why: "debug information that several files share",
        probe: Probe::Program("dwz"),
        packages: &["dwz"],
    },
    Need {
        what: "dwp",
        why: "packages of split debug information",
        probe: Probe::Program("dwp"),
        packages: &["binutils"],
    },
    Need {
        what: "llvm-dwp",
        why: "packages of split debug information, DWARF 5",
        probe: Probe::Program("llvm-dwp"),
        packages: &["llvm"],
    },
];

/// Installs what is missing, or says in one line what to install.
///
/// # Errors
/// Where something is missing and cannot be installed.
pub(crate) fn ensure() -> anyhow::Result<()> {
    let missing = missing()?;
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|need| need.what).collect();
    let apt = on_path("apt-get");
    if !(apt && is_root()) {
        bail!(
            "missing {}; install the packages (names of Debian and Ubuntu): {}",
            names.join(", "),
            packages(&missing).join(" ")
        );
    }
    say(&format!("== installing what the tests need: {}", names.join(", ")));
    apt_get(&["update", "-qq"])?;
    let packages = packages(&missing);
    let mut arguments = vec!["install", "-qq", "-y", "--no-install-recommends"];
    arguments.extend(packages.iter().map(String::as_str));
    apt_get(&arguments)?;
    let still: Vec<&str> = self::missing()?.iter().map(|need| need.what).collect();
    if still.is_empty() {
        Ok(())
    } else {
        bail!("still missing after installing {}: {}", packages.join(" "), still.join(", "))
    }
}

/// Lists the table with what was found.
///
/// # Errors
/// Where no program can be compiled for want of a folder to write to.
pub(crate) fn show(_arguments: &[String]) -> anyhow::Result<()> {
    let folder = scratch()?;
    for need in NEEDS {
        let state = if need.is_here(folder.path()) { "here" } else { "MISSING" };
        say(&format!("{state:<8} {:<18} {} ({})", need.what, need.why, packages(&[need]).join(" ")));
    }
    Ok(())
}

fn missing() -> anyhow::Result<Vec<&'static Need>> {
    let folder = scratch()?;
    Ok(NEEDS.iter().filter(|need| !need.is_here(folder.path())).collect())
}

impl Need {
    fn is_here(&self, folder: &Path) -> bool {
        match self.probe {
            Probe::Program(name) => on_path(name),
            Probe::Compiles { compiler, options, source } => compiles(&versioned(compiler), options, source, folder),
        }
    }
}

fn compiles(compiler: &str, options: &[&str], source: &str, folder: &Path) -> bool {
    let source_path = folder.join("probe.txt");
    std::fs::write(&source_path, source).is_ok()
        && Command::new(compiler)
            .args(options)
            .arg(&source_path)
            .arg("-o")
            .arg(folder.join("probe"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
}

fn scratch() -> anyhow::Result<tempfile::TempDir> {
    tempfile::tempdir().context("no temporary folder")
}

fn packages(needs: &[&Need]) -> Vec<String> {
    let mut names: Vec<String> = needs.iter().flat_map(|need| need.packages).map(|name| versioned(name)).collect();
    names.sort();
    names.dedup();
    names
}

fn versioned(name: &str) -> String {
    if !name.contains("{v}") {
        return name.to_owned();
    }
    match gcc_version() {
        Some(version) => name.replace("{v}", &version),
        None => name.replace("-{v}", ""),
    }
}

/// The major version of the distribution's GCC: of the compiler that is here, else of the one that apt would install.
fn gcc_version() -> Option<String> {
    let output = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
        String::from_utf8(output.stdout).ok()
    };
    let number =
        |text: &str| text.split('.').next().map(str::trim).filter(|n| n.parse::<u32>().is_ok()).map(str::to_owned);
    output("g++", &["-dumpversion"]).as_deref().and_then(number).or_else(|| {
        let depends = output("apt-cache", &["depends", "g++"])?;
        depends.lines().find_map(|line| number(line.trim().strip_prefix("Depends: g++-")?))
    })
}

fn apt_get(arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        // What a package starts on a fresh machine (a database, a web server) is not wanted here.
        .env("RUNLEVEL", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .context("cannot run apt-get")?;
    if !status.success() {
        complain(&format!("apt-get {} ended with {status}", arguments.join(" ")));
        bail!("apt-get could not install what the tests need");
    }
    Ok(())
}
