use mcm_sys as sys;

use crate::convert::{numbered, optional_text, pointer, size_of};
use crate::{Result, SchedulerKind};

numbered! {
    /// Where modules act.
    Modulate {
        /// On the guided prediction: one call of a module per step.
        Guided = MCM_MODULATE_GUIDED,
        /// On the prediction with the prompt, before guidance.
        Conditional = MCM_MODULATE_CONDITIONAL,
    }
}

/// What a session is to be.
#[derive(Clone, Copy, Debug)]
pub struct SessionOptions<'a> {
    /// Images; default 1.
    pub batch: u32,
    /// Of an image; 0: the model's own.
    pub width: u32,
    /// Of an image; 0: the model's own.
    pub height: u32,
    /// Which scheduler.
    pub scheduler: SchedulerKind,
    /// 0: the default of diffusers' pipelines.
    pub steps: u32,
    /// DDIM's noise share in \[0, 1\].
    pub eta: f32,
    /// See [`SchedulerOptions::options`](crate::SchedulerOptions::options).
    pub scheduler_options: Option<&'a str>,
    /// Of a run that begins from an image: the share of the steps that are taken, in \[0, 1\]; default 1.
    pub strength: f64,
    /// s in e = e_u + s (e_c - e_u); None: that of diffusers' pipeline; up to 1: no guidance.
    pub guidance_scale: Option<f32>,
    /// The share of e_c's standard deviation that e gets back, in \[0, 1\].
    pub guidance_rescale: f32,
    /// Where modules act.
    pub modulate: Modulate,
    /// 1: e_c and e_u are predicted together, 2: one after the other, 0: as memory suggests. Results do not depend on
    /// it.
    pub guidance_passes: i32,
    /// An autoencoder works in tiles on images of more pixels than a square of this size; 0: 768.
    pub tile_above: u32,
}

impl Default for SessionOptions<'_> {
    fn default() -> Self {
        SessionOptions {
            batch: 1,
            width: 0,
            height: 0,
            scheduler: SchedulerKind::ModelDefault,
            steps: 0,
            eta: 0.0,
            scheduler_options: None,
            strength: 1.0,
            guidance_scale: None,
            guidance_rescale: 0.0,
            modulate: Modulate::Guided,
            guidance_passes: 0,
            tile_above: 0,
        }
    }
}

impl SessionOptions<'_> {
    /// Calls `call` with these options for C.
    pub(crate) fn with<T>(&self, call: impl FnOnce(*const sys::mcm_session_options) -> Result<T>) -> Result<T> {
        let scheduler_options = optional_text("scheduler_options", self.scheduler_options)?;
        // To the library 0 is the default, and all up to 1 are the same.
        let guidance_scale = self.guidance_scale.map_or(0.0, |scale| if scale == 0.0 { 1.0 } else { scale });
        call(&sys::mcm_session_options {
            struct_size: size_of::<sys::mcm_session_options>(),
            batch: self.batch,
            width: self.width,
            height: self.height,
            scheduler: self.scheduler.number(),
            steps: self.steps,
            eta: self.eta,
            scheduler_options: pointer(&scheduler_options),
            strength: self.strength,
            guidance_scale,
            guidance_rescale: self.guidance_rescale,
            modulate: self.modulate.number(),
            guidance_passes: self.guidance_passes,
            tile_above: self.tile_above,
            reserved: 0,
        })
    }
}

/// How a module or ControlNet acts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttachOptions {
    /// w in e' = e + sum_i w_i (M_i(x, e, t, y_i) - e); default 1.
    pub weight: f32,
    /// Active while begin <= step / steps < end; default 0.
    pub begin: f32,
    /// Default 1.
    pub end: f32,
    /// Attach even if trained on a base with another fingerprint.
    pub other_base: bool,
}

impl Default for AttachOptions {
    fn default() -> Self {
        AttachOptions { weight: 1.0, begin: 0.0, end: 1.0, other_base: false }
    }
}

impl AttachOptions {
    pub(crate) fn native(&self) -> sys::mcm_attach_options {
        sys::mcm_attach_options {
            struct_size: size_of::<sys::mcm_attach_options>(),
            weight: self.weight,
            begin: self.begin,
            end: self.end,
            other_base: self.other_base.into(),
        }
    }
}

/// Names a module or ControlNet in the session that it was attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attachment {
    pub(crate) session: u64,
    pub(crate) id: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::fill;

    #[test]
    fn defaults_are_the_librarys() {
        let library = fill(sys::mcm_session_options_init, |_| sys::MCM_OK).unwrap();
        // SAFETY: points to the options during the call.
        let ours = SessionOptions::default().with(|options| Ok(unsafe { *options })).unwrap();
        assert_eq!(format!("{ours:?}"), format!("{library:?}"));
        let library = fill(sys::mcm_attach_options_init, |_| sys::MCM_OK).unwrap();
        assert_eq!(format!("{:?}", AttachOptions::default().native()), format!("{library:?}"));
    }
}
