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
        let bytes = descriptor(registry, seed, secs, |entry| entry.roles = Role::ALL.into_iter().collect());
        registry.publish(at(secs), &bytes).unwrap();
        let entry = RelayDescriptor::verify(&bytes, &registry.network).unwrap().entry;
        registry.probed(at(secs).instant, &entry, true);
        let voted = registry.opinion(at(secs));
        voted.iter().find(|voted| voted.descriptor.entry.identity == entry.identity).unwrap().roles
    };
    let all: Roles = Role::ALL.into_iter().collect();
    assert_eq!(roles(&mut registry, 1, 50), all, "one that was there from the beginning");
    let waiting = roles(&mut registry, 2, 101);
    assert!(!waiting.contains(Role::Guard) && !waiting.contains(Role::Chord) && waiting.contains(Role::Middle));
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
    }
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
