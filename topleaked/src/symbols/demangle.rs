//! Turns the names that compilers give to linkers back into what the programmer wrote.
//!
//! C++ after the Itanium ABI, Rust in its legacy and v0 forms (their hashes left out). A mangled name can say
//! "again what was said before", so a hostile one of some hundred bytes stands for gigabytes: the
//! length of the input, the depth of recursion and the length of the output are bounded, and what goes past
//! a bound keeps its raw form.

use std::borrow::Cow;
use std::fmt;

/// A longer mangled name is left as it is, in bytes.
const MOST_INPUT: usize = 32 << 10;
/// A longer demangled name is left mangled, in bytes.
const MOST_OUTPUT: usize = 128 << 10;
/// How often pieces may be appended to one name; an empty piece costs time as well.
const MOST_PIECES: usize = 1 << 16;
/// How deep a name may nest.
const MOST_NESTING: u32 = 160;

/// Collects a demangled name up to a bound.
struct Bounded {
    text: String,
    pieces: usize,
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        self.pieces += 1;
        if self.pieces > MOST_PIECES || self.text.len() + piece.len() > MOST_OUTPUT {
            return Err(fmt::Error);
        }
        self.text.push_str(piece);
        Ok(())
    }
}

/// A symbol's name as the programmer wrote it: `_ZN3net6ClientC2Ev` is `net::Client::Client()`. A name that is
/// not mangled, or that goes past the bounds, comes back as it is, with bytes that are no UTF-8 replaced.
///
/// Control characters are kept: whoever shows the name makes it safe.
///
/// ```
/// use topleaked::symbols::demangle;
///
/// assert_eq!(demangle(b"_ZTVN12_GLOBAL__N_14ImplE"), "vtable for (anonymous namespace)::Impl");
/// assert_eq!(demangle(b"_ZN4core3ptr13drop_in_place17h0123456789abcdefE"), "core::ptr::drop_in_place");
/// assert_eq!(demangle(b"main"), "main");
/// ```
pub fn demangle(raw: &[u8]) -> Cow<'_, str> {
    demangle_rust(raw).or_else(|| demangle_cpp(raw)).map_or_else(|| String::from_utf8_lossy(raw), Cow::Owned)
}

fn demangle_rust(raw: &[u8]) -> Option<String> {
    // Legacy names look like C++ names with a hash at the end; v0 names start with `_R`.
    let legacy = raw.starts_with(b"_ZN") && contains_legacy_hash(raw);
    if raw.len() > MOST_INPUT || !(legacy || raw.starts_with(b"_R")) {
        return None;
    }
    // What follows a dot was added by the linker or by LLVM: `.llvm.1234`, `.cold`.
    let demangled = rustc_demangle::try_demangle(std::str::from_utf8(raw).ok()?).ok()?;
    let mut out = Bounded { text: String::new(), pieces: 0 };
    fmt::write(&mut out, format_args!("{demangled:#}")).ok()?;
    Some(out.text)
}

/// Whether the last part of a `_ZN…E` name is `17h` and 16 hexadecimal digits; a suffix such as `.llvm.12` may follow.
fn contains_legacy_hash(raw: &[u8]) -> bool {
    raw.windows(20).enumerate().any(|(at, part)| {
        let ends = matches!(raw.get(at + 20), None | Some(b'.'));
        let digits = part.get(3..19).unwrap_or_default();
        ends && part.starts_with(b"17h") && part.ends_with(b"E") && digits.iter().all(u8::is_ascii_hexdigit)
    })
}

fn demangle_cpp(raw: &[u8]) -> Option<String> {
    if raw.len() > MOST_INPUT || !(raw.starts_with(b"_Z") || raw.starts_with(b"___Z") || raw.starts_with(b"_GLOBAL_")) {
        return None;
    }
    // Old versions are told apart by an `@`; the name ends there.
    let end = raw.iter().position(|byte| *byte == b'@').unwrap_or(raw.len());
    let parse = cpp_demangle::ParseOptions::default().recursion_limit(MOST_NESTING);
    let symbol = cpp_demangle::BorrowedSymbol::with_tail_and_options(raw.get(..end)?, &parse).ok()?;
    let (symbol, tail) = symbol;
    // A tail such as `.cold` or `.constprop.0` is the compiler's; any other says that this was no mangled name.
    if !tail.is_empty() && !tail.starts_with(b".") {
        return None;
    }
    let mut out = Bounded { text: String::new(), pieces: 0 };
    symbol.structured_demangle(&mut out, &cpp_demangle::DemangleOptions::new().recursion_limit(MOST_NESTING)).ok()?;
    let mut text = usual_special_name(without_empty_packs(out.text));
    if !tail.is_empty() {
        text.push_str(&format!(" [clone {}]", String::from_utf8_lossy(tail)));
    }
    Some(text)
}

