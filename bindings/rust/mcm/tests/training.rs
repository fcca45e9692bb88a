//! Training on batches, data sets and banks.
mod support;

use std::ops::ControlFlow;

use mcm::*;
use support::*;

fn trainer(model: &Model) -> Trainer {
    let options = TrainerOptions { total_steps: 4, warmup_steps: 1, ..Default::default() };
    Trainer::new(model, CONFIG, &options).unwrap()
}

#[test]
fn batches() {
    let model = model();
    let mut trainer = trainer(&model);
    let pixels = [128u8; 784];
    let images = [Image::new(&pixels, 28, 28, 1).unwrap(); 2];
    let conditions = [Condition { modality: "sketch", images: &images }];
    let batch = Batch { examples: Examples::Images(&images), conditions: &conditions, prompt: None };
    let before = trainer.buffers().unwrap().parameters.to_vec();
    let report = trainer.step(&batch).unwrap();
    assert_eq!((report.step, report.examples), (1, 2));
    assert!(report.loss > 0.0 && report.learning_rate > 0.0);
    assert_ne!(trainer.buffers().unwrap().parameters, before);
    let losses = trainer.evaluate(&batch, false).unwrap();
    assert_eq!(losses.loss, trainer.evaluate(&batch, false).unwrap().loss);

    // The same examples as samples.
    let values = model.encode(&images).unwrap();
    let extent = Extent { batch: 2, width: 28, height: 28 };
    let examples = Examples::Samples { values: &values, extent };
    let evaluated = trainer.evaluate(&Batch { examples, conditions: &conditions, prompt: None }, false).unwrap();
    assert_eq!(evaluated.loss, losses.loss);
    let examples = Examples::Samples { values: &values[1..], extent };
    let wrong = trainer.step(&Batch { examples, conditions: &conditions, prompt: None });
    assert_eq!(refused(wrong, "1567"), ErrorKind::Size);

    // Gradients are the caller's to change.
    trainer.accumulate(&batch).unwrap();
    assert_eq!(trainer.state().unwrap().pending, 2);
    trainer.buffers_mut().unwrap().gradients.iter_mut().for_each(|gradient| *gradient /= 2.0);
    assert_eq!(trainer.apply().unwrap().step, 2);
    assert_eq!(refused(trainer.apply(), ""), ErrorKind::State);
    trainer.accumulate(&batch).unwrap();
    trainer.clear().unwrap();
    assert_eq!(trainer.state().unwrap().pending, 0);
    assert!(trainer.losses(LossesOf::Timesteps(0)).unwrap().base_loss.is_finite());
    trainer.reset_losses().unwrap();
    assert_eq!(trainer.losses(LossesOf::Given(0)).unwrap().count, 0);
    refused(trainer.losses(LossesOf::Withheld(9)), "9");
}

#[test]
fn parameters_are_named() {
    let trainer = trainer(&model());
    let layout = trainer.parameters().unwrap();
    let count = trainer.state().unwrap().parameter_count;
    assert_eq!(layout.iter().map(|tensor| tensor.count).sum::<u64>(), count);
    assert!(layout.iter().any(|tensor| tensor.name == "conv_in.weight" && tensor.shape.len() == 4));
    let buffers = trainer.buffers().unwrap();
    assert_eq!((buffers.parameters.len() as u64, buffers.ema.unwrap().len() as u64), (count, count));
    assert_eq!(trainer.modalities().unwrap()[0].name, "sketch");
}

