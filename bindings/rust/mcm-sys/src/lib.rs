//! Raw declarations of libmcm: `include/mcm.h` in Rust, whose beginning says what holds for all of it. The
//! crate `mcm` is the safe way to use them.
//!
//! Written by `tools/declarations.py`; do not edit.
#![allow(non_camel_case_types)]

use std::marker::{PhantomData, PhantomPinned};
use std::os::raw::{c_char, c_void};

/// What a handle points to: nothing that Rust may move, or take for shared between threads.
type Opaque = PhantomData<(*mut u8, PhantomPinned)>;

pub const MCM_VERSION_MAJOR: u32 = 0;
pub const MCM_VERSION_MINOR: u32 = 1;
pub const MCM_VERSION_PATCH: u32 = 0;

/// One number to compare.
pub const MCM_VERSION: u32 = MCM_VERSION_MAJOR * 1_000_000 + MCM_VERSION_MINOR * 1_000 + MCM_VERSION_PATCH;

/// What became of a call: one of the numbers below.
pub type mcm_status = i32;

/// the call did what it says
pub const MCM_OK: i32 = 0;

/// NULL, out of range, not finite, unknown enum value
pub const MCM_ERROR_INVALID_ARGUMENT: i32 = 1;

/// struct_size is not one that this library knows
pub const MCM_ERROR_STRUCT_SIZE: i32 = 2;

/// a count, buffer, image or sample is of the wrong size
pub const MCM_ERROR_SIZE: i32 = 3;

/// not now: step before seed, step past the end, ...
pub const MCM_ERROR_STATE: i32 = 4;

/// a module does not fit the model, a condition or its name the module
pub const MCM_ERROR_INCOMPATIBLE: i32 = 5;

/// a file cannot be opened, read or written
pub const MCM_ERROR_IO: i32 = 100;

/// a file is damaged, or not what it should be
pub const MCM_ERROR_FORMAT: i32 = 101;

/// valid, but this library does not do it
pub const MCM_ERROR_UNSUPPORTED: i32 = 102;

/// no memory for a tensor, the weights or an image, or more than the machine has. Without memory for small objects the
/// process ends.
pub const MCM_ERROR_OUT_OF_MEMORY: i32 = 103;

/// the CPU lacks x86-64-v3 (AVX2, FMA)
pub const MCM_ERROR_CPU: i32 = 104;

/// A callback returned nonzero.
pub const MCM_CANCELLED: i32 = 200;

/// uint8_t, 0..255
pub const MCM_U8: i32 = 1;

/// float, \[0, 1\] for grey and RGB (mcm_model_encode: any finite value), the class index for labels
pub const MCM_F32: i32 = 2;

/// A view of the caller's pixels: rows from top to bottom, channels interleaved.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mcm_image {
    pub struct_size: u32,
    /// MCM_U8 (default) or MCM_F32
    pub dtype: i32,
    /// first row; need not be aligned
    pub data: *const c_void,
    /// pixels, 1..65536
    pub width: u32,
    /// pixels, 1..65536
    pub height: u32,
    /// 1 or 3 (4 for mcm_png_write only); default 1
    pub channels: u32,
    /// 0
    pub reserved: u32,
    /// bytes from row to row; 0 means rows without gaps
    pub row_stride: usize,
}

/// A normal generator whose stream equals torch.randn on the CPU: mcm_rng_create(seed) followed by draws equals
/// torch.Generator().manual_seed(seed) followed by torch.randn of the same sizes, bit for bit on an AVX2 machine.
#[repr(C)]
pub struct mcm_rng {
    _nothing: [u8; 0],
    _kind: Opaque,
}

/// A pretrained diffusion model: network, noise schedule and scheduler defaults; of a latent diffusion model also its
/// autoencoder, and of one that reads texts also their encoders. Immutable, shared by threads.
///
/// A \*sample\* is what the network works on: pixels, or in a latent diffusion model latents, which are \`scale\` times
/// smaller than the image in each direction. Widths and heights are a sample's, where they do not say that they are an
/// image's.
#[repr(C)]
pub struct mcm_model {
    _nothing: [u8; 0],
    _kind: Opaque,
}

/// What a model's text encoders make of one or more texts (diffusers' prompt_embeds), see Prompts. Immutable, shared by
/// threads; it may outlive its model.
#[repr(C)]
pub struct mcm_prompt {
    _nothing: [u8; 0],
    _kind: Opaque,
}

/// How a model or a ControlNet is opened.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mcm_model_options {
    pub struct_size: u32,
    /// threads that one call may use, the caller's included; 0 (default): as many as the process may use CPUs. Results
    /// do not depend on it. At most 256.
    pub threads: u32,
    /// memory that the model may spend on transformed filters, beside its weights; 0 (default): none, which is mostly
    /// fastest. Kept, a 3 x 3 convolution's filters need not be transformed in each step, but four times its F32
    /// weights (eight times F16) are read: measure before you use it (docs/performance.md). Those that fit are kept,
    /// from the network's beginning on. Results do not depend on it.
    pub cache_bytes: u64,
    /// of the weights' file names: "fp16" for \*.fp16.safetensors; NULL (default): the plain files, or those of fp16 or
    /// bf16 where there are no others
    pub variant: *const c_char,
    /// of a model in one file: folder of its tokenizer; NULL (default): CLIP's own
    pub tokenizer: *const c_char,
    /// MCM_PREDICTION_\*, before what the model's files say, or where they do not: one file of Stable Diffusion 2 is
    /// taken for one that predicts v. 0 (default): as they say
    pub prediction_type: i32,
    /// nonzero: large matrices become 8-bit integers with a scale per output channel, which halves 16-bit weights and
    /// changes results (mcm_model_info.rounding_error)
    pub int8_weights: i32,
    /// nonzero: text encoders and autoencoder are loaded when they are needed and freed afterwards, each time. The
    /// files must stay as they are. Results do not depend on it.
    pub on_demand: i32,
    /// 0
    pub reserved: u32,
}

/// One file of a model folder that lies in memory. This struct will not grow.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mcm_memory_file {
    /// path inside the folder with '/' as separator, e.g. "unet/config.json"
    pub name: *const c_char,
    /// need not be aligned; borrowed for the duration of the call
    pub data: *const c_void,
    /// bytes
    pub size: usize,
}

/// What a network predicts: the noise, x_0, or v = sqrt(abar_t) noise - sqrt(1 - abar_t) x_0.
pub const MCM_PREDICTION_EPSILON: i32 = 1;
pub const MCM_PREDICTION_SAMPLE: i32 = 2;
pub const MCM_PREDICTION_V: i32 = 3;

/// What a model is.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mcm_model_info {
    pub struct_size: u32,
    /// MCM_PREDICTION_\*
    pub prediction_type: i32,
    /// the sample size that the model was trained at; if its config does not say, the smallest that the network takes
    pub width: u32,
    /// the sample size that the model was trained at; if its config does not say, the smallest that the network takes
    pub height: u32,
    /// of a sample
    pub channels: u32,
    /// of the network's output: channels, or twice that with learned variance
    pub prediction_channels: u32,
    pub num_train_timesteps: u32,
    /// width and height must be multiples of this
    pub size_multiple: u32,
    /// floats per image that the network wants as class input: 0 none, 1 a class index or number, more: an embedding
    pub class_input_size: u32,
    /// number of classes if it has a class table, else 0
    pub class_count: u32,
    pub parameter_count: u64,
    /// held by the weights
    pub memory_bytes: u64,
    /// 16 hex digits, zero-terminated: identifies the network's weights (docs/format.md)
    pub fingerprint: [c_char; 24],
    /// pixels of an image per pixel of a sample, in each direction; 1 if samples are images
    pub scale: u32,
    /// of an image
    pub image_channels: u32,
    /// of the text's states that the network reads; 0 if it reads no text
    pub text_channels: u32,
    /// of the pooled text that it reads too (Stable Diffusion XL), else 0
    pub pooled_channels: u32,
    /// that the network reads: channels; in an inpainting model also a mask and the sample of the image where it stays,
    /// in this order, 2 \* channels + 1 in all
    pub input_channels: u32,
    /// numbers of mcm_session_set_time_ids per image: 6 or 5, else 0
    pub time_id_count: u32,
    /// nonzero if it has its text encoders
    pub encodes_text: i32,
    /// \|\|rounded - exact\|\| / \|\|exact\|\| of the network's weights with int8_weights, else 0
    pub rounding_error: f32,
}

