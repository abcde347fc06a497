//! Vtables of Rust trait objects.
//!
//! A vtable is: the drop glue's address (0 where nothing is to be dropped), the size and the alignment of the concrete
//! type, then the methods (rustc 1.95, `compiler/rustc_middle/src/ty/vtable.rs`, `COMMON_VTABLE_ENTRIES`; the layout has
//! been so since 1.0, the 0 since 1.79). The shape alone would fit a C structure of a function and two small numbers:
//! so it counts only in modules that were written in Rust, which the paths of the standard library in their panic
//! messages show even when stripped.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use memchr::memmem;

use crate::addr::Addr;
use crate::image::{Image, MemoryKind, ModuleId};
use crate::symbols::Symbols;
use crate::task::Diagnostic;

use super::functions::is_function;
use super::rust_names::{VtableNames, read_vtable_names};
use super::vtable::Evidence;

/// Larger types are not believed in, in bytes.
const LARGEST_TYPE: u64 = 1 << 31;
/// Larger alignments are not believed in, in bytes.
const LARGEST_ALIGNMENT: u64 = 1 << 16;
/// So many methods are looked at.
const MOST_METHODS: i64 = 64;
/// So much of a module is searched for marks of Rust, in bytes.
const MOST_SEARCHED: usize = 1 << 30;
/// What the standard library leaves in every program: the path of its source at the place of a panic.
const MARK: &[u8] = b"/rustc/";

/// What a trait object's vtable tells.
pub(super) struct TraitObject {
    pub(super) size: u64,
    pub(super) align: u64,
    pub(super) class: Option<String>,
    pub(super) trait_name: Option<String>,
    pub(super) evidence: Evidence,
}

/// Recognises trait objects' vtables, and remembers which modules have any.
#[derive(Debug)]
pub(super) struct RustVtables<'a, 'i> {
    image: &'i Image,
    symbols: &'a Symbols<'i>,
    written_in_rust: Mutex<HashMap<ModuleId, bool>>,
    names: Mutex<BTreeMap<ModuleId, VtableNames>>,
}

impl<'a, 'i> RustVtables<'a, 'i> {
    pub(super) fn new(symbols: &'a Symbols<'i>) -> RustVtables<'a, 'i> {
        RustVtables { image: symbols.image(), symbols, written_in_rust: Mutex::default(), names: Mutex::default() }
    }

    fn word_at(&self, addr: Addr, words: i64) -> Option<u64> {
        let width = self.image.target().width.bytes() as i64;
        self.image.space().word(addr.checked_offset(words.checked_mul(width)?)?)
    }

    /// The trait object's vtable at `addr` in `module`; `None` where there is none.
    pub(super) fn read(&self, addr: Addr, module: ModuleId) -> Option<TraitObject> {
        let kind = self.image.region(addr)?.kind;
        if !matches!(kind, MemoryKind::Relro | MemoryKind::Rodata | MemoryKind::Data) {
            return None;
        }
        let drop = self.word_at(addr, 0)?;
        let (size, align) = self.layout_at(addr, 1)?;
        if drop != 0 && !is_function(self.image, Addr(drop)) {
            return None;
        }
        if !self.is_rust(module) {
            return None;
        }
        if let Some((class, trait_name)) = self.name_in_debug_info(addr, module) {
            return Some(TraitObject { size, align, class: Some(class), trait_name, evidence: Evidence::DebugInfo });
        }
        let methods = self.methods(addr);
        let (class, trait_name) = self.names_by_symbols(drop, &methods);
        // A trait without methods leaves too little to see: the end of one vtable and the start of the next look so.
        if methods.is_empty() && class.is_none() {
            return None;
        }
        let named = class.is_some() || trait_name.is_some();
        let evidence = if named { Evidence::ShapeAndSymbols } else { Evidence::Shape };
        Some(TraitObject { size, align, class, trait_name, evidence })
    }

    /// A size and an alignment at `words` from `addr`.
    fn layout_at(&self, addr: Addr, words: i64) -> Option<(u64, u64)> {
        let (size, align) = (self.word_at(addr, words)?, self.word_at(addr, words + 1)?);
        let plausible =
            size <= LARGEST_TYPE && align.is_power_of_two() && align <= LARGEST_ALIGNMENT && size % align == 0;
        plausible.then_some((size, align))
    }

    fn methods(&self, addr: Addr) -> Vec<Addr> {
        let mut methods = Vec::new();
        for place in 3..3 + MOST_METHODS {
            let Some(word) = self.word_at(addr, place) else { break };
            if !is_function(self.image, Addr(word)) || self.begins_next_vtable(addr, place) {
                break;
            }
            methods.push(Addr(word));
        }
        methods
    }

    /// Whether the function at `words` is the drop glue of the next vtable: a layout follows it. So it does for the last
    /// method where the next vtable has no drop glue, but then the layout stands one word further on.
    fn begins_next_vtable(&self, addr: Addr, words: i64) -> bool {
        let without_glue = self.word_at(addr, words + 1) == Some(0) && self.layout_at(addr, words + 2).is_some();
        self.layout_at(addr, words + 1).is_some() && !without_glue
    }

