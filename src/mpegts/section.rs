//! The checksum and the clock of MPEG sections. Used by whoever writes one.

/// Ticks of the 90 kHz clock in so many nanoseconds, rounded.
pub fn ticks_of(ns: u64) -> u64 {
    u64::try_from((u128::from(ns) * 90_000 + 500_000_000) / 1_000_000_000).unwrap_or(u64::MAX)
}

/// CRC-32 of ISO/IEC 13818-1, annex A: the polynomial 0x04C11DB7 from all ones,
/// neither reflected nor inverted.
pub fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            if crc & 0x8000_0000 == 0 { crc << 1 } else { crc << 1 ^ 0x04c1_1db7 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        // The check value of CRC-32/MPEG-2, and a section over itself.
        assert_eq!(crc32(b"123456789"), 0x0376_e6e7);
        let mut section = b"abc".to_vec();
        section.extend(crc32(&section).to_be_bytes());
        assert_eq!(crc32(&section), 0);
    }
}
