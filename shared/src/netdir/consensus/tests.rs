use proptest::prelude::*;

use super::super::authorities::tests::authorities;
use super::super::descriptor::tests::relay;
use super::*;
use crate::crypto::keys::IdentityKeypair;

const NOW: u64 = 1_700_000_000;

fn at(secs: u64) -> UnixTime {
    UnixTime::from_millis(secs * 1000)
}

fn draft(network: &NetworkId, relays: u8) -> ConsensusDraft {
    let validity = Validity { valid_after: NOW, fresh_until: NOW + 60, valid_until: NOW + 180 };
    let relays: Vec<_> = (1..=relays).map(|seed| relay(seed).1.entry).collect();
    let mut draft = ConsensusDraft::new(*network, validity, relays);
    draft.parameters = [("link-padding-min-ms".to_owned(), 1500), ("a".to_owned(), -1)].into();
    if let Some(relay) = draft.relays.first() {
        draft.health = [(relay.identity, 97)].into();
    }
    draft
}

#[test]
fn the_encoding_stays_as_it_is() {
    let (keypairs, authorities) = authorities(1);
    let bytes = draft(authorities.network(), 1).sign(&[&keypairs[0]]).unwrap();
    let hex = data_encoding::HEXLOWER.encode(&bytes);
    assert_eq!(
        hex,
        concat!(
            "0002",
            "0001",
            "8c4adf4235dde63b5e586005acb8c6cddc58ac2f2477bbc02b511651156071bb",
            "000000006553f100",
            "000000006553f13c",
            "000000006553f1b4",
            // No consensus before, no shared random value, no authorities.
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0000000000000000",
            "0000000000000000000000000000000000000000000000000000000000000000",
            "00",
            "0000000000000000000000000000000000000000000000000000000000000000",
            "00",
            "0002",
            "0161",
            "ffffffffffffffff",
            "136c696e6b2d70616464696e672d6d696e2d6d73",
            "00000000000005dc",
            "0001",
            "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c",
            "4141414141414141414141414141414141414141414141414141414141414141",
            "8181818181818181818181818181818181818181818181818181818181818181",
            "0009",
            "00000064",
            "0672656c617931",
            "001877733a2f2f3132372e302e302e313a373130312f6c696e6b",
            "00",
            "0000",
            "61",
            "0000",
            "01",
            "b533d8ad9fcfbdde0b481c1b334ddc3c53412fd614564e7e5afd020368d382c3",
            "d438ce501e88a52aa9156540a74202aa72ff2f4595d34818880599d42d90843e",
            "c4957cf9821f225c128b8863586f4ed0566d2d958e885445ff6c3fefe0770203",
        )
    );
    let digest = Consensus::verify(&bytes, &authorities, at(NOW)).unwrap().digest().to_string();
    assert_eq!(digest, "74513483cae63926a8373609afc8b11958c4b5dafe56e5b46852fcce585225cb");
}

#[test]
fn relays_are_found_by_identity_link_key_and_role() {
    let (keypairs, authorities) = authorities(3);
    let mut draft = draft(authorities.network(), 40);
    draft.relays[7].roles = [RelayRole::Exit].into_iter().collect();
    let bytes = draft.clone().sign(&[&keypairs[0], &keypairs[1]]).unwrap();
    let consensus = Consensus::verify(&bytes, &authorities, at(NOW)).unwrap();
    assert_eq!(consensus.as_bytes(), bytes);
    assert_eq!((consensus.health(&draft.relays[0].identity), consensus.health(&[0; 32].into())), (Some(97), None));
    for entry in &draft.relays {
        assert_eq!(consensus.relay(&entry.identity), Some(entry));
        assert_eq!(consensus.relay_by_link_key(&entry.link_key), Some(entry));
    }
    assert_eq!(consensus.relay(&[0; 32].into()), None);
    assert_eq!(consensus.relay_by_link_key(&[0; 32].into()), None);
    assert_eq!(consensus.with_role(RelayRole::Exit).collect::<Vec<_>>(), [&draft.relays[7]]);
    assert_eq!(consensus.with_role(RelayRole::Guard).count(), 39);
    assert_eq!(consensus.parameter("a", 5, 0..=9), 0);
    assert_eq!(consensus.parameter("b", 5, 0..=9), 5);
    assert_eq!(consensus.parameter("link-padding-min-ms", 5, 0..=2000), 1500);
}

#[test]
fn no_changed_byte_is_accepted() {
    let (keypairs, authorities) = authorities(1);
    let bytes = draft(authorities.network(), 2).sign(&[&keypairs[0]]).unwrap();
    for index in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[index] ^= 1;
        assert!(Consensus::verify(&changed, &authorities, at(NOW)).is_err(), "byte {index}");
        assert!(Consensus::verify(&bytes[..index], &authorities, at(NOW)).is_err(), "cut at {index}");
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    let error = Consensus::verify(&longer, &authorities, at(NOW)).unwrap_err();
    assert_eq!(error, DecodeError::Trailing(1).into());
}

