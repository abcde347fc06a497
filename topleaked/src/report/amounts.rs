//! Sizes, counts and shares, as people read and write them.

use std::fmt;

const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// A number of bytes in its binary unit: `512 B`, `1.5 KiB`, `3.9 GiB`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut unit = 0;
        // In tenths, rounded, so that 1023.97 KiB becomes 1.0 MiB and not 1024.0 KiB.
        let mut tenths = u128::from(self.0) * 10;
        while tenths + 5 >= 10_240 && unit + 1 < UNITS.len() {
            unit += 1;
            let size = 1_u128 << (10 * unit);
            tenths = (u128::from(self.0) * 10 + size / 2) / size;
        }
        let name = UNITS.get(unit).copied().unwrap_or("B");
        let text = match unit {
            0 => format!("{} {name}", self.0),
            _ => format!("{}.{} {name}", tenths / 10, tenths % 10),
        };
        f.pad(&text)
    }
}

/// A count with a comma after each three digits: `1,000,000`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Grouped(pub u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut text = String::with_capacity(digits.len() + digits.len() / 3);
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        f.pad(&text)
    }
}

/// `part` of `whole` in per cent with one decimal: `99.2 %`. Never rounded to `100.0 %` or `0.0 %` where it is not
/// exactly that; a whole of nothing is written as a dash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share {
    /// How many of them.
    pub part: u64,
    /// How many in all.
    pub whole: u64,
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.whole == 0 {
            return f.pad("-");
        }
        let (part, whole) = (u128::from(self.part), u128::from(self.whole));
        let tenths = (part * 1000 + whole / 2) / whole;
        let text = match tenths {
            0 if part > 0 => "<0.1 %".to_owned(),
            1000 if part < whole => ">99.9 %".to_owned(),
            _ => format!("{}.{} %", tenths / 10, tenths % 10),
        };
        f.pad(&text)
    }
}

/// Reads a size as people write it: `4096`, `512M`, `1G`, `64MiB`, `1.5g`. `K`, `M`, `G`, `T` are powers of 1024,
/// with or without `B` or `iB` behind, in any case.
///
/// `None` where it is no size, or none below 2^64.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 9 || number.ends_with('.') {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(1 << shift)?;
    let scale = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let fraction = if fraction.is_empty() { 0 } else { fraction.parse::<u64>().ok()? };
    let part = u128::from(fraction) * (1_u128 << shift) / u128::from(scale);
    whole.checked_add(u64::try_from(part).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_the_unit_that_fits() {
        let shown = |bytes| Bytes(bytes).to_string();
        assert_eq!(shown(0), "0 B");
        assert_eq!(shown(1023), "1023 B");
        assert_eq!(shown(1024), "1.0 KiB");
        assert_eq!(shown(1536), "1.5 KiB");
        assert_eq!(shown((1 << 20) - 1), "1.0 MiB");
        assert_eq!(shown(u64::MAX), "16.0 EiB");
        assert_eq!(format!("{:>9}|", Bytes(5)), "      5 B|");
    }

    #[test]
    fn counts_are_grouped_by_three() {
        assert_eq!(Grouped(0).to_string(), "0");
        assert_eq!(Grouped(999).to_string(), "999");
        assert_eq!(Grouped(1000).to_string(), "1,000");
        assert_eq!(Grouped(u64::MAX).to_string(), "18,446,744,073,709,551,615");
    }

    #[test]
    fn a_share_is_never_rounded_to_all_or_nothing() {
        let shown = |part, whole| Share { part, whole }.to_string();
        assert_eq!(shown(1, 3), "33.3 %");
        assert_eq!(shown(0, 3), "0.0 %");
        assert_eq!(shown(3, 3), "100.0 %");
        assert_eq!(shown(1, 1_000_000), "<0.1 %");
        assert_eq!(shown(999_999, 1_000_000), ">99.9 %");
        assert_eq!(shown(0, 0), "-");
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(parse_bytes("4096"), Some(4096));
        assert_eq!(parse_bytes("512M"), Some(512 << 20));
        assert_eq!(parse_bytes("1g"), Some(1 << 30));
        assert_eq!(parse_bytes("64 MiB"), Some(64 << 20));
        assert_eq!(parse_bytes("1.5K"), Some(1536));
        for refused in ["", "M", "-1", "1X", "1.", ".5", "1e3", "16777216T", "1..5", "99999999999999999999"] {
            assert_eq!(parse_bytes(refused), None, "{refused}");
        }
    }
}
