//! Closures that C calls: they cancel, and their panics go on behind C's frames.
mod support;

use std::ops::ControlFlow;
use std::panic::{catch_unwind, AssertUnwindSafe};

use mcm::*;
use support::*;

#[test]
fn a_run_that_is_cancelled_can_go_on() {
    let mut session = session(&model());
    session.seed(1).unwrap();
    let stopped = session.run_with(|step| match step.number() {
        2 => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    assert_eq!(refused(stopped, ""), ErrorKind::Cancelled);
    assert_eq!(session.state().unwrap().step, 2);
    assert_eq!(refused(session.result(0), "2 of 6 steps are done, expected all"), ErrorKind::State);
    session.run().unwrap();
    assert!(session.result(0).is_ok());
}

#[test]
fn a_panic_goes_through() {
    let mut session = session(&model());
    session.seed(1).unwrap();
    let mut previews = 0;
    let panic = catch_unwind(AssertUnwindSafe(|| {
        session.run_with(|step| {
            previews += step.preview(0).unwrap().data().len();
            assert!(step.number() < 3, "the caller's own words");
            ControlFlow::Continue(())
        })
    }));
    assert_eq!(panic.unwrap_err().downcast_ref::<&str>(), Some(&"the caller's own words"));
    assert_eq!((session.state().unwrap().step, previews), (3, 3 * 784));
    session.run().unwrap();
}

#[test]
fn a_panic_of_training_and_recording_goes_through() {
    let file = scratch("callbacks.safetensors");
    write_dataset(&file, 8);
    let (model, dataset) = (model(), Dataset::open(&file).unwrap());
    let options = TrainerOptions { total_steps: 9, ..Default::default() };
    let mut trainer = Trainer::new(&model, CONFIG, &options).unwrap();
    let options = TrainOptions { batch: 4, ..Default::default() };
    let panic = catch_unwind(AssertUnwindSafe(|| {
        trainer.train(&dataset, None, &options, |trainer, report| {
            assert_eq!(trainer.state().unwrap().step, report.step);
            assert!(report.step < 2);
            ControlFlow::Continue(())
        })
    }));
    assert!(panic.is_err());
    assert_eq!(trainer.state().unwrap().step, 2);

    let bank = scratch("callbacks.bank");
    let options = BankOptions { count: 8, batch: 2, ..Default::default() };
    let panic = catch_unwind(|| Bank::record(&model, &dataset, &bank, &options, |_, _| panic!("stop")));
    assert!(panic.is_err());
    let cancelled = Bank::record(&model, &dataset, &bank, &options, |done, _| match done {
        4 => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    assert_eq!(refused(cancelled, ""), ErrorKind::Cancelled);
    Bank::record(&model, &dataset, &bank, &options, |_, _| ControlFlow::Continue(())).unwrap();
    assert_eq!(Bank::open(&bank).unwrap().info().unwrap().count, 8);
}
