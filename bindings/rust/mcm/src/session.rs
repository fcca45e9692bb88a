use std::ops::ControlFlow;
use std::os::raw::c_void;
use std::sync::atomic::{AtomicU64, Ordering};

use mcm_sys as sys;

use crate::callback::Callback;
use crate::convert::{buffer, count, expect_length};
use crate::error::check;
use crate::handle::Handle;
use crate::image::native;
use crate::session_options::SessionOptions;
use crate::step::{self, Decode, SessionState, Step, Steps};
use crate::{Error, Image, Memory, Model, Pixels, Prompt, Result};

/// One run of sampling over a batch.
///
/// ```no_run
/// # fn main() -> mcm::Result<()> {
/// # let model = mcm::Model::open("model")?;
/// let mut session = mcm::Session::new(&model, &mcm::SessionOptions { steps: 25, ..Default::default() })?;
/// session.seed(7)?;
/// while let Some(step) = session.next_step()? {
///     println!("{} of {}", step.number(), step.steps());
/// }
/// session.result(0)?.write_png("out.png")
/// # }
/// ```
///
/// It belongs to one thread at a time: it may be sent to another, not shared.
///
/// ```compile_fail,E0277
/// fn shared(session: &mcm::Session) {
///     std::thread::scope(|scope| {
///         scope.spawn(|| session.state());
///     });
/// }
/// ```
pub struct Session {
    pub(crate) handle: Handle<sys::mcm_session>,
    /// Tells its attachments from those of others.
    pub(crate) serial: u64,
}

