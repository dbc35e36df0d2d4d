//! Memories, instances and the storage guest, with real guests of wasmtime's.

use std::collections::HashMap;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use capmalloc::{Heap, Limit};
use proptest::prelude::*;
use wasmtime::{Engine, Module, Store};

use super::*;
use crate::{Instance, InstanceId, RestartError, SampleError};

const PAGE: usize = 64 << 10;

/// A guest that answers with what it finds in its memory, and grows it.
const GROWING: &str = r#"(module
    (memory (export "memory") 1)
    (data (i32.const 100) "from the file")
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0)))
    (func (export "store") (param i32 i32) (i32.store8 (local.get 0) (local.get 1)))
    ;; The first byte from an address on that is not zero, or the memory's length.
    (func (export "first_not_zero") (param i32) (result i32)
      (block $done
        (loop $next
          (br_if $done (i32.ge_u (local.get 0) (i32.shl (memory.size) (i32.const 16))))
          (br_if $done (i64.ne (i64.load (local.get 0)) (i64.const 0)))
          (local.set 0 (i32.add (local.get 0) (i32.const 8)))
          (br $next)))
      (local.get 0)))"#;

/// Times that no loaded machine comes near, but for the drain.
fn times() -> WasmTimes {
    let long = Duration::from_secs(60);
    WasmTimes {
        call_wait: long,
        unresponsive_after: long,
        drain: Duration::from_millis(20),
        interrupt: long,
        start: long,
    }
}

fn new_engine() -> WasmEngine {
    WasmEngine::new(Arc::new(Heap::new().unwrap())).unwrap()
}

fn instance_of(engine: &WasmEngine, wat: &str) -> WasmInstance {
    let module = engine.module("test", wat).unwrap();
    WasmInstance::new(InstanceId(1), &module, times()).unwrap()
}

fn storage(engine: &WasmEngine) -> StorageInstance {
    let module = StorageInstance::module(engine, "storage").unwrap();
    StorageInstance::new(InstanceId(7), &module, times()).unwrap()
}

/// The storage guest, compiled once for the tests that set no limits.
fn shared_storage(times: WasmTimes) -> StorageInstance {
    static MODULE: OnceLock<WasmModule> = OnceLock::new();
    let module = MODULE.get_or_init(|| StorageInstance::module(&new_engine(), "storage").unwrap());
    StorageInstance::new(InstanceId(7), module, times).unwrap()
}

fn invoke<P: wasmtime::WasmParams, R: wasmtime::WasmResults>(
    instance: &WasmInstance,
    name: &str,
    arguments: P,
) -> Result<R, CallError> {
    instance.call(|guest| guest.invoke(name, arguments))
}

/// Frees blocks of several lengths that hold something, to be used again by guests' memories.
fn leave_written_blocks(heap: &Heap) {
    let lengths = [1, 2, 3, 8, 40, 41, 200].map(|pages| pages * PAGE);
    let blocks = lengths.map(|bytes| {
        let layout = std::alloc::Layout::from_size_align(bytes, 4096).unwrap();
        let block = heap.alloc(layout).unwrap();
        // SAFETY: the block has this length.
        unsafe { block.write_bytes(0xff, bytes) };
        (block, layout)
    });
    // SAFETY: each block was just allocated with its layout.
    blocks.into_iter().for_each(|(block, layout)| unsafe { heap.dealloc(block, layout) });
}

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

#[test]
fn a_guest_in_an_endless_loop_is_unresponsive_and_can_be_restarted() {
    let impatient = WasmTimes { unresponsive_after: Duration::from_millis(1), ..times() };
    let storage = shared_storage(impatient);
    storage.put(b"key", b"value").unwrap();
    thread::scope(|scope| {
        let hung = scope.spawn(|| storage.hang());
        while storage.footprint() != Err(SampleError::Unresponsive) {
            thread::yield_now();
        }
        assert_eq!(storage.incarnation(), 0);
        storage.restart().unwrap();
        let answer = hung.join().unwrap();
        assert!(matches!(answer, Err(StorageError::Call(CallError::Interrupted))), "{answer:?}");
    });
    assert_eq!(storage.incarnation(), 1);
    assert_eq!(storage.get(b"key").unwrap(), None);
    storage.check().unwrap();
}

