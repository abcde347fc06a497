//! Filters: which allocations an answer is about. One grammar for all verbs.
//!
//! ```text
//! filter    = both { "or" both }
//! both      = one { "and" one }
//! one       = "not" one | "(" filter ")" | condition
//! condition = "leaked" | "live" | "anchored" | "possibly-leaked" | "unreferenced"
//!           | "size" compare SIZE
//!           | ( "type" | "module" ) ( "~" | "!~" | "==" | "!=" ) PATTERN
//!           | "address" ( compare ADDRESS | "in" ADDRESS "-" ADDRESS )
//!           | MEMBER ( compare VALUE | ( "~" | "!~" ) PATTERN )
//! compare   = "==" | "!=" | "<" | "<=" | ">" | ">="
//! ```
//!
//! A member is a path (`conn.tls`, `items[2].id`), or where nothing names it its offset (`+0x18`); behind `this.` also one
//! that is called `size` or `type`.
//!
//! ```
//! use topleaked::insight::filter::Filter;
//!
//! let filter: Filter = "leaked and (type ~ Client* or size > 1K)".parse()?;
//! assert_eq!(filter.to_string(), r#"leaked and (type ~ "Client*" or size > 1024)"#);
//! let error = "size > big".parse::<Filter>().unwrap_err();
//! assert_eq!(error.to_string(), "column 8: a size is expected, such as 4096 or 1K, not `big`");
//! # Ok::<(), topleaked::insight::filter::FilterError>(())
//! ```

mod evaluate;
mod parse;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::addr::Addr;

pub use evaluate::{Members, Prepared, Tables};

/// Why a text is no filter.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("column {column}: {message}")]
pub struct FilterError {
    /// Where the fault is, in characters from the first, which is 1.
    pub column: usize,
    /// What was expected there, and what was found.
    pub message: String,
}

/// A condition on allocations. Made from text by [`str::parse`]; its text, by `Display`, has the same meaning.
#[derive(Clone, PartialEq, Debug)]
pub enum Filter {
    /// All of them hold.
    And(Vec<Filter>),
    /// At least one holds.
    Or(Vec<Filter>),
    /// It does not hold.
    Not(Box<Filter>),
    /// A condition.
    Test(Test),
}

/// One condition.
#[derive(Clone, PartialEq, Debug)]
pub enum Test {
    /// How the program can reach the allocation.
    Reach(Reach),
    /// Its usable size in bytes.
    Size(Comparison, u64),
    /// The name of its type.
    Type(Pattern),
    /// The file name of the module that has its vtable or table of functions.
    Module(Pattern),
    /// Its address.
    Address(Comparison, Addr),
    /// Whether its address lies between two, both included.
    AddressIn(Addr, Addr),
    /// A member of the object.
    Member(MemberTest),
}

/// How the program can reach an allocation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// Nothing reaches it.
    Leaked,
    /// A root reaches it for sure.
    Anchored,
    /// Only doubtful pointers or stale places reach it.
    PossiblyLeaked,
    /// It is leaked, and no other leaked allocation points at it.
    Unreferenced,
}

/// How two values are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Comparison {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Comparison {
    /// Whether two values that are ordered so fulfil it; values without an order are unequal.
    pub fn holds(self, order: Option<std::cmp::Ordering>) -> bool {
        use std::cmp::Ordering::{Equal, Greater, Less};
        match self {
            Comparison::Equal => order == Some(Equal),
            Comparison::NotEqual => order != Some(Equal),
            Comparison::Less => order == Some(Less),
            Comparison::LessOrEqual => matches!(order, Some(Less | Equal)),
            Comparison::Greater => order == Some(Greater),
            Comparison::GreaterOrEqual => matches!(order, Some(Greater | Equal)),
        }
    }

    fn symbol(self) -> &'static str {
        match self {
            Comparison::Equal => "==",
            Comparison::NotEqual => "!=",
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
        }
    }
}

/// A text to compare with, in which `*` stands for any characters and `?` for one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern {
    /// The text.
    pub text: String,
    /// Whether `*` and `?` have their meaning: with `~` they do, with `==` they stand for themselves.
    pub wild: bool,
    /// Whether it has to fail instead: `!~`, `!=`.
    pub negated: bool,
}

impl Pattern {
    /// Whether a name is meant. O(name × pattern).
    pub fn holds(&self, name: &str) -> bool {
        (if self.wild { matches_wild(&self.text, name) } else { self.text == name }) != self.negated
    }
}