#[test]
fn data_sets_banks_and_files() {
    let model = model();
    let file = scratch("training.safetensors");
    write_dataset(&file, 8);
    let dataset = Dataset::open(&file).unwrap();
    let info = dataset.info().unwrap();
    assert_eq!((info.count, info.width, info.modalities.len(), &info.modalities[0].name[..]), (8, 28, 1, "sketch"));

    let path = scratch("training.bank");
    let _ = std::fs::remove_file(&path);
    let options = BankOptions { count: 16, ..Default::default() };
    Bank::record(&model, &dataset, &path, &options, |_, _| ControlFlow::Continue(())).unwrap();
    let bank = Bank::open(&path).unwrap();
    assert_eq!(bank.info().unwrap().base_fingerprint, model.info().unwrap().fingerprint);

    // A bank stands for its model.
    let options = TrainerOptions { total_steps: 4, warmup_steps: 1, threads: 1, ..Default::default() };
    let mut trainer = Trainer::new(&bank, CONFIG, &options).unwrap();
    trainer.step_dataset(&dataset, Some(&bank), 4).unwrap();
    let saved = scratch("training.trainer");
    trainer.save(&saved).unwrap();
    let mut resumed = Trainer::resume(&bank, &saved, &ResumeOptions::default()).unwrap();

    let mut steps = Vec::new();
    let kept = scratch("training.kept");
    let options = TrainOptions { batch: 4, save_path: Some(&kept), ..Default::default() };
    trainer
        .train(&dataset, Some(&bank), &options, |trainer, report| {
            steps.push((report.step, trainer.buffers().unwrap().parameters.len()));
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(steps.iter().map(|step| step.0).collect::<Vec<_>>(), [2, 3, 4]);
    assert_eq!(Trainer::resume(&bank, &kept, &ResumeOptions::default()).unwrap().state().unwrap().step, 4);
    resumed.train(&dataset, Some(&bank), &options, |_, _| ControlFlow::Continue(())).unwrap();
    assert_eq!(resumed.buffers().unwrap().parameters, trainer.buffers().unwrap().parameters);
    let losses = trainer.evaluate_dataset(&dataset, Some(&bank), 8, true).unwrap();
    assert_eq!(losses.loss, resumed.evaluate_dataset(&dataset, Some(&bank), 8, true).unwrap().loss);
    let mut other = Trainer::new(&bank, CONFIG, &TrainerOptions::default()).unwrap();
    assert_eq!(refused(other.accumulate_dataset(&dataset, None, 4), "bank"), ErrorKind::State);

    let module = scratch("training.mcm.safetensors");
    trainer.write_modulator(&module, true, ModuleFormat::F16).unwrap();
    Modulator::open(&module).unwrap().check(&model).unwrap();
    trainer.modulator(true).unwrap().check(&model).unwrap();
    Trainer::from_module(&model, &module, &TrainerOptions::default()).unwrap();
    refused(Trainer::new(&model, "{", &TrainerOptions::default()), "");
    refused(Trainer::new(&model, "\0", &TrainerOptions::default()), "zero");
    let encoded = scratch("encoded.safetensors");
    dataset.encode(&model, &encoded, |_, _| ControlFlow::Continue(())).unwrap();
    assert_eq!(Dataset::open(&encoded).unwrap().info().unwrap().count, 8);

    // Places that cannot be written to: at once, and nothing is lost.
    let nowhere = std::path::Path::new("/nowhere/file");
    let go_on = |_, _| ControlFlow::Continue(());
    assert_eq!(refused(trainer.save(nowhere), "/nowhere/file"), ErrorKind::Io);
    assert_eq!(refused(trainer.write_modulator(nowhere, true, ModuleFormat::F32), "/nowhere/file"), ErrorKind::Io);
    assert_eq!(refused(dataset.encode(&model, nowhere, go_on), "/nowhere/file"), ErrorKind::Io);
    let options = BankOptions { count: 16, ..Default::default() };
    assert_eq!(refused(Bank::record(&model, &dataset, nowhere, &options, go_on), "/nowhere/file"), ErrorKind::Io);
    let options = TrainOptions { batch: 4, until_step: 8, save_path: Some(nowhere), ..Default::default() };
    let result = other.train(&dataset, Some(&bank), &options, |_, _| ControlFlow::Continue(()));
    assert_eq!(refused(result, "/nowhere/file"), ErrorKind::Io);
    assert_eq!(other.state().unwrap().step, 0);
}
