//! Training: a new module learns to follow the left and right edges of bars, from batches that the program makes up.
//!
//!   train [folder of the fashion example] [module file to write] [steps]
use std::error::Error;
use std::path::PathBuf;

use mcm::{Batch, Condition, Examples, Image, Model, ModuleFormat, Rng, Trainer, TrainerOptions};

const SIDE: usize = 28;
const BATCH: usize = 16;

/// What the module is to be: a small UNet that reads one plane of conditions, "outline".
const CONFIG: &str = r#"{"prediction_channels": 1,
    "modalities": [{"name": "outline", "channels": 1}],
    "net": {"sample_size": 28, "block_out_channels": [12, 16, 16], "layers_per_block": 1, "norm_num_groups": 4,
            "down_block_types": ["DownBlock2D", "DownBlock2D", "DownBlock2D"],
            "up_block_types": ["UpBlock2D", "UpBlock2D", "UpBlock2D"]}}"#;

/// Upright bars around the middle, and their edges.
fn draw(rng: &mut Rng, images: &mut [u8], outlines: &mut [u8]) -> mcm::Result<()> {
    let mut widths = [0.0; BATCH];
    rng.normal(&mut widths)?;
    for (k, (image, outline)) in images
        .chunks_mut(SIDE * SIDE)
        .zip(outlines.chunks_mut(SIDE * SIDE))
        .enumerate()
    {
        let half = (6.0 + 2.0 * widths[k]).clamp(2.0, 12.0) as usize;
        for (i, (pixel, edge)) in image.iter_mut().zip(outline).enumerate() {
            let distance = (i % SIDE).abs_diff(SIDE / 2);
            *pixel = if distance <= half { 200 } else { 0 };
            *edge = if distance == half { 255 } else { 0 };
        }
    }
    Ok(())
}

fn views(pixels: &[u8]) -> mcm::Result<Vec<Image<'_>>> {
    pixels
        .chunks(SIDE * SIDE)
        .map(|image| Image::new(image, SIDE as u32, SIDE as u32, 1))
        .collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(
        arguments
            .next()
            .unwrap_or_else(|| "examples/fashion".into()),
    );
    let out = arguments
        .next()
        .unwrap_or_else(|| "outline.mcm.safetensors".into());
    let steps: u64 = arguments.next().map_or(Ok(200), |steps| steps.parse())?;

    let model = Model::open(folder.join("base"))?;
    let warmup_steps = steps.min(50) as u32;
    let options = TrainerOptions {
        total_steps: steps,
        warmup_steps,
        ema_decay: 0.99,
        ..Default::default()
    };
    let mut trainer = Trainer::new(&model, CONFIG, &options)?;

    let mut rng = Rng::new(1)?;
    let (mut images, mut outlines) = (vec![0; BATCH * SIDE * SIDE], vec![0; BATCH * SIDE * SIDE]);
    for step in 1..=steps {
        draw(&mut rng, &mut images, &mut outlines)?;
        let (images, outlines) = (views(&images)?, views(&outlines)?);
        let conditions = [Condition {
            modality: "outline",
            images: &outlines,
        }];
        let batch = Batch {
            examples: Examples::Images(&images),
            conditions: &conditions,
            prompt: None,
        };
        let report = trainer.step(&batch)?;
        if step % 20 == 0 || step == steps {
            println!(
                "step {step}: loss {:.4}, of the model alone {:.4}",
                report.loss, report.base_loss
            );
        }
    }
    trainer.write_modulator(&out, true, ModuleFormat::F16)?;
    println!("wrote {out}");
    Ok(())
}