impl Pattern {
    /// Whether a type of this name is meant; blanks are how a compiler writes, and do not count.
    pub(super) fn holds_of_type(&self, name: &str) -> bool {
        let bare = |text: &str| text.chars().filter(|c| *c != ' ').collect::<String>();
        Pattern { text: bare(&self.text), ..self.clone() }.holds(&bare(name))
    }
}

/// Matches with one place to come back to: the last star (Krauss, "Matching Wildcards: An Algorithm", Dr. Dobb's 2008).
fn matches_wild(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || Some(c) == name.get(n) => {
                p += 1;
                n += 1;
            }
            _ => match &mut star {
                Some((at, from)) => {
                    *from += 1;
                    (p, n) = (*at + 1, *from);
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|c| *c == '*')
}

/// A condition on a member, for whoever knows the type's layout.
#[derive(Clone, PartialEq, Debug)]
pub struct MemberTest {
    /// The member, as a path.
    pub path: String,
    /// What it is held to.
    pub condition: MemberCondition,
}

/// What a member is held to.
#[derive(Clone, PartialEq, Debug)]
pub enum MemberCondition {
    /// A comparison with a value.
    Compare(Comparison, Literal),
    /// Its text, or its enumerator's name.
    Matches(Pattern),
}

/// A value as it is written in a filter.
#[derive(Clone, PartialEq, Debug)]
pub enum Literal {
    /// A whole number.
    Integer(i128),
    /// Digits of which the first are zeros: a number, or a text that is another than the number's.
    Digits(String, i128),
    /// A number with a point.
    Float(f64),
    /// A word: an enumerator, `true`, `false`.
    Word(String),
    /// A text in quotes.
    Text(String),
    /// The null pointer.
    Null,
}

impl Filter {
    /// All conditions on members, in the order of the text.
    pub fn member_tests(&self) -> Vec<&MemberTest> {
        match self {
            Filter::And(parts) | Filter::Or(parts) => parts.iter().flat_map(Filter::member_tests).collect(),
            Filter::Not(part) => part.member_tests(),
            Filter::Test(Test::Member(test)) => vec![test],
            Filter::Test(_) => Vec::new(),
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, parts: &[Filter], word: &str| {
            for (at, part) in parts.iter().enumerate() {
                if at > 0 {
                    write!(f, " {word} ")?;
                }
                match part {
                    Filter::And(_) | Filter::Or(_) => write!(f, "({part})")?,
                    _ => write!(f, "{part}")?,
                }
            }
            Ok(())
        };
        match self {
            Filter::And(parts) => list(f, parts, "and"),
            Filter::Or(parts) => list(f, parts, "or"),
            Filter::Not(part) => match **part {
                Filter::And(_) | Filter::Or(_) => write!(f, "not ({part})"),
                _ => write!(f, "not {part}"),
            },
            Filter::Test(test) => write!(f, "{test}"),
        }
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Test::Reach(reach) => f.write_str(match reach {
                Reach::Leaked => "leaked",
                Reach::Anchored => "live",
                Reach::PossiblyLeaked => "possibly-leaked",
                Reach::Unreferenced => "unreferenced",
            }),
            Test::Size(comparison, size) => write!(f, "size {} {size}", comparison.symbol()),
            Test::Type(pattern) => write!(f, "type {pattern}"),
            Test::Module(pattern) => write!(f, "module {pattern}"),
            Test::Address(comparison, addr) => write!(f, "address {} {:#x}", comparison.symbol(), addr.0),
            Test::AddressIn(from, to) => write!(f, "address in {:#x}-{:#x}", from.0, to.0),
            Test::Member(MemberTest { path, condition }) => match condition {
                MemberCondition::Compare(comparison, literal) => {
                    write!(f, "{}{path} {} {literal}", this(path), comparison.symbol())
                }
                MemberCondition::Matches(pattern) => write!(f, "{}{path} {pattern}", this(path)),
            },
        }
    }
}

/// What stands before a path, so that no member is taken for a word of the grammar; an offset is none.
fn this(path: &str) -> &'static str {
    if path.starts_with('+') { "" } else { "this." }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let symbol = match (self.wild, self.negated) {
            (true, false) => "~",
            (true, true) => "!~",
            (false, false) => "==",
            (false, true) => "!=",
        };
        write!(f, "{symbol} ")?;
        write_quoted(f, &self.text)
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Literal::Integer(number) => write!(f, "{number}"),
            Literal::Float(number) => write!(f, "{number:?}"),
            Literal::Digits(word, _) | Literal::Word(word) => f.write_str(word),
            Literal::Text(text) => write_quoted(f, text),
            Literal::Null => f.write_str("null"),
        }
    }
}

fn write_quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            f.write_str("\\")?;
        }
        write!(f, "{c}")?;
    }
    f.write_str("\"")
}
