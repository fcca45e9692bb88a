use std::path::Path;
use std::ptr;

use mcm_sys as sys;

use crate::condition::Natives;
use crate::convert::{count, path, text};
use crate::error::check;
use crate::image::native;
use crate::session_options::{AttachOptions, Attachment};
use crate::{Condition, ControlNet, Error, Image, Modulator, Result, Session};

/// Modules and ControlNets, and what they follow.
impl Session {
    /// Attaches a module; several may be attached, also the same one twice. The session keeps what it needs of it.
    /// Errors: Incompatible, InvalidArgument.
    pub fn attach(&mut self, modulator: &Modulator, options: &AttachOptions) -> Result<Attachment> {
        let mut id = 0;
        let (session, options) = (self.handle.as_ptr(), options.native());
        // SAFETY: the place is one for a number, and the options live through the call.
        check(unsafe { sys::mcm_session_attach(session, modulator.0.as_ptr(), &options, &mut id) })?;
        Ok(Attachment { session: self.serial, id })
    }

    /// Attaches a ControlNet, which follows images of the session's image size, one or as many as the batch. `guess`:
    /// diffusers' guess_mode. Errors: Incompatible, InvalidArgument, Size.
    pub fn attach_controlnet(
        &mut self,
        controlnet: &ControlNet,
        images: &[Image<'_>],
        guess: bool,
        options: &AttachOptions,
    ) -> Result<Attachment> {
        let mut id = 0;
        let (count, options) = (count("images", images.len())?, options.native());
        // SAFETY: the views' pixels are borrowed; otherwise as in `attach`.
        check(unsafe {
            sys::mcm_session_attach_controlnet(
                self.handle.as_ptr(),
                controlnet.0.as_ptr(),
                native(images),
                count,
                guess.into(),
                &options,
                &mut id,
            )
        })?;
        Ok(Attachment { session: self.serial, id })
    }

    /// Removes a module or ControlNet.
    pub fn detach(&mut self, attachment: Attachment) -> Result<()> {
        let id = self.id(attachment)?;
        // SAFETY: numbers only.
        check(unsafe { sys::mcm_session_detach(self.handle.as_ptr(), id) })
    }

    /// 0 equals detached, bit for bit.
    pub fn set_weight(&mut self, attachment: Attachment, weight: f32) -> Result<()> {
        let id = self.id(attachment)?;
        // SAFETY: numbers only.
        check(unsafe { sys::mcm_session_set_weight(self.handle.as_ptr(), id, weight) })
    }

    /// Active while begin <= step / steps < end.
    pub fn set_window(&mut self, attachment: Attachment, begin: f32, end: f32) -> Result<()> {
        let id = self.id(attachment)?;
        // SAFETY: numbers only.
        check(unsafe { sys::mcm_session_set_window(self.handle.as_ptr(), id, begin, end) })
    }

    /// Sets, or replaces, the condition of one modality; the images are copied. Errors: InvalidArgument, Size,
    /// Incompatible.
    pub fn set_condition(&mut self, attachment: Attachment, condition: Condition<'_>) -> Result<()> {
        let id = self.id(attachment)?;
        let condition = Natives::new(&[condition])?;
        // SAFETY: there is one, and it lives through the call.
        check(unsafe { sys::mcm_session_set_condition(self.handle.as_ptr(), id, condition.as_ptr()) })
    }

    /// The same for the whole batch from an 8-bit PNG. Errors: also Io, Format, Unsupported.
    pub fn set_condition_png(&mut self, attachment: Attachment, modality: &str, from: impl AsRef<Path>) -> Result<()> {
        let id = self.id(attachment)?;
        let (modality, from) = (text("modality", modality)?, path(from)?);
        let session = self.handle.as_ptr();
        // SAFETY: the texts live through the call.
        check(unsafe { sys::mcm_session_set_condition_png(session, id, modality.as_ptr(), from.as_ptr()) })
    }

    /// Makes a modality absent again.
    pub fn clear_condition(&mut self, attachment: Attachment, modality: &str) -> Result<()> {
        let id = self.id(attachment)?;
        let modality = text("modality", modality)?;
        // SAFETY: the text lives through the call.
        check(unsafe { sys::mcm_session_clear_condition(self.handle.as_ptr(), id, modality.as_ptr()) })
    }

    /// Makes all modalities absent again.
    pub fn clear_conditions(&mut self, attachment: Attachment) -> Result<()> {
        let id = self.id(attachment)?;
        // SAFETY: NULL stands for all.
        check(unsafe { sys::mcm_session_clear_condition(self.handle.as_ptr(), id, ptr::null()) })
    }

    fn id(&self, attachment: Attachment) -> Result<u32> {
        if attachment.session == self.serial {
            return Ok(attachment.id);
        }
        Err(Error::invalid("the attachment is another session's, expected one of this session".into()))
    }
}
