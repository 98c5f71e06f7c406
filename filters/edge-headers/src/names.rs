//! Sets of header names.

/// Header names, compared without regard to ASCII case, and `_` for `-`: to many servers they are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names(Vec<Box<[u8]>>);

impl Names {
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let plain = |name: &str| name.bytes().map(plain).collect();
        Self(names.into_iter().map(plain).collect())
    }

    pub fn has(&self, name: &[u8]) -> bool {
        self.0.iter().any(|own| {
            own.len() == name.len()
                && own
                    .iter()
                    .zip(name)
                    .all(|(own, given)| *own == plain(*given))
        })
    }
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
    }
}
