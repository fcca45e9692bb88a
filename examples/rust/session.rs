//! Level 2: a session is stepped by the program, which looks at it between the steps.
//!
//!   session [folder of the fashion example] [out.png] [seed]
use std::error::Error;
use std::path::PathBuf;

use mcm::{AttachOptions, Model, Modulator, Pixels, SchedulerKind, Session, SessionOptions};

/// What the network takes the result to be at this step, in characters, every other row.
fn print_preview(preview: &Pixels) {
    let row = preview.width() as usize * preview.channels() as usize;
    for pixels in preview.data().chunks(row).step_by(2) {
        let grey = pixels.iter().step_by(preview.channels() as usize);
        println!(
            "{}",
            grey.map(|value| b" .:-=+*#%@"[*value as usize * 10 / 256] as char)
                .collect::<String>()
        );
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(
        arguments
            .next()
            .unwrap_or_else(|| "examples/fashion".into()),
    );
    let out = arguments.next().unwrap_or_else(|| "session.png".into());
    let seed = arguments.next().map_or(Ok(1), |seed| seed.parse())?;

    let model = Model::open(folder.join("base"))?;
    let module = Modulator::open(folder.join("module.mcm.safetensors"))?;

    let options = SessionOptions {
        scheduler: SchedulerKind::Ddim,
        steps: 25,
        ..Default::default()
    };
    let mut session = Session::new(&model, &options)?;
    let attachment = session.attach(&module, &AttachOptions::default())?;
    for modality in ["sketch", "segmentation"] {
        let file = folder.join(format!("conditions/00_{modality}.png"));
        session.set_condition_png(attachment, modality, file)?;
    }

    session.seed(seed)?;
    while let Some(step) = session.next_step()? {
        if step.number() % 8 == 1 {
            println!(
                "step {} of {}, timestep {}:",
                step.number(),
                step.steps(),
                step.timestep()
            );
            print_preview(&step.preview(0)?);
        }
    }

    let image = session.result(0)?;
    image.write_png(&out)?;
    println!(
        "wrote {out}: {}x{}, seed {seed}",
        image.width(),
        image.height()
    );
    Ok(())
}
