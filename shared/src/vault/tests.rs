use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use super::record::filled;
use super::*;
use crate::crypto::derive::derive_short;
use crate::wire::DecodeError;

/// As little as Argon2 allows: what it does with more is the same.
const CHEAP: Cost = Cost { memory: 8, passes: 1, lanes: 1 };

const PASSPHRASE: &str = "correct horse battery staple";

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::from_seed([7; 32])
}

fn by_passphrase(vault: &Vault) -> Vec<u8> {
    vault.header_for_passphrase(&mut rng(), PASSPHRASE, CHEAP).unwrap()
}

/// The same body with the checksum that fits it.
fn checked(body: &[u8]) -> Vec<u8> {
    [body, &derive_short::<4>("profile header check", &[body])].concat()
}

fn same(one: &Vault, other: &Vault) -> bool {
    one.parts() == other.parts()
}

#[test]
fn a_passphrase_opens_what_it_has_closed_and_nothing_else_does() {
    let vault = Vault::create(&mut rng());
    let bytes = by_passphrase(&vault);
    assert_eq!(bytes.len(), MAX_HEADER_LEN);
    let header = Header::decode(&bytes).unwrap();
    assert_eq!(header.way(), Way::Passphrase(CHEAP));
    assert!(same(&header.unlock_by_passphrase(PASSPHRASE).unwrap(), &vault));
    for wrong in ["", "correct horse battery stapl", "Correct horse battery staple", "correct horse battery staple "] {
        assert_eq!(header.unlock_by_passphrase(wrong).unwrap_err(), UnlockError::WrongPassphrase);
    }
    let secret = DeviceSecret::generate(&mut rng());
    assert_eq!(header.unlock_by_device(&secret).unwrap_err(), UnlockError::OtherWay);
    assert_eq!(vault.header_for_passphrase(&mut rng(), "", CHEAP), Err(WrapError::Empty));
}

#[test]
fn the_usual_cost_opens_too_and_is_bound() {
    let vault = Vault::create(&mut rng());
    let bytes = vault.header_for_passphrase(&mut rng(), PASSPHRASE, Cost::USUAL).unwrap();
    let header = Header::decode(&bytes).unwrap();
    assert_eq!(header.way(), Way::Passphrase(Cost::USUAL));
    assert!(same(&header.unlock_by_passphrase(PASSPHRASE).unwrap(), &vault));
}

#[test]
fn a_device_opens_what_it_has_closed_and_no_other_does() {
    let vault = Vault::create(&mut rng());
    let secret = DeviceSecret::from_bytes(&[3; 32]);
    let header = Header::decode(&vault.header_for_device(&mut rng(), &secret)).unwrap();
    assert_eq!(header.way(), Way::Device);
    assert!(same(&header.unlock_by_device(&secret).unwrap(), &vault));
    let other = DeviceSecret::from_bytes(&[4; 32]);
    assert_eq!(header.unlock_by_device(&other).unwrap_err(), UnlockError::WrongDevice);
    assert_eq!(header.unlock_by_passphrase("").unwrap_err(), UnlockError::OtherWay);
}

#[test]
fn another_way_opens_the_same_records() {
    let mut rng = rng();
    let vault = Vault::create(&mut rng);
    let (name, sealed) = vault.seal_record(&mut rng, "contact/1", b"Ada").unwrap();
    let again = Header::decode(&by_passphrase(&vault)).unwrap().unlock_by_passphrase(PASSPHRASE).unwrap();
    assert_eq!(again.record_name("contact/1"), name);
    assert_eq!(again.open_record(&name, &sealed), Ok(("contact/1".to_owned(), b"Ada".to_vec())));
    let secret = DeviceSecret::generate(&mut rng);
    let header = Header::decode(&again.header_for_device(&mut rng, &secret)).unwrap();
    assert!(header.unlock_by_device(&secret).unwrap().open_record(&name, &sealed).is_ok());
}