/// The crate writes `Builder<double, >` where a pack of parameters is empty.
fn without_empty_packs(text: String) -> String {
    if text.contains(", >") { text.replace(", >", ">") } else { text }
}

/// The crate writes `{vtable(A)}` where everybody else, and so whoever searches for it, writes `vtable for A`.
fn usual_special_name(text: String) -> String {
    let inside = |opening: &str| text.strip_prefix(opening)?.strip_suffix(")}");
    if let Some(class) = inside("{vtable(") {
        format!("vtable for {class}")
    } else if let Some(class) = inside("{vtt(") {
        format!("VTT for {class}")
    } else {
        text
    }
}

/// The type that a `type_info` name stands for: `N3net6ClientE` is `net::Client`. A leading `*`, by which GCC marks
/// names that count within their module alone, is taken off. `None` where the text is no mangled type.
///
/// ```
/// use topleaked::symbols::demangle_type;
///
/// assert_eq!(demangle_type(b"*N12_GLOBAL__N_14ImplE").as_deref(), Some("(anonymous namespace)::Impl"));
/// assert_eq!(demangle_type(b"not a type"), None);
/// ```
pub fn demangle_type(name: &[u8]) -> Option<String> {
    let name = name.strip_prefix(b"*").unwrap_or(name);
    if name.is_empty() || name.len() > MOST_INPUT {
        return None;
    }
    let mangled = [b"_ZTS", name].concat();
    let text = demangle_cpp(&mangled)?;
    if text.contains(" [clone ") {
        return None;
    }
    text.strip_prefix("typeinfo name for ").map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_packs_leave_no_comma() {
        assert_eq!(demangle(b"_Z1fI7BuilderIdJEEEvv"), "void f<Builder<double> >()");
    }

    #[test]
    fn rust_names_lose_their_hash() {
        assert_eq!(demangle(b"_ZN4rust4main17h6b4ba0fa3c9b6a9aE"), "rust::main");
        assert_eq!(
            demangle(b"_ZN40_$LT$rs..Circle$u20$as$u20$rs..Shape$GT$4area17h0123456789abcdefE"),
            "<rs::Circle as rs::Shape>::area"
        );
        assert_eq!(demangle(b"_RNvNtCs1234_6shapes6circle4area"), "shapes::circle::area");
    }

    #[test]
    fn a_name_that_is_not_mangled_stays() {
        assert_eq!(demangle(b"_Zebra!"), "_Zebra!");
        assert_eq!(demangle(b"\x1b[31m"), "\x1b[31m");
        assert_eq!(demangle(b"\xff"), "\u{fffd}");
        assert_eq!(demangle(b"_ZN1AC2Ev.cold"), "A::A() [clone .cold]");
    }

    #[test]
    fn names_of_types_are_read() {
        assert_eq!(demangle_type(b"1A").as_deref(), Some("A"));
        assert_eq!(demangle_type(b"St6vectorIiSaIiEE").as_deref(), Some("std::vector<int, std::allocator<int> >"));
        assert_eq!(demangle_type(b"Z4mainE5Local").as_deref(), Some("main::Local"));
        assert_eq!(demangle_type(b"9short"), None);
        assert_eq!(demangle_type(b""), None);
    }

    #[test]
    fn a_name_that_would_explode_keeps_its_raw_form() {
        // `A<T, T>` over the type before it, 30 times: 2^31 letters.
        let mut bomb = b"_Z1f1AIiiE".to_vec();
        for last in b"0123456789ABCDEFGHIJKLMNOPQRST" {
            bomb.extend_from_slice(&[b'S', b'_', b'I', b'S', *last, b'_', b'S', *last, b'_', b'E']);
        }
        let started = std::time::Instant::now();
        assert_eq!(demangle(&bomb).as_bytes(), bomb);
        assert!(started.elapsed().as_secs() < 5);
        let small = [b"_Z1f1AIiiE".as_slice(), b"S_IS0_S0_ES_IS1_S1_E"].concat();
        assert!(demangle(&small).ends_with("A<A<A<int, int>, A<int, int> >, A<A<int, int>, A<int, int> > >)"));
        let nested = [b"_Z1f".as_slice(), &vec![b'P'; 30_000], b"i"].concat();
        assert_eq!(demangle(&nested).as_bytes(), nested);
        let long = vec![b'_'; 1 << 20];
        assert_eq!(demangle(&long).len(), 1 << 20);
    }
}
