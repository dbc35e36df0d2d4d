//! Instances: guests that do not end, calls and restarts that wait, calls that fail.

use super::*;

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
