//! Settings from the environment: reading them, understanding them, and saying so
//! when one of them cannot be understood.

use core::ffi::CStr;
use core::fmt;

use super::message;
use super::text::{Quoted, decimal};

/// What [`parse_milliseconds`] returns for something that is never to happen.
pub(crate) const NEVER_MILLISECONDS: i64 = -1;

/// Returns the value of the environment variable `name`, if it is set.
///
/// The bytes are the environment's own, not a copy: the C library offers no way of
/// reading a variable that is safe against another thread changing the environment,
/// and a value that `setenv` or `putenv` replaces may be overwritten or freed. So
/// each variable is read once, at the process's first allocation, before any other
/// thread can be running and before `main` can change anything, and what was parsed
/// is kept instead of the bytes.
pub(crate) fn variable(name: &CStr) -> Option<&'static [u8]> {
    // SAFETY: `name` is a terminated string. Whoever changes the environment while
    // other threads run has promised that none of them reads it (`std::env::set_var`
    // is unsafe for that reason), so the environment is not changing under this call.
    let value = unsafe { libc::getenv(name.as_ptr()) };
    if value.is_null() {
        return None;
    }
    // SAFETY: a value that `getenv` returns is not null here, is terminated, and is
    // part of the environment, which is never freed while nobody changes it; callers
    // are done with it before anybody can, as documented above.
    Some(unsafe { CStr::from_ptr(value) }.to_bytes())
}

/// Reads the variable `name` with `parse`.
///
/// Returns `None` when the variable is not set, and when `parse` refuses its value,
/// even an empty one. In the latter case one line on standard error tells the user,
/// such as `capmalloc: NAME="0" is not a whole number from 1 to 1024; using 8`, where
/// `a whole number from 1 to 1024` is `expected` and `8` is `instead`.
pub(crate) fn read_or_warn<T>(
    name: &CStr,
    parse: impl FnOnce(&[u8]) -> Option<T>,
    expected: &str,
    instead: &dyn fmt::Display,
) -> Option<T> {
    let value = variable(name)?;
    let parsed = parse(value);
    if parsed.is_none() {
        let refusal = Refusal { name, value, expected, instead };
        message::warn(format_args!("{refusal}"));
    }
    parsed
}

/// What is said about a variable whose value cannot be used.
struct Refusal<'a> {
    /// The name of the variable.
    name: &'a CStr,
    /// The value that was refused.
    value: &'a [u8],
    /// What the value should have been.
    expected: &'a str,
    /// What is used in place of the value.
    instead: &'a dyn fmt::Display,
}

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.to_bytes().escape_ascii();
        let value = Quoted(self.value);
        let (expected, instead) = (self.expected, self.instead);
        write!(formatter, "{name}={value} is not {expected}; using {instead}")
    }
}

/// Parses a whole number in decimal digits, with no sign and nothing around it but
/// ASCII whitespace. A number too large for a `usize` is refused.
pub(crate) fn parse_count(value: &[u8]) -> Option<usize> {
    usize::try_from(decimal(value.trim_ascii())?).ok()
}

/// Parses a size in bytes: a whole number as in [`parse_count`], and right after it
/// an optional unit.
///
/// The units are `K`, `M`, `G` and `T`, each alone or followed by `B` or `iB`, and
/// `B` for bytes, in either case. Every unit is a power of 1024, so `1KB` is `1KiB`.
/// Fractions are refused, and so is a size too large for a `usize`.
pub(crate) fn parse_bytes_size(value: &[u8]) -> Option<usize> {
    let text = value.trim_ascii();
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let bytes = decimal(number)?.checked_mul(unit_bytes(unit)?)?;
    usize::try_from(bytes).ok()
}

/// Returns the number of bytes in the unit written as `unit`, where no unit at all
/// is one byte.
fn unit_bytes(unit: &[u8]) -> Option<u64> {
    let (letter, rest) = match unit {
        [] => return Some(1),
        [letter, rest @ ..] => (letter.to_ascii_lowercase(), rest),
    };
    let bytes = match letter {
        b'b' if rest.is_empty() => 1,
        b'k' => 1 << 10,
        b'm' => 1 << 20,
        b'g' => 1 << 30,
        b't' => 1 << 40,
        _ => return None,
    };
    let is_unit =
        rest.is_empty() || rest.eq_ignore_ascii_case(b"b") || rest.eq_ignore_ascii_case(b"ib");
    is_unit.then_some(bytes)
}

/// Parses a switch: `1`, `true`, `yes` or `on`, or else `0`, `false`, `no` or `off`,
/// in either case and with nothing around it but ASCII whitespace.
pub(crate) fn parse_switch(value: &[u8]) -> Option<bool> {
    let text = value.trim_ascii();
    let is_one_of =
        |words: [&str; 4]| words.iter().any(|word| text.eq_ignore_ascii_case(word.as_bytes()));
    if is_one_of(["1", "true", "yes", "on"]) {
        Some(true)
    } else if is_one_of(["0", "false", "no", "off"]) {
        Some(false)
    } else {
        None
    }
}

/// Parses a time in milliseconds: a whole number as in [`parse_count`] that fits in
/// an `i64`, or `-1`, which is [`NEVER_MILLISECONDS`]. No other negative number is
/// accepted.
pub(crate) fn parse_milliseconds(value: &[u8]) -> Option<i64> {
    match value.trim_ascii() {
        b"-1" => Some(NEVER_MILLISECONDS),
        digits => i64::try_from(decimal(digits)?).ok(),
    }
}

#[cfg(test)]
mod tests;
