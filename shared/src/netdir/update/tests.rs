use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::authorities::tests::authorities;
use super::super::{Authorities, AuthorityKeypair, ConsensusDraft, RelayEntry, RelayRole, Roles, Validity};
use super::*;
use crate::time::UnixTime;

const NOW: u64 = 1_700_000_000;

/// A relay with this number, and something about it that changes.
fn entry(number: u16, weight: u32) -> RelayEntry {
    let key = |kind: u8| {
        let mut key = [kind; 32];
        key[..2].copy_from_slice(&number.wrapping_mul(40_503).to_be_bytes());
        key
    };
    let mut entry = RelayEntry::new(
        key(1).into(),
        key(2).into(),
        key(3).into(),
        Roles::from_iter([RelayRole::Guard, RelayRole::Middle]),
        format!("relay{number}").parse().unwrap(),
        format!("ws://192.0.2.1:{}/link", number.max(1)).parse().unwrap(),
    );
    entry.weight = weight;
    entry
}

/// Relays by their numbers, each with its weight and health.
type Relays = BTreeMap<u16, (u32, u8)>;

struct Maker {
    keypairs: Vec<AuthorityKeypair>,
    authorities: Authorities,
}

impl Maker {
    fn new() -> Self {
        let (keypairs, authorities) = authorities(1);
        Self { keypairs, authorities }
    }

    fn make(&self, period: u64, relays: &Relays) -> Consensus {
        let valid_after = NOW + period;
        let validity = Validity { valid_after, fresh_until: valid_after + 60, valid_until: valid_after + 180 };
        let entries: Vec<_> = relays.iter().map(|(number, (weight, _))| entry(*number, *weight)).collect();
        let mut draft = ConsensusDraft::new(*self.authorities.network(), validity, entries);
        draft.health = relays.iter().map(|(number, (_, health))| (entry(*number, 0).identity, *health)).collect();
        self.verify(&draft.sign(&[&self.keypairs[0]]).unwrap()).unwrap()
    }

    fn verify(&self, bytes: &[u8]) -> Result<Consensus, ConsensusError> {
        Consensus::verify(bytes, &self.authorities, UnixTime::from_millis(NOW * 1000))
    }
}

/// The encoding of what `new` has different from `old`.
fn difference(old: &Consensus, new: &Consensus) -> Vec<u8> {
    let difference = Difference::between(old.digest(), old.as_bytes(), new.as_bytes()).unwrap();
    ConsensusUpdate::Difference(difference).encode()
}

fn apply(update: &[u8], held: Option<&Consensus>) -> Result<Option<Vec<u8>>, UpdateError> {
    ConsensusUpdate::decode(update)?.apply(held)
}

fn relays(weights: &[(u16, u32)]) -> Relays {
    weights.iter().map(|(number, weight)| (*number, (*weight, 100))).collect()
}

#[test]
fn the_three_kinds_are_applied() {
    let maker = Maker::new();
    let (old, new) = (maker.make(0, &relays(&[(1, 1), (2, 1)])), maker.make(1, &relays(&[(2, 5), (3, 1)])));
    assert_eq!(apply(&[0], Some(&old)), Ok(None));
    assert_eq!(apply(&[0], None), Err(UpdateError::Base));
    let whole = ConsensusUpdate::Whole(new.as_bytes()).encode();
    for held in [None, Some(&old)] {
        assert_eq!(apply(&whole, held), Ok(Some(new.as_bytes().to_vec())));
    }
    let update = difference(&old, &new);
    assert_eq!(apply(&update, Some(&old)), Ok(Some(new.as_bytes().to_vec())));
    assert_eq!(apply(&update, Some(&new)), Err(UpdateError::Base));
    assert_eq!(apply(&update, None), Err(UpdateError::Base));
}

