//! What a member must not forget: torn writes, older forms, two processes, and the way to another machine.

#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use kakera_chain::{keys::PublicKey, units::ShardId};

const NETWORK: NetworkId = NetworkId(Hash([1; 32]));
const KEY: PublicKey = PublicKey([7; 32]);

fn open(path: &Path) -> Result<SignGuard, GuardFailure> {
    SignGuard::open(path, NETWORK, ChainId::Beacon)
}

fn read(path: &Path) -> SignState {
    open(path).unwrap().read()
}

fn said(next_seq: u64) -> SignState {
    in_epoch(0, next_seq)
}

fn in_epoch(epoch: u64, next_seq: u64) -> SignState {
    SignState { epoch: Epoch(epoch), root: BlockId([5; 32]), next_seq, finality_height: next_seq / 2 }
}

/// A slot as it was written before there were epochs.
fn old_slot(generation: u64, next_seq: u64, finality_height: u64) -> Vec<u8> {
    let numbers = [generation, next_seq, finality_height].map(u64::to_be_bytes).concat();
    let bytes = [&b"kkguard1"[..], &numbers].concat();
    let checksum = Hash::of(&[&bytes, &codec::encode(&(NETWORK, ChainId::Beacon))]);
    [bytes, checksum.0.to_vec()].concat()
}

#[test]
fn the_newest_state_survives_and_never_shrinks_within_an_era() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/sign-state");
    assert_eq!(read(&path), SignState::default());
    for seq in 1..6 {
        open(&path).unwrap().write(said(seq)).unwrap();
        assert_eq!(read(&path), said(seq));
    }
    open(&path).unwrap().write(SignState { next_seq: 2, finality_height: 9, ..said(0) }).unwrap();
    assert_eq!(read(&path), SignState { next_seq: 5, finality_height: 9, ..said(0) });
    let files = fs::read_dir(path.parent().unwrap()).unwrap().count();
    assert_eq!(files, 1, "nothing else is left behind");
}

#[test]
fn a_new_era_begins_afresh_and_an_older_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sign-state");
    let guard = open(&path).unwrap();
    guard.write(in_epoch(2, 50)).unwrap();
    guard.write(in_epoch(3, 1)).unwrap();
    assert_eq!(guard.read(), in_epoch(3, 1));
    for back in [in_epoch(2, 60), SignState { root: BlockId([6; 32]), ..in_epoch(3, 9) }] {
        let refusal = guard.write(back).unwrap_err().to_string();
        assert!(refusal.contains("sign-state is of epoch 3"), "{refusal}");
    }
    drop(guard);
    assert_eq!(read(&path), in_epoch(3, 1));
}

#[test]
fn a_torn_write_at_any_byte_leaves_the_older_state_or_the_newer_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sign-state");
    let old = [old_slot(6, 6, 3), vec![0; 4096 - OLD_BYTES], old_slot(7, 7, 3)].concat();
    let of_old = SignState { root: SignState::ANY_ROOT, ..said(7) };
    for (first, held) in [(None, said(7)), (Some(old), of_old)] {
        match first {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => open(&path).unwrap().write(said(7)).unwrap(),
        }
        let before = fs::read(&path).unwrap();
        assert_eq!(read(&path), held);
        open(&path).unwrap().write(said(8)).unwrap();
        let mut after = fs::read(&path).unwrap();
        after.resize(after.len().max(before.len()), 0);
        let differing: Vec<usize> = (0..after.len()).filter(|at| before.get(*at) != after.get(*at)).collect();
        assert!(!differing.is_empty());
        for torn in 0..=differing.len() {
            let mut bytes = before.clone();
            for at in &differing[..torn] {
                bytes.resize(bytes.len().max(at + 1), 0);
                bytes[*at] = after[*at];
            }
            fs::write(&path, bytes).unwrap();
            let expected = if torn == differing.len() { said(8) } else { held };
            assert_eq!(read(&path), expected, "{torn} bytes reached the disk");
        }
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn two_damaged_slots_an_empty_file_and_another_chain_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sign-state");
    open(&path).unwrap().write(said(3)).unwrap();
    let other = SignGuard::open(&path, NetworkId(Hash([2; 32])), ChainId::Beacon);
    assert!(matches!(other, Err(GuardFailure::Corrupt { .. })));
    let whole = fs::read(&path).unwrap();
    let mut bytes = whole.clone();
    bytes[20] ^= 1;
    bytes[4096 + 20] ^= 1;
    for damaged in [bytes, Vec::new(), whole[..10].to_vec(), old_slot(1, 5, 2)[..63].to_vec()] {
        fs::write(&path, damaged).unwrap();
        assert!(matches!(open(&path), Err(GuardFailure::Corrupt { .. })));
    }
}

