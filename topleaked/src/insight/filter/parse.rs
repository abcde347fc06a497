//! From text to a filter.

use std::str::FromStr;

use crate::addr::Addr;

use super::{Comparison, Filter, FilterError, Literal, MemberCondition, MemberTest, Pattern, Reach, Test};

/// Brackets and negations deeper than this are refused: a filter is read by recursion.
const DEEPEST: usize = 64;
/// A longer text is no filter that a person wrote.
const MOST_CHARACTERS: usize = 1 << 16;

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Filter, FilterError> {
        let mut parser = Parser { chars: text.chars().take(MOST_CHARACTERS + 1).collect(), at: 0 };
        if parser.chars.len() > MOST_CHARACTERS {
            return Err(FilterError { column: MOST_CHARACTERS, message: "the filter is too long".to_owned() });
        }
        let filter = parser.any(0)?;
        parser.blanks();
        match parser.peek() {
            None => Ok(filter),
            Some(')') => Err(parser.error("there is no `(` for this `)`")),
            Some(_) => Err(parser.expected("`and`, `or` or the end is expected")),
        }
    }
}

struct Parser {
    chars: Vec<char>,
    at: usize,
}

/// A comparison or a match.
enum Operator {
    Compare(Comparison),
    Match { negated: bool },
}

impl Parser {
    fn any(&mut self, depth: usize) -> Result<Filter, FilterError> {
        let mut parts = vec![self.all(depth)?];
        while self.keyword("or") {
            parts.push(self.all(depth)?);
        }
        Ok(one_or(parts, Filter::Or))
    }

    fn all(&mut self, depth: usize) -> Result<Filter, FilterError> {
        let mut parts = vec![self.one(depth)?];
        while self.keyword("and") {
            parts.push(self.one(depth)?);
        }
        Ok(one_or(parts, Filter::And))
    }

