use std::iter::FusedIterator;

use mcm_sys as sys;

use crate::convert::{buffer, fill, numbered, product};
use crate::error::check;
use crate::handle::Handle;
use crate::{Error, Pixels, Result};

numbered! {
    /// What is decoded.
    Decode {
        /// x_t: the result, when all steps are done.
        Sample = MCM_DECODE_SAMPLE,
        /// The predicted x_0.
        X0 = MCM_DECODE_X0,
        /// The predicted x_0 at once: of latents a linear map to colours, of the sample's size.
        Preview = MCM_DECODE_PREVIEW,
    }
}

/// Where a session is.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionState {
    /// Steps done; 0 after seeding.
    pub step: u32,
    /// Of the whole run.
    pub steps: u32,
    /// Of the next step, rounded; None when all are done.
    pub timestep: Option<i32>,
    /// Samples.
    pub batch: u32,
    /// Of a sample.
    pub channels: u32,
    /// Of a sample.
    pub height: u32,
    /// Of a sample.
    pub width: u32,
    /// Whether a run has begun.
    pub seeded: bool,
    /// Of an image.
    pub image_width: u32,
    /// Of an image.
    pub image_height: u32,
    /// Of an image.
    pub image_channels: u32,
}

impl SessionState {
    /// Floats of x_t, batch * channels * height * width.
    pub fn sample_len(&self) -> usize {
        // The library holds a buffer of this length.
        self.batch as usize * self.channels as usize * self.height as usize * self.width as usize
    }
}

type Handled = Handle<sys::mcm_session>;

pub(crate) fn state(session: &Handled) -> Result<SessionState> {
    // SAFETY: the place is a struct of the size that it says.
    let state = fill(sys::mcm_session_state_init, |out| unsafe { sys::mcm_session_get_state(session.as_ptr(), out) })?;
    Ok(SessionState {
        step: state.step,
        steps: state.steps,
        timestep: Some(state.timestep).filter(|timestep| *timestep >= 0),
        batch: state.batch,
        channels: state.channels,
        height: state.height,
        width: state.width,
        seeded: state.seeded != 0,
        image_width: state.image_width,
        image_height: state.image_height,
        image_channels: state.image_channels,
    })
}

pub(crate) fn read_x(session: &Handled, x: &mut [f32]) -> Result<()> {
    // SAFETY: the buffer is as long as is said.
    check(unsafe { sys::mcm_session_get_sample(session.as_ptr(), x.as_mut_ptr(), x.len()) })
}

pub(crate) fn read_x0(session: &Handled, x0: &mut [f32]) -> Result<()> {
    // SAFETY: the buffer is as long as is said.
    check(unsafe { sys::mcm_session_get_x0(session.as_ptr(), x0.as_mut_ptr(), x0.len()) })
}

pub(crate) fn decode_into(session: &Handled, what: Decode, index: u32, pixels: &mut [u8]) -> Result<()> {
    let (length, place) = (pixels.len(), pixels.as_mut_ptr());
    // SAFETY: the buffer is as long as is said.
    check(unsafe { sys::mcm_session_decode(session.as_ptr(), what.number(), index, place, length) })
}

pub(crate) fn decode(session: &Handled, what: Decode, index: u32) -> Result<Pixels> {
    let state = state(session)?;
    let (width, height) = match what {
        Decode::Preview => (state.width, state.height),
        _ => (state.image_width, state.image_height),
    };
    let mut data = buffer(product(&[width as usize, height as usize, state.image_channels as usize])?)?;
    decode_into(session, what, index, &mut data)?;
    Pixels::new(data, width, height, state.image_channels)
}

/// Does a step; None past the end.
pub(crate) fn advance(session: &Handled) -> Result<Option<Step<'_>>> {
    let before = state(session)?;
    if before.seeded && before.step == before.steps {
        return Ok(None);
    }
    // SAFETY: the session is the library's, and belongs to this thread as long as it is borrowed.
    check(unsafe { sys::mcm_session_step(session.as_ptr()) })?;
    Ok(Some(Step::new(session, before.step + 1, before.steps, before.timestep)))
}

