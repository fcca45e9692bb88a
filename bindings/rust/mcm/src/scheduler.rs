use std::ptr;

use mcm_sys as sys;

use crate::convert::{buffer, expect_length, fill, numbered, optional_text, pointer};
use crate::error::check;
use crate::handle::Handle;
use crate::{Model, Result};

numbered! {
    /// diffusers' schedulers.
    #[derive(Default)]
    SchedulerKind {
        /// The model's own.
        #[default]
        ModelDefault = MCM_SCHEDULER_DEFAULT,
        /// DDPMScheduler.
        Ddpm = MCM_SCHEDULER_DDPM,
        /// DDIMScheduler.
        Ddim = MCM_SCHEDULER_DDIM,
        /// PNDMScheduler.
        Pndm = MCM_SCHEDULER_PNDM,
        /// LMSDiscreteScheduler.
        Lms = MCM_SCHEDULER_LMS,
        /// EulerDiscreteScheduler.
        Euler = MCM_SCHEDULER_EULER,
        /// EulerAncestralDiscreteScheduler.
        EulerAncestral = MCM_SCHEDULER_EULER_ANCESTRAL,
        /// HeunDiscreteScheduler.
        Heun = MCM_SCHEDULER_HEUN,
        /// DPMSolverMultistepScheduler.
        DpmSolverMultistep = MCM_SCHEDULER_DPM_SOLVER_MULTISTEP,
        /// UniPCMultistepScheduler.
        UniPc = MCM_SCHEDULER_UNIPC,
        /// LCMScheduler.
        Lcm = MCM_SCHEDULER_LCM,
    }
}

/// Which scheduler, and its options.
#[derive(Clone, Copy, Debug, Default)]
pub struct SchedulerOptions<'a> {
    /// Of which class.
    pub kind: SchedulerKind,
    /// 0: the default of diffusers' pipelines. Some runs have more steps than are asked for.
    pub steps: u32,
    /// DDIM's noise share in \[0, 1\].
    pub eta: f32,
    /// A JSON object of options by diffusers' names, which go before the model's own, e.g. `{"solver_order": 3}`.
    pub options: Option<&'a str>,
}

/// A run of a scheduler.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SchedulerInfo {
    /// Of the run: evaluations of the network.
    pub steps: u32,
    /// Buffers of the sample's size that a run keeps.
    pub history_count: u32,
    /// x_T is this times a normal draw.
    pub init_noise_sigma: f32,
}

/// What a loop of the caller's own must know about one step.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepInfo {
    /// What the network and modules are told.
    pub timestep: f32,
    /// What the network and modules read is this times x_t.
    pub input_scale: f32,
    /// Whether the step needs noise.
    pub needs_noise: bool,
}

/// What a step reads and writes; all are of the sample's length, but for `prediction` and `history`.
#[derive(Debug)]
pub struct StepBuffers<'a> {
    /// x_t, which becomes x_{t-1}; not scaled by `input_scale`.
    pub sample: &'a mut [f32],
    /// The (modulated) prediction, as long as the sample, or twice that if the model learns its variance.
    pub prediction: &'a [f32],
    /// A normal draw, if the step needs one.
    pub noise: Option<&'a [f32]>,
    /// What the run keeps from step to step: the info's `history_count` times the sample's length, anything before step
    /// 0, one for each run.
    pub history: &'a mut [f32],
    /// Receives the predicted x_0.
    pub x0: Option<&'a mut [f32]>,
}

/// The arithmetic between predictions, as in diffusers: x_t and e to x_{t-1}. It knows no network, and keeps nothing from
/// step to step. Immutable, shared by threads.
#[derive(Debug)]
pub struct Scheduler(Handle<sys::mcm_scheduler>);