    fn one(&mut self, depth: usize) -> Result<Filter, FilterError> {
        self.blanks();
        if depth >= DEEPEST {
            return Err(self.error("brackets and negations go too deep"));
        }
        if self.keyword("not") {
            return Ok(Filter::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.peek() == Some('(') {
            let opened = self.at;
            self.at += 1;
            let inner = self.any(depth + 1)?;
            self.blanks();
            if self.peek() != Some(')') {
                return Err(match self.peek() {
                    None => FilterError { column: opened + 1, message: "this `(` is never closed".to_owned() },
                    Some(_) => self.expected("`and`, `or` or `)` is expected"),
                });
            }
            self.at += 1;
            return Ok(inner);
        }
        self.condition().map(Filter::Test)
    }

    fn condition(&mut self) -> Result<Test, FilterError> {
        let start = self.at;
        // An offset stands for a member that has no name.
        if self.peek() == Some('+') {
            return self.member_test();
        }
        let word = self.word();
        if word.is_empty() {
            return Err(self.expected("a condition is expected, such as `leaked`, `size > 1K` or `type ~ Client*`"));
        }
        let reach = match word.as_str() {
            "leaked" => Some(Reach::Leaked),
            "live" | "anchored" => Some(Reach::Anchored),
            "possibly" if self.follows("-leaked") => {
                self.at += "-leaked".len();
                Some(Reach::PossiblyLeaked)
            }
            "unreferenced" => Some(Reach::Unreferenced),
            _ => None,
        };
        if let Some(reach) = reach {
            return Ok(Test::Reach(reach));
        }
        match word.as_str() {
            "size" => {
                let comparison = self.comparison()?;
                Ok(Test::Size(comparison, self.size()?))
            }
            "type" => Ok(Test::Type(self.pattern_test()?)),
            "module" => Ok(Test::Module(self.pattern_test()?)),
            "address" => self.address_test(),
            "and" | "or" | "in" => {
                self.at = start;
                Err(self.expected("a condition is expected"))
            }
            _ => {
                self.at = start;
                self.member_test()
            }
        }
    }

    fn address_test(&mut self) -> Result<Test, FilterError> {
        if !self.keyword("in") {
            let comparison = self.comparison()?;
            return Ok(Test::Address(comparison, self.address()?));
        }
        let from = self.address()?;
        self.blanks();
        if self.peek() != Some('-') {
            return Err(self.expected("`-` and the last address are expected"));
        }
        self.at += 1;
        self.blanks();
        let place = self.at;
        let to = self.address()?;
        if to < from {
            return Err(FilterError { column: place + 1, message: "the range ends before it begins".to_owned() });
        }
        Ok(Test::AddressIn(from, to))
    }

    fn member_test(&mut self) -> Result<Test, FilterError> {
        let start = self.at;
        let mut path = self.path()?;
        if let Some(rest) = path.strip_prefix("this.") {
            path = rest.to_owned();
        }
        self.blanks();
        let Some(operator) = self.operator() else {
            self.at = if self.peek().is_none() || self.peek() == Some(')') { start } else { self.at };
            return Err(match self.at == start {
                true => self.expected(
                    "a condition is expected: `leaked`, `live`, `possibly-leaked`, `unreferenced`, or a comparison of \
                     `size`, `type`, `module`, `address` or a member",
                ),
                false => self.expected("a comparison is expected: ==, !=, <, <=, >, >=, ~ or !~"),
            });
        };
        let condition = match operator {
            Operator::Match { negated } => {
                MemberCondition::Matches(Pattern { text: self.pattern()?, wild: true, negated })
            }
            Operator::Compare(comparison) => MemberCondition::Compare(comparison, self.literal()?),
        };
        Ok(Test::Member(MemberTest { path, condition }))
    }

    fn pattern_test(&mut self) -> Result<Pattern, FilterError> {
        self.blanks();
        let place = self.at;
        let (wild, negated) = match self.operator() {
            Some(Operator::Match { negated }) => (true, negated),
            Some(Operator::Compare(Comparison::Equal)) => (false, false),
            Some(Operator::Compare(Comparison::NotEqual)) => (false, true),
            _ => {
                self.at = place;
                return Err(self.expected("~, !~, == or != is expected"));
            }
        };
        Ok(Pattern { text: self.pattern()?, wild, negated })
    }

    /// A text in quotes, or all up to a blank or a bracket that was not opened in it.
    fn pattern(&mut self) -> Result<String, FilterError> {
        self.blanks();
        if self.peek() == Some('"') {
            return self.quoted();
        }
        // A name may begin with a single quote: `'lambda'`. As quotes two of them count around the whole.
        if let Some(text) = self.single_quoted() {
            return Ok(text);
        }
        let start = self.at;
        let mut depth = 0_usize;
        while let Some(c) = self.peek().filter(|c| !c.is_whitespace()) {
            match c {
                '(' => depth += 1,
                ')' if depth == 0 => break,
                ')' => depth -= 1,
                _ => {}
            }
            self.at += 1;
        }
        if self.at == start {
            return Err(self.expected("a name is expected, in quotes where it has blanks"));
        }
        Ok(self.taken(start))
    }

    fn quoted(&mut self) -> Result<String, FilterError> {
        let opened = self.at;
        self.at += 1;
        let mut text = String::new();
        while let Some(c) = self.peek() {
            self.at += 1;
            match c {
                '"' => return Ok(text),
                '\\' => match self.peek() {
                    Some(c @ ('"' | '\\')) => {
                        self.at += 1;
                        text.push(c);
                    }
                    _ => text.push('\\'),
                },
                c => text.push(c),
            }
        }
        Err(FilterError { column: opened + 1, message: "this quote is never closed".to_owned() })
    }

    /// A text in single quotes, with a blank, a bracket or the end behind it; in it they cannot stand.
    fn single_quoted(&mut self) -> Option<String> {
        let rest = self.chars.get(self.at..)?.strip_prefix(&['\''])?;
        let size = rest.iter().position(|c| *c == '\'')?;
        let (text, rest) = rest.split_at_checked(size)?;
        if rest.get(1).is_some_and(|c| !c.is_whitespace() && *c != ')') {
            return None;
        }
        let text = text.iter().collect();
        self.at += size + 2;
        Some(text)
    }

    fn literal(&mut self) -> Result<Literal, FilterError> {
        self.blanks();
        match self.peek() {
            Some('"') => return self.quoted().map(Literal::Text),
            Some('\'') => {
                if let Some(text) = self.single_quoted() {
                    return Ok(Literal::Text(text));
                }
                return Err(self.error("this quote is never closed"));
            }
            Some(c) if c.is_ascii_digit() || c == '-' || c == '+' => {
                let start = self.at;
                self.at += 1;
                self.skip(|c| c.is_ascii_alphanumeric() || c == '.' || c == '_');
                if self.is_date(start) {
                    self.skip(|c| c.is_ascii_alphanumeric() || c == '-' || c == ':');
                    return Ok(Literal::Word(self.taken(start)));
                }
                // The sign of an exponent.
                let is_open = |text: &str| !text.contains('x') && text.ends_with(['e', 'E']);
                if matches!(self.peek(), Some('-' | '+')) && is_open(&self.taken(start)) {
                    self.at += 1;
                    self.skip(|c| c.is_ascii_digit());
                }
                let text = self.taken(start);
                if text.starts_with('0')
                    && text.len() > 1
                    && let Ok(number) = text.parse::<u64>()
                {
                    return Ok(Literal::Digits(text, i128::from(number)));
                }
                return number(&text).ok_or_else(|| {
                    self.at = start;
                    self.expected("a number is expected")
                });
            }
            Some(c) if c.is_alphabetic() || c == '_' => {}
            _ => return Err(self.expected("a value is expected: a number, an enumerator, null, or a text in quotes")),
        }
        let start = self.at;
        self.skip(|c| c.is_alphanumeric() || c == '_' || c == ':');
        let word = self.taken(start);
        Ok(match word.as_str() {
            "null" | "nullptr" | "NULL" => Literal::Null,
            _ => Literal::Word(word),
        })
    }

    /// Whether what began at `start` is a year, and a month follows.
    fn is_date(&self, start: usize) -> bool {
        self.at == start + 4
            && self.peek() == Some('-')
            && self.chars.get(start).is_some_and(char::is_ascii_digit)
            && self.chars.get(self.at + 1).is_some_and(char::is_ascii_digit)
    }

    fn size(&mut self) -> Result<u64, FilterError> {
        self.blanks();
        let start = self.at;
        self.skip(|c| c.is_ascii_alphanumeric() || c == '.');
        let text = self.taken(start);
        size_bytes(&text).ok_or_else(|| {
            self.at = start;
            self.expected("a size is expected, such as 4096 or 1K,")
        })
    }

    fn address(&mut self) -> Result<Addr, FilterError> {
        self.blanks();
        let start = self.at;
        self.skip(|c| c.is_ascii_alphanumeric());
        let text = self.taken(start);
        let read = match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        };
        read.map(Addr).ok_or_else(|| {
            self.at = start;
            self.expected("an address is expected, such as 0x55697c45cd78,")
        })
    }

    fn comparison(&mut self) -> Result<Comparison, FilterError> {
        self.blanks();
        let place = self.at;
        if let Some(Operator::Compare(comparison)) = self.operator() {
            return Ok(comparison);
        }
        self.at = place;
        Err(self.expected("==, !=, <, <=, > or >= is expected"))
    }

    fn operator(&mut self) -> Option<Operator> {
        let known = [
            ("==", Operator::Compare(Comparison::Equal)),
            ("!=", Operator::Compare(Comparison::NotEqual)),
            ("<=", Operator::Compare(Comparison::LessOrEqual)),
            (">=", Operator::Compare(Comparison::GreaterOrEqual)),
            ("!~", Operator::Match { negated: true }),
            ("<", Operator::Compare(Comparison::Less)),
            (">", Operator::Compare(Comparison::Greater)),
            ("~", Operator::Match { negated: false }),
        ];
        let (text, operator) = known.into_iter().find(|(text, _)| self.follows(text))?;
        self.at += text.len();
        Some(operator)
    }

    /// A member's path: names, parted by points or arrows, with places in brackets; or its offset, `+0x18`.
    fn path(&mut self) -> Result<String, FilterError> {
        if self.peek() == Some('+') {
            let start = self.at;
            self.at += 1;
            self.skip(|c| c.is_ascii_alphanumeric());
            return Ok(self.taken(start));
        }
        let mut path = self.word();
        loop {
            if self.peek() == Some('[') {
                let start = self.at;
                self.at += 1;
                self.skip(|c| c.is_ascii_digit());
                if self.peek() != Some(']') {
                    return Err(self.expected("a place and `]` are expected"));
                }
                self.at += 1;
                path.push_str(&self.taken(start));
                continue;
            }
            match () {
                () if self.follows("->") => self.at += 2,
                () if self.follows("::") => {
                    self.at += 2;
                    path.push_str("::");
                    path.push_str(&self.word());
                    continue;
                }
                () if self.follows(".") => self.at += 1,
                () => return Ok(path),
            }
            let name = self.word();
            if name.is_empty() {
                return Err(self.expected("the name of a member is expected"));
            }
            path.push('.');
            path.push_str(&name);
        }
    }

    fn word(&mut self) -> String {
        let start = self.at;
        if self.peek().is_some_and(|c| c.is_alphabetic() || c == '_') {
            self.skip(|c| c.is_alphanumeric() || matches!(c, '_' | '$'));
        }
        self.taken(start)
    }

    /// Takes `word` where it comes next and no longer word does.
    fn keyword(&mut self, word: &str) -> bool {
        self.blanks();
        let end = self.chars.get(self.at + word.len());
        let is_whole = end.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '_' | '.' | '-' | '['));
        let found = self.follows(word) && is_whole;
        if found {
            self.at += word.len();
        }
        found
    }

    /// Whether ASCII text comes next.
    fn follows(&self, text: &str) -> bool {
        let rest = self.chars.get(self.at..).unwrap_or_default();
        rest.len() >= text.len() && text.chars().zip(rest).all(|(a, b)| a == *b)
    }

    fn blanks(&mut self) {
        self.skip(char::is_whitespace);
    }

    fn skip(&mut self, wanted: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&wanted) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn taken(&self, start: usize) -> String {
        self.chars.get(start..self.at).unwrap_or_default().iter().collect()
    }

    fn error(&self, message: &str) -> FilterError {
        FilterError { column: self.at + 1, message: message.to_owned() }
    }

    /// An error that says what stands here instead.
    fn expected(&self, message: &str) -> FilterError {
        let rest = self.chars.get(self.at..).unwrap_or_default();
        let found: String = rest.iter().take_while(|c| !c.is_whitespace()).take(40).collect();
        let found = if found.is_empty() { "the end".to_owned() } else { format!("`{}`", shown(&found)) };
        let comma = if message.ends_with(',') { "" } else { "," };
        FilterError { column: self.at + 1, message: format!("{message}{comma} not {found}") }
    }
}