    fn is_rust(&self, module: ModuleId) -> bool {
        if let Ok(known) = self.written_in_rust.lock()
            && let Some(known) = known.get(&module)
        {
            return *known;
        }
        let is_rust = self.search_for_marks(module);
        if let Ok(mut known) = self.written_in_rust.lock() {
            known.insert(module, is_rust);
        }
        is_rust
    }

    fn search_for_marks(&self, module: ModuleId) -> bool {
        let space = self.image.space();
        let regions = self.image.regions().iter().filter(|region| region.module == Some(module));
        let constants =
            regions.filter(|region| matches!(region.kind, MemoryKind::Rodata | MemoryKind::Text | MemoryKind::Relro));
        let finder = memmem::Finder::new(MARK);
        let mut left = MOST_SEARCHED;
        for region in constants {
            let mut at = region.span.start();
            while region.span.contains(at) && left > 0 {
                let rest = usize::try_from(region.span.end().0 - at.0).unwrap_or(usize::MAX).min(left);
                let bytes = space.bytes_from(at);
                let bytes = bytes.get(..bytes.len().min(rest)).unwrap_or_default();
                if finder.find(bytes).is_some() {
                    return true;
                }
                let Some(next) = at.checked_add(bytes.len() as u64).filter(|next| *next > at) else { break };
                at = next;
                left -= bytes.len();
            }
        }
        !self.symbols.find_by_name(Some(module), b"rust_eh_personality").is_empty()
    }

    fn name_in_debug_info(&self, addr: Addr, module: ModuleId) -> Option<(String, Option<String>)> {
        let link_time = self.image.module(module)?.link_time(addr);
        let mut names = self.names.lock().ok()?;
        let names = names.entry(module).or_insert_with(|| read_vtable_names(self.symbols, module));
        let name = names.by_address.get(&link_time)?.strip_suffix("::{vtable}")?;
        split_implementation(name).map(|(class, of, _)| (class.to_owned(), (of != "_").then(|| of.to_owned())))
    }

    /// The concrete type and the trait, from the names of the drop glue and the methods.
    fn names_by_symbols(&self, drop: u64, methods: &[Addr]) -> (Option<String>, Option<String>) {
        let name = |addr: Addr| self.symbols.find(addr).filter(|hit| hit.offset == 0).map(|hit| hit.demangled());
        let mut class = (drop != 0).then(|| name(Addr(drop))).flatten().and_then(|name| {
            let inside = name.strip_prefix("core::ptr::drop_in_place")?;
            let inside = inside.strip_prefix("::").unwrap_or(inside);
            Some(inside.strip_prefix('<')?.strip_suffix('>')?.to_owned())
        });
        let mut trait_name = None;
        for method in methods {
            let Some(name) = name(*method) else { continue };
            if let Some((of, which, _)) = split_implementation(&name) {
                // Identical functions are merged: where the drop glue names another type, that is the better witness.
                if class.is_none() || class.as_deref() == Some(of) {
                    class = Some(of.to_owned());
                    // The methods of supertraits come first.
                    trait_name = Some(which.to_owned());
                }
            } else if class.is_none() && name.ends_with("{{closure}}") {
                class = Some(name.into_owned());
            }
        }
        (class, trait_name)
    }

    pub(super) fn diagnostics(&self) -> Vec<Diagnostic> {
        let names = self.names.lock();
        names.map(|names| names.values().flat_map(|names| names.diagnostics.clone()).collect()).unwrap_or_default()
    }
}

/// `<Circle as Shape>::area` as `Circle`, `Shape` and `::area`.
fn split_implementation(name: &str) -> Option<(&str, &str, &str)> {
    let inner = name.strip_prefix('<')?;
    let bytes = inner.as_bytes();
    let mut depth = 0_usize;
    let mut middle = None;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'<' | b'(' | b'[' => depth += 1,
            b'>' if at > 0 && bytes.get(at - 1) == Some(&b'-') => {}
            b'>' if depth == 0 => {
                let (middle, end) = (middle?, at);
                return Some((inner.get(..middle)?, inner.get(middle + 4..end)?, inner.get(end + 1..)?));
            }
            b'>' | b')' | b']' => depth = depth.checked_sub(1)?,
            b' ' if depth == 0 && middle.is_none() && inner.get(at..).is_some_and(|rest| rest.starts_with(" as ")) => {
                middle = Some(at);
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::split_implementation;

    #[test]
    fn an_implementation_is_split_at_its_own_as() {
        assert_eq!(
            split_implementation("<rs::Circle as rs::Shape>::area"),
            Some(("rs::Circle", "rs::Shape", "::area"))
        );
        assert_eq!(
            split_implementation("<Vec<<A as B>::C> as Fn(u8) -> Option<u8>>"),
            Some(("Vec<<A as B>::C>", "Fn(u8) -> Option<u8>", ""))
        );
        assert_eq!(split_implementation("rs::main"), None);
        assert_eq!(split_implementation("<rs::Circle>::new"), None);
    }
}