#[test]
fn a_quorum_of_the_right_authorities_counts() {
    let (keypairs, three) = authorities(3);
    let verify = |signers: &[&AuthorityKeypair], authorities: &Authorities| {
        let bytes = draft(three.network(), 2).sign(signers).unwrap();
        Consensus::verify(&bytes, authorities, at(NOW)).map(|_| ())
    };
    let stranger = AuthorityKeypair::new(IdentityKeypair::from_seed(&[7; 32]));
    let unsigned = |signed| Err(ConsensusError::Unsigned { signed, quorum: 2 });
    assert_eq!(verify(&[&keypairs[0], &keypairs[2]], &three), Ok(()));
    assert_eq!(verify(&[&keypairs[2], &stranger, &keypairs[0], &keypairs[1]], &three), Ok(()));
    assert_eq!(verify(&[], &three), unsigned(0));
    assert_eq!(verify(&[&stranger], &three), unsigned(0));
    assert_eq!(verify(&[&keypairs[1], &stranger], &three), unsigned(1));
    assert_eq!(
        verify(&[&keypairs[1], &keypairs[2]], &three.clone().with_quorum(3).unwrap()),
        Err(ConsensusError::Unsigned { signed: 2, quorum: 3 })
    );
    let (_, two) = authorities(2);
    assert_eq!(verify(&[&keypairs[0]], &two), Err(ConsensusError::Network));
}

#[test]
fn clocks_may_be_off_by_a_day() {
    let (keypairs, authorities) = authorities(1);
    let bytes = draft(authorities.network(), 1).sign(&[&keypairs[0]]).unwrap();
    let day = SKEW_TOLERANCE.as_secs();
    let verify = |now| Consensus::verify(&bytes, &authorities, at(now)).map(|_| ());
    assert_eq!(verify(NOW - day), Ok(()));
    assert_eq!(verify(NOW - day - 1), Err(ConsensusError::TooEarly(NOW)));
    assert_eq!(verify(NOW + 180 + day), Ok(()));
    assert_eq!(verify(NOW + 181 + day), Err(ConsensusError::Expired(NOW + 180)));
}

#[test]
fn what_readers_refuse_is_not_signed() {
    let (keypairs, authorities) = authorities(1);
    let sign = |change: &dyn Fn(&mut ConsensusDraft)| {
        let mut draft = draft(authorities.network(), 3);
        change(&mut draft);
        draft.sign(&[&keypairs[0]]).unwrap_err()
    };
    let twice = |draft: &mut ConsensusDraft| draft.relays.push(draft.relays[0].clone());
    assert_eq!(sign(&twice), ConsensusError::Order("relays"));
    let same_key = |draft: &mut ConsensusDraft| draft.relays[0].link_key = draft.relays[1].link_key;
    assert_eq!(sign(&same_key), ConsensusError::Order("link keys"));
    let backwards = |draft: &mut ConsensusDraft| draft.validity.valid_until = NOW;
    assert_eq!(sign(&backwards), ConsensusError::Validity);
    let named = |draft: &mut ConsensusDraft| _ = draft.parameters.insert("A b".to_owned(), 1);
    assert_eq!(sign(&named), DecodeError::Invalid("a parameter's name").into());
}

#[test]
fn the_largest_consensus_fits_its_bound() {
    let signatures = 1 + MAX_AUTHORITIES * (32 + SIGNATURE_LEN);
    let parameters = 2 + MAX_PARAMETERS * (1 + MAX_PARAMETER_NAME_LEN + 8);
    let authorities = 1 + MAX_AUTHORITIES * (32 + 1 + Nickname::MAX_LEN + 2 + MAX_URL_LEN + 33 + 33);
    let head = 2 + 2 + 32 + 24 + 32 + 73 + authorities + parameters;
    let relays = 2 + MAX_RELAYS * (RelayEntry::MAX_LEN + 1);
    assert!(head + relays + 2 + MAX_EXTENSIONS_LEN + signatures <= MAX_CONSENSUS_LEN);
}

proptest! {
    #[test]
    fn what_was_signed_is_read_again(
        relays in 0u8..20, after: u32, fresh: u32, until: u32,
        parameters in prop::collection::btree_map("[a-z0-9_-]{1,32}", any::<i64>(), 0..10),
    ) {
        let (keypairs, authorities) = authorities(2);
        let after = u64::from(after);
        let validity = Validity {
            valid_after: after,
            fresh_until: after + u64::from(fresh),
            valid_until: after + u64::from(fresh) + u64::from(until),
        };
        let mut draft = ConsensusDraft { validity, parameters, ..draft(authorities.network(), relays) };
        let bytes = draft.clone().sign(&[&keypairs[0], &keypairs[1]]).unwrap();
        let consensus = Consensus::verify(&bytes, &authorities, at(after)).unwrap();
        draft.relays.sort_by_key(|relay| relay.identity);
        prop_assert_eq!(consensus.relays(), draft.relays);
        prop_assert_eq!(consensus.parameters(), &draft.parameters);
        prop_assert_eq!(consensus.validity(), validity);
    }

    #[test]
    fn garbage_is_an_error(bytes: Vec<u8>, after_version: Vec<u8>) {
        let (_, authorities) = authorities(1);
        prop_assert!(Consensus::verify(&bytes, &authorities, at(NOW)).is_err());
        let versioned = [&VERSION.to_be_bytes()[..], &after_version].concat();
        prop_assert!(Consensus::verify(&versioned, &authorities, at(NOW)).is_err());
    }
}
