use std::path::Path;

use mcm_sys as sys;

use crate::convert::{
    buffer, characters, count, expect_length, fill, numbered, optional_path, optional_text, path, pointer, product,
    size_of, slice_pointer, text,
};
use crate::error::check;
use crate::handle::Handle;
use crate::image::native;
use crate::{Error, Image, Pixels, Prompt, Result};

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

/// What a network reads beside sample and timesteps.
#[derive(Clone, Copy, Debug, Default)]
pub struct PredictOptions<'a> {
    /// (batch, class_input_size), of a model that takes a class.
    pub class_input: &'a [f32],
    /// Of a model that reads a text: of one image or of the batch.
    pub prompt: Option<&'a Prompt>,
    /// Of Stable Diffusion XL: (batch, time_id_count), or none for those of a whole image.
    pub time_ids: &'a [f32],
    /// Of a consistency model: its guidance embedding.
    pub timestep_cond: &'a [f32],
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

/// A pretrained diffusion model: network, noise schedule and scheduler defaults, and, where it has them, autoencoder and
/// text encoders. It never changes: any number of threads may use one at the same time.
#[derive(Debug)]
pub struct Model(pub(crate) Handle<sys::mcm_model>);

impl Model {
    /// Opens a diffusers model folder, or a .safetensors file in the layout of the programs by which Stable Diffusion
    /// was trained. Errors: Io, Format, Unsupported, OutOfMemory, Cpu.
    pub fn open(at: impl AsRef<Path>) -> Result<Model> {
        Model::open_with(at, &ModelOptions::default())
    }

    /// The same with options. Errors: also InvalidArgument.
    pub fn open_with(at: impl AsRef<Path>, options: &ModelOptions<'_>) -> Result<Model> {
        let name = path(at)?;
        // SAFETY: texts and options live through the call.
        options
            .with(|options| Handle::create(|out| unsafe { sys::mcm_model_open(name.as_ptr(), options, out) }))
            .map(Model)
    }

    /// Opens the files of a model folder, or one file, that lie in memory: names inside the folder, with '/', and
    /// contents. `on_demand` must not be set.
    pub fn open_memory(files: &[(&str, &[u8])], options: &ModelOptions<'_>) -> Result<Model> {
        let names: Vec<_> = files.iter().map(|(name, _)| text("name", name)).collect::<Result<_>>()?;
        let contents = files.iter().map(|(_, content)| content);
        let natives: Vec<_> = names
            .iter()
            .zip(contents)
            .map(|(name, content)| sys::mcm_memory_file {
                name: name.as_ptr(),
                data: content.as_ptr().cast(),
                size: content.len(),
            })
            .collect();
        options
            .with(|options| {
                // SAFETY: names, contents and options live through the call.
                Handle::create(|out| unsafe {
                    sys::mcm_model_open_memory(natives.as_ptr(), natives.len(), options, out)
                })
            })
            .map(Model)
    }

    /// What the model is.
    pub fn info(&self) -> Result<ModelInfo> {
        // SAFETY: the place is a struct of the size that it says.
        let info = fill(sys::mcm_model_info_init, |out| unsafe { sys::mcm_model_get_info(self.0.as_ptr(), out) })?;
        Ok(ModelInfo {
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
        })
    }

    /// What the model holds; a session's memory comes on top.
    pub fn memory(&self) -> Result<Memory> {
        // SAFETY: the place is a struct of the size that it says.
        Memory::read(|out| unsafe { sys::mcm_model_get_memory(self.0.as_ptr(), out) })
    }

    /// The network's prediction for a batch.
    /// - `sample`: (batch, input_channels, height, width)
    /// - `timesteps`: one for each sample
    /// - `prediction`: receives (batch, prediction_channels, height, width)
    ///
    /// Errors: InvalidArgument, Size, State (no prompt), Incompatible (a prompt for another model), OutOfMemory.
    pub fn predict(
        &self,
        extent: Extent,
        sample: &[f32],
        timesteps: &[f32],
        options: &PredictOptions<'_>,
        prediction: &mut [f32],
    ) -> Result<()> {
        let Extent { batch, width, height } = extent;
        expect_length("timesteps", timesteps.len(), batch as usize)?;
        if !options.time_ids.is_empty() {
            let expected = product(&[batch as usize, self.info()?.time_id_count as usize])?;
            expect_length("time_ids", options.time_ids.len(), expected)?;
        }
        let native = sys::mcm_predict_options {
            struct_size: size_of::<sys::mcm_predict_options>(),
            class_input_count: count("class inputs", options.class_input.len())?,
            class_input: slice_pointer(options.class_input),
            prompt: crate::prompt::pointer(options.prompt),
            time_ids: slice_pointer(options.time_ids),
            timestep_cond: slice_pointer(options.timestep_cond),
            timestep_cond_count: options.timestep_cond.len(),
        };
        // SAFETY: lengths are passed along, or were compared above; `prediction` is borrowed alone.
        check(unsafe {
            sys::mcm_model_predict_with(
                self.0.as_ptr(),
                batch,
                width,
                height,
                sample.as_ptr(),
                sample.len(),
                timesteps.as_ptr(),
                &native,
                prediction.as_mut_ptr(),
                prediction.len(),
            )
        })
    }

    /// Images of one size to samples: (batch, channels, height, width) as the model was trained on. Errors:
    /// InvalidArgument, Size, OutOfMemory.
    pub fn encode(&self, images: &[Image<'_>]) -> Result<Vec<f32>> {
        let info = self.info()?;
        let first = images.first().ok_or_else(|| Error::invalid("no image, expected at least one".into()))?;
        let [width, height] = [first.width() / info.scale.max(1), first.height() / info.scale.max(1)];
        let length = product(&[images.len(), info.channels as usize, height as usize, width as usize])?;
        let mut sample = buffer(length)?;
        let batch = count("images", images.len())?;
        // SAFETY: the views' pixels are borrowed, and `sample` is as long as is said.
        check(unsafe {
            sys::mcm_model_encode(self.0.as_ptr(), native(images), batch, sample.as_mut_ptr(), sample.len())
        })?;
        Ok(sample)
    }

    /// One sample, (channels, height, width), to 8-bit pixels, `scale` times as wide and high. Errors: InvalidArgument,
    /// Size, OutOfMemory.
    pub fn decode(&self, width: u32, height: u32, sample: &[f32]) -> Result<Pixels> {
        let info = self.info()?;
        let side = |side: u32| {
            side.checked_mul(info.scale).ok_or_else(|| Error::size(format!("a sample's side is {side}, expected less")))
        };
        let [image_width, image_height] = [side(width)?, side(height)?];
        let size = [image_width as usize, image_height as usize, info.image_channels as usize];
        expect_length("sample", sample.len(), product(&[info.channels as usize, height as usize, width as usize])?)?;
        let mut data: Vec<u8> = buffer(product(&size)?)?;
        let (model, length) = (self.0.as_ptr(), data.len());
        // SAFETY: both buffers are as long as is said.
        check(unsafe {
            sys::mcm_model_decode(model, width, height, sample.as_ptr(), sample.len(), data.as_mut_ptr(), length)
        })?;
        Pixels::new(data, image_width, image_height, info.image_channels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
