use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::parameters::{DAY, HOUR};
use super::*;
use crate::circuit::Hop;
use crate::crypto::keys::IdentityKeypair;
use crate::netdir::{Authorities, Authority, AuthorityKeypair, ConsensusDraft, RelayEntry, RelayRole, Roles, Validity};
use crate::time::UnixTime;

const START: u64 = 1_800_000_000;

fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// So many seconds after the start, by both clocks.
fn at(secs: u64) -> Now {
    Now { instant: Instant::from_millis(secs * 1000), unix: UnixTime::from_millis((START + secs) * 1000) }
}

fn all_roles() -> Roles {
    [RelayRole::Guard, RelayRole::Middle, RelayRole::Rendezvous].into_iter().collect()
}

fn id(n: u16) -> RelayIdentity {
    let mut bytes = [7; 32];
    bytes[..2].copy_from_slice(&n.to_be_bytes());
    bytes.into()
}

/// The `n`th relay, at this address.
fn relay(n: u16, url: &str) -> RelayEntry {
    let [mut link, mut onion] = [[1; 32], [2; 32]];
    link[..2].copy_from_slice(&n.to_be_bytes());
    onion[..2].copy_from_slice(&n.to_be_bytes());
    let nickname = format!("relay{n}").parse().unwrap();
    RelayEntry::new(id(n), link.into(), onion.into(), all_roles(), nickname, url.parse().unwrap())
}

/// Relays of which no two are related.
fn strangers(count: u16) -> Vec<RelayEntry> {
    (0..count).map(|n| relay(n, &format!("ws://{}.{}.0.1:80/", 1 + n / 256, n % 256))).collect()
}

fn consensus(relays: Vec<RelayEntry>, parameters: &[(&str, i64)], secs: u64) -> Consensus {
    let signer = AuthorityKeypair::new(IdentityKeypair::from_seed(&[1; 32]));
    let url = "http://127.0.0.1:1".to_owned();
    let authority = Authority { nickname: "a".parse().unwrap(), key: signer.identity(), url };
    let authorities = Authorities::new(vec![authority]).unwrap();
    let begin = START + secs;
    let validity = Validity { valid_after: begin, fresh_until: begin + 3600, valid_until: begin + 3 * 3600 };
    let mut draft = ConsensusDraft::new(*authorities.network(), validity, relays);
    draft.parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    Consensus::verify_signatures(&draft.sign(&[&signer]).unwrap(), &authorities).unwrap()
}

/// Opens the links to all guards that are wanted, until there are no more to open.
fn open_guards(relays: &mut Relays, rng: &mut ChaCha20Rng, now: Now) -> Vec<RelayIdentity> {
    loop {
        let primary = relays.primary_guards(rng, now.instant, |_| false);
        if primary.iter().all(|guard| relays.keeps_guard(guard)) {
            return primary;
        }
        primary.iter().for_each(|guard| relays.link_opened(*guard, rng, now));
    }
}

/// A client that has its guards.
fn ready(consensus: &Consensus, rng: &mut ChaCha20Rng, now: Now) -> Relays {
    let mut relays = Relays::new(Vec::new(), Vec::new(), false);
    assert!(relays.update(consensus, rng, now));
    open_guards(&mut relays, rng, now);
    relays
}

fn guards(relays: &Relays) -> Vec<RelayIdentity> {
    relays.guards.usable().map(|(relay, _)| relay).collect()
}

fn second_hops(relays: &Relays) -> BTreeSet<RelayIdentity> {
    relays.second_hops.relays().collect()
}

fn restarted(relays: &Relays) -> Relays {
    let guards = serde_json::to_vec(relays.guards()).unwrap();
    let second_hops = serde_json::to_vec(relays.second_hops()).unwrap();
    Relays::new(serde_json::from_slice(&guards).unwrap(), serde_json::from_slice(&second_hops).unwrap(), false)
}

// ---- relations ----

/// Whether two relays are related, from their entries and not from the table.
fn related(a: &RelayEntry, b: &RelayEntry, bits: u32) -> bool {
    let net = |ip: core::net::IpAddr| match ip.to_canonical() {
        core::net::IpAddr::V4(ip) => (4, u128::from(u64::from(u32::from(ip)) >> (32 - bits))),
        core::net::IpAddr::V6(ip) => (6, u128::from(ip).checked_shr(128 - 2 * bits).unwrap_or(0)),
    };
    let same_place = |a: &crate::netdir::LinkUrl, b: &crate::netdir::LinkUrl| match (a.ip(), b.ip()) {
        (Some(a), Some(b)) => net(a) == net(b),
        (None, None) => a.host().eq_ignore_ascii_case(b.host()),
        _ => false,
    };
    a.identity == b.identity
        || (a.family.is_some() && a.family == b.family)
        || (bits > 0 && a.urls().any(|one| b.urls().any(|other| same_place(one, other))))
}

