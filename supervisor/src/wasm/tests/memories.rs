//! Guests' memories: zeroed, bounded, grown, refused, counted.

use super::*;

#[test]
fn a_new_memory_of_any_length_is_zero_wherever_it_comes_from() {
    for pages in [1, 2, 3, 4, 5, 8, 31, 32, 40, 41, 199, 200] {
        let engine = new_engine();
        leave_written_blocks(engine.memories().heap());
        let wat = format!(r#"(module (memory (export "memory") {pages}))"#);
        let instance = instance_of(&engine, &wat);
        let is_zero = instance.call(|guest| {
            let memory = guest.memory("memory")?;
            Ok(memory.data(guest.store()) == vec![0; pages * PAGE])
        });
        assert!(is_zero.unwrap(), "{pages} pages");
        assert_eq!(instance.size_bytes(), pages * PAGE);
    }
}

#[test]
fn a_memory_is_zero_but_for_its_data_and_grows_with_its_contents() {
    let engine = new_engine();
    let heap = Arc::clone(engine.memories().heap());
    leave_written_blocks(&heap);
    let instance = instance_of(&engine, GROWING);
    let first: i32 = invoke(&instance, "first_not_zero", 0).unwrap();
    assert_eq!(first, 96, "the data begins at 100");
    let mut pages = 1;
    // From a page to large blocks, to a mapping of its own, and that once more.
    for more in [1, 1, 5, 32, 1, 159] {
        let before: i32 = invoke(&instance, "grow", more).unwrap();
        assert_eq!(before, pages);
        let end = pages << 16;
        let first: i32 = invoke(&instance, "first_not_zero", end).unwrap();
        assert_eq!(first, (pages + more) << 16, "what came is zero");
        pages += more;
        invoke::<_, ()>(&instance, "store", (end - 1, pages & 0x7f)).unwrap();
        let data: i32 = invoke(&instance, "load", 100).unwrap();
        assert_eq!(data, i32::from(b'f'));
        let last: i32 = invoke(&instance, "load", end - 1).unwrap();
        assert_eq!(last, pages & 0x7f);
        heap.check();
    }
    assert_eq!(instance.size_bytes(), 200 * PAGE);
    assert_eq!((engine.memories().count(), engine.memories().size_bytes()), (1, 200 * PAGE));
    drop(instance);
    assert_eq!((engine.memories().count(), engine.memories().size_bytes()), (0, 0));
    assert_eq!(heap.stats().allocated_bytes, 0);
    heap.check();
}

#[test]
fn an_access_out_of_bounds_traps_wherever_the_heap_has_the_memory() {
    let engine = new_engine();
    for address in [PAGE as i32, PAGE as i32 + 4096, i32::MAX, -1] {
        let instance = instance_of(&engine, GROWING);
        let answer = invoke::<_, i32>(&instance, "load", address);
        assert!(matches!(answer, Err(CallError::Stopped(why)) if why.contains("out of bounds")));
        let answer = invoke::<_, i32>(&instance, "load", 0);
        assert!(matches!(answer, Err(CallError::Stopped(_))), "it is gone");
        assert!(matches!(instance.footprint(), Err(SampleError::Stopped(_))));
        instance.restart().unwrap();
        assert_eq!(invoke::<_, i32>(&instance, "load", PAGE as i32 - 1).unwrap(), 0);
        assert_eq!(instance.incarnation(), 1);
    }
}

#[test]
fn memories_without_bytes_and_of_custom_lengths() {
    let engine = new_engine();
    let wat = r#"(module (memory (export "memory") 0 4)
        (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
        (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0))))"#;
    let instance = instance_of(&engine, wat);
    assert_eq!(instance.footprint().unwrap().resident_bytes, 0);
    assert_eq!(invoke::<_, i32>(&instance, "grow", 4).unwrap(), 0);
    assert_eq!(invoke::<_, i32>(&instance, "load", 4 * PAGE as i32 - 1).unwrap(), 0);
    // Its type's maximum is not the heap's matter.
    assert_eq!(invoke::<_, i32>(&instance, "grow", 1).unwrap(), -1);
    assert_eq!(instance.call(|guest| Ok(guest.take_refusal())).unwrap(), None);
    assert_eq!(engine.memories().last_refusal(), None);
}

