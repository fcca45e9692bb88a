use std::ptr;

use mcm_sys as sys;

use crate::convert::{buffer, count, fill, product, size_of, slice_pointer, text};
use crate::error::check;
use crate::handle::Handle;
use crate::{Model, Result};

/// How texts are read.
#[derive(Clone, Copy, Debug, Default)]
pub struct PromptOptions {
    /// Layers of the text encoders that are left out at their end, as in diffusers.
    pub clip_skip: u32,
    /// Brackets give parts of a text weights, as in the Stable Diffusion web UI; else they are text, as in diffusers.
    pub weights: bool,
    /// A text of more than 75 tokens is read in chunks; else its end is left out, as in diffusers.
    pub chunks: bool,
}

impl PromptOptions {
    pub(crate) fn native(&self) -> sys::mcm_prompt_options {
        sys::mcm_prompt_options {
            struct_size: size_of::<sys::mcm_prompt_options>(),
            clip_skip: self.clip_skip,
            weights: self.weights.into(),
            chunks: self.chunks.into(),
        }
    }
}

/// The shape of a prompt.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromptInfo {
    /// Texts.
    pub count: u32,
    /// Of each text, start, end and padding included.
    pub tokens: u32,
    /// Of a token's state.
    pub channels: u32,
    /// Of the pooled text, else 0.
    pub pooled_channels: u32,
    /// Whether the end of a text was left out.
    pub truncated: bool,
}

/// What a model's text encoders make of one or more texts (diffusers' prompt_embeds). Immutable, shared by threads; it
/// may outlive its model.
#[derive(Debug)]
pub struct Prompt(pub(crate) Handle<sys::mcm_prompt>);

impl Prompt {
    /// Reads texts, one for the whole batch or one per image. Errors: InvalidArgument, Size, Unsupported (the model has
    /// no text encoder), OutOfMemory.
    pub fn encode(model: &Model, texts: &[&str], options: &PromptOptions) -> Result<Prompt> {
        let owned: Vec<_> = texts.iter().map(|value| text("text", value)).collect::<Result<_>>()?;
        let pointers: Vec<_> = owned.iter().map(|text| text.as_ptr()).collect();
        let count = count("texts", texts.len())?;
        // SAFETY: texts and options live through the call.
        Handle::create(|out| unsafe {
            sys::mcm_prompt_encode(model.0.as_ptr(), pointers.as_ptr(), count, &options.native(), out)
        })
        .map(Prompt)
    }

    /// A prompt from the caller's own numbers, which are copied.
    /// - `shape`: \[count, tokens, channels\]
    /// - `states`: (count, tokens, channels)
    /// - `pooled`: (count, pooled_channels), or none
    pub fn from_states(shape: [u32; 3], states: &[f32], pooled_channels: u32, pooled: &[f32]) -> Result<Prompt> {
        let [count, tokens, channels] = shape;
        // SAFETY: lengths are passed along.
        Handle::create(|out| unsafe {
            sys::mcm_prompt_create(
                count,
                tokens,
                channels,
                states.as_ptr(),
                states.len(),
                pooled_channels,
                slice_pointer(pooled),
                pooled.len(),
                out,
            )
        })
        .map(Prompt)
    }

    /// Its shape.
    pub fn info(&self) -> Result<PromptInfo> {
        // SAFETY: the place is a struct of the size that it says.
        let info = fill(sys::mcm_prompt_info_init, |out| unsafe { sys::mcm_prompt_get_info(self.0.as_ptr(), out) })?;
        let sys::mcm_prompt_info { count, tokens, channels, pooled_channels, truncated, .. } = info;
        Ok(PromptInfo { count, tokens, channels, pooled_channels, truncated: truncated != 0 })
    }

    /// (count, tokens, channels).
    pub fn states(&self) -> Result<Vec<f32>> {
        let info = self.info()?;
        let length = product(&[info.count as usize, info.tokens as usize, info.channels as usize])?;
        let mut states = buffer(length)?;
        // SAFETY: the buffer is as long as is said.
        check(unsafe { sys::mcm_prompt_get_states(self.0.as_ptr(), states.as_mut_ptr(), length) })?;
        Ok(states)
    }

    /// (count, pooled_channels).
    pub fn pooled(&self) -> Result<Vec<f32>> {
        let info = self.info()?;
        let length = product(&[info.count as usize, info.pooled_channels as usize])?;
        if length == 0 {
            return Ok(Vec::new());
        }
        let mut pooled = buffer(length)?;
        // SAFETY: the buffer is as long as is said.
        check(unsafe { sys::mcm_prompt_get_pooled(self.0.as_ptr(), pooled.as_mut_ptr(), length) })?;
        Ok(pooled)
    }
}

/// NULL for none.
pub(crate) fn pointer(prompt: Option<&Prompt>) -> *const sys::mcm_prompt {
    prompt.map_or(ptr::null(), |prompt| prompt.0.as_ptr())
}
