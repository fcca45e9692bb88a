//! Arguments and results between Rust and C.
use std::alloc::{self, Layout};
use std::ffi::CString;
use std::mem;
use std::os::raw::c_char;
use std::path::Path;
use std::ptr;

use crate::error::check;
use crate::{Error, Result};

/// A text for C. `name` is the argument's, for the message.
pub(crate) fn text(name: &str, value: &str) -> Result<CString> {
    CString::new(value).map_err(|error| {
        Error::invalid(format!("{name} has a zero character at byte {}, expected none", error.nul_position()))
    })
}

pub(crate) fn optional_text(name: &str, value: Option<&str>) -> Result<Option<CString>> {
    value.map(|value| text(name, value)).transpose()
}

/// NULL for none.
pub(crate) fn pointer(text: &Option<CString>) -> *const c_char {
    text.as_ref().map_or(ptr::null(), |text| text.as_ptr())
}

pub(crate) fn path(value: impl AsRef<Path>) -> Result<CString> {
    let value = value.as_ref();
    let utf8 = value.to_str();
    text("path", utf8.ok_or_else(|| Error::invalid(format!("path {value:?} is not UTF-8, expected UTF-8")))?)
}

pub(crate) fn optional_path(value: Option<&Path>) -> Result<Option<CString>> {
    value.map(path).transpose()
}

/// A number of elements as C takes it.
pub(crate) fn count(name: &str, value: usize) -> Result<u32> {
    u32::try_from(value).map_err(|_| Error::size(format!("{value} {name}, expected at most {}", u32::MAX)))
}

/// An error if a buffer that C takes without a length is not as long as it must be.
pub(crate) fn expect_length(name: &str, found: usize, expected: usize) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::size(format!("{name} has {found} elements, expected {expected}")))
}

/// The product of dimensions.
pub(crate) fn product(factors: &[usize]) -> Result<usize> {
    let product = factors.iter().try_fold(1usize, |product, factor| product.checked_mul(*factor));
    product.ok_or_else(|| Error::size(format!("{factors:?} elements, expected no more than fit into memory")))
}

/// Numbers that zero bytes stand for.
pub(crate) trait Number {}
impl Number for u8 {}
impl Number for i32 {}
impl Number for f32 {}

/// A buffer for a result of the library, cleared. Its memory is not touched yet: a file that lies about its size costs
/// nothing.
pub(crate) fn buffer<T: Number>(length: usize) -> Result<Vec<T>> {
    if length == 0 {
        return Ok(Vec::new());
    }
    let none = || Error::out_of_memory(format!("no memory for {length} elements of {} bytes", mem::size_of::<T>()));
    let layout = Layout::array::<T>(length).map_err(|_| none())?;
    // SAFETY: the layout is not empty, and is that of a vector of the length, whose elements may be zero bytes.
    unsafe {
        let values = alloc::alloc_zeroed(layout).cast::<T>();
        if values.is_null() {
            return Err(none());
        }
        Ok(Vec::from_raw_parts(values, length, length))
    }
}

/// The text in a struct's array of characters.
pub(crate) fn characters(array: &[c_char]) -> String {
    let bytes: Vec<u8> = array.iter().map(|character| *character as u8).take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// sizeof(T), for struct_size.
pub(crate) fn size_of<T>() -> u32 {
    mem::size_of::<T>() as u32
}

/// The null pointer for an empty slice, as C wants it for what is not there.
pub(crate) fn slice_pointer<T>(values: &[T]) -> *const T {
    if values.is_empty() {
        ptr::null()
    } else {
        values.as_ptr()
    }
}

/// What a call reads into a struct, which is first as the library's `init` leaves it.
pub(crate) fn fill<T: Copy>(
    init: unsafe extern "C" fn(*mut T, u32),
    call: impl FnOnce(*mut T) -> mcm_sys::mcm_status,
) -> Result<T> {
    let mut value = mem::MaybeUninit::<T>::zeroed();
    // SAFETY: the library writes no more than the size that it is told. Zeros are a value of each struct of mcm.h,
    // whose fields are numbers and pointers.
    let mut value = unsafe {
        init(value.as_mut_ptr(), size_of::<T>());
        value.assume_init()
    };
    check(call(&mut value))?;
    Ok(value)
}

/// An enum whose variants are numbers of mcm.h.
macro_rules! numbered {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $number:ident,)* }) => {
        $(#[$about])*
        #[non_exhaustive]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            #[allow(dead_code)]
            pub(crate) fn number(self) -> i32 {
                match self { $($name::$variant => mcm_sys::$number,)* }
            }

            /// None for a number that mcm.h does not have, such as the 0 of what is not said.
            #[allow(dead_code)]
            pub(crate) fn of(number: i32) -> Option<$name> {
                match number { $(mcm_sys::$number => Some($name::$variant),)* _ => None }
            }
        }
    };
}
pub(crate) use numbered;

#[cfg(test)]
mod tests {
    use super::buffer;
    use crate::ErrorKind;

    #[test]
    fn buffers_are_cleared() {
        assert_eq!(buffer::<f32>(3).unwrap(), [0.0; 3]);
        assert_eq!(buffer::<u8>(0).unwrap(), []);
    }

    #[test]
    fn memory_that_is_not_there() {
        for length in [usize::MAX, isize::MAX as usize, 1 << 60] {
            let error = buffer::<u8>(length).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutOfMemory);
            assert_eq!(error.status(), mcm_sys::MCM_ERROR_OUT_OF_MEMORY);
            assert_eq!(error.message(), format!("no memory for {length} elements of 1 bytes"));
        }
    }
}
