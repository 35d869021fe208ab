//! Bytes as decisions: any value that serde can read, made from the bytes of an input.
//!
//! A change of one byte changes one decision, so a mutator that knows no types changes values instead of
//! syntax. New requests, replies and events are covered without a line here.

use serde::{
    de::{
        self, DeserializeOwned, DeserializeSeed, EnumAccess, IntoDeserializer as _, SeqAccess,
        VariantAccess, Visitor,
        value::{Error, U32Deserializer},
    },
    forward_to_deserialize_any,
};

/// Names and texts: valid and invalid ones, other spellings of a name, text that commands a terminal.
const WORDS: [&str; 24] = [
    "dev",
    "DEV",
    "회의",
    "\u{1112}\u{116c}\u{110b}\u{1174}",
    "ann",
    "bob",
    "carol",
    "ci",
    "봇",
    "a",
    "Straße",
    "café",
    "board",
    "ops-1.x_y",
    "",
    "a b",
    "#7",
    "@ann hi",
    "@ann/ci, \u{1b}[2J\u{202e}\n\tx",
    "안녕 👩\u{200d}👩\u{200d}👧",
    "가가가가가가가가가가가가가가가가가가가가가",
    "가가가가가가가가가가가가가가가가가가가가가가",
    "https://example.org/a?b=c#d",
    "0123456789012345678901234567890123456789012345678901234567890123456789",
];
/// Strings that are often a valid name.
const NAMES: usize = 14;
/// Bytes of strings and items of lists that one value has at most: it has to fit into a frame.
const VALUE_BYTES_MAX: usize = 24_000;

/// The bytes of an input, read as decisions; after the last one every decision is 0.
#[derive(Debug)]
pub struct Tape<'a> {
    rest: &'a [u8],
    /// Bytes that the value being made may still take.
    left: usize,
}

impl<'a> Tape<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, left: 0 }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *byte
    }

    /// Returns a number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let wide = if bound > 256 { usize::from(self.byte()) << 8 } else { 0 };
        (wide | usize::from(self.byte())) % bound
    }

    /// Returns true in `n` of 8 cases.
    pub fn chance(&mut self, n: u8) -> bool {
        self.byte() % 8 < n
    }

    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// Returns a number: small ones often, the edges of its width now and then.
    pub fn number(&mut self) -> u64 {
        let mut wide = [0; 8];
        match self.byte() {
            small @ 0..=127 => u64::from(small) / 4,
            128..=159 => u64::from(self.byte()),
            160..=175 => {
                let bytes = self.bytes(8);
                wide[..bytes.len()].copy_from_slice(bytes);
                u64::from_le_bytes(wide)
            }
            176..=191 => u64::MAX - u64::from(self.byte() % 4),
            192..=207 => (i64::MAX as u64).wrapping_add(u64::from(self.byte() % 4)).wrapping_sub(1),
            208..=223 => u64::from(u32::MAX).wrapping_sub(u64::from(self.byte() % 4)),
            224..=239 => 1 << (self.byte() % 64),
            240..=255 => u64::from(self.byte()) << 10,
        }
    }

    pub fn string(&mut self) -> String {
        let which = usize::from(self.byte());
        let text = match which {
            0..=159 => WORDS[which % NAMES].to_owned(),
            160..=239 => WORDS[which % WORDS.len()].to_owned(),
            240..=251 => String::from_utf8_lossy(self.bytes(which - 240)).into_owned(),
            _ => WORDS[usize::from(self.byte()) % WORDS.len()].repeat(usize::from(self.byte())),
        };
        if text.len() > self.left {
            return String::new();
        }
        self.left -= text.len();
        text
    }

    /// Returns a value; none if the decisions led to an invalid one, such as a name with a space.
    pub fn value<T: DeserializeOwned>(&mut self) -> Option<T> {
        self.left = VALUE_BYTES_MAX;
        T::deserialize(&mut *self).ok()
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty),*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.$visit(self.number() as $type)
        })*
    };
}

impl<'de> de::Deserializer<'de> for &mut Tape<'_> {
    type Error = Error;

    numbers!(
        deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16, deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64, deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32, deserialize_u64 visit_u64 u64
    );

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(de::Error::custom("types without a fixed form can't be made"))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bool(self.byte() & 1 == 1)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let text = self.string();
        visitor.visit_string(text)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.byte() & 1 == 1 { visitor.visit_some(self) } else { visitor.visit_none() }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let count = match self.byte() {
            few @ 0..=247 => few % 4,
            many => many,
        };
        self.deserialize_tuple(count.into(), visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        count: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_seq(Items { tape: self, count })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        count: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_tuple(count, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_tuple(fields.len(), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let which = self.below(variants.len()) as u32;
        visitor.visit_enum(Variant { tape: self, which })
    }

    forward_to_deserialize_any! {
        i128 u128 f32 f64 char bytes byte_buf unit_struct map identifier ignored_any
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

struct Items<'t, 'a> {
    tape: &'t mut Tape<'a>,
    count: usize,
}

impl<'de> SeqAccess<'de> for Items<'_, '_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        if self.count == 0 {
            return Ok(None);
        }
        self.count -= 1;
        // An item takes a little beside its strings.
        self.tape.left = self.tape.left.saturating_sub(16);
        if self.tape.left == 0 {
            return Err(de::Error::custom("longer than a frame"));
        }
        seed.deserialize(&mut *self.tape).map(Some)
    }
}

struct Variant<'t, 'a> {
    tape: &'t mut Tape<'a>,
    which: u32,
}

impl<'de> EnumAccess<'de> for Variant<'_, '_> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let which: U32Deserializer<Error> = self.which.into_deserializer();
        Ok((seed.deserialize(which)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, '_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self.tape)
    }

    fn tuple_variant<V: Visitor<'de>>(self, count: usize, visitor: V) -> Result<V::Value, Error> {
        de::Deserializer::deserialize_tuple(self.tape, count, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        de::Deserializer::deserialize_tuple(self.tape, fields.len(), visitor)
    }
}
