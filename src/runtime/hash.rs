//! Hash function whose results are the same on every machine and in every version.

/// Returns the 64-bit FNV-1a hash of these bytes, with a final mixing step that spreads texts that differ only at the
/// end.
pub fn hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in parts.into_iter().flatten() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^ hash >> 29
}
