//! Sets of header names, as servers tell them apart.

/// Header names, compared without regard to ASCII case, and `_` for `-`: to many servers they are the same.
#[derive(Clone, Debug, Default)]
pub struct Names {
    names: Vec<Box<[u8]>>,
    /// A bit for each length that occurs; the last one is for all that are longer.
    lengths: u64,
}

impl Names {
    /// The set of these.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let plain = |name: &str| name.bytes().map(plain).collect();
        let names: Vec<Box<[u8]>> = names.into_iter().map(plain).collect();
        let lengths = names
            .iter()
            .fold(0, |lengths, name| lengths | length_bit(name));
        Self { names, lengths }
    }

    /// Whether the name is one of them.
    #[must_use]
    pub fn has(&self, name: &[u8]) -> bool {
        let may_be = self.lengths & length_bit(name) != 0;
        may_be
            && self.names.iter().any(|own| {
                own.len() == name.len()
                    && own
                        .iter()
                        .zip(name)
                        .all(|(own, given)| *own == plain(*given))
            })
    }
}

/// The bit of a name's length: most names are told apart by it.
fn length_bit(name: &[u8]) -> u64 {
    let bit = u32::try_from(name.len())
        .unwrap_or(u32::MAX)
        .min(u64::BITS - 1);
    1_u64.checked_shl(bit).unwrap_or_default()
}

const fn plain(byte: u8) -> u8 {
    match byte {
        b'_' => b'-',
        byte => byte.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn knows_a_name_in_disguise() {
        let names = Names::new(["X-Tenant-Id"]);
        for name in ["x-tenant-id", "X-TENANT-ID", "x_tenant_id", "X-Tenant_id"] {
            assert!(names.has(name.as_bytes()), "{name}");
        }
        for name in ["x-tenant-i", "x-tenant-idd", "", "x.tenant.id"] {
            assert!(!names.has(name.as_bytes()), "{name}");
        }
        assert!(!names.has(b"x-tenant-\xff\xff"));
        let long = "x-".repeat(50);
        let names = Names::new([long.as_str()]);
        assert!(names.has(long.as_bytes()));
        assert!(!names.has(&[b'x'; 99]) && !names.has(&[b'x'; 100]));
    }
}
