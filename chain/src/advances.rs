//! What a justification adds, in few bytes: most members are one message ahead of where they were cited last.
//!
//! A bit map says who is one ahead (its length in bytes as a u16, bit i of byte j for member 8 j + i, no zero byte at
//! its end); then come the others, their number as a u16 and for each two LEB128 numbers: how many members after the
//! one before it (from -1) it stands, minus one, and how far it is ahead (at least 2), or 0 for a member marked
//! faulty. A thousand members that are all one ahead take 129 bytes.
//!
//! In memory they stay in this form: a bit of a stranger's message becomes an entry of 24 bytes only once somebody
//! asks for it.

use borsh::{
    BorshDeserialize, BorshSerialize,
    io::{Error, ErrorKind, Read, Result, Write},
};
use kakera_cbc::{Cite, Member};

/// Advances in ascending order of members; see [`kakera_cbc::Message::advances`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advances {
    /// Who is one ahead, as on the wire.
    map: Vec<u8>,
    /// How many others there are.
    count: u16,
    /// The others' numbers, as on the wire.
    others: Vec<u8>,
}

impl Advances {
    /// The advances of these members.
    ///
    /// # Panics
    /// The members do not ascend, an advance is of no step, or more than 65,535 are something else than one ahead:
    /// no engine drafts any of these.
    pub fn new(list: Vec<(Member, Cite)>) -> Self {
        assert!(list.windows(2).all(|pair| pair[0].0 < pair[1].0), "members do not ascend");
        let mut advances = Self::default();
        let mut next = 0u32;
        for (member, cite) in list {
            let steps = match cite {
                Cite::Ahead(1) => {
                    let byte = member.index() / 8;
                    advances.map.resize(advances.map.len().max(byte + 1), 0);
                    advances.map[byte] |= 1 << (member.index() % 8);
                    continue;
                }
                Cite::Ahead(steps) => {
                    assert!(steps > 0, "an advance of no step");
                    steps
                }
                Cite::Faulty => 0,
            };
            write_number(&mut advances.others, u64::from(u32::from(member.0) - next));
            write_number(&mut advances.others, steps);
            next = u32::from(member.0) + 1;
            advances.count = advances.count.checked_add(1).expect("at most 65,535 that are not one ahead");
        }
        advances
    }

    /// All of them, in ascending order of members.
    pub fn iter(&self) -> impl Iterator<Item = (Member, Cite)> + '_ {
        let mut ahead = self.ahead().peekable();
        let mut others = self.others().peekable();
        std::iter::from_fn(move || match (ahead.peek(), others.peek()) {
            (Some(member), Some((other, _))) if other < member => others.next(),
            (Some(_), _) => ahead.next().map(|member| (member, Cite::Ahead(1))),
            (None, _) => others.next(),
        })
    }

    /// The last member of whom they say something.
    pub fn last(&self) -> Option<Member> {
        self.ahead().last().max(self.others().last().map(|(member, _)| member))
    }

    /// Who is one ahead.
    fn ahead(&self) -> impl Iterator<Item = Member> + '_ {
        let bytes = (0u16..).zip(&self.map);
        bytes.flat_map(|(byte, bits)| {
            (0..8).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| Member(byte * 8 + bit))
        })
    }

    fn others(&self) -> impl Iterator<Item = (Member, Cite)> + '_ {
        let (mut bytes, mut next) = (self.others.as_slice(), 0);
        (0..self.count).map_while(move |_| read_other(&mut bytes, &mut next).ok())
    }
}

impl BorshSerialize for Advances {
    fn serialize<W: Write>(&self, writer: &mut W) -> Result<()> {
        let length = u16::try_from(self.map.len()).map_err(|_| invalid("too many members"))?;
        length.serialize(writer)?;
        writer.write_all(&self.map)?;
        self.count.serialize(writer)?;
        writer.write_all(&self.others)
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
        let count = u16::deserialize_reader(reader)?;
        let (mut others, mut next) = (Vec::new(), 0);
        for _ in 0..count {
            let (member, cite) = read_other(&mut Copied { reader, bytes: &mut others }, &mut next)?;
            if cite == Cite::Ahead(1) {
                return Err(invalid("one ahead, outside the map"));
            }
            if map.get(member.index() / 8).is_some_and(|bits| bits >> (member.index() % 8) & 1 == 1) {
                return Err(invalid("a member twice"));
            }
        }
        others.shrink_to_fit();
        Ok(Self { map, count, others })
    }
}

/// Keeps what is read.
struct Copied<'a, R> {
    reader: &'a mut R,
    bytes: &'a mut Vec<u8>,
}

impl<R: Read> Read for Copied<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let read = self.reader.read(buffer)?;
        self.bytes.extend_from_slice(&buffer[..read]);
        Ok(read)
    }
}

/// One of the others; `next` is the first member that it may be.
fn read_other<R: Read>(reader: &mut R, next: &mut u64) -> Result<(Member, Cite)> {
    let place = read_number(reader)?.checked_add(*next);
    let member = place.and_then(|place| u16::try_from(place).ok()).ok_or_else(|| invalid("no member"))?;
    *next = u64::from(member) + 1;
    let cite = match read_number(reader)? {
        0 => Cite::Faulty,
        steps => Cite::Ahead(steps),
    };
    Ok((Member(member), cite))
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
        let advances = Advances::new(advances.iter().map(|(member, cite)| (Member(*member), *cite)).collect());
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
        let all = Advances::new((0..1_000).map(|member| (Member(member), Cite::Ahead(1))).collect());
        assert_eq!(encode(&all).len(), 129);
    }

    proptest! {
        #[test]
        fn advances_round_trip(list in prop::collection::btree_map(any::<u16>(), any::<Option<u64>>(), 0..40)) {
            let cite = |steps: Option<u64>| steps.map_or(Cite::Faulty, |steps| Cite::Ahead(steps.max(1)));
            let advances = Advances::new(list.into_iter().map(|(member, steps)| (Member(member), cite(steps))).collect());
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
