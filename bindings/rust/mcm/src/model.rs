use std::path::Path;

use mcm_sys as sys;

use crate::convert::{buffer, count, expect_length, fill, path, product, size_of, slice_pointer, text};
use crate::error::check;
use crate::handle::Handle;
use crate::image::native;
use crate::{Error, Extent, Image, Memory, ModelInfo, ModelOptions, Pixels, Prompt, Result};

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

/// A pretrained diffusion model: network, noise schedule and scheduler defaults, and, where it has them, autoencoder and
/// text encoders. It never changes: any number of threads may use one at the same time.
///
/// ```compile_fail,E0382
/// # fn test(model: mcm::Model) {
/// drop(model);
/// println!("{:?}", model.info()); // error: it is gone
/// # }
/// ```
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
        Ok(ModelInfo::new(&info))
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
    ///
    /// ```compile_fail,E0308
    /// # fn test(model: mcm::Model, extent: mcm::Extent, x: Vec<f32>) -> mcm::Result<()> {
    /// model.predict(extent, &x, &[999.0], &mcm::PredictOptions::default(), &x) // error: x is only lent for reading
    /// # }
    /// ```
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
