//! Kubernetes quantities: `512`, `1k`, `2Ki`, `1.5Mi`, `1e3`, `100m`.

/// A text that is no quantity, or a negative one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unable to parse quantity {0:?}")]
pub struct Invalid(String);

/// Digits after the point that count; what is smaller is rounded up.
const PRECISION: usize = 18;

/// The whole number that a quantity stands for, rounded up; the largest number for what is even larger.
///
/// # Errors
/// When the text is no quantity, or a negative one.
pub fn parse(text: &str) -> Result<u128, Invalid> {
    let invalid = || Invalid(text.to_owned());
    let number = text.strip_prefix('+').unwrap_or(text);
    let end = number.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(number.len());
    let (number, suffix) = number.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return Err(invalid());
    }
    let (factor, exponent) = scale(suffix).ok_or_else(invalid)?;

    let fraction = fraction.trim_end_matches('0');
    let (counted, rest) = fraction.split_at(fraction.len().min(PRECISION));
    let digits = format!("{whole}{counted}");
    let digits = digits.trim_start_matches('0');
    let mantissa = if digits.is_empty() { Some(0) } else { digits.parse::<u128>().ok() };
    let mantissa = mantissa.and_then(|mantissa| mantissa.checked_add(u128::from(!rest.is_empty())));
    // 0 to the left of the point stays 0, whatever its exponent.
    if mantissa == Some(0) {
        return Ok(0);
    }
    let exponent = exponent.saturating_sub_unsigned(u32::try_from(counted.len()).unwrap_or(u32::MAX));
    let scaled = mantissa.and_then(|mantissa| mantissa.checked_mul(factor));
    let power = 10_u128.checked_pow(exponent.unsigned_abs());
    Ok(match (scaled, power) {
        (Some(scaled), Some(power)) if exponent < 0 => scaled.div_ceil(power),
        (Some(_), None) if exponent < 0 => 1,
        (Some(scaled), Some(power)) => scaled.saturating_mul(power),
        _ => u128::MAX,
    })
}

/// The factor and the power of ten that a suffix stands for.
fn scale(suffix: &str) -> Option<(u128, i32)> {
    let binary = |bits: u32| Some((1 << bits, 0));
    match suffix {
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        "n" => Some((1, -9)),
        "u" => Some((1, -6)),
        "m" => Some((1, -3)),
        "" => Some((1, 0)),
        "k" => Some((1, 3)),
        "M" => Some((1, 6)),
        "G" => Some((1, 9)),
        "T" => Some((1, 12)),
        "P" => Some((1, 15)),
        "E" => Some((1, 18)),
        exponent => exponent.strip_prefix(['e', 'E'])?.parse().ok().map(|exponent| (1, exponent)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantities_are_read_exactly_and_rounded_up() {
        for (text, number) in [
            ("0", 0),
            ("512", 512),
            ("+5", 5),
            ("1k", 1000),
            ("2Ki", 2048),
            ("1.5Mi", 1_572_864),
            (".5k", 500),
            ("5.", 5),
            ("1e3", 1000),
            ("1E3", 1000),
            ("12E-1", 2),
            ("1E", 1_000_000_000_000_000_000),
            ("100m", 1),
            ("1500m", 2),
            ("1n", 1),
            ("0.1", 1),
            ("9007199254740993", 9_007_199_254_740_993),
            ("1.0000000000000000000000000001", 2),
            ("1.2500000000000000000000000000000000000000k", 1250),
            ("0e99", 0),
            ("1e-99", 1),
            ("1e99", u128::MAX),
        ] {
            assert_eq!(parse(text), Ok(number), "{text}");
        }
        for text in ["", ".", "-1", "1x", "1K", "Ki", "1.2.3", "1 Gi", "1e", "1e1.5", "1ee"] {
            assert_eq!(parse(text).unwrap_err().to_string(), format!("unable to parse quantity {text:?}"));
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[0-9.+eEkKMGimnu-]{0,48}") {
            let _ = parse(&text);
        }
    }
}