/// Memory in bytes, and threads.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mcm_memory {
    pub struct_size: u32,
    /// that one call may use
    pub threads: u32,
    /// parameters in the form in which they are used; 16-bit ones stay 16-bit. With on_demand: those that are loaded
    /// now
    pub weights: u64,
    /// filters kept transformed (mcm_model_options.cache_bytes)
    pub cache: u64,
    /// activations. Of a model: the most that mcm_model_predict and mcm_modulator_modulate needed so far, kept for
    /// their next call. Of a session: what its steps need, allocated in the first one (and in the first in which a
    /// module works), and its samples and conditions.
    pub arena: u64,
}

/// What a network may read beside samples and timesteps.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mcm_predict_options {
    pub struct_size: u32,
    /// as in mcm_model_predict
    pub class_input_count: u32,
    pub class_input: *const f32,
    /// of a network that reads a text: of 1 image or of the batch
    pub prompt: *const mcm_prompt,
    /// of Stable Diffusion XL: (batch, time_id_count), or NULL for those of a whole image
    pub time_ids: *const f32,
    /// of a consistency model: its guidance embedding, timestep_cond_count floats; NULL: zeros
    pub timestep_cond: *const f32,
    pub timestep_cond_count: usize,
}

/// How texts are read.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mcm_prompt_options {
    pub struct_size: u32,
    /// layers of the text encoders that are left out at their end, as in diffusers; default 0
    pub clip_skip: u32,
    /// nonzero: brackets give parts of a text weights, as in the Stable Diffusion web UI: (a) 1.1 times, \[a\] 1/1.1
    /// times, (a:1.3) 1.3 times, \( a bracket. 0 (default): brackets are text, as in diffusers
    pub weights: i32,
    /// nonzero: a text of more than 75 tokens is read in chunks. 0 (default): its end is left out, as in diffusers, and
    /// mcm_prompt_info says so
    pub chunks: i32,
}

/// What a prompt holds.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mcm_prompt_info {
    pub struct_size: u32,
    /// texts
    pub count: u32,
    /// of each, start, end and padding included
    pub tokens: u32,
    /// of a token's state
    pub channels: u32,
    pub pooled_channels: u32,
    /// nonzero if the end of a text was left out
    pub truncated: i32,
}

/// diffusers' ControlNetModel, which a session of a model that reads a text may follow beside modules. Immutable,
/// shared by threads.
#[repr(C)]
pub struct mcm_controlnet {
    _nothing: [u8; 0],
    _kind: Opaque,
}

/// A module M turns the network's prediction e into e' = e \* (scale_offset + g) + v, where (g, v) come from a small
/// UNet that reads the sample, e, the timestep and the conditions. Immutable, shared by threads.
#[repr(C)]
pub struct mcm_modulator {
    _nothing: [u8; 0],
    _kind: Opaque,
}

/// What a module is, and what it was trained on.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mcm_modulator_info {
    pub struct_size: u32,
    pub modality_count: u32,
    pub prediction_channels: u32,
    /// of the base that it was trained on, or 0 if the file does not say
    pub prediction_type: i32,
    pub parameter_count: u64,
    /// of the base that it was trained on, or ""
    pub base_fingerprint: [c_char; 24],
}

/// one plane, value in \[0, 1\]; of an RGB image its luminance (ITU-R BT.601, as Pillow's convert("L"))
pub const MCM_ENCODING_GREY: i32 = 1;

/// three planes, values in \[0, 1\]; a grey image stands for all three
pub const MCM_ENCODING_RGB: i32 = 2;

/// class index per pixel -\> one plane per class
pub const MCM_ENCODING_ONE_HOT: i32 = 3;

/// the pixel under the centre of a target pixel
pub const MCM_RESIZE_NEAREST: i32 = 1;

/// the mean of the pixels under a target pixel
pub const MCM_RESIZE_AREA: i32 = 2;

/// antialiased when shrinking
pub const MCM_RESIZE_BILINEAR: i32 = 3;

/// One of the kinds of condition that a module follows.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mcm_modality_info {
    pub struct_size: u32,
    /// planes: 1, 3 or the number of classes
    pub channels: u32,
    /// MCM_ENCODING_\*
    pub encoding: i32,
    /// MCM_RESIZE_\*: used when an image is not of the sample's size
    pub resize: i32,
    pub name: [c_char; 64],
}

/// What to follow: the images of one modality.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mcm_condition {
    pub struct_size: u32,
    /// 1: the same for the whole batch; else the batch size
    pub image_count: u32,
    /// e.g. "sketch"
    pub modality: *const c_char,
    /// of any size; resized by the modality's rule
    pub images: *const mcm_image,
}

/// the model's own
pub const MCM_SCHEDULER_DEFAULT: i32 = 0;

/// DDPMScheduler
pub const MCM_SCHEDULER_DDPM: i32 = 1;

/// DDIMScheduler
pub const MCM_SCHEDULER_DDIM: i32 = 2;

/// PNDMScheduler
pub const MCM_SCHEDULER_PNDM: i32 = 3;

/// LMSDiscreteScheduler
pub const MCM_SCHEDULER_LMS: i32 = 4;

/// EulerDiscreteScheduler
pub const MCM_SCHEDULER_EULER: i32 = 5;

/// EulerAncestralDiscreteScheduler
pub const MCM_SCHEDULER_EULER_ANCESTRAL: i32 = 6;

/// HeunDiscreteScheduler
pub const MCM_SCHEDULER_HEUN: i32 = 7;

/// DPMSolverMultistepScheduler
pub const MCM_SCHEDULER_DPM_SOLVER_MULTISTEP: i32 = 8;

/// UniPCMultistepScheduler
pub const MCM_SCHEDULER_UNIPC: i32 = 9;

/// LCMScheduler
pub const MCM_SCHEDULER_LCM: i32 = 10;

/// The arithmetic between predictions, exactly as in diffusers: x_t and e to x_{t-1}. Knows no network, and keeps
/// nothing from step to step: noise and history are the caller's. One step is one evaluation of the network, so that
/// some runs have more steps than were asked for: Heun has 2 \* steps - 1, PNDM steps + 9, or steps + 1 with
/// skip_prk_steps, Euler steps + 1 with continuous timesteps of log_linear sigmas.
#[repr(C)]
pub struct mcm_scheduler {
    _nothing: [u8; 0],
    _kind: Opaque,
}

/// What a loop of the caller's own must know about a run.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mcm_scheduler_info {
    pub struct_size: u32,
    /// of the run: evaluations of the network
    pub steps: u32,
    /// buffers of the sample's size that a run keeps, see mcm_scheduler_step_with_history
    pub history_count: u32,
    /// x_T is this times a normal draw: 1, except where samples are kept as x_0 + sigma noise (LMS, Euler, Heun)
    pub init_noise_sigma: f32,
}

/// What it must know about one step.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mcm_step_info {
    pub struct_size: u32,
    /// what the network and modules are told; a fraction with some spacings
    pub timestep: f32,
    /// what the network and modules read is this times x_t
    pub input_scale: f32,
    /// 1 if the step needs noise, else 0
    pub needs_noise: i32,
}

/// One run of sampling over a batch.
#[repr(C)]
pub struct mcm_session {
    _nothing: [u8; 0],
    _kind: Opaque,
}

/// on the guided prediction: one call of a module per step
pub const MCM_MODULATE_GUIDED: i32 = 0;

/// on the prediction with the prompt, before guidance
pub const MCM_MODULATE_CONDITIONAL: i32 = 1;

/// What is sampled, and how.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mcm_session_options {
    pub struct_size: u32,
    /// images, default 1
    pub batch: u32,
    /// of an image; 0: the model's own. Multiples of scale \* size_multiple
    pub width: u32,
    /// of an image; 0: the model's own. Multiples of scale \* size_multiple
    pub height: u32,
    /// MCM_SCHEDULER_\*
    pub scheduler: i32,
    /// 0: the default, see mcm_scheduler_create
    pub steps: u32,
    /// DDIM's noise share in \[0, 1\], default 0
    pub eta: f32,
    /// see mcm_scheduler_create_with_options; default NULL; not kept
    pub scheduler_options: *const c_char,
    /// of a run that begins from an image: the share of the steps that are taken, in \[0, 1\]; less stays closer to the
    /// image. Default 1: all
    pub strength: f64,
    /// s in e = e_u + s (e_c - e_u), where e_c is predicted with the prompt and e_u with the negative one; 1: e_c
    /// alone, half the work; 0 (default): that of diffusers' pipeline, 7.5, 5 for Stable Diffusion XL unless it is one
    /// for inpainting, 8.5 for consistency models. Without effect where no text is read
    pub guidance_scale: f32,
    /// share of e_c's standard deviation that e gets back (Lin et al. 2023), in \[0, 1\]; default 0
    pub guidance_rescale: f32,
    /// MCM_MODULATE_\*: where modules act
    pub modulate: i32,
    /// 2: e_c and e_u are predicted one after the other; 1: together, with twice the activations; 0 (default): together
    /// for images of at most 512 x 512 pixels in all. Results do not depend on it.
    pub guidance_passes: i32,
    /// an autoencoder works in tiles, with less memory, on images of more pixels than a square of this size; 0
    /// (default): 768. Results depend on it by the rounding of what lies between its layers: 64 dB and more
    /// (docs/performance.md).
    pub tile_above: u32,
    /// 0
    pub reserved: u32,
}

