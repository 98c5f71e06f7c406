//! Arithmetic modulo an odd number n without division (P. L. Montgomery, "Modular multiplication
//! without trial division", 1985), with R = 2³⁰ᵏ for k limbs.
//!
//! Operands and results are below 2n, not always below n: R is at least 4n, so that
//! (2n·2n + R·n) / R ≤ 2n, and a product needs no final subtraction.
#![expect(
    clippy::arithmetic_side_effects,
    reason = "each sum and product says why it fits; tests run with overflow checks"
)]

use crate::limbs::{self, BITS, MASK, Quad};

/// An odd modulus and what follows from it.
#[derive(Clone, Debug)]
pub(crate) struct Modulus {
    n: Vec<Quad>,
    /// −n⁻¹ modulo 2¹²⁰.
    inverse: Quad,
    /// R² modulo n, below 2n.
    r_squared: Vec<Quad>,
}

impl Modulus {
    /// Of big-endian bytes, the first not zero and the last odd.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let bits = bits(bytes);
        // One more bit, since operands are below 2n, and three more limbs, which stay zero: a pass adds
        // four rows, the last of which end three columns after the number.
        let quads = ((bits + 1).div_ceil(BITS as usize) + 3).div_ceil(4);
        let n = limbs::from_be_bytes(bytes, quads);
        let inverse = inverse(&n);
        let mut modulus = Self {
            n,
            inverse,
            r_squared: Vec::new(),
        };
        modulus.r_squared = modulus.r_squared(bits);
        modulus
    }

    /// A number of big-endian bytes, which must be below n.
    pub(crate) fn number(&self, bytes: &[u8]) -> Vec<Quad> {
        limbs::from_be_bytes(bytes, self.n.len())
    }

    /// `base` to the power of `exponent`, below n. `base` must be below n, `exponent` odd.
    pub(crate) fn power(&self, base: &[Quad], exponent: u64) -> Vec<Quad> {
        let mut columns = vec![[0; 4]; 2 * self.n.len()];
        let mut shifted = vec![[0; 4]; self.n.len()];
        self.multiply(base, &self.r_squared, &mut columns, &mut shifted);

        // All bits between the highest and the lowest, both of which are set.
        let mut power = shifted.clone();
        let middle = 63_u32.saturating_sub(exponent.leading_zeros());
        for bit in (1..middle).rev() {
            self.square(&mut power, &mut columns);
            if exponent >> bit & 1 == 1 {
                let operand = power.clone();
                self.multiply(&operand, &shifted, &mut columns, &mut power);
            }
        }
        // The last factor is not shifted by R, so that the result is not either.
        if middle > 0 {
            self.square(&mut power, &mut columns);
        }
        let operand = power.clone();
        self.multiply(&operand, base, &mut columns, &mut power);
        if limbs::at_least(&power, &self.n) {
            limbs::subtract(&mut power, &self.n);
        }
        power
    }

    /// `out` = `a`·`b` / R modulo n.
    fn multiply(&self, a: &[Quad], b: &[Quad], columns: &mut [Quad], out: &mut [Quad]) {
        columns.fill([0; 4]);
        for (index, a) in a.iter().enumerate() {
            add_rows(columns.get_mut(index..).unwrap_or_default(), a, b);
        }
        self.reduce(columns);
        out.copy_from_slice(columns.get(self.n.len()..).unwrap_or_default());
    }

    /// `a` = `a`² / R modulo n.
    fn square(&self, a: &mut [Quad], columns: &mut [Quad]) {
        for (a, columns) in a.iter().zip(columns.as_chunks_mut().0) {
            *columns = square_of(*a);
        }
        let mut rest = &*a;
        let mut at = 1;
        while let Some((rows, higher)) = rest.split_first() {
            let doubled = rows.map(|limb| 2 * limb);
            add_rows(columns.get_mut(at..).unwrap_or_default(), &doubled, higher);
            rest = higher;
            at += 2;
        }
        self.reduce(columns);
        a.copy_from_slice(columns.get(self.n.len()..).unwrap_or_default());
    }

    /// Adds the multiple of n that makes the lower half zero; the upper half is then the result.
    fn reduce(&self, columns: &mut [Quad]) {
        settle(columns);
        for index in 0..self.n.len() {
            let rest = columns.get_mut(index..).unwrap_or_default();
            if let Some(lowest) = rest.first() {
                let rows = low_product(lowest, &self.inverse);
                add_rows(rest, &rows, &self.n);
            }
        }
    }

    /// R² modulo n, from R, by doublings and squarings.
    fn r_squared(&self, bits: usize) -> Vec<Quad> {
        let all = self.n.len() * 4 * BITS as usize;
        // 2^(bits − 1) is below n, since n is odd.
        let mut number = vec![[0; 4]; self.n.len()];
        let top = bits.saturating_sub(1);
        if let Some(limb) = number.iter_mut().flatten().nth(top / BITS as usize) {
            *limb = 1 << (top % BITS as usize);
        }
        // R·2^h, where all = h·2^squarings.
        let squarings = all.trailing_zeros();
        for _ in 0..all - top + (all >> squarings) {
            limbs::double(&mut number, &self.n);
        }
        let mut columns = vec![[0; 4]; 2 * self.n.len()];
        for _ in 0..squarings {
            self.square(&mut number, &mut columns);
        }
        number
    }
}

