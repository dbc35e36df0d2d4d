//! Single lines in the kernel's formats, well-formed and not.

use super::super::Hierarchy::{self, Legacy, Unified};
use super::super::parse;
use super::Mount;

/// Returns the root and the mount point that are found in `line`.
fn mount(line: &str, hierarchy: Hierarchy) -> Option<(String, String)> {
    let mut line = line.as_bytes().to_vec();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    parse::mount(&mut line, hierarchy).map(|Mount { root, point }| (text(root), text(point)))
}

fn pair(root: &str, point: &str) -> Option<(String, String)> {
    Some((root.to_owned(), point.to_owned()))
}

#[test]
fn the_group_is_in_the_line_of_its_hierarchy() {
    assert_eq!(parse::group(b"0::/", Unified), Some(&b"/"[..]));
    assert_eq!(parse::group(b"0::/a:b", Unified), Some(&b"/a:b"[..]));
    assert_eq!(parse::group(b"4:cpu:/a", Legacy), Some(&b"/a"[..]));
    assert_eq!(parse::group(b"4:cpuacct,cpu:/a", Legacy), Some(&b"/a"[..]));
    for wrong in ["", ":", "::", "0::", "0::a", "4:cpu:/a", "1::/a", "0:x:/a"] {
        assert_eq!(parse::group(wrong.as_bytes(), Unified), None, "{wrong:?}");
    }
    for wrong in ["", "0::/", "4:cpuset:/a", "4:cpuacct:/a", "4:name=cpu:/a"] {
        assert_eq!(parse::group(wrong.as_bytes(), Legacy), None, "{wrong:?}");
    }
}

#[test]
fn mounts_are_found_whatever_their_tags() {
    for tags in ["", "shared:4 ", "shared:4 master:2 propagate_from:1 "] {
        let line = format!("30 23 0:26 /r /p rw {tags}- cgroup2 cgroup2 rw");
        assert_eq!(mount(&line, Unified), pair("/r", "/p"), "{tags:?}");
        assert_eq!(mount(&line, Legacy), None, "{tags:?}");
        let line = format!("30 23 0:26 /r /p rw {tags}- cgroup  rw,cpuacct,cpu");
        assert_eq!(mount(&line, Legacy), pair("/r", "/p"), "{tags:?}");
        assert_eq!(mount(&line, Unified), None, "{tags:?}");
    }
    for wrong in [
        "",
        " ",
        "30 23 0:26",
        "30 23 0:26 /r /p rw cgroup2 cgroup2 rw",
        "30 23 0:26 /r /p rw - cgroup2",
        "30 23 0:26 /r /p rw - ext4 /dev/cgroup2 rw",
    ] {
        assert_eq!(mount(wrong, Unified), None, "{wrong:?}");
    }
    assert_eq!(mount("30 23 0:26 / /p rw,cpu - cgroup cpu rw,cpuset", Legacy), None);
}

#[test]
fn escapes_are_undone() {
    for (escaped, plain) in [
        (r"/a\040b", "/a b"),
        (r"\134\011\012\043", "\\\t\n#"),
        (r"/a\134040", r"/a\040"),
        (r"/a\", r"/a\"),
        (r"/a\04", r"/a\04"),
        (r"/a\048", r"/a\048"),
        (r"/a\777", r"/a\777"),
        (r"\\040", r"\ "),
        ("", ""),
    ] {
        let line = format!("30 23 0:26 {escaped} {escaped} rw - cgroup2 none rw");
        assert_eq!(mount(&line, Unified), pair(plain, plain), "{escaped:?}");
    }
}

#[test]
fn a_group_is_below_another_by_whole_names() {
    let below = |group: &'static str, root: &str| {
        parse::path_below(group.as_bytes(), root.as_bytes()).map(String::from_utf8_lossy)
    };
    assert_eq!(below("/", "/").as_deref(), Some(""));
    assert_eq!(below("/a", "/").as_deref(), Some("/a"));
    assert_eq!(below("/a/b/", "/").as_deref(), Some("/a/b"));
    assert_eq!(below("/a", "/a").as_deref(), Some(""));
    assert_eq!(below("/a/b", "/a").as_deref(), Some("/b"));
    assert_eq!(below("/a/b", "/a/").as_deref(), Some("/b"));
    assert_eq!(below("/../b", "/..").as_deref(), Some("/b"));
    assert_eq!(below("/a..b", "/").as_deref(), Some("/a..b"));
    for (group, root) in [("/ab", "/a"), ("/", "/a"), ("/..", "/"), ("/../b", "/"), ("/a/..", "/a")]
    {
        assert_eq!(below(group, root), None, "{group:?} {root:?}");
    }
}
