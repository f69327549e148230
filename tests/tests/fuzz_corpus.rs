//! The fuzzers' corpora, replayed on the stable compiler: what was found once is never broken again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "all of this is tests")]

#[path = "../fuzz/targets.rs"]
mod targets;

use std::fs;
use std::path::Path;

macro_rules! replay {
    ($($target:ident)*) => {$(
        #[test]
        fn $target() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(stringify!($target));
            let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
            files.sort();
            assert!(!files.is_empty(), "{} is empty", folder.display());
            for file in files {
                eprintln!("{}", file.display());
                targets::$target(&fs::read(&file).unwrap());
            }
            targets::$target(&[]);
        }
    )*};
}

replay! { cells links documents voting invites messaging relay client circuit }
