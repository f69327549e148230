use std::time::Instant;

use allium_shared::client::api::CONSENSUS_PATH;

use super::*;
use crate::directory::trust;
use crate::files::tests::TestDir;
use crate::http::client;
use crate::network::nodes::NodeEntry;
use crate::shutdown;

const READY_TIME: Duration = Duration::from_secs(15);

fn options(data: &Path, port: u16) -> NetworkOptions {
    NetworkOptions {
        relays: 4,
        authorities: 2,
        data: data.to_owned(),
        port,
        processes: false,
        page: data.join("dist"),
        guards: 1,
        voting_interval: None,
        valid_for: None,
        bench: false,
        admin: true,
    }
}

async fn until_ready(data: &Path) {
    let start = Instant::now();
    while !data.join("ready").exists() {
        assert!(start.elapsed() < READY_TIME, "not ready in time");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn nodes(data: &Path) -> Vec<NodeEntry> {
    serde_json::from_slice(&std::fs::read(data.join("nodes.json")).unwrap()).unwrap()
}

#[tokio::test]
async fn all_nodes_take_part_and_keep_their_keys() {
    let dir = TestDir::new();
    std::fs::write(dir.0.join("ready"), "of the last time").unwrap();
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operating.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let mut networks = Vec::new();
    for _ in 0..2 {
        let (trigger, shutdown) = shutdown::channel();
        let running = tokio::spawn(run(options(&dir.0, 42_000), shutdown));
        tokio::time::sleep(Duration::from_millis(100)).await;
        until_ready(&dir.0).await;

        let authorities = trust::fetch("http://127.0.0.1:42000").await.unwrap();
        let url = format!("http://127.0.0.1:42000{CONSENSUS_PATH}");
        let fetched = client::get(&url, None, allium_shared::netdir::MAX_CONSENSUS_LEN).await.unwrap();
        let now = Clock::start().now().unix;
        let consensus = allium_shared::netdir::Consensus::verify(&fetched.body.unwrap(), &authorities, now).unwrap();
        assert_eq!(consensus.relays().len(), 4);
        networks.push(*authorities.network());

        let nodes = nodes(&dir.0);
        assert_eq!(nodes.len(), 6);
        assert_eq!(
            (nodes[0].nickname.as_str(), nodes[0].roles.as_slice()),
            ("authority1", &["authority".to_owned()][..])
        );
        assert_eq!(nodes[2].roles, ["guard"]);
        assert_eq!(nodes[3].roles, ["middle", "rendezvous"]);
        assert!(nodes.iter().all(|node| node.pid == std::process::id()));
        let health = client::get(&format!("{}/healthz", nodes[5].url), None, 1000).await.unwrap();
        assert!(String::from_utf8_lossy(&health.body.unwrap()).contains("\"relays\":4"));

        for (node, role) in nodes.iter().zip(["authority", "authority", "relay", "relay", "relay", "relay"]) {
            let admin = node.admin.as_deref().unwrap();
            let metrics = client::get(&format!("{admin}/metrics"), None, 100_000).await.unwrap().body.unwrap();
            let metrics = String::from_utf8(metrics.to_vec()).unwrap();
            assert!(metrics.contains(&format!("allium_build_info{{role=\"{role}\",")), "{metrics}");
            assert_eq!(metrics.contains("allium_relay_links{"), role == "relay");
            for name in metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
                assert!(docs.contains(&format!("| `{name}`")), "docs/operating.md has no line for {name}");
            }
        }

        trigger.shut_down();
        tokio::time::timeout(Duration::from_secs(5), running).await.unwrap().unwrap().unwrap();
        assert!(!dir.0.join("ready").exists());
    }
    assert_eq!(networks[0], networks[1]);
}

#[tokio::test]
async fn a_folder_has_one_network_and_a_taken_front_is_an_error() {
    let dir = TestDir::new();
    let (_trigger, shutdown) = shutdown::channel();
    let held = lock(&dir.0).unwrap();
    let error = run(options(&dir.0, 42_100), shutdown.clone()).await.unwrap_err();
    assert!(matches!(error, NetworkError::InUse(_)), "{error}");
    drop(held);
    let taken = std::net::TcpListener::bind("127.0.0.1:42100").unwrap();
    let error = run(options(&dir.0, 42_100), shutdown).await.unwrap_err();
    assert!(error.to_string().contains("--port"), "{error}");
    drop(taken);
}
