use super::super::authorities::tests::authorities;
use super::super::descriptor::tests::relay;
use super::*;
use crate::time::UnixTime;

const START: u64 = 1_700_000_000;

fn at(secs: u64) -> Now {
    Now { instant: Instant::from_millis(secs * 1000), unix: UnixTime::from_millis((START + secs) * 1000) }
}

fn registry() -> Registry {
    let (_, authorities) = authorities(1);
    let config = RegistryConfig {
        drop_after: Duration::from_secs(20),
        down_after: Duration::from_secs(15),
        probation: Duration::from_secs(1000),
        founding: Duration::from_secs(100),
        max_weight: 1000,
    };
    Registry::new(*authorities.network(), config, at(0))
}

fn descriptor(registry: &Registry, seed: u8, secs: u64, change: impl Fn(&mut RelayEntry)) -> Vec<u8> {
    let (keypair, mut descriptor) = relay(seed);
    descriptor.published = START + secs;
    change(&mut descriptor.entry);
    descriptor.sign(&keypair, &registry.network)
}

/// Has a relay answer a probe of where it is now, or not.
fn answer(registry: &mut Registry, secs: u64, seed: u8, answered: bool) -> Vec<Nickname> {
    let identity = relay(seed).1.entry.identity;
    let entry = registry.held[&identity].descriptor.entry.clone();
    registry.probed(at(secs).instant, &entry, answered)
}

/// The relays that are voted for, by their seeds.
fn running(registry: &Registry, secs: u64) -> Vec<u8> {
    let identities: Vec<_> = registry.opinion(at(secs)).iter().map(|voted| voted.descriptor.entry.identity).collect();
    (0..20).filter(|seed| identities.contains(&relay(*seed).1.entry.identity)).collect()
}

#[test]
fn a_relay_stays_while_it_renews_its_descriptor() {
    let mut registry = registry();
    let bytes = descriptor(&registry, 1, 0, |_| ());
    assert_eq!(registry.publish(at(0), &bytes), Ok(Published::Changed));
    assert_eq!(registry.publish(at(0), &bytes), Err(PublishError::Outdated));
    let bytes = descriptor(&registry, 1, 15, |_| ());
    assert_eq!(registry.publish(at(15), &bytes), Ok(Published::Renewed));
    assert!(registry.expire(at(35)).is_empty());
    assert_eq!(registry.expire(at(36)).len(), 1);
    assert!(registry.is_empty());
}

#[test]
fn who_came_first_keeps_name_keys_and_address() {
    let mut registry = registry();
    let first = relay(1).1.entry;
    let bytes = descriptor(&registry, 1, 0, |_| ());
    registry.publish(at(0), &bytes).unwrap();
    let mut refused = |change: &dyn Fn(&mut RelayEntry)| {
        let bytes = descriptor(&registry, 2, 0, change);
        registry.publish(at(0), &bytes).unwrap_err()
    };
    let taken = PublishError::NicknameTaken(first.nickname.clone());
    assert_eq!(refused(&|entry| entry.nickname = first.nickname.clone()), taken);
    assert_eq!(refused(&|entry| entry.link_key = first.link_key), PublishError::KeyTaken);
    assert_eq!(refused(&|entry| entry.onion_key = first.onion_key), PublishError::KeyTaken);
    assert_eq!(refused(&|entry| entry.url = first.url.clone()), PublishError::UrlTaken);
}

#[test]
fn what_was_recorded_long_ago_brings_no_relay_back() {
    let mut registry = registry();
    let bytes = descriptor(&registry, 1, 0, |_| ());
    assert_eq!(registry.publish(at(601), &bytes), Err(PublishError::Clock(-601)));
    let bytes = descriptor(&registry, 1, 1300, |_| ());
    assert_eq!(registry.publish(at(601), &bytes), Err(PublishError::Clock(699)));
}

