//! Reading and showing text without allocating or panicking.

use core::fmt;

/// How much of a value from outside is repeated in a message, in bytes.
const SHOWN_BYTES: usize = 64;

/// Parses a whole number written in decimal digits and nothing else, or returns
/// `None` when there are no digits, something else, or more than a `u64` holds.
pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, byte| {
        let digit = char::from(*byte).to_digit(10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Shows bytes from outside between quotes, as printable ASCII on one line.
///
/// Only the first [`SHOWN_BYTES`] bytes are shown, followed by `...` after the
/// closing quote when there are more, so that a message keeps room for the rest of
/// what it has to say.
pub(crate) struct Quoted<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.get(..SHOWN_BYTES).unwrap_or(self.0);
        let more = if shown.len() < self.0.len() { "..." } else { "" };
        write!(formatter, "\"{}\"{more}", shown.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::{Quoted, decimal};

    #[test]
    fn decimal_takes_every_u64_and_nothing_else() {
        assert_eq!(decimal(b"0"), Some(0));
        assert_eq!(decimal(b"007"), Some(7));
        assert_eq!(decimal(b"18446744073709551615"), Some(u64::MAX));
        for wrong in [
            &b""[..],
            b"18446744073709551616",
            b"99999999999999999999999999",
            b"-1",
            b"+1",
            b" 1",
            b"1 ",
            b"1.5",
            b"0x10",
            b"1_000",
            b"\xff",
            b"a",
        ] {
            assert_eq!(decimal(wrong), None, "{}", Quoted(wrong));
        }
    }

    #[test]
    fn quoted_text_is_printable_ascii() {
        let shown = Quoted(b"a \"b\"\n\t\\\xff\xc3\xa9\0").to_string();
        assert_eq!(shown, r#""a \"b\"\n\t\\\xff\xc3\xa9\x00""#);
        assert_eq!(Quoted(b"").to_string(), "\"\"");
    }

    #[test]
    fn quoted_text_is_cut_when_it_is_long() {
        let exact = Quoted(&[b'a'; 64]).to_string();
        assert_eq!(exact, format!("\"{}\"", "a".repeat(64)));
        let long = Quoted(&[b'a'; 65]).to_string();
        assert_eq!(long, format!("\"{}\"...", "a".repeat(64)));
    }
}
