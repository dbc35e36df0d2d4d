//! A tenant and those who use it while it is restarted.

use std::alloc::Layout;
use std::sync::mpsc;
use std::thread;

use super::*;

fn tenant() -> Tenant {
    Tenant::new(InstanceId(1), "m".into()).unwrap().with_restart_wait(Duration::from_millis(20))
}

fn fill(tenant: &Tenant, blocks: usize) {
    let lease = tenant.lease();
    for _ in 0..blocks {
        let block = lease.alloc(Layout::new::<[u64; 512]>()).unwrap();
        // SAFETY: the block is this test's alone, and as long as the array.
        unsafe { block.cast::<[u64; 512]>().write([1; 512]) };
    }
}

#[test]
fn a_restart_gives_everything_back_and_begins_a_new_incarnation() {
    let tenant = tenant();
    let empty = tenant.footprint().unwrap();
    fill(&tenant, 500);
    assert!(tenant.footprint().unwrap().resident_bytes > empty.resident_bytes + 500 * 4096);
    tenant.restart().unwrap();
    assert_eq!((tenant.incarnation(), tenant.lease().incarnation()), (1, 1));
    assert_eq!(tenant.footprint().unwrap(), empty);
    fill(&tenant, 10);
}

#[test]
fn settings_outlive_a_restart() {
    let tenant = tenant();
    {
        let lease = tenant.lease();
        lease.set_limit(Limit::ResidentHard, Some(8 << 20));
        lease.set_decay(None);
        lease.set_cache_budget(12_345);
    }
    tenant.restart().unwrap();
    let lease = tenant.lease();
    assert_eq!(lease.limit(Limit::ResidentHard), Some(8 << 20));
    assert_eq!((lease.limit(Limit::AddressSpace), lease.decay()), (None, None));
    assert_eq!(lease.cache_budget(), 12_345);
}

#[test]
fn a_user_that_hangs_refuses_the_restart_and_keeps_its_memory() {
    let tenant = tenant();
    let (release, released) = mpsc::channel::<()>();
    let (leased, is_leased) = mpsc::channel();
    thread::scope(|scope| {
        let tenant = &tenant;
        scope.spawn(move || {
            let lease = tenant.lease();
            let block = lease.alloc(Layout::new::<u64>()).unwrap().cast::<u64>();
            // SAFETY: the block is this thread's alone, for as long as the lease.
            unsafe { block.write(77) };
            leased.send(()).unwrap();
            released.recv().unwrap();
            // SAFETY: as above.
            assert_eq!(unsafe { block.read() }, 77);
        });
        is_leased.recv().unwrap();
        assert_eq!(tenant.restart(), Err(RestartError::Busy));
        assert_eq!(tenant.incarnation(), 0);
        assert!(tenant.footprint().is_ok(), "it can still be asked");
        assert!(tenant.try_lease().is_some(), "and used");
        release.send(()).unwrap();
    });
    tenant.restart().unwrap();
}

#[test]
fn users_go_on_while_a_tenant_is_restarted_over_and_over() {
    let tenant = tenant().with_restart_wait(Duration::from_secs(60));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for round in 0..200_u64 {
                    let lease = tenant.lease();
                    let block = lease.alloc(Layout::new::<[u64; 8]>()).unwrap().cast::<u64>();
                    // SAFETY: the block is this thread's alone, for as long as the lease.
                    unsafe {
                        block.write(round);
                        assert_eq!(block.read(), round);
                    }
                }
            });
        }
        (0..20).for_each(|_| tenant.restart().unwrap());
    });
    assert_eq!(tenant.incarnation(), 20);
}
