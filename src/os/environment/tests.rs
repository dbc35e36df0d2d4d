//! Values that are accepted, values that are refused, and what is said about those.

use std::ffi::CString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use super::{
    NEVER_MILLISECONDS, Refusal, parse_bytes_size, parse_count, parse_milliseconds, parse_switch,
    read_or_warn, variable,
};

#[test]
fn a_variable_is_what_the_standard_library_says() {
    let (name, value) =
        std::env::vars_os().find(|(_, value)| !value.is_empty()).expect("the environment is empty");
    let name = CString::new(name.into_vec()).expect("a name has no zero byte");
    assert_eq!(variable(&name), Some(value.as_bytes()));
    assert_eq!(read_or_warn(&name, |_| Some(7), "anything", &8), Some(7));
}

#[test]
fn an_absent_variable_is_not_parsed() {
    let name = c"CAPMALLOC_NO_SUCH_VARIABLE";
    assert_eq!(variable(name), None);
    let parse = |_: &[u8]| -> Option<u8> { panic!("there is nothing to parse") };
    assert_eq!(read_or_warn(name, parse, "", &""), None);
}

#[test]
fn a_refusal_names_the_variable_the_value_and_what_is_used() {
    let refusal = |value: &[u8]| {
        let refusal = Refusal {
            name: c"CAPMALLOC_ARENA_MAX",
            value,
            expected: "a whole number from 1 to 1024",
            instead: &format_args!("{}, one per usable CPU", 8),
        };
        refusal.to_string()
    };
    let rest = "is not a whole number from 1 to 1024; using 8, one per usable CPU";
    assert_eq!(refusal(b"0"), format!("CAPMALLOC_ARENA_MAX=\"0\" {rest}"));
    assert_eq!(refusal(b""), format!("CAPMALLOC_ARENA_MAX=\"\" {rest}"));
    assert_eq!(refusal(b"a\xff\n"), format!("CAPMALLOC_ARENA_MAX=\"a\\xff\\n\" {rest}"));
}

#[test]
fn the_longest_refusal_fits_on_a_line() {
    let refusal = Refusal {
        name: c"CAPMALLOC_ARENA_MAX",
        value: &[0xff; 1000],
        expected: "a whole number from 1 to 1024",
        instead: &"8, one per usable CPU",
    };
    assert!(refusal.to_string().len() < 400);
}

#[test]
fn counts() {
    assert_eq!(parse_count(b"0"), Some(0));
    assert_eq!(parse_count(b" \t42\n"), Some(42));
    assert_eq!(parse_count(b"007"), Some(7));
    let largest = usize::MAX.to_string();
    assert_eq!(parse_count(largest.as_bytes()), Some(usize::MAX));
    let too_large = (usize::MAX as u128 + 1).to_string();
    for wrong in ["", " ", "-1", "+1", "1 2", "1.5", "0x10", "1k", "one", &too_large] {
        assert_eq!(parse_count(wrong.as_bytes()), None, "{wrong:?}");
    }
    assert_eq!(parse_count(b"\xff\xfe"), None);
}

#[test]
fn sizes() {
    assert_eq!(parse_bytes_size(b"0"), Some(0));
    assert_eq!(parse_bytes_size(b"4096"), Some(4096));
    assert_eq!(parse_bytes_size(b"10B"), Some(10));
    assert_eq!(parse_bytes_size(b"512M"), Some(512 << 20));
    assert_eq!(parse_bytes_size(b"64k"), Some(64 << 10));
    assert_eq!(parse_bytes_size(b" 1G "), Some(1 << 30));
    assert_eq!(parse_bytes_size(b"2GiB"), Some(2 << 30));
    assert_eq!(parse_bytes_size(b"2gIb"), Some(2 << 30));
    assert_eq!(parse_bytes_size(b"3kb"), Some(3 << 10));
    #[cfg(target_pointer_width = "64")]
    {
        assert_eq!(parse_bytes_size(b"3TB"), Some(3 << 40));
        assert_eq!(parse_bytes_size(b"16777215T"), Some(16_777_215 << 40));
    }
    for wrong in [
        "",
        " ",
        "K",
        "1.5",
        "1.5G",
        "-1",
        "-1K",
        "+1K",
        "1 K",
        "1KK",
        "1KiBs",
        "1Ki",
        "1iB",
        "1BB",
        "1BiB",
        "1P",
        "0x10",
        "16777216T",
        "18446744073709551615K",
        "18446744073709551616",
    ] {
        assert_eq!(parse_bytes_size(wrong.as_bytes()), None, "{wrong:?}");
    }
}

#[test]
fn switches() {
    for on in ["1", "true", "TRUE", "yes", "Yes", "on", " oN\n"] {
        assert_eq!(parse_switch(on.as_bytes()), Some(true), "{on:?}");
    }
    for off in ["0", "false", "False", "no", "NO", "off", "\toff"] {
        assert_eq!(parse_switch(off.as_bytes()), Some(false), "{off:?}");
    }
    for wrong in ["", " ", "2", "01", "t", "y", "enabled", "on off"] {
        assert_eq!(parse_switch(wrong.as_bytes()), None, "{wrong:?}");
    }
}

#[test]
fn milliseconds() {
    assert_eq!(parse_milliseconds(b"0"), Some(0));
    assert_eq!(parse_milliseconds(b" 10000 "), Some(10_000));
    assert_eq!(parse_milliseconds(b"-1"), Some(NEVER_MILLISECONDS));
    assert_eq!(parse_milliseconds(b"9223372036854775807"), Some(i64::MAX));
    for wrong in ["", "-", "-0", "-2", "-01", "- 1", "+1", "1.5", "10s", "9223372036854775808"] {
        assert_eq!(parse_milliseconds(wrong.as_bytes()), None, "{wrong:?}");
    }
}
