//! Numbers as a reader wants them: three digits that tell, thousands apart, a dash for nothing.

/// What stands where there is no figure.
pub(super) const NOTHING: &str = "–";

const BYTES_PER_MIB: f64 = (1 << 20) as f64;

/// Bytes as MiB, without the unit.
pub(super) fn mib(bytes: f64) -> String {
    number(bytes / BYTES_PER_MIB)
}

/// A number with as many decimals as make three digits, and at most two.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    let decimals = if size < 9.995 { 2 } else { usize::from(size < 99.95) };
    match size {
        _ if !value.is_finite() => NOTHING.into(),
        1e12.. => format!("{value:.2e}"),
        _ => with_thousands(&format!("{value:.decimals$}")),
    }
}

/// A whole number, such as a count.
pub(super) fn count(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => NOTHING.into(),
        1e12.. => format!("{value:.2e}"),
        _ => with_thousands(&format!("{value:.0}")),
    }
}

/// How many times something is of something else.
pub(super) fn ratio(value: Option<f64>) -> String {
    match value {
        Some(ratio) if ratio.is_finite() && ratio.abs() < 1000.0 => format!("{ratio:.2}×"),
        Some(ratio) if ratio.is_finite() => format!("{}×", number(ratio)),
        _ => NOTHING.into(),
    }
}

fn with_thousands(digits: &str) -> String {
    let whole = digits.find('.').unwrap_or(digits.len());
    let first = usize::from(digits.starts_with('-'));
    let mut text = String::with_capacity(digits.len() + 4);
    for (index, character) in digits.char_indices() {
        if index > first && index < whole && (whole - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(character);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_tell() {
        let cases = [
            (0.0, "0.00"),
            (1.234, "1.23"),
            (9.996, "10.0"),
            (12.34, "12.3"),
            (99.96, "100"),
            (1234.5, "1,234"),
            (-1234567.0, "-1,234,567"),
            (-123.0, "-123"),
            (f64::NAN, NOTHING),
            (f64::INFINITY, NOTHING),
            (1e300, "1.00e300"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
        assert_eq!(count(1234.0), "1,234");
        assert_eq!(mib(3.0 * BYTES_PER_MIB), "3.00");
        assert_eq!([ratio(Some(0.456)), ratio(None)], ["0.46×", NOTHING]);
    }
}