impl Session {
    /// A session must be seeded before its first step. It keeps what it needs of its model.
    /// Errors: InvalidArgument, Size, Unsupported, Format, OutOfMemory.
    pub fn new(model: &Model, options: &SessionOptions<'_>) -> Result<Session> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let handle = options.with(|options| {
            // SAFETY: the options live through the call.
            Handle::create(|out| unsafe { sys::mcm_session_create(model.0.as_ptr(), options, out) })
        })?;
        Ok(Session { handle, serial: NEXT.fetch_add(1, Ordering::Relaxed) })
    }

    /// Starts a run, or starts over, with one generator for the whole batch: draws x_T and goes to step 0. Conditions
    /// and modules stay.
    pub fn seed(&mut self, seed: u64) -> Result<()> {
        self.seed_each(&[seed])
    }

    /// The same with one generator per image, so that image k is the same alone and in any batch.
    pub fn seed_each(&mut self, seeds: &[u64]) -> Result<()> {
        let count = count("seeds", seeds.len())?;
        // SAFETY: the length is passed along.
        check(unsafe { sys::mcm_session_seed(self.handle.as_ptr(), seeds.as_ptr(), count) })
    }

    /// Does a step; None when all are done. A lending loop: the step borrows the session until it was last used, and
    /// then the session may be changed. Errors: State before seeding; InvalidArgument if the result is not finite. A
    /// session whose step has failed is as before.
    ///
    /// ```compile_fail,E0499
    /// # fn test(mut session: mcm::Session) -> mcm::Result<()> {
    /// let first = session.next_step()?;
    /// let second = session.next_step()?; // error: the first is used below
    /// println!("{first:?}");
    /// # Ok(()) }
    /// ```
    pub fn next_step(&mut self) -> Result<Option<Step<'_>>> {
        step::advance(&self.handle)
    }

    /// The steps that are left, as an iterator, which borrows the session until it is dropped.
    ///
    /// ```no_run
    /// # fn test(mut session: mcm::Session) -> mcm::Result<()> {
    /// let timesteps: Vec<i32> = session.steps().map(|step| Ok(step?.timestep())).collect::<mcm::Result<_>>()?;
    /// # Ok(()) }
    /// ```
    ///
    /// ```compile_fail,E0499
    /// # fn test(mut session: mcm::Session) -> mcm::Result<()> {
    /// for step in session.steps() {
    ///     session.seed(1)?; // error: use next_step to change a session between steps
    /// }
    /// # Ok(()) }
    /// ```
    pub fn steps(&mut self) -> Steps<'_> {
        Steps::new(&self.handle)
    }

    /// Does the steps that are left.
    pub fn run(&mut self) -> Result<()> {
        self.run_with(|_| ControlFlow::Continue(()))
    }

    /// The same with a closure that is called after each step. If it breaks, the error's kind is Cancelled; the session
    /// stays at that step and can go on, also after a panic of the closure.
    pub fn run_with<F: FnMut(&Step<'_>) -> ControlFlow<()>>(&mut self, progress: F) -> Result<()> {
        struct Running<'s, F> {
            session: &'s Handle<sys::mcm_session>,
            /// Of the step that is being done.
            timestep: Option<i32>,
            progress: F,
        }

        unsafe extern "C" fn after_step<F: FnMut(&Step<'_>) -> ControlFlow<()>>(
            user: *mut c_void,
            _: *mut sys::mcm_session,
            number: u32,
            steps: u32,
        ) -> i32 {
            let call = |running: &mut Running<'_, F>| {
                let step = Step::new(running.session, number, steps, running.timestep);
                let flow = (running.progress)(&step);
                running.timestep = step::state(running.session).ok().and_then(|state| state.timestep);
                flow
            };
            // SAFETY: `user` is that of the Callback below, which waits for the call that calls this.
            unsafe { Callback::<Running<'_, F>>::answer(user, call) }
        }

        let timestep = self.state()?.timestep;
        let mut callback = Callback::new(Running { session: &self.handle, timestep, progress });
        // SAFETY: the callback lives through the call, and its user data are of the type that it expects.
        let status = unsafe { sys::mcm_session_run(self.handle.as_ptr(), Some(after_step::<F>), callback.user()) };
        callback.finish(status)
    }

    /// Where the session is.
    pub fn state(&self) -> Result<SessionState> {
        step::state(&self.handle)
    }

    /// What the session holds beside its model and modules.
    pub fn memory(&self) -> Result<Memory> {
        // SAFETY: the place is a struct of the size that it says.
        Memory::read(|out| unsafe { sys::mcm_session_get_memory(self.handle.as_ptr(), out) })
    }

    /// x_t, (batch, channels, height, width).
    pub fn x(&self) -> Result<Vec<f32>> {
        let mut x = buffer(self.state()?.sample_len())?;
        self.x_into(&mut x)?;
        Ok(x)
    }

    /// The same into the caller's buffer.
    pub fn x_into(&self, x: &mut [f32]) -> Result<()> {
        step::read_x(&self.handle, x)
    }

    /// Replaces x_t; values must be finite.
    pub fn set_x(&mut self, x: &[f32]) -> Result<()> {
        // SAFETY: the length is passed along.
        check(unsafe { sys::mcm_session_set_sample(self.handle.as_ptr(), x.as_ptr(), x.len()) })
    }

    /// The x_0 that the last step predicted, (batch, channels, height, width). Errors: State before the first step.
    pub fn x0(&self) -> Result<Vec<f32>> {
        let mut x0 = buffer(self.state()?.sample_len())?;
        self.x0_into(&mut x0)?;
        Ok(x0)
    }

    /// The same into the caller's buffer.
    pub fn x0_into(&self, x0: &mut [f32]) -> Result<()> {
        step::read_x0(&self.handle, x0)
    }

    /// Image `index` of the batch as 8-bit pixels.
    pub fn decode(&self, what: Decode, index: u32) -> Result<Pixels> {
        step::decode(&self.handle, what, index)
    }

    /// The same into the caller's buffer, (image_height, image_width, image_channels); a preview has (height, width,
    /// image_channels).
    pub fn decode_into(&self, what: Decode, index: u32, pixels: &mut [u8]) -> Result<()> {
        step::decode_into(&self.handle, what, index, pixels)
    }

    /// Image `index` of the batch, when all steps are done. Errors: State before.
    pub fn result(&self, index: u32) -> Result<Pixels> {
        let state = self.state()?;
        if state.step < state.steps || !state.seeded {
            return Err(Error::state(format!("{} of {} steps are done, expected all", state.step, state.steps)));
        }
        self.decode(Decode::Sample, index)
    }

    /// What a model that reads a text is told, and what it is led away from; None: an empty text, or zeros in a Stable
    /// Diffusion XL that was trained so. Errors: Size, Incompatible, State.
    pub fn set_prompt(&mut self, prompt: &Prompt, negative: Option<&Prompt>) -> Result<()> {
        let negative = crate::prompt::pointer(negative);
        // SAFETY: all are the library's objects.
        check(unsafe { sys::mcm_session_set_prompt(self.handle.as_ptr(), prompt.0.as_ptr(), negative) })
    }

    /// Images to begin from, for the next seeding: one for the whole batch, one per image, or none. Copied. Errors:
    /// InvalidArgument, Size, OutOfMemory.
    pub fn set_image(&mut self, images: &[Image<'_>]) -> Result<()> {
        let count = count("images", images.len())?;
        // SAFETY: the views' pixels are borrowed.
        check(unsafe { sys::mcm_session_set_image(self.handle.as_ptr(), native(images), count) })
    }

    /// What is to be painted in that image: from 1/2 on; below, the image stays. One channel; none: all of it. Copied.
    pub fn set_mask(&mut self, masks: &[Image<'_>]) -> Result<()> {
        let count = count("masks", masks.len())?;
        // SAFETY: the views' pixels are borrowed.
        check(unsafe { sys::mcm_session_set_mask(self.handle.as_ptr(), native(masks), count) })
    }

    /// Stable Diffusion XL's sizes and crops: (batch, time_id_count) each.
    pub fn set_time_ids(&mut self, time_ids: &[f32], negative: &[f32]) -> Result<()> {
        expect_length("negative", negative.len(), time_ids.len())?;
        let (session, length) = (self.handle.as_ptr(), time_ids.len());
        // SAFETY: lengths were compared above.
        check(unsafe { sys::mcm_session_set_time_ids(session, time_ids.as_ptr(), negative.as_ptr(), length) })
    }

    /// Class input of a model that takes one: (batch, class_input_size).
    pub fn set_class_input(&mut self, values: &[f32]) -> Result<()> {
        // SAFETY: the length is passed along.
        check(unsafe { sys::mcm_session_set_class_input(self.handle.as_ptr(), values.as_ptr(), values.len()) })
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.state() {
            Ok(state) => write!(formatter, "Session({} of {} steps done)", state.step, state.steps),
            Err(error) => write!(formatter, "Session({error})"),
        }
    }
}
