//! Finding the files of modules on this machine, and opening nothing else.
//!
//! A module's path is a string from a stranger's dump. So a file is opened only after it has turned out to be
//! a regular one, and its bytes are used only after its build id has turned out to be the module's.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, RawMode};

use super::backing::BackingId;
use super::module::BuildId;

/// Files larger than this are not taken for a module's: 16 GiB.
pub const MAX_FILE_BYTES: u64 = 16 << 30;

/// Where files are looked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SearchPaths {
    /// The executable's file, where the user named it.
    pub exe: Option<PathBuf>,
    /// A folder that stands for the root of the process's file system.
    pub sysroot: Option<PathBuf>,
    /// Folders with files of modules or of their debug information.
    pub symbol_dirs: Vec<PathBuf>,
}

/// A file that was found for a module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundFile {
    /// Where.
    pub path: PathBuf,
    /// Its bytes, in the image's address space.
    pub backing: BackingId,
}

/// Why a file that was there was not used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// It is another build: this one, or one without a build id.
    OtherBuild(Option<BuildId>),
    /// The dump does not tell the module's build id, so that nothing shows the file to be the module's.
    ModuleBuildIdUnknown,
    /// It is no regular file.
    NotRegular,
    /// It is larger than [`MAX_FILE_BYTES`], in bytes.
    TooLarge(u64),
    /// It is no ELF file of the dump's kind.
    NotElf,
    /// It cannot be opened or mapped.
    Unreadable(io::ErrorKind),
}

/// What the search for a module's file came to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FileSearch {
    /// The file whose build id is the module's.
    pub found: Option<FoundFile>,
    /// Files that were there and were not used, with the reason.
    pub refused: Vec<(PathBuf, Refusal)>,
}

/// Opens a regular file for reading. Anything else is never opened, so that no FIFO blocks and no device acts.
///
/// # Errors
/// [`Refusal`], and `Unreadable(NotFound)` where nothing is there.
pub fn open_regular(path: &Path) -> Result<File, Refusal> {
    // A descriptor that only names the file: opening it so does nothing to what it names.
    let refuse = |error: rustix::io::Errno| Refusal::Unreadable(io::Error::from(error).kind());
    let named = rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(refuse)?;
    open_named(named)
}

/// Opens what an `O_PATH` descriptor names, if it is a regular file of a bounded size.
fn open_named(named: rustix::fd::OwnedFd) -> Result<File, Refusal> {
    let refuse = |error: rustix::io::Errno| Refusal::Unreadable(io::Error::from(error).kind());
    let stat = rustix::fs::fstat(&named).map_err(refuse)?;
    if FileType::from_raw_mode(stat.st_mode as RawMode) != FileType::RegularFile {
        return Err(Refusal::NotRegular);
    }
    let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
    if size > MAX_FILE_BYTES {
        return Err(Refusal::TooLarge(size));
    }
    // The same file and no other: the path may have come to name something else by now.
    let link = PathBuf::from(format!("/proc/self/fd/{}", named.as_raw_fd()));
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    rustix::fs::openat(CWD, &link, flags, Mode::empty()).map(File::from).map_err(refuse)
}

/// The places where a module's file may lie, most likely first.
pub(super) fn candidates(
    search: &SearchPaths,
    path: &[u8],
    build_id: Option<&BuildId>,
    is_executable: bool,
) -> Vec<PathBuf> {
    let mut places = Vec::new();
    if is_executable {
        places.extend(search.exe.clone());
    }
    // A path that climbs leads out of the sysroot.
    let recorded = Path::new(OsStr::from_bytes(path.strip_suffix(b" (deleted)").unwrap_or(path)));
    let climbs = recorded.components().any(|part| part == std::path::Component::ParentDir);
    if recorded.is_absolute() && !climbs {
        if let (Some(sysroot), Ok(relative)) = (&search.sysroot, recorded.strip_prefix("/")) {
            places.push(sysroot.join(relative));
        }
        for folder in &search.symbol_dirs {
            places.extend(recorded.file_name().map(|name| folder.join(name)));
        }
        places.push(recorded.to_path_buf());
    }
    if let Some(build_id) = build_id {
        let hex = build_id.to_string();
        if let Some((head, tail)) = hex.split_at_checked(2) {
            let inside = PathBuf::from(head).join(tail);
            places.extend(search.symbol_dirs.iter().map(|folder| folder.join(".build-id").join(&inside)));
            places.push(Path::new("/usr/lib/.build-id").join(&inside));
        }
    }
    places
}
