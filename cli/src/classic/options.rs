//! The options of the classic form; the original's names, and ours beside them.

use std::path::PathBuf;

use clap::ValueEnum;

use crate::means::Means;

/// What the classic form is asked. Help, man page, completions and the spellings of `syntax` all come from here.
#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// A dump or any other file, compressed or not; `-` reads standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// How many of the most frequent words or values to show
    #[arg(short = 'n', long = "size", value_name = "N", default_value = "10", value_parser = decimal)]
    pub size: u64,

    /// How to write: for people, or as commands for gdb
    #[arg(short, long, value_name = "FORM", default_value = "human")]
    pub output: Form,

    /// Prints JSON
    #[arg(long)]
    pub json: bool,

    /// Where to start, in bytes; any number
    #[arg(short = 's', long, value_name = "BYTES", default_value = "0", value_parser = decimal)]
    pub offset: u64,

    /// How many words to read at most [default: all]
    #[arg(short, long, value_name = "WORDS", value_parser = decimal)]
    pub limit: Option<u64>,

    /// Says at the end how long it took
    #[arg(short, long)]
    pub time: bool,

    /// Look for this word (hexadecimal) and show the values of the member at each match
    #[arg(short, long, value_name = "WORD", value_parser = hexadecimal, help_heading = "Members")]
    pub find: Option<u64>,

    /// Where the member lies, in bytes from the match; 0x40 and -8 are numbers, too
    #[arg(
        long = "memberOffset",
        value_name = "BYTES",
        default_value = "0",
        value_parser = distance,
        allow_hyphen_values = true,
        help_heading = "Members"
    )]
    pub member_offset: i64,

    /// What the member is
    #[arg(long = "memberType", value_name = "TYPE", default_value = "uint8", help_heading = "Members")]
    pub member_type: MemberType,

    /// What the work may use.
    #[command(flatten)]
    pub means: Means,
}

/// How the classic form writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Form {
    /// A line a value.
    Human,
    /// Three commands a value, for `topleaked … | gdb EXE CORE`.
    Gdb,
}

/// The types that a member can have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
#[value(rename_all = "lower")]
pub enum MemberType {
    /// One byte without a sign.
    Uint8,
    /// Two bytes.
    Uint16,
    /// Four bytes.
    Uint32,
    /// Eight bytes.
    Uint64,
    /// One byte with a sign.
    Int8,
    /// Two bytes with a sign.
    Int16,
    /// Four bytes with a sign.
    Int32,
    /// Eight bytes with a sign.
    Int64,
    /// An IEEE 754 number of four bytes.
    Float32,
    /// An IEEE 754 number of eight bytes.
    Float64,
    /// An address of eight bytes.
    Pointer,
    /// A byte that is 0 or 1.
    Bool,
    /// Text in the object itself, up to a zero byte.
    Cstring,
}

/// Digits and nothing else: `010` is ten.
pub(crate) fn decimal(text: &str) -> Result<u64, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("not a decimal number".to_owned());
    }
    text.parse().map_err(|_| format!("more than {}", u64::MAX))
}

/// Hexadecimal digits, with or without `0x` or `0X`.
fn hexadecimal(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err("not a hexadecimal number".to_owned());
    }
    u64::from_str_radix(digits, 16).map_err(|_| "more than 16 hexadecimal digits".to_owned())
}

/// A decimal number, or a hexadecimal one with `0x`, with or without a minus.
fn distance(text: &str) -> Result<i64, String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let distance = if digits.starts_with("0x") || digits.starts_with("0X") {
        hexadecimal(digits)?
    } else {
        decimal(digits).map_err(|error| format!("{error}, nor a hexadecimal one with 0x"))?
    };
    i64::try_from(i128::from(distance) * sign).map_err(|_| "further than any member can lie".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimal() {
        assert_eq!(decimal("010"), Ok(10));
        assert_eq!(decimal("18446744073709551615"), Ok(u64::MAX));
        for refused in ["", "-1", "+1", "0x10", "1_000", " 1", "18446744073709551616"] {
            assert!(decimal(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn a_word_is_hexadecimal_whatever_its_prefix() {
        for spelling in ["aa", "0xaa", "0XAA", "AA", "00000000000000000000aa"] {
            assert_eq!(hexadecimal(spelling), Ok(0xaa), "{spelling}");
        }
        for refused in ["", "0x", "aag", "-1", "+a", "0x0xaa", "10000000000000000"] {
            assert!(hexadecimal(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn a_distance_may_be_negative_and_hexadecimal() {
        assert_eq!(distance("-8"), Ok(-8));
        assert_eq!(distance("0x40"), Ok(64));
        assert_eq!(distance("-0X8"), Ok(-8));
        assert_eq!(distance("010"), Ok(10));
        assert_eq!(distance("-9223372036854775808"), Ok(i64::MIN));
        for refused in ["", "-", "--8", "9223372036854775808", "40h", "a0"] {
            assert!(distance(refused).is_err(), "{refused}");
        }
    }
}