#[test]
fn a_header_with_any_bit_changed_is_damaged_and_so_is_every_part_of_one() {
    let vault = Vault::create(&mut rng());
    let device = vault.header_for_device(&mut rng(), &DeviceSecret::from_bytes(&[3; 32]));
    for bytes in [by_passphrase(&vault), device] {
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&changed), Err(HeaderError::Damaged), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert_eq!(Header::decode(&bytes[..len]), Err(HeaderError::Damaged));
        }
        assert_eq!(Header::decode(&[&*bytes, &[0]].concat()), Err(HeaderError::Damaged));
    }
}

#[test]
fn a_changed_bit_behind_a_checksum_that_fits_opens_nothing() {
    let vault = Vault::create(&mut rng());
    let secret = DeviceSecret::from_bytes(&[3; 32]);
    for bytes in [by_passphrase(&vault), vault.header_for_device(&mut rng(), &secret)] {
        let body = &bytes[..bytes.len() - 4];
        for bit in 0..body.len() * 8 {
            let mut changed = body.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            let Ok(header) = Header::decode(&checked(&changed)) else { continue };
            // A cost that the change has raised takes its time and tells nothing new.
            if matches!(header.way(), Way::Passphrase(Cost { memory: 1024.., .. })) {
                continue;
            }
            assert!(header.unlock_by_passphrase(PASSPHRASE).is_err(), "bit {bit}");
            assert!(header.unlock_by_device(&secret).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn unknown_versions_ways_and_costs_are_named() {
    let bytes = by_passphrase(&Vault::create(&mut rng()));
    let with = |at: usize, new: &[u8]| {
        let mut body = bytes[..bytes.len() - 4].to_vec();
        body[at..at + new.len()].copy_from_slice(new);
        Header::decode(&checked(&body)).unwrap_err()
    };
    let version = DecodeError::Version { what: "the profile's header", version: 2 };
    assert_eq!(with(0, &[0, 2]), version.into());
    for way in [0, 3, 255] {
        assert_eq!(with(18, &[way]), DecodeError::Invalid("the way to open the profile").into());
    }
    let cost = DecodeError::Invalid("the cost of the passphrase").into();
    for memory in [0, 7, 262_145, u32::MAX] {
        assert_eq!(with(19, &memory.to_be_bytes()), cost);
    }
    for passes in [0, 17, u32::MAX] {
        assert_eq!(with(23, &passes.to_be_bytes()), cost);
    }
    for lanes in [0, 2, 5, 255] {
        assert_eq!(with(27, &[lanes]), cost, "eight KiB are too little for two lanes");
    }
    let long = checked(&[&bytes[..bytes.len() - 4], &[0]].concat());
    assert_eq!(Header::decode(&long), Err(DecodeError::Trailing(1).into()));
    let vault = Vault::create(&mut rng());
    for cost in [Cost { memory: u32::MAX, ..CHEAP }, Cost { lanes: 0, ..CHEAP }] {
        assert_eq!(vault.header_for_passphrase(&mut rng(), PASSPHRASE, cost), Err(WrapError::OutOfMemory));
    }
}

#[test]
fn records_are_bound_to_their_name_and_their_profile() {
    let mut rng = rng();
    let (vault, other) = (Vault::create(&mut rng), Vault::create(&mut rng));
    let (ada, sealed_ada) = vault.seal_record(&mut rng, "contact/1", b"Ada").unwrap();
    let (ben, sealed_ben) = vault.seal_record(&mut rng, "contact/2", b"Ben").unwrap();
    assert_eq!(vault.open_record(&ada, &sealed_ben), Err(RecordError::Sealed), "swapped");
    assert_eq!(vault.open_record(&ben, &sealed_ada), Err(RecordError::Sealed), "swapped");
    assert_eq!(vault.open_record(&ada[..31], &sealed_ada), Err(RecordError::Sealed));
    assert_ne!(other.record_name("contact/1"), ada);
    assert_eq!(other.open_record(&ada, &sealed_ada), Err(RecordError::Sealed));
    // The same key under another id is another profile.
    let twin = Vault::new([1; ID_LEN], vault.key.clone());
    assert_eq!(twin.open_record(&ada, &sealed_ada), Err(RecordError::Sealed));
    assert_ne!(twin.record_name("contact/1"), ada);
}

#[test]
fn a_record_with_any_bit_changed_is_refused() {
    let mut rng = rng();
    let vault = Vault::create(&mut rng);
    let (name, sealed) = vault.seal_record(&mut rng, "profile", b"{}").unwrap();
    for bit in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(vault.open_record(&name, &changed), Err(RecordError::Sealed), "bit {bit}");
    }
    for bit in 0..name.len() * 8 {
        let mut changed = name;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(vault.open_record(&changed, &sealed), Err(RecordError::Sealed), "bit {bit} of the name");
    }
    for len in 0..sealed.len() {
        assert_eq!(vault.open_record(&name, &sealed[..len]), Err(RecordError::Sealed));
    }
}

#[test]
fn sizes_are_few_and_a_record_never_looks_the_same_twice() {
    let mut rng = rng();
    let vault = Vault::create(&mut rng);
    let mut len =
        |value: usize| vault.seal_record(&mut rng, "k", &vec![0; value]).unwrap().1.len() - NONCE_LEN - TAG_LEN;
    let sizes = [0, 249, 250, 505, 506, 65_529, 65_530, 131_065, 131_066].map(&mut len);
    assert_eq!(sizes, [256, 256, 512, 512, 1024, 65_536, 131_072, 131_072, 196_608]);
    let (one, other) =
        (vault.seal_record(&mut rng, "k", b"v").unwrap(), vault.seal_record(&mut rng, "k", b"v").unwrap());
    assert_eq!(one.0, other.0);
    assert_ne!(one.1, other.1);
}

#[test]
fn nothing_secret_is_printed() {
    let vault = Vault::create(&mut rng());
    let secret = DeviceSecret::from_bytes(&[3; 32]);
    assert_eq!(format!("{vault:?} {secret:?}"), "Vault { .. } DeviceSecret { .. }");
}

proptest! {
    #[test]
    fn records_come_back_as_they_were(
        seed: [u8; 32],
        key in ".{0,40}",
        value in prop::collection::vec(any::<u8>(), 0..3000),
        flip: prop::sample::Index,
    ) {
        let mut rng = ChaCha20Rng::from_seed(seed);
        let vault = Vault::create(&mut rng);
        let (name, mut sealed) = vault.seal_record(&mut rng, &key, &value).unwrap();
        prop_assert_eq!(sealed.len(), NONCE_LEN + filled(2 + key.len() + 4 + value.len()) + TAG_LEN);
        prop_assert_eq!(vault.open_record(&name, &sealed), Ok((key.clone(), value.clone())));
        // Neither the key nor the value is to be seen; short ones may turn up by chance.
        for part in [key.as_bytes(), &value] {
            prop_assert!(part.len() < 8 || !sealed.windows(part.len()).any(|window| window == part));
        }
        let bit = flip.index(sealed.len() * 8);
        sealed[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(vault.open_record(&name, &sealed), Err(RecordError::Sealed));
    }

    #[test]
    fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..200), name: [u8; 32]) {
        prop_assert!(Header::decode(&bytes).is_err());
        // Behind a checksum that fits, whatever is taken for a header is written as it was read.
        if let Ok(header) = Header::decode(&checked(&bytes)) {
            prop_assert_eq!(header.unlock_by_device(&DeviceSecret::from_bytes(&name)).is_err(), true);
        }
        let vault = Vault::create(&mut rng());
        prop_assert!(vault.open_record(&name, &bytes).is_err());
    }
}
