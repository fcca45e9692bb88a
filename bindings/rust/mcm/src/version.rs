use std::ffi::CStr;

use mcm_sys as sys;

use crate::{Error, Result};

/// The version of the library that was loaded, e.g. "0.1.0".
pub fn version() -> &'static str {
    // SAFETY: the library's text is static, zero-terminated and ASCII.
    unsafe { CStr::from_ptr(sys::mcm_version_string()) }.to_str().unwrap_or("")
}

/// The library must have this crate's major version, and its minor version too while that is 0. A newer minor version
/// only adds; an older one may lack what this crate calls.
pub(crate) fn check_version() -> Result<()> {
    // SAFETY: takes nothing.
    let found = unsafe { sys::mcm_version() };
    if fits(found, sys::MCM_VERSION) {
        return Ok(());
    }
    let [major, minor, patch] = [found / 1_000_000, found / 1_000 % 1_000, found % 1_000];
    let expected = if sys::MCM_VERSION_MAJOR == 0 {
        format!("0.{}", sys::MCM_VERSION_MINOR)
    } else {
        format!("{}.{} or a later {0}", sys::MCM_VERSION_MAJOR, sys::MCM_VERSION_MINOR)
    };
    Err(Error::version(format!("libmcm {major}.{minor}.{patch} was loaded, expected {expected}")))
}

fn fits(found: u32, ours: u32) -> bool {
    let (major, minor) = (ours / 1_000_000, ours / 1_000);
    found / 1_000_000 == major && if major == 0 { found / 1_000 == minor } else { found / 1_000 >= minor }
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn before_1_minor_versions_differ() {
        assert!(fits(1_000, 1_000) && fits(1_009, 1_000) && fits(1_000, 1_009));
        assert!(!fits(2_000, 1_000) && !fits(0, 1_000) && !fits(1_001_000, 1_000));
    }

    #[test]
    fn from_1_on_later_ones_fit() {
        assert!(fits(1_003_000, 1_002_005) && fits(1_002_000, 1_002_005));
        assert!(!fits(1_001_009, 1_002_000) && !fits(2_002_000, 1_002_000));
    }
}
