//! One dump under analysis: which stages a question needs, each run once.
//!
//! Knows the order of the stages, keeps what they found, and gathers what weakens it. Refuses to know
//! how an answer is shown.
//!
//! ```no_run
//! use std::path::Path;
//! use topleaked::image::{Image, OpenOptions};
//! use topleaked::session::Session;
//! use topleaked::task::Task;
//!
//! let (options, task) = (OpenOptions::default(), Task::default());
//! let image = Image::open(Path::new("core"), &options, &task)?;
//! let session = Session::new(&image, &options, &task);
//! for thread in image.threads() {
//!     let function = thread.pc.and_then(|pc| session.symbols().find(pc)).map(|hit| hit.demangled());
//!     println!("{} in {function:?}", thread.tid);
//! }
//! # Ok::<(), topleaked::image::ImageError>(())
//! ```

use std::sync::OnceLock;

use crate::image::{Image, OpenOptions};
use crate::symbols::Symbols;
use crate::task::{Diagnostic, Task};

/// One dump under analysis. A stage runs when the first question needs it, on the threads and within the memory that the
/// task allows.
#[derive(Debug)]
pub struct Session<'i> {
    image: &'i Image,
    options: &'i OpenOptions,
    task: &'i Task,
    symbols: OnceLock<Symbols<'i>>,
}

impl<'i> Session<'i> {
    /// A session on an open image; runs nothing yet.
    pub fn new(image: &'i Image, options: &'i OpenOptions, task: &'i Task) -> Session<'i> {
        Session { image, options, task, symbols: OnceLock::new() }
    }

    /// The image.
    pub fn image(&self) -> &'i Image {
        self.image
    }

    /// The means that stages may use.
    pub fn task(&self) -> &'i Task {
        self.task
    }

    /// Names for addresses. They are read for a module when the first question touches it.
    pub fn symbols(&self) -> &Symbols<'i> {
        self.symbols.get_or_init(|| Symbols::new(self.image, self.options.search.clone()))
    }

    /// What weakens the answers so far: of the image, then of each stage that has run, in their order, each once.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let mut diagnostics = self.image.diagnostics().to_vec();
        for diagnostic in self.symbols.get().map(Symbols::diagnostics).unwrap_or_default() {
            if !diagnostics.contains(&diagnostic) {
                diagnostics.push(diagnostic);
            }
        }
        diagnostics
    }
}
