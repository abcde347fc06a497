//! The dump that a verb looks at, and where the files of its modules are: the same options for all verbs.

use std::path::PathBuf;

use topleaked::image::{Image, ImageError, OpenOptions, SearchPaths};
use topleaked::task::Task;

use crate::terminal;

/// `CORE`, `--exe`, `--sysroot`, `--symbols`; a verb flattens them into its own options.
#[derive(clap::Args, Clone, Debug)]
pub struct Dump {
    /// The core dump, compressed or not
    #[arg(value_name = "CORE")]
    pub core: PathBuf,
    /// The executable's file, where the recorded path leads nowhere
    #[arg(long, value_name = "FILE", help_heading = "Files of the process")]
    pub exe: Option<PathBuf>,
    /// A folder that holds the process's files as its root did: a container's, another machine's
    #[arg(long, value_name = "DIR", help_heading = "Files of the process")]
    pub sysroot: Option<PathBuf>,
    /// A folder with executables, libraries or debug files; may be given again
    #[arg(long, value_name = "DIR", help_heading = "Files of the process")]
    pub symbols: Vec<PathBuf>,
}

impl Dump {
    /// How the image is to be opened.
    pub fn options(&self) -> OpenOptions {
        let (exe, sysroot, symbol_dirs) = (self.exe.clone(), self.sysroot.clone(), self.symbols.clone());
        OpenOptions { search: SearchPaths { exe, sysroot, symbol_dirs } }
    }

    /// Opens it, with progress on stderr where unpacking takes long.
    ///
    /// # Errors
    /// Where it is no dump, or cannot be read.
    pub fn open(&self, options: &OpenOptions, task: &Task) -> anyhow::Result<Image> {
        let open = || Image::open(&self.core, options, task);
        terminal::with_progress(task, open).map_err(|error| match error {
            // These name the file and the cause themselves.
            ImageError::Input(_) | ImageError::Map { .. } | ImageError::Unpack { .. } => anyhow::anyhow!("{error}"),
            other => anyhow::anyhow!("{}: {other}", self.core.display()),
        })
    }
}