#[test]
fn only_relays_that_answer_are_voted_for() {
    let mut registry = registry();
    for seed in [1, 2] {
        let bytes = descriptor(&registry, seed, 0, |_| ());
        registry.publish(at(0), &bytes).unwrap();
    }
    let listed = |registry: &Registry, secs| -> Vec<u8> {
        registry.opinion(at(secs)).iter().map(|voted| voted.health).collect()
    };
    assert!(listed(&registry, 0).is_empty() && !registry.is_settled(at(9).instant, Duration::ZERO));
    let due = registry.due_for_probe(at(0).instant, Duration::from_secs(5));
    assert_eq!(due.len(), 2);
    registry.probed(at(0).instant, &due[0], true);
    registry.probed(at(0).instant, &due[1], false);
    assert_eq!(listed(&registry, 0), [100]);
    assert!(registry.is_settled(at(9).instant, Duration::from_secs(9)));
    assert!(!registry.is_settled(at(8).instant, Duration::from_secs(9)));
    assert!(registry.due_for_probe(at(4).instant, Duration::from_secs(5)).is_empty());
    assert_eq!(registry.due_for_probe(at(5).instant, Duration::from_secs(5)).len(), 2);
    registry.probed(at(5).instant, &due[0], false);
    registry.probed(at(5).instant, &due[1], true);
    registry.probed(at(10).instant, &due[0], false);
    let mut health = listed(&registry, 10);
    health.sort_unstable();
    assert_eq!(health, [33, 50], "one that has missed a probe still runs for a while");
    assert_eq!(listed(&registry, 16), [50]);
    assert!(listed(&registry, 21).is_empty());
}

#[test]
fn a_relay_that_has_moved_is_not_taken_to_run() {
    let mut registry = registry();
    let bytes = descriptor(&registry, 1, 0, |_| ());
    registry.publish(at(0), &bytes).unwrap();
    let before = registry.due_for_probe(at(0).instant, Duration::ZERO).remove(0);
    registry.probed(at(0).instant, &before, true);
    let bytes = descriptor(&registry, 1, 1, |entry| entry.url = "ws://127.0.0.1:9/link".parse().unwrap());
    assert_eq!(registry.publish(at(1), &bytes), Ok(Published::Changed));
    assert!(registry.opinion(at(1)).is_empty());
    registry.probed(at(1).instant, &before, true);
    assert!(registry.opinion(at(1)).is_empty(), "an answer from where it was says nothing");
    let moved = registry.due_for_probe(at(2).instant, Duration::ZERO).remove(0);
    registry.probed(at(2).instant, &moved, true);
    assert_eq!(registry.opinion(at(2)).len(), 1);
}

#[test]
fn new_relays_wait_for_the_roles_that_matter() {
    let mut registry = registry();
    let roles = |registry: &mut Registry, seed: u8, secs: u64| {
        let bytes = descriptor(registry, seed, secs, |entry| entry.roles = RelayRole::ALL.into_iter().collect());
        registry.publish(at(secs), &bytes).unwrap();
        let entry = RelayDescriptor::verify(&bytes, &registry.network).unwrap().entry;
        registry.probed(at(secs).instant, &entry, true);
        let voted = registry.opinion(at(secs));
        voted.iter().find(|voted| voted.descriptor.entry.identity == entry.identity).unwrap().roles
    };
    let all: Roles = RelayRole::ALL.into_iter().collect();
    assert_eq!(roles(&mut registry, 1, 50), all, "one that was there from the beginning");
    let waiting = roles(&mut registry, 2, 101);
    assert!(
        !waiting.contains(RelayRole::Guard)
            && !waiting.contains(RelayRole::Chord)
            && waiting.contains(RelayRole::Middle)
    );
    assert_eq!(roles(&mut registry, 2, 600).iter().count(), 4);
    registry.expire(at(640));
    assert!(registry.is_empty());
    assert_eq!(roles(&mut registry, 2, 1101), all, "it has been known for long enough, although it was away");
}

#[test]
fn claims_of_weight_are_capped() {
    let mut registry = registry();
    let bytes = descriptor(&registry, 1, 0, |entry| entry.weight = u32::MAX);
    registry.publish(at(0), &bytes).unwrap();
    let entry = registry.due_for_probe(at(0).instant, Duration::ZERO).remove(0);
    registry.probed(at(0).instant, &entry, true);
    assert_eq!(registry.opinion(at(0))[0].weight, 1000);
}

