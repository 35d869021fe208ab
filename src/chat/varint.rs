//! Numbers and names in hand-framed bytes: LEB128, short names, and a reader that never looks past
//! the end.

/// Bytes that can't be read: they were not written by this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed bytes")]
pub struct Malformed;

/// Appends a LEB128 number.
pub fn put_number(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

/// Appends a name: one byte for its length, and UTF-8.
///
/// # Panics
/// If it has more than 255 bytes; names are bounded where they are made.
pub fn put_name(to: &mut Vec<u8>, name: &str) {
    // Names are bounded by `limits` to less than 256 bytes where they are made.
    to.push(u8::try_from(name.len()).expect("names are short"));
    to.extend_from_slice(name.as_bytes());
}

/// Reads bytes from the front.
#[derive(Debug)]
pub struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    /// Begins to read.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Returns true if everything was read.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Passes over a byte, if it is this one and the next is a whole number; gives that.
    #[inline]
    pub fn small_after(&mut self, byte: u8) -> Option<u8> {
        match self.0 {
            [first, number @ 0..=0x7f, rest @ ..] if *first == byte => {
                self.0 = rest;
                Some(*number)
            }
            _ => None,
        }
    }

    /// Takes the next `bytes` bytes.
    ///
    /// # Errors
    /// Returns an error if there are fewer.
    #[inline]
    pub fn take(&mut self, bytes: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    /// The same, as an array.
    ///
    /// # Errors
    /// Returns an error if there are fewer.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed)
    }

    /// A LEB128 number.
    ///
    /// # Errors
    /// Returns an error if it does not end, or has more than 64 bits.
    #[inline(always)]
    pub fn number(&mut self) -> Result<u64, Malformed> {
        match self.0 {
            // Most are small.
            [byte @ 0..=0x7f, rest @ ..] => {
                self.0 = rest;
                Ok(u64::from(*byte))
            }
            [low, high @ 1..=0x7f, rest @ ..] => {
                self.0 = rest;
                Ok(u64::from(*low & 0x7f) | u64::from(*high) << 7)
            }
            _ => self.long_number(),
        }
    }

    #[inline(never)]
    fn long_number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                return Err(Malformed);
            }
            number |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Malformed)
    }

    /// Takes the next `bytes` bytes as UTF-8.
    ///
    /// # Errors
    /// Returns an error if there are fewer, or they are not UTF-8.
    pub fn text(&mut self, bytes: usize) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.take(bytes)?).map_err(|_| Malformed)
    }

    /// A name: one byte for its length, and UTF-8.
    ///
    /// # Errors
    /// Returns an error if there are fewer bytes, or they are not UTF-8.
    pub fn name(&mut self) -> Result<&'a str, Malformed> {
        let [bytes] = self.array()?;
        self.text(bytes.into())
    }
}
