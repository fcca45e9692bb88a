//! Level 2: a session is stepped by the program, which looks at it between the steps.
//!
//!   session [folder of the fashion example] [out.png] [seed]
use std::path::Path;

use mcm::{AttachOptions, Model, Modulator, Pixels, SchedulerKind, Session, SessionOptions};

/// What the network takes the result to be at this step, in characters, every other row.
fn print_preview(preview: &Pixels) {
    let row = preview.width() as usize * preview.channels() as usize;
    for pixels in preview.data().chunks(row).step_by(2) {
        let grey = pixels.iter().step_by(preview.channels() as usize);
        println!("{}", grey.map(|value| b" .:-=+*#%@"[*value as usize * 10 / 256] as char).collect::<String>());
    }
}

fn draw(folder: &Path, out: &Path, seed: u64) -> mcm::Result<()> {
    let model = Model::open(folder.join("base"))?;
    let module = Modulator::open(folder.join("module.mcm.safetensors"))?;

    let options = SessionOptions { scheduler: SchedulerKind::Ddim, steps: 25, ..Default::default() };
    let mut session = Session::new(&model, &options)?;
    let attachment = session.attach(&module, &AttachOptions::default())?;
    for modality in ["sketch", "segmentation"] {
        let file = folder.join(format!("conditions/00_{modality}.png"));
        session.set_condition_png(attachment, modality, file)?;
    }

    session.seed(seed)?;
    while let Some(step) = session.next_step()? {
        if step.number() % 8 == 1 {
            println!("step {} of {}, timestep {}:", step.number(), step.steps(), step.timestep());
            print_preview(&step.preview(0)?);
        }
    }

    let image = session.result(0)?;
    image.write_png(out)?;
    println!("wrote {}: {}x{}, seed {seed}", out.display(), image.width(), image.height());
    Ok(())
}

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let folder = arguments.next().unwrap_or_else(|| "../fashion".into());
    let out = arguments.next().unwrap_or_else(|| "session.png".into());
    let seed = match arguments.next().map(|seed| seed.to_str().and_then(|seed| seed.parse().ok())) {
        None => 1,
        Some(Some(seed)) => seed,
        Some(None) => fail("the seed is not a number >= 0"),
    };
    if let Err(error) = draw(Path::new(&folder), Path::new(&out), seed) {
        fail(&error.to_string());
    }
}

fn fail(message: &str) -> ! {
    eprintln!("{message}");
    std::process::exit(1);
}
