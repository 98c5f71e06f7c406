//! That no length in a module points past its end. What reads modules and signatures makes room for what a length
//! says before it looks whether that much is there.

/// The section that holds signatures.
pub const SIGNATURES: &str = "signature";

/// Walks over the sections of a module, and over what is in its first one if that holds signatures.
///
/// # Errors
/// What does not fit.
pub fn check(module: &[u8]) -> Result<(), &'static str> {
    let mut rest = Reader(module.get(8..).ok_or("shorter than a module's header")?);
    let mut first = true;
    while !rest.0.is_empty() {
        let id = rest.take(1)?;
        let mut section = Reader(rest.slice()?);
        if id == [0] {
            let name = section.slice()?;
            if first && name == SIGNATURES.as_bytes() {
                signatures(section)?;
            }
        }
        first = false;
    }
    Ok(())
}

/// Three versions, then sets: hashes of 32 bytes, then signatures with their key's id.
fn signatures(mut data: Reader<'_>) -> Result<(), &'static str> {
    data.take(3)?;
    for _ in 0..data.number()? {
        let mut set = Reader(data.slice()?);
        for _ in 0..set.number()? {
            set.take(32)?;
        }
        for _ in 0..set.number()? {
            let mut signature = Reader(set.slice()?);
            signature.slice()?;
            signature.take(1)?;
            signature.slice()?;
        }
    }
    Ok(())
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or("a length points past the end")?;
        self.0 = rest;
        Ok(taken)
    }

    fn slice(&mut self) -> Result<&'a [u8], &'static str> {
        let count = self.number()?;
        self.take(usize::try_from(count).map_err(|_| "a length is no length")?)
    }

    /// LEB128, at most 32 bits.
    fn number(&mut self) -> Result<u32, &'static str> {
        let mut number = 0_u64;
        for shift in [0_u32, 7, 14, 21, 28] {
            let byte = u64::from(*self.take(1)?.first().ok_or("a length is cut off")?);
            number |= (byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(number).map_err(|_| "a length is too long");
            }
        }
        Err("a length is too long")
    }
}