#[test]
fn a_guest_that_is_restarted_interrupts_no_other_of_its_engine() {
    let wat = r#"(module
        (import "host" "again" (func $again (result i32)))
        (func (export "hang") (loop $for_ever (br $for_ever)))
        (func (export "while_told") (loop $next (br_if $next (call $again)))))"#;
    let turns = Arc::new(AtomicUsize::new(0));
    let is_over = Arc::new(AtomicBool::new(false));
    let told = (Arc::clone(&turns), Arc::clone(&is_over));
    let again = move || {
        told.0.fetch_add(1, SeqCst);
        thread::yield_now();
        i32::from(!told.1.load(SeqCst))
    };
    let module = new_engine().module_with("test", wat, |linker| {
        linker.func_wrap("host", "again", again)?;
        Ok(())
    });
    let module = module.unwrap();
    let new = |id| WasmInstance::new(InstanceId(id), &module, times()).unwrap();
    let [hung, bystander] = [new(1), new(2)];
    let wait_for_turns = || {
        let before = turns.load(SeqCst);
        while turns.load(SeqCst) < before + 3 {
            thread::yield_now();
        }
    };
    thread::scope(|scope| {
        let hanging = scope.spawn(|| invoke::<_, ()>(&hung, "hang", ()));
        let running = scope.spawn(|| invoke::<_, ()>(&bystander, "while_told", ()));
        wait_for_turns();
        // A restart may come before the call that is to hang, which then does so in the new guest.
        while !hanging.is_finished() {
            hung.restart().unwrap();
        }
        assert!(matches!(hanging.join().unwrap(), Err(CallError::Interrupted)));
        // Epochs have passed under the other, and it runs on.
        is_over.store(true, SeqCst);
        running.join().unwrap().unwrap();
    });
}

#[test]
fn a_start_function_that_does_not_end_is_an_error() {
    let engine = new_engine();
    let wat = "(module (memory 1) (func $start (loop $l (br $l))) (start $start))";
    let module = engine.module("test", wat).unwrap();
    let short = WasmTimes { start: Duration::from_millis(30), ..times() };
    let error = WasmInstance::new(InstanceId(1), &module, short).unwrap_err();
    assert!(error.is::<Interrupted>(), "{error:#}");
    assert_eq!(engine.memories().count(), 0);
}

#[test]
fn an_instance_whose_start_is_over_just_in_time_takes_calls() {
    let engine = new_engine();
    let module = engine.module("test", GROWING).unwrap();
    for micros in 0..300 {
        let hasty = WasmTimes { start: Duration::from_micros(micros), ..times() };
        match WasmInstance::new(InstanceId(1), &module, hasty) {
            Ok(instance) => assert!(invoke::<_, i32>(&instance, "load", 0).is_ok(), "{micros}"),
            Err(error) => assert!(error.is::<Interrupted>(), "{micros}: {error:#}"),
        }
    }
}

#[test]
fn calls_wait_for_a_restart_and_a_restart_for_the_call_in_progress() {
    let storage = shared_storage(WasmTimes { drain: Duration::from_secs(60), ..times() });
    let calls = 6;
    thread::scope(|scope| {
        let callers: Vec<_> = (0..calls)
            .map(|caller: u8| {
                let storage = &storage;
                scope.spawn(move || {
                    for _ in 0..200 {
                        storage.put(&[caller], &[caller; 5000]).unwrap();
                        // It may have been restarted in between.
                        let value = storage.get(&[caller]).unwrap();
                        assert!(value.is_none_or(|value| value == [caller; 5000]));
                    }
                })
            })
            .collect();
        while callers.iter().any(|caller| !caller.is_finished()) {
            storage.restart().unwrap();
        }
    });
    storage.check().unwrap();
    storage.instance().wasm_module().engine().memories().heap().check();
}

