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

use crate::graph::{Graph, References, Roots, Tags};
use crate::heap::{Heap, HeapError, walk_heaps};
use crate::image::{Image, OpenOptions};
use crate::insight::filter::Tables;
use crate::objects::Objects;
use crate::symbols::Symbols;
use crate::task::{Diagnostic, Task};
use crate::types::{DebugInfo, Types, Vtables};

/// One dump under analysis. A stage runs when the first question needs it, on the threads and within the memory that the
/// task allows.
#[derive(Debug)]
pub struct Session<'i> {
    image: &'i Image,
    options: &'i OpenOptions,
    task: &'i Task,
    tags: Tags,
    symbols: OnceLock<Symbols<'i>>,
    heap: OnceLock<Result<Heap, HeapError>>,
    roots: OnceLock<Roots>,
    graph: OnceLock<Graph>,
    objects: OnceLock<Objects>,
}

impl<'i> Session<'i> {
    /// A session on an open image; runs nothing yet.
    pub fn new(image: &'i Image, options: &'i OpenOptions, task: &'i Task) -> Session<'i> {
        Session {
            image,
            options,
            task,
            tags: Tags::default(),
            symbols: OnceLock::new(),
            heap: OnceLock::new(),
            roots: OnceLock::new(),
            graph: OnceLock::new(),
            objects: OnceLock::new(),
        }
    }

    /// The same for a program that keeps something of its own in pointers.
    #[must_use]
    pub fn with_tags(self, tags: Tags) -> Session<'i> {
        Session { tags, ..self }
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

    /// What tells classes and tables of functions by their shape. Cheap to make: it remembers, so keep it for a row of
    /// questions.
    pub fn vtables(&self) -> Vtables<'_, 'i> {
        Vtables::new(self.image, self.symbols())
    }

    /// Each allocation of the process, and which allocators it has beside those that were walked.
    ///
    /// # Errors
    /// As [`walk_heaps`].
    pub fn heap(&self) -> Result<&Heap, HeapError> {
        let build = || {
            let mut heap = walk_heaps(self.image, self.task)?;
            heap.find_unwalked(self.image, self.symbols());
            Ok(heap)
        };
        self.heap.get_or_init(build).as_ref().map_err(Clone::clone)
    }

    /// The places from which the program can start.
    ///
    /// # Errors
    /// As [`Session::heap`].
    pub fn roots(&self) -> Result<&Roots, HeapError> {
        let heap = self.heap()?;
        Ok(self.roots.get_or_init(|| Roots::find(self.image, heap)))
    }

    /// What points where. Cheap to make; reads memory only when it is asked.
    ///
    /// # Errors
    /// As [`Session::heap`].
    pub fn references(&self) -> Result<References<'_>, HeapError> {
        Ok(References::new(self.image, self.heap()?, self.roots()?, self.tags))
    }

    /// Which allocations are reached, and which leaked with which.
    ///
    /// # Errors
    /// As [`Session::heap`].
    pub fn graph(&self) -> Result<&Graph, HeapError> {
        let references = self.references()?;
        Ok(self.graph.get_or_init(|| references.build_graph(self.task)))
    }

    /// What each allocation is: by itself, and by the types that debug information gives to pointers.
    ///
    /// # Errors
    /// As [`Session::heap`].
    pub fn objects(&self) -> Result<&Objects, HeapError> {
        let (heap, roots) = (self.heap()?, self.roots()?);
        let build = || {
            let mut objects = Objects::build(self.image, self.vtables(), &heap.table, roots, self.task);
            let mut types = Types::new(DebugInfo::of_image(self.image));
            objects.spread(self.image, &heap.table, &mut types, self.task);
            objects
        };
        Ok(self.objects.get_or_init(build))
    }

    /// What filters look at.
    ///
    /// # Errors
    /// As [`Session::heap`].
    pub fn tables(&self) -> Result<Tables<'_>, HeapError> {
        Ok(Tables { image: self.image, heap: self.heap()?, graph: self.graph()?, objects: self.objects()? })
    }

    /// What weakens the answers so far: of the image, then of each stage that has run, in their order, each once.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let mut diagnostics = self.image.diagnostics().to_vec();
        let symbols = self.symbols.get().map(Symbols::diagnostics).unwrap_or_default();
        let heap = self.heap.get().and_then(|heap| heap.as_ref().ok()).map(|heap| heap.diagnostics.clone());
        let roots = self.roots.get().map(|roots| roots.diagnostics().to_vec());
        let objects = self.objects.get().map(|objects| objects.diagnostics().to_vec()).unwrap_or_default();
        let stages = symbols.into_iter().chain(heap.unwrap_or_default()).chain(roots.unwrap_or_default());
        for diagnostic in stages.chain(objects) {
            if !diagnostics.contains(&diagnostic) {
                diagnostics.push(diagnostic);
            }
        }
        diagnostics
    }
}
