//! Limits found in copies of the kernel's files, as they look in and out of containers.

use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::cpu_limit;

/// A line of `mountinfo` that mounts the unified hierarchy in the usual place.
const UNIFIED: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";

/// A line of `mountinfo` that mounts the `cpu` controller in the usual place.
const LEGACY: &str =
    "31 23 0:27 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n";

/// A directory with copies of the kernel's files, removed when dropped.
struct Tree(PathBuf);

impl Tree {
    fn new(group: &str, mounts: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("capmalloc-cgroup-{}-{number}", std::process::id());
        let tree = Self(std::env::temp_dir().join(name));
        tree.with("proc/self/cgroup", group).with("proc/self/mountinfo", mounts)
    }

    fn with(self, name: &str, text: impl AsRef<[u8]>) -> Self {
        let path = self.0.join(name);
        let directory = path.parent().expect("a file is in a directory");
        std::fs::create_dir_all(directory).expect("cannot make a directory");
        std::fs::write(path, text).expect("cannot write");
        self
    }

    fn with_legacy(self, directory: &str, quota: &str, period: &str) -> Self {
        self.with(&format!("{directory}/cpu.cfs_quota_us"), quota)
            .with(&format!("{directory}/cpu.cfs_period_us"), period)
    }

    fn limit(&self) -> Option<usize> {
        cpu_limit(self.0.as_os_str().as_bytes())
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Returns the limit of a process whose own group has `value` in `cpu.max`.
fn unified_limit(value: impl AsRef<[u8]>) -> Option<usize> {
    Tree::new("0::/app\n", UNIFIED).with("sys/fs/cgroup/app/cpu.max", value).limit()
}

/// Returns the limit of a process whose own group has this quota and this period.
fn legacy_limit(quota: &str, period: &str) -> Option<usize> {
    Tree::new("4:cpu,cpuacct:/app\n", LEGACY)
        .with_legacy("sys/fs/cgroup/cpu,cpuacct/app", quota, period)
        .limit()
}

#[test]
fn quotas_are_rounded_up() {
    for (value, limit) in [
        ("50000 100000\n", 1),
        ("1000 100000\n", 1),
        ("100000 100000\n", 1),
        ("100001 100000\n", 2),
        ("250000 100000\n", 3),
        ("300000 100000", 3),
        ("800000 50000\n", 16),
    ] {
        assert_eq!(unified_limit(value), Some(limit), "{value:?}");
        let (quota, period) = value.split_once(' ').expect("there are two numbers");
        assert_eq!(legacy_limit(quota, period), Some(limit), "{value:?}");
    }
}

#[test]
fn no_quota_is_no_limit() {
    assert_eq!(unified_limit("max 100000\n"), None);
    assert_eq!(legacy_limit("-1\n", "100000\n"), None);
}

#[test]
fn malformed_files_are_no_limit() {
    for value in [
        "",
        "\n",
        "max",
        "100000",
        "100000 \n",
        "100000 max\n",
        "100000 0\n",
        "0 100000\n",
        "-5 100000\n",
        "1e5 100000\n",
        "99999999999999999999 100000\n",
    ] {
        assert_eq!(unified_limit(value), None, "{value:?}");
        let (quota, period) = value.split_once(' ').unwrap_or((value, ""));
        assert_eq!(legacy_limit(quota, period), None, "{value:?}");
    }
    assert_eq!(unified_limit(b"\xff\xfe \xfd"), None);
    assert_eq!(unified_limit([b'1'; 5000]), None);
}

#[test]
fn nothing_at_all_is_no_limit() {
    assert_eq!(cpu_limit(b"/no/such/directory"), None);
    assert_eq!(cpu_limit(&[b'a'; 10_000]), None);
    assert_eq!(Tree::new("", "").limit(), None);
    assert_eq!(Tree::new("0::/app\n", "").limit(), None);
    assert_eq!(Tree::new("", UNIFIED).limit(), None);
    assert_eq!(Tree::new("0::/app\n4:cpu:/app\n", UNIFIED).limit(), None);
    assert_eq!(Tree::new("nonsense\n0:\n\0", "- - -\n \n30\n").limit(), None);
}

#[test]
fn every_group_up_to_the_mount_counts() {
    let tree = Tree::new("0::/a/b/c\n", UNIFIED)
        .with("sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n")
        .with("sys/fs/cgroup/a/b/cpu.max", "600000 100000\n")
        .with("sys/fs/cgroup/a/cpu.max", "900000 100000\n");
    assert_eq!(tree.limit(), Some(6));
    let tree = tree.with("sys/fs/cgroup/a/cpu.max", "550000 100000\n");
    assert_eq!(tree.limit(), Some(6));
    let tree = tree.with("sys/fs/cgroup/cpu.max", "200000 100000\n");
    assert_eq!(tree.limit(), Some(2));
    let tree = tree.with("sys/fs/cgroup/a/b/c/cpu.max", "10000 100000\n");
    assert_eq!(tree.limit(), Some(1));
    // What is outside the mount does not count.
    let tree = Tree::new("0::/a\n", UNIFIED).with("sys/fs/cpu.max", "200000 100000\n");
    assert_eq!(tree.limit(), None);
}

#[test]
fn every_legacy_group_counts() {
    let top = "sys/fs/cgroup/cpu,cpuacct";
    let tree = Tree::new("5:cpuset:/x\n4:cpuacct,cpu:/a/b\n1:name=systemd:/y\n", LEGACY)
        .with_legacy(&format!("{top}/a/b"), "-1\n", "100000\n")
        .with_legacy(&format!("{top}/a"), "350000\n", "100000\n")
        .with_legacy(top, "-1\n", "100000\n");
    assert_eq!(tree.limit(), Some(4));
}

#[test]
fn the_smaller_limit_of_two_hierarchies_counts() {
    let unified = UNIFIED.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified");
    let groups = "4:cpu,cpuacct:/old\n0::/new\n";
    let tree = |quota: &str, value: &str| {
        Tree::new(groups, &format!("{LEGACY}{unified}"))
            .with_legacy("sys/fs/cgroup/cpu,cpuacct/old", quota, "100000\n")
            .with("sys/fs/cgroup/unified/new/cpu.max", value)
    };
    assert_eq!(tree("300000", "200000 100000").limit(), Some(2));
    assert_eq!(tree("200000", "300000 100000").limit(), Some(2));
    assert_eq!(tree("-1", "300000 100000").limit(), Some(3));
    assert_eq!(tree("200000", "max 100000").limit(), Some(2));
    assert_eq!(tree("-1", "max 100000").limit(), None);
}

#[test]
fn a_mount_of_part_of_the_tree_shows_the_rest_of_the_path() {
    let mounts = UNIFIED.replace(" / ", " /docker/1234 ");
    let tree = Tree::new("0::/docker/1234/app\n", &mounts)
        .with("sys/fs/cgroup/app/cpu.max", "400000 100000\n")
        .with("sys/fs/cgroup/docker/1234/app/cpu.max", "100000 100000\n");
    assert_eq!(tree.limit(), Some(4));
    let tree =
        Tree::new("0::/docker/1234\n", &mounts).with("sys/fs/cgroup/cpu.max", "400000 100000\n");
    assert_eq!(tree.limit(), Some(4));
}

#[test]
fn the_top_of_the_mount_counts_when_the_group_is_not_below_it() {
    for group in ["/other/app", "/docker/12345", "/docker", "/", "/.."] {
        let mounts = UNIFIED.replace(" / ", " /docker/1234 ");
        let tree = Tree::new(&format!("0::{group}\n"), &mounts)
            .with("sys/fs/cgroup/cpu.max", "400000 100000\n");
        assert_eq!(tree.limit(), Some(4), "{group}");
    }
    let legacy = LEGACY.replace(" / ", " /docker/1234 ");
    let tree = Tree::new("4:cpu:/\n", &legacy).with_legacy(
        "sys/fs/cgroup/cpu,cpuacct",
        "400000",
        "100000",
    );
    assert_eq!(tree.limit(), Some(4));
}

#[test]
fn a_group_outside_the_namespace_is_not_looked_for_outside_the_mount() {
    let tree = Tree::new("0::/../other\n", UNIFIED)
        .with("sys/fs/other/cpu.max", "100000 100000\n")
        .with("sys/fs/cgroup/cpu.max", "400000 100000\n");
    assert_eq!(tree.limit(), Some(4));
    let tree = Tree::new("0::/../other\n", &UNIFIED.replace(" / ", " /.. "))
        .with("sys/fs/cgroup/other/cpu.max", "300000 100000\n");
    assert_eq!(tree.limit(), Some(3));
}

#[test]
fn a_mount_that_shows_the_group_is_preferred() {
    let elsewhere = UNIFIED.replace(" / /sys/fs/cgroup ", " /other /mnt ");
    for mounts in [format!("{elsewhere}{UNIFIED}"), format!("{UNIFIED}{elsewhere}")] {
        let tree = Tree::new("0::/app\n", &mounts)
            .with("mnt/cpu.max", "100000 100000\n")
            .with("sys/fs/cgroup/app/cpu.max", "500000 100000\n");
        assert_eq!(tree.limit(), Some(5));
        let tree = tree.with("sys/fs/cgroup/app/cpu.max", "max 100000\n");
        assert_eq!(tree.limit(), None);
    }
    // Without one, the first mount counts.
    let mounts = format!("{elsewhere}{}", elsewhere.replace("/mnt", "/late"));
    let tree = Tree::new("0::/app\n", &mounts)
        .with("mnt/cpu.max", "300000 100000\n")
        .with("late/cpu.max", "200000 100000\n");
    assert_eq!(tree.limit(), Some(3));
}

#[test]
fn a_group_that_is_not_there_still_has_groups_around_it() {
    let tree =
        Tree::new("0::/a/gone\n", UNIFIED).with("sys/fs/cgroup/a/cpu.max", "300000 100000\n");
    assert_eq!(tree.limit(), Some(3));
}

#[test]
fn escaped_paths_are_found() {
    let mounts = UNIFIED
        .replace(" / ", r" /a\040b\134 ")
        .replace("/sys/fs/cgroup", r"/mnt/my\040groups\011\134x");
    let tree = Tree::new("0::/a b\\/c:d e\n", &mounts)
        .with("mnt/my groups\t\\x/c:d e/cpu.max", "300000 100000\n");
    assert_eq!(tree.limit(), Some(3));
}

#[test]
fn huge_mount_tables_are_read_to_the_end() {
    let mut mounts = String::new();
    for number in 0..500 {
        let options = "lowerdir=/var/lib/layers/".repeat(number);
        mounts += &format!("99 1 0:9 / /merged/{number} rw - overlay overlay rw,{options}\n");
    }
    mounts += "98 1 0:8 / /cgroup2 rw - tmpfs cgroup2 rw,cpu\n";
    mounts += "97 1 0:7 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n";
    mounts += UNIFIED;
    let tree = Tree::new("9:cpuset:/app\n0::/app\n", &mounts)
        .with("sys/fs/cgroup/app/cpu.max", "300000 100000\n");
    assert_eq!(tree.limit(), Some(3));
}

#[test]
fn paths_that_are_too_long_are_no_limit() {
    let group = format!("0::{}\n", "/a".repeat(3000));
    let tree = Tree::new(&group, UNIFIED).with("sys/fs/cgroup/cpu.max", "300000 100000\n");
    assert_eq!(tree.limit(), None);
}
