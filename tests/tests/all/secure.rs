//! TLS: nodes that reach each other by it, pages that come by it, and certificates that are not to be trusted.

use std::fs;
use std::io::Read as _;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use allium_tests::artifacts;
use allium_tests::browser::Page;
use allium_tests::chat::{self, Chat, PATIENCE, Pair};
use allium_tests::process::Process;
use allium_tests::secure::{Options, SecureNetwork, TRUSTED};
use allium_tests::wait;

#[test]
fn nodes_and_clients_reach_each_other_by_tls() {
    let network = SecureNetwork::start(Options { relays: 5, plain: 0, everywhere: true, page: false });
    let open = |label: &str| Chat::launch_trusting(label, &network.directory(), &network.trusted());
    let (ada, ben) = (open("Ada"), open("Ben"));
    [&ada, &ben].into_iter().for_each(Chat::await_ready);
    let pair = Pair::introduce(ada, ben);
    pair.assert_talking("By TLS");
    assert!(pair.inviter.invite().starts_with("https://"), "an invite leads to the directory's page");

    // Who connects and then says nothing does not keep a place for long.
    let mut silent = TcpStream::connect(network.secure_addresses()[0]).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(12))).unwrap();
    assert_eq!(silent.read(&mut [0; 16]).unwrap(), 0, "a silent peer is answered");
    pair.assert_talking("Still by TLS");
}

#[test]
fn a_renewed_certificate_is_taken_over_and_a_strangers_is_refused() {
    let network = SecureNetwork::start(Options { relays: 1, plain: 0, everywhere: true, page: false });
    let folder = tempfile::tempdir().unwrap();
    let mut count = 0;
    // What a client says that has never been there before and trusts this file.
    let mut refusal = |trusted: &std::path::Path| {
        count += 1;
        let log = folder.path().join(format!("{count}.log"));
        let mut command = chat::command(&network.directory(), &folder.path().join(count.to_string()));
        // The system's own certificates would count too.
        command.env(TRUSTED, trusted).env_remove("SSL_CERT_DIR");
        let mut chat = Process::start("chat", &mut command, &log);
        let settled = || match chat.ended() {
            // It ends with its input, which may be before anybody has looked.
            Some(status) if status.success() => {
                assert!(chat.errors().contains("pinned"), "{}", chat.errors());
                Some(false)
            }
            Some(_) => Some(true),
            None => chat.errors().contains("pinned").then_some(false),
        };
        wait::until(PATIENCE, "what the client thinks of the certificate", settled).then(|| chat.errors())
    };
    assert_eq!(refusal(&network.trusted()), None);

    let stranger = network.strangers_certificate();
    let refused = refusal(&stranger.cert.with_file_name("stranger.root.pem")).expect("it trusts somebody else");
    assert!(refused.contains("not from an authority that this system trusts"), "{refused}");
    let untrusting = refusal(&folder.path().join("none.pem")).expect("it trusts nobody");
    assert!(untrusting.contains("trusts no certificate authority"), "{untrusting}");

    // The files change, and nothing is started again. At first they do not belong together.
    let own = network.certificate();
    fs::copy(&stranger.cert, &own.cert).unwrap();
    let told = || network.authority_log().contains("the old one is served on").then_some(());
    wait::until(PATIENCE, "a word about the key", told);
    assert_eq!(refusal(&network.trusted()), None);
    fs::copy(&stranger.key, &own.key).unwrap();
    let refused = wait::until(PATIENCE, "the new certificate", || refusal(&network.trusted()));
    assert!(refused.contains("not from an authority that this system trusts"), "{refused}");
}

#[test]
fn pages_that_came_by_https_open_secure_links_only() {
    // Six relays are guards, and two of them have no address that such a page may open.
    let network = SecureNetwork::start(Options { relays: 4, plain: 2, everywhere: false, page: true });
    let (ada, ben) = Page::open_two_with(&network.page(), &network.browser_arguments());
    assert_eq!(ada.browser.script("return location.protocol + isSecureContext", &[]), "https:true");
    let link = ada.invite();
    assert!(link.starts_with(&network.page()), "{link}");
    ben.add(&link, "Ada");
    ada.accept_request();
    ben.open_conversation("Ada");
    ben.send("In an envelope");
    ada.until("the visitor", |page| (!page.texts("contact").is_empty()).then_some(()));
    ada.open_conversation("");
    ada.await_message("In an envelope");
    ada.send("In another");
    ben.await_message("In another");
    ben.await_delivered("In an envelope");

    let (secure, plain) = (network.secure_addresses(), network.plain_addresses());
    for page in [&ada, &ben] {
        let peers = page.browser.peers();
        assert!(peers.iter().any(|peer| secure.contains(peer)), "{peers:?} are not {secure:?}");
        assert!(!peers.iter().any(|peer| plain.contains(peer)), "{peers:?}");
        page.assert_quiet();
    }
}

#[test]
fn a_certificate_that_is_no_good_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("node.toml");
    let refusal = |rest: &str| {
        let text =
            format!("nickname = \"node\"\nlisten = \"127.0.0.1:0\"\nurl = \"http://h\"\ndata = \"data\"\n{rest}");
        fs::write(&file, text).unwrap();
        let output = Command::new(artifacts::allium()).arg("authority").arg("--config").arg(&file).output().unwrap();
        assert!(!output.status.success(), "{rest}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refusal("tls-cert = \"cert.pem\"\n").contains("--tls-key"));
    let both = "tls-listen = \"127.0.0.1:0\"\ntls-cert = \"cert.pem\"\ntls-key = \"key.pem\"\n";
    assert!(refusal(both).contains(folder.path().join("cert.pem").to_str().unwrap()));
    fs::write(folder.path().join("cert.pem"), "nothing").unwrap();
    fs::write(folder.path().join("key.pem"), "nothing").unwrap();
    assert!(refusal(both).contains("has no certificate"));
}