#[test]
fn relays_with_one_operator_or_in_one_subnet_are_related() {
    let with = |n, url: &str, secure: Option<&str>| {
        let mut relay = relay(n, url);
        relay.secure_url = secure.map(|url| url.parse().unwrap());
        relay
    };
    let mut list = vec![
        with(0, "ws://10.1.2.3:80/", None),
        with(1, "ws://10.1.200.9:81/", None),
        with(2, "ws://10.2.2.3:80/", Some("wss://relay.example/")),
        with(3, "ws://[2001:db8:1::1]:80/", Some("wss://Relay.Example.:444/")),
        with(4, "ws://[2001:db8:ffff::2]:80/", None),
        with(5, "ws://[2001:db9::1]:80/", None),
        with(6, "ws://[::ffff:10.2.9.9]:80/", None),
        with(7, "ws://other.example/", None),
        with(8, "ws://172.16.0.1/", Some("wss://10.1.0.1/")),
        with(9, "ws://172.17.0.1/", None),
        with(10, "ws://172.18.0.1/", None),
    ];
    (list[9].family, list[10].family) = (Some([3; 32].into()), Some([3; 32].into()));
    list[7].family = Some([4; 32].into());
    let expected = [(0, 1), (0, 8), (1, 8), (2, 3), (2, 6), (3, 4), (9, 10)];
    let found = |bits| {
        let table = Table::new(&list, bits, |relay| is_usable(relay, false));
        let pairs = (0..list.len()).flat_map(|a| (a + 1..list.len()).map(move |b| (a, b)));
        let found: Vec<_> = pairs.filter(|(a, b)| table.related(*a, *b)).collect();
        assert!(found.iter().all(|(a, b)| table.related(*b, *a)));
        assert!((0..list.len()).all(|n| table.related(n, n)));
        found
    };
    assert_eq!(found(16), expected);
    assert_eq!(found(0), [(9, 10)], "without subnets families still count");
    assert_eq!(found(32), [(2, 3), (9, 10)], "whole addresses, and half of IPv6's");
    // With the first bit alone: all IPv4 addresses below 128.0.0.0, and all IPv6 addresses from 0::/2.
    assert!(found(1).contains(&(0, 2)) && found(1).contains(&(4, 5)) && !found(1).contains(&(0, 9)));
}

/// A random network: few subnets, few families, IPv6 and names among them, some roles missing, some weights zero.
fn random_network(seed: u64, count: u16) -> Vec<RelayEntry> {
    let rng = &mut rng(seed);
    let mut draw = |end| below(end, rng).unwrap();
    let mut list = Vec::new();
    for n in 0..count {
        let mut url = || match draw(6) {
            0 => format!("//[2001:{:x}::{:x}]/", draw(8), 1 + draw(9)),
            1 => format!("//host{}.example/", draw(12)),
            _ => format!("//10.{}.{}.1/", draw(24), draw(200)),
        };
        let mut relay = relay(n, &format!("ws:{}", url()));
        let secure = url();
        relay.secure_url = (draw(4) == 0).then(|| format!("wss:{secure}").parse().unwrap());
        relay.family = (draw(3) == 0).then(|| [u8::try_from(draw(6)).unwrap(); 32].into());
        relay.roles = RelayRole::ALL.into_iter().filter(|_| draw(4) > 0).collect();
        relay.weight = if draw(8) == 0 { 0 } else { u32::try_from(draw(100_000)).unwrap() };
        list.push(relay);
    }
    list
}

#[test]
fn no_path_has_two_relays_that_are_related() {
    let mut paths = 0;
    for seed in 0..40 {
        let rng = &mut rng(1000 + seed);
        let list = random_network(seed, 5 + u16::try_from(seed).unwrap() * 2);
        let entries: BTreeMap<_, _> = list.iter().map(|relay| (relay.identity, relay.clone())).collect();
        let bits = [16, 8, 24, 16][usize::try_from(seed).unwrap() % 4];
        let (min, max) = [(3, 3), (3, 8), (4, 6), (8, 8)][usize::try_from(seed / 4).unwrap() % 4];
        let parameters = [("path-subnet-v4-bits", i64::from(bits)), ("path-length-min", min), ("path-length-max", max)];
        let consensus = consensus(list.clone(), &parameters, 0);
        let mut relays = ready(&consensus, rng, at(0));
        let check = |path: &[RelayIdentity]| {
            for (n, a) in path.iter().enumerate() {
                for b in &path[n + 1..] {
                    assert!(!related(&entries[a], &entries[b], bits), "{a} and {b} of {path:?}, seed {seed}");
                }
            }
        };
        check(&relays.primary_guards(rng, at(0).instant, |_| false));
        for n in 0..500 {
            let last = list[usize::try_from(below(list.len() as u64, rng).unwrap()).unwrap()].identity;
            let (end, foreign) = [(End::Any, 0), (End::Own(last), 0), (End::Others(last), 1)][n % 3];
            if n % 50 == 20 {
                relays.failed(last, at(0).instant);
            }
            let Ok(path) = relays.path(rng, at(0), end, |_| true) else { continue };
            check(&path);
            let hops: Vec<Hop> = path.iter().map(|id| hop(&entries[id])).collect();
            assert!(relays.stands(&hops));
            let own = i64::try_from(path.len() - foreign).unwrap();
            assert!((min..=max).contains(&own) && path.len() <= MAX_HOPS, "{path:?}");
            assert!(relays.keeps_guard(&path[0]));
            assert!(end == End::Any || path.last() == Some(&last));
            let middles = path.len() - usize::from(end != End::Any);
            assert!(path[1..middles].iter().all(|id| entries[id].has(RelayRole::Middle)));
            for next in list.iter().filter(|_| n % 10 == 0) {
                if relays.may_follow(&hops, &next.identity) {
                    check(&[&path[..], &[next.identity]].concat());
                }
            }
            paths += 1;
        }
        for _ in 0..30 {
            let primary = guards(&relays).into_iter().take(PRIMARY_GUARDS);
            let places = relays.meeting_places(rng, at(0).instant, 2, &[]);
            primary.for_each(|guard| places.iter().for_each(|place| check(&[guard, *place])));
        }
    }
    assert!(paths >= 10_000, "only {paths} paths were looked at");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_table_says_what_the_entries_say(seed in any::<u64>(), bits in 0_u32..=32) {
        let list = random_network(seed, 30);
        let table = Table::new(&list, bits, |relay| is_usable(relay, false));
        for (a, one) in list.iter().enumerate() {
            for (b, other) in list.iter().enumerate() {
                prop_assert_eq!(table.related(a, b), related(one, other, bits), "{:?} {:?}", one, other);
            }
        }
    }
}

