use std::ops::ControlFlow;

use crate::{
    AttachOptions, Condition, Image, Model, Modulator, Pixels, Prompt, PromptOptions, Result, Session, SessionOptions,
    Step,
};

/// A module with its conditions.
#[derive(Clone, Copy, Debug)]
pub struct Conditioning<'a> {
    /// The module.
    pub modulator: &'a Modulator,
    /// One per modality.
    pub conditions: &'a [Condition<'a>],
    /// How it acts.
    pub options: AttachOptions,
}

/// What [`generate()`] is to draw.
#[derive(Clone, Copy, Debug, Default)]
pub struct GenerateOptions<'a> {
    /// One for the whole batch, or one per image; none: 0.
    pub seeds: &'a [u64],
    /// Batch, size, scheduler and so on.
    pub session: SessionOptions<'a>,
    /// What it is to follow.
    pub conditionings: &'a [Conditioning<'a>],
    /// See [`Session::set_class_input`].
    pub class_input: &'a [f32],
    /// For all images of a model that reads a text.
    pub prompt: &'a str,
    /// See [`Session::set_prompt`].
    pub negative_prompt: Option<&'a str>,
    /// How both are read; clip_skip is not applied to the negative prompt.
    pub prompt_options: PromptOptions,
    /// See [`Session::set_image`].
    pub images: &'a [Image<'a>],
    /// See [`Session::set_mask`].
    pub masks: &'a [Image<'a>],
}

/// Samples a batch in one call; `progress` is called after each step, and cancels if it breaks. Errors: those of
/// [`Session`], and Cancelled.
///
/// ```no_run
/// # fn main() -> mcm::Result<()> {
/// use std::ops::ControlFlow;
/// let model = mcm::Model::open("stable-diffusion-v1-5")?;
/// let options = mcm::GenerateOptions { prompt: "a lighthouse at dawn", seeds: &[7], ..Default::default() };
/// let images = mcm::generate(&model, &options, |step| {
///     eprintln!("{} of {}", step.number(), step.steps());
///     ControlFlow::Continue(())
/// })?;
/// images[0].write_png("lighthouse.png")
/// # }
/// ```
pub fn generate(
    model: &Model,
    options: &GenerateOptions<'_>,
    progress: impl FnMut(&Step<'_>) -> ControlFlow<()>,
) -> Result<Vec<Pixels>> {
    let mut session = Session::new(model, &options.session)?;
    if !options.class_input.is_empty() {
        session.set_class_input(options.class_input)?;
    }
    let reads_text = model.info()?.text_channels > 0;
    if reads_text || !options.prompt.is_empty() || options.negative_prompt.is_some() {
        let prompt = Prompt::encode(model, &[options.prompt], &options.prompt_options)?;
        let plain = PromptOptions { clip_skip: 0, ..options.prompt_options };
        let negative = options.negative_prompt.map(|text| Prompt::encode(model, &[text], &plain)).transpose()?;
        session.set_prompt(&prompt, negative.as_ref())?;
    }
    for conditioning in options.conditionings {
        let attachment = session.attach(conditioning.modulator, &conditioning.options)?;
        for condition in conditioning.conditions {
            session.set_condition(attachment, *condition)?;
        }
    }
    session.set_image(options.images)?;
    session.set_mask(options.masks)?;
    session.seed_each(if options.seeds.is_empty() { &[0] } else { options.seeds })?;
    session.run_with(progress)?;
    (0..options.session.batch).map(|index| session.result(index)).collect()
}