impl Scheduler {
    /// A run over a model's timesteps. Errors: InvalidArgument, Format, Unsupported.
    pub fn new(model: &Model, options: &SchedulerOptions<'_>) -> Result<Scheduler> {
        let json = optional_text("options", options.options)?;
        let SchedulerOptions { kind, steps, eta, .. } = *options;
        let (model, kind) = (model.0.as_ptr(), kind.number());
        // SAFETY: the text lives through the call.
        Handle::create(|out| unsafe {
            sys::mcm_scheduler_create_with_options(model, kind, steps, eta, pointer(&json), out)
        })
        .map(Scheduler)
    }

    /// What a run is like.
    pub fn info(&self) -> Result<SchedulerInfo> {
        let scheduler = self.0.as_ptr();
        // SAFETY: the place is a struct of the size that it says.
        let info = fill(sys::mcm_scheduler_info_init, |out| unsafe { sys::mcm_scheduler_get_info(scheduler, out) })?;
        let sys::mcm_scheduler_info { steps, history_count, init_noise_sigma, .. } = info;
        Ok(SchedulerInfo { steps, history_count, init_noise_sigma })
    }

    /// About a step, 0 .. steps - 1.
    pub fn step_info(&self, step: u32) -> Result<StepInfo> {
        let scheduler = self.0.as_ptr();
        // SAFETY: the place is a struct of the size that it says.
        let info = fill(sys::mcm_step_info_init, |out| unsafe { sys::mcm_scheduler_get_step(scheduler, step, out) })?;
        let sys::mcm_step_info { timestep, input_scale, needs_noise, .. } = info;
        Ok(StepInfo { timestep, input_scale, needs_noise: needs_noise != 0 })
    }

    /// All timesteps, rounded to whole numbers.
    pub fn timesteps(&self) -> Result<Vec<i32>> {
        let mut timesteps = buffer(self.info()?.steps as usize)?;
        let mut count = 0;
        let (place, capacity) = (timesteps.as_mut_ptr(), timesteps.len() as u32);
        // SAFETY: the buffer has room for as many as is said.
        check(unsafe { sys::mcm_scheduler_get_timesteps(self.0.as_ptr(), place, capacity, &mut count) })?;
        Ok(timesteps)
    }

    /// One step, 0 .. steps - 1, of `batch` images. Steps are taken in order; one may be repeated until the next.
    /// Errors: InvalidArgument, Size, OutOfMemory.
    pub fn step(&self, step: u32, batch: u32, buffers: StepBuffers<'_>) -> Result<()> {
        let StepBuffers { sample, prediction, noise, history, x0 } = buffers;
        for (name, length) in [("noise", noise.map(|b| b.len())), ("x0", x0.as_ref().map(|b| b.len()))] {
            expect_length(name, length.unwrap_or(sample.len()), sample.len())?;
        }
        let length = sample.len();
        let place = sample.as_mut_ptr();
        // SAFETY: lengths are passed along, or were compared above. The library lets `previous` be the sample; the
        // other buffers are borrowed so that they cannot overlap those that are written.
        check(unsafe {
            sys::mcm_scheduler_step_with_history(
                self.0.as_ptr(),
                step,
                batch,
                place,
                length,
                prediction.as_ptr(),
                prediction.len(),
                noise.map_or(ptr::null(), |noise| noise.as_ptr()),
                if history.is_empty() { ptr::null_mut() } else { history.as_mut_ptr() },
                history.len(),
                place,
                x0.map_or(ptr::null_mut(), |x0| x0.as_mut_ptr()),
            )
        })
    }

    /// x_0 with as much noise as it has at a timestep, 0 .. num_train_timesteps - 1. Three buffers of one length.
    pub fn add_noise(&self, timestep: i32, x0: &[f32], noise: &[f32], out: &mut [f32]) -> Result<()> {
        expect_length("noise", noise.len(), x0.len())?;
        expect_length("out", out.len(), x0.len())?;
        let (scheduler, place) = (self.0.as_ptr(), out.as_mut_ptr());
        // SAFETY: lengths were compared above.
        check(unsafe {
            sys::mcm_scheduler_add_noise(scheduler, timestep, x0.as_ptr(), noise.as_ptr(), x0.len(), place)
        })
    }
}
