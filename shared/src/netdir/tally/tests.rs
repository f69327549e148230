use proptest::prelude::*;

use super::super::authorities::tests::authorities;
use super::super::vote::tests::{START, vote};
use super::super::{AuthorityKeypair, RelayRole, UnsignedConsensus};
use super::*;
use crate::time::UnixTime;

/// The authorities, and their votes for the relays with these seeds, each changed.
fn votes(
    seeds: &[&[u8]],
    change: impl Fn(usize, &mut Vote, &AuthorityKeypair),
) -> (Vec<AuthorityKeypair>, Authorities, Vec<SignedVote>) {
    let (keypairs, authorities) = authorities(u8::try_from(seeds.len()).unwrap());
    let network = authorities.network();
    let signed = keypairs.iter().zip(seeds).enumerate().map(|(index, (keypair, seeds))| {
        let mut vote = vote(keypair, network, seeds);
        change(index, &mut vote, keypair);
        vote.sign(keypair, network).unwrap()
    });
    let signed = signed.collect();
    (keypairs, authorities, signed)
}

fn count(authorities: &Authorities, votes: &[SignedVote]) -> Result<ConsensusDraft, TallyError> {
    tally(authorities, &votes.iter().collect::<Vec<_>>(), None)
}

fn nicknames(draft: &ConsensusDraft) -> Vec<&str> {
    let mut names: Vec<_> = draft.relays.iter().map(|relay| relay.nickname.as_str()).collect();
    names.sort_unstable();
    names
}

#[test]
fn a_majority_lists_relays_and_grants_roles_and_the_low_median_counts() {
    let (_, authorities, votes) = votes(&[&[1, 2], &[1, 3], &[1, 2, 4]], |index, vote, _| {
        vote.fresh_for = [100, 300, 200][index];
        vote.parameters = [("all".to_owned(), [5, -5, 6][index])].into();
        if index > 0 {
            vote.parameters.insert("two".to_owned(), [0, 9, 8][index]);
        } else {
            vote.parameters.insert("one".to_owned(), 1);
        }
        for relay in &mut vote.relays {
            (relay.weight, relay.health) = ([10, 30, 20][index], [90, 10, 70][index]);
            relay.roles = [RelayRole::Guard, [RelayRole::Rendezvous, RelayRole::Guard, RelayRole::Exit][index]]
                .into_iter()
                .collect();
        }
    });
    let draft = count(&authorities, &votes).unwrap();
    assert_eq!(nicknames(&draft), ["relay1", "relay2"]);
    assert!(draft.relays.iter().all(|relay| relay.has(RelayRole::Guard)));
    assert!(draft.relays.iter().all(|relay| !relay.has(RelayRole::Exit)), "one vote grants nothing");
    let by_name = |name: &str| draft.relays.iter().find(|relay| relay.nickname.as_str() == name).unwrap();
    let (one, two) = (by_name("relay1"), by_name("relay2"));
    assert_eq!((one.weight, draft.health[&one.identity]), (20, 70));
    assert_eq!((two.weight, draft.health[&two.identity]), (10, 70), "the lower of two");
    assert_eq!(draft.validity.fresh_until, START + 200);
    assert_eq!(draft.parameters, [("all".to_owned(), 5), ("two".to_owned(), 8)].into());
    assert_eq!(draft.authorities.len(), 3);
}

#[test]
fn what_a_relay_does_not_offer_is_not_granted() {
    let (_, authorities, votes) = votes(&[&[1], &[1], &[1]], |_, vote, _| {
        vote.relays[0].roles = RelayRole::ALL.into_iter().collect();
    });
    let draft = count(&authorities, &votes).unwrap();
    assert_eq!(draft.relays[0].roles.iter().collect::<Vec<_>>(), [RelayRole::Guard, RelayRole::Rendezvous]);
}

#[test]
fn too_few_votes_give_nothing() {
    let (_, authorities, votes) = votes(&[&[1], &[1], &[1]], |_, _, _| ());
    assert_eq!(count(&authorities, &votes[..1]), Err(TallyError::TooFewVotes { votes: 1, quorum: 2 }));
    assert_eq!(count(&authorities, &[]), Err(TallyError::TooFewVotes { votes: 0, quorum: 2 }));
    assert!(count(&authorities, &votes[1..]).is_ok());
}

