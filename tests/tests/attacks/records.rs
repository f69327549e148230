//! Records that are changed on their way, or were none from the beginning.

use allium_shared::link::CELL_LEN;
use allium_tests::sim::outsider::Origin;

use crate::ground::{A_WHILE, ENTRIES, exchange, network, open, question};

/// Whoever sits on a link can change its bytes. One bit, and the link ends; nothing of the record was taken.
#[test]
fn a_flipped_bit_of_a_record_ends_the_link_alone() {
    let mut sim = network(1, 3);
    let mut origin = Origin::connect(&mut sim, 0);
    let bystander = open(&mut sim, &mut origin, &[0, 1, 2]);
    for at in [0, 3, 4, 5, 20, 21, 513, 514, 3 * CELL_LEN, 4 * CELL_LEN - 1, 4 * CELL_LEN, 4 * CELL_LEN + 15] {
        let mut victim = Origin::connect(&mut sim, 0);
        let circ = open(&mut sim, &mut victim, &[0, 1, 2]);
        assert!(exchange(&mut sim, &mut victim, circ), "without an attack the exchange succeeds");
        let mut plain = Vec::new();
        question(&mut victim, circ).iter().for_each(|cell| cell.encode(&mut plain));
        plain.resize(4 * CELL_LEN, 0);
        let mut record = victim.sealed(plain);
        record[at] ^= 1 << (at % 8);
        victim.send_bytes(&mut sim, record);
        sim.run_for(A_WHILE);
        victim.look(&mut sim);
        assert!(victim.is_closed(&sim), "byte {at} was changed, and the link goes on");
        assert_eq!(victim.messages(circ).count(), 1, "byte {at} was changed, and the question was answered");
        assert_eq!(sim.circuits(), ENTRIES, "something of the circuit is left");
    }
    assert!(exchange(&mut sim, &mut origin, bystander), "another link suffers");
}

#[test]
fn records_that_are_none_end_their_link_alone() {
    let mut sim = network(3, 3);
    let mut origin = Origin::connect(&mut sim, 0);
    let bystander = open(&mut sim, &mut origin, &[0, 1, 2]);
    for len in [0, 1, 15, 16, CELL_LEN, CELL_LEN + 15, CELL_LEN + 16, CELL_LEN + 17, 32 * CELL_LEN + 16, 200_000] {
        let mut attacker = Origin::connect(&mut sim, 0);
        let circ = open(&mut sim, &mut attacker, &[0, 1]);
        attacker.send_bytes(&mut sim, vec![7; len]);
        sim.run_for(A_WHILE);
        assert!(attacker.is_closed(&sim), "{len} bytes were taken for a record");
        assert!(!attacker.is_gone(circ), "the origin itself has heard nothing");
        assert_eq!(sim.circuits(), ENTRIES, "something of the attacker's circuit is left");
    }
    // Sealed as they should be, but with cells in them that are none.
    for (circ, command) in [(0_u32, 3_u8), (0x8000_0009, 0), (0x8000_0009, 200)] {
        let mut attacker = Origin::connect(&mut sim, 0);
        let mut record = circ.to_be_bytes().to_vec();
        record.push(command);
        record.resize(CELL_LEN, 0);
        attacker.send_record(&mut sim, record);
        sim.run_for(A_WHILE);
        assert!(attacker.is_closed(&sim), "command {command} on circuit {circ} was taken for a cell");
    }
    assert!(exchange(&mut sim, &mut origin, bystander), "another link suffers");
}
