//! libmcm: controllable diffusion inside your own program.
//!
//! Loads a pretrained diffusion model in diffusers format, attaches multimodal conditioning modules and lets the caller
//! drive sampling at one of three levels:
//! 1. [`generate()`]: one call, with a closure that can cancel;
//! 2. [`Session`]: create, condition, seed, step, inspect, edit, decode;
//! 3. [`Model::predict`], [`Modulator::modulate`], [`Scheduler::step`]: the raw parts, for a loop of the caller's own.
//!
//! The three give the same image for the same seed, bit for bit. [`Trainer`] trains modules.
//!
//! ```
//! use mcm::{AttachOptions, Model, Modulator, SchedulerKind, Session, SessionOptions};
//!
//! fn main() -> mcm::Result<()> {
//!     let model = Model::open("examples/fashion/base")?;
//!     let module = Modulator::open("examples/fashion/module.mcm.safetensors")?;
//!     let options = SessionOptions { scheduler: SchedulerKind::Ddim, steps: 10, ..Default::default() };
//!     let mut session = Session::new(&model, &options)?;
//!     let attachment = session.attach(&module, &AttachOptions::default())?;
//!     session.set_condition_png(attachment, "sketch", "examples/fashion/conditions/00_sketch.png")?;
//!     session.seed(1)?;
//!     while let Some(step) = session.next_step()? {
//!         println!("step {} of {}, timestep {}", step.number(), step.steps(), step.timestep());
//!         let _preview = step.preview(0)?;
//!         if step.number() == 5 {
//!             session.set_weight(attachment, 0.5)?; // edits between steps
//!         }
//!     }
//!     let _image = session.result(0)?; // .write_png("out.png")
//!     Ok(())
//! }
//! ```
//!
//! Every call that can fail gives an [`Error`] of an [`ErrorKind`] with the library's line that says what was found and
//! what was expected. Models, modulators, prompts, schedulers, data sets and banks are `Send` and `Sync`; sessions,
//! trainers and generators belong to one thread at a time and are `Send`. Buffers are float32, (batch, channels, height,
//! width), and passed as slices.
#![deny(missing_docs, unsafe_op_in_unsafe_fn)]
#![warn(rust_2018_idioms, clippy::undocumented_unsafe_blocks)]

mod attachments;
mod bank;
mod batch;
mod callback;
mod condition;
mod controlnet;
mod convert;
mod dataset;
mod error;
mod generate;
mod handle;
mod image;
mod model;
mod model_info;
mod model_options;
mod modulator;
mod prompt;
mod rng;
mod scheduler;
mod session;
mod session_options;
mod step;
mod trainer;
mod trainer_options;
mod training;
mod version;

pub use bank::{Bank, BankInfo, BankOptions};
pub use batch::{Batch, Examples, TrainReport};
pub use condition::Condition;
pub use controlnet::ControlNet;
pub use dataset::{Dataset, DatasetInfo};
pub use error::{Error, ErrorKind, Result};
pub use generate::{generate, Conditioning, GenerateOptions};
pub use image::{Image, Pixels};
pub use model::{Model, PredictOptions};
pub use model_info::{Extent, Memory, ModelInfo};
pub use model_options::{ModelOptions, PredictionType};
pub use modulator::{Encoding, Modality, Modulator, ModulatorInfo, Resize};
pub use prompt::{Prompt, PromptInfo, PromptOptions};
pub use rng::Rng;
pub use scheduler::{Scheduler, SchedulerInfo, SchedulerKind, SchedulerOptions, StepBuffers, StepInfo};
pub use session::Session;
pub use session_options::{AttachOptions, Attachment, Modulate, SessionOptions};
pub use step::{Decode, SessionState, Step, Steps};
pub use trainer::{Base, Buffers, BuffersMut, Losses, LossesOf, ModuleFormat, ParameterInfo, Trainer, TrainerState};
pub use trainer_options::{ResumeOptions, TimestepDraw, TrainOptions, TrainerOptions, Weighting};
pub use version::version;

/// The page of the documentation for this host: its code is tested.
#[cfg(doctest)]
#[doc = include_str!("../../../../docs/rust.md")]
mod page {}
