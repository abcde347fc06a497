//! A member's values as text.

use topleaked::report::{Hex, QuotedText, ValueRow};
use topleaked::words::MemberCounts;

use super::MemberType;

/// Where a string is cut.
pub(super) const MAX_TEXT_BYTES: u16 = 256;

impl MemberType {
    /// The counted values as rows of the answer.
    pub(super) fn rows(self, counts: &MemberCounts) -> Vec<ValueRow> {
        if self == MemberType::Cstring {
            let strings = counts.strings.iter();
            return strings
                .map(|found| ValueRow {
                    value: QuotedText(&found.bytes).to_string(),
                    count: found.count,
                    name: None,
                    bits: None,
                })
                .collect();
        }
        let numbers = counts.top.iter();
        numbers
            .map(|found| ValueRow {
                value: self.number(found.value),
                count: found.count,
                name: None,
                bits: Some(found.value),
            })
            .collect()
    }

    /// What `bits`, zero-extended, mean in this type. Two different values never look the same.
    fn number(self, bits: u64) -> String {
        // The engine hands out as many bytes as the type has.
        match self {
            MemberType::Int8 => (bits as i8).to_string(),
            MemberType::Int16 => (bits as i16).to_string(),
            MemberType::Int32 => (bits as i32).to_string(),
            MemberType::Int64 => (bits as i64).to_string(),
            MemberType::Float32 => float(f32::from_bits(bits as u32).is_nan(), f32::from_bits(bits as u32), bits),
            MemberType::Float64 => float(f64::from_bits(bits).is_nan(), f64::from_bits(bits), bits),
            MemberType::Bool if bits < 2 => (bits == 1).to_string(),
            _ => Hex(bits).to_string(),
        }
    }
}

/// The shortest number that reads back as the same; of what is no number, the bits.
fn float(is_nan: bool, number: impl std::fmt::Debug, bits: u64) -> String {
    if is_nan { format!("NaN ({})", Hex(bits)) } else { format!("{number:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_as_its_type_has_it() {
        assert_eq!(MemberType::Uint16.number(0x99), "0x0000000000000099");
        assert_eq!(MemberType::Pointer.number(0x7f00_0000_1000), "0x00007f0000001000");
        assert_eq!(MemberType::Int8.number(0xff), "-1");
        assert_eq!(MemberType::Int16.number(0x8000), "-32768");
        assert_eq!(MemberType::Int32.number(0x7fff_ffff), "2147483647");
        assert_eq!(MemberType::Int64.number(u64::MAX), "-1");
        assert_eq!(MemberType::Float32.number(u64::from(1.5_f32.to_bits())), "1.5");
        assert_eq!(MemberType::Float64.number((-0.0_f64).to_bits()), "-0.0");
        assert_eq!(MemberType::Float64.number(1e300_f64.to_bits()), "1e300");
        assert_eq!(MemberType::Float32.number(0x7fc0_0001), "NaN (0x000000007fc00001)");
        assert_eq!(MemberType::Bool.number(0), "false");
        assert_eq!(MemberType::Bool.number(1), "true");
        assert_eq!(MemberType::Bool.number(2), "0x0000000000000002");
    }
}
