//! Published vectors of Counter Galois Onion: their format, and the check of this implementation against them.
//!
//! A file is a JSON object with the member `"scheme": "cgo-aes128"` and any of the lists `et`, `prf`, `uiv`, `uiv_update`,
//! `relay_forward`, `relay_originate` and `client_originate`. Byte strings are in hexadecimal, of either case. Members of
//! a vector that are not known, and texts and numbers about the file, are let pass: they say nothing that could fail.

use core::fmt;

use data_encoding::HEXLOWER_PERMISSIVE;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::hazmat::{self, FromParts, Parts};
use super::{BODY_LEN, ClientForward, PAYLOAD_LEN, RelayBackward, RelayForward, TAG_LEN, split, split_mut};

/// The only scheme that files may name.
const SCHEME: &str = "cgo-aes128";

/// What a check of one file found.
#[derive(Debug, Default)]
pub struct Report {
    /// How many vectors the file holds.
    pub vectors: usize,
    /// Those that this implementation does not reproduce, or cannot read.
    pub failures: Vec<Failure>,
}

/// A vector that failed.
#[derive(Debug, thiserror::Error)]
#[error("{list}[{index}]: {reason}")]
pub struct Failure {
    /// Name of the list.
    pub list: String,
    /// Position in the list, from zero.
    pub index: usize,
    /// What differs.
    pub reason: String,
}

/// A file that is not one of vectors.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The file is not JSON, or not an object.
    #[error("the file is not a JSON object: {0}")]
    Json(#[from] serde_json::Error),
    /// The scheme is missing or another one.
    #[error("the file's scheme is not {SCHEME}")]
    Scheme,
    /// A list that nothing is known about.
    #[error("the file has a member {0:?}, and nothing is known about such vectors")]
    UnknownList(String),
    /// Something else where a list belongs.
    #[error("the file's member {0:?} is not a list")]
    NotAList(String),
}

/// Runs every vector of a file through the code that cells go through.
pub fn check(json: &str) -> Result<Report, FormatError> {
    let file: serde_json::Map<String, Value> = serde_json::from_str(json)?;
    if file.get("scheme").and_then(Value::as_str) != Some(SCHEME) {
        return Err(FormatError::Scheme);
    }
    let mut report = Report::default();
    for (name, value) in file {
        let check: fn(Value) -> Result<(), String> = match name.as_str() {
            "about" | "scheme" => continue,
            "et" => run::<Et>,
            "prf" => run::<Prf>,
            "uiv" => run::<Uiv>,
            "uiv_update" => run::<UivUpdate>,
            "relay_forward" => run::<RelayForwardVector>,
            "relay_originate" => run::<RelayOriginate>,
            "client_originate" => run::<ClientOriginate>,
            _ if !value.is_array() && !value.is_object() => continue,
            _ => return Err(FormatError::UnknownList(name)),
        };
        let Value::Array(entries) = value else { return Err(FormatError::NotAList(name)) };
        for (index, entry) in entries.into_iter().enumerate() {
            report.vectors += 1;
            if let Err(reason) = check(entry) {
                report.failures.push(Failure { list: name.clone(), index, reason });
            }
        }
    }
    Ok(report)
}

trait Vector: DeserializeOwned {
    fn check(&self) -> Result<(), String>;
}

fn run<V: Vector>(entry: Value) -> Result<(), String> {
    serde_json::from_value::<V>(entry).map_err(|error| error.to_string())?.check()
}

/// Bytes in hexadecimal, of a fixed length.
#[derive(Clone, PartialEq, Eq)]
struct Hex<const N: usize>([u8; N]);

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(D::Error::custom)?;
        let len = bytes.len();
        bytes.try_into().map(Self).map_err(|_| D::Error::custom(format_args!("{len} bytes where {N} belong")))
    }
}

impl<const N: usize> Hex<N> {
    /// Splits into blocks of 16 bytes; `M` is `N / 16`.
    fn blocks<const M: usize>(&self) -> [[u8; 16]; M] {
        let mut blocks = [[0; 16]; M];
        for (block, bytes) in blocks.iter_mut().zip(self.0.as_chunks().0) {
            *block = *bytes;
        }
        blocks
    }
}

