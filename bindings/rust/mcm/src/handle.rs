//! Owners of the library's objects.
use std::ptr::{self, NonNull};

use mcm_sys as sys;

use crate::error::check;
use crate::version::check_version;
use crate::{Error, Result};

/// What the library creates and frees.
pub(crate) trait Object {
    /// # Safety
    /// `object` is one that the library has created; nothing uses it afterwards.
    unsafe fn free(object: *mut Self);
}

/// Owns an object of the library; it is freed when this is dropped.
pub(crate) struct Handle<T: Object>(NonNull<T>);

impl<T: Object> Handle<T> {
    /// The object that a call writes to the place it is given. Every object is made here, so that each library is
    /// asked for its version before anything else.
    pub(crate) fn create(call: impl FnOnce(*mut *mut T) -> sys::mcm_status) -> Result<Handle<T>> {
        check_version()?;
        let mut object = ptr::null_mut();
        check(call(&mut object))?;
        let object = NonNull::new(object);
        object.map(Handle).ok_or_else(|| Error::unsupported("the library gave NULL, expected an object".into()))
    }

    pub(crate) fn as_ptr(&self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<T: Object> Drop for Handle<T> {
    fn drop(&mut self) {
        // SAFETY: the object is the library's, and this was its only owner.
        unsafe { T::free(self.0.as_ptr()) }
    }
}

impl<T: Object> std::fmt::Debug for Handle<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&self.0, formatter)
    }
}

macro_rules! object {
    ($name:ident, $free:ident) => {
        impl Object for sys::$name {
            unsafe fn free(object: *mut Self) {
                // SAFETY: as the caller promises.
                unsafe { sys::$free(object) }
            }
        }

        // SAFETY: the header promises that no object is bound to the thread that made it.
        unsafe impl Send for Handle<sys::$name> {}
    };
}

/// Objects that never change: the header promises that any number of threads may use one at the same time.
macro_rules! shared_object {
    ($name:ident, $free:ident) => {
        object!($name, $free);

        // SAFETY: as above.
        unsafe impl Sync for Handle<sys::$name> {}
    };
}

shared_object!(mcm_model, mcm_model_free);
shared_object!(mcm_prompt, mcm_prompt_free);
shared_object!(mcm_controlnet, mcm_controlnet_free);
shared_object!(mcm_modulator, mcm_modulator_free);
shared_object!(mcm_scheduler, mcm_scheduler_free);
shared_object!(mcm_dataset, mcm_dataset_free);
shared_object!(mcm_bank, mcm_bank_free);
object!(mcm_session, mcm_session_free);
object!(mcm_trainer, mcm_trainer_free);
object!(mcm_rng, mcm_rng_free);