#[test]
fn what_is_no_update_is_an_error() {
    let maker = Maker::new();
    let (old, new) = (maker.make(0, &relays(&[(1, 1), (2, 1), (3, 1)])), maker.make(1, &relays(&[(2, 5), (4, 1)])));
    assert_eq!(apply(&[], None), Err(DecodeError::Truncated { missing: 1 }.into()));
    assert_eq!(apply(&[3], None), Err(DecodeError::Invalid("the kind of the update").into()));
    assert_eq!(apply(&[0, 0], Some(&old)), Err(DecodeError::Trailing(1).into()));
    assert_eq!(apply(&vec![1; MAX_UPDATE_LEN + 1], None), Err(UpdateError::TooLong));
    let good = Difference::between(old.digest(), old.as_bytes(), new.as_bytes()).unwrap();
    let changed = |change: &dyn Fn(&mut Difference<'_>)| {
        let mut other = good.clone();
        change(&mut other);
        apply(&ConsensusUpdate::Difference(other).encode(), Some(&old)).unwrap_err()
    };
    assert_eq!(changed(&|other| other.removed.reverse()), UpdateError::Order("removed relays"));
    assert_eq!(changed(&|other| other.changed.reverse()), UpdateError::Order("changed relays"));
    assert_eq!(changed(&|other| other.changed.push(other.changed[1])), UpdateError::Order("changed relays"));
    assert_eq!(changed(&|other| other.removed.push([255; 32].into())), UpdateError::Removed);
    assert_eq!(changed(&|other| other.removed = vec![entry(2, 0).identity]), UpdateError::Removed);
    let longer = |other: &mut Difference<'_>| other.tail = Box::leak(vec![0; MAX_CONSENSUS_LEN].into());
    assert_eq!(changed(&longer), UpdateError::TooLong);
}

#[test]
fn no_changed_difference_makes_a_consensus_that_counts() {
    let maker = Maker::new();
    let (old, new) = (maker.make(0, &relays(&[(1, 1), (2, 1)])), maker.make(1, &relays(&[(2, 5), (3, 1)])));
    let update = difference(&old, &new);
    for at in 0..update.len() {
        let mut changed = update.clone();
        changed[at] ^= 1;
        // A difference that turns into a whole one, or one that says nothing, is no consensus either.
        if let Ok(Some(bytes)) = apply(&changed, Some(&old)) {
            assert!(maker.verify(&bytes).is_err(), "byte {at}");
        }
        if let Ok(Some(bytes)) = apply(&update[..at], Some(&old)) {
            assert!(maker.verify(&bytes).is_err(), "cut at {at}");
        }
    }
}

#[test]
fn a_mirror_gives_each_reader_what_it_lacks() {
    let maker = Maker::new();
    let list: Vec<_> = (0..40).map(|number| (number, 1)).collect();
    let mut all = relays(&list);
    let mut mirror = Mirror::new();
    assert!(mirror.update_for(None).is_none() && mirror.newest().is_none());
    let mut made = Vec::new();
    for period in 0..12 {
        all.insert(7, (u32::try_from(period).unwrap() + 2, 100));
        let consensus = maker.make(period, &all);
        assert!(mirror.push(&consensus));
        assert!(!mirror.push(&consensus), "not newer");
        made.push(consensus);
    }
    let newest = made.last().unwrap();
    assert_eq!(mirror.newest(), Some(newest.as_bytes()));
    let update = |held: &Consensus| mirror.update_for(Some(&held.digest())).unwrap();
    assert_eq!(**update(newest), [0]);
    for held in &made[3..11] {
        let given = update(held);
        assert_eq!(given[0], 2);
        assert!(given.len() < newest.as_bytes().len() / 4);
        assert_eq!(apply(&given, Some(held)), Ok(Some(newest.as_bytes().to_vec())));
        assert!(Arc::ptr_eq(&given, &update(held)), "made once for all");
    }
    let whole = mirror.update_for(None).unwrap();
    assert_eq!((whole[0], &whole[1..]), (1, newest.as_bytes()));
    // Too long ago, and never seen.
    for held in &made[..3] {
        assert!(Arc::ptr_eq(&update(held), &whole));
    }
}

#[test]
fn a_difference_longer_than_the_whole_is_not_given() {
    let maker = Maker::new();
    let mut mirror = Mirror::new();
    let old = maker.make(0, &(0..30).map(|number| (number, (1, 100))).collect());
    mirror.push(&old);
    mirror.push(&maker.make(1, &(100..101).map(|number| (number, (1, 100))).collect()));
    assert_eq!(mirror.update_for(Some(&old.digest())).unwrap()[0], 1);
}

