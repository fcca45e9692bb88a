//! Level 3: the sampling loop is the program's own; libmcm supplies its parts.
//!
//!   own_loop [folder of the fashion example] [out.png] [seed]
use std::error::Error;
use std::path::PathBuf;

use mcm::{
    Condition, Model, Modulator, Pixels, PredictOptions, Rng, Scheduler, SchedulerKind,
    SchedulerOptions, StepBuffers,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(
        arguments
            .next()
            .unwrap_or_else(|| "examples/fashion".into()),
    );
    let out = arguments.next().unwrap_or_else(|| "own_loop.png".into());
    let seed = arguments.next().map_or(Ok(1), |seed| seed.parse())?;

    let model = Model::open(folder.join("base"))?;
    let module = Modulator::open(folder.join("module.mcm.safetensors"))?;
    module.check(&model)?;
    let options = SchedulerOptions {
        kind: SchedulerKind::Ddim,
        steps: 25,
        ..Default::default()
    };
    let scheduler = Scheduler::new(&model, &options)?;
    let mut rng = Rng::new(seed)?;

    let sketch = Pixels::read_png(folder.join("conditions/00_sketch.png"))?;
    let segmentation = Pixels::read_png(folder.join("conditions/00_segmentation.png"))?;
    let (sketch, segmentation) = ([sketch.as_image()], [segmentation.as_image()]);
    let conditions = [
        Condition {
            modality: "sketch",
            images: &sketch,
        },
        Condition {
            modality: "segmentation",
            images: &segmentation,
        },
    ];

    let info = model.info()?;
    let extent = info.extent(1);
    let count = (info.channels * info.height * info.width) as usize;
    let (mut x, mut e, mut noise) = (vec![0.0; count], vec![0.0; count], vec![0.0; count]);

    // What follows serves every scheduler.
    let run = scheduler.info()?;
    let mut history = vec![0.0; run.history_count as usize * count];
    rng.normal(&mut x)?; // x_T
    x.iter_mut()
        .for_each(|value| *value *= run.init_noise_sigma);
    for i in 0..run.steps {
        let step = scheduler.step_info(i)?;
        let t = [step.timestep];
        let input: Vec<f32> = x.iter().map(|value| value * step.input_scale).collect();
        model.predict(extent, &input, &t, &PredictOptions::default(), &mut e)?;
        module.modulate(&model, extent, &input, &t, &conditions, 1.0, &mut e)?;
        if step.needs_noise {
            rng.normal(&mut noise)?;
        }
        let noise = step.needs_noise.then(|| &noise[..]);
        let buffers = StepBuffers {
            sample: &mut x,
            prediction: &e,
            noise,
            history: &mut history,
            x0: None,
        };
        scheduler.step(i, 1, buffers)?;
        println!(
            "own loop: step {} of {}, timestep {}",
            i + 1,
            run.steps,
            step.timestep
        );
    }

    model.decode(info.width, info.height, &x)?.write_png(&out)?;
    println!("wrote {out}: {}x{}, seed {seed}", info.width, info.height);
    Ok(())
}
