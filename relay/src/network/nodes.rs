//! The list of a network's nodes, for tests and for people.

use serde::{Deserialize, Serialize};

use super::plan::Planned;
use super::start::Nodes;

/// One entry of `nodes.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeEntry {
    /// The node's name.
    pub nickname: String,
    /// `authority`, or its roles as a relay.
    pub roles: Vec<String>,
    /// Where it serves HTTP, such as `http://127.0.0.1:7001`.
    pub url: String,
    /// Where it serves its metrics, if anywhere.
    #[serde(default)]
    pub admin: Option<String>,
    /// Its process.
    pub pid: u32,
    /// The argv that starts it again on its old port and data.
    pub command: Vec<String>,
}

/// The list as JSON.
pub fn to_json(planned: &Planned, nodes: &Nodes) -> String {
    let entries = planned.nodes.iter().zip(nodes.pids()).map(|(node, pid)| NodeEntry {
        nickname: node.nickname.to_string(),
        roles: node.roles.iter().map(|role| (*role).to_owned()).collect(),
        url: node.url(),
        admin: node.admin.as_ref().map(|(address, _)| format!("http://{address}")),
        pid,
        command: node.command.clone(),
    });
    // Text, numbers and lists always have a JSON form.
    serde_json::to_string_pretty(&entries.collect::<Vec<_>>()).unwrap_or_default()
}
