use std::path::Path;
use std::{ptr, slice};

use mcm_sys as sys;

use crate::convert::{characters, fill, numbered, path, text};
use crate::error::check;
use crate::handle::Handle;
use crate::{Bank, Modality, Model, Modulator, Result, ResumeOptions, TrainerOptions};

/// What a module is trained on: a model, or a bank that stands for it.
#[derive(Clone, Copy, Debug)]
pub enum Base<'a> {
    /// A model, for examples of any kind.
    Model(&'a Model),
    /// Examples can only be drawn from banks.
    Bank(&'a Bank),
}

impl<'a> From<&'a Model> for Base<'a> {
    fn from(model: &'a Model) -> Self {
        Base::Model(model)
    }
}

impl<'a> From<&'a Bank> for Base<'a> {
    fn from(bank: &'a Bank) -> Self {
        Base::Bank(bank)
    }
}

impl Base<'_> {
    fn pointers(self) -> (*const sys::mcm_model, *const sys::mcm_bank) {
        match self {
            Base::Model(model) => (model.0.as_ptr(), ptr::null()),
            Base::Bank(bank) => (ptr::null(), bank.0.as_ptr()),
        }
    }
}

numbered! {
    /// How a module's numbers are written.
    ModuleFormat {
        /// Single precision.
        F32 = MCM_F32,
        /// Half precision.
        F16 = MCM_F16,
    }
}

/// Where a trainer is.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainerState {
    /// Steps taken.
    pub step: u64,
    /// Examples seen, by all processes.
    pub examples: u64,
    /// Examples whose gradients are accumulated here.
    pub pending: u64,
    /// Numbers in the module.
    pub parameter_count: u64,
    /// Of the options.
    pub total_steps: u64,
}

/// Where one of the module's parameters lies in the buffers.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterInfo {
    /// The key in the module's file, e.g. "conv_in.weight".
    pub name: String,
    /// Of the first element.
    pub offset: u64,
    /// Elements, row-major.
    pub count: u64,
    /// 1 to 4 dimensions.
    pub shape: Vec<u64>,
}

/// Whose mean losses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossesOf {
    /// Of a tenth of the timesteps, 0 .. 9.
    Timesteps(u32),
    /// Of examples that had the modality with this index.
    Given(u32),
    /// Of those that did not.
    Withheld(u32),
}

/// Mean losses since the trainer was made, resumed or told to begin anew.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Losses {
    /// Examples.
    pub count: u64,
    /// 0 if there are none.
    pub loss: f64,
    /// Of the model's own prediction.
    pub base_loss: f64,
}

/// The parameters, the gradients, summed over the accumulated examples, and the parameters' moving average, in one order:
/// see [`Trainer::parameters`].
#[derive(Clone, Copy, Debug)]
pub struct Buffers<'t> {
    /// The module's weights.
    pub parameters: &'t [f32],
    /// Of the accumulated examples.
    pub gradients: &'t [f32],
    /// With `ema_decay` above 0.
    pub ema: Option<&'t [f32]>,
}

/// The same to write to. Writing to one changes no other.
#[derive(Debug)]
pub struct BuffersMut<'t> {
    /// The module's weights.
    pub parameters: &'t mut [f32],
    /// Of the accumulated examples.
    pub gradients: &'t mut [f32],
    /// With `ema_decay` above 0.
    pub ema: Option<&'t mut [f32]>,
}

/// A module being trained, with its optimiser. It keeps alive what it needs of its model, and the data set and the bank
/// that it was last given. It belongs to one thread at a time: it may be sent to another, not shared.
///
/// Its buffers are the library's own memory, borrowed from it:
///
/// ```compile_fail,E0502
/// # fn test(mut trainer: mcm::Trainer) -> mcm::Result<()> {
/// let gradients = trainer.buffers()?.gradients;
/// trainer.apply()?; // error: the gradients are still borrowed
/// println!("{}", gradients[0]);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Trainer(pub(crate) Handle<sys::mcm_trainer>);

