//! The heap counts its bytes, so that a target can say what decoding may take.

use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Bytes of heap that decoding may take for each byte there is: an entry of a member that says nothing is one byte on
/// the wire and 48 in memory, and a list that grows has room for twice its length beside the half that it leaves.
const PER_BYTE: usize = 160;
/// What decoding few bytes may take whatever they are: borsh reserves a mebibyte ahead of a list of bytes.
const ANYWAY: usize = 1024 * 1024 + 128 * 1024;

/// What `decode` gives.
///
/// # Panics
/// When it takes more heap than decoding `length` bytes may. Nothing else may use the heap meanwhile.
pub(crate) fn bounded<T>(length: usize, decode: impl FnOnce() -> T) -> T {
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let decoded = decode();
    let peak = HEAP.peak_usage().saturating_sub(before);
    let bound = PER_BYTE * length + ANYWAY;
    assert!(peak <= bound, "{length} bytes took {peak} bytes of heap, {bound} are allowed");
    decoded
}