#[test]
fn rules_that_no_quorum_knows_give_nothing() {
    let (_, authorities, votes) =
        votes(&[&[1], &[1], &[1]], |index, vote, _| vote.rule_sets = if index == 0 { vec![1] } else { vec![2] });
    assert_eq!(count(&authorities, &votes), Err(TallyError::Rules));
}

/// Those who know the higher rules compute by them. Who went on by the lower ones would sign a second consensus, and with
/// the help of one that lies and signs both there would be two.
#[test]
fn rules_that_a_quorum_knows_but_this_program_does_not_give_nothing() {
    let (_, authorities, votes) =
        votes(&[&[1], &[1], &[1]], |index, vote, _| vote.rule_sets = if index == 0 { vec![1] } else { vec![1, 2] });
    assert_eq!(count(&authorities, &votes), Err(TallyError::Rules));
}

#[test]
fn roles_without_a_name_are_counted_like_the_others() {
    let unknown = |bits: u16| Roles::from_bits(bits | RelayRole::Guard as u16);
    let (_, authorities, votes) = votes(&[&[1], &[1], &[1]], |index, vote, _| {
        let keypair = super::super::descriptor::tests::relay(1).0;
        let relay = &mut vote.relays[0];
        relay.descriptor.entry.roles = unknown(0xe000);
        relay.bytes = relay.descriptor.sign(&keypair, authorities(3).1.network()).into();
        relay.roles = unknown([0x9000, 0xb000, 0x5000][index]);
    });
    assert_eq!(count(&authorities, &votes).unwrap().relays[0].roles, unknown(0x8000));
}

/// One voter lists two relays that claim the same name, key or address, and each of the others lists one of them.
#[test]
fn who_has_more_votes_or_was_known_first_keeps_a_name() {
    let (_, authorities, votes) = votes(&[&[1], &[2], &[1, 2]], |_, vote, _| {
        for relay in &mut vote.relays {
            let (keypair, mut descriptor) =
                super::super::descriptor::tests::relay(if relay.descriptor.entry.nickname.as_str() == "relay1" {
                    1
                } else {
                    2
                });
            descriptor.entry.nickname = "same".parse().unwrap();
            let network = *authorities_network();
            relay.bytes = descriptor.sign(&keypair, &network).into();
            relay.since = START - u64::from(descriptor.entry.url.port());
            relay.descriptor = descriptor;
        }
    });
    let draft = count(&authorities, &votes).unwrap();
    assert_eq!(nicknames(&draft), ["same"]);
    // The one with the higher port was known first, by the rule of this test.
    assert_eq!(draft.relays[0].url.port(), 7102);
}

fn authorities_network() -> &'static crate::netdir::NetworkId {
    static NETWORK: std::sync::OnceLock<crate::netdir::NetworkId> = std::sync::OnceLock::new();
    NETWORK.get_or_init(|| *authorities(3).1.network())
}

#[test]
fn the_descriptor_that_most_hold_counts() {
    let (_, authorities, votes) = votes(&[&[1], &[1], &[1]], |index, vote, _| {
        if index == 0 {
            let (keypair, mut descriptor) = super::super::descriptor::tests::relay(1);
            descriptor.published += 100;
            descriptor.entry.weight = 7;
            vote.relays[0].bytes = descriptor.sign(&keypair, authorities_network()).into();
            vote.relays[0].descriptor = descriptor;
            vote.relays[0].weight = 7;
        }
    });
    assert_eq!(count(&authorities, &votes).unwrap().relays[0].weight, 100);
}

/// Signs a draft and gives the consensus.
fn publish(keypairs: &[AuthorityKeypair], authorities: &Authorities, draft: ConsensusDraft) -> Consensus {
    let valid_after = draft.validity.valid_after;
    let unsigned: UnsignedConsensus = draft.finish().unwrap();
    let signatures: Vec<_> = keypairs.iter().map(|keypair| unsigned.sign(keypair)).collect();
    let bytes = unsigned.assemble(&signatures).unwrap();
    Consensus::verify(&bytes, authorities, UnixTime::from_millis(valid_after * 1000)).unwrap()
}

