use mcm_sys as sys;

use crate::convert::{characters, fill};
use crate::{PredictionType, Result};

/// How many samples there are, and of what size. Samples are (batch, channels, height, width).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Samples.
    pub batch: u32,
    /// Of a sample.
    pub width: u32,
    /// Of a sample.
    pub height: u32,
}

/// What a model is; widths and heights are a sample's.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct ModelInfo {
    /// What the network predicts.
    pub prediction_type: Option<PredictionType>,
    /// The width that the model was trained at.
    pub width: u32,
    /// The height that the model was trained at.
    pub height: u32,
    /// Of a sample.
    pub channels: u32,
    /// Of the network's output: channels, or twice that with learned variance.
    pub prediction_channels: u32,
    /// Timesteps are 0 .. num_train_timesteps - 1.
    pub num_train_timesteps: u32,
    /// Width and height must be multiples of this.
    pub size_multiple: u32,
    /// Floats per image that the network wants as class input.
    pub class_input_size: u32,
    /// Number of classes if it has a class table, else 0.
    pub class_count: u32,
    /// Numbers in the weights.
    pub parameter_count: u64,
    /// Bytes held by the weights.
    pub memory_bytes: u64,
    /// 16 hex digits that identify the network's weights.
    pub fingerprint: String,
    /// Pixels of an image per pixel of a sample, in each direction.
    pub scale: u32,
    /// Of an image.
    pub image_channels: u32,
    /// Of the text's states that the network reads; 0 if it reads no text.
    pub text_channels: u32,
    /// Of the pooled text that it reads too (Stable Diffusion XL), else 0.
    pub pooled_channels: u32,
    /// That the network reads: channels, or 2 * channels + 1 in an inpainting model.
    pub input_channels: u32,
    /// Numbers of [`Session::set_time_ids`](crate::Session::set_time_ids) per image.
    pub time_id_count: u32,
    /// Whether it has its text encoders.
    pub encodes_text: bool,
    /// What `int8_weights` has changed, as a share of the weights' norm.
    pub rounding_error: f32,
}

impl ModelInfo {
    pub(crate) fn new(info: &sys::mcm_model_info) -> ModelInfo {
        ModelInfo {
            prediction_type: PredictionType::of(info.prediction_type),
            width: info.width,
            height: info.height,
            channels: info.channels,
            prediction_channels: info.prediction_channels,
            num_train_timesteps: info.num_train_timesteps,
            size_multiple: info.size_multiple,
            class_input_size: info.class_input_size,
            class_count: info.class_count,
            parameter_count: info.parameter_count,
            memory_bytes: info.memory_bytes,
            fingerprint: characters(&info.fingerprint),
            scale: info.scale,
            image_channels: info.image_channels,
            text_channels: info.text_channels,
            pooled_channels: info.pooled_channels,
            input_channels: info.input_channels,
            time_id_count: info.time_id_count,
            encodes_text: info.encodes_text != 0,
            rounding_error: info.rounding_error,
        }
    }

    /// Of `batch` samples of the model's own size.
    pub fn extent(&self, batch: u32) -> Extent {
        Extent { batch, width: self.width, height: self.height }
    }
}

/// Memory in bytes, and threads.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Threads that one call may use.
    pub threads: u32,
    /// Of parameters.
    pub weights: u64,
    /// Of filters kept transformed.
    pub cache: u64,
    /// Of activations.
    pub arena: u64,
}

impl Memory {
    pub(crate) fn read(call: impl FnOnce(*mut sys::mcm_memory) -> sys::mcm_status) -> Result<Memory> {
        let sys::mcm_memory { threads, weights, cache, arena, .. } = fill(sys::mcm_memory_init, call)?;
        Ok(Memory { threads, weights, cache, arena })
    }
}