#[test]
fn a_difference_costs_what_has_changed() {
    let maker = Maker::new();
    let mut all: Relays = (0..10_000).map(|number| (number, (1, 100))).collect();
    let old = maker.make(0, &all);
    // Of a hundred relays one has another weight, and one leaves while another comes.
    for number in (0..10_000).step_by(100) {
        all.insert(number, (2, 100));
        all.remove(&(number + 1));
        all.insert(10_000 + number, (1, 100));
    }
    let new = maker.make(1, &all);
    let update = difference(&old, &new);
    println!("whole: {} bytes, difference: {} bytes", new.as_bytes().len(), update.len());
    assert!(update.len() < new.as_bytes().len() * 3 / 100);
    assert_eq!(apply(&update, Some(&old)), Ok(Some(new.as_bytes().to_vec())));
}

#[test]
fn a_mirror_keeps_to_its_memory() {
    let maker = Maker::new();
    let mut mirror = Mirror::new();
    let mut made = Vec::new();
    let all: Relays = (0..10_000).map(|number| (number, (1, 100))).collect();
    for period in 0..10 {
        let consensus = maker.make(period, &all);
        mirror.push(&consensus);
        made.push(consensus.digest());
        assert!(mirror.memory() <= MAX_MIRROR_MEMORY);
    }
    let kinds: Vec<_> = made.iter().map(|digest| mirror.update_for(Some(digest)).unwrap()[0]).collect();
    let kept = kinds.iter().filter(|kind| **kind == 2).count();
    assert!(kept >= 5, "{kinds:?}");
    assert!(kinds[..9 - kept].iter().all(|kind| *kind == 1) && kinds[9] == 0);
}

proptest! {
    #[test]
    fn what_is_different_makes_one_from_the_other(
        old in prop::collection::btree_map(0u16..60, (0u32..3, 0u8..=100), 0..40),
        new in prop::collection::btree_map(0u16..60, (0u32..3, 0u8..=100), 0..40),
    ) {
        let maker = Maker::new();
        let (old, new) = (maker.make(0, &old), maker.make(1, &new));
        let update = difference(&old, &new);
        let decoded = ConsensusUpdate::decode(&update).unwrap();
        prop_assert_eq!(decoded.encode(), update.clone());
        let made = decoded.apply(Some(&old)).unwrap().unwrap();
        prop_assert_eq!(&made, new.as_bytes());
        prop_assert!(maker.verify(&made).is_ok());
    }

    #[test]
    fn garbage_is_an_error_or_makes_nothing_that_counts(kind in 0u8..3, bytes: Vec<u8>) {
        let maker = Maker::new();
        let held = maker.make(0, &relays(&[(1, 1)]));
        let update = [&[kind][..], &bytes].concat();
        if let Ok(Some(bytes)) = apply(&update, Some(&held)) {
            prop_assert!(maker.verify(&bytes).is_err());
        }
    }
}

/// Prints the vectors of updates: for `tests/vectors/messages.json`, when the format changes.
#[test]
#[ignore = "it prints and checks nothing"]
fn print_vectors() {
    let keypair = AuthorityKeypair::new(crate::crypto::keys::IdentityKeypair::from_seed(&[0x3c; 32]));
    let key = keypair.identity();
    let list = vec![super::super::Authority {
        nickname: "authority0".parse().unwrap(),
        key,
        url: "http://192.0.2.1".to_owned(),
    }];
    let maker = Maker { keypairs: vec![keypair], authorities: Authorities::new(list).unwrap() };
    let (old, new) = (maker.make(0, &relays(&[(1, 1), (2, 1)])), maker.make(60, &relays(&[(2, 5), (3, 1)])));
    let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
    for (name, update, to) in [
        ("Unchanged", vec![0], &old),
        ("Whole", ConsensusUpdate::Whole(new.as_bytes()).encode(), &new),
        ("Difference", difference(&old, &new), &new),
    ] {
        let fields = serde_json::json!({
            "update": name, "authority_seeds": [hex(&[0x3c; 32])],
            "base": hex(old.as_bytes()), "consensus": hex(to.as_bytes()),
        });
        let name = format!("consensus update: {}", name.to_lowercase());
        let vector = serde_json::json!({
            "name": name, "section": "3.9", "kind": "consensus_update", "fields": fields, "hex": hex(&update),
        });
        println!("{vector}");
    }
}