#[test]
fn the_format_is_fixed() {
    let state = SignState { epoch: Epoch(4), root: BlockId([9; 32]), next_seq: 258, finality_height: 1 };
    let bytes = encode(3, state, b"salt");
    assert_eq!(bytes[..8], *b"kkguard2");
    assert_eq!(bytes[8..24], [0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4]);
    assert_eq!(bytes[24..56], [9; 32]);
    assert_eq!(bytes[56..72], [0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(bytes[72..], Hash::of(&[&bytes[..72], b"salt"]).0);
    assert_eq!(decode(&bytes, b"salt"), Some((3, state)));
    for bit in 0..8 * BYTES {
        let mut damaged = bytes;
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(decode(&damaged, b"salt"), None, "bit {bit}");
    }
}

#[test]
fn what_was_written_before_there_were_epochs_is_of_epoch_0() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sign-state");
    // The second slot ends with the file, where a new one would be longer.
    fs::write(&path, [old_slot(4, 40, 20), vec![0; 4096 - OLD_BYTES], old_slot(5, 41, 20)].concat()).unwrap();
    let old = SignState { next_seq: 41, finality_height: 20, ..SignState::default() };
    assert_eq!(read(&path), old);
    let guard = open(&path).unwrap();
    guard.write(SignState { root: BlockId([5; 32]), next_seq: 42, ..old }).unwrap();
    drop(guard);
    assert_eq!(read(&path), SignState { root: BlockId([5; 32]), next_seq: 42, ..old }, "in either form, side by side");
}

#[test]
fn a_second_process_is_locked_out_until_the_first_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sign-state");
    let first = open(&path).unwrap();
    let clone = first.clone();
    assert!(matches!(open(&path), Err(GuardFailure::Locked { .. })));
    drop(first);
    assert!(matches!(open(&path), Err(GuardFailure::Locked { .. })), "it is still held");
    drop(clone);
    assert!(open(&path).is_ok());
}

#[test]
fn a_file_that_another_process_makes_first_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sign-state");
    let first = open(&path).unwrap();
    first.write(said(9)).unwrap();
    create(&path, b"another").unwrap();
    drop(first);
    assert_eq!(read(&path), said(9));
}

#[test]
fn a_spent_epoch_stays_spent_and_later_ones_are_free() {
    let dir = tempfile::tempdir().unwrap();
    let guard = open(&dir.path().join("sign-state")).unwrap();
    guard.write(in_epoch(4, 10)).unwrap();
    for (clock, spent) in [(6, 6), (5, 6)] {
        guard.spend(Epoch(clock)).unwrap();
        assert_eq!(guard.read(), SignState::spent(Epoch(spent)), "whatever the clock says, never less");
    }
    assert!(guard.write(in_epoch(5, 1)).is_err());
    guard.write(in_epoch(7, 1)).unwrap();
}

