//! Allocators that are recognised and not walked: named, so that nobody takes an answer about the rest for one about them.
//!
//! They are told by the names of modules and symbols, which prove less than a walker's structures do: that the code is
//! in the process, not that the program allocates with it.

use crate::addr::Span;
use crate::image::{Image, MemoryKind, Region};
use crate::symbols::Symbols;
use crate::task::Diagnostic;

use super::Heap;

/// Symbols are read only where so much private memory belongs to no allocator that was walked.
const UNEXPLAINED_BYTES: u64 = 1 << 20;

/// What an allocator's blocks are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnwalkedKind {
    /// What the program got from `malloc`, or from the allocator's own functions.
    Blocks,
    /// Objects of a language, which a collector or a counter of references gives back.
    Objects,
}

/// An allocator whose blocks nobody here can tell apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnwalkedAllocator {
    /// Its name: `tcmalloc`.
    pub name: &'static str,
    /// What its blocks are.
    pub kind: UnwalkedKind,
    /// How it was seen, for people: `module libtcmalloc.so.4`, `symbol mi_malloc in server`. Names come from the dump.
    pub evidence: Vec<String>,
}

/// How one is recognised.
struct Known {
    name: &'static str,
    kind: UnwalkedKind,
    /// What the file names of its libraries begin with.
    files: &'static [&'static str],
    /// Functions that nobody else has.
    symbols: &'static [&'static str],
}

const fn blocks(name: &'static str, files: &'static [&'static str], symbols: &'static [&'static str]) -> Known {
    Known { name, kind: UnwalkedKind::Blocks, files, symbols }
}

const fn objects(name: &'static str, files: &'static [&'static str], symbols: &'static [&'static str]) -> Known {
    Known { name, kind: UnwalkedKind::Objects, files, symbols }
}

/// A name that a walker has, too, counts only where that walker found nothing.
static KNOWN: [Known; 15] = [
    blocks("tcmalloc", &["libtcmalloc"], &["tc_malloc", "TCMallocInternalMalloc"]),
    blocks("mimalloc", &["libmimalloc"], &["mi_malloc", "_mi_malloc_generic"]),
    blocks("jemalloc", &["libjemalloc"], &["je_malloc", "_rjem_malloc", "mallocx"]),
    blocks("Intel TBB's allocator", &["libtbbmalloc"], &["scalable_malloc"]),
    blocks("Hoard", &["libhoard"], &["xxmalloc"]),
    blocks("snmalloc", &["libsnmalloc"], &["sn_malloc", "sn_rust_alloc"]),
    blocks("rpmalloc", &["librpmalloc"], &["rpmalloc"]),
    blocks("Scudo", &["libscudo"], &["__scudo_get_stack_depot_addr"]),
    blocks("AddressSanitizer's allocator", &["libasan", "libclang_rt.asan"], &["__asan_init"]),
    objects("V8", &["libv8", "libnode"], &["_ZN2v87Isolate3NewERKNS0_12CreateParamsE"]),
    objects("Go", &[], &["runtime.mallocgc"]),
    objects("Java", &["libjvm"], &["JNI_CreateJavaVM"]),
    objects(".NET", &["libcoreclr"], &["coreclr_execute_assembly"]),
    objects("CPython", &["libpython3"], &["PyObject_Malloc"]),
    objects("PHP", &["libphp"], &["zend_mm_alloc", "_emalloc"]),
];

impl Known {
    /// How it shows in the process; symbols are looked for only where there are some.
    fn evidence(&self, image: &Image, symbols: Option<&Symbols<'_>>) -> Vec<String> {
        let mut evidence = Vec::new();
        for module in image.modules() {
            let name = module.name();
            if self.files.iter().any(|file| name.starts_with(file.as_bytes())) {
                evidence.push(format!("module {}", String::from_utf8_lossy(name)));
            }
        }
        if !evidence.is_empty() {
            return evidence;
        }
        for symbol in self.symbols {
            let hits = symbols.map(|symbols| symbols.find_by_name(None, symbol.as_bytes())).unwrap_or_default();
            if let Some((hit, module)) = hits.first().and_then(|hit| Some((hit, image.module(hit.module)?))) {
                evidence.push(format!("symbol {} in {}", hit.demangled(), String::from_utf8_lossy(module.name())));
            }
        }
        evidence
    }
}

impl Heap {
    /// Looks for allocators that the process has beside those that were walked, and says so in
    /// [`Heap::diagnostics`]. Reads symbols where much memory is unexplained.
    pub fn find_unwalked(&mut self, image: &Image, symbols: &Symbols<'_>) {
        let symbols = (self.unclaimed_bytes(image) >= UNEXPLAINED_BYTES).then_some(symbols);
        let known = KNOWN.iter().filter(|known| self.allocators.iter().all(|walked| walked.name != known.name));
        let found = known.filter_map(|known| {
            let evidence = known.evidence(image, symbols);
            let is_seen = !evidence.is_empty() && (known.kind == UnwalkedKind::Blocks || symbols.is_some());
            is_seen.then_some(UnwalkedAllocator { name: known.name, kind: known.kind, evidence })
        });
        self.unwalked = found.collect();
        self.diagnostics.extend(self.unwalked.iter().map(|unwalked| Diagnostic {
            code: "allocator-not-walked",
            at: unwalked.name.to_owned(),
            effect: match unwalked.kind {
                UnwalkedKind::Blocks => format!(
                    "seen by {}: its blocks are not walked, so none of them is counted, and none can be called leaked or live",
                    unwalked.evidence.join(", ")
                ),
                UnwalkedKind::Objects => format!(
                    "seen by {}: its objects are not walked: none of them is counted, and what they point at is taken for live",
                    unwalked.evidence.join(", ")
                ),
            },
        }));
    }

    /// Private writable memory outside of modules, stacks and what was walked, in bytes.
    pub fn unclaimed_bytes(&self, image: &Image) -> u64 {
        let private = |region: &&Region| matches!(region.kind, MemoryKind::Anonymous | MemoryKind::MainHeap);
        let spans = image.regions().iter().filter(private).map(|region| region.span);
        let writable = spans.filter(|span| image.space().segments_in(*span).any(|segment| segment.permissions.write));
        writable.map(|span| self.unclaimed_of(span)).sum()
    }

    fn unclaimed_of(&self, span: Span) -> u64 {
        let first = self.claimed.partition_point(|claimed| claimed.end() <= span.start());
        let claimed = self.claimed.iter().skip(first).take_while(|claimed| claimed.start() < span.end());
        let inside: u64 = claimed.filter_map(|claimed| claimed.intersection(span)).map(Span::size_bytes).sum();
        span.size_bytes().saturating_sub(inside)
    }

    /// Fails where no allocator was walked, for answers that would be nothing but zeros then.
    ///
    /// # Errors
    /// [`HeapError::NotWalked`](super::HeapError::NotWalked), which names the allocators that were seen.
    pub fn require_walked(&self) -> Result<(), super::HeapError> {
        if !self.allocators.is_empty() {
            return Ok(());
        }
        let blocks = self.unwalked.iter().filter(|unwalked| unwalked.kind == UnwalkedKind::Blocks);
        let named = blocks.map(|unwalked| format!("{} ({})", unwalked.name, unwalked.evidence.join(", ")));
        Err(super::HeapError::NotWalked { seen: named.collect() })
    }
}
