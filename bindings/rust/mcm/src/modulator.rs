use std::path::Path;

use mcm_sys as sys;

use crate::condition::Natives;
use crate::convert::{characters, expect_length, fill, numbered, path};
use crate::error::check;
use crate::handle::Handle;
use crate::{Condition, Extent, Model, PredictionType, Result};

numbered! {
    /// What a modality's images become.
    Encoding {
        /// One plane, value in \[0, 1\]; of an RGB image its luminance.
        Grey = MCM_ENCODING_GREY,
        /// Three planes, values in \[0, 1\]; a grey image stands for all three.
        Rgb = MCM_ENCODING_RGB,
        /// Class index per pixel to one plane per class.
        OneHot = MCM_ENCODING_ONE_HOT,
    }
}

numbered! {
    /// How an image that is not of the sample's size is resized.
    Resize {
        /// The nearest pixel.
        Nearest = MCM_RESIZE_NEAREST,
        /// The mean of the pixels that it covers.
        Area = MCM_RESIZE_AREA,
        /// Between four pixels.
        Bilinear = MCM_RESIZE_BILINEAR,
    }
}

/// What a module can follow.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modality {
    /// E.g. "sketch".
    pub name: String,
    /// Planes: 1, 3 or the number of classes.
    pub channels: u32,
    /// None in a data set, which does not say.
    pub encoding: Option<Encoding>,
    /// None in a data set, which does not say.
    pub resize: Option<Resize>,
}

impl Modality {
    /// The modalities that `call` reads by their number.
    pub(crate) fn list(
        count: u32,
        call: impl Fn(u32, *mut sys::mcm_modality_info) -> sys::mcm_status,
    ) -> Result<Vec<Modality>> {
        let read = |index| {
            let info = fill(sys::mcm_modality_info_init, |out| call(index, out))?;
            Ok(Modality {
                name: characters(&info.name),
                channels: info.channels,
                encoding: Encoding::of(info.encoding),
                resize: Resize::of(info.resize),
            })
        };
        (0..count).map(read).collect()
    }
}

/// What a module is.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModulatorInfo {
    /// Of the base's prediction.
    pub prediction_channels: u32,
    /// Of the base that it was trained on, if the file says.
    pub prediction_type: Option<PredictionType>,
    /// Numbers in the weights.
    pub parameter_count: u64,
    /// Of the base that it was trained on, or "".
    pub base_fingerprint: String,
    /// What it can follow.
    pub modalities: Vec<Modality>,
}

/// A multimodal conditioning module, which turns the network's prediction into one that follows conditions. Immutable,
/// shared by threads.
#[derive(Debug)]
pub struct Modulator(pub(crate) Handle<sys::mcm_modulator>);

impl Modulator {
    /// Opens a module file. Errors: Io, Format, Unsupported, OutOfMemory, Cpu.
    pub fn open(file: impl AsRef<Path>) -> Result<Modulator> {
        let name = path(file)?;
        // SAFETY: the path lives through the call.
        Handle::create(|out| unsafe { sys::mcm_modulator_open(name.as_ptr(), out) }).map(Modulator)
    }

    /// The same from memory, which may go afterwards.
    pub fn open_memory(file: &[u8]) -> Result<Modulator> {
        // SAFETY: the length is passed along.
        Handle::create(|out| unsafe { sys::mcm_modulator_open_memory(file.as_ptr().cast(), file.len(), out) })
            .map(Modulator)
    }

    /// What the module is.
    pub fn info(&self) -> Result<ModulatorInfo> {
        let module = self.0.as_ptr();
        // SAFETY: the places are structs of the size that they say.
        let info = fill(sys::mcm_modulator_info_init, |out| unsafe { sys::mcm_modulator_get_info(module, out) })?;
        let modalities = Modality::list(info.modality_count, |index, out| unsafe {
            // SAFETY: as above.
            sys::mcm_modulator_get_modality(module, index, out)
        })?;
        Ok(ModulatorInfo {
            prediction_channels: info.prediction_channels,
            prediction_type: PredictionType::of(info.prediction_type),
            parameter_count: info.parameter_count,
            base_fingerprint: characters(&info.base_fingerprint),
            modalities,
        })
    }

    /// Whether the module fits the model; if not, the error (Incompatible) says why.
    pub fn check(&self, model: &Model) -> Result<()> {
        // SAFETY: both are the library's objects.
        check(unsafe { sys::mcm_modulator_check(self.0.as_ptr(), model.0.as_ptr()) })
    }

    /// Turns a prediction e into e + weight * (M(x, e, t, conditions) - e), for a loop of the caller's own.
    /// - `sample`: x, (batch, channels, height, width)
    /// - `timesteps`: one for each sample
    /// - `conditions`: one per modality; those that are not named are absent
    /// - `prediction`: e, of the sample's shape, in place
    ///
    /// Errors: InvalidArgument, Size, Incompatible, OutOfMemory.
    #[allow(clippy::too_many_arguments)] // They are the paper's.
    pub fn modulate(
        &self,
        model: &Model,
        extent: Extent,
        sample: &[f32],
        timesteps: &[f32],
        conditions: &[Condition<'_>],
        weight: f32,
        prediction: &mut [f32],
    ) -> Result<()> {
        let Extent { batch, width, height } = extent;
        expect_length("timesteps", timesteps.len(), batch as usize)?;
        expect_length("sample", sample.len(), prediction.len())?;
        let conditions = Natives::new(conditions)?;
        let length = prediction.len();
        let place = prediction.as_mut_ptr();
        // SAFETY: lengths are passed along, or were compared above. The library lets `out` be the prediction.
        check(unsafe {
            sys::mcm_modulator_modulate(
                self.0.as_ptr(),
                model.0.as_ptr(),
                batch,
                width,
                height,
                sample.as_ptr(),
                place,
                length,
                timesteps.as_ptr(),
                conditions.as_ptr(),
                conditions.len(),
                weight,
                place,
            )
        })
    }
}
