//! Bad input: errors of the right kind, with one line.
mod support;

use mcm::*;
use support::*;

#[test]
fn texts() {
    assert_eq!(refused(Model::open("a\0b"), "zero character at byte 1"), ErrorKind::InvalidArgument);
    assert_eq!(refused(Pixels::read_png("a\0"), "zero character"), ErrorKind::InvalidArgument);
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        let path = std::ffi::OsStr::from_bytes(b"\xff");
        assert_eq!(refused(Modulator::open(path), "not UTF-8"), ErrorKind::InvalidArgument);
    }
    let mut session = Session::new(&model(), &DDIM).unwrap();
    let attachment = session.attach(&module(), &AttachOptions::default()).unwrap();
    let pixels = [0; 4];
    let images = [Image::new(&pixels, 2, 2, 1).unwrap()];
    let condition = |modality| Condition { modality, images: &images };
    assert_eq!(refused(session.set_condition(attachment, condition("a\0")), "zero"), ErrorKind::InvalidArgument);
    assert_eq!(refused(session.set_condition(attachment, condition("smell")), "smell"), ErrorKind::Incompatible);
    let options = SessionOptions { scheduler_options: Some("{\0}"), ..DDIM };
    assert_eq!(refused(Session::new(&model(), &options), "scheduler_options"), ErrorKind::InvalidArgument);
    let options = SessionOptions { scheduler_options: Some("{"), ..DDIM };
    assert_eq!(refused(Session::new(&model(), &options), ""), ErrorKind::Format);
}

#[test]
fn files() {
    assert_eq!(refused(Model::open("/nowhere"), "/nowhere"), ErrorKind::Io);
    assert_eq!(refused(Dataset::open("/nowhere"), "/nowhere"), ErrorKind::Io);
    assert_eq!(refused(Bank::open("/nowhere"), "/nowhere"), ErrorKind::Io);
    assert_eq!(refused(ControlNet::open("/nowhere", &ModelOptions::default()), "/nowhere"), ErrorKind::Io);
    assert_eq!(refused(Modulator::open(fashion("README.md")), "README.md"), ErrorKind::Format);
    let error = Model::open("/nowhere").unwrap_err();
    assert_eq!(error.status(), 100);
    assert_eq!(format!("{error:?}"), format!("Io: {error}"));
    let _: &dyn std::error::Error = &error;
    let image = Pixels::new(vec![0; 4], 2, 2, 1).unwrap();
    assert_eq!(refused(image.write_png("/nowhere/out.png"), "/nowhere/out.png"), ErrorKind::Io);
    let none: [(&str, &[u8]); 0] = [];
    assert_eq!(refused(Model::open_memory(&none, &ModelOptions::default()), ""), ErrorKind::Io);
    let options = ModelOptions { tokenizer: Some("a\0".as_ref()), ..Default::default() };
    assert_eq!(refused(Model::open_with(fashion("base"), &options), "zero"), ErrorKind::InvalidArgument);
    let options = ModelOptions { threads: 100_000, ..Default::default() };
    assert_eq!(refused(Model::open_with(fashion("base"), &options), "100000"), ErrorKind::InvalidArgument);
}

#[test]
fn images() {
    let pixels = vec![0; 12];
    assert_eq!(refused(Image::new(&pixels, 4, 4, 1), "12 elements of an image, expected 16"), ErrorKind::Size);
    assert_eq!(refused(Image::new(&pixels, 0, 4, 1), "no side of 0"), ErrorKind::Size);
    let largest = u32::MAX;
    assert_eq!(refused(Image::new(&pixels, largest, largest, largest), "memory"), ErrorKind::Size);
    assert_eq!(refused(Image::with_stride(&pixels, 4, 2, 1, 3), "row_stride is 3"), ErrorKind::Size);
    assert_eq!(refused(Image::with_stride(&pixels, 4, 3, 1, 5), "at least 14"), ErrorKind::Size);
    assert_eq!(refused(Image::with_stride(&pixels, 4, 3, 1, usize::MAX), "memory"), ErrorKind::Size);
    let floats = [0.0; 4];
    assert_eq!(refused(Image::from_f32_with_stride(&floats, 4, 1, 1, usize::MAX), "memory"), ErrorKind::Size);
    let image = Image::from_f32(&floats, 2, 2, 1).unwrap();
    assert_eq!(refused(image.write_png(scratch("float.png")), ""), ErrorKind::InvalidArgument);
    assert_eq!(refused(Pixels::new(pixels, 1, 1, 1), "12 elements"), ErrorKind::Size);
    assert_eq!(refused(model().encode(&[]), "at least one"), ErrorKind::InvalidArgument);
    assert_eq!(refused(model().encode(&[image]), ""), ErrorKind::Size);
}

