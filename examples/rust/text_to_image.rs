//! Stable Diffusion from a diffusers folder or one .safetensors file, with a preview after each step.
//!
//!   text_to_image MODEL "a red boot on a table" [out.png] [seed] [steps]
use std::error::Error;

use mcm::{Model, Prompt, PromptOptions, SchedulerKind, Session, SessionOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (path, text) = match (arguments.next(), arguments.next()) {
        (Some(path), Some(text)) => (path, text),
        _ => return Err("usage: text_to_image MODEL TEXT [out.png] [seed] [steps]".into()),
    };
    let out = arguments.next().unwrap_or_else(|| "image.png".into());
    let seed = arguments.next().map_or(Ok(0), |seed| seed.parse())?;
    let steps = arguments.next().map_or(Ok(25), |steps| steps.parse())?;

    let model = Model::open(path)?;
    let prompt = Prompt::encode(
        &model,
        &[&text],
        &PromptOptions {
            weights: true,
            ..Default::default()
        },
    )?;
    if prompt.info()?.truncated {
        println!("the text is too long, its end is left out");
    }
    let options = SessionOptions {
        scheduler: SchedulerKind::DpmSolverMultistep,
        steps,
        ..Default::default()
    };
    let mut session = Session::new(&model, &options)?;
    session.set_prompt(&prompt, None)?;
    session.seed(seed)?;
    for step in session.steps() {
        let step = step?;
        step.preview(0)?.write_png(&out)?; // a thumbnail, for an impatient viewer
        println!("{} of {}", step.number(), step.steps());
    }
    session.result(0)?.write_png(&out)?;
    println!("wrote {out}, seed {seed}");
    Ok(())
}