#[test]
fn the_shared_random_value_follows_from_what_was_revealed() {
    const LEN: u32 = 1000;
    let (keypairs, authorities) = authorities(3);
    let secret = |index: usize| [index as u8 + 1; 32];
    let mut consensus: Option<Consensus> = None;
    let mut at = |valid_after: u64, dishonest: bool| {
        let cycle = valid_after / u64::from(LEN);
        let votes: Vec<_> = keypairs
            .iter()
            .enumerate()
            .map(|(index, keypair)| {
                let mut vote = vote(keypair, authorities.network(), &[1]);
                vote.valid_after = valid_after;
                vote.cycle_len = LEN;
                vote.previous = consensus.as_ref().map(|before| (before.digest(), before.validity().valid_after));
                vote.commitment = Some(commitment(&keypair.identity(), cycle, &secret(index)));
                // The last one reveals something else than it has committed itself to.
                vote.reveal = Some(if dishonest && index == 2 { [99; 32] } else { secret(index) });
                vote.sign(keypair, authorities.network()).unwrap()
            })
            .collect();
        let list: Vec<_> = votes.iter().collect();
        let draft = tally(&authorities, &list, consensus.as_ref()).unwrap();
        let next = publish(&keypairs, &authorities, draft);
        let random = *next.random();
        let revealed = next.authorities().iter().filter(|one| one.reveal.is_some()).count();
        consensus = Some(next);
        (random, revealed)
    };
    let start = 1_700_000_000 / u64::from(LEN) * u64::from(LEN);
    let (first, revealed) = at(start, false);
    assert_eq!((first.value, first.contributions, revealed), ([0; 32], 0, 0), "nothing is revealed in the first half");
    let (same, revealed) = at(start + 600, true);
    assert_eq!((same, revealed), (first, 2), "what was not committed is not taken");
    let (second, revealed) = at(start + 1000, false);
    assert_eq!((second.contributions, second.before, revealed), (2, first.value, 0));
    assert_ne!(second.value, first.value);
    assert_eq!(at(start + 1600, false).1, 3);
    let (third, _) = at(start + 2000, false);
    assert_eq!((third.contributions, third.before), (3, second.value));
    // Nobody revealed anything in a cycle that was left out.
    let (late, _) = at(start + 9000, false);
    assert_eq!((late.contributions, late.cycle), (0, start / 1000 + 9));
}

#[test]
fn votes_on_another_consensus_before_need_that_one() {
    let (keypairs, authorities, votes) = votes(&[&[1], &[1], &[1]], |_, vote, _| {
        vote.previous = Some((ConsensusDigest::from_bytes([5; 32]), START - 900));
    });
    let list: Vec<_> = votes.iter().collect();
    let missing = Err(TallyError::Previous(ConsensusDigest::from_bytes([5; 32])));
    assert_eq!(tally(&authorities, &list, None), missing);
    let validity = Validity { valid_after: START - 900, fresh_until: START, valid_until: START };
    let other = publish(&keypairs, &authorities, ConsensusDraft::new(*authorities.network(), validity, Vec::new()));
    assert_eq!(tally(&authorities, &list, Some(&other)), missing);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whoever counts, in whatever order: the same document.
    #[test]
    fn the_order_of_the_votes_does_not_matter(
        lists in prop::collection::vec(prop::collection::btree_set(1u8..12, 0..8), 5), rotate in 0usize..5,
    ) {
        let lists: Vec<Vec<u8>> = lists.into_iter().map(|list| list.into_iter().collect()).collect();
        let lists: Vec<&[u8]> = lists.iter().map(Vec::as_slice).collect();
        let (_, authorities, mut votes) = votes(&lists, |index, vote, _| vote.valid_for += index as u32);
        let draft = count(&authorities, &votes).unwrap();
        votes.rotate_left(rotate);
        prop_assert_eq!(count(&authorities, &votes).unwrap().finish().unwrap(), draft.finish().unwrap());
    }

    /// Two of five who say the same cannot add a relay, nor take one away.
    #[test]
    fn a_minority_changes_nothing(lied in prop::collection::btree_set(1u8..12, 0..8)) {
        let lied: Vec<u8> = lied.into_iter().collect();
        let truth: &[u8] = &[1, 2, 3, 20];
        let honest = votes(&[truth; 5], |_, _, _| ());
        let lying = votes(&[truth, &lied, truth, &lied, truth], |index, vote, _| {
            if index % 2 == 1 {
                vote.relays.iter_mut().for_each(|relay| (relay.weight, relay.health) = (1_000_000, 0));
                vote.parameters = [("a".to_owned(), 99), ("b".to_owned(), 1)].into();
            }
        });
        let (honest, lying) = (count(&honest.1, &honest.2).unwrap(), count(&lying.1, &lying.2).unwrap());
        prop_assert_eq!(honest.relays, lying.relays);
        prop_assert_eq!(honest.health, lying.health);
        prop_assert_eq!(honest.parameters, lying.parameters);
    }
}
