//! The storage guest, held against a map.

use super::*;

#[test]
fn storage_out_of_memory_keeps_what_was_there_and_says_why() {
    let engine = new_engine();
    let storage = storage(&engine);
    storage.put(b"kept", &[1; 5000]).unwrap();
    engine.memories().heap().set_limit(Limit::AddressSpace, Some(24 << 20));
    let error = storage.put(b"kept", &vec![2; 32 << 20]).unwrap_err();
    assert!(matches!(&error, StorageError::OutOfMemory(Some(_))), "{error}");
    assert!(error.to_string().contains("25165824"), "{error}");
    assert_eq!(storage.get(b"kept").unwrap().as_deref(), Some(&[1; 5000][..]));
    storage.check().unwrap();
    let mut stored = 0;
    let error = loop {
        match storage.put(format!("object {stored}").as_bytes(), &vec![3; 300_000]) {
            Ok(is_replaced) => assert!(!is_replaced),
            Err(error) => break error,
        }
        stored += 1;
        assert!(stored < 100);
    };
    assert!(matches!(error, StorageError::OutOfMemory(Some(_))), "{error}");
    assert!(matches!(storage.leak(10 << 20), Err(StorageError::OutOfMemory(Some(_)))));
    storage.check().unwrap();
    // What is deleted makes room.
    assert!(stored > 2 && storage.delete(b"object 0").unwrap());
    storage.put(b"another", &vec![4; 300_000]).unwrap();
    assert_eq!(storage.get(b"kept").unwrap().as_deref(), Some(&[1; 5000][..]));
    assert_eq!(storage.figures().unwrap().objects, stored + 1);
}

#[test]
fn storage_refuses_what_is_too_long() {
    let storage = shared_storage(times());
    let key = vec![0; STORAGE_KEY_MAX_BYTES + 1];
    assert!(matches!(storage.put(&key, b""), Err(StorageError::TooLong { .. })));
    assert!(matches!(storage.get(&key), Err(StorageError::TooLong { .. })));
    assert!(matches!(storage.delete(&key), Err(StorageError::TooLong { .. })));
    storage.put(&key[1..], b"").unwrap();
    assert_eq!(storage.get(&key[1..]).unwrap(), Some(Vec::new()));
    assert!(storage.leak(u32::MAX).is_err());
    storage.check().unwrap();
}

#[test]
fn objects_that_come_and_go_do_not_make_the_guest_grow() {
    let storage = shared_storage(times());
    let round = || {
        for index in 0..40_u8 {
            storage
                .put(&[index % 8], &vec![index; 10_000 + 7919 * usize::from(index % 8)])
                .unwrap();
        }
        (0..8).for_each(|index| assert!(storage.delete(&[index]).unwrap()));
    };
    round();
    let before_bytes = storage.instance().size_bytes();
    (0..20).for_each(|_| round());
    assert_eq!(storage.instance().size_bytes(), before_bytes);
    assert_eq!(storage.figures().unwrap().stored_bytes, 0);
    storage.check().unwrap();
}

#[derive(Clone, Debug)]
enum Action {
    Put(u8, usize, u8),
    Get(u8),
    Delete(u8),
    Leak(u32),
    Restart,
}

fn action() -> impl Strategy<Value = Action> {
    // Kilobytes mostly, megabytes at times.
    let bytes =
        prop_oneof![8 => 0..5000_usize, 3 => 5000..100_000_usize, 1 => 500_000..3_000_000_usize];
    prop_oneof![
        8 => (0..24_u8, bytes, any::<u8>()).prop_map(|(key, bytes, fill)| Action::Put(key, bytes, fill)),
        4 => (0..24_u8).prop_map(Action::Get),
        4 => (0..24_u8).prop_map(Action::Delete),
        2 => (0..200_000_u32).prop_map(Action::Leak),
        1 => Just(Action::Restart),
    ]
}

/// Keys whose lengths differ, so that what lies behind them is at every alignment.
fn key_of(number: u8) -> Vec<u8> {
    vec![number; usize::from(number) + 1]
}

fn value_of(bytes: usize, fill: u8) -> Vec<u8> {
    (0..bytes).map(|index| fill.wrapping_add((index % 251) as u8)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn storage_answers_as_a_map_does(actions in prop::collection::vec(action(), 1..60)) {
        let storage = shared_storage(times());
        let mut model: HashMap<u8, Vec<u8>> = HashMap::new();
        let mut leaked_bytes = 0;
        for action in actions {
            match action {
                Action::Put(key, bytes, fill) => {
                    let value = value_of(bytes, fill);
                    let is_replaced = storage.put(&key_of(key), &value).unwrap();
                    prop_assert_eq!(is_replaced, model.insert(key, value).is_some());
                }
                Action::Get(key) => {
                    let found = storage.get(&key_of(key)).unwrap();
                    prop_assert_eq!(found.as_ref(), model.get(&key));
                }
                Action::Delete(key) => {
                    let is_deleted = storage.delete(&key_of(key)).unwrap();
                    prop_assert_eq!(is_deleted, model.remove(&key).is_some());
                }
                Action::Leak(bytes) => {
                    storage.leak(bytes).unwrap();
                    leaked_bytes += u64::from(bytes);
                }
                Action::Restart => {
                    storage.restart().unwrap();
                    model.clear();
                    leaked_bytes = 0;
                }
            }
            storage.check().unwrap();
            let stored_bytes: usize =
                model.iter().map(|(&key, value)| key_of(key).len() + value.len()).sum();
            let figures = storage.figures().unwrap();
            prop_assert_eq!(figures.objects as usize, model.len());
            prop_assert_eq!(figures.stored_bytes, stored_bytes as u64);
            prop_assert_eq!(figures.leaked_bytes, leaked_bytes);
            let held_bytes = storage.footprint().unwrap().resident_bytes;
            prop_assert!(held_bytes >= figures.stored_bytes + leaked_bytes);
        }
        for (&key, value) in &model {
            let found = storage.get(&key_of(key)).unwrap();
            prop_assert_eq!(found.as_ref(), Some(value));
        }
    }
}
