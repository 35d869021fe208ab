//! Random numbers from the kernel.

use std::io;

/// Returns `N` random bytes.
///
/// # Errors
/// If the kernel has none.
pub fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

/// A random number.
///
/// # Errors
/// If the kernel has none.
pub fn random_u32() -> io::Result<u32> {
    random_bytes().map(u32::from_le_bytes)
}
