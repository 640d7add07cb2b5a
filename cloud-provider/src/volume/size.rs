//! Sizes of volumes: what a claim asks for, in the units that clouds count in.

use crate::config::quantity::{self, Invalid};

/// What a cloud counts volume sizes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Byte,
    /// 1000 bytes.
    Kilobyte,
    /// 1000² bytes.
    Megabyte,
    /// 1024 bytes.
    Kibibyte,
    /// 1024² bytes.
    Mebibyte,
    /// 1024³ bytes.
    Gibibyte,
}

impl Unit {
    fn bytes(self) -> i64 {
        match self {
            Self::Byte => 1,
            Self::Kilobyte => 1000,
            Self::Megabyte => 1000 * 1000,
            Self::Kibibyte => 1024,
            Self::Mebibyte => 1024 * 1024,
            Self::Gibibyte => 1024 * 1024 * 1024,
        }
    }
}

/// A size that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is no quantity.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// It is 2⁶³ - 1 bytes or more.
    #[error("quantity {0} is too great, overflows int64")]
    TooGreat(String),
}

/// How many units it takes for `size`, a Kubernetes quantity such as `1.2Gi`: rounded up, so that nobody gets less than
/// they asked for.
///
/// # Errors
/// When it is no quantity, is negative, or has 2⁶³ - 1 bytes or more.
pub fn round_up(size: &str, unit: Unit) -> Result<i64, Error> {
    let bytes = quantity::parse(size)?;
    let bytes = i64::try_from(bytes).ok().filter(|bytes| *bytes < i64::MAX);
    let bytes = bytes.ok_or_else(|| Error::TooGreat(size.to_owned()))?;
    let unit = unit.bytes();
    Ok(bytes / unit + i64::from(bytes % unit > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_12_12_round_up_to_gib() {
        for (size, gibibytes) in [
            ("1000Ki", Some(1)),
            ("1000k", Some(1)),
            ("1000Mi", Some(1)),
            ("1000M", Some(1)),
            ("1000G", Some(932)),
            ("1000Gi", Some(1000)),
            ("1.2Gi", Some(2)),
            ("8191Pi", Some(8_588_886_016)),
            ("8192Pi", None),
        ] {
            assert_eq!(round_up(size, Unit::Gibibyte).ok(), gibibytes, "{size}");
        }
    }

    #[test]
    fn other_units_round_up_too() {
        for (size, unit, count) in [
            ("1.5k", Unit::Byte, 1500),
            ("1001", Unit::Kilobyte, 2),
            ("1Mi", Unit::Megabyte, 2),
            ("1025", Unit::Kibibyte, 2),
            ("3Gi", Unit::Mebibyte, 3072),
            ("0", Unit::Gibibyte, 0),
        ] {
            assert_eq!(round_up(size, unit), Ok(count), "{size}");
        }
        assert!(round_up("9223372036854775806", Unit::Byte).is_ok());
        assert_eq!(
            round_up("9223372036854775807", Unit::Byte).unwrap_err().to_string(),
            "quantity 9223372036854775807 is too great, overflows int64"
        );
        assert!(round_up("-1Gi", Unit::Byte).is_err() && round_up("much", Unit::Byte).is_err());
    }
}