#[test]
fn lengths() {
    let (model, module) = (model(), module());
    let extent = model.info().unwrap().extent(1);
    let x = vec![0.0; 784];
    let mut e = vec![0.0; 784];
    let options = PredictOptions::default();
    assert_eq!(refused(model.predict(extent, &x, &[], &options, &mut e), "timesteps"), ErrorKind::Size);
    assert_eq!(refused(model.predict(extent, &x[1..], &[1.0], &options, &mut e), "783"), ErrorKind::Size);
    assert_eq!(refused(model.predict(extent, &x, &[1.0], &options, &mut e[1..]), "783"), ErrorKind::Size);
    let wide = Extent { width: u32::MAX, height: u32::MAX, batch: 1 };
    refused(model.predict(wide, &x, &[1.0], &options, &mut e), "");
    let options = PredictOptions { time_ids: &[1.0], ..Default::default() };
    assert_eq!(refused(model.predict(extent, &x, &[1.0], &options, &mut e), "time_ids"), ErrorKind::Size);
    let modulated = module.modulate(&model, extent, &x[1..], &[1.0], &[], 1.0, &mut e);
    assert_eq!(refused(modulated, "sample has 783"), ErrorKind::Size);
    let modulated = module.modulate(&model, extent, &x, &[1.0; 2], &[], 1.0, &mut e);
    assert_eq!(refused(modulated, "timesteps has 2"), ErrorKind::Size);
    assert_eq!(refused(model.decode(28, 28, &x[1..]), "783"), ErrorKind::Size);
    refused(model.decode(u32::MAX, u32::MAX, &x), "");

    let options = SchedulerOptions { kind: SchedulerKind::Ddpm, steps: 5, ..Default::default() };
    let scheduler = Scheduler::new(&model, &options).unwrap();
    let mut step = |step, noise: Option<&[f32]>, history: &mut [f32], x0: Option<&mut [f32]>| {
        let buffers = StepBuffers { sample: &mut e, prediction: &x, noise, history, x0 };
        scheduler.step(step, 1, buffers)
    };
    assert_eq!(refused(step(0, Some(&x[1..]), &mut [], None), "noise has 783"), ErrorKind::Size);
    assert_eq!(refused(step(0, Some(&x), &mut [], Some(&mut [0.0])), "x0 has 1"), ErrorKind::Size);
    assert_eq!(refused(step(0, None, &mut [], None), "noise"), ErrorKind::InvalidArgument);
    assert_eq!(refused(step(9, Some(&x), &mut [], None), "9"), ErrorKind::InvalidArgument);
    step(0, Some(&x), &mut [], None).unwrap();
    let keeps = SchedulerOptions { kind: SchedulerKind::DpmSolverMultistep, ..options };
    let buffers = StepBuffers { sample: &mut e, prediction: &x, noise: None, history: &mut [0.0], x0: None };
    let kept = Scheduler::new(&model, &keeps).unwrap().step(0, 1, buffers);
    assert_eq!(refused(kept, "history"), ErrorKind::Size);
    assert_eq!(refused(scheduler.add_noise(1, &x, &x[1..], &mut e), "noise has 783"), ErrorKind::Size);
    assert_eq!(refused(scheduler.add_noise(1, &x, &x, &mut e[1..]), "out has 783"), ErrorKind::Size);
    refused(scheduler.add_noise(-1, &x, &x, &mut e), "");
    refused(scheduler.step_info(9), "9");
    Rng::new(1).unwrap().normal(&mut []).unwrap();
    refused(Prompt::from_states([2, 3, 4], &x, 0, &[]), "784");
    refused(Prompt::encode(&model, &["a"], &PromptOptions::default()), "");
}

#[test]
fn sessions() {
    let model = model();
    let mut session = session(&model);
    assert_eq!(refused(session.next_step(), "seed"), ErrorKind::State);
    assert_eq!(session.steps().count(), 1);
    assert_eq!(refused(session.x0(), ""), ErrorKind::State);
    assert_eq!(refused(session.result(0), "0 of 6"), ErrorKind::State);
    assert_eq!(refused(session.seed_each(&[]), ""), ErrorKind::Size);
    assert_eq!(refused(session.seed_each(&[1, 2]), "2"), ErrorKind::Size);
    session.seed(1).unwrap();
    assert_eq!(refused(session.decode(Decode::Sample, 1), "1"), ErrorKind::InvalidArgument);
    assert_eq!(refused(session.set_x(&[f32::NAN; 784]), ""), ErrorKind::InvalidArgument);
    assert_eq!(refused(session.set_x(&[]), ""), ErrorKind::Size);
    refused(session.set_class_input(&[1.0]), "");
    refused(session.set_time_ids(&[1.0], &[]), "negative has 0");
    refused(session.set_prompt(&Prompt::from_states([1, 1, 1], &[0.0], 0, &[]).unwrap(), None), "");
    let other = Session::new(&model, &DDIM).unwrap().attach(&module(), &AttachOptions::default()).unwrap();
    assert_eq!(refused(session.set_weight(other, 1.0), "another session's"), ErrorKind::InvalidArgument);
    let window = AttachOptions { begin: 1.0, end: 0.0, ..Default::default() };
    assert_eq!(refused(session.attach(&module(), &window), ""), ErrorKind::InvalidArgument);
    let options = SessionOptions { steps: 5000, ..DDIM };
    assert_eq!(refused(Session::new(&model, &options), "5000"), ErrorKind::InvalidArgument);
    let options = SessionOptions { batch: u32::MAX, ..DDIM };
    refused(Session::new(&model, &options), "");
}

/// The message is the failing thread's own.
#[test]
fn messages_of_threads() {
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for call in 0..50 {
                    let path = format!("/nowhere/{thread}/{call}");
                    refused(Modulator::open(&path), &path);
                }
            });
        }
    });
}
