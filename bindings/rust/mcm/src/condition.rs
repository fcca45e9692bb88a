use std::ffi::CString;

use mcm_sys as sys;

use crate::convert::{count, size_of, text};
use crate::image::native;
use crate::{Image, Result};

/// What to follow: the images of one modality, of any size.
#[derive(Clone, Copy, Debug)]
pub struct Condition<'a> {
    /// E.g. "sketch".
    pub modality: &'a str,
    /// One for the whole batch, or one per image.
    pub images: &'a [Image<'a>],
}

/// Conditions for C, as long as this and the images live.
pub(crate) struct Natives {
    conditions: Vec<sys::mcm_condition>,
    _names: Vec<CString>,
}

impl Natives {
    pub(crate) fn new(conditions: &[Condition<'_>]) -> Result<Natives> {
        let names: Vec<_> =
            conditions.iter().map(|condition| text("modality", condition.modality)).collect::<Result<_>>()?;
        let convert = |(condition, name): (&Condition<'_>, &CString)| {
            Ok(sys::mcm_condition {
                struct_size: size_of::<sys::mcm_condition>(),
                image_count: count("images", condition.images.len())?,
                modality: name.as_ptr(),
                images: native(condition.images),
            })
        };
        let natives = conditions.iter().zip(&names).map(convert).collect::<Result<_>>()?;
        count("conditions", conditions.len())?;
        Ok(Natives { conditions: natives, _names: names })
    }

    /// NULL if there are none.
    pub(crate) fn as_ptr(&self) -> *const sys::mcm_condition {
        crate::convert::slice_pointer(&self.conditions)
    }

    pub(crate) fn len(&self) -> u32 {
        self.conditions.len() as u32
    }
}
