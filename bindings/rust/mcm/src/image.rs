use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

use mcm_sys as sys;

use crate::convert::{buffer, path, product, size_of};
use crate::error::check;
use crate::version::check_version;
use crate::{Error, Result};

/// A view of pixels: rows from top to bottom, channels interleaved.
///
/// It borrows them, so that they cannot go or change while it is used:
///
/// ```compile_fail,E0597
/// let image = {
///     let pixels = vec![0u8; 28 * 28];
///     mcm::Image::new(&pixels, 28, 28, 1).unwrap()
/// };
/// image.width();
/// ```
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Image<'a> {
    native: sys::mcm_image,
    pixels: PhantomData<&'a [u8]>,
}

// SAFETY: a view is a shared slice: pixels that nobody writes to while it is there.
unsafe impl Send for Image<'_> {}
// SAFETY: as above.
unsafe impl Sync for Image<'_> {}

impl<'a> Image<'a> {
    /// 8-bit pixels, (height, width, channels), 0 .. 255, or class indices. Channels: 1, 3, or 4 to write only.
    pub fn new(pixels: &'a [u8], width: u32, height: u32, channels: u32) -> Result<Image<'a>> {
        Image::view(pixels, sys::MCM_U8, [width, height, channels], None)
    }

    /// The same with `row_stride` elements from row to row, at least width * channels.
    pub fn with_stride(pixels: &'a [u8], width: u32, height: u32, channels: u32, row_stride: usize) -> Result<Self> {
        Image::view(pixels, sys::MCM_U8, [width, height, channels], Some(row_stride))
    }

    /// Pixels (height, width, channels) in \[0, 1\], or class indices.
    pub fn from_f32(pixels: &'a [f32], width: u32, height: u32, channels: u32) -> Result<Image<'a>> {
        Image::view(pixels, sys::MCM_F32, [width, height, channels], None)
    }

    /// The same with `row_stride` elements from row to row, at least width * channels.
    pub fn from_f32_with_stride(
        pixels: &'a [f32],
        width: u32,
        height: u32,
        channels: u32,
        row_stride: usize,
    ) -> Result<Image<'a>> {
        Image::view(pixels, sys::MCM_F32, [width, height, channels], Some(row_stride))
    }

    fn view<T>(pixels: &'a [T], dtype: i32, shape: [u32; 3], row_stride: Option<usize>) -> Result<Image<'a>> {
        let [width, height, channels] = shape;
        if width == 0 || height == 0 || channels == 0 {
            return Err(Error::size(format!("an image of {width} x {height} x {channels}, expected no side of 0")));
        }
        let row = product(&[width as usize, channels as usize])?;
        let stride = row_stride.unwrap_or(row);
        if stride < row {
            return Err(Error::size(format!("row_stride is {stride}, expected at least {row} elements")));
        }
        // The last row need not be followed by the gap.
        let rest = product(&[stride, height as usize - 1])?;
        let needed = rest.checked_add(row).ok_or_else(|| Error::size("an image is too large for memory".into()))?;
        let fits = if row_stride.is_some() { pixels.len() >= needed } else { pixels.len() == needed };
        if !fits {
            let least = if row_stride.is_some() { "at least " } else { "" };
            let found = pixels.len();
            let shape = format!("{width} x {height} x {channels}");
            return Err(Error::size(format!("{found} elements of an image, expected {least}{needed} for {shape}")));
        }
        let native = sys::mcm_image {
            struct_size: size_of::<sys::mcm_image>(),
            dtype,
            data: pixels.as_ptr().cast(),
            width,
            height,
            channels,
            reserved: 0,
            row_stride: product(&[stride, std::mem::size_of::<T>()])?,
        };
        Ok(Image { native, pixels: PhantomData })
    }

    /// In pixels.
    pub fn width(&self) -> u32 {
        self.native.width
    }

    /// In pixels.
    pub fn height(&self) -> u32 {
        self.native.height
    }

    /// Of a pixel.
    pub fn channels(&self) -> u32 {
        self.native.channels
    }

    /// Writes a PNG of an 8-bit image. Errors: InvalidArgument for floats; Io.
    pub fn write_png(&self, to: impl AsRef<Path>) -> Result<()> {
        check_version()?;
        let name = path(to)?;
        // SAFETY: the pixels are borrowed and as many as the struct says.
        check(unsafe { sys::mcm_png_write(name.as_ptr(), &self.native) })
    }
}

impl fmt::Debug for Image<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sys::mcm_image { width, height, channels, .. } = self.native;
        write!(formatter, "Image({width} x {height} x {channels})")
    }
}

/// For C: views are structs of C, one after the other; NULL if there are none.
pub(crate) fn native(images: &[Image<'_>]) -> *const sys::mcm_image {
    // Image is a transparent mcm_image.
    crate::convert::slice_pointer(images).cast()
}

/// An 8-bit image of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pixels {
    data: Vec<u8>,
    width: u32,
    height: u32,
    channels: u32,
}

impl Pixels {
    /// Pixels (height, width, channels). Errors: Size.
    pub fn new(data: Vec<u8>, width: u32, height: u32, channels: u32) -> Result<Pixels> {
        Image::new(&data, width, height, channels)?;
        Ok(Pixels { data, width, height, channels })
    }

    /// Reads an 8-bit grey, RGB, RGBA or palette PNG. Errors: Io, Format, Unsupported.
    pub fn read_png(from: impl AsRef<Path>) -> Result<Pixels> {
        check_version()?;
        let name = path(from)?;
        let [mut width, mut height, mut channels] = [0; 3];
        // SAFETY: three places for one number each.
        check(unsafe { sys::mcm_png_size(name.as_ptr(), &mut width, &mut height, &mut channels) })?;
        let mut data = buffer(product(&[width as usize, height as usize, channels as usize])?)?;
        // SAFETY: the buffer is as long as is said.
        check(unsafe { sys::mcm_png_read(name.as_ptr(), data.as_mut_ptr(), data.len()) })?;
        Ok(Pixels { data, width, height, channels })
    }

    /// Writes a PNG. Errors: Io, after which the file may be incomplete.
    pub fn write_png(&self, to: impl AsRef<Path>) -> Result<()> {
        self.as_image().write_png(to)
    }

    /// A view, for a condition for instance.
    pub fn as_image(&self) -> Image<'_> {
        let native = sys::mcm_image {
            struct_size: size_of::<sys::mcm_image>(),
            dtype: sys::MCM_U8,
            data: self.data.as_ptr().cast(),
            width: self.width,
            height: self.height,
            channels: self.channels,
            reserved: 0,
            row_stride: 0,
        };
        Image { native, pixels: PhantomData }
    }

    /// (height, width, channels), 0 .. 255.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The same, for the caller to keep.
    pub fn into_data(self) -> Vec<u8> {
        self.data
    }

    /// In pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// In pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Of a pixel.
    pub fn channels(&self) -> u32 {
        self.channels
    }
}
