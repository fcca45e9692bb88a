use std::ops::ControlFlow;
use std::path::Path;
use std::ptr;

use mcm_sys as sys;

use crate::callback::{counted, Callback};
use crate::convert::{characters, fill, path, size_of};
use crate::handle::Handle;
use crate::{Dataset, Model, Result};

/// What is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BankOptions {
    /// Records made at a time; default 16. They do not depend on it.
    pub batch: u32,
    /// Records, at least 1; default 0, so that it must be set.
    pub count: u64,
    /// Of timesteps and noise.
    pub seed: u64,
    /// Timesteps are drawn from first_timestep .. end_timestep - 1.
    pub first_timestep: u32,
    /// 0, with first_timestep 0: from all.
    pub end_timestep: u32,
}

impl Default for BankOptions {
    fn default() -> Self {
        BankOptions { batch: 16, count: 0, seed: 0, first_timestep: 0, end_timestep: 0 }
    }
}

impl BankOptions {
    fn native(&self) -> sys::mcm_bank_options {
        sys::mcm_bank_options {
            struct_size: size_of::<sys::mcm_bank_options>(),
            batch: self.batch,
            count: self.count,
            seed: self.seed,
            first_timestep: self.first_timestep,
            end_timestep: self.end_timestep,
        }
    }
}

/// What a bank is.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BankInfo {
    /// Of a sample.
    pub width: u32,
    /// Of a sample.
    pub height: u32,
    /// Of a sample.
    pub channels: u32,
    /// Records are of first_timestep .. end_timestep - 1.
    pub first_timestep: u32,
    /// See first_timestep.
    pub end_timestep: u32,
    /// Records.
    pub count: u64,
    /// Of the model.
    pub base_fingerprint: String,
    /// Of the data set's images.
    pub image_fingerprint: String,
}

/// A frozen model's predictions, recorded once: modules are trained from them without the model. Immutable, shared by
/// threads. The file must not change while this lives.
#[derive(Debug)]
pub struct Bank(pub(crate) Handle<sys::mcm_bank>);

impl Bank {
    /// Records predictions into a file. A recording that was stopped goes on where it was. `progress` is called after
    /// each batch with the records done and all, and cancels if it breaks. Errors: InvalidArgument, Size, State,
    /// Incompatible, Unsupported, Io, Format, OutOfMemory, Cancelled.
    pub fn record<F: FnMut(u64, u64) -> ControlFlow<()>>(
        model: &Model,
        dataset: &Dataset,
        to: impl AsRef<Path>,
        options: &BankOptions,
        progress: F,
    ) -> Result<()> {
        let name = path(to)?;
        let mut callback = Callback::new(progress);
        // SAFETY: path, options and callback live through the call.
        let status = unsafe {
            sys::mcm_bank_record(
                model.0.as_ptr(),
                dataset.0.as_ptr(),
                name.as_ptr(),
                &options.native(),
                Some(counted::<F>),
                callback.user(),
            )
        };
        callback.finish(status)
    }

    /// Opens a bank and checks every record. Errors: Io, Format, Unsupported.
    pub fn open(file: impl AsRef<Path>) -> Result<Bank> {
        let name = path(file)?;
        // SAFETY: the path lives through the call.
        Handle::create(|out| unsafe { sys::mcm_bank_open(name.as_ptr(), out) }).map(Bank)
    }

    /// What the bank is.
    pub fn info(&self) -> Result<BankInfo> {
        // SAFETY: the place is a struct of the size that it says.
        let info = fill(sys::mcm_bank_info_init, |out| unsafe { sys::mcm_bank_get_info(self.0.as_ptr(), out) })?;
        Ok(BankInfo {
            width: info.width,
            height: info.height,
            channels: info.channels,
            first_timestep: info.first_timestep,
            end_timestep: info.end_timestep,
            count: info.count,
            base_fingerprint: characters(&info.base_fingerprint),
            image_fingerprint: characters(&info.image_fingerprint),
        })
    }
}

/// NULL for none.
pub(crate) fn pointer(bank: Option<&Bank>) -> *const sys::mcm_bank {
    bank.map_or(ptr::null(), |bank| bank.0.as_ptr())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_the_librarys() {
        let library = fill(sys::mcm_bank_options_init, |_| sys::MCM_OK).unwrap();
        assert_eq!(format!("{:?}", BankOptions::default().native()), format!("{library:?}"));
    }
}
