//! What the standard library asks of an unwinder, for a library that never unwinds.
//!
//! A panic in here is a fault of the allocator: it is told on standard error and ends the program.
//! So nothing of the C library's unwinder is needed, and it is not loaded with every program: these
//! names are this library's own, hidden from all others, whose exceptions they have no part in.

use core::arch::global_asm;

/// Says that there are no more frames: `_URC_END_OF_STACK`.
extern "C" fn end_of_stack() -> i32 {
    5
}

/// Answers with nothing, whatever is asked of a frame.
extern "C" fn nothing() -> usize {
    0
}

/// Ends the program, where a frame was to be cleaned up.
extern "C" fn never() -> ! {
    // SAFETY: takes nothing and may be called in any state.
    unsafe { libc::abort() }
}

macro_rules! hidden {
    ($($name:literal = $function:path),+ $(,)?) => {
        global_asm!(
            $(
                concat!(".globl ", $name),
                concat!(".hidden ", $name),
                concat!(".type ", $name, ", %function"),
                concat!(".set ", $name, ", {", stringify!($function), "}"),
            )+
            end_of_stack = sym end_of_stack,
            nothing = sym nothing,
            never = sym never,
        );
    };
}

hidden! {
    "_Unwind_Backtrace" = end_of_stack,
    "_Unwind_RaiseException" = end_of_stack,
    "_Unwind_Resume" = never,
    "_Unwind_DeleteException" = nothing,
    "_Unwind_FindEnclosingFunction" = nothing,
    "_Unwind_GetCFA" = nothing,
    "_Unwind_GetDataRelBase" = nothing,
    "_Unwind_GetIP" = nothing,
    "_Unwind_GetIPInfo" = nothing,
    "_Unwind_GetLanguageSpecificData" = nothing,
    "_Unwind_GetRegionStart" = nothing,
    "_Unwind_GetTextRelBase" = nothing,
    "_Unwind_SetGR" = nothing,
    "_Unwind_SetIP" = nothing,
}
