//! Send and Sync as the header promises: what never changes is shared, what does belongs to one thread at a time.
mod support;

use mcm::*;
use support::*;

fn send<T: Send + 'static>() {}
fn shared<T: Send + Sync + 'static>() {}

#[test]
fn as_the_header_promises() {
    shared::<Model>();
    shared::<ControlNet>();
    shared::<Modulator>();
    shared::<Prompt>();
    shared::<Scheduler>();
    shared::<Dataset>();
    shared::<Bank>();
    shared::<Error>();
    shared::<Pixels>();
    shared::<Image<'static>>();
    send::<Session>();
    send::<Trainer>();
    send::<Rng>();
}

#[test]
fn threads_share_a_model() {
    let model = model();
    let mut session = session(&model);
    let draw = |session: &mut Session| {
        session.seed(2).unwrap();
        session.run().unwrap();
        session.result(0).unwrap()
    };
    let expected = draw(&mut session);
    // A session goes to another thread, and others are made there of the same model.
    std::thread::scope(|scope| {
        let moved = scope.spawn(move || draw(&mut session));
        let made = scope.spawn(|| draw(&mut support::session(&model)));
        assert_eq!((moved.join().unwrap(), made.join().unwrap()), (expected.clone(), expected.clone()));
    });
}

#[test]
fn a_session_outlives_its_model() {
    let mut session = session(&model());
    session.seed(1).unwrap();
    session.run().unwrap();
}
