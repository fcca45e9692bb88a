//! The three levels, and what can be seen and changed between steps.
mod support;

use std::ops::ControlFlow;

use mcm::*;
use support::*;

/// x at the end, stepped with `next_step`.
fn stepped(seed: u64) -> (Vec<f32>, Pixels) {
    let mut session = session(&model());
    session.seed(seed).unwrap();
    let mut number = 0;
    while let Some(step) = session.next_step().unwrap() {
        number += 1;
        assert_eq!((step.number(), step.steps()), (number, 6));
    }
    assert_eq!(number, 6);
    assert!(session.next_step().unwrap().is_none());
    (session.x().unwrap(), session.result(0).unwrap())
}

#[test]
fn loops_agree() {
    let (x, image) = stepped(3);
    let model = model();
    let mut session = session(&model);

    session.seed(3).unwrap();
    let timesteps: Vec<i32> = session.steps().map(|step| step.unwrap().timestep()).collect();
    assert_eq!(session.x().unwrap(), x);
    let scheduler = Scheduler::new(&model, &SchedulerOptions { kind: SchedulerKind::Ddim, steps: 6, ..default() });
    assert_eq!(timesteps, scheduler.unwrap().timesteps().unwrap());

    session.seed(3).unwrap();
    session.run().unwrap();
    assert_eq!(session.x().unwrap(), x);

    session.seed(3).unwrap();
    let mut seen = Vec::new();
    session
        .run_with(|step| {
            seen.push(step.timestep());
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!((session.x().unwrap(), seen), (x, timesteps));
    assert_eq!(session.result(0).unwrap(), image);
}

fn default<T: Default>() -> T {
    T::default()
}

#[test]
fn one_call_agrees() {
    let sketch = Pixels::read_png(fashion("conditions/00_sketch.png")).unwrap();
    let images = [sketch.as_image()];
    let conditions = [Condition { modality: "sketch", images: &images }];
    let module = module();
    let conditionings = [Conditioning { modulator: &module, conditions: &conditions, options: default() }];
    let options = GenerateOptions { session: DDIM, conditionings: &conditionings, seeds: &[3], ..default() };
    let mut steps = 0;
    let drawn = generate(&model(), &options, |_| {
        steps += 1;
        ControlFlow::Continue(())
    });
    assert_eq!((drawn.unwrap(), steps), (vec![stepped(3).1], 6));
}

#[test]
fn a_loop_of_ones_own_agrees() {
    let (model, module) = (model(), module());
    let options = SchedulerOptions { kind: SchedulerKind::Ddim, steps: 6, ..default() };
    let scheduler = Scheduler::new(&model, &options).unwrap();
    let (info, run) = (model.info().unwrap(), scheduler.info().unwrap());
    let extent = info.extent(1);
    let sketch = Pixels::read_png(fashion("conditions/00_sketch.png")).unwrap();
    let images = [sketch.as_image()];
    let conditions = [Condition { modality: "sketch", images: &images }];

    let mut x = vec![0.0; 28 * 28];
    Rng::new(3).unwrap().normal(&mut x).unwrap();
    let mut e = vec![0.0; x.len()];
    let mut history = vec![0.0; run.history_count as usize * x.len()];
    for i in 0..run.steps {
        let step = scheduler.step_info(i).unwrap();
        let t = [step.timestep];
        let input: Vec<f32> = x.iter().map(|value| value * step.input_scale).collect();
        model.predict(extent, &input, &t, &default(), &mut e).unwrap();
        module.modulate(&model, extent, &input, &t, &conditions, 1.0, &mut e).unwrap();
        let buffers = StepBuffers { sample: &mut x, prediction: &e, noise: None, history: &mut history, x0: None };
        scheduler.step(i, 1, buffers).unwrap();
    }
    let (expected, image) = stepped(3);
    assert_eq!(x, expected);
    assert_eq!(model.decode(28, 28, &x).unwrap(), image);
}

#[test]
fn steps_show_what_they_did() {
    let mut session = session(&model());
    session.seed(1).unwrap();
    let step = session.next_step().unwrap().unwrap();
    let (x, x0, preview) = (step.x().unwrap(), step.x0().unwrap(), step.preview(0).unwrap());
    assert_eq!((x.len(), x0.len(), preview.data().len()), (784, 784, 784));
    let mut buffer = vec![0.0; 784];
    step.x0_into(&mut buffer).unwrap();
    assert_eq!(buffer, x0);
    assert_eq!(refused(step.x0_into(&mut buffer[1..]), "783"), ErrorKind::Size);
    assert_eq!(session.x().unwrap(), x);
    assert_eq!(session.decode(Decode::X0, 0).unwrap(), preview);
    let mut pixels = vec![0; 784];
    session.decode_into(Decode::X0, 0, &mut pixels).unwrap();
    assert_eq!(pixels, preview.data());
}

#[test]
fn an_item_that_has_passed_says_so() {
    let mut session = session(&model());
    session.seed(1).unwrap();
    let mut steps = session.steps();
    assert_eq!(steps.size_hint(), (1, Some(6)));
    let first = steps.next().unwrap().unwrap();
    assert!(first.x().is_ok());
    let second = steps.next().unwrap().unwrap();
    assert_eq!(refused(first.x(), "step 1 has passed, 2 are done"), ErrorKind::State);
    assert!(second.x().is_ok());
    assert_eq!(steps.count(), 4);
}

#[test]
fn edits_between_steps_show() {
    let (x, _) = stepped(1);
    let mut session = Session::new(&model(), &DDIM).unwrap();
    let attachment = session.attach(&module(), &default()).unwrap();
    session.set_condition_png(attachment, "sketch", fashion("conditions/00_sketch.png")).unwrap();
    session.seed(1).unwrap();
    while let Some(step) = session.next_step().unwrap() {
        if step.number() == 3 {
            session.set_weight(attachment, 0.0).unwrap();
        }
    }
    assert_ne!(session.x().unwrap(), x);
    session.set_weight(attachment, 1.0).unwrap();
    session.set_window(attachment, 0.0, 1.0).unwrap();
    session.seed(1).unwrap();
    session.run().unwrap();
    assert_eq!(session.x().unwrap(), x);
    let changed: Vec<f32> = x.iter().map(|value| value / 2.0).collect();
    session.set_x(&changed).unwrap();
    assert_eq!(session.x().unwrap(), changed);
    session.clear_condition(attachment, "sketch").unwrap();
    session.clear_conditions(attachment).unwrap();
    session.detach(attachment).unwrap();
    refused(session.set_weight(attachment, 1.0), "");
}

#[test]
fn an_image_is_the_same_in_any_batch() {
    let model = model();
    let mut session = Session::new(&model, &SessionOptions { batch: 2, ..DDIM }).unwrap();
    session.seed_each(&[5, 6]).unwrap();
    session.run().unwrap();
    let second = session.result(1).unwrap();
    let mut alone = Session::new(&model, &DDIM).unwrap();
    alone.seed(6).unwrap();
    alone.run().unwrap();
    assert_eq!(alone.result(0).unwrap(), second);
}

#[test]
fn models_and_modules_are_described() {
    let (model, module) = (model(), module());
    let info = model.info().unwrap();
    assert_eq!((info.width, info.height, info.channels, info.scale), (28, 28, 1, 1));
    assert_eq!((info.prediction_type, info.fingerprint.len()), (Some(PredictionType::Epsilon), 16));
    assert!(model.memory().unwrap().weights >= info.memory_bytes);
    module.check(&model).unwrap();
    let described = module.info().unwrap();
    assert_eq!(described.base_fingerprint, info.fingerprint);
    let names: Vec<_> = described.modalities.iter().map(|modality| (&modality.name[..], modality.encoding)).collect();
    assert_eq!(names, [("sketch", Some(Encoding::Grey)), ("segmentation", Some(Encoding::OneHot))]);
    assert_eq!(version().split('.').count(), 3);
}

#[test]
fn from_memory_as_from_files() {
    let names = ["model_index.json", "unet/config.json", "scheduler/scheduler_config.json"];
    let weights = "unet/diffusion_pytorch_model.safetensors";
    let read = |name: &str| std::fs::read(fashion("base").join(name)).unwrap();
    let contents: Vec<_> = names.iter().chain([&weights]).map(|name| (*name, read(name))).collect();
    let files: Vec<_> = contents.iter().map(|(name, content)| (*name, &content[..])).collect();
    let in_memory = Model::open_memory(&files, &ModelOptions::default()).unwrap();
    assert_eq!(in_memory.info().unwrap(), model().info().unwrap());
    let bytes = std::fs::read(fashion("module.mcm.safetensors")).unwrap();
    assert_eq!(Modulator::open_memory(&bytes).unwrap().info().unwrap(), module().info().unwrap());
}

#[test]
fn images_with_gaps_and_floats_are_taken() {
    let sketch = Pixels::read_png(fashion("conditions/00_sketch.png")).unwrap();
    let mut gaps = Vec::new();
    for row in sketch.data().chunks(28) {
        gaps.extend(row);
        gaps.extend([99; 4]);
    }
    let floats: Vec<f32> = sketch.data().iter().map(|value| f32::from(*value) / 255.0).collect();
    let model = model();
    let plain = model.encode(&[sketch.as_image()]).unwrap();
    let with_gaps = Image::with_stride(&gaps, 28, 28, 1, 32).unwrap();
    assert_eq!(model.encode(&[with_gaps]).unwrap(), plain);
    // The last row's gap may be missing.
    assert!(Image::with_stride(&gaps[..gaps.len() - 4], 28, 28, 1, 32).is_ok());
    let encoded = model.encode(&[Image::from_f32(&floats, 28, 28, 1).unwrap()]).unwrap();
    assert!(encoded.iter().zip(&plain).all(|(a, b)| (a - b).abs() < 1e-5));
    assert_eq!(model.decode(28, 28, &plain).unwrap(), sketch);
    let file = scratch("copy.png");
    with_gaps.write_png(&file).unwrap();
    assert_eq!(Pixels::read_png(&file).unwrap(), sketch);
}

#[test]
fn randn_is_torchs() {
    let mut rng = Rng::new(0).unwrap();
    let mut values = [0.0; 4];
    rng.normal(&mut values).unwrap();
    // torch.manual_seed(0); torch.randn(4)
    assert_eq!(values.map(|value| (value * 1e4).round() as i32), [15410, -2934, -21788, 5684]);
}

#[test]
fn prompts_of_ones_own_numbers() {
    let states: Vec<f32> = (0..24).map(|i| i as f32).collect();
    let prompt = Prompt::from_states([2, 3, 4], &states, 2, &[1.0; 4]).unwrap();
    let info = prompt.info().unwrap();
    assert_eq!((info.count, info.tokens, info.channels, info.pooled_channels), (2, 3, 4, 2));
    assert_eq!((prompt.states().unwrap(), prompt.pooled().unwrap()), (states, vec![1.0; 4]));
}