// ---- weights ----

#[test]
fn choices_go_by_weight() {
    let rng = &mut rng(1);
    let mut list = strangers(5);
    for (relay, weight) in list.iter_mut().zip([1, 0, 10, 89, 1000]) {
        relay.weight = weight;
    }
    let table = Table::new(&list, 16, |relay| is_usable(relay, false));
    let mut counts = [0_i64; 5];
    for _ in 0..100_000 {
        counts[table.choose(rng, RelayRole::Middle, &[], |index| index != 4).unwrap()] += 1;
    }
    // Within five standard deviations.
    for (count, weight) in counts.iter().zip([1, 0, 10, 89]) {
        let p = f64::from(weight) / 100.0;
        let deviation = (100_000.0 * p * (1.0 - p)).sqrt();
        assert!((*count as f64 - 100_000.0 * p).abs() <= 5.0 * deviation, "{counts:?}");
    }
    assert_eq!(table.choose(rng, RelayRole::Middle, &[], |_| false), None);
    assert_eq!(table.choose(rng, RelayRole::Exit, &[], |_| true), None);
}

#[test]
fn a_relay_without_weight_comes_last_and_one_that_fails_before_it() {
    let rng = &mut rng(2);
    let mut list = strangers(4);
    for (relay, weight) in list.iter_mut().zip([0, 7, 7, 0]) {
        relay.weight = weight;
    }
    let table = Table::new(&list, 16, |relay| is_usable(relay, false));
    let mut chosen = |failing: &[Index], among: &[Index]| -> BTreeSet<Index> {
        (0..200).filter_map(|_| table.choose(rng, RelayRole::Middle, failing, |index| among.contains(&index))).collect()
    };
    assert_eq!(chosen(&[1], &[0, 1, 2, 3]), [2].into());
    assert_eq!(chosen(&[1, 2], &[0, 1, 2, 3]), [1, 2].into(), "better one that has failed than one without weight");
    assert_eq!(chosen(&[0], &[0, 3]), [3].into());
    assert_eq!(chosen(&[], &[0, 3]), [0, 3].into(), "there is nothing else");
    assert_eq!(chosen(&[0], &[0]), [0].into());
}

#[test]
fn the_greatest_weights_do_not_overflow() {
    let mut list = strangers(10_000);
    list.iter_mut().for_each(|relay| relay.weight = u32::MAX);
    let table = Table::new(&list, 16, |relay| is_usable(relay, false));
    let rng = &mut rng(3);
    let chosen: BTreeSet<_> = (0..50).filter_map(|_| table.choose(rng, RelayRole::Guard, &[], |_| true)).collect();
    assert!(chosen.len() > 45 && chosen.last() > Some(&5000));
    assert_eq!(below(0, rng), None);
    assert_eq!(below(1, rng), Some(0));
    assert!(below(u64::MAX, rng).is_some());
}

#[test]
fn guards_second_hops_and_the_rest_go_by_weight() {
    let rng = &mut rng(4);
    let mut list = strangers(60);
    // Half of the relays have nearly all the weight.
    list.iter_mut().enumerate().for_each(|(n, relay)| relay.weight = if n % 2 == 0 { 1000 } else { 1 });
    let consensus = consensus(list, &[], 0);
    let is_light = |id: &RelayIdentity| id.as_bytes()[1] % 2 == 1;
    let mut light = [0; 3];
    for _ in 0..400 {
        let mut relays = ready(&consensus, rng, at(0));
        let path = relays.path(rng, at(0), End::Any, |_| true).unwrap();
        for (count, id) in light.iter_mut().zip(&path) {
            *count += usize::from(is_light(id));
        }
    }
    assert!(light.iter().all(|count| *count < 10), "{light:?}");
}

// ---- guards ----