/// How strongly, and in which part of the run, a module or ControlNet acts.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mcm_attach_options {
    pub struct_size: u32,
    /// w in e' = e + sum_i w_i (M_i(x, e, t, y_i) - e), default 1; any finite number
    pub weight: f32,
    /// active while begin \<= step / steps \< end, where step counts from 0; 0 \<= begin \<= end \<= 1, default 0 and 1
    pub begin: f32,
    /// active while begin \<= step / steps \< end, where step counts from 0; 0 \<= begin \<= end \<= 1, default 0 and 1
    pub end: f32,
    /// nonzero: attach even if trained on a base with another fingerprint
    pub other_base: i32,
}

/// Where a run is.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mcm_session_state {
    pub struct_size: u32,
    /// steps done; 0 after seeding
    pub step: u32,
    /// of the whole run
    pub steps: u32,
    /// of the next step, rounded; -1 when done
    pub timestep: i32,
    pub batch: u32,
    pub channels: u32,
    pub height: u32,
    pub width: u32,
    /// nonzero after mcm_session_seed
    pub seeded: i32,
    pub image_width: u32,
    pub image_height: u32,
    pub image_channels: u32,
}

/// x_t: the result, when done
pub const MCM_DECODE_SAMPLE: i32 = 0;

/// the predicted x_0
pub const MCM_DECODE_X0: i32 = 1;

/// the predicted x_0 at once: of latents a linear map to colours, of the sample's size
pub const MCM_DECODE_PREVIEW: i32 = 2;

/// Called after each step, with the number of steps done and of the whole run. It may read the session (state, x0,
/// decode) and change it as between steps, but neither step, run, seed nor free it. It must return: no exception or
/// longjmp may leave it. Nonzero cancels, after the last step too.
pub type mcm_progress =
    unsafe extern "C" fn(user: *mut c_void, session: *mut mcm_session, step: u32, steps: u32) -> i32;

/// A module with its conditions, for mcm_generate.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mcm_attachment {
    pub struct_size: u32,
    pub condition_count: u32,
    pub modulator: *const mcm_modulator,
    /// one per modality
    pub conditions: *const mcm_condition,
    /// may be NULL
    pub options: *const mcm_attach_options,
}

/// All of a run, for mcm_generate.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mcm_generate_options {
    pub struct_size: u32,
    /// 1 or the batch size, see mcm_session_seed
    pub seed_count: u32,
    /// NULL with seed_count 0: seed 0
    pub seeds: *const u64,
    /// may be NULL
    pub session: *const mcm_session_options,
    pub attachments: *const mcm_attachment,
    pub attachment_count: usize,
    /// see mcm_session_set_class_input; NULL if none
    pub class_input: *const f32,
    pub class_input_count: usize,
    /// may be NULL; the session that it gets lives only as long as the call
    pub callback: Option<mcm_progress>,
    pub user: *mut c_void,
    /// for all images of a model that reads a text; NULL: the empty text
    pub prompt: *const c_char,
    /// may be NULL, see mcm_session_set_prompt
    pub negative_prompt: *const c_char,
    /// may be NULL; clip_skip is not applied to the negative prompt
    pub prompt_options: *const mcm_prompt_options,
    /// see mcm_session_set_image
    pub images: *const mcm_image,
    /// see mcm_session_set_mask
    pub masks: *const mcm_image,
    pub image_count: u32,
    pub mask_count: u32,
}

/// Examples in a file that is mapped and read as they are drawn. Immutable, shared by threads.
#[repr(C)]
pub struct mcm_dataset {
    _nothing: [u8; 0],
    _kind: Opaque,
}

/// What a data set holds.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mcm_dataset_info {
    pub struct_size: u32,
    /// of an example
    pub width: u32,
    /// of an example
    pub height: u32,
    /// of an example
    pub channels: u32,
    /// examples
    pub count: u64,
    pub modality_count: u32,
    pub reserved: u32,
    /// 16 hex digits, zero-terminated: identifies the images
    pub fingerprint: [c_char; 24],
}

/// Called after each example with the number of those done. Nonzero cancels.
pub type mcm_dataset_progress = unsafe extern "C" fn(user: *mut c_void, done: u64, count: u64) -> i32;

/// A frozen model's predictions, recorded once: modules are trained from them without running the model again, nor
/// loading it. Immutable, shared by threads.
#[repr(C)]
pub struct mcm_bank {
    _nothing: [u8; 0],
    _kind: Opaque,
}

/// Which predictions are recorded.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mcm_bank_options {
    pub struct_size: u32,
    /// records made at a time, 1..65536; default 16. They do not depend on it.
    pub batch: u32,
    /// records; each image of the data set is in equally many, but for one
    pub count: u64,
    /// of timesteps and noise; default 0
    pub seed: u64,
    /// timesteps are drawn evenly from first_timestep .. end_timestep - 1;
    pub first_timestep: u32,
    /// 0 and 0 (default): from all
    pub end_timestep: u32,
}

/// Called after each batch with the number of records done. Nonzero cancels.
pub type mcm_bank_progress = unsafe extern "C" fn(user: *mut c_void, done: u64, count: u64) -> i32;

/// What a bank holds.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mcm_bank_info {
    pub struct_size: u32,
    pub width: u32,
    pub height: u32,
    pub channels: u32,
    /// records are of first_timestep .. end_timestep - 1
    pub first_timestep: u32,
    /// records are of first_timestep .. end_timestep - 1
    pub end_timestep: u32,
    pub count: u64,
    /// of the model
    pub base_fingerprint: [c_char; 24],
    /// of the data set's images
    pub image_fingerprint: [c_char; 24],
}

/// A module being trained, with its optimiser. One thread at a time. It keeps alive what it needs of its model, and the
/// data set and the bank that it was last given.
#[repr(C)]
pub struct mcm_trainer {
    _nothing: [u8; 0],
    _kind: Opaque,
}

/// the same everywhere
pub const MCM_WEIGHTING_UNIFORM: i32 = 1;

/// as an error of x_0 that counts min(SNR, gamma) (Hang et al. 2023)
pub const MCM_WEIGHTING_MIN_SNR: i32 = 2;

/// sqrt((1 - abar) / abar), clipped: high noise, where layout is decided, counts more
pub const MCM_WEIGHTING_NOISE: i32 = 3;

/// evenly; errors are weighted
pub const MCM_TIMESTEPS_UNIFORM: i32 = 1;

/// in proportion to the weighting; errors are not weighted then
pub const MCM_TIMESTEPS_WEIGHTED: i32 = 2;

/// How a module is trained.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mcm_trainer_options {
    pub struct_size: u32,
    /// in which the learning rate rises from 0, at most total_steps; default 200
    pub warmup_steps: u32,
    /// by which it has fallen to 0 along a cosine, and after which no step can be taken; 0 (default): it stays
    pub total_steps: u64,
    /// of the first weights (its low 32 bits), of timesteps, noise, dropout and the order of examples; default 0
    pub seed: u64,
    /// default 2e-3
    pub learning_rate: f32,
    /// AdamW's, for kernels and matrices only; default 1e-4
    pub weight_decay: f32,
    /// default 0.9, 0.999
    pub beta1: f32,
    /// default 0.9, 0.999
    pub beta2: f32,
    /// default 1e-8
    pub epsilon: f32,
    /// the gradient is scaled down to this norm; default 1; 0: not at all
    pub clip_norm: f32,
    /// of the moving average of the weights, in step s at most (s + 1) / (s + 10); default 0.999; 0: none
    pub ema_decay: f32,
    /// MCM_WEIGHTING_\*; default NOISE
    pub weighting: i32,
    /// default 5
    pub min_snr_gamma: f32,
    /// default 0.3, 10
    pub noise_weight_low: f32,
    /// default 0.3, 10
    pub noise_weight_high: f32,
    /// MCM_TIMESTEPS_\*; default UNIFORM
    pub timesteps: i32,
    /// drawn from first_timestep .. end_timestep - 1; 0, 0 (default): from all
    pub first_timestep: u32,
    /// drawn from first_timestep .. end_timestep - 1; 0, 0 (default): from all
    pub end_timestep: u32,
    /// of several processes that share each step, which this is, of how many; default 0 of 1. Each draws timesteps,
    /// noise and examples of its own, accumulates, and applies the mean of all; it cannot take steps alone.
    pub rank: u32,
    /// of several processes that share each step, which this is, of how many; default 0 of 1. Each draws timesteps,
    /// noise and examples of its own, accumulates, and applies the mean of all; it cannot take steps alone.
    pub world: u32,
    /// numbers in \`dropout\`; 0 (default): 0.3 for each modality
    pub dropout_count: u32,
    /// how often a modality is withheld, for any subset to work later: one number for all modalities, or one each in
    /// the config's order. Copied.
    pub dropout: *const f32,
    /// as in mcm_model_options; only for a trainer without a model
    pub threads: u32,
    /// 0
    pub reserved: u32,
}

