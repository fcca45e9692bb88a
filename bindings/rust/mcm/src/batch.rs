use std::ptr;

use mcm_sys as sys;

use crate::condition::Natives;
use crate::convert::{count, size_of};
use crate::image::native;
use crate::{Condition, Extent, Image, Prompt, Result};

/// What a module learns from.
#[derive(Clone, Copy, Debug)]
pub enum Examples<'a> {
    /// Images of one size, with the model's image_channels; of a latent diffusion model they are encoded each time.
    Images(&'a [Image<'a>]),
    /// (batch, channels, height, width), finite, in the model's sample space.
    Samples {
        /// All of them.
        values: &'a [f32],
        /// How many, and of what size.
        extent: Extent,
    },
}

/// Examples and their conditions.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// At least one.
    pub examples: Examples<'a>,
    /// One per modality that the examples have, each with an image for each example.
    pub conditions: &'a [Condition<'a>],
    /// For a model that reads a text: of one example or of all.
    pub prompt: Option<&'a Prompt>,
}

impl Batch<'_> {
    /// Calls `call` with this batch for C.
    pub(crate) fn with<T>(&self, call: impl FnOnce(*const sys::mcm_batch) -> Result<T>) -> Result<T> {
        let conditions = Natives::new(self.conditions)?;
        let mut batch = sys::mcm_batch {
            struct_size: size_of::<sys::mcm_batch>(),
            count: 0,
            images: ptr::null(),
            samples: ptr::null(),
            sample_count: 0,
            width: 0,
            height: 0,
            conditions: conditions.as_ptr(),
            condition_count: conditions.len(),
            reserved: 0,
            prompt: crate::prompt::pointer(self.prompt),
        };
        match self.examples {
            Examples::Images(images) => {
                batch.count = count("images", images.len())?;
                batch.images = native(images);
            }
            Examples::Samples { values, extent } => {
                batch.count = extent.batch;
                batch.samples = values.as_ptr();
                batch.sample_count = values.len();
                (batch.width, batch.height) = (extent.width, extent.height);
            }
        }
        call(&batch)
    }
}

/// What was learned; losses are means over the examples.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainReport {
    /// Squared error of the module's prediction.
    pub loss: f32,
    /// The same, weighted by timestep: what is made smaller.
    pub weighted_loss: f32,
    /// Squared error of the model's own prediction.
    pub base_loss: f32,
    /// Before clipping; 0 if no step was taken.
    pub gradient_norm: f32,
    /// Of the step; 0 if none was taken.
    pub learning_rate: f32,
    /// Steps taken so far.
    pub step: u64,
    /// Examples seen so far, by all processes.
    pub examples: u64,
    /// Wall time of the model's prediction.
    pub base_seconds: f64,
    /// Wall time of the module's way forward and back.
    pub module_seconds: f64,
    /// Wall time of the optimiser.
    pub optimizer_seconds: f64,
}

impl TrainReport {
    pub(crate) fn new(report: &sys::mcm_train_report) -> TrainReport {
        TrainReport {
            loss: report.loss,
            weighted_loss: report.weighted_loss,
            base_loss: report.base_loss,
            gradient_norm: report.gradient_norm,
            learning_rate: report.learning_rate,
            step: report.step,
            examples: report.examples,
            base_seconds: report.base_seconds,
            module_seconds: report.module_seconds,
            optimizer_seconds: report.optimizer_seconds,
        }
    }

    pub(crate) fn read(call: impl FnOnce(*mut sys::mcm_train_report) -> sys::mcm_status) -> Result<TrainReport> {
        Ok(TrainReport::new(&crate::convert::fill(sys::mcm_train_report_init, call)?))
    }
}