fn same<T: PartialEq>(what: impl fmt::Display, got: T, expected: T) -> Result<(), String> {
    if got == expected { Ok(()) } else { Err(format!("{what} differs")) }
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Op {
    Encrypt,
    Decrypt,
}

#[derive(Deserialize)]
struct Et {
    op: Op,
    keys: Hex<32>,
    tweak: Hex<{ TAG_LEN + 1 + PAYLOAD_LEN }>,
    input: Hex<TAG_LEN>,
    output: Hex<TAG_LEN>,
}

impl Vector for Et {
    fn check(&self) -> Result<(), String> {
        let mut header = [0; TAG_LEN + 1];
        let mut payload = [0; PAYLOAD_LEN];
        let (tweak_header, tweak_payload) = self.tweak.0.split_at(TAG_LEN + 1);
        header.copy_from_slice(tweak_header);
        payload.copy_from_slice(tweak_payload);
        let keys = self.keys.blocks();
        let output = match self.op {
            Op::Encrypt => hazmat::et_encrypt(&keys, &header, &payload, &self.input.0),
            Op::Decrypt => hazmat::et_decrypt(&keys, &header, &payload, &self.input.0),
        };
        same("output", output, self.output.0)
    }
}

/// The output's length goes with `t`.
#[derive(Deserialize)]
struct Prf {
    keys: Hex<32>,
    t: u8,
    tweak: Hex<TAG_LEN>,
    output: String,
}

impl Vector for Prf {
    fn check(&self) -> Result<(), String> {
        let expected = HEXLOWER_PERMISSIVE.decode(self.output.as_bytes()).map_err(|error| error.to_string())?;
        let keys = self.keys.blocks();
        match self.t {
            0 => same("output", &hazmat::prf_payload(&keys, &self.tweak.0)[..], &expected),
            1 => same("output", hazmat::prf_update(&keys, &self.tweak.0).as_flattened(), &expected),
            t => Err(format!("t is {t}, neither 0 nor 1")),
        }
    }
}

#[derive(Deserialize)]
struct Uiv {
    op: Op,
    keys: Hex<64>,
    tweak: Hex<{ TAG_LEN + 1 }>,
    input: Hex<BODY_LEN>,
    output: Hex<BODY_LEN>,
}

impl Vector for Uiv {
    fn check(&self) -> Result<(), String> {
        let mut body = self.input.0;
        match self.op {
            Op::Encrypt => hazmat::uiv_encrypt(&self.keys.blocks(), &self.tweak.0, &mut body),
            Op::Decrypt => hazmat::uiv_decrypt(&self.keys.blocks(), &self.tweak.0, &mut body),
        }
        same("output", body, self.output.0)
    }
}

#[derive(Deserialize)]
struct UivUpdate {
    keys: Hex<64>,
    nonce: Hex<TAG_LEN>,
    keys_after: Hex<64>,
    nonce_after: Hex<TAG_LEN>,
}

impl Vector for UivUpdate {
    fn check(&self) -> Result<(), String> {
        let (keys, nonce) = hazmat::uiv_update(&self.keys.blocks(), &self.nonce.0);
        same("keys_after", keys, self.keys_after.blocks())?;
        same("nonce_after", nonce, self.nonce_after.0)
    }
}

#[derive(Deserialize)]
struct StateVector {
    keys: Hex<64>,
    nonce: Hex<TAG_LEN>,
    tag: Hex<TAG_LEN>,
}

impl StateVector {
    fn parts(&self) -> Parts {
        Parts { keys: self.keys.blocks(), nonce: self.nonce.0, last_tag: self.tag.0 }
    }

    fn check(&self, what: impl fmt::Display, state: &impl FromParts) -> Result<(), String> {
        let (got, expected) = (state.to_parts(), self.parts());
        same(format_args!("{what}.keys"), got.keys, expected.keys)?;
        same(format_args!("{what}.nonce"), got.nonce, expected.nonce)?;
        same(format_args!("{what}.tag"), got.last_tag, expected.last_tag)
    }
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Direction {
    TowardClient,
    FromClient,
}

#[derive(Deserialize)]
struct RelayForwardVector {
    direction: Direction,
    state: StateVector,
    ad: Hex<1>,
    cell: Hex<BODY_LEN>,
    state_after: StateVector,
    cell_after: Hex<BODY_LEN>,
}

impl Vector for RelayForwardVector {
    fn check(&self) -> Result<(), String> {
        let [command] = self.ad.0;
        let mut body = self.cell.0;
        match self.direction {
            Direction::TowardClient => {
                let mut relay = RelayBackward::from_parts(&self.state.parts());
                relay.pass(command, &mut body);
                self.state_after.check("state_after", &relay)?;
            }
            Direction::FromClient => {
                let mut relay = RelayForward::from_parts(&self.state.parts());
                let recognised = relay.process(command, &mut body);
                self.state_after.check("state_after", &relay)?;
                let expected = (*split(&body).0 == self.state.nonce.0).then_some(*split(&self.cell.0).0);
                same("SENDME tag", recognised, expected)?;
            }
        }
        same("cell_after", body, self.cell_after.0)
    }
}

#[derive(Deserialize)]
struct RelayOriginate {
    state: StateVector,
    ad: Hex<1>,
    payload: Hex<PAYLOAD_LEN>,
    state_after: StateVector,
    cell: Hex<BODY_LEN>,
}

impl Vector for RelayOriginate {
    fn check(&self) -> Result<(), String> {
        let [command] = self.ad.0;
        let mut body = body_with(&self.payload.0);
        let mut relay = RelayBackward::from_parts(&self.state.parts());
        let sent = relay.originate(command, &mut body);
        same("cell", body, self.cell.0)?;
        same("SENDME tag", sent, *split(&self.cell.0).0)?;
        self.state_after.check("state_after", &relay)
    }
}

#[derive(Deserialize)]
struct ClientOriginate {
    states: Vec<StateVector>,
    /// From 1.
    hop: usize,
    ad: Hex<1>,
    payload: Hex<PAYLOAD_LEN>,
    states_after: Vec<StateVector>,
    cell: Hex<BODY_LEN>,
}

impl Vector for ClientOriginate {
    fn check(&self) -> Result<(), String> {
        let [command] = self.ad.0;
        let mut body = body_with(&self.payload.0);
        let mut hops: Vec<_> = self.states.iter().map(|state| ClientForward::from_parts(&state.parts())).collect();
        let mut path = hops.iter_mut().take(self.hop).rev();
        let destination =
            path.next().filter(|_| self.hop <= self.states.len()).ok_or("hop is not one of the states")?;
        destination.originate(command, &mut body);
        for hop in path {
            hop.pass(command, &mut body);
        }
        same("cell", body, self.cell.0)?;
        same("length of states_after", hops.len(), self.states_after.len())?;
        for (index, (hop, expected)) in hops.iter().zip(&self.states_after).enumerate() {
            expected.check(format_args!("states_after[{index}]"), hop)?;
        }
        Ok(())
    }
}

fn body_with(payload: &[u8; PAYLOAD_LEN]) -> [u8; BODY_LEN] {
    let mut body = [0; BODY_LEN];
    *split_mut(&mut body).1 = *payload;
    body
}