/// A step that was just done. It reads the session, which cannot be changed as long as this is used:
///
/// ```compile_fail,E0499
/// # fn test(mut session: mcm::Session) -> mcm::Result<()> {
/// if let Some(step) = session.next_step()? {
///     session.seed(2)?; // error: the session is still borrowed
///     step.x0()?;
/// }
/// # Ok(()) }
/// ```
pub struct Step<'s> {
    session: &'s Handled,
    number: u32,
    steps: u32,
    timestep: i32,
}

impl<'s> Step<'s> {
    pub(crate) fn new(session: &'s Handled, number: u32, steps: u32, timestep: Option<i32>) -> Step<'s> {
        Step { session, number, steps, timestep: timestep.unwrap_or(-1) }
    }

    /// Its number, from 1 to `steps`.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Of the whole run.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// At which it was done, rounded.
    pub fn timestep(&self) -> i32 {
        self.timestep
    }

    /// x_t after the step, (batch, channels, height, width).
    pub fn x(&self) -> Result<Vec<f32>> {
        let mut x = buffer(self.current()?.sample_len())?;
        read_x(self.session, &mut x)?;
        Ok(x)
    }

    /// The same into the caller's buffer.
    pub fn x_into(&self, x: &mut [f32]) -> Result<()> {
        self.current()?;
        read_x(self.session, x)
    }

    /// The x_0 that the step predicted, (batch, channels, height, width).
    pub fn x0(&self) -> Result<Vec<f32>> {
        let mut x0 = buffer(self.current()?.sample_len())?;
        read_x0(self.session, &mut x0)?;
        Ok(x0)
    }

    /// The same into the caller's buffer.
    pub fn x0_into(&self, x0: &mut [f32]) -> Result<()> {
        self.current()?;
        read_x0(self.session, x0)
    }

    /// What the network takes image `index` of the batch to be, at once: [`Decode::Preview`].
    pub fn preview(&self, index: u32) -> Result<Pixels> {
        self.decode(Decode::Preview, index)
    }

    /// Image `index` of the batch as 8-bit pixels.
    pub fn decode(&self, what: Decode, index: u32) -> Result<Pixels> {
        self.current()?;
        decode(self.session, what, index)
    }

    /// The session's state, which has passed on if an iterator has.
    fn current(&self) -> Result<SessionState> {
        let state = state(self.session)?;
        if state.step == self.number {
            return Ok(state);
        }
        Err(Error::state(format!("step {} has passed, {} are done", self.number, state.step)))
    }
}

impl std::fmt::Debug for Step<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Step({} of {}, timestep {})", self.number, self.steps, self.timestep)
    }
}

/// The steps that are left, as [`Session::steps`](crate::Session::steps) gives them. It ends after an error.
///
/// An item reads the session as it is when it is asked: one that is kept while the iterator goes on gives
/// [`ErrorKind::State`](crate::ErrorKind::State).
#[derive(Debug)]
#[must_use = "a step is done when it is asked for"]
pub struct Steps<'s> {
    session: Option<&'s Handled>,
}

impl<'s> Steps<'s> {
    pub(crate) fn new(session: &'s Handled) -> Steps<'s> {
        Steps { session: Some(session) }
    }
}

impl<'s> Iterator for Steps<'s> {
    type Item = Result<Step<'s>>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = advance(self.session?).transpose();
        if !matches!(step, Some(Ok(_))) {
            self.session = None;
        }
        step
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = |state: SessionState| (state.steps - state.step) as usize;
        match self.session.map(state) {
            // At least one, its error, if a step fails.
            Some(Ok(state)) => (left(state).min(1), Some(left(state).max(1))),
            Some(Err(_)) => (0, Some(1)),
            None => (0, Some(0)),
        }
    }
}

impl FusedIterator for Steps<'_> {}
