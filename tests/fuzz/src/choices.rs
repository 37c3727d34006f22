//! Decisions read from the fuzzer's bytes, and changes of valid bytes by such decisions.

/// Bytes as a source of decisions; when they are used up, every decision is zero.
#[derive(Clone, Debug)]
pub(crate) struct Choices<'a> {
    left: &'a [u8],
}

/// Numbers at which arithmetic breaks.
const EDGES: [u64; 12] =
    [0, 1, 2, 127, 128, 0xffff, 0x1_0000, u32::MAX as u64, i64::MAX as u64, 1 << 63, u64::MAX - 1, u64::MAX];

impl<'a> Choices<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Choices { left: bytes }
    }

    /// Whether nothing is left to decide by.
    pub(crate) fn is_over(&self) -> bool {
        self.left.is_empty()
    }

    /// What is left, all of it.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.left
    }

    /// The next bytes: `count`, or as many as there are.
    pub(crate) fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, left) = self.left.split_at(count.min(self.left.len()));
        self.left = left;
        taken
    }

    pub(crate) fn u8(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or_default()
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from(self.u8()) | u16::from(self.u8()) << 8
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.u8() & 1 == 1
    }

    /// A number below `limit`; zero where the limit is.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        let number = if limit <= 256 { usize::from(self.u8()) } else { usize::from(self.u16()) };
        if limit == 0 { 0 } else { number % limit }
    }

    /// One of `list`.
    pub(crate) fn of<'b, T>(&mut self, list: &'b [T]) -> &'b T {
        &list[self.below(list.len())]
    }

    /// A number where arithmetic breaks, a small one, or any.
    pub(crate) fn number(&mut self) -> u64 {
        match self.u8() {
            edge @ 0..64 => EDGES[usize::from(edge) % EDGES.len()],
            small @ 64..192 => u64::from(small) - 64,
            _ => {
                let mut bytes = [0; 8];
                let taken = self.bytes(8);
                bytes[..taken.len()].copy_from_slice(taken);
                u64::from_le_bytes(bytes)
            }
        }
    }

    /// `valid` with one to four changes; `other` is where foreign pieces come from.
    pub(crate) fn change(&mut self, valid: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = valid.to_vec();
        for _ in 0..=self.below(4) {
            self.change_once(&mut bytes, other);
        }
        bytes
    }

    fn change_once(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        let (kind, at) = (self.u8(), self.below(bytes.len()));
        let width = 1 + self.below(40);
        let end = (at + width).min(bytes.len());
        match kind % 12 {
            0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = self.u8()),
            1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (width % 8)),
            2 => add(bytes, at, 1),
            3 => add(bytes, at, u64::MAX),
            4 => {
                let edge = self.number().to_le_bytes();
                bytes.iter_mut().skip(at).zip(edge).for_each(|(byte, new)| *byte = new);
            }
            5 => bytes.insert(at, self.u8()),
            6 => drop(bytes.drain(at..end)),
            7 => {
                let again = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, again));
            }
            8 => {
                let from = self.below(bytes.len());
                let piece: Vec<u8> = bytes[from..].iter().take(width).copied().collect();
                bytes.iter_mut().skip(at).zip(piece).for_each(|(byte, new)| *byte = new);
            }
            9 => {
                let from = self.below(other.len());
                let piece = other.iter().skip(from).take(width);
                bytes.iter_mut().skip(at).zip(piece).for_each(|(byte, new)| *byte = *new);
            }
            10 => bytes.truncate(at),
            _ => {
                // Whole digests and keys stand at any place: one that stands elsewhere in these bytes.
                let from = self.below(bytes.len());
                let digest: Vec<u8> = bytes[from..].iter().take(32).copied().collect();
                bytes.iter_mut().skip(at).zip(digest).for_each(|(byte, new)| *byte = new);
            }
        }
    }
}

/// Adds to the little-endian number of eight bytes at `at`.
fn add(bytes: &mut [u8], at: usize, what: u64) {
    let Some(place) = bytes.get_mut(at..at + 8) else { return };
    let number = u64::from_le_bytes(place.try_into().expect("eight bytes"));
    place.copy_from_slice(&number.wrapping_add(what).to_le_bytes());
}

/// SplitMix64: the bytes of the bounded runs in tests.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Bytes to decide by.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.number().to_le_bytes()[0]).collect()
    }

    /// `valid` changed in a few places, with pieces of `other`.
    pub fn change(&mut self, valid: &[u8], other: &[u8]) -> Vec<u8> {
        let decisions = self.bytes(64);
        Choices::new(&decisions).change(valid, other)
    }
}