/// What was found, for a terminal: the quotes stay as they were written.
fn shown(found: &str) -> String {
    found.chars().fold(String::new(), |text, c| match c {
        '\'' | '"' | '\\' => text + c.encode_utf8(&mut [0; 4]),
        c => text + &c.escape_debug().to_string(),
    })
}

fn one_or(mut parts: Vec<Filter>, several: impl FnOnce(Vec<Filter>) -> Filter) -> Filter {
    match (parts.pop(), parts.is_empty()) {
        (Some(only), true) => only,
        (last, _) => {
            parts.extend(last);
            several(parts)
        }
    }
}

fn number(text: &str) -> Option<Literal> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if let Some(hex) = digits.strip_prefix("0x") {
        let magnitude = i128::from(u64::from_str_radix(hex, 16).ok()?);
        return Some(Literal::Integer(if negative { -magnitude } else { magnitude }));
    }
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if let Ok(magnitude) = digits.parse::<u64>() {
        let magnitude = i128::from(magnitude);
        return Some(Literal::Integer(if negative { -magnitude } else { magnitude }));
    }
    if digits.contains('.') || digits.contains(['e', 'E']) {
        let number: f64 = digits.parse().ok()?;
        return number.is_finite().then_some(Literal::Float(if negative { -number } else { number }));
    }
    size_bytes(digits).map(|bytes| Literal::Integer(if negative { -i128::from(bytes) } else { bytes.into() }))
}

/// A number of bytes: `4096`, `0x1000`, `1K`, `1.5MiB`.
fn size_bytes(text: &str) -> Option<u64> {
    if let Some(hex) = text.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).ok();
    }
    let unit = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(unit);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || fraction.len() > 9 || digits.ends_with('.') {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(1 << shift)?;
    let scale = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let fraction = if fraction.is_empty() { 0 } else { fraction.parse::<u64>().ok()? };
    whole.checked_add(u64::try_from(u128::from(fraction) * (1_u128 << shift) / u128::from(scale)).ok()?)
}
