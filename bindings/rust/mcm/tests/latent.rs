//! A model that reads texts and works on latents, if MCM_TEST_MODELS names the folder that tools/tiny_models.py wrote.
mod support;

use std::ops::ControlFlow;
use std::path::PathBuf;

use mcm::*;
use support::*;

fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("MCM_TEST_MODELS").map(PathBuf::from);
    if folder.is_none() {
        println!("MCM_TEST_MODELS is not set");
    }
    folder
}

const STEPS: SessionOptions<'static> = SessionOptions { steps: 4, ..DDIM };

#[test]
fn texts_are_drawn() {
    let folder = if let Some(folder) = folder() { folder } else { return };
    let model = Model::open(folder.join("model")).unwrap();
    let info = model.info().unwrap();
    assert!(info.encodes_text && info.scale > 1);
    let texts = PromptOptions { weights: true, ..Default::default() };
    let prompt = Prompt::encode(&model, &["a (red:1.3) boot"], &texts).unwrap();
    let described = prompt.info().unwrap();
    assert_eq!((described.count, described.channels, described.truncated), (1, info.text_channels, false));
    let again = [1, described.tokens, described.channels];
    let copied = Prompt::from_states(again, &prompt.states().unwrap(), 0, &prompt.pooled().unwrap()).unwrap();

    let mut session = Session::new(&model, &STEPS).unwrap();
    assert_eq!(refused(session.set_condition_png(other(&model), "a", "b"), "another"), ErrorKind::InvalidArgument);
    session.set_prompt(&copied, None).unwrap();
    session.seed(2).unwrap();
    let mut previews = Vec::new();
    for step in session.steps() {
        previews.push(step.unwrap().preview(0).unwrap());
    }
    let state = session.state().unwrap();
    assert_eq!((previews.len(), previews[0].width(), previews[0].channels()), (4, state.width, 3));
    let drawn = session.result(0).unwrap();
    assert_eq!(drawn.width(), state.width * info.scale);

    let options = GenerateOptions {
        session: STEPS,
        prompt: "a (red:1.3) boot",
        prompt_options: texts,
        seeds: &[2],
        ..Default::default()
    };
    let called = generate(&model, &options, |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(called, [drawn]);
    let options = GenerateOptions { negative_prompt: Some("a hat"), ..options };
    assert_ne!(generate(&model, &options, |_| ControlFlow::Continue(())).unwrap(), called);
}

fn other(model: &Model) -> Attachment {
    let bytes = std::fs::read(folder().unwrap().join("module.mcm.safetensors")).unwrap();
    let module = Modulator::open_memory(&bytes).unwrap();
    Session::new(model, &STEPS).unwrap().attach(&module, &AttachOptions::default()).unwrap()
}

#[test]
fn images_masks_and_controlnets_are_followed() {
    let folder = if let Some(folder) = folder() { folder } else { return };
    let model = Model::open(folder.join("model")).unwrap();
    let controlnet = ControlNet::open(folder.join("controlnet"), &ModelOptions::default()).unwrap();
    let prompt = Prompt::encode(&model, &["a boot"], &PromptOptions::default()).unwrap();
    let pixels: Vec<u8> = (0..8 * 8 * 3).map(|i| (i * 5 % 256) as u8).collect();
    let images = [Image::new(&pixels, 8, 8, 3).unwrap()];
    let mask = [Image::new(&pixels[..64], 8, 8, 1).unwrap()];

    let mut drawn = Vec::new();
    for kind in 0..4 {
        let strength = if kind == 1 { 0.75 } else { 1.0 };
        let mut session = Session::new(&model, &SessionOptions { strength, ..STEPS }).unwrap();
        session.set_prompt(&prompt, Some(&prompt)).unwrap();
        session.set_image(if kind > 0 { &images } else { &[] }).unwrap();
        session.set_mask(if kind > 1 { &mask } else { &[] }).unwrap();
        if kind > 2 {
            session.attach_controlnet(&controlnet, &images, false, &AttachOptions::default()).unwrap();
        }
        session.seed(1).unwrap();
        session.run().unwrap();
        drawn.push(session.result(0).unwrap());
    }
    for k in 1..drawn.len() {
        assert_ne!(drawn[k - 1], drawn[k], "{k}");
    }
    let mut session = Session::new(&model, &STEPS).unwrap();
    let wrong = Image::new(&pixels[..48], 4, 4, 3).unwrap();
    assert_eq!(refused(session.set_image(&[wrong]), "4 x 4"), ErrorKind::Size);
    assert_eq!(refused(session.set_mask(&images), ""), ErrorKind::Size);
    let sample = model.encode(&images).unwrap();
    let info = model.info().unwrap();
    let decoded = model.decode(8 / info.scale, 8 / info.scale, &sample).unwrap();
    assert_eq!((decoded.width(), decoded.channels()), (8, 3));

    let mut prediction = vec![0.0; sample.len()];
    let options = PredictOptions { prompt: Some(&prompt), ..Default::default() };
    let extent = Extent { batch: 1, width: 8 / info.scale, height: 8 / info.scale };
    model.predict(extent, &sample, &[10.0], &options, &mut prediction).unwrap();
    let none = PredictOptions::default();
    assert_eq!(refused(model.predict(extent, &sample, &[10.0], &none, &mut prediction), ""), ErrorKind::State);
}