#[test]
fn a_guard_is_dated_back_and_replaced_when_its_lifetime_is_over() {
    let rng = &mut rng(5);
    let list = strangers(200);
    let first = consensus(list.clone(), &[], 0);
    let (mut earliest, mut latest, mut over_a_tenth) = (u64::MAX, 0, false);
    for _ in 0..300 {
        let relays = ready(&first, rng, at(0));
        for guard in serde_json::to_value(relays.guards()).unwrap().as_array().unwrap() {
            let [added, expires] = ["added", "expires"].map(|name| guard[name].as_u64().unwrap());
            let lifetime = expires - added;
            assert!((60 * DAY..=120 * DAY).contains(&lifetime), "{lifetime}");
            assert!(added <= START && START - added <= lifetime / 10);
            over_a_tenth |= START - added > lifetime / 12;
            (earliest, latest) = (earliest.min(lifetime), latest.max(lifetime));
        }
    }
    assert!(earliest < 62 * DAY && latest > 118 * DAY && over_a_tenth, "{earliest} {latest}");

    let mut relays = ready(&first, rng, at(0));
    let mut seen = guards(&relays);
    assert_eq!(seen.len(), 2);
    let (mut born, mut lives): (BTreeMap<_, _>, Vec<u64>) = (seen.iter().map(|id| (*id, 0)).collect(), Vec::new());
    for day in 1..=1000 {
        let now = at(day * DAY);
        let changed = relays.update(&consensus(list.clone(), &[], day * DAY), rng, now);
        assert!(changed);
        open_guards(&mut relays, rng, now);
        let present = guards(&relays);
        assert_eq!(present.len(), 2);
        lives.extend(seen.iter().filter(|id| !present.contains(id)).map(|id| day - born[id]));
        born.extend(present.iter().filter(|id| !seen.contains(id)).map(|id| (*id, day)));
        seen = present;
    }
    // A tenth of it lay in the past.
    assert!(lives.len() >= 16 && lives.iter().all(|days| (54..=121).contains(days)), "{lives:?}");
}

#[test]
fn the_network_sets_the_lifetimes() {
    let rng = &mut rng(6);
    let list = strangers(50);
    let parameters = [
        ("guard-lifetime-min-days", 2),
        ("guard-lifetime-max-days", 1),
        ("middle-lifetime-min-hours", 5),
        ("middle-lifetime-max-hours", 0),
    ];
    let mut relays = ready(&consensus(list.clone(), &parameters, 0), rng, at(0));
    let before = guards(&relays);
    relays.path(rng, at(0), End::Any, |_| true).unwrap();
    let hops = second_hops(&relays);
    relays.update(&consensus(list.clone(), &parameters, 4 * HOUR), rng, at(4 * HOUR + 3500));
    assert_eq!(second_hops(&relays), hops);
    relays.update(&consensus(list.clone(), &parameters, 5 * HOUR), rng, at(5 * HOUR));
    assert_eq!(second_hops(&relays), BTreeSet::new());
    assert_eq!(guards(&relays), before);
    relays.update(&consensus(list, &parameters, 2 * DAY), rng, at(2 * DAY));
    assert_eq!(guards(&relays), []);
}

#[test]
fn guards_and_second_hops_outlive_a_restart() {
    let rng = &mut rng(7);
    let consensus = consensus(strangers(100), &[], 0);
    let mut relays = ready(&consensus, rng, at(0));
    assert!(relays.take_changed() && !relays.take_changed());
    relays.path(rng, at(0), End::Any, |_| true).unwrap();
    assert!(relays.take_changed(), "the second hops are to be stored");
    let mut again = restarted(&relays);
    assert_eq!((again.guards().len(), again.second_hops().len()), (2, SECOND_HOPS));
    again.update(&consensus, rng, at(60));
    assert!(!again.take_changed(), "nothing about them is new");
    assert_eq!((again.guards(), again.second_hops()), (relays.guards(), relays.second_hops()));
    assert_eq!(again.primary_guards(rng, at(60).instant, |_| false), guards(&relays));
    for _ in 0..100 {
        let path = again.path(rng, at(60), End::Any, |_| true).unwrap();
        assert!(path[0] == guards(&relays)[0] && second_hops(&relays).contains(&path[1]));
    }
}