impl Trainer {
    /// A trainer for a new module, which changes nothing at first. `config`: JSON as in a module file (docs/format.md);
    /// "base" is filled in. Errors: InvalidArgument, Incompatible, Format, Unsupported, OutOfMemory.
    pub fn new<'a>(base: impl Into<Base<'a>>, config: &str, options: &TrainerOptions<'_>) -> Result<Trainer> {
        let (model, bank) = base.into().pointers();
        let (config, options) = (text("config", config)?, options.native()?);
        // SAFETY: text and options live through the call.
        Handle::create(|out| unsafe { sys::mcm_trainer_create(model, bank, config.as_ptr(), &options, out) })
            .map(Trainer)
    }

    /// The same, beginning with the weights of a module file. Errors: also Io.
    pub fn from_module<'a>(
        base: impl Into<Base<'a>>,
        file: impl AsRef<Path>,
        options: &TrainerOptions<'_>,
    ) -> Result<Trainer> {
        let (model, bank) = base.into().pointers();
        let (name, options) = (path(file)?, options.native()?);
        // SAFETY: path and options live through the call.
        Handle::create(|out| unsafe { sys::mcm_trainer_create_from(model, bank, name.as_ptr(), &options, out) })
            .map(Trainer)
    }

    /// Goes on from a file that `save` has written: the weights will be those of a trainer that never stopped, bit for
    /// bit. Errors: also Incompatible for another model, State.
    pub fn resume<'a>(base: impl Into<Base<'a>>, file: impl AsRef<Path>, options: &ResumeOptions) -> Result<Trainer> {
        let (model, bank) = base.into().pointers();
        let name = path(file)?;
        // SAFETY: path and options live through the call.
        Handle::create(|out| unsafe { sys::mcm_trainer_resume(model, bank, name.as_ptr(), &options.native(), out) })
            .map(Trainer)
    }

    /// Writes all of the trainer, at once or not at all. Errors: Io, State.
    pub fn save(&self, to: impl AsRef<Path>) -> Result<()> {
        let name = path(to)?;
        // SAFETY: the path lives through the call.
        check(unsafe { sys::mcm_trainer_save(self.0.as_ptr(), name.as_ptr()) })
    }

    /// Where the trainer is.
    pub fn state(&self) -> Result<TrainerState> {
        let sys::mcm_trainer_state { step, examples, pending, parameter_count, total_steps, .. } =
            self.native_state()?;
        Ok(TrainerState { step, examples, pending, parameter_count, total_steps })
    }

    fn native_state(&self) -> Result<sys::mcm_trainer_state> {
        // SAFETY: the place is a struct of the size that it says.
        fill(sys::mcm_trainer_state_init, |out| unsafe { sys::mcm_trainer_get_state(self.0.as_ptr(), out) })
    }

    /// What the module follows.
    pub fn modalities(&self) -> Result<Vec<Modality>> {
        Modality::list(self.native_state()?.modality_count, |index, out| unsafe {
            // SAFETY: the place is a struct of the size that it says.
            sys::mcm_trainer_get_modality(self.0.as_ptr(), index, out)
        })
    }

    /// Where the module's parameters lie in the buffers.
    pub fn parameters(&self) -> Result<Vec<ParameterInfo>> {
        let read = |index| {
            let trainer = self.0.as_ptr();
            let info = fill(sys::mcm_parameter_info_init, |out| unsafe {
                // SAFETY: the place is a struct of the size that it says.
                sys::mcm_trainer_get_parameter(trainer, index, out)
            })?;
            let shape = info.shape.iter().take(info.rank as usize).copied().collect();
            Ok(ParameterInfo { name: characters(&info.name), offset: info.offset, count: info.count, shape })
        };
        (0..self.native_state()?.tensor_count).map(read).collect()
    }

    /// Parameters, gradients and moving average.
    pub fn buffers(&self) -> Result<Buffers<'_>> {
        let ([parameters, gradients, ema], count) = self.places()?;
        // SAFETY: the library's buffers have `count` floats each and live as long as the trainer. What writes to them
        // needs the trainer alone (&mut).
        let slice = |place: *mut f32| unsafe { slice::from_raw_parts(place, count) };
        Ok(Buffers {
            parameters: slice(parameters),
            gradients: slice(gradients),
            ema: if ema.is_null() { None } else { Some(slice(ema)) },
        })
    }

    /// The same to write to, between calls.
    pub fn buffers_mut(&mut self) -> Result<BuffersMut<'_>> {
        let ([parameters, gradients, ema], count) = self.places()?;
        // SAFETY: as above; the three do not overlap, and the trainer is borrowed alone.
        let slice = |place: *mut f32| unsafe { slice::from_raw_parts_mut(place, count) };
        Ok(BuffersMut {
            parameters: slice(parameters),
            gradients: slice(gradients),
            ema: if ema.is_null() { None } else { Some(slice(ema)) },
        })
    }

    fn places(&self) -> Result<([*mut f32; 3], usize)> {
        let [mut parameters, mut gradients, mut ema] = [ptr::null_mut(); 3];
        let mut count = 0;
        // SAFETY: places for three pointers and a number.
        check(unsafe {
            sys::mcm_trainer_get_buffers(self.0.as_ptr(), &mut parameters, &mut gradients, &mut ema, &mut count)
        })?;
        Ok(([parameters, gradients, ema], count))
    }

    /// Mean losses of some examples.
    pub fn losses(&self, of: LossesOf) -> Result<Losses> {
        let (kind, index) = match of {
            LossesOf::Timesteps(tenth) => (sys::MCM_LOSSES_TIMESTEP, tenth),
            LossesOf::Given(modality) => (sys::MCM_LOSSES_GIVEN, modality),
            LossesOf::Withheld(modality) => (sys::MCM_LOSSES_WITHHELD, modality),
        };
        let trainer = self.0.as_ptr();
        let losses = fill(sys::mcm_losses_init, |out| unsafe {
            // SAFETY: the place is a struct of the size that it says.
            sys::mcm_trainer_get_losses(trainer, kind, index, out)
        })?;
        Ok(Losses { count: losses.count, loss: losses.loss, base_loss: losses.base_loss })
    }

    /// Begins to count losses anew.
    pub fn reset_losses(&self) -> Result<()> {
        // SAFETY: no other thread uses the trainer, which cannot be shared.
        check(unsafe { sys::mcm_trainer_reset_losses(self.0.as_ptr()) })
    }

    /// The module as it is now, for sampling; `averaged`: with the moving average of its weights. Errors: State,
    /// OutOfMemory.
    pub fn modulator(&self, averaged: bool) -> Result<Modulator> {
        // SAFETY: the place is one for a pointer.
        Handle::create(|out| unsafe { sys::mcm_trainer_get_modulator(self.0.as_ptr(), averaged.into(), out) })
            .map(Modulator)
    }

    /// Writes the module's file, at once or not at all. Errors: State, Io.
    pub fn write_modulator(&self, to: impl AsRef<Path>, averaged: bool, format: ModuleFormat) -> Result<()> {
        let name = path(to)?;
        let (trainer, format) = (self.0.as_ptr(), format.number());
        // SAFETY: the path lives through the call.
        check(unsafe { sys::mcm_trainer_write_modulator(trainer, name.as_ptr(), averaged.into(), format) })
    }
}
