use mcm_sys as sys;

use crate::error::check;
use crate::handle::Handle;
use crate::Result;

/// A normal generator whose stream is that of torch.randn on the CPU.
///
/// It belongs to one thread at a time: it may be sent to another, not shared.
///
/// ```compile_fail,E0277
/// let rng = mcm::Rng::new(1).unwrap();
/// std::thread::scope(|scope| {
///     scope.spawn(|| drop(&rng));
/// });
/// ```
#[derive(Debug)]
pub struct Rng(Handle<sys::mcm_rng>);

impl Rng {
    /// torch.Generator().manual_seed(seed): only the low 32 bits of `seed` matter.
    pub fn new(seed: u64) -> Result<Rng> {
        // SAFETY: the place is one for a pointer.
        Handle::create(|out| unsafe { sys::mcm_rng_create(seed, out) }).map(Rng)
    }

    /// Fills `values` with one draw: two draws of 8 differ from one of 16, as in torch.
    pub fn normal(&mut self, values: &mut [f32]) -> Result<()> {
        if values.is_empty() {
            return Ok(());
        }
        // SAFETY: `values` is writable and as long as is said.
        check(unsafe { sys::mcm_rng_normal(self.0.as_ptr(), values.as_mut_ptr(), values.len()) })
    }
}
