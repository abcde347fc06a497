//! Names of types as people, demanglers and compilers spell them, and which of them mean the same.
//!
//! `std::vector<unsigned long>`, `vector<long unsigned int, std::allocator<long unsigned int> >` and
//! `std::vector<unsigned long, std::allocator<unsigned long>>` are one type; `Client` is any `…::Client`.

/// Longer names are not looked for, in bytes.
const LONGEST_NAME: usize = 64 << 10;
/// Scopes deeper than this do not occur.
const MOST_PARTS: usize = 256;

/// A name to look for, taken apart.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TypeName {
    text: String,
    /// The scopes and, last, the type's own name; each normalised.
    parts: Vec<Part>,
}

/// One scope, or the type itself.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Part {
    /// Up to the template arguments.
    pub(super) base: String,
    /// The arguments without spaces, `<int,char>`; empty where there are none.
    pub(super) arguments: String,
    /// As it was spelled.
    pub(super) spelled: String,
}

/// How well a type's full name answers to the one asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Likeness {
    /// It ends like that; scopes or template arguments were left out.
    Ending,
    /// It is that, apart from default template arguments and inline or anonymous namespaces.
    Whole,
    /// It is that to the letter.
    Exact,
}

impl TypeName {
    /// Takes a name apart: `struct client`, `net::Client`, `std::vector<int>`. `None` where it is empty or too long.
    pub fn parse(text: &str) -> Option<TypeName> {
        let mut rest = text.trim();
        for keyword in ["struct", "class", "union", "enum"] {
            let after = rest.strip_prefix(keyword).filter(|after| after.is_empty() || after.starts_with(' '));
            rest = after.unwrap_or(rest).trim_start();
        }
        let rest = rest.strip_prefix("::").unwrap_or(rest);
        if rest.is_empty() || rest.len() > LONGEST_NAME {
            return None;
        }
        // Rust's references, boxes, tuples and vtables stand in no scope; what looks like one belongs to the name.
        let whole = rest.starts_with(['&', '*', '<', '['])
            || rest.starts_with("alloc::boxed::Box<")
            || (rest.starts_with('(') && !rest.starts_with("(anonymous"));
        let texts = if whole { vec![rest] } else { split_scopes(rest) };
        let parts: Vec<Part> = texts.into_iter().map(Part::parse).collect();
        (parts.len() <= MOST_PARTS && parts.iter().all(|part| !part.base.is_empty()))
            .then(|| TypeName { text: rest.to_owned(), parts })
    }

    /// As it was given, without a keyword.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The type's own name without scopes and template arguments: what the debug information's strings begin with.
    pub(super) fn base(&self) -> &str {
        self.parts.last().map_or("", |part| &part.base)
    }

    /// How well a type in these scopes answers to this name; `None` where it does not.
    pub(super) fn likeness(&self, path: &[Scope]) -> Option<Likeness> {
        let (own, scopes) = self.parts.split_last()?;
        let (found, outer) = path.split_last()?;
        let mut exact = own.agrees(&found.part)?;
        let mut outer = outer.iter().rev();
        for wanted in scopes.iter().rev() {
            loop {
                let scope = outer.next()?;
                match wanted.agrees(&scope.part) {
                    Some(same) => {
                        exact &= same;
                        break;
                    }
                    // `std::string` stands for `std::__cxx11::string`.
                    None if scope.transparent => exact = false,
                    None => return None,
                }
            }
        }
        let mut rest = outer.peekable();
        Some(if rest.peek().is_none() && exact {
            Likeness::Exact
        } else if rest.all(|scope| scope.transparent) {
            Likeness::Whole
        } else {
            Likeness::Ending
        })
    }
}

/// A scope of a type in debug information, or the type itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Scope {
    pub(super) part: Part,
    /// An anonymous or inline namespace, which people leave out.
    pub(super) transparent: bool,
}

impl Part {
    /// Takes one part of a name apart.
    pub(super) fn parse(text: &str) -> Part {
        let text = text.trim();
        let (base, arguments) = text.split_at(base_length(text));
        Part { base: base.trim_end().to_owned(), arguments: normalise(arguments), spelled: text.to_owned() }
    }

    /// Whether `found` answers to this part: `Some(true)` where it does to the letter.
    fn agrees(&self, found: &Part) -> Option<bool> {
        if self.base != found.base {
            return None;
        }
        if self.arguments == found.arguments {
            return Some(true);
        }
        if self.arguments.is_empty() {
            return Some(false);
        }
        // Default arguments at the end may be left out.
        let open = self.arguments.strip_suffix('>')?;
        let rest = found.arguments.strip_prefix(open)?;
        rest.starts_with(',').then_some(false)
    }
}

/// How many bytes of a part come before its template arguments.
pub(super) fn base_length(name: &str) -> usize {
    // `<lambda(int)>` and `{impl#0}` are names, not arguments.
    match name.find('<') {
        Some(0) | None => name.len(),
        Some(at) if name.ends_with('>') || name.ends_with("> ") => at,
        Some(_) => name.len(),
    }
}

/// Cuts a qualified name at `::` outside of any brackets.
pub(super) fn split_scopes(name: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut depth = 0usize;
    let mut start = 0;
    let bytes = name.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'<' | b'(' | b'{' | b'[' => depth += 1,
            b'>' if at > 0 && bytes.get(at - 1) == Some(&b'-') => {}
            b'>' | b')' | b'}' | b']' => depth = depth.saturating_sub(1),
            b':' if depth == 0 && bytes.get(at + 1) == Some(&b':') => {
                parts.extend(name.get(start..at));
                start = at + 2;
                at += 1;
            }
            _ => {}
        }
        at += 1;
    }
    parts.extend(name.get(start..));
    parts
}