/// What may change when a trainer goes on.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mcm_resume_options {
    pub struct_size: u32,
    /// as in mcm_model_options; only for a trainer without a model
    pub threads: u32,
    /// as in mcm_trainer_options, for one file to serve all processes; 0, 0 (default): as saved
    pub rank: u32,
    /// as in mcm_trainer_options, for one file to serve all processes; 0, 0 (default): as saved
    pub world: u32,
    /// to go on for longer; 0 (default): as saved
    pub total_steps: u64,
    /// 0 (default): as saved
    pub learning_rate: f32,
    /// 0
    pub reserved: u32,
}

/// Examples: images in pixel space or samples, and their conditions.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mcm_batch {
    pub struct_size: u32,
    /// examples, at least 1
    pub count: u32,
    /// \`count\` images of one size, with the model's image_channels; of a latent diffusion model they are encoded each
    /// time. Or NULL, and:
    pub images: *const mcm_image,
    /// (count, channels, height, width), finite, in the model's sample space
    pub samples: *const f32,
    /// floats in \`samples\`, all of them
    pub sample_count: usize,
    /// of samples
    pub width: u32,
    /// of samples
    pub height: u32,
    /// one per modality that the examples have, each with \`count\` images
    pub conditions: *const mcm_condition,
    pub condition_count: u32,
    /// 0
    pub reserved: u32,
    /// for a model that reads a text: of one example or of all; else NULL
    pub prompt: *const mcm_prompt,
}

/// What was learned from a batch; losses are means over its examples.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mcm_train_report {
    pub struct_size: u32,
    /// squared error of the module's prediction
    pub loss: f32,
    /// the same, weighted by timestep: what is made smaller
    pub weighted_loss: f32,
    /// squared error of the model's own prediction
    pub base_loss: f32,
    /// before clipping; 0 if no step was taken
    pub gradient_norm: f32,
    /// of the step; 0 if none was taken
    pub learning_rate: f32,
    /// steps taken so far
    pub step: u64,
    /// seen so far, by all processes of \`world\`
    pub examples: u64,
    /// wall time of the model's prediction,
    pub base_seconds: f64,
    /// of the module's way forward and back,
    pub module_seconds: f64,
    /// and of the optimiser
    pub optimizer_seconds: f64,
}

/// Where one of the module's parameters lies in the buffers.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mcm_parameter_info {
    pub struct_size: u32,
    /// dimensions, 1..4
    pub rank: u32,
    /// of the first element, in floats
    pub offset: u64,
    /// elements, row-major
    pub count: u64,
    /// 0 beyond rank
    pub shape: [u64; 4],
    /// the key in the module's file, e.g. "conv_in.weight"
    pub name: [c_char; 128],
}

/// How far a trainer is.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mcm_trainer_state {
    pub struct_size: u32,
    pub modality_count: u32,
    /// steps taken
    pub step: u64,
    /// seen, by all processes of \`world\`
    pub examples: u64,
    /// examples whose gradients are accumulated here
    pub pending: u64,
    pub parameter_count: u64,
    /// of the options
    pub total_steps: u64,
    /// of the module
    pub tensor_count: u32,
    pub reserved: u32,
}

/// of a tenth of the timesteps, index 0..9
pub const MCM_LOSSES_TIMESTEP: i32 = 1;

/// of examples that had modality \`index\`
pub const MCM_LOSSES_GIVEN: i32 = 2;

/// of those that did not
pub const MCM_LOSSES_WITHHELD: i32 = 3;

/// Mean losses since the trainer was made, resumed or told to begin anew.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mcm_losses {
    pub struct_size: u32,
    pub reserved: u32,
    /// examples
    pub count: u64,
    /// 0 if there are none
    pub loss: f64,
    /// of the model's own prediction
    pub base_loss: f64,
}

/// IEEE half precision
pub const MCM_F16: i32 = 3;

/// Called after each step. It may save the trainer, evaluate it, write or get its module, read its state, parameters
/// and losses, and reset those, nothing else. Nonzero cancels.
pub type mcm_train_progress =
    unsafe extern "C" fn(user: *mut c_void, trainer: *mut mcm_trainer, report: *const mcm_train_report) -> i32;

/// How mcm_trainer_train goes through a data set.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mcm_train_options {
    pub struct_size: u32,
    /// examples accumulated at a time; default 64
    pub batch: u32,
    /// batches per step; default 1
    pub accumulate: u32,
    /// steps between saves; 0: only at the end and when cancelled; default 1000
    pub save_every: u32,
    /// trained until this number of steps is taken; 0 (default), and at most: total_steps
    pub until_step: u64,
    /// where the trainer is saved, tried before the first step; NULL (default): nowhere
    pub save_path: *const c_char,
}