#[test]
fn what_was_saved_is_restored() {
    let mut before = registry();
    for seed in 1..4 {
        let bytes = descriptor(&before, seed, 0, |_| ());
        before.publish(at(0), &bytes).unwrap();
        answer(&mut before, 0, seed, true);
    }
    // One that has never answered is nothing to be kept.
    let bytes = descriptor(&before, 4, 0, |_| ());
    before.publish(at(0), &bytes).unwrap();
    let saved = before.save();
    let mut after = registry();
    after.restore(at(100).instant, &saved).unwrap();
    assert_eq!(after.save(), saved);
    assert!(after.expire(at(120)).is_empty());
    assert_eq!(after.expire(at(121)).len(), 3);
    let mut later = registry();
    later.restore(at(200).instant, &after.save()).unwrap();
    assert_eq!((later.len(), later.departed.len()), (0, 3), "when they came is remembered");
    assert!(registry().restore(at(0).instant, &saved[..saved.len() - 1]).is_err());
    assert!(registry().restore(at(0).instant, b"garbage").is_err());
}

/// Relay `seed` publishes with relay 1's nickname and address.
fn claim(registry: &mut Registry, secs: u64, seed: u8) -> Result<Published, PublishError> {
    let first = relay(1).1.entry;
    let bytes = descriptor(registry, seed, secs, |entry| {
        entry.nickname = first.nickname.clone();
        entry.url = first.url.clone();
    });
    registry.publish(at(secs), &bytes)
}

#[test]
fn a_claim_that_never_answers_gives_way_to_one_that_does() {
    let mut registry = registry();
    // A liar was there first, with nothing behind it.
    assert_eq!(claim(&mut registry, 0, 2), Ok(Published::Changed));
    assert!(claim(&mut registry, 15, 1).is_err(), "a new one has a while to come up");
    // Neither renewing the descriptor nor changing it, nor its missing probes, give it more time.
    claim(&mut registry, 10, 2).unwrap();
    let bytes = descriptor(&registry, 2, 14, |entry| {
        entry.nickname = relay(1).1.entry.nickname;
        entry.url = "ws://127.0.0.1:9/link".parse().unwrap();
    });
    assert_eq!(registry.publish(at(14), &bytes), Ok(Published::Changed));
    answer(&mut registry, 15, 2, false);
    assert_eq!(claim(&mut registry, 16, 1), Ok(Published::Changed));
    assert_eq!((registry.len(), running(&registry, 16)), (2, vec![]), "it waits until it has answered");
    assert!(answer(&mut registry, 16, 1, false).is_empty());
    assert_eq!(registry.len(), 2);
    assert_eq!(answer(&mut registry, 17, 1, true), [relay(1).1.entry.nickname], "the liar's nickname was the same");
    assert_eq!((registry.len(), running(&registry, 17)), (1, vec![1]));
    // Now the liar is the one that comes too late.
    assert!(claim(&mut registry, 18, 2).is_err());
}

#[test]
fn the_first_to_answer_has_what_several_claim() {
    let mut registry = registry();
    for seed in 2..8 {
        claim(&mut registry, if seed == 2 { 0 } else { 16 }, seed).unwrap();
    }
    claim(&mut registry, 16, 1).unwrap();
    assert_eq!(registry.len(), 7);
    for seed in (2..8).rev() {
        answer(&mut registry, 17, seed, false);
    }
    assert!(running(&registry, 17).is_empty());
    assert_eq!(answer(&mut registry, 18, 1, true).len(), 6, "nobody waits behind one that answers");
    assert_eq!((registry.len(), running(&registry, 18)), (1, vec![1]));
}