#[test]
fn a_call_that_waits_in_the_host_makes_a_restart_give_up() {
    let engine = new_engine();
    let hasty = WasmTimes {
        drain: Duration::ZERO,
        interrupt: Duration::from_millis(30),
        call_wait: Duration::from_millis(10),
        ..times()
    };
    let module = engine.module("test", GROWING).unwrap();
    let instance = WasmInstance::new(InstanceId(1), &module, hasty).unwrap();
    let (go_on, may_go_on) = channel::<()>();
    let (within, is_within) = channel::<()>();
    thread::scope(|scope| {
        let instance = &instance;
        let caller = scope.spawn(move || {
            instance.call(|guest| {
                within.send(()).unwrap();
                may_go_on.recv().unwrap();
                guest.invoke::<_, i32>("load", 0)
            })
        });
        is_within.recv().unwrap();
        assert_eq!(instance.restart(), Err(RestartError::Busy));
        assert!(matches!(invoke::<_, i32>(instance, "load", 0), Err(CallError::Busy)));
        go_on.send(()).unwrap();
        // Told to stop, it does so when it next runs code of the guest's.
        assert!(matches!(caller.join().unwrap(), Err(CallError::Interrupted)));
    });
    assert_eq!(instance.incarnation(), 0);
    instance.restart().unwrap();
    assert_eq!(invoke::<_, i32>(&instance, "load", 0).unwrap(), 0);
}

#[test]
fn a_restart_without_memory_for_it_fails_and_can_be_tried_again() {
    let engine = new_engine();
    let heap = Arc::clone(engine.memories().heap());
    let instance = instance_of(&engine, "(module (memory 100))");
    // Nothing that the restart gives up is kept for reuse, past the limit.
    heap.set_decay(Some(Duration::ZERO));
    heap.set_limit(Limit::ResidentHard, Some(1 << 20));
    let Err(RestartError::Failed(why)) = instance.restart() else { panic!("there is no room") };
    assert!(why.contains("hard limit on resident memory is 1048576 bytes"), "{why}");
    assert!(matches!(instance.footprint(), Err(SampleError::Stopped(_))));
    assert_eq!(instance.incarnation(), 0);
    heap.set_limit(Limit::ResidentHard, None);
    instance.restart().unwrap();
    assert_eq!((instance.incarnation(), instance.size_bytes()), (1, 100 * PAGE));
}

#[test]
fn a_call_that_panics_ends_the_guest() {
    let engine = new_engine();
    let instance = instance_of(&engine, GROWING);
    let call = || instance.call(|_guest| -> wasmtime::Result<()> { panic!("as the test wants") });
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).is_err());
    assert!(matches!(invoke::<_, i32>(&instance, "load", 0), Err(CallError::Stopped(_))));
    instance.restart().unwrap();
    assert_eq!(invoke::<_, i32>(&instance, "load", 0).unwrap(), 0);
}

#[test]
fn a_call_that_fails_outside_of_the_guest_leaves_it_running() {
    let engine = new_engine();
    let instance = instance_of(&engine, GROWING);
    assert!(matches!(invoke::<_, i32>(&instance, "no such", 0), Err(CallError::Failed(_))));
    assert_eq!(invoke::<_, i32>(&instance, "load", 100).unwrap(), i32::from(b'f'));
    assert_eq!(instance.incarnation(), 0);
}

#[test]
fn an_error_of_a_function_of_the_hosts_ends_the_guest_that_called_it() {
    let engine = new_engine();
    let wat = r#"(module (import "host" "fail" (func $fail))
        (func (export "call") (call $fail)))"#;
    let module = engine
        .module_with("test", wat, |linker| {
            linker.func_wrap("host", "fail", || -> wasmtime::Result<()> {
                Err(wasmtime::Error::msg("the host cannot"))
            })?;
            Ok(())
        })
        .unwrap();
    let instance = WasmInstance::new(InstanceId(1), &module, times()).unwrap();
    let answer = invoke::<_, ()>(&instance, "call", ());
    assert!(matches!(answer, Err(CallError::Stopped(why)) if why.contains("the host cannot")));
}

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
