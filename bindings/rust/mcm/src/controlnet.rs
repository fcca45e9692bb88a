use std::path::Path;

use mcm_sys as sys;

use crate::convert::path;
use crate::handle::Handle;
use crate::{ModelOptions, Result};

/// diffusers' ControlNetModel, which a session of a model that reads a text may follow beside modules. Immutable, shared
/// by threads.
#[derive(Debug)]
pub struct ControlNet(pub(crate) Handle<sys::mcm_controlnet>);

impl ControlNet {
    /// Opens a folder with config.json and diffusion_pytorch_model.safetensors; of the options, threads, variant and
    /// int8_weights matter. Errors: as [`Model::open_with`](crate::Model::open_with).
    pub fn open(folder: impl AsRef<Path>, options: &ModelOptions<'_>) -> Result<ControlNet> {
        let name = path(folder)?;
        options
            // SAFETY: texts and options live through the call.
            .with(|options| Handle::create(|out| unsafe { sys::mcm_controlnet_open(name.as_ptr(), options, out) }))
            .map(ControlNet)
    }
}