/// The length of a big-endian number whose first byte is not zero.
fn bits(bytes: &[u8]) -> usize {
    let unused = bytes.first().map_or(0, |first| first.leading_zeros());
    (bytes.len() * 8).saturating_sub(unused as usize)
}

/// −n⁻¹ modulo 2¹²⁰, by Newton's iteration: each step doubles the bits that are right.
fn inverse(n: &[Quad]) -> Quad {
    let low = n.first().copied().unwrap_or_default();
    let low = low
        .into_iter()
        .rev()
        .fold(0_u128, |n, limb| n << BITS | u128::from(limb));
    // n·n ≡ 1 modulo 8: three bits; then 6, 12, 24, 48, 96, 192.
    let mut inverse = low;
    for _ in 0..6 {
        let error = 2_u128.wrapping_sub(low.wrapping_mul(inverse));
        inverse = inverse.wrapping_mul(error);
    }
    let negative = inverse.wrapping_neg();
    [0, 1, 2, 3].map(|index| (negative >> (index * BITS)) as u64 & MASK)
}

/// `columns` += `x`·`y`, where the limbs of `y` are below 2³⁰, those of `x` below 2³¹ and the columns
/// below 2⁶² + 2³⁵: four products of 61 bits, a column and a carry of 34 bits stay below 2⁶⁴. Leaves
/// the columns beside `y` below 2³⁰, and adds what remains to the next one.
fn add_rows(columns: &mut [Quad], x: &Quad, y: &[Quad]) {
    let [x0, x1, x2, x3] = *x;
    let (mut y1, mut y2, mut y3) = (0, 0, 0);
    let mut carry = 0;
    let (beside, after) = columns.split_at_mut(y.len().min(columns.len()));
    for ([c0, c1, c2, c3], &[a0, a1, a2, a3]) in beside.iter_mut().zip(y) {
        let sum = *c0 + carry + x0 * a0 + x1 * y1 + x2 * y2 + x3 * y3;
        *c0 = sum & MASK;
        let sum = *c1 + (sum >> BITS) + x0 * a1 + x1 * a0 + x2 * y1 + x3 * y2;
        *c1 = sum & MASK;
        let sum = *c2 + (sum >> BITS) + x0 * a2 + x1 * a1 + x2 * a0 + x3 * y1;
        *c2 = sum & MASK;
        let sum = *c3 + (sum >> BITS) + x0 * a3 + x1 * a2 + x2 * a1 + x3 * a0;
        *c3 = sum & MASK;
        carry = sum >> BITS;
        (y1, y2, y3) = (a3, a2, a1);
    }
    if let Some([first, ..]) = after.first_mut() {
        *first += carry;
    }
}

/// The columns of the square of four limbs below 2³⁰, each below 2⁶².
fn square_of([a0, a1, a2, a3]: Quad) -> [Quad; 2] {
    [
        [
            a0 * a0,
            2 * (a0 * a1),
            2 * (a0 * a2) + a1 * a1,
            2 * (a0 * a3 + a1 * a2),
        ],
        [2 * (a1 * a3) + a2 * a2, 2 * (a2 * a3), a3 * a3, 0],
    ]
}

/// Carries out of the lowest four columns, which are below 2⁶².
fn settle(columns: &mut [Quad]) {
    let mut carry = 0;
    if let [lowest, [next, ..], ..] = columns {
        for column in lowest {
            let sum = *column + carry;
            *column = sum & MASK;
            carry = sum >> BITS;
        }
        *next += carry;
    }
}

/// `a`·`b` modulo 2¹²⁰, for limbs below 2³⁰: sums of four products and a carry are below 2⁶³.
fn low_product([a0, a1, a2, a3]: &Quad, [b0, b1, b2, b3]: &Quad) -> Quad {
    let c0 = a0 * b0;
    let c1 = (c0 >> BITS) + a0 * b1 + a1 * b0;
    let c2 = (c1 >> BITS) + a0 * b2 + a1 * b1 + a2 * b0;
    let c3 = (c2 >> BITS) + a0 * b3 + a1 * b2 + a2 * b1 + a3 * b0;
    [c0, c1, c2, c3].map(|column| column & MASK)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// The largest number of this many bits is −1 modulo the next odd one but one, 2^bits + 1.
    #[test]
    fn minus_one_keeps_its_sign_under_odd_exponents() {
        for length in [8, 15, 16, 256, 257, 512] {
            let mut bytes = vec![0; length];
            bytes[0] = 1;
            bytes[length - 1] = 1;
            let modulus = Modulus::new(&bytes);
            let mut minus_one = bytes.clone();
            minus_one[length - 1] = 0;
            let minus_one = modulus.number(&minus_one);
            for exponent in [3, 5, 65_537, (1 << 33) - 1] {
                assert_eq!(
                    modulus.power(&minus_one, exponent),
                    minus_one,
                    "{length} {exponent}"
                );
            }
        }
    }

    #[test]
    fn the_inverse_is_one() {
        for low in [1, 3, MASK, 0x1234_5677] {
            let n = [low, 5, MASK, 7];
            assert_eq!(low_product(&n, &inverse(&[n])), [MASK; 4], "−1 modulo 2¹²⁰");
        }
    }
}