extern "C" {
    /// The message of the last call that failed on this thread: one line, "" if none did. Valid until the next failing
    /// call on the same thread.
    pub fn mcm_last_error() -> *const c_char;
    /// The name of a status, e.g. "MCM_ERROR_IO"; "MCM_ERROR_UNKNOWN" for a number that is none. Static.
    pub fn mcm_status_name(status: mcm_status) -> *const c_char;
    /// MCM_VERSION of the library at run time.
    pub fn mcm_version() -> u32;
    /// The same as text, "0.1.0". Static.
    pub fn mcm_version_string() -> *const c_char;
    /// Same as MCM_IMAGE_INIT; struct_size is the caller's sizeof(mcm_image).
    pub fn mcm_image_init(image: *mut mcm_image, struct_size: u32);
    /// Reads the size of an 8-bit grey, RGB, RGBA or palette PNG: \*width and \*height in pixels, \*channels 1, 3 or 4
    /// (a palette counts as 3 or 4). Each out pointer may be NULL. Errors: IO, FORMAT, UNSUPPORTED.
    pub fn mcm_png_size(path: *const c_char, width: *mut u32, height: *mut u32, channels: *mut u32) -> mcm_status;
    /// Reads a PNG into pixels, width \* height \* channels bytes without gaps, as mcm_png_size gives them; \`size\` is
    /// the buffer's length in bytes and must be exactly that. Errors: SIZE, IO, FORMAT, UNSUPPORTED.
    pub fn mcm_png_read(path: *const c_char, pixels: *mut u8, size: usize) -> mcm_status;
    /// Writes an MCM_U8 image of 1, 3 or 4 channels as PNG. Errors: INVALID_ARGUMENT, STRUCT_SIZE; IO, after which the
    /// file may be incomplete.
    pub fn mcm_png_write(path: *const c_char, image: *const mcm_image) -> mcm_status;
    /// Only the low 32 bits of seed matter, as in torch. Errors: INVALID_ARGUMENT, OUT_OF_MEMORY.
    pub fn mcm_rng_create(seed: u64, out: *mut *mut mcm_rng) -> mcm_status;
    /// Fills values\[0..count-1\] with one draw: two draws of 8 differ from one of 16, as in torch.
    pub fn mcm_rng_normal(rng: *mut mcm_rng, values: *mut f32, count: usize) -> mcm_status;
    pub fn mcm_rng_free(rng: *mut mcm_rng);
    pub fn mcm_model_options_init(options: *mut mcm_model_options, struct_size: u32);
    /// Opens a diffusers model folder, whose model_index.json names DDPMPipeline, DDIMPipeline, LDMPipeline, or one of
    /// StableDiffusion(XL)(Img2Img\|Inpaint\|ControlNet)Pipeline and LatentConsistencyModel(Img2Img)Pipeline; or a
    /// .safetensors file in the layout of the programs by which Stable Diffusion 1.x, 2.x and XL and latent diffusion
    /// models were trained. Tensors may be F32, F16 or BF16, in one file or in shards, and stay as they are. A folder
    /// may come without text encoders. Safety checkers and the like are not run. \`options\` may be NULL. Errors: IO,
    /// FORMAT (a missing, surplus or wrongly shaped tensor, a damaged file), UNSUPPORTED (a pipeline, network or option
    /// that is not known; pickle files), INVALID_ARGUMENT (more threads than allowed, a cache larger than the machine's
    /// memory), OUT_OF_MEMORY, CPU.
    pub fn mcm_model_open(
        path: *const c_char,
        options: *const mcm_model_options,
        out: *mut *mut mcm_model,
    ) -> mcm_status;
    /// mcm_model_open on files in memory instead of a folder, or on one file in memory. The files may be released
    /// afterwards; on_demand must be 0.
    pub fn mcm_model_open_memory(
        files: *const mcm_memory_file,
        file_count: usize,
        options: *const mcm_model_options,
        out: *mut *mut mcm_model,
    ) -> mcm_status;
    pub fn mcm_model_info_init(info: *mut mcm_model_info, struct_size: u32);
    /// Fills \*info; struct_size must be set.
    pub fn mcm_model_get_info(model: *const mcm_model, info: *mut mcm_model_info) -> mcm_status;
    pub fn mcm_memory_init(memory: *mut mcm_memory, struct_size: u32);
    /// What a model holds. A session's memory comes on top: mcm_session_get_memory.
    pub fn mcm_model_get_memory(model: *const mcm_model, memory: *mut mcm_memory) -> mcm_status;
    /// The network's prediction for a batch.
    ///
    /// - sample: (batch, channels, height, width), count floats in all
    /// - timesteps: \`batch\` floats; equal values are fine
    /// - class_input: (batch, class_input_size), class_input_count floats; NULL and 0 for a model that takes none
    /// - prediction: receives (batch, prediction_channels, height, width); prediction_count floats; may not overlap
    ///
    /// Errors: INVALID_ARGUMENT, SIZE, OUT_OF_MEMORY.
    pub fn mcm_model_predict(
        model: *const mcm_model,
        batch: u32,
        width: u32,
        height: u32,
        sample: *const f32,
        count: usize,
        timesteps: *const f32,
        class_input: *const f32,
        class_input_count: usize,
        prediction: *mut f32,
        prediction_count: usize,
    ) -> mcm_status;
    pub fn mcm_predict_options_init(options: *mut mcm_predict_options, struct_size: u32);
    /// mcm_model_predict for a network that reads more.
    ///
    /// - sample: (batch, input_channels, height, width), count floats in all
    ///
    /// The rest is as there. Errors: also STATE (no prompt), INCOMPATIBLE (a prompt for another model).
    pub fn mcm_model_predict_with(
        model: *const mcm_model,
        batch: u32,
        width: u32,
        height: u32,
        sample: *const f32,
        count: usize,
        timesteps: *const f32,
        options: *const mcm_predict_options,
        prediction: *mut f32,
        prediction_count: usize,
    ) -> mcm_status;
    /// Images to samples: (batch, channels, height, width) as the model was trained on: in \[-1, 1\], or the means of
    /// their latents. All images have the same size, multiples of \`scale\` \* size_multiple, and image_channels
    /// channels, or one, which then stands for all. Errors: INVALID_ARGUMENT, SIZE, OUT_OF_MEMORY; with on_demand also
    /// those of loading.
    pub fn mcm_model_encode(
        model: *const mcm_model,
        images: *const mcm_image,
        batch: u32,
        sample: *mut f32,
        count: usize,
    ) -> mcm_status;
    /// One sample, (channels, height, width), \`count\` floats, to 8-bit pixels, rows without gaps, channels
    /// interleaved: round(255 \* clamp(x / 2 + 0.5, 0, 1)), where x is the sample or what the autoencoder makes of it;
    /// NaN becomes 0. width and height are multiples of size_multiple. \`size\` = width \* scale \* height \* scale \*
    /// image_channels bytes. Errors: INVALID_ARGUMENT, SIZE, OUT_OF_MEMORY; with on_demand also those of loading.
    pub fn mcm_model_decode(
        model: *const mcm_model,
        width: u32,
        height: u32,
        sample: *const f32,
        count: usize,
        pixels: *mut u8,
        size: usize,
    ) -> mcm_status;
    pub fn mcm_model_free(model: *mut mcm_model);
    pub fn mcm_prompt_options_init(options: *mut mcm_prompt_options, struct_size: u32);
    /// Reads \`count\` texts, one for the whole batch or one per image. \`options\` may be NULL. Errors:
    /// INVALID_ARGUMENT, SIZE (a text of more than 64 chunks), UNSUPPORTED (the model has no text encoder),
    /// OUT_OF_MEMORY; with on_demand also those of loading.
    pub fn mcm_prompt_encode(
        model: *const mcm_model,
        texts: *const *const c_char,
        count: u32,
        options: *const mcm_prompt_options,
        out: *mut *mut mcm_prompt,
    ) -> mcm_status;
    /// A prompt from the caller's own numbers, which are copied.
    ///
    /// - states: (count, tokens, channels)
    /// - pooled: (count, pooled_channels), or NULL and 0
    pub fn mcm_prompt_create(
        count: u32,
        tokens: u32,
        channels: u32,
        states: *const f32,
        state_count: usize,
        pooled_channels: u32,
        pooled: *const f32,
        pooled_count: usize,
        out: *mut *mut mcm_prompt,
    ) -> mcm_status;
    pub fn mcm_prompt_info_init(info: *mut mcm_prompt_info, struct_size: u32);
    pub fn mcm_prompt_get_info(prompt: *const mcm_prompt, info: *mut mcm_prompt_info) -> mcm_status;
    /// Copies (count, tokens, channels) and (count, pooled_channels) floats.
    pub fn mcm_prompt_get_states(prompt: *const mcm_prompt, states: *mut f32, count: usize) -> mcm_status;
    pub fn mcm_prompt_get_pooled(prompt: *const mcm_prompt, pooled: *mut f32, count: usize) -> mcm_status;
    pub fn mcm_prompt_free(prompt: *mut mcm_prompt);
    /// Opens a folder with config.json and diffusion_pytorch_model.safetensors; of \`options\`, which may be NULL,
    /// threads, variant and int8_weights matter. Errors: as mcm_model_open.
    pub fn mcm_controlnet_open(
        folder: *const c_char,
        options: *const mcm_model_options,
        out: *mut *mut mcm_controlnet,
    ) -> mcm_status;
    pub fn mcm_controlnet_free(controlnet: *mut mcm_controlnet);
    /// Opens a module file (docs/format.md). Errors: IO, FORMAT, UNSUPPORTED, OUT_OF_MEMORY, CPU.
    pub fn mcm_modulator_open(path: *const c_char, out: *mut *mut mcm_modulator) -> mcm_status;
    /// The same from memory; data may be released afterwards.
    pub fn mcm_modulator_open_memory(data: *const c_void, size: usize, out: *mut *mut mcm_modulator) -> mcm_status;
    pub fn mcm_modulator_info_init(info: *mut mcm_modulator_info, struct_size: u32);
    pub fn mcm_modulator_get_info(modulator: *const mcm_modulator, info: *mut mcm_modulator_info) -> mcm_status;
    pub fn mcm_modality_info_init(info: *mut mcm_modality_info, struct_size: u32);
    /// index: 0 .. modality_count - 1.
    pub fn mcm_modulator_get_modality(
        modulator: *const mcm_modulator,
        index: u32,
        info: *mut mcm_modality_info,
    ) -> mcm_status;
    /// MCM_OK if the module fits the model, else MCM_ERROR_INCOMPATIBLE with the reason: another prediction type or
    /// number of channels, another fingerprint, or a model that learns its variance: for those there are no modules.
    pub fn mcm_modulator_check(modulator: *const mcm_modulator, model: *const mcm_model) -> mcm_status;
    pub fn mcm_condition_init(condition: *mut mcm_condition, struct_size: u32);
    /// The modulated prediction e' = e + weight \* (M(x, e, t, conditions) - e), for a loop of the caller's own.
    ///
    /// - model: whose prediction this is; channels and prediction type must fit (see mcm_modulator_check for the
    ///   fingerprint, which is not compared here)
    /// - sample: (batch, channels, height, width)
    /// - prediction: e, of the same shape
    /// - timesteps: \`batch\` floats
    /// - conditions: condition_count entries, one per modality; modalities that are not named are absent
    /// - out: receives e', \`count\` floats; may be \`prediction\` itself
    ///
    /// Errors: INVALID_ARGUMENT, SIZE, INCOMPATIBLE, OUT_OF_MEMORY.
    pub fn mcm_modulator_modulate(
        modulator: *const mcm_modulator,
        model: *const mcm_model,
        batch: u32,
        width: u32,
        height: u32,
        sample: *const f32,
        prediction: *const f32,
        count: usize,
        timesteps: *const f32,
        conditions: *const mcm_condition,
        condition_count: u32,
        weight: f32,
        out: *mut f32,
    ) -> mcm_status;
    pub fn mcm_modulator_free(modulator: *mut mcm_modulator);
    /// kind MCM_SCHEDULER_\*; steps 1..num_train_timesteps, 0 for the default of diffusers' pipelines (50; DDPM: 1000;
    /// LCM: 4; at most num_train_timesteps); eta in \[0, 1\] is DDIM's noise share and must be 0 for others. Errors:
    /// INVALID_ARGUMENT, UNSUPPORTED (the kind does not go with the model's options).
    pub fn mcm_scheduler_create(
        model: *const mcm_model,
        kind: i32,
        steps: u32,
        eta: f32,
        out: *mut *mut mcm_scheduler,
    ) -> mcm_status;
    /// The same with options of the host's own: a JSON object of options by diffusers' names, which go before those of
    /// the model's scheduler_config.json, e.g. {"use_karras_sigmas": true, "solver_order": 3}. NULL: none. Errors: also
    /// FORMAT; UNSUPPORTED for an option or value that is not known.
    pub fn mcm_scheduler_create_with_options(
        model: *const mcm_model,
        kind: i32,
        steps: u32,
        eta: f32,
        options: *const c_char,
        out: *mut *mut mcm_scheduler,
    ) -> mcm_status;
    pub fn mcm_scheduler_info_init(info: *mut mcm_scheduler_info, struct_size: u32);
    pub fn mcm_scheduler_get_info(scheduler: *const mcm_scheduler, info: *mut mcm_scheduler_info) -> mcm_status;
    pub fn mcm_step_info_init(info: *mut mcm_step_info, struct_size: u32);
    /// step: 0 .. steps - 1.
    pub fn mcm_scheduler_get_step(scheduler: *const mcm_scheduler, step: u32, info: *mut mcm_step_info) -> mcm_status;
    /// \*count receives the number of steps; timesteps, if not NULL, receives them (capacity \>= the number), rounded
    /// to whole numbers: mcm_scheduler_get_step has what the network is told.
    pub fn mcm_scheduler_get_timesteps(
        scheduler: *const mcm_scheduler,
        timesteps: *mut i32,
        capacity: u32,
        count: *mut u32,
    ) -> mcm_status;
    /// \*out = 1 if the step needs noise (a normal draw of the sample's size), else 0. step: 0 .. steps - 1.
    pub fn mcm_scheduler_needs_noise(scheduler: *const mcm_scheduler, step: u32, out: *mut i32) -> mcm_status;
    /// One step of a scheduler without history (history_count 0: DDPM, DDIM, Euler, Euler ancestral, LCM).
    ///
    /// - batch: number of images in the buffers
    /// - sample: x_t, \`count\` floats, count a multiple of batch; not scaled by input_scale
    /// - prediction: the (modulated) prediction e, \`prediction_count\` floats: count, or 2 \* count if the model
    ///   learns its variance (per image: prediction, then variance; only DDPM uses the variance)
    /// - noise: a normal draw of \`count\` floats if the step needs one, else NULL or ignored
    /// - previous: receives x_{t-1}; may be \`sample\`, and must not overlap prediction or noise
    /// - x0: receives the predicted x_0 (clipped as the scheduler says), or NULL; overlaps no other buffer
    ///
    /// Errors: INVALID_ARGUMENT, SIZE, OUT_OF_MEMORY.
    pub fn mcm_scheduler_step(
        scheduler: *const mcm_scheduler,
        step: u32,
        batch: u32,
        sample: *const f32,
        count: usize,
        prediction: *const f32,
        prediction_count: usize,
        noise: *const f32,
        previous: *mut f32,
        x0: *mut f32,
    ) -> mcm_status;
    /// One step of any scheduler. Steps are taken in order, from 0.
    ///
    /// - history: what the run keeps from step to step: allocated by the caller for the whole run, one for each run,
    ///   with anything in it before step 0. A step may be repeated until the next one is taken. history_count in
    ///   floats: the info's history_count \* count. NULL and 0 if that is 0.
    pub fn mcm_scheduler_step_with_history(
        scheduler: *const mcm_scheduler,
        step: u32,
        batch: u32,
        sample: *const f32,
        count: usize,
        prediction: *const f32,
        prediction_count: usize,
        noise: *const f32,
        history: *mut f32,
        history_count: usize,
        previous: *mut f32,
        x0: *mut f32,
    ) -> mcm_status;
    /// x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise, for a timestep in 0 .. num_train_timesteps - 1; for schedulers
    /// that keep samples as x_0 + sigma noise (LMS, Euler, Heun), x_0 + sigma_t noise.
    pub fn mcm_scheduler_add_noise(
        scheduler: *const mcm_scheduler,
        timestep: i32,
        x0: *const f32,
        noise: *const f32,
        count: usize,
        out: *mut f32,
    ) -> mcm_status;
    pub fn mcm_scheduler_free(scheduler: *mut mcm_scheduler);
    pub fn mcm_session_options_init(options: *mut mcm_session_options, struct_size: u32);
    /// \`options\` may be NULL. The session must be seeded before its first step.
    pub fn mcm_session_create(
        model: *const mcm_model,
        options: *const mcm_session_options,
        out: *mut *mut mcm_session,
    ) -> mcm_status;
    /// Starts a run, or starts over: draws x_T and goes to step 0; conditions and modulators stay. seed_count 1: one
    /// generator draws for the whole batch; seed_count = batch: one generator per image, so that image k is the same
    /// alone and in any batch. Both as diffusers' pipelines with torch.Generator(seed), except for inpainting one image
    /// with several seeds: diffusers encodes it with the first seed for all.
    pub fn mcm_session_seed(session: *mut mcm_session, seeds: *const u64, seed_count: u32) -> mcm_status;
    /// What a model that reads a text is told, and with guidance what it is led away from. \`negative\` NULL: an empty
    /// text, or zeros in a Stable Diffusion XL that was trained so. Of 1 image or of the batch. The session keeps the
    /// prompts: they may be freed. They may be changed between steps. Errors: SIZE, INCOMPATIBLE (for another model),
    /// STATE (the model has no text encoder and \`negative\` is NULL).
    pub fn mcm_session_set_prompt(
        session: *mut mcm_session,
        prompt: *const mcm_prompt,
        negative: *const mcm_prompt,
    ) -> mcm_status;
    /// An image to begin from, for the next mcm_session_seed: image_count 1, for the whole batch, or the batch size,
    /// all of the session's image size, with image_channels channels or one; 0: none. Copied. With options.strength 1
    /// and no mask the run begins from as much noise as from none, and with the image's colours. Errors:
    /// INVALID_ARGUMENT, SIZE, OUT_OF_MEMORY.
    pub fn mcm_session_set_image(session: *mut mcm_session, images: *const mcm_image, image_count: u32) -> mcm_status;
    /// What is to be painted in that image, for the next mcm_session_seed: from 1/2 on; below, the image stays. One
    /// channel, of the session's image size, 1 or as many as the batch; 0: all of it. An inpainting model reads mask
    /// and image, for others what stays is put back after each step, with its share of noise. Copied.
    pub fn mcm_session_set_mask(session: *mut mcm_session, masks: *const mcm_image, mask_count: u32) -> mcm_status;
    /// Stable Diffusion XL's original height and width, crop's top and left, target height and width; of its refiner
    /// the first four and an aesthetic score: (batch, time_id_count) floats each, copied. Before this call: those of a
    /// whole image of the session's size, score 6 and 2.5.
    pub fn mcm_session_set_time_ids(
        session: *mut mcm_session,
        time_ids: *const f32,
        negative: *const f32,
        count: usize,
    ) -> mcm_status;
    /// Class input of a model that takes one: (batch, class_input_size) floats, copied.
    pub fn mcm_session_set_class_input(session: *mut mcm_session, values: *const f32, count: usize) -> mcm_status;
    pub fn mcm_attach_options_init(options: *mut mcm_attach_options, struct_size: u32);
    /// Attaches a module; several may be attached, also the same one twice. Modules that were trained each for itself
    /// correct the same errors: at weights whose sum is 1 they follow together, at 1 each they overshoot
    /// (docs/results.md). \*out_id, which may be NULL, receives a number \> 0 that names the attachment in the calls
    /// below; a session gives no number twice. Allowed between steps. \`options\` may be NULL. Errors: INCOMPATIBLE if
    /// the module does not fit the session's model.
    pub fn mcm_session_attach(
        session: *mut mcm_session,
        modulator: *const mcm_modulator,
        options: *const mcm_attach_options,
        out_id: *mut u32,
    ) -> mcm_status;
    pub fn mcm_session_detach(session: *mut mcm_session, id: u32) -> mcm_status;
    /// Weight and window may be changed between steps. Weight 0 equals detached, bit for bit.
    pub fn mcm_session_set_weight(session: *mut mcm_session, id: u32, weight: f32) -> mcm_status;
    pub fn mcm_session_set_window(session: *mut mcm_session, id: u32, begin: f32, end: f32) -> mcm_status;
    /// Attaches a ControlNet; several may be attached. Weight, window and detaching are as with modules; weight is
    /// diffusers' controlnet_conditioning_scale. diffusers' control_guidance_end is the window's end, but leaves out a
    /// step that begins before it and goes on after it. other_base has no meaning.
    ///
    /// - images: what it follows: RGB or grey, of the session's image size (times what the ControlNet's config says), 1
    ///   or as many as the batch. Copied
    /// - guess: nonzero: diffusers' guess_mode
    ///
    /// Errors: INCOMPATIBLE if it does not fit the session's model, SIZE.
    pub fn mcm_session_attach_controlnet(
        session: *mut mcm_session,
        controlnet: *const mcm_controlnet,
        images: *const mcm_image,
        image_count: u32,
        guess: i32,
        options: *const mcm_attach_options,
        out_id: *mut u32,
    ) -> mcm_status;
    /// Sets (or replaces) the condition of one modality; the images are copied.
    pub fn mcm_session_set_condition(session: *mut mcm_session, id: u32, condition: *const mcm_condition)
        -> mcm_status;
    /// The same for the whole batch from an 8-bit PNG: grey for one-hot (pixel value = class index); else grey, RGB or
    /// a palette, without alpha.
    pub fn mcm_session_set_condition_png(
        session: *mut mcm_session,
        id: u32,
        modality: *const c_char,
        path: *const c_char,
    ) -> mcm_status;
    /// Makes a modality absent again; NULL means all of them.
    pub fn mcm_session_clear_condition(session: *mut mcm_session, id: u32, modality: *const c_char) -> mcm_status;
    /// One step: predict, modulate, scheduler step. MCM_ERROR_STATE before seeding and past the end; INVALID_ARGUMENT
    /// if the result is not finite, since the sample, a condition or a weight is too large.
    pub fn mcm_session_step(session: *mut mcm_session) -> mcm_status;
    pub fn mcm_session_state_init(state: *mut mcm_session_state, struct_size: u32);
    pub fn mcm_session_get_state(session: *const mcm_session, state: *mut mcm_session_state) -> mcm_status;
    /// What a session holds beside its model and modules: \`weights\` and \`cache\` are 0.
    pub fn mcm_session_get_memory(session: *const mcm_session, memory: *mut mcm_memory) -> mcm_status;
    /// Copies x_t, (batch, channels, height, width), count floats.
    pub fn mcm_session_get_sample(session: *const mcm_session, sample: *mut f32, count: usize) -> mcm_status;
    /// Replaces x_t; values must be finite.
    pub fn mcm_session_set_sample(session: *mut mcm_session, sample: *const f32, count: usize) -> mcm_status;
    /// Copies the x_0 that the last step predicted. MCM_ERROR_STATE before the first step.
    pub fn mcm_session_get_x0(session: *const mcm_session, x0: *mut f32, count: usize) -> mcm_status;
    /// Image \`index\` of the batch as 8-bit pixels, image_width \* image_height \* image_channels bytes, rows without
    /// gaps; a preview has width \* height \* image_channels.
    pub fn mcm_session_decode(
        session: *const mcm_session,
        what: i32,
        index: u32,
        pixels: *mut u8,
        size: usize,
    ) -> mcm_status;
    /// Steps to the end. If the callback cancels, MCM_CANCELLED is returned, the session stays at that step and can go
    /// on. \`callback\` may be NULL. MCM_OK and no step if already done.
    pub fn mcm_session_run(session: *mut mcm_session, callback: Option<mcm_progress>, user: *mut c_void) -> mcm_status;
    pub fn mcm_session_free(session: *mut mcm_session);
    pub fn mcm_attachment_init(attachment: *mut mcm_attachment, struct_size: u32);
    pub fn mcm_generate_options_init(options: *mut mcm_generate_options, struct_size: u32);
    /// Samples a batch: seed, attach, condition, run, decode. \`pixels\` receives the images one after the other,
    /// \`size\` = batch \* image_height \* image_width \* image_channels bytes. \`options\` may be NULL. Errors: those
    /// of the session functions, and MCM_CANCELLED.
    pub fn mcm_generate(
        model: *const mcm_model,
        options: *const mcm_generate_options,
        pixels: *mut u8,
        size: usize,
    ) -> mcm_status;
    /// Opens a .safetensors file of a data set (docs/format.md): "images", U8 or F32 (examples, height, width,
    /// channels), or "samples", F32 (examples, channels, height, width), in a model's sample space; the other tensors
    /// are conditions by the names of their modalities, U8 or F32 (examples, height, width, channels), of any height
    /// and width: intensities, or class indices in one channel. For models that read a text there may be encoded
    /// prompts: "prompt_embeds", F32 or F16 (prompts, tokens, channels), for Stable Diffusion XL "pooled_prompt_embeds"
    /// (prompts, channels), and "prompt_index", I32 (examples), which need not be there with one prompt for each
    /// example or for all. The file must not change while the data set lives. Errors: IO, FORMAT, UNSUPPORTED.
    pub fn mcm_dataset_open(path: *const c_char, out: *mut *mut mcm_dataset) -> mcm_status;
    pub fn mcm_dataset_info_init(info: *mut mcm_dataset_info, struct_size: u32);
    pub fn mcm_dataset_get_info(dataset: *const mcm_dataset, info: *mut mcm_dataset_info) -> mcm_status;
    /// Name and channels of the conditions with this index, 0 .. modality_count - 1; encoding and resize are 0.
    pub fn mcm_dataset_get_modality(
        dataset: *const mcm_dataset,
        index: u32,
        info: *mut mcm_modality_info,
    ) -> mcm_status;
    /// Writes a data set of samples for a latent diffusion model: the means of the images' latents, encoded once.
    /// Conditions and prompts are taken over. Written at once or not at all. \`callback\` may be NULL. Errors:
    /// INCOMPATIBLE, SIZE, FORMAT, IO, OUT_OF_MEMORY, CANCELLED.
    pub fn mcm_dataset_encode(
        dataset: *const mcm_dataset,
        model: *const mcm_model,
        path: *const c_char,
        callback: Option<mcm_dataset_progress>,
        user: *mut c_void,
    ) -> mcm_status;
    pub fn mcm_dataset_free(dataset: *mut mcm_dataset);
    pub fn mcm_bank_options_init(options: *mut mcm_bank_options, struct_size: u32);
    /// Records predictions into the file \`path\`, in half precision. They are collected in \`path\`.part (of a link:
    /// beside the file that it leads to), which becomes \`path\` when it is complete: if that file is there, recording
    /// goes on where it stopped, however it stopped. 2 \* channels \* height \* width bytes per record, rounded up to a
    /// multiple of 8, and 24. \`callback\` may be NULL. Errors: INVALID_ARGUMENT, SIZE, STATE (path.part is a recording
    /// with other options; a prediction that half precision does not hold), INCOMPATIBLE, UNSUPPORTED (as
    /// mcm_trainer_create), IO (a full disk: what is there stays), FORMAT, OUT_OF_MEMORY, CANCELLED.
    pub fn mcm_bank_record(
        model: *const mcm_model,
        dataset: *const mcm_dataset,
        path: *const c_char,
        options: *const mcm_bank_options,
        callback: Option<mcm_bank_progress>,
        user: *mut c_void,
    ) -> mcm_status;
    /// Opens a bank and checks every record. The file is mapped; it must not change while the bank lives. Errors: IO,
    /// FORMAT (damaged, or cut short), UNSUPPORTED.
    pub fn mcm_bank_open(path: *const c_char, out: *mut *mut mcm_bank) -> mcm_status;
    pub fn mcm_bank_info_init(info: *mut mcm_bank_info, struct_size: u32);
    pub fn mcm_bank_get_info(bank: *const mcm_bank, info: *mut mcm_bank_info) -> mcm_status;
    pub fn mcm_bank_free(bank: *mut mcm_bank);
    pub fn mcm_trainer_options_init(options: *mut mcm_trainer_options, struct_size: u32);
    /// A trainer for a new module. What it is to be is said by \`config\`, JSON as in a module file (docs/format.md);
    /// "base" is filled in. A module begins as one that changes nothing. With \`model\` NULL, \`bank\` stands for the
    /// model, and examples can only be drawn from banks; else \`bank\` must be NULL. \`options\` may be NULL. Errors:
    /// INVALID_ARGUMENT, INCOMPATIBLE, FORMAT (a config that cannot be built), UNSUPPORTED (a model with a class input
    /// or a learned variance, an option of the config that is not known, more than 2^28 parameters), OUT_OF_MEMORY.
    pub fn mcm_trainer_create(
        model: *const mcm_model,
        bank: *const mcm_bank,
        config: *const c_char,
        options: *const mcm_trainer_options,
        out: *mut *mut mcm_trainer,
    ) -> mcm_status;
    /// The same, beginning with the weights of a module file, whatever model of the same prediction type it was trained
    /// on. Errors: those of create, and IO.
    pub fn mcm_trainer_create_from(
        model: *const mcm_model,
        bank: *const mcm_bank,
        path: *const c_char,
        options: *const mcm_trainer_options,
        out: *mut *mut mcm_trainer,
    ) -> mcm_status;
    pub fn mcm_resume_options_init(options: *mut mcm_resume_options, struct_size: u32);
    /// Goes on from a file that mcm_trainer_save has written: the weights will be those of a trainer that never
    /// stopped, bit for bit. \`options\` may be NULL. Errors: those of create_from, INCOMPATIBLE for another model, and
    /// STATE for gradients that wait in the file of another rank.
    pub fn mcm_trainer_resume(
        model: *const mcm_model,
        bank: *const mcm_bank,
        path: *const c_char,
        options: *const mcm_resume_options,
        out: *mut *mut mcm_trainer,
    ) -> mcm_status;
    /// Writes all of the trainer, at once or not at all: a process that ends meanwhile leaves the file that was there,
    /// and perhaps an incomplete \`path\`.\*.tmp. Errors: IO; STATE if what is to be saved is not finite.
    pub fn mcm_trainer_save(trainer: *const mcm_trainer, path: *const c_char) -> mcm_status;
    pub fn mcm_batch_init(batch: *mut mcm_batch, struct_size: u32);
    pub fn mcm_train_report_init(report: *mut mcm_train_report, struct_size: u32);
    /// Accumulates a batch's gradients and takes a step; if either fails, neither has happened. \`report\` may be NULL.
    /// Errors: INVALID_ARGUMENT, SIZE, INCOMPATIBLE, STATE (a loss, gradient or weight that is not finite, with the
    /// number of the step; gradients that wait to be applied), OUT_OF_MEMORY.
    pub fn mcm_trainer_step(
        trainer: *mut mcm_trainer,
        batch: *const mcm_batch,
        report: *mut mcm_train_report,
    ) -> mcm_status;
    /// Adds a batch's gradients to those accumulated. Errors: as mcm_trainer_step.
    pub fn mcm_trainer_accumulate(
        trainer: *mut mcm_trainer,
        batch: *const mcm_batch,
        report: *mut mcm_train_report,
    ) -> mcm_status;
    /// Takes a step along the accumulated gradients, divided by the number of examples, and begins to accumulate anew.
    /// The report has no losses. Errors: STATE (nothing is accumulated, it or its square is not finite, or all
    /// total_steps are taken).
    pub fn mcm_trainer_apply(trainer: *mut mcm_trainer, report: *mut mcm_train_report) -> mcm_status;
    /// Forgets the accumulated gradients. Their examples stay counted as seen.
    pub fn mcm_trainer_clear(trainer: *mut mcm_trainer) -> mcm_status;
    /// mcm_trainer_step and mcm_trainer_accumulate with the next \`count\` examples of a data set, in an order that
    /// follows from the seed and that each epoch shuffles. With a bank, the examples are its records; it must have been
    /// recorded from this trainer's model and for these images, of timesteps that the options allow. \`bank\` may be
    /// NULL. Errors: as above, FORMAT, and INCOMPATIBLE for a data set that has none of the module's modalities.
    pub fn mcm_trainer_step_dataset(
        trainer: *mut mcm_trainer,
        dataset: *const mcm_dataset,
        bank: *const mcm_bank,
        count: u32,
        report: *mut mcm_train_report,
    ) -> mcm_status;
    pub fn mcm_trainer_accumulate_dataset(
        trainer: *mut mcm_trainer,
        dataset: *const mcm_dataset,
        bank: *const mcm_bank,
        count: u32,
        report: *mut mcm_train_report,
    ) -> mcm_status;
    /// The losses of a batch, or of the first \`count\` examples of a data set (or of a bank's records), without
    /// learning from them. Timesteps are spread over their range, or a bank's; they and the noise are the same in each
    /// call; no condition is withheld. averaged: as of mcm_trainer_get_modulator. Errors: as mcm_trainer_step and
    /// _step_dataset, but gradients may wait.
    pub fn mcm_trainer_evaluate(
        trainer: *mut mcm_trainer,
        batch: *const mcm_batch,
        averaged: i32,
        report: *mut mcm_train_report,
    ) -> mcm_status;
    pub fn mcm_trainer_evaluate_dataset(
        trainer: *mut mcm_trainer,
        dataset: *const mcm_dataset,
        bank: *const mcm_bank,
        count: u32,
        averaged: i32,
        report: *mut mcm_train_report,
    ) -> mcm_status;
    /// The parameters, their gradients, and their moving average (NULL if there is none), \`count\` floats each, in one
    /// order. The gradient is the sum over the accumulated examples: a mean over processes that accumulated equally
    /// many is one to apply. The trainer's own memory, valid as long as it is; the caller may write to it between
    /// calls, but writing to one changes no other. Each out pointer may be NULL.
    pub fn mcm_trainer_get_buffers(
        trainer: *mut mcm_trainer,
        parameters: *mut *mut f32,
        gradients: *mut *mut f32,
        ema: *mut *mut f32,
        count: *mut usize,
    ) -> mcm_status;
    pub fn mcm_parameter_info_init(info: *mut mcm_parameter_info, struct_size: u32);
    /// index: 0 .. mcm_trainer_state.tensor_count - 1.
    pub fn mcm_trainer_get_parameter(
        trainer: *const mcm_trainer,
        index: u32,
        info: *mut mcm_parameter_info,
    ) -> mcm_status;
    pub fn mcm_trainer_state_init(state: *mut mcm_trainer_state, struct_size: u32);
    pub fn mcm_trainer_get_state(trainer: *const mcm_trainer, state: *mut mcm_trainer_state) -> mcm_status;
    /// What the module follows; index: 0 .. modality_count - 1.
    pub fn mcm_trainer_get_modality(
        trainer: *const mcm_trainer,
        index: u32,
        info: *mut mcm_modality_info,
    ) -> mcm_status;
    pub fn mcm_losses_init(losses: *mut mcm_losses, struct_size: u32);
    pub fn mcm_trainer_get_losses(
        trainer: *const mcm_trainer,
        kind: i32,
        index: u32,
        losses: *mut mcm_losses,
    ) -> mcm_status;
    pub fn mcm_trainer_reset_losses(trainer: *mut mcm_trainer) -> mcm_status;
    /// The module as it is now, for sampling; \`averaged\` nonzero: with the moving average of its weights. The
    /// caller's to free. Errors: STATE (a weight that is not finite), OUT_OF_MEMORY.
    pub fn mcm_trainer_get_modulator(
        trainer: *const mcm_trainer,
        averaged: i32,
        out: *mut *mut mcm_modulator,
    ) -> mcm_status;
    /// Writes the module's file, at once or not at all. dtype: MCM_F32 or MCM_F16. Errors: INVALID_ARGUMENT, STATE (a
    /// weight that is not finite, or that F16 does not hold), IO.
    pub fn mcm_trainer_write_modulator(
        trainer: *const mcm_trainer,
        path: *const c_char,
        averaged: i32,
        dtype: i32,
    ) -> mcm_status;
    pub fn mcm_train_options_init(options: *mut mcm_train_options, struct_size: u32);
    /// Trains on a data set, and on a bank if it is not NULL. \`options\` and \`callback\` may be NULL. Errors: those
    /// of mcm_trainer_step_dataset and mcm_trainer_save; INVALID_ARGUMENT (no end is set); CANCELLED. The trainer is
    /// then as after the last step.
    pub fn mcm_trainer_train(
        trainer: *mut mcm_trainer,
        dataset: *const mcm_dataset,
        bank: *const mcm_bank,
        options: *const mcm_train_options,
        callback: Option<mcm_train_progress>,
        user: *mut c_void,
    ) -> mcm_status;
    pub fn mcm_trainer_free(trainer: *mut mcm_trainer);
}
