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
    assert_eq!(config.roles.iter().collect::<Vec<_>>(), [Role::Middle, Role::Rendezvous]);
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
    assert!(error(&|options| options.roles = Some(vec![Role::Exit])).contains("exit"));
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
    for url in ["", "127.0.0.1:7000", "https://h", "http://", "http://h/path", "http://a@h", "http://h#x", "http://h?"]
    {
        assert!(directory_url(url).is_err(), "{url}");
    }
}
