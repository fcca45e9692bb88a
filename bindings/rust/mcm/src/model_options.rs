use std::path::Path;

use mcm_sys as sys;

use crate::convert::{numbered, optional_path, optional_text, pointer, size_of};
use crate::Result;

numbered! {
    /// What a network predicts.
    PredictionType {
        /// The noise.
        Epsilon = MCM_PREDICTION_EPSILON,
        /// x_0.
        Sample = MCM_PREDICTION_SAMPLE,
        /// v (Salimans and Ho 2022).
        V = MCM_PREDICTION_V,
    }
}

/// How a model is opened; the default is right for most.
#[derive(Clone, Copy, Debug, Default)]
pub struct ModelOptions<'a> {
    /// Threads that one call may use; 0: as many as the process may use CPUs. Results do not depend on it.
    pub threads: u32,
    /// Memory that may be spent on transformed filters, beside the weights. Results do not depend on it.
    pub cache_bytes: u64,
    /// Of the weights' file names: "fp16" for \*.fp16.safetensors.
    pub variant: Option<&'a str>,
    /// Of a model in one file: folder of its tokenizer; None: CLIP's own.
    pub tokenizer: Option<&'a Path>,
    /// What the network predicts, before what the model's files say, or where they do not.
    pub prediction_type: Option<PredictionType>,
    /// Large matrices become 8-bit integers, which changes results.
    pub int8_weights: bool,
    /// Text encoders and autoencoder are loaded when they are needed, each time.
    pub on_demand: bool,
}

impl ModelOptions<'_> {
    /// Calls `call` with these options for C.
    pub(crate) fn with<T>(&self, call: impl FnOnce(*const sys::mcm_model_options) -> Result<T>) -> Result<T> {
        let variant = optional_text("variant", self.variant)?;
        let tokenizer = optional_path(self.tokenizer)?;
        call(&sys::mcm_model_options {
            struct_size: size_of::<sys::mcm_model_options>(),
            threads: self.threads,
            cache_bytes: self.cache_bytes,
            variant: pointer(&variant),
            tokenizer: pointer(&tokenizer),
            prediction_type: self.prediction_type.map_or(0, PredictionType::number),
            int8_weights: self.int8_weights.into(),
            on_demand: self.on_demand.into(),
            reserved: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::fill;

    #[test]
    fn defaults_are_the_librarys() {
        let library = fill(sys::mcm_model_options_init, |_| sys::MCM_OK).unwrap();
        let ours = ModelOptions::default().with(|options| {
            // SAFETY: points to the options during this call.
            Ok(unsafe { *options })
        });
        assert_eq!(format!("{:?}", ours.unwrap()), format!("{library:?}"));
    }
}
