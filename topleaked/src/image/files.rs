//! Finding the files of modules on this machine, and opening nothing else.
//!
//! A module's path is a string from a stranger's dump. So a file is opened only after it has turned out to be
//! a regular one, and its bytes are used only after its build id has turned out to be the module's.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, RawMode, ResolveFlags};

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

impl SearchPaths {
    /// Opens a regular file in one of the places that these paths lead to: below the sysroot, neither links nor `..` lead out of it.
    ///
    /// # Errors
    /// As [`open_regular`].
    pub fn open(&self, path: &Path) -> Result<File, Refusal> {
        let below = self.sysroot.as_ref().and_then(|root| Some((root, path.strip_prefix(root).ok()?)));
        match below {
            Some((root, inside)) => open_named(&name_inside(root, inside)?).map(|opened| opened.file),
            None => open_regular(path),
        }
    }
}

/// A file that was found for a module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundFile {
    /// Where.
    pub path: PathBuf,
    /// Its bytes, in the image's address space.
    pub backing: BackingId,
    /// What showed that it is the module's.
    pub evidence: Evidence,
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

/// What showed that a file is the module's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Evidence {
    /// The build id.
    BuildId,
    /// Neither the module nor the file has a build id; the first page, which the dump holds, is the same.
    FirstPage,
    /// The dump does not hold the build id; the dynamic section, with the sizes of all tables, is the same.
    DynamicSection,
    /// The dump holds neither; the initialised data is the same but for what the program changed.
    Data,
    /// The dump holds nothing to compare, and the user named the file.
    UserSays,
}

/// Opens a regular file for reading. Anything else is never opened, so that no FIFO blocks and no device acts.
///
/// # Errors
/// [`Refusal`]: `Unreadable(NotFound)` where nothing is there.
pub fn open_regular(path: &Path) -> Result<File, Refusal> {
    open_named(&name(path)?).map(|opened| opened.file)
}

/// A file that was opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: File,
    /// Device and number of the file: the same under every name.
    pub(super) identity: (u64, u64),
}

fn refusal(error: rustix::io::Errno) -> Refusal {
    Refusal::Unreadable(io::Error::from(error).kind())
}

/// A descriptor that only names the file: opening it so does nothing to what it names.
fn name(path: &Path) -> Result<OwnedFd, Refusal> {
    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(refusal)
}

/// The same for a path inside of `root`, which neither links nor `..` lead out of.
fn name_inside(root: &Path, path: &Path) -> Result<OwnedFd, Refusal> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(CWD, root, flags | OFlags::DIRECTORY, Mode::empty()).map_err(refusal)?;
    match rustix::fs::openat2(&folder, path, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
        // Kernels before 5.6, and some sandboxes.
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => name(&root.join(path)),
        named => named.map_err(refusal),
    }
}

/// Opens what an `O_PATH` descriptor names, if it is a regular file of a bounded size.
fn open_named(named: &OwnedFd) -> Result<Opened, Refusal> {
    let stat = rustix::fs::fstat(named).map_err(refusal)?;
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
    let file = rustix::fs::openat(CWD, &link, flags, Mode::empty()).map(File::from).map_err(refusal)?;
    Ok(Opened { file, identity: (stat.st_dev, stat.st_ino) })
}

/// A place where a module's file may lie.
#[derive(Debug)]
pub(super) struct Place {
    /// The whole path, for people.
    pub(super) path: PathBuf,
    /// The folder that must not be left, and the path in it.
    inside: Option<(PathBuf, PathBuf)>,
    /// The user named this file for this module.
    pub(super) named: bool,
}

impl Place {
    fn new(path: PathBuf) -> Place {
        Place { path, inside: None, named: false }
    }

    /// Opens the file there.
    ///
    /// # Errors
    /// As [`open_regular`].
    pub(super) fn open(&self) -> Result<Opened, Refusal> {
        let named = match &self.inside {
            Some((root, path)) => name_inside(root, path)?,
            None => name(&self.path)?,
        };
        open_named(&named)
    }
}

/// The places where a module's file may lie, most likely first: the file that the user named, the recorded path under
/// the sysroot, the file's name in the folders that the user named, the recorded path, and folders by build id.
pub(super) fn candidates(
    search: &SearchPaths,
    path: &[u8],
    build_id: Option<&BuildId>,
    is_executable: bool,
) -> Vec<Place> {
    let mut places = Vec::new();
    if is_executable {
        places.extend(search.exe.clone().map(|path| Place { named: true, ..Place::new(path) }));
    }
    let recorded = Path::new(OsStr::from_bytes(path.strip_suffix(b" (deleted)").unwrap_or(path)));
    let climbs = recorded.components().any(|part| part == Component::ParentDir);
    // A path with a zero is no path, and one that is not absolute meant another folder than ours.
    if !path.contains(&0) && !climbs {
        if let (Some(root), Ok(relative)) = (&search.sysroot, recorded.strip_prefix("/")) {
            let inside = Some((root.clone(), relative.to_path_buf()));
            places.push(Place { path: root.join(relative), inside, named: false });
        }
        let name = recorded.file_name();
        places.extend(search.symbol_dirs.iter().filter_map(|folder| Some(Place::new(folder.join(name?)))));
        if recorded.is_absolute() {
            places.push(Place::new(recorded.to_path_buf()));
        }
    }
    if let Some(hex) = build_id.map(BuildId::to_string)
        && let Some((head, tail)) = hex.split_at_checked(2)
    {
        let inside = Path::new(".build-id").join(head).join(tail);
        places.extend(search.symbol_dirs.iter().map(|folder| Place::new(folder.join(&inside))));
        places.push(Place::new(Path::new("/usr/lib").join(&inside)));
    }
    places
}
