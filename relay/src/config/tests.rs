use std::fs;

use super::*;
use crate::files::tests::TestDir;

fn write(dir: &TestDir, text: &str) -> PathBuf {
    let path = dir.0.join("node.toml");
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_relays_file_is_read_and_flags_win() {
    let dir = TestDir::new();
    let path = write(
        &dir,
        r#"
            nickname = "alpha"
            listen = "127.0.0.2:7100"
            data = "alpha"
            roles = ["middle", "rendezvous"]
            authorities = "authorities.json"
            publish-every = 5
        "#,
    );
    let file = RelayOptions::from_file(&path).unwrap();
    let config = RelayOptions::default().or(file.clone()).resolve().unwrap();
    assert_eq!(config.nickname.as_str(), "alpha");
    assert_eq!(config.url.as_str(), "ws://127.0.0.2:7100/link");
    assert_eq!(config.data, dir.0.join("alpha"));
    assert_eq!(config.roles.iter().collect::<Vec<_>>(), [RelayRole::Middle, RelayRole::Rendezvous]);
    assert_eq!(config.trust, Trust::File(dir.0.join("authorities.json")));
    assert_eq!((config.publish_every.as_secs(), config.fetch_every.as_secs()), (5, 2));

    let flags = RelayOptions {
        nickname: Some("beta".parse().unwrap()),
        directory: Some(vec!["http://127.0.0.1:7000/".to_owned()]),
        ..RelayOptions::default()
    };
    let config = flags.or(file).resolve().unwrap();
    assert_eq!(config.nickname.as_str(), "beta");
    assert_eq!(config.trust, Trust::Directories(vec!["http://127.0.0.1:7000".to_owned()]));
}

#[test]
fn a_certificate_comes_with_its_key_and_an_address() {
    let dir = TestDir::new();
    let text = r#"
        nickname = "alpha"
        listen = "127.0.0.2:7100"
        data = "alpha"
        authorities = "authorities.json"
        tls-cert = "fullchain.pem"
        tls-key = "/etc/tls/privkey.pem"
    "#;
    let file = RelayOptions::from_file(&write(&dir, text)).unwrap();
    let with = |change: &dyn Fn(&mut RelayOptions)| {
        let mut options = file.clone();
        change(&mut options);
        options.resolve()
    };
    let secure = Some("wss://relay.example:7443/link".parse().unwrap());

    let config = with(&|options| options.secure_url = secure.clone()).unwrap();
    let files = (dir.0.join("fullchain.pem"), PathBuf::from("/etc/tls/privkey.pem"));
    let expected = TlsConfig { listen: ([0, 0, 0, 0], 7443).into(), cert: files.0, key: files.1 };
    assert_eq!((config.tls, config.secure_url), (Some(expected), secure.clone()));
    assert_eq!(config.url.as_str(), "ws://127.0.0.2:7100/link");

    // What is secure for all is secure for pages.
    let config = with(&|options| options.url = secure.clone()).unwrap();
    assert_eq!((config.secure_url, Some(config.url)), (None, secure.clone()));
    // A proxy has the certificate.
    let proxied = with(&|options| {
        (options.tls_cert, options.tls_key, options.secure_url) = (None, None, secure.clone());
    });
    assert_eq!(proxied.map(|config| (config.tls, config.secure_url)).unwrap(), (None, secure));

    let error = |change: &dyn Fn(&mut RelayOptions)| with(change).unwrap_err();
    assert!(matches!(error(&|_| {}), ConfigError::NoSecureUrl));
    assert!(matches!(error(&|options| options.tls_key = None), ConfigError::HalfTls("tls-key")));
    assert!(matches!(error(&|options| options.tls_cert = None), ConfigError::HalfTls("tls-cert")));
    let plain = error(&|options| options.secure_url = Some("ws://relay.example/link".parse().unwrap()));
    assert!(matches!(plain, ConfigError::NotSecure(_)));
    let lost = error(&|options| {
        (options.tls_cert, options.tls_key) = (None, None);
        options.tls_listen = Some(([127, 0, 0, 1], 7443).into());
    });
    assert!(matches!(lost, ConfigError::HalfTls("tls-cert")));

    let authority = AuthorityOptions {
        nickname: Some("first".parse().unwrap()),
        listen: Some(([127, 0, 0, 1], 7000).into()),
        data: Some("data".into()),
        tls_listen: Some(([127, 0, 0, 1], 7001).into()),
        tls_cert: Some("cert".into()),
        ..AuthorityOptions::default()
    };
    assert!(matches!(authority.clone().resolve(), Err(ConfigError::HalfTls("tls-key"))));
    let whole = AuthorityOptions { tls_key: Some("key".into()), ..authority };
    assert_eq!(whole.resolve().unwrap().tls.unwrap().listen.port(), 7001);
}

#[test]
fn an_authoritys_file_is_read() {
    let dir = TestDir::new();
    let path = write(
        &dir,
        r#"
            nickname = "first"
            listen = "0.0.0.0:7000"
            url = "http://authority.example:7000/"
            data = "/var/lib/allium"
            drop-after = 20
            [parameters]
            link-padding-min-ms = 1500
        "#,
    );
    let config = AuthorityOptions::from_file(&path).unwrap().resolve().unwrap();
    assert_eq!(config.url, "http://authority.example:7000");
    assert_eq!(config.data, PathBuf::from("/var/lib/allium"));
    assert_eq!(config.registry.drop_after.as_secs(), 20);
    assert_eq!(config.parameters["link-padding-min-ms"], 1500);
    assert_eq!((config.voting_interval.as_secs(), config.registry.down_after.as_secs()), (900, 15));
}

#[test]
fn errors_say_what_to_do() {
    let dir = TestDir::new();
    let options = RelayOptions {
        nickname: Some("alpha".parse().unwrap()),
        listen: Some(([127, 0, 0, 1], 7100).into()),
        data: Some("data".into()),
        authorities: Some("file".into()),
        ..RelayOptions::default()
    };
    assert!(options.clone().resolve().is_ok());
    let error = |change: &dyn Fn(&mut RelayOptions)| {
        let mut options = options.clone();
        change(&mut options);
        options.resolve().unwrap_err().to_string()
    };
    assert!(error(&|options| options.data = None).contains("--data"));
    assert!(error(&|options| options.nickname = None).contains("--nickname"));
    assert!(error(&|options| options.listen = None).contains("--url"));
    assert!(error(&|options| options.authorities = None).contains("--directory"));
    assert!(error(&|options| options.roles = Some(vec![RelayRole::Exit])).contains("exit"));
    assert!(error(&|options| options.fetch_every = Some(0)).contains("fetch-every"));

    let path = write(&dir, "nickname = \"no good\"\n");
    assert!(RelayOptions::from_file(&path).unwrap_err().to_string().contains("1 to 19"));
    let path = write(&dir, "nikname = \"alpha\"\n");
    assert!(RelayOptions::from_file(&path).unwrap_err().to_string().contains("nikname"));
    assert!(matches!(RelayOptions::from_file(&dir.0.join("none")), Err(FileError::Missing(_))));
}

#[test]
fn directories_are_named_by_plain_addresses() {
    assert_eq!(directory_url(" http://127.0.0.1:7000/ ").unwrap(), "http://127.0.0.1:7000");
    assert_eq!(directory_url("https://authority.example/").unwrap(), "https://authority.example");
    for url in [
        "",
        "127.0.0.1:7000",
        "ws://h",
        "http://",
        "https://",
        "http://h/path",
        "http://a@h",
        "http://h#x",
        "http://h?",
    ] {
        assert!(directory_url(url).is_err(), "{url}");
    }
}

#[test]
fn onion_keys_live_longer_than_the_ones_before_them() {
    let times = |lifetime, overlap| {
        let options = RelayOptions {
            nickname: Some("alpha".parse().unwrap()),
            listen: Some("127.0.0.1:7100".parse().unwrap()),
            data: Some(PathBuf::from("alpha")),
            directory: Some(vec!["http://127.0.0.1:7000".to_owned()]),
            onion_key_lifetime: lifetime,
            onion_key_overlap: overlap,
            ..RelayOptions::default()
        };
        options.resolve().map(|config| (config.key_times.lifetime.as_secs(), config.key_times.overlap.as_secs()))
    };
    assert_eq!(times(None, None).unwrap(), (604_800, 97_200));
    assert_eq!(times(Some(20), Some(10)).unwrap(), (20, 10));
    for (lifetime, overlap) in [(Some(20), None), (Some(9), Some(9)), (Some(20), Some(21)), (Some(u64::MAX), None)] {
        let error = times(lifetime, overlap).unwrap_err();
        assert!(matches!(error, ConfigError::KeyTimes { .. }), "{error}");
    }
}

#[test]
fn strangers_do_not_get_an_admin_address() {
    let resolve = |address: &str, public| {
        let options = AuthorityOptions {
            nickname: Some("first".parse().unwrap()),
            url: Some("http://authority.example:7000".to_owned()),
            data: Some("data".into()),
            admin_listen: Some(address.parse().unwrap()),
            admin_public: public,
            ..AuthorityOptions::default()
        };
        options.resolve().map(|config| config.admin)
    };
    for own in
        ["127.0.0.1:1", "127.9.9.9:1", "10.0.0.1:1", "192.168.1.1:1", "[::1]:1", "[fd00::1]:1", "[::ffff:10.0.0.1]:1"]
    {
        assert_eq!(resolve(own, None).unwrap(), Some(own.parse().unwrap()), "{own}");
    }
    for open in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "172.32.0.1:1", "[2001:db8::1]:1", "[::ffff:192.0.2.1]:1"] {
        let address: SocketAddr = open.parse().unwrap();
        for public in [None, Some(false)] {
            let error = resolve(open, public).unwrap_err();
            assert!(matches!(error, ConfigError::AdminAddress(named) if named == address), "{open}: {error}");
            assert!(error.to_string().contains("--admin-public"));
        }
        assert_eq!(resolve(open, Some(true)).unwrap(), Some(address));
    }
    assert_eq!(AuthorityOptions { listen: Some(([127, 0, 0, 1], 7).into()), ..named() }.resolve().unwrap().admin, None);
}