/// Template arguments without needless spaces, with numbers and built-in types spelled one way.
fn normalise(arguments: &str) -> String {
    let mut out = String::with_capacity(arguments.len());
    let mut words: Vec<&str> = Vec::new();
    let mut rest = arguments;
    while let Some(c) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
        if is_word(c) {
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            words.push(word);
            rest = after;
        } else {
            if !c.is_whitespace() {
                flush(&mut words, &mut out);
                out.push(c);
            }
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
        }
    }
    flush(&mut words, &mut out);
    // What everybody calls std::string.
    for long in ["std::__cxx11::basic_string", "std::__1::basic_string", "std::basic_string"] {
        if out.contains(long) {
            out = out.replace(&format!("{long}<char,std::char_traits<char>,std::allocator<char>>"), "std::string");
            out = out
                .replace(&format!("{long}<char,std::__1::char_traits<char>,std::__1::allocator<char>>"), "std::string");
        }
    }
    out
}

/// Writes words that stand together: `long unsigned int` as `unsigned long`, `3ul` as `3`.
fn flush(words: &mut Vec<&str>, out: &mut String) {
    if words.is_empty() {
        return;
    }
    let has = |word: &str| words.contains(&word);
    let longs = words.iter().filter(|word| **word == "long").count();
    let built_in = |word: &str| matches!(word, "unsigned" | "signed" | "long" | "short" | "int" | "char");
    let core: Option<&str> = if has("char") {
        Some(if has("unsigned") {
            "unsigned char"
        } else if has("signed") {
            "signed char"
        } else {
            "char"
        })
    } else if has("double") || !words.iter().any(|word| built_in(word)) {
        None
    } else {
        Some(match (has("unsigned"), has("short"), longs) {
            (true, true, _) => "unsigned short",
            (false, true, _) => "short",
            (true, _, 0) => "unsigned int",
            (true, _, 1) => "unsigned long",
            (true, ..) => "unsigned long long",
            (false, _, 0) => "int",
            (false, _, 1) => "long",
            (false, ..) => "long long",
        })
    };
    let mut pieces: Vec<&str> = Vec::new();
    for word in words.drain(..) {
        // `const char` and `char const` mean the same.
        if core.is_some() && built_in(word) {
            continue;
        }
        let digits = word.trim_end_matches(['u', 'l', 'U', 'L']);
        let number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        pieces.push(if number { digits } else { word });
    }
    pieces.extend(core);
    let qualifier = |word: &&str| matches!(*word, "const" | "volatile");
    let (first, last): (Vec<&str>, Vec<&str>) = pieces.into_iter().partition(qualifier);
    for (at, piece) in first.iter().chain(&last).enumerate() {
        if at > 0 {
            out.push(' ');
        }
        out.push_str(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(parts: &[&str]) -> Vec<Scope> {
        parts
            .iter()
            .map(|part| Scope {
                part: Part::parse(part),
                transparent: part.starts_with("__") || part.starts_with("(anonymous"),
            })
            .collect()
    }

    fn likeness(asked: &str, found: &[&str]) -> Option<Likeness> {
        TypeName::parse(asked)?.likeness(&path(found))
    }

    #[test]
    fn scopes_may_be_left_out_from_the_left() {
        assert_eq!(likeness("net::Client", &["net", "Client"]), Some(Likeness::Exact));
        assert_eq!(likeness("Client", &["net", "Client"]), Some(Likeness::Ending));
        assert_eq!(likeness("lib::Client", &["net", "Client"]), None);
        assert_eq!(likeness("struct client", &["client"]), Some(Likeness::Exact));
    }

    #[test]
    fn inline_and_anonymous_namespaces_may_be_left_out() {
        assert_eq!(likeness("std::list", &["std", "__cxx11", "list"]), Some(Likeness::Whole));
        assert_eq!(likeness("Impl", &["(anonymous namespace)", "Impl"]), Some(Likeness::Whole));
        assert_eq!(likeness("(anonymous namespace)::Impl", &["(anonymous namespace)", "Impl"]), Some(Likeness::Exact));
    }

    #[test]
    fn template_arguments_are_compared_by_meaning() {
        let gcc = ["std", "vector<long unsigned int, std::allocator<long unsigned int> >"];
        let demangled = "std::vector<unsigned long, std::allocator<unsigned long>>";
        assert_eq!(likeness(demangled, &gcc), Some(Likeness::Exact));
        assert_eq!(likeness("std::vector<unsigned long>", &gcc), Some(Likeness::Whole));
        assert_eq!(likeness("std::vector", &gcc), Some(Likeness::Whole));
        assert_eq!(likeness("std::vector<long>", &gcc), None);
        assert_eq!(likeness("Ring<4ul, char const*>", &["Ring<4, const char *>"]), Some(Likeness::Exact));
        let tree =
            ["std", "map<int, std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> >, L>"];
        assert_eq!(likeness("std::map<int, std::string>", &tree), Some(Likeness::Whole));
        // Rust's wide pointers carry the scope in their name, and stand in none.
        let boxed = "alloc::boxed::Box<(dyn std::io::Read + core::marker::Send), alloc::alloc::Global>";
        assert_eq!(likeness(boxed, &[boxed]), Some(Likeness::Exact));
        assert_eq!(likeness("A<std::less<int>>::Node", &["A<std::less<int> >", "Node"]), Some(Likeness::Exact));
    }

    #[test]
    fn an_empty_name_is_none() {
        assert_eq!(TypeName::parse("  "), None);
        assert_eq!(TypeName::parse("a::"), None);
        assert_eq!(TypeName::parse("struct "), None);
    }
}