#[test]
fn growth_past_the_limit_answers_minus_one_and_says_why() {
    let engine = new_engine();
    let heap = Arc::clone(engine.memories().heap());
    heap.set_limit(Limit::AddressSpace, Some(16 << 20));
    let instance = instance_of(&engine, GROWING);
    invoke::<_, ()>(&instance, "store", (5, 55)).unwrap();
    assert_eq!(invoke::<_, i32>(&instance, "grow", 400).unwrap(), -1);
    let refusal = instance.call(|guest| Ok(guest.take_refusal())).unwrap().unwrap();
    assert_eq!((refusal.held_bytes, refusal.asked_bytes), (PAGE, 400 * PAGE));
    assert!(refusal.mapped_bytes <= 16 << 20);
    let RefusedBy::AddressSpaceLimit { limit_bytes, needed_bytes } = refusal.by else {
        panic!("{refusal}");
    };
    assert_eq!(limit_bytes, 16 << 20);
    assert!(needed_bytes >= 400 * PAGE);
    assert_eq!(engine.memories().last_refusal(), Some(refusal));
    // It is told once, and the guest goes on.
    assert_eq!(instance.call(|guest| Ok(guest.take_refusal())).unwrap(), None);
    assert_eq!(invoke::<_, i32>(&instance, "load", 5).unwrap(), 55);
    assert_eq!(invoke::<_, i32>(&instance, "grow", 10).unwrap(), 1);
    heap.check();

    heap.set_limit(Limit::AddressSpace, None);
    heap.set_limit(Limit::ResidentHard, Some(20 << 20));
    assert_eq!(invoke::<_, i32>(&instance, "grow", 400).unwrap(), -1);
    let refusal = engine.memories().last_refusal().unwrap();
    assert!(matches!(refusal.by, RefusedBy::ResidentHardLimit { limit_bytes, .. }
        if limit_bytes == 20 << 20));
    assert!(refusal.to_string().contains("hard limit on resident memory is 20971520 bytes"));
}

#[test]
fn growth_of_a_memory_that_is_a_mapping_of_its_own_is_refused_with_its_contents_kept() {
    let engine = new_engine();
    let heap = Arc::clone(engine.memories().heap());
    let instance = instance_of(&engine, GROWING);
    assert_eq!(invoke::<_, i32>(&instance, "grow", 99).unwrap(), 1);
    invoke::<_, ()>(&instance, "store", (100 * PAGE as i32 - 1, 77)).unwrap();
    heap.set_limit(Limit::AddressSpace, Some(12 << 20));
    assert_eq!(invoke::<_, i32>(&instance, "grow", 100).unwrap(), -1);
    assert_eq!(invoke::<_, i32>(&instance, "load", 100 * PAGE as i32 - 1).unwrap(), 77);
    assert_eq!(instance.size_bytes(), 100 * PAGE);
    heap.check();
}

#[test]
fn a_new_memory_past_the_limit_is_an_error_that_names_limit_mapped_and_asked() {
    let engine = new_engine();
    engine.memories().heap().set_limit(Limit::AddressSpace, Some(10 << 20));
    let module = engine.module("test", GROWING).unwrap();
    let mut instances = Vec::new();
    let error = loop {
        match WasmInstance::new(InstanceId(0), &module, times()) {
            Ok(instance) => instances.push(instance),
            Err(error) => break format!("{error:#}"),
        }
        assert!(instances.len() < 1000);
    };
    assert!(instances.len() > 64, "two segments' worth: {}", instances.len());
    let refusal = engine.memories().last_refusal().unwrap();
    for part in ["10485760", &refusal.mapped_bytes.to_string(), "65536 more", "4194304"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    // With one gone there is room for another.
    instances.pop();
    instances.push(WasmInstance::new(InstanceId(0), &module, times()).unwrap());
}

#[test]
fn a_configuration_that_counts_on_guards_or_reservations_is_refused() {
    let memories = HeapMemories::new(Arc::new(Heap::new().unwrap()));
    for (reservation, guard) in [(1 << 20, 0), (0, 1 << 20)] {
        let mut config = config(&memories);
        config.memory_reservation(reservation).memory_guard_size(guard);
        let engine = Engine::new(&config).unwrap();
        let module = Module::new(&engine, GROWING).unwrap();
        let mut store = Store::new(&engine, ());
        let error = wasmtime::Instance::new(&mut store, &module, &[]).unwrap_err();
        assert!(format!("{error:#}").contains("no reservation and no guard"), "{error:#}");
    }
    assert_eq!(memories.count(), 0);
}

#[test]
fn memories_keep_their_heap() {
    let engine = new_engine();
    let heap = Arc::downgrade(engine.memories().heap());
    let instance = instance_of(&engine, GROWING);
    drop(engine);
    assert!(heap.upgrade().is_some());
    assert_eq!(invoke::<_, i32>(&instance, "load", 100).unwrap(), i32::from(b'f'));
    drop(instance);
    assert!(heap.upgrade().is_none());
}

#[test]
fn footprints_are_what_was_touched_and_each_instances_own() {
    let engine = new_engine();
    let [one, other] = [instance_of(&engine, GROWING), instance_of(&engine, GROWING)];
    let footprint = |instance: &WasmInstance| instance.footprint().unwrap().resident_bytes;
    let before = footprint(&other);
    assert_eq!(invoke::<_, i32>(&one, "grow", 1000).unwrap(), 1);
    assert_eq!(one.size_bytes(), 1001 * PAGE);
    assert!(footprint(&one) < 4 << 20, "nothing of it is touched");
    for page in 500..600 {
        invoke::<_, ()>(&one, "store", (page << 16, 1)).unwrap();
    }
    let now = footprint(&one);
    assert!((100 * 4096..101 * PAGE as u64 + (4 << 20)).contains(&now), "{now}");
    assert_eq!(footprint(&other), before);
}
