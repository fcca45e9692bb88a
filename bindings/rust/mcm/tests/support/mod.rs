//! What the tests share.
#![allow(dead_code)]
use std::path::{Path, PathBuf};

use mcm::*;

/// A file of the fashion example.
pub fn fashion(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples/fashion").join(name)
}

/// A file to write.
pub fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

pub fn model() -> Model {
    Model::open(fashion("base")).unwrap()
}

pub fn module() -> Modulator {
    Modulator::open(fashion("module.mcm.safetensors")).unwrap()
}

pub const DDIM: SessionOptions<'static> = SessionOptions {
    batch: 1,
    width: 0,
    height: 0,
    scheduler: SchedulerKind::Ddim,
    steps: 6,
    eta: 0.0,
    scheduler_options: None,
    strength: 1.0,
    guidance_scale: None,
    guidance_rescale: 0.0,
    modulate: Modulate::Guided,
    guidance_passes: 0,
    tile_above: 0,
};

/// A session that follows a sketch, before it is seeded.
pub fn session(model: &Model) -> Session {
    let mut session = Session::new(model, &DDIM).unwrap();
    let attachment = session.attach(&module(), &AttachOptions::default()).unwrap();
    session.set_condition_png(attachment, "sketch", fashion("conditions/00_sketch.png")).unwrap();
    session
}

/// The kind of an error, whose message must be one line that has `words`.
#[track_caller]
pub fn refused<T>(result: Result<T>, words: &str) -> ErrorKind {
    let error = result.err().expect("an error");
    assert!(error.message().contains(words), "{:?} has {:?}", error.message(), words);
    assert!(!error.message().contains('\n') && !error.message().is_empty());
    assert_eq!(error.to_string(), error.message());
    error.kind()
}

/// Writes a data set of `count` images with sketches.
pub fn write_dataset(file: &Path, count: usize) {
    let size = count * 28 * 28;
    let entry = |name: &str, begin: usize| {
        format!(r#""{name}":{{"dtype":"U8","shape":[{count},28,28,1],"data_offsets":[{begin},{}]}}"#, begin + size)
    };
    let mut header = format!("{{{},{}}}", entry("images", 0), entry("sketch", size));
    header += &" ".repeat((8 - header.len() % 8) % 8);
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend((0..size).map(|i| (i * 7 % 251) as u8));
    bytes.extend((0..size).map(|i| if i % 28 < 14 { 255 } else { 0 }));
    std::fs::write(file, bytes).unwrap();
}

/// What a small module is to be.
pub const CONFIG: &str = r#"{"prediction_channels": 1,
    "modalities": [{"name": "sketch", "channels": 1}],
    "net": {"sample_size": 28, "block_out_channels": [8, 8], "layers_per_block": 1, "norm_num_groups": 4,
            "down_block_types": ["DownBlock2D", "DownBlock2D"], "up_block_types": ["UpBlock2D", "UpBlock2D"]}}"#;