#[test]
fn a_profile_with_plain_identities_is_read() {
    let rng = &mut rng(8);
    let [a, b] = [id(3), id(5)].map(|id| id.to_hex());
    let json = format!(r#"{{"guards":["{a}","{b}"],"next_contact":4,"next_invite":2}}"#);
    let profile: crate::client::Profile = serde_json::from_str(&json).unwrap();
    let mut relays = Relays::new(profile.guards.clone(), profile.second_hops.clone(), false);
    let unknown = serde_json::to_string(relays.guards()).unwrap();
    assert_eq!(unknown, format!(r#"["{a}","{b}"]"#), "without a consensus there are no lifetimes to draw");
    relays.update(&consensus(strangers(20), &[], 0), rng, at(0));
    assert!(relays.take_changed());
    assert_eq!(guards(&relays), [id(3), id(5)]);
    let value = serde_json::to_value(relays.guards()).unwrap();
    let lifetime = value[0]["expires"].as_u64().unwrap() - value[0]["added"].as_u64().unwrap();
    assert!((60 * DAY..=120 * DAY).contains(&lifetime));
    assert_eq!(restarted(&relays).guards().len(), 2);
}

#[test]
fn a_guard_that_is_not_listed_is_remembered_for_twenty_days() {
    let rng = &mut rng(9);
    let list = strangers(30);
    let parameters = [("guard-lifetime-min-days", 365), ("guard-lifetime-max-days", 365)];
    let mut relays = ready(&consensus(list.clone(), &parameters, 0), rng, at(0));
    let [first, second] = guards(&relays)[..] else { panic!("two guards") };
    let without: Vec<_> = list.iter().filter(|relay| relay.identity != first).cloned().collect();
    // Away, back, and away for good.
    relays.update(&consensus(without.clone(), &parameters, DAY), rng, at(DAY));
    assert_eq!(open_guards(&mut relays, rng, at(DAY))[0], second);
    let spare = guards(&relays)[1];
    relays.update(&consensus(list, &parameters, 10 * DAY), rng, at(10 * DAY));
    assert_eq!(guards(&relays), [first, second, spare], "the first is preferred again");
    assert_eq!(open_guards(&mut relays, rng, at(10 * DAY)), [first, second]);
    let mut again = restarted(&relays);
    for day in 11..=26 {
        again.update(&consensus(without.clone(), &parameters, day * DAY), rng, at(day * DAY));
        assert_eq!(again.guards().len(), 3, "day {day}");
        again = restarted(&again);
    }
    again.update(&consensus(without, &parameters, 32 * DAY), rng, at(32 * DAY));
    assert_eq!(again.guards().len(), 2, "by then more than 20 days have passed");
}

#[test]
fn clocks_that_are_wrong_end_no_lifetime_early_and_prolong_none() {
    let rng = &mut rng(10);
    let list = strangers(30);
    let first = consensus(list.clone(), &[], 0);
    let mut relays = ready(&first, rng, at(0));
    relays.path(rng, at(0), End::Any, |_| true).unwrap();
    let (before, hops) = (guards(&relays), second_hops(&relays));
    // A year ahead, by the clock alone: the consensus says otherwise.
    relays.update(&first, rng, at(365 * DAY));
    assert_eq!((guards(&relays), second_hops(&relays)), (before.clone(), hops.clone()));
    // A profile from a time that has not come yet.
    let future = format!(
        r#"[{{"relay":"{}","added":{},"expires":{},"unlisted_since":{}}}]"#,
        before[0].to_hex(),
        START + 5000 * DAY,
        START + 5100 * DAY,
        START + 5001 * DAY
    );
    let hop = format!(r#"[{{"relay":"{}","expires":{}}}]"#, before[1].to_hex(), START + 5000 * DAY);
    let mut relays = Relays::new(serde_json::from_str(&future).unwrap(), serde_json::from_str(&hop).unwrap(), false);
    relays.update(&first, rng, at(0));
    let value = serde_json::to_value(relays.guards()).unwrap();
    assert_eq!((value[0]["added"].as_u64(), value[0]["expires"].as_u64()), (Some(START), Some(START + 100 * DAY)));
    let value = serde_json::to_value(relays.second_hops()).unwrap();
    assert_eq!(value[0]["expires"].as_u64(), Some(START + 12 * DAY));
    // One that would live for ever.
    let forever = format!(r#"[{{"relay":"{}","added":0,"expires":{}}}]"#, before[0].to_hex(), u64::MAX);
    let mut relays = Relays::new(serde_json::from_str(&forever).unwrap(), Vec::new(), false);
    relays.update(&first, rng, at(0));
    assert_eq!(guards(&relays), []);
}

#[test]
fn a_guard_is_kept_only_once_a_link_has_reached_it() {
    let rng = &mut rng(11);
    let consensus = consensus(strangers(30), &[], 0);
    let mut relays = Relays::new(Vec::new(), Vec::new(), false);
    relays.update(&consensus, rng, at(0));
    let tried = relays.primary_guards(rng, at(0).instant, |_| false);
    assert_eq!((tried.len(), relays.guards().len()), (2, 0));
    relays.link_failed(tried[0], at(0).instant);
    relays.link_opened(tried[1], rng, at(0));
    // A link to somebody who is not even tried makes no guard.
    relays.link_opened(tried[0], rng, at(0));
    assert_eq!(guards(&relays), [tried[1]]);
    let next = relays.primary_guards(rng, at(0).instant, |_| false);
    assert!(next[0] == tried[1] && next[1] != tried[0]);
    // Where all fail, none is used up.
    for _ in 0..100 {
        for guard in relays.primary_guards(rng, at(0).instant, |_| false) {
            relays.link_failed(guard, at(0).instant);
        }
    }
    assert_eq!(guards(&relays), [tried[1]]);
    assert_eq!(relays.primary_guards(rng, at(0).instant, |_| false), []);
    // Once their time is over they are tried again, though nothing else has happened.
    assert_eq!(relays.primary_guards(rng, at(2).instant, |_| false).len(), 2);
}

#[test]
fn places_of_invites_become_no_guards() {
    let rng = &mut rng(12);
    let consensus = consensus(strangers(5), &[], 0);
    for _ in 0..20 {
        let mut relays = Relays::new(Vec::new(), Vec::new(), false);
        relays.update(&consensus, rng, at(0));
        let tried = relays.primary_guards(rng, at(0).instant, |id| [1, 2, 3].contains(&id.as_bytes()[1]));
        assert_eq!(tried.iter().map(|id| id.as_bytes()[1]).collect::<BTreeSet<_>>(), [0, 4].into());
    }
}

#[test]
fn where_links_have_to_be_secure_guards_without_such_an_address_are_passed_over_and_kept() {
    let rng = &mut rng(24);
    let mut list = strangers(20);
    list.iter_mut().skip(10).for_each(|relay| relay.secure_url = Some("wss://guards.example/".parse().unwrap()));
    list[19].secure_url = Some("wss://another.example/".parse().unwrap());
    let consensus = consensus(list, &[], 0);
    let kept = serde_json::from_value(serde_json::json!([id(3).to_hex(), id(12).to_hex()])).unwrap();
    let mut relays = Relays::new(kept, Vec::new(), true);
    relays.update(&consensus, rng, at(0));
    // All but one of those that can be used stand behind one name.
    assert_eq!(open_guards(&mut relays, rng, at(0)), [id(12), id(19)]);
    assert_eq!(relays.guards().len(), 3, "the page may come by http again");
    let path = relays.path(rng, at(0), End::Any, |_| true).unwrap();
    assert_eq!(path[0], id(12));
}

#[test]
fn who_is_asked_is_a_stranger_to_those_asked_before_and_within_reach() {
    let rng = &mut rng(25);
    let list = random_network(3, 60);
    let entries: BTreeMap<_, _> = list.iter().map(|relay| (relay.identity, relay.clone())).collect();
    let mut relays = ready(&consensus(list, &[], 0), rng, at(0));
    let primary = relays.primary_guards(rng, at(0).instant, |_| false);
    let mut asked = Vec::new();
    while let Some(next) = relays.stranger_to(rng, at(0).instant, &asked) {
        assert!(asked.iter().all(|other| !related(&entries[&next], &entries[other], 16)));
        assert!(primary.iter().any(|guard| !related(&entries[&next], &entries[guard], 16)));
        asked.push(next);
    }
    assert!(asked.len() > 5, "{asked:?}");
}

#[test]
fn a_client_keeps_to_twenty_guards_at_most() {
    let rng = &mut rng(13);
    let consensus = consensus(strangers(100), &[], 0);
    let mut relays = ready(&consensus, rng, at(0));
    for _ in 0..50 {
        for guard in open_guards(&mut relays, rng, at(0)) {
            relays.link_failed(guard, at(0).instant);
        }
    }
    assert_eq!(guards(&relays).len(), guards::MAX_GUARDS);
}

#[test]
fn related_guards_are_not_used_at_once() {
    let rng = &mut rng(14);
    // Three in one family, and one apart.
    let mut list = strangers(4);
    list.iter_mut().take(3).for_each(|relay| relay.family = Some([1; 32].into()));
    let consensus = consensus(list, &[], 0);
    let mut relays = ready(&consensus, rng, at(0));
    for _ in 0..10 {
        let primary = open_guards(&mut relays, rng, at(0));
        assert!(primary.len() == 2 && primary.contains(&id(3)), "{primary:?}");
        // Another one of the family stands in for one that fails, and steps back when it works again.
        let family = *primary.iter().find(|guard| **guard != id(3)).unwrap();
        relays.link_failed(family, at(0).instant);
        let stands_in = open_guards(&mut relays, rng, at(0));
        assert!(stands_in.len() == 2 && !stands_in.contains(&family));
        relays.works(&family);
    }
}

// ---- second hops ----

#[test]
fn second_hops_stay_for_days() {
    let rng = &mut rng(15);
    let list = strangers(300);
    let mut relays = ready(&consensus(list.clone(), &[], 0), rng, at(0));
    let mut born: BTreeMap<RelayIdentity, u64> = BTreeMap::new();
    let mut lives = Vec::new();
    let last = list[299].identity;
    for hour in (0..24 * 365).step_by(3) {
        let now = at(hour * HOUR);
        relays.update(&consensus(list.clone(), &[], hour * HOUR), rng, now);
        open_guards(&mut relays, rng, now);
        let mut seen = BTreeSet::new();
        for n in 0..12 {
            let end = [End::Any, End::Own(last), End::Others(last)][n % 3];
            if let Ok(path) = relays.path(rng, now, end, |_| true) {
                seen.insert(path[1]);
            }
        }
        let set = second_hops(&relays);
        assert_eq!(set.len(), SECOND_HOPS);
        assert!(seen.is_subset(&set));
        lives.extend(born.iter().filter(|(id, _)| !set.contains(id)).map(|(_, since)| hour - since));
        born.retain(|id, _| set.contains(id));
        set.iter().for_each(|id| _ = born.entry(*id).or_insert(hour));
        if hour % 24 == 0 {
            relays = restarted(&relays);
        }
    }
    // The greater of two draws between 1 and 12 days: 8⅓ on average.
    assert!(lives.iter().all(|hours| (24 - 3..=288 + 3).contains(hours)), "{lives:?}");
    let days = lives.iter().sum::<u64>() as f64 / lives.len() as f64 / 24.0;
    assert!(lives.len() > 140 && (7.6..9.1).contains(&days), "{} lives of {days} days", lives.len());
}

#[test]
fn all_second_hops_are_used_alike_and_others_only_where_none_fits() {
    let rng = &mut rng(16);
    let list = strangers(100);
    let consensus = consensus(list, &[], 0);
    let mut relays = ready(&consensus, rng, at(0));
    let mut used: BTreeMap<RelayIdentity, usize> = BTreeMap::new();
    for _ in 0..4000 {
        *used.entry(relays.path(rng, at(0), End::Any, |_| true).unwrap()[1]).or_default() += 1;
    }
    let set = second_hops(&relays);
    assert_eq!(used.keys().copied().collect::<BTreeSet<_>>(), set);
    assert!(used.values().all(|count| (850..1150).contains(count)), "{used:?}");
    // A path may lead to one of them: then another is its second hop.
    for member in &set {
        let path = relays.path(rng, at(0), End::Others(*member), |_| true).unwrap();
        assert!(set.contains(&path[1]) && path[1] != *member);
    }
    // Those that fail are left out, and while all do, relays from outside serve without coming in.
    let members: Vec<_> = set.iter().copied().collect();
    for (n, member) in members.iter().enumerate() {
        relays.failed(*member, at(0).instant);
        for _ in 0..50 {
            let second = relays.path(rng, at(0), End::Any, |_| true).unwrap()[1];
            assert_eq!(set.contains(&second), n < 3);
            assert!(!members[..=n].contains(&second));
        }
    }
    assert_eq!(second_hops(&relays), set);
    assert!(set.contains(&relays.path(rng, at(7), End::Any, |_| true).unwrap()[1]));
}

#[test]
fn a_second_hop_that_has_left_is_replaced() {
    let rng = &mut rng(17);
    let list = strangers(50);
    let mut relays = ready(&consensus(list.clone(), &[], 0), rng, at(0));
    relays.path(rng, at(0), End::Any, |_| true).unwrap();
    let set = second_hops(&relays);
    let gone = *set.first().unwrap();
    let mut rest = list;
    rest.iter_mut()
        .filter(|relay| relay.identity == gone)
        .for_each(|relay| relay.roles = [RelayRole::Guard].into_iter().collect());
    relays.update(&consensus(rest, &[], 1), rng, at(1));
    relays.path(rng, at(1), End::Any, |_| true).unwrap();
    let now = second_hops(&relays);
    assert_eq!((now.len(), now.intersection(&set).count(), now.contains(&gone)), (4, 3, false));
}

// ---- lengths, reach, shortage ----

#[test]
fn lengths_are_drawn_between_the_networks_bounds() {
    let rng = &mut rng(18);
    let list = strangers(60);
    let last = list[7].identity;
    let lengths = |parameters: &[(&str, i64)], rng: &mut ChaCha20Rng| {
        let mut relays = ready(&consensus(strangers(60), parameters, 0), rng, at(0));
        let mut counts = [0; MAX_HOPS + 1];
        for _ in 0..1200 {
            let own = relays.path(rng, at(0), End::Any, |_| true).unwrap().len();
            counts[own] += 1;
            if let Ok(path) = relays.path(rng, at(0), End::Others(last), |_| true) {
                assert!((4..=MAX_HOPS).contains(&path.len()));
            }
        }
        (counts, relays.stretch(Duration::from_secs(4)))
    };
    assert_eq!(lengths(&[], rng), ([0, 0, 0, 1200, 0, 0, 0, 0, 0, 0], Duration::from_secs(4)));
    let (counts, time) = lengths(&[("path-length-max", 8)], rng);
    assert!(counts[3..=8].iter().all(|count| (140..260).contains(count)), "{counts:?}");
    assert_eq!(time, Duration::from_secs(9), "a second for each hop");
    let (counts, _) = lengths(&[("path-length-min", 90), ("path-length-max", -5)], rng);
    assert_eq!(
        counts[8], 1200,
        "bounds outside their range are read as the nearest inside, and the greatest is at least the least"
    );
    let (counts, _) = lengths(&[("path-length-min", 1)], rng);
    assert_eq!(counts[3], 1200);
}

#[test]
fn where_relays_are_few_paths_are_as_short_as_allowed() {
    let rng = &mut rng(19);
    let mut relays = ready(&consensus(strangers(5), &[("path-length-max", 8)], 0), rng, at(0));
    for _ in 0..100 {
        let len = relays.path(rng, at(0), End::Any, |_| true).unwrap().len();
        assert!((3..=5).contains(&len));
    }
}

#[test]
fn a_network_of_relatives_has_no_paths_and_says_so_once() {
    let rng = &mut rng(20);
    let mut list = strangers(40);
    list.iter_mut().skip(2).for_each(|relay| relay.url = "ws://10.9.9.9:80/".parse().unwrap());
    let dense = consensus(list.clone(), &[], 0);
    // Two strangers and one of the others would do: only that all others are related leaves three relays at most.
    let mut relays = ready(&dense, rng, at(0));
    assert!(relays.path(rng, at(0), End::Any, |_| true).is_ok());
    list.iter_mut().skip(1).for_each(|relay| relay.url = "ws://10.9.9.9:80/".parse().unwrap());
    let dense = consensus(list.clone(), &[], 1);
    relays.update(&dense, rng, at(1));
    open_guards(&mut relays, rng, at(1));
    assert_eq!(relays.path(rng, at(1), End::Any, |_| true), Err(NoPath::TooFew));
    assert_eq!(relays.complaint(at(2).instant), None, "it may be over in a moment");
    assert_eq!(relays.path(rng, at(12), End::Any, |_| true), Err(NoPath::TooFew));
    let told = relays.complaint(at(12).instant).unwrap();
    assert!(told.contains("one operator") && told.contains("subnet"), "{told}");
    relays.update(&consensus(list, &[], 60), rng, at(60));
    assert_eq!(relays.path(rng, at(60), End::Any, |_| true), Err(NoPath::TooFew));
    assert_eq!(relays.complaint(at(90).instant), None, "it is known already");
    // The same relays, where subnets do not count.
    relays.update(&consensus(strangers(10), &[(SUBNET_PARAMETER, 0)], 100), rng, at(100));
    open_guards(&mut relays, rng, at(100));
    assert!(relays.path(rng, at(100), End::Any, |_| true).is_ok());
    assert_eq!(relays.complaint(at(200).instant), None);
    // No guards at all.
    let mut list = strangers(10);
    list.iter_mut().for_each(|relay| relay.roles = [RelayRole::Middle].into_iter().collect());
    relays.update(&consensus(list, &[], 300), rng, at(300));
    assert_eq!(relays.complaint(at(300).instant), None);
    assert!(relays.complaint(at(311).instant).unwrap().contains("takes clients' links"));
    assert_eq!(relays.complaint(at(400).instant), None);
}

#[test]
fn the_guard_is_one_that_is_not_related_to_the_end() {
    let rng = &mut rng(21);
    let mut list = strangers(30);
    let mut relays = ready(&consensus(list.clone(), &[], 0), rng, at(0));
    let [first, second] = guards(&relays)[..] else { panic!("two guards") };
    let end = list.iter().position(|relay| ![first, second].contains(&relay.identity)).unwrap();
    let index = |id: RelayIdentity| usize::from(id.as_bytes()[1]);
    list[end].family = Some([1; 32].into());
    list[index(first)].family = Some([1; 32].into());
    relays.update(&consensus(list.clone(), &[], 1), rng, at(1));
    relays.primary_guards(rng, at(1).instant, |_| false);
    let to = End::Others(list[end].identity);
    assert_eq!(relays.path(rng, at(1), to, |_| true).unwrap()[0], second);
    assert_eq!(relays.path(rng, at(1), to, |guard| *guard == first), Err(NoPath::NotYet), "the other may open");
    assert!(!relays.is_out_of_reach(&list[end].identity));
    // Related to both.
    list[end].url = list[index(second)].url.clone();
    relays.update(&consensus(list.clone(), &[], 2), rng, at(2));
    assert_eq!(relays.path(rng, at(2), to, |_| true), Err(NoPath::OutOfReach));
    assert!(relays.is_out_of_reach(&list[end].identity));
    assert_eq!(relays.path(rng, at(2), End::Own(id(999)), |_| true), Err(NoPath::OutOfReach), "not listed");
}

#[test]
fn a_circuit_that_would_not_be_built_today_does_not_stand() {
    let rng = &mut rng(22);
    let mut list = strangers(30);
    let mut relays = ready(&consensus(list.clone(), &[], 0), rng, at(0));
    let path = relays.path(rng, at(0), End::Any, |_| true).unwrap();
    let hops: Vec<_> = path.iter().map(|id| hop(list.iter().find(|relay| relay.identity == *id).unwrap())).collect();
    assert!(relays.stands(&hops) && !relays.update(&consensus(list.clone(), &[], 0), rng, at(5)));
    assert!(!relays.stands(&hops[1..]), "the first has to be a guard that is kept");
    for relay in list.iter_mut().filter(|relay| path[1..].contains(&relay.identity)) {
        relay.family = Some([1; 32].into());
    }
    assert!(relays.update(&consensus(list.clone(), &[], 10), rng, at(10)));
    assert!(!relays.stands(&hops));
    list.retain(|relay| relay.identity != path[2]);
    relays.update(&consensus(list, &[], 20), rng, at(20));
    assert!(!relays.stands(&hops) && relays.stands(&hops[..2]));
}

#[test]
fn relays_that_fail_are_avoided_while_there_are_others() {
    let rng = &mut rng(23);
    let list = strangers(8);
    let mut relays = ready(&consensus(list, &[], 0), rng, at(0));
    let guard = guards(&relays)[0];
    let others: Vec<_> = (0..8).map(id).filter(|id| *id != guard).collect();
    for failed in &others[..4] {
        relays.failed(*failed, at(0).instant);
    }
    for _ in 0..100 {
        let path = relays.path(rng, at(0), End::Any, |_| true).unwrap();
        assert!(path[1..].iter().all(|id| others[4..].contains(id)));
    }
    // With two that work and three needed, those that failed have to help out.
    for failed in &others[4..] {
        relays.failed(*failed, at(0).instant);
    }
    assert!(relays.path(rng, at(0), End::Any, |_| true).is_ok());
    assert_eq!(relays.next_chance(at(0).instant), Some(at(6).instant));
    assert!(relays.is_failing(&others[0], at(0).instant) && !relays.is_failing(&others[0], at(6).instant));
}
