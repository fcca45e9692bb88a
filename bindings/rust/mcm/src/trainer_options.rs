use std::path::Path;

use mcm_sys as sys;

use crate::convert::{count, numbered, size_of, slice_pointer};
use crate::Result;

numbered! {
    /// What the squared error of a prediction counts, by the timestep.
    Weighting {
        /// The same everywhere.
        Uniform = MCM_WEIGHTING_UNIFORM,
        /// As an error of x_0 that counts min(SNR, gamma) (Hang et al. 2023).
        MinSnr = MCM_WEIGHTING_MIN_SNR,
        /// sqrt((1 - abar) / abar), clipped: high noise, where layout is decided, counts more.
        Noise = MCM_WEIGHTING_NOISE,
    }
}

numbered! {
    /// How timesteps are drawn.
    TimestepDraw {
        /// Evenly; errors are weighted.
        Uniform = MCM_TIMESTEPS_UNIFORM,
        /// In proportion to the weighting; errors are not weighted then.
        Weighted = MCM_TIMESTEPS_WEIGHTED,
    }
}

/// How a module is trained.
#[derive(Clone, Copy, Debug)]
pub struct TrainerOptions<'a> {
    /// In which the learning rate rises from 0; default 200.
    pub warmup_steps: u32,
    /// By which it has fallen to 0 along a cosine, and after which no step can be taken; 0: it stays.
    pub total_steps: u64,
    /// Of the first weights, timesteps, noise, dropout and the order of examples.
    pub seed: u64,
    /// Default 2e-3.
    pub learning_rate: f32,
    /// AdamW's, for kernels and matrices only; default 1e-4.
    pub weight_decay: f32,
    /// Default 0.9.
    pub beta1: f32,
    /// Default 0.999.
    pub beta2: f32,
    /// Default 1e-8.
    pub epsilon: f32,
    /// The gradient is scaled down to this norm; default 1; 0: not at all.
    pub clip_norm: f32,
    /// Of the moving average of the weights; default 0.999; 0: none.
    pub ema_decay: f32,
    /// Default Noise.
    pub weighting: Weighting,
    /// Default 5.
    pub min_snr_gamma: f32,
    /// Default 0.3.
    pub noise_weight_low: f32,
    /// Default 10.
    pub noise_weight_high: f32,
    /// Default Uniform.
    pub timesteps: TimestepDraw,
    /// Timesteps are drawn from first_timestep .. end_timestep - 1.
    pub first_timestep: u32,
    /// 0, with first_timestep 0: from all.
    pub end_timestep: u32,
    /// Of several processes that share each step, which this is.
    pub rank: u32,
    /// Of how many; default 1.
    pub world: u32,
    /// How often a modality is withheld: one number for all, or one each; none: 0.3.
    pub dropout: &'a [f32],
    /// As in [`ModelOptions`](crate::ModelOptions); only for a trainer without a model.
    pub threads: u32,
}

impl Default for TrainerOptions<'_> {
    fn default() -> Self {
        TrainerOptions {
            warmup_steps: 200,
            total_steps: 0,
            seed: 0,
            learning_rate: 2e-3,
            weight_decay: 1e-4,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            clip_norm: 1.0,
            ema_decay: 0.999,
            weighting: Weighting::Noise,
            min_snr_gamma: 5.0,
            noise_weight_low: 0.3,
            noise_weight_high: 10.0,
            timesteps: TimestepDraw::Uniform,
            first_timestep: 0,
            end_timestep: 0,
            rank: 0,
            world: 1,
            dropout: &[],
            threads: 0,
        }
    }
}

impl TrainerOptions<'_> {
    /// For C, as long as these options live.
    pub(crate) fn native(&self) -> Result<sys::mcm_trainer_options> {
        Ok(sys::mcm_trainer_options {
            struct_size: size_of::<sys::mcm_trainer_options>(),
            warmup_steps: self.warmup_steps,
            total_steps: self.total_steps,
            seed: self.seed,
            learning_rate: self.learning_rate,
            weight_decay: self.weight_decay,
            beta1: self.beta1,
            beta2: self.beta2,
            epsilon: self.epsilon,
            clip_norm: self.clip_norm,
            ema_decay: self.ema_decay,
            weighting: self.weighting.number(),
            min_snr_gamma: self.min_snr_gamma,
            noise_weight_low: self.noise_weight_low,
            noise_weight_high: self.noise_weight_high,
            timesteps: self.timesteps.number(),
            first_timestep: self.first_timestep,
            end_timestep: self.end_timestep,
            rank: self.rank,
            world: self.world,
            dropout_count: count("dropouts", self.dropout.len())?,
            dropout: slice_pointer(self.dropout),
            threads: self.threads,
            reserved: 0,
        })
    }
}

/// What a trainer that goes on is to do otherwise; the default is: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ResumeOptions {
    /// As in [`ModelOptions`](crate::ModelOptions); only for a trainer without a model.
    pub threads: u32,
    /// As in [`TrainerOptions`], for one file to serve all processes; 0, 0: as saved.
    pub rank: u32,
    /// See rank.
    pub world: u32,
    /// To go on for longer; 0: as saved.
    pub total_steps: u64,
    /// 0: as saved.
    pub learning_rate: f32,
}

impl ResumeOptions {
    pub(crate) fn native(&self) -> sys::mcm_resume_options {
        sys::mcm_resume_options {
            struct_size: size_of::<sys::mcm_resume_options>(),
            threads: self.threads,
            rank: self.rank,
            world: self.world,
            total_steps: self.total_steps,
            learning_rate: self.learning_rate,
            reserved: 0,
        }
    }
}

/// How [`Trainer::train`](crate::Trainer::train) goes on.
#[derive(Clone, Copy, Debug)]
pub struct TrainOptions<'a> {
    /// Examples accumulated at a time; default 64.
    pub batch: u32,
    /// Batches per step; default 1.
    pub accumulate: u32,
    /// Steps between saves; 0: only at the end and when cancelled; default 1000.
    pub save_every: u32,
    /// Trained until this number of steps is taken; 0, and at most: total_steps.
    pub until_step: u64,
    /// Where the trainer is saved.
    pub save_path: Option<&'a Path>,
}

impl Default for TrainOptions<'_> {
    fn default() -> Self {
        TrainOptions { batch: 64, accumulate: 1, save_every: 1000, until_step: 0, save_path: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::fill;

    #[test]
    fn defaults_are_the_librarys() {
        let library = fill(sys::mcm_trainer_options_init, |_| sys::MCM_OK).unwrap();
        assert_eq!(format!("{:?}", TrainerOptions::default().native().unwrap()), format!("{library:?}"));
        let library = fill(sys::mcm_resume_options_init, |_| sys::MCM_OK).unwrap();
        assert_eq!(format!("{:?}", ResumeOptions::default().native()), format!("{library:?}"));
        let library = fill(sys::mcm_train_options_init, |_| sys::MCM_OK).unwrap();
        let TrainOptions { batch, accumulate, save_every, until_step, .. } = TrainOptions::default();
        let expected = (library.batch, library.accumulate, library.save_every, library.until_step);
        assert_eq!((batch, accumulate, save_every, until_step), expected);
    }
}
