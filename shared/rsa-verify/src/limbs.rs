//! Natural numbers as limbs of 30 bits, the lowest first, four limbs at a time.
#![expect(
    clippy::arithmetic_side_effects,
    reason = "each sum and product says why it fits; tests run with overflow checks"
)]

/// Bits of a limb.
pub(crate) const BITS: u32 = 30;
/// The largest limb.
pub(crate) const MASK: u64 = (1 << BITS) - 1;

/// Four neighbouring limbs.
pub(crate) type Quad = [u64; 4];

/// A number that fills `quads` quads, of big-endian bytes. What does not fit is cut off.
pub(crate) fn from_be_bytes(bytes: &[u8], quads: usize) -> Vec<Quad> {
    let mut out = vec![[0; 4]; quads];
    let mut limbs = out.iter_mut().flatten();
    // Below 2³⁰ before a byte is added at bit 29 at most: below 2³⁷.
    let (mut pending, mut bits) = (0_u64, 0);
    for byte in bytes.iter().rev() {
        pending |= u64::from(*byte) << bits;
        bits += 8;
        if bits >= BITS {
            if let Some(limb) = limbs.next() {
                *limb = pending & MASK;
            }
            pending >>= BITS;
            bits -= BITS;
        }
    }
    if let Some(limb) = limbs.next() {
        *limb = pending;
    }
    out
}

/// The lowest `length` bytes of a number, big-endian.
pub(crate) fn to_be_bytes(number: &[Quad], length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    let mut limbs = number.iter().flatten();
    let (mut pending, mut bits) = (0_u64, 0);
    for byte in out.iter_mut().rev() {
        if bits < 8 {
            // Below 2⁷ and 2³⁰ at bit 7 at most.
            pending |= limbs.next().copied().unwrap_or(0) << bits;
            bits += BITS;
        }
        *byte = (pending & 0xff) as u8;
        pending >>= 8;
        bits -= 8;
    }
    out
}

/// Whether `a` ≥ `b`, of equal length and with limbs below 2³⁰.
pub(crate) fn at_least(a: &[Quad], b: &[Quad]) -> bool {
    a.iter().flatten().rev().ge(b.iter().flatten().rev())
}

/// `a` − `b`, which must not be negative, of equal length and with limbs below 2³⁰.
pub(crate) fn subtract(a: &mut [Quad], b: &[Quad]) {
    let mut borrow = 0;
    for (a, b) in a.iter_mut().flatten().zip(b.iter().flatten()) {
        // Between 2⁶⁴ − 2³⁰ − 1 and 2³⁰: the sign is in the highest bit.
        let difference = a.wrapping_sub(b + borrow);
        *a = difference & MASK;
        borrow = difference >> 63;
    }
}

/// 2·`a` modulo `modulus`, for `a` below it and limbs below 2³⁰; there is room for one more bit.
pub(crate) fn double(a: &mut [Quad], modulus: &[Quad]) {
    let mut carry = 0;
    for limb in a.iter_mut().flatten() {
        let sum = 2 * *limb + carry;
        *limb = sum & MASK;
        carry = sum >> BITS;
    }
    if at_least(a, modulus) {
        subtract(a, modulus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn bytes_become_limbs() {
        assert_eq!(from_be_bytes(&[], 1), [[0; 4]]);
        assert_eq!(from_be_bytes(&[0xff; 15], 1), [[MASK; 4]]);
        assert_eq!(
            from_be_bytes(&[1, 2, 3, 4, 5], 2),
            [[0x0203_0405, 4, 0, 0], [0; 4]]
        );
        assert_eq!(
            from_be_bytes(&[0x40, 0, 0, 0], 1),
            [[0, 1, 0, 0]],
            "bit 30 is the lowest of the second limb"
        );
        let bytes: Vec<u8> = (1..=45).collect();
        assert_eq!(to_be_bytes(&from_be_bytes(&bytes, 3), 45), bytes);
    }

    #[test]
    fn numbers_compare_by_their_highest_limb_first() {
        let number = |bytes: &[u8]| from_be_bytes(bytes, 2);
        let (small, large) = (number(&[0xff; 10]), number(&[1; 11]));
        assert!(at_least(&large, &small));
        assert!(!at_least(&small, &large));
        assert!(at_least(&small, &small));
    }

    #[test]
    fn differences_borrow() {
        let mut a = from_be_bytes(&[1, 0, 0, 0, 0, 0, 0, 0, 0], 1);
        subtract(&mut a, &from_be_bytes(&[1], 1));
        assert_eq!(a, from_be_bytes(&[0xff; 8], 1));
    }

    #[test]
    fn doubling_wraps_at_the_modulus() {
        let modulus = from_be_bytes(&[0xff; 12], 1);
        let mut a = from_be_bytes(&[0x7f, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 1);
        double(&mut a, &modulus);
        assert_eq!(
            a,
            from_be_bytes(&[0xff, 0xfe, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2], 1)
        );
        double(&mut a, &modulus);
        assert_eq!(
            a,
            from_be_bytes(&[0xff, 0xfc, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5], 1)
        );
    }
}
