//! Finds libmcm: in the folder that MCM_LIB_DIR names, else as pkg-config says.
//!
//! The folder's library is linked into OUT_DIR too, which `cargo run` and `cargo test` search: programs find it there
//! without LD_LIBRARY_PATH. What is installed elsewhere is found as any shared library is.
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// What these declarations are of. While it begins with 0, another minor version is another ABI.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"));
/// The name by which programs ask for it.
const SONAME: &str = "libmcm.so.1";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for variable in ["MCM_LIB_DIR", "PKG_CONFIG", "PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR", "PKG_CONFIG_SYSROOT_DIR"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    if let Err(message) = find() {
        eprintln!("error: {message}");
        std::process::exit(1);
    }
}

fn find() -> Result<(), String> {
    let folder = match env::var_os("MCM_LIB_DIR") {
        Some(folder) => {
            let library = Path::new(&folder).join("libmcm.so");
            if !library.exists() {
                return Err(format!("MCM_LIB_DIR: {} does not exist, expected libmcm there", library.display()));
            }
            Some(PathBuf::from(folder))
        }
        None => installed()?,
    };
    println!("cargo:rustc-link-lib=dylib=mcm");
    let folder = match folder {
        Some(folder) => folder.canonicalize().unwrap_or(folder),
        None => return Ok(()),
    };
    println!("cargo:rerun-if-changed={}", folder.join(SONAME).display());
    println!("cargo:rustc-link-search=native={}", folder.display());
    let near = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set, expected cargo to set it")?);
    for name in ["libmcm.so", SONAME] {
        let link = near.join(name);
        let _ = fs::remove_file(&link);
        if folder.join(name).exists() && std::os::unix::fs::symlink(folder.join(name), &link).is_err() {
            return Err(format!("{} cannot be written", link.display()));
        }
    }
    println!("cargo:rustc-link-search=native={}", near.display());
    Ok(())
}

/// The folder of the installed library; None if it is one that the linker searches anyway.
fn installed() -> Result<Option<PathBuf>, String> {
    let version = pkg_config("--modversion")?;
    if !fits(&version) {
        return Err(format!("pkg-config: libmcm {version} is installed, expected {VERSION}"));
    }
    let folders = pkg_config("--libs-only-L")?;
    Ok(folders.strip_prefix("-L").map(|folder| PathBuf::from(folder.trim())))
}

/// As mcm compares versions when a program runs: from 1.0 on a newer minor one only adds.
fn fits(version: &str) -> bool {
    let parts = |text: &str| -> Option<(u32, u32)> {
        let mut numbers = text.split('.').map(|part| part.parse().ok());
        Some((numbers.next()??, numbers.next()??))
    };
    match (parts(version), parts(VERSION)) {
        (Some(found), Some(ours)) => found.0 == ours.0 && if ours.0 == 0 { found == ours } else { found >= ours },
        _ => false,
    }
}

fn pkg_config(question: &str) -> Result<String, String> {
    const ADVICE: &str = "install libmcm, or set MCM_LIB_DIR to the folder of libmcm.so";
    let program = env::var_os("PKG_CONFIG").unwrap_or_else(|| "pkg-config".into());
    match Command::new(&program).args([question, "mcm"]).output() {
        Ok(answer) if answer.status.success() => Ok(String::from_utf8_lossy(&answer.stdout).trim().to_string()),
        Ok(_) => Err(format!("pkg-config does not know mcm: {ADVICE}")),
        Err(_) => Err(format!("{} cannot be run: {ADVICE}", program.to_string_lossy())),
    }
}
