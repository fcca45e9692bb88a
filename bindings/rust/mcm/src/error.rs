use std::ffi::CStr;
use std::fmt;

use mcm_sys as sys;

/// What a call of this crate gives.
pub type Result<T> = std::result::Result<T, Error>;

/// A call that failed: of what kind, and one line that says what was found and what was expected.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    status: i32,
    message: String,
}

/// The kinds of errors; see `MCM_ERROR_*` in mcm.h.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// An argument is out of range, not finite or not a text that C can read.
    InvalidArgument,
    /// The library does not know a struct by the size that this crate gives.
    StructSize,
    /// A buffer, image or sample is of the wrong size.
    Size,
    /// Not now: a step before seeding or past the end, an item of an iterator that has gone on.
    State,
    /// A module does not fit the model, a condition or its name the module.
    Incompatible,
    /// A file cannot be opened, read or written.
    Io,
    /// A file is damaged, or not what it should be.
    Format,
    /// Valid, but the library does not do it.
    Unsupported,
    /// No memory for a tensor, the weights or an image.
    OutOfMemory,
    /// The CPU lacks x86-64-v3 (AVX2, FMA).
    Cpu,
    /// A callback has cancelled.
    Cancelled,
    /// The library that was loaded is of another version than this crate.
    Version,
    /// A status that this crate does not know.
    Unknown,
}

impl ErrorKind {
    fn of(status: sys::mcm_status) -> ErrorKind {
        match status {
            sys::MCM_ERROR_INVALID_ARGUMENT => ErrorKind::InvalidArgument,
            sys::MCM_ERROR_STRUCT_SIZE => ErrorKind::StructSize,
            sys::MCM_ERROR_SIZE => ErrorKind::Size,
            sys::MCM_ERROR_STATE => ErrorKind::State,
            sys::MCM_ERROR_INCOMPATIBLE => ErrorKind::Incompatible,
            sys::MCM_ERROR_IO => ErrorKind::Io,
            sys::MCM_ERROR_FORMAT => ErrorKind::Format,
            sys::MCM_ERROR_UNSUPPORTED => ErrorKind::Unsupported,
            sys::MCM_ERROR_OUT_OF_MEMORY => ErrorKind::OutOfMemory,
            sys::MCM_ERROR_CPU => ErrorKind::Cpu,
            sys::MCM_CANCELLED => ErrorKind::Cancelled,
            _ => ErrorKind::Unknown,
        }
    }
}

impl Error {
    /// Of what kind.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The number of mcm.h, `MCM_ERROR_*`; 0 for [`ErrorKind::Version`], which no call has given.
    pub fn status(&self) -> i32 {
        self.status
    }

    /// One line that says what was found and what was expected.
    pub fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn invalid(message: String) -> Error {
        Error { kind: ErrorKind::InvalidArgument, status: sys::MCM_ERROR_INVALID_ARGUMENT, message }
    }

    pub(crate) fn size(message: String) -> Error {
        Error { kind: ErrorKind::Size, status: sys::MCM_ERROR_SIZE, message }
    }

    pub(crate) fn out_of_memory(message: String) -> Error {
        Error { kind: ErrorKind::OutOfMemory, status: sys::MCM_ERROR_OUT_OF_MEMORY, message }
    }

    pub(crate) fn state(message: String) -> Error {
        Error { kind: ErrorKind::State, status: sys::MCM_ERROR_STATE, message }
    }

    pub(crate) fn unsupported(message: String) -> Error {
        Error { kind: ErrorKind::Unsupported, status: sys::MCM_ERROR_UNSUPPORTED, message }
    }

    pub(crate) fn version(message: String) -> Error {
        Error { kind: ErrorKind::Version, status: sys::MCM_OK, message }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

/// What a program shows whose `main` returns the error, so that it is to be read.
impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}: {}", self.kind, self.message)
    }
}

impl std::error::Error for Error {}

/// The error of a call that was just made on this thread, if it failed.
pub(crate) fn check(status: sys::mcm_status) -> Result<()> {
    if status == sys::MCM_OK {
        return Ok(());
    }
    // SAFETY: the library's text is zero-terminated and lasts until the next failing call on this thread.
    let message = unsafe { CStr::from_ptr(sys::mcm_last_error()) }.to_string_lossy().into_owned();
    Err(Error { kind: ErrorKind::of(status), status, message })
}