fn named() -> AuthorityOptions {
    AuthorityOptions {
        nickname: Some("first".parse().unwrap()),
        data: Some("data".into()),
        ..AuthorityOptions::default()
    }
}

/// The folder with everything.
fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn the_example_files_are_good() {
    let relay = RelayOptions::from_file(&top().join("deploy/relay.toml")).unwrap().resolve().unwrap();
    let authority = AuthorityOptions::from_file(&top().join("deploy/authority.toml")).unwrap().resolve().unwrap();
    assert!(relay.admin.is_some() && authority.admin.is_some() && relay.admin != authority.admin);
    for (role, data, admin) in [("relay", relay.data, relay.admin), ("authority", authority.data, authority.admin)] {
        let unit = fs::read_to_string(top().join(format!("deploy/allium-{role}.service"))).unwrap();
        let state = unit.lines().find_map(|line| line.strip_prefix("StateDirectory=")).unwrap();
        assert_eq!(data, PathBuf::from("/var/lib").join(state), "the unit lets it write where the file says");
        assert!(unit.contains(&format!("/usr/local/bin/allium {role} --config /etc/allium/{role}.toml\n")));
        let container = fs::read_to_string(top().join("deploy/Containerfile")).unwrap();
        assert!(container.contains(&format!("\"{}\"", data.display())), "the container keeps {}", data.display());
        let prometheus = fs::read_to_string(top().join("deploy/prometheus.yml")).unwrap();
        assert!(prometheus.contains(&format!("\"{}\"", admin.unwrap())), "nobody watches the {role}");
    }
}

#[test]
fn the_files_in_the_documents_are_good() {
    let text = fs::read_to_string(top().join("docs/operating.md")).unwrap();
    let dir = TestDir::new();
    let mut seen = Vec::new();
    for block in text.split("```toml\n").skip(1) {
        let block = block.split("```").next().unwrap();
        let path = write(&dir, block);
        if block.starts_with("# relay.toml, besides") {
            RelayOptions::from_file(&path).unwrap();
        } else if block.starts_with("# relay.toml") {
            RelayOptions::from_file(&path).unwrap().resolve().unwrap();
            seen.push("relay");
        } else {
            let options = AuthorityOptions::from_file(&path).unwrap_or_else(|error| panic!("{error}\n{block}"));
            if block.starts_with("# authority.toml") {
                options.resolve().unwrap();
                seen.push("authority");
            }
        }
    }
    assert_eq!(seen, ["authority", "relay"]);
}
