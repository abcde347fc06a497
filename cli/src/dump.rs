//! The dump that a verb looks at, and where the files of its modules are: the same options for all verbs.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use topleaked::image::{Image, ImageError, Input, OpenOptions, SearchPaths};
use topleaked::task::Task;

use crate::terminal;

/// `CORE`, `--exe`, `--sysroot`, `--symbols`; a verb flattens them into its own options.
#[derive(clap::Args, Clone, Debug)]
pub struct Dump {
    /// The core dump, compressed or not; `-` reads standard input
    #[arg(value_name = "CORE")]
    pub core: PathBuf,
    /// Where the files of its modules are.
    #[command(flatten)]
    pub files: Files,
}

/// `--exe`, `--sysroot`, `--symbols`.
#[derive(clap::Args, Clone, Debug)]
pub struct Files {
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
        let Files { exe, sysroot, symbols: symbol_dirs } = self.files.clone();
        OpenOptions { search: SearchPaths { exe, sysroot, symbol_dirs } }
    }

    /// What the user names has to be there: an answer without it would look like one with it.
    fn check_search(&self) -> anyhow::Result<()> {
        let named = self.files.exe.iter().map(|path| ("--exe", path));
        let named = named.chain(self.files.sysroot.iter().map(|path| ("--sysroot", path)));
        for (option, path) in named.chain(self.files.symbols.iter().map(|path| ("--symbols", path))) {
            let metadata = path.metadata().with_context(|| format!("{option} {}", path.display()))?;
            if option != "--exe" && !metadata.is_dir() {
                bail!("{option} {}: not a folder", path.display());
            }
        }
        Ok(())
    }

    /// Opens it, with progress on stderr where unpacking takes long.
    ///
    /// # Errors
    /// Where it is no dump, or cannot be read.
    pub fn open(&self, options: &OpenOptions, task: &Task) -> anyhow::Result<Image> {
        self.check_search()?;
        let open = || match self.core.as_os_str() == "-" {
            true => Image::from_input(Input::open_stdin(task)?, Path::new("standard input"), options, task),
            false => Image::open(&self.core, options, task),
        };
        terminal::with_progress(task, open).map_err(|error| match error {
            // These name the file and the cause themselves.
            ImageError::Input(_) | ImageError::Map { .. } | ImageError::Unpack { .. } => anyhow::anyhow!("{error}"),
            other => anyhow::anyhow!("{}: {other}", self.core.display()),
        })
    }
}
