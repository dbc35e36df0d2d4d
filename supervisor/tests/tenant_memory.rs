//! That a tenant's memory is back with the operating system after its restart, by the kernel's
//! count. The only test of its process, so that nothing else takes or gives memory meanwhile.

use std::alloc::Layout;
use std::time::{Duration, Instant};

use capmalloc_supervisor::{Instance, InstanceId, Tenant};

const MIB: usize = 1 << 20;

/// What this process has resident, by the kernel's table.
fn resident_bytes() -> usize {
    let table = std::fs::read_to_string("/proc/self/smaps_rollup").expect("the kernel's table");
    let line = table.lines().find_map(|line| line.strip_prefix("Rss:")).expect("a line of it");
    let kibibytes = line.trim().strip_suffix(" kB").expect("KiB").trim();
    kibibytes.parse::<usize>().expect("a number") * 1024
}

/// Fills a tenant with small, large and huge blocks, and frees some of each.
fn fill(tenant: &Tenant) {
    let lease = tenant.lease();
    for (bytes, count) in [(100, 100_000), (5000, 2000), (200_000, 100), (3 * MIB, 5)] {
        let layout = Layout::from_size_align(bytes, 8).expect("a layout");
        for index in 0..count {
            let block = lease.alloc(layout).expect("memory");
            // SAFETY: the block is this test's alone, and so long; it is freed once, with its
            // layout.
            unsafe {
                block.write_bytes(1, bytes);
                if index % 4 == 0 {
                    lease.dealloc(block, layout);
                }
            }
        }
    }
}

#[test]
fn resident_memory_falls_by_the_footprint_within_the_decay_time() {
    let tenant = Tenant::new(InstanceId(1), "m".into()).expect("memory for a heap");
    let other = Tenant::new(InstanceId(2), "m".into()).expect("memory for a heap");
    fill(&other);
    fill(&tenant);
    let decay = tenant.lease().decay().expect("memory decays unless told otherwise");
    let footprint = tenant.footprint().expect("nobody restarts it").resident_bytes as usize;
    let other_bytes = other.footprint().expect("nobody restarts it");
    let before = resident_bytes();
    assert!(footprint > 40 * MIB && before > 2 * footprint, "{footprint} of {before}");
    tenant.restart().expect("nobody uses it");
    let deadline = Instant::now() + decay + Duration::from_secs(30);
    // The new heap's own record is a few pages, and so is what the test itself takes.
    let expected = before - footprint + MIB / 2;
    let mut after = resident_bytes();
    while after > expected && Instant::now() < deadline {
        std::thread::sleep(decay / 20);
        after = resident_bytes();
    }
    assert!(after <= expected, "{before} - {footprint} = {expected} < {after}");
    assert_eq!(other.footprint().expect("nobody restarts it"), other_bytes);
}
