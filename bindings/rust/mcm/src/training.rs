use std::ops::ControlFlow;
use std::os::raw::c_void;

use mcm_sys as sys;

use crate::bank::pointer;
use crate::callback::Callback;
use crate::convert::{self, optional_path, size_of};
use crate::error::check;
use crate::{Bank, Batch, Dataset, Result, TrainOptions, TrainReport, Trainer};

/// Learning.
impl Trainer {
    /// Accumulates a batch's gradients and takes a step; if either fails, neither has happened. Errors:
    /// InvalidArgument, Size, Incompatible, State (a number that is not finite, gradients that wait), OutOfMemory.
    pub fn step(&mut self, batch: &Batch<'_>) -> Result<TrainReport> {
        // SAFETY: the batch lives through the call.
        batch.with(|batch| TrainReport::read(|out| unsafe { sys::mcm_trainer_step(self.0.as_ptr(), batch, out) }))
    }

    /// Adds a batch's gradients to those accumulated. Errors: as `step`.
    pub fn accumulate(&mut self, batch: &Batch<'_>) -> Result<TrainReport> {
        let trainer = self.0.as_ptr();
        // SAFETY: the batch lives through the call.
        batch.with(|batch| TrainReport::read(|out| unsafe { sys::mcm_trainer_accumulate(trainer, batch, out) }))
    }

    /// Takes a step along the accumulated gradients, divided by the number of examples. The report has no losses.
    /// Errors: State.
    pub fn apply(&mut self) -> Result<TrainReport> {
        // SAFETY: the place is a struct of the size that it says.
        TrainReport::read(|out| unsafe { sys::mcm_trainer_apply(self.0.as_ptr(), out) })
    }

    /// Forgets the accumulated gradients. Their examples stay counted as seen.
    pub fn clear(&mut self) -> Result<()> {
        // SAFETY: the trainer is borrowed alone.
        check(unsafe { sys::mcm_trainer_clear(self.0.as_ptr()) })
    }

    /// `step` with the next `count` examples of a data set, or the records of a bank of it. Errors: also Format.
    pub fn step_dataset(&mut self, dataset: &Dataset, bank: Option<&Bank>, count: u32) -> Result<TrainReport> {
        let (trainer, dataset, bank) = (self.0.as_ptr(), dataset.0.as_ptr(), pointer(bank));
        // SAFETY: all are the library's objects.
        TrainReport::read(|out| unsafe { sys::mcm_trainer_step_dataset(trainer, dataset, bank, count, out) })
    }

    /// `accumulate` in the same way.
    pub fn accumulate_dataset(&mut self, dataset: &Dataset, bank: Option<&Bank>, count: u32) -> Result<TrainReport> {
        let (trainer, dataset, bank) = (self.0.as_ptr(), dataset.0.as_ptr(), pointer(bank));
        // SAFETY: all are the library's objects.
        TrainReport::read(|out| unsafe { sys::mcm_trainer_accumulate_dataset(trainer, dataset, bank, count, out) })
    }

    /// The losses of a batch, without learning from it; timesteps and noise are the same in each call, and no condition
    /// is withheld. Errors: as `step`.
    pub fn evaluate(&self, batch: &Batch<'_>, averaged: bool) -> Result<TrainReport> {
        let (trainer, averaged) = (self.0.as_ptr(), averaged.into());
        batch.with(|batch| {
            // SAFETY: the batch lives through the call, which does not write to the trainer's buffers.
            TrainReport::read(|out| unsafe { sys::mcm_trainer_evaluate(trainer, batch, averaged, out) })
        })
    }

    /// The same of the first `count` examples of a data set, or of a bank's records.
    pub fn evaluate_dataset(
        &self,
        dataset: &Dataset,
        bank: Option<&Bank>,
        count: u32,
        averaged: bool,
    ) -> Result<TrainReport> {
        let (trainer, dataset, bank) = (self.0.as_ptr(), dataset.0.as_ptr(), pointer(bank));
        let averaged = averaged.into();
        // SAFETY: all are the library's objects; the call does not write to the trainer's buffers.
        TrainReport::read(|out| unsafe {
            sys::mcm_trainer_evaluate_dataset(trainer, dataset, bank, count, averaged, out)
        })
    }

    /// Trains on a data set, and on a bank if there is one. `progress` is called after each step, and cancels if it
    /// breaks; it may save, evaluate, read and write what it is given. Errors: those of `step_dataset` and `save`;
    /// InvalidArgument (no end is set); Cancelled. The trainer is then as after the last step.
    ///
    /// ```no_run
    /// # fn test(mut trainer: mcm::Trainer, dataset: mcm::Dataset) -> mcm::Result<()> {
    /// use std::ops::ControlFlow;
    /// trainer.train(&dataset, None, &mcm::TrainOptions { until_step: 500, ..Default::default() }, |trainer, report| {
    ///     if report.step % 100 == 0 {
    ///         println!("{}: {}", report.step, report.loss);
    ///         trainer.reset_losses().ok();
    ///     }
    ///     ControlFlow::Continue(())
    /// })
    /// # }
    /// ```
    pub fn train<F: FnMut(&Trainer, &TrainReport) -> ControlFlow<()>>(
        &mut self,
        dataset: &Dataset,
        bank: Option<&Bank>,
        options: &TrainOptions<'_>,
        progress: F,
    ) -> Result<()> {
        struct Running<'t, F> {
            trainer: &'t Trainer,
            progress: F,
        }

        unsafe extern "C" fn after_step<F: FnMut(&Trainer, &TrainReport) -> ControlFlow<()>>(
            user: *mut c_void,
            _: *mut sys::mcm_trainer,
            report: *const sys::mcm_train_report,
        ) -> i32 {
            // SAFETY: the library's report lives through this call.
            let report = TrainReport::new(unsafe { &*report });
            let call = |running: &mut Running<'_, F>| (running.progress)(running.trainer, &report);
            // SAFETY: `user` is that of the Callback below, which waits for the call that calls this.
            unsafe { Callback::<Running<'_, F>>::answer(user, call) }
        }

        let save_path = optional_path(options.save_path)?;
        let options = sys::mcm_train_options {
            struct_size: size_of::<sys::mcm_train_options>(),
            batch: options.batch,
            accumulate: options.accumulate,
            save_every: options.save_every,
            until_step: options.until_step,
            save_path: convert::pointer(&save_path),
        };
        let (trainer, dataset, bank) = (self.0.as_ptr(), dataset.0.as_ptr(), pointer(bank));
        let mut callback = Callback::new(Running { trainer: self, progress });
        // SAFETY: options and callback live through the call, and the callback's user data are of the type that it
        // expects. It is given the trainer to read, which is all that the library allows.
        let status =
            unsafe { sys::mcm_trainer_train(trainer, dataset, bank, &options, Some(after_step::<F>), callback.user()) };
        callback.finish(status)
    }
}
