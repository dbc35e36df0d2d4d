//! The budget's arithmetic: limits, shares and what is kept back.

use super::*;

#[test]
fn a_limit_follows_resident_memory_unless_it_was_set() {
    let budget = CacheBudget::new(100);
    budget.follow(64 << 20);
    assert_eq!(budget.limit_bytes(), 100);
    budget.set_limit_bytes(None);
    assert_eq!(budget.limit_bytes(), FOLLOWING_MIN_BYTES);
    for (resident_bytes, limit_bytes) in
        [(48 << 20, 12 << 20), (1 << 20, FOLLOWING_MIN_BYTES), (4 << 30, DEFAULT_BUDGET_BYTES)]
    {
        budget.follow(resident_bytes);
        assert_eq!(budget.limit_bytes(), limit_bytes);
    }
    budget.set_limit_bytes(Some(7));
    budget.follow(64 << 20);
    assert_eq!(budget.limit_bytes(), 7);
}

#[test]
fn lends_to_the_limit_and_takes_back() {
    let budget = CacheBudget::new(400);
    assert!(budget.borrow_bytes(160, true));
    assert!(!budget.borrow_bytes_for_depot(101), "a quarter is what depots may have");
    assert!(budget.borrow_bytes_for_depot(100));
    assert!(!budget.borrow_bytes(141, true), "the rest is for caches");
    assert!(budget.borrow_bytes(100, true));
    assert_eq!((budget.lent_bytes(), budget.caches_lent_bytes()), (360, 260));
    budget.return_bytes_of_depot(100);
    assert!(budget.borrow_bytes(140, true), "and what depots have no use for");
    assert!(!budget.borrow_bytes_for_depot(1));
    budget.return_bytes(260);
    assert_eq!(budget.lent_bytes(), 140);
    assert!(!budget.borrow_bytes_for_large(61));
    assert!(budget.borrow_bytes_for_large(60));
}

#[test]
fn the_last_part_is_for_those_without_their_share() {
    let budget = CacheBudget::new(8 << 20);
    assert_eq!(budget.share_bytes(), Some(6 << 20));
    budget.set_active_caches(2);
    budget.add_active_cache();
    assert_eq!(budget.share_bytes(), Some(2 << 20));
    assert!(budget.borrow_bytes(7 << 20, false));
    assert!(!budget.borrow_bytes(1, false));
    assert!(budget.borrow_bytes(1 << 20, true));
    budget.set_active_caches(65);
    assert_eq!(budget.share_bytes(), None, "less than is of use");
    budget.set_active_caches(0);
    assert_eq!(budget.share_bytes(), Some(6 << 20));
}

#[test]
fn a_budget_below_the_least_share_is_one_caches_share() {
    let budget = CacheBudget::new(1000);
    assert_eq!(budget.share_bytes(), Some(750));
    budget.set_active_caches(2);
    assert_eq!(budget.share_bytes(), None);
}
