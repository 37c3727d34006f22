//! What a justification adds, in few bytes: most members are one message ahead of where they were cited last.
//!
//! A bit map says who is one ahead (its length in bytes as a u16, bit i of byte j for member 8 j + i, no zero byte at
//! its end); then come the others, their number as a u16 and for each two LEB128 numbers: how many members after the
//! one before it (from -1) it stands, minus one, and how far it is ahead (at least 2), or 0 for a member marked faulty. A thousand members
//! that are all one ahead take 129 bytes.

use borsh::{
    BorshDeserialize, BorshSerialize,
    io::{Error, ErrorKind, Read, Result, Write},
};
use kakera_cbc::{Cite, Member};

/// Advances in ascending order of members; see [`kakera_cbc::Message::advances`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advances(pub Vec<(Member, Cite)>);

impl BorshSerialize for Advances {
    fn serialize<W: Write>(&self, writer: &mut W) -> Result<()> {
        let mut map = Vec::new();
        let mut others = Vec::new();
        let mut count = 0u16;
        let mut next = 0u32;
        for (member, cite) in &self.0 {
            if *cite == Cite::Ahead(1) {
                let byte = member.index() / 8;
                map.resize(map.len().max(byte + 1), 0u8);
                map[byte] |= 1 << (member.index() % 8);
                continue;
            }
            let gap = u32::from(member.0).checked_sub(next).ok_or_else(|| invalid("advances out of order"))?;
            next = u32::from(member.0) + 1;
            write_number(&mut others, gap.into());
            write_number(&mut others, if let Cite::Ahead(steps) = cite { *steps } else { 0 });
            count = count.checked_add(1).ok_or_else(|| invalid("too many advances"))?;
        }
        let length = u16::try_from(map.len()).map_err(|_| invalid("too many members"))?;
        length.serialize(writer)?;
        writer.write_all(&map)?;
        count.serialize(writer)?;
        writer.write_all(&others)
    }
}

impl BorshDeserialize for Advances {
    fn deserialize_reader<R: Read>(reader: &mut R) -> Result<Self> {
        let length = u16::deserialize_reader(reader)?;
        if length > 1 << 13 {
            return Err(invalid("a map of more members than there can be"));
        }
        let mut map = vec![0u8; usize::from(length)];
        reader.read_exact(&mut map)?;
        if map.last() == Some(&0) {
            return Err(invalid("a map with an empty end"));
        }
        let mut list = Vec::new();
        for (byte, bits) in (0u16..).zip(&map) {
            for bit in (0..8).filter(|bit| bits >> bit & 1 == 1) {
                list.push((Member(byte * 8 + bit), Cite::Ahead(1)));
            }
        }
        let count = u16::deserialize_reader(reader)?;
        let mut next = 0u64;
        for _ in 0..count {
            let place = read_number(reader)?.checked_add(next);
            let member = place.and_then(|place| u16::try_from(place).ok()).ok_or_else(|| invalid("no member"))?;
            next = u64::from(member) + 1;
            let cite = match read_number(reader)? {
                0 => Cite::Faulty,
                1 => return Err(invalid("one ahead, outside the map")),
                steps => Cite::Ahead(steps),
            };
            list.push((Member(member), cite));
        }
        list.sort_by_key(|advance| advance.0);
        if list.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(invalid("a member twice"));
        }
        Ok(Self(list))
    }
}

fn invalid(what: &'static str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

/// Unsigned LEB128 in its shortest form.
fn write_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

fn read_number<R: Read>(reader: &mut R) -> Result<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = u8::deserialize_reader(reader)?;
        let part = u64::from(byte & 0x7f);
        if shift > 0 && byte == 0 || part << shift >> shift != part {
            return Err(invalid("a number that is not in its shortest form"));
        }
        number |= part << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(invalid("a number past 64 bits"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{decode, encode};
    use proptest::prelude::*;

    fn golden(bytes: &[u8], advances: &[(u16, Cite)]) {
        let advances = Advances(advances.iter().map(|(member, cite)| (Member(*member), *cite)).collect());
        assert_eq!(encode(&advances), bytes);
        assert_eq!(decode::<Advances>(bytes, 100).as_ref(), Ok(&advances));
    }

    #[test]
    fn advances_golden() {
        golden(&[0, 0, 0, 0], &[]);
        golden(&[1, 0, 0b101, 0, 0], &[(0, Cite::Ahead(1)), (2, Cite::Ahead(1))]);
        let mixed = [(1, Cite::Faulty), (9, Cite::Ahead(1)), (10, Cite::Ahead(300))];
        golden(&[2, 0, 0, 2, 2, 0, 1, 0, 8, 0xac, 2], &mixed);
        golden(&[0, 0, 1, 0, 0xff, 0xff, 3, 2], &[(u16::MAX, Cite::Ahead(2))]);
    }

    #[test]
    fn other_encodings_of_the_same_are_refused() {
        let refused: [&[u8]; 8] = [
            &[1, 0, 0, 0, 0],
            &[0, 0, 1, 0, 0, 1],
            &[0, 0, 1, 0, 0x80, 0, 2],
            &[1, 0, 1, 1, 0, 0, 2],
            &[0, 0, 1, 0, 0xff, 0xff, 4, 2],
            &[0, 0, 1, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
            &[0xff, 0xff, 1],
            &[0, 0, 0xff, 0xff],
        ];
        for bytes in refused {
            assert!(decode::<Advances>(bytes, 100).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_thousand_members_one_ahead_take_129_bytes() {
        let all = Advances((0..1_000).map(|member| (Member(member), Cite::Ahead(1))).collect());
        assert_eq!(encode(&all).len(), 129);
    }

    proptest! {
        #[test]
        fn advances_round_trip(list in prop::collection::btree_map(any::<u16>(), any::<Option<u64>>(), 0..40)) {
            let cite = |steps: Option<u64>| steps.map_or(Cite::Faulty, |steps| Cite::Ahead(steps.max(1)));
            let advances = Advances(list.into_iter().map(|(member, steps)| (Member(member), cite(steps))).collect());
            prop_assert_eq!(decode::<Advances>(&encode(&advances), 4_096), Ok(advances));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(advances) = decode::<Advances>(&bytes, 60) {
                prop_assert_eq!(encode(&advances), bytes);
            }
        }
    }
}
