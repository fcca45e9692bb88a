use std::ops::ControlFlow;
use std::path::Path;

use mcm_sys as sys;

use crate::callback::{counted, Callback};
use crate::convert::{characters, fill, path};
use crate::handle::Handle;
use crate::{Modality, Model, Result};

/// What a data set is.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetInfo {
    /// Of an example.
    pub width: u32,
    /// Of an example.
    pub height: u32,
    /// Of an example.
    pub channels: u32,
    /// Examples.
    pub count: u64,
    /// 16 hex digits that identify the images.
    pub fingerprint: String,
    /// The conditions' names and channels.
    pub modalities: Vec<Modality>,
}

/// Examples in a .safetensors file that is mapped and read as they are drawn. Immutable, shared by threads. The file must
/// not change while this lives.
#[derive(Debug)]
pub struct Dataset(pub(crate) Handle<sys::mcm_dataset>);

impl Dataset {
    /// Opens a data set (docs/format.md). Errors: Io, Format, Unsupported.
    pub fn open(file: impl AsRef<Path>) -> Result<Dataset> {
        let name = path(file)?;
        // SAFETY: the path lives through the call.
        Handle::create(|out| unsafe { sys::mcm_dataset_open(name.as_ptr(), out) }).map(Dataset)
    }

    /// What the data set is.
    pub fn info(&self) -> Result<DatasetInfo> {
        let dataset = self.0.as_ptr();
        // SAFETY: the places are structs of the size that they say.
        let info = fill(sys::mcm_dataset_info_init, |out| unsafe { sys::mcm_dataset_get_info(dataset, out) })?;
        let modalities = Modality::list(info.modality_count, |index, out| unsafe {
            // SAFETY: as above.
            sys::mcm_dataset_get_modality(dataset, index, out)
        })?;
        Ok(DatasetInfo {
            width: info.width,
            height: info.height,
            channels: info.channels,
            count: info.count,
            fingerprint: characters(&info.fingerprint),
            modalities,
        })
    }

    /// Writes a data set of samples for a latent diffusion model: its images encoded once. `progress` is called after
    /// each example with those done and all, and cancels if it breaks. Errors: Incompatible, Size, Format, Io,
    /// OutOfMemory, Cancelled.
    pub fn encode<F: FnMut(u64, u64) -> ControlFlow<()>>(
        &self,
        model: &Model,
        to: impl AsRef<Path>,
        progress: F,
    ) -> Result<()> {
        let name = path(to)?;
        let mut callback = Callback::new(progress);
        let (dataset, model) = (self.0.as_ptr(), model.0.as_ptr());
        // SAFETY: path and callback live through the call.
        let status =
            unsafe { sys::mcm_dataset_encode(dataset, model, name.as_ptr(), Some(counted::<F>), callback.user()) };
        callback.finish(status)
    }
}