#[test]
fn a_relay_that_runs_is_not_pushed_out() {
    let mut registry = registry();
    claim(&mut registry, 0, 1).unwrap();
    answer(&mut registry, 1, 1, true);
    // It is off for some minutes, in which an attacker with a machine of its own would like to have its name.
    registry.config.drop_after = Duration::from_secs(1200);
    answer(&mut registry, 2, 1, true);
    for secs in [3, 300, 1202] {
        answer(&mut registry, secs, 1, false);
        assert_eq!(claim(&mut registry, secs, 2), Err(PublishError::NicknameTaken(relay(1).1.entry.nickname)));
    }
    claim(&mut registry, 1202, 1).unwrap();
    answer(&mut registry, 1202, 1, true);
    assert_eq!((registry.len(), running(&registry, 1202)), (1, vec![1]));

    // Its keys are known once it is listed. Who claims them too, at an address of its own, cannot answer by them.
    let victim = relay(1).1.entry;
    let steal = |entry: &mut RelayEntry| {
        entry.link_key = victim.link_key;
        entry.onion_key = victim.onion_key;
    };
    let bytes = descriptor(&registry, 3, 1203, steal);
    assert_eq!(registry.publish(at(1203), &bytes), Err(PublishError::KeyTaken));

    // After a restart of the authority, which remembers no answers, it is the same.
    let saved = registry.save();
    let mut restarted = Registry::new(registry.network, registry.config.clone(), at(1300));
    restarted.restore(at(1300).instant, &saved).unwrap();
    for secs in [1300, 1400, 2500] {
        assert!(claim(&mut restarted, secs, 2).is_err(), "{secs}");
        answer(&mut restarted, secs, 1, false);
    }

    // One that renews its descriptor, but has not answered for as long as none is kept without, gives way.
    claim(&mut registry, 2400, 1).unwrap();
    assert_eq!(claim(&mut registry, 2403, 2), Ok(Published::Changed));
    answer(&mut registry, 2403, 1, false);
    // If it comes back before the other has shown itself, it stays, and the other has to go.
    assert_eq!(answer(&mut registry, 2404, 1, true).len(), 1);
    assert_eq!((registry.len(), running(&registry, 2404)), (1, vec![1]));
    // The other's answer that was under way then says nothing any more.
    assert!(claim(&mut registry, 2405, 2).is_err());
}

#[test]
fn a_relay_that_moves_onto_anothers_address_has_it_only_if_it_answers_there() {
    let mut registry = registry();
    let home = descriptor(&registry, 2, 0, |_| ());
    registry.publish(at(0), &home).unwrap();
    answer(&mut registry, 0, 2, true);
    let squat = |registry: &Registry, secs| {
        let url = relay(1).1.entry.url;
        descriptor(registry, 2, secs, move |entry| entry.url = url.clone())
    };
    let bytes = squat(&registry, 1);
    registry.publish(at(1), &bytes).unwrap();
    answer(&mut registry, 2, 2, false);
    // Its nickname has been there for long, but this claim has not; and it is fresh only once.
    let bytes = descriptor(&registry, 2, 10, |entry| entry.url = "ws://127.0.0.1:9/link".parse().unwrap());
    registry.publish(at(10), &bytes).unwrap();
    let bytes = squat(&registry, 11);
    registry.publish(at(11), &bytes).unwrap();
    let bytes = descriptor(&registry, 1, 17, |_| ());
    assert_eq!(registry.publish(at(17), &bytes), Ok(Published::Changed));
    assert_eq!(answer(&mut registry, 17, 1, true), [relay(2).1.entry.nickname]);
    assert_eq!(running(&registry, 17), [1]);
}

#[test]
fn claims_without_relays_do_not_fill_the_network() {
    let mut registry = registry();
    let template = {
        let bytes = descriptor(&registry, 2, 0, |_| ());
        registry.publish(at(0), &bytes).unwrap();
        registry.held.pop_first().unwrap().1
    };
    // Claims of identities that nobody has, as a liar makes them up in the thousands.
    for number in 0..u16::try_from(MAX_RELAYS).unwrap() {
        let mut identity = [0xff; 32];
        identity[..2].copy_from_slice(&number.to_be_bytes());
        let mut descriptor = template.descriptor.clone();
        descriptor.entry.identity = RelayIdentity(identity);
        let held = Held { descriptor, bytes: Arc::clone(&template.bytes), ..template };
        registry.held.insert(RelayIdentity(identity), held);
    }
    assert_eq!(registry.len(), MAX_RELAYS);
    let honest =
        |registry: &Registry, secs| descriptor(registry, 1, secs, |entry| entry.nickname = "honest".parse().unwrap());
    let bytes = honest(&registry, 15);
    assert_eq!(registry.publish(at(15), &bytes), Err(PublishError::Full));
    let bytes = honest(&registry, 16);
    assert_eq!(registry.publish(at(16), &bytes), Ok(Published::Changed));
    answer(&mut registry, 16, 1, true);
    assert_eq!((registry.len(), running(&registry, 16)), (MAX_RELAYS, vec![1]));
    // And one that has answered is not what makes room for the next.
    for secs in 17..19 {
        let seed = u8::try_from(secs).unwrap();
        let bytes = descriptor(&registry, seed, secs, |entry| entry.nickname = format!("next{seed}").parse().unwrap());
        registry.publish(at(secs), &bytes).unwrap();
    }
    assert_eq!(running(&registry, 18), [1]);
}
