//! Protobuf's wire: numbers, and fields with their forms.

use super::ProtoError;

/// What stands on the wire after a field's number.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Item<'b> {
    /// Form 0.
    Varint(u64),
    /// Form 1.
    Fixed64(u64),
    /// Form 2.
    Bytes(&'b [u8]),
    /// Form 5, which no kind uses.
    Fixed32,
}

impl Item<'_> {
    /// The number of the form, for messages.
    pub(crate) fn form(self) -> u8 {
        match self {
            Self::Varint(_) => 0,
            Self::Fixed64(_) => 1,
            Self::Bytes(_) => 2,
            Self::Fixed32 => 5,
        }
    }
}

/// The fields of a message, one after the other.
pub(crate) struct Fields<'b>(pub(crate) &'b [u8]);

impl<'b> Fields<'b> {
    /// The next field's number and what it holds; none at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Item<'b>)>, ProtoError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let (number, form) = (tag >> 3, (tag & 7) as u8);
        let number = u32::try_from(number).ok().filter(|number| *number != 0);
        let number = number.ok_or(ProtoError::IllegalTag(tag >> 3, form))?;
        let item = match form {
            0 => Item::Varint(self.varint()?),
            1 => Item::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| ProtoError::Truncated)?;
                Item::Bytes(self.take(length)?)
            }
            5 => {
                self.array::<4>()?;
                Item::Fixed32
            }
            _ => return Err(ProtoError::IllegalTag(u64::from(number), form)),
        };
        Ok(Some((number, item)))
    }

    /// A number in groups of seven bits.
    pub(crate) fn varint(&mut self) -> Result<u64, ProtoError> {
        let mut number = 0;
        for place in 0..10 {
            let (byte, rest) = self.0.split_first().ok_or(ProtoError::Truncated)?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << (place * 7);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(ProtoError::Overflow)
    }

    fn take(&mut self, length: usize) -> Result<&'b [u8], ProtoError> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(ProtoError::Truncated)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ProtoError> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(ProtoError::Truncated)?;
        self.0 = rest;
        Ok(*bytes)
    }
}

/// Writes a number.
pub(crate) fn put_varint(mut number: u64, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Writes a field of form 0.
pub(crate) fn put_number(field: u32, number: u64, bytes: &mut Vec<u8>) {
    put_varint(u64::from(field) << 3, bytes);
    put_varint(number, bytes);
}

/// Writes a field of form 1.
pub(crate) fn put_fixed64(field: u32, number: u64, bytes: &mut Vec<u8>) {
    put_varint(u64::from(field) << 3 | 1, bytes);
    bytes.extend(number.to_le_bytes());
}

/// Writes a field of form 2.
pub(crate) fn put_bytes(field: u32, content: &[u8], bytes: &mut Vec<u8>) {
    put_varint(u64::from(field) << 3 | 2, bytes);
    put_varint(content.len() as u64, bytes);
    bytes.extend_from_slice(content);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_are_written() {
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(number, &mut bytes);
            assert_eq!(Fields(&bytes).varint(), Ok(number));
            assert_eq!(Fields(&bytes[..bytes.len() - 1]).varint(), Err(ProtoError::Truncated));
        }
        assert_eq!(Fields(&[0x80; 11]).varint(), Err(ProtoError::Overflow));
        assert!(Fields(&[0]).next().is_err(), "there is no number 0");
        assert!(Fields(&[0x0b]).next().is_err(), "groups are no more");
    }
}