#[test]
fn an_exported_interlock_is_imported_elsewhere_and_never_goes_back() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let guard = open(&here.path().join("sign-state")).unwrap();
    guard.write(in_epoch(4, 10)).unwrap();
    let text = guard.export(KEY);
    let other = open(&there.path().join("sign-state")).unwrap();
    assert_eq!(other.import(&text, KEY).unwrap(), in_epoch(4, 10));
    assert_eq!(other.read(), in_epoch(4, 10));
    assert!(other.import(&text, KEY).is_ok(), "again: it says no less");
    for more in [in_epoch(4, 12), in_epoch(5, 0)] {
        other.write(more).unwrap();
        assert!(matches!(other.import(&text, KEY), Err(ImportRefused::GoesBack { .. })));
        assert_eq!(other.read(), more);
    }
    guard.write(SignState::spent(Epoch(6))).unwrap();
    assert!(other.import(&guard.export(KEY), KEY).is_ok());
    assert_eq!(other.read(), SignState::spent(Epoch(6)));
}

#[test]
fn a_changed_or_foreign_interlock_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let guard = open(&dir.path().join("sign-state")).unwrap();
    guard.write(in_epoch(4, 10)).unwrap();
    let text = guard.export(KEY);
    let refusal = |text: &str| guard.import(text, KEY).unwrap_err();
    assert!(matches!(refusal(&text.replace("\"next_seq\": 10", "\"next_seq\": 99")), ImportRefused::Checksum));
    assert!(matches!(refusal(&text.replace("\"epoch\": 4", "\"epoch\": 5")), ImportRefused::Checksum));
    let version = text.replace("\"kakera_interlock\": 1", "\"kakera_interlock\": 2");
    assert!(matches!(refusal(&version), ImportRefused::Version { found: 2 }));
    let extra = text.replace("\"epoch\"", "\"more\": 1, \"epoch\"");
    for odd in ["", "{}", &text[..text.len() - 3], &extra] {
        assert!(matches!(refusal(odd), ImportRefused::Format(_)));
    }
    assert!(matches!(refusal(&" ".repeat(5_000)), ImportRefused::TooLong { .. }));
    assert!(matches!(refusal(&text.replace(&"05".repeat(32), "05")), ImportRefused::Hex { field: "root" }));
    assert!(matches!(guard.import(&text, PublicKey([8; 32])), Err(ImportRefused::OtherKey { found: KEY })));
    let elsewhere = tempfile::tempdir().unwrap();
    let at = |network, chain| {
        let path = elsewhere.path().join(format!("{chain}{network}"));
        SignGuard::open(&path, network, chain).unwrap().import(&text, KEY).unwrap_err()
    };
    assert!(matches!(at(NetworkId(Hash([2; 32])), ChainId::Beacon), ImportRefused::OtherNetwork { found: NETWORK }));
    let shard = ChainId::Shard(ShardId(3));
    assert!(matches!(at(NETWORK, shard), ImportRefused::OtherChain { found: ChainId::Beacon }));
    assert_eq!(guard.read(), in_epoch(4, 10), "nothing has changed");
}

#[test]
fn the_exported_form_is_fixed() {
    let dir = tempfile::tempdir().unwrap();
    let guard = SignGuard::open(&dir.path().join("sign-state"), NETWORK, ChainId::Shard(ShardId(3))).unwrap();
    guard.write(in_epoch(4, 10)).unwrap();
    let expected = format!(
        "{{\n  \"kakera_interlock\": 1,\n  \"network\": \"{}\",\n  \"chain\": {{\n    \"Shard\": 3\n  }},\n  \
         \"key\": \"{}\",\n  \"epoch\": 4,\n  \"root\": \"{}\",\n  \"next_seq\": 10,\n  \
         \"finality_height\": 5,\n  \"checksum\": \"{}\"\n}}\n",
        "01".repeat(32),
        "07".repeat(32),
        "05".repeat(32),
        "220425d07fee7283759569f2b68f48484928a03d29e3e7c7a23c6dfdb4a65bf3"
    );
    assert_eq!(guard.export(KEY), expected);
}
