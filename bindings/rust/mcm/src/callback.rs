//! Closures that C calls.
use std::any::Any;
use std::ops::ControlFlow;
use std::os::raw::c_void;
use std::panic::{self, AssertUnwindSafe};

use mcm_sys as sys;

use crate::error::check;
use crate::Result;

/// A closure, with the panic that has left it: one that would unwind through C's frames is caught before them, and goes
/// on behind them.
pub(crate) struct Callback<F> {
    closure: F,
    panic: Option<Box<dyn Any + Send>>,
}

impl<F> Callback<F> {
    pub(crate) fn new(closure: F) -> Callback<F> {
        Callback { closure, panic: None }
    }

    /// What C is to pass to `answer`.
    pub(crate) fn user(&mut self) -> *mut c_void {
        (self as *mut Callback<F>).cast()
    }

    /// What a C callback returns: nonzero cancels.
    ///
    /// # Safety
    /// `user` comes from `user()` of a callback of this type, which nothing else uses meanwhile.
    pub(crate) unsafe fn answer(user: *mut c_void, call: impl FnOnce(&mut F) -> ControlFlow<()>) -> i32 {
        // SAFETY: as the caller promises.
        let this = unsafe { &mut *user.cast::<Callback<F>>() };
        match panic::catch_unwind(AssertUnwindSafe(|| call(&mut this.closure))) {
            Ok(flow) => flow.is_break().into(),
            Err(panic) => {
                this.panic = Some(panic);
                1
            }
        }
    }

    /// After the call that was given the callback, on the same thread.
    pub(crate) fn finish(self, status: sys::mcm_status) -> Result<()> {
        match self.panic {
            Some(panic) => panic::resume_unwind(panic),
            None => check(status),
        }
    }
}

/// A callback that is told how much is done, of how much.
pub(crate) unsafe extern "C" fn counted<F>(user: *mut c_void, done: u64, count: u64) -> i32
where
    F: FnMut(u64, u64) -> ControlFlow<()>,
{
    // SAFETY: `user` is that of a Callback<F>, which waits for the call that calls this.
    unsafe { Callback::<F>::answer(user, |closure| closure(done, count)) }
}
