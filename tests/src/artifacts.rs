//! Where the binary, the page and the browser are: `cargo verify` says so in the environment, and without it the
//! places are taken to which `cargo xtask build` and Debian put them.

use std::env;
use std::path::{Path, PathBuf};

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in a folder of the repository")
}

/// The binary `allium`.
#[track_caller]
pub fn allium() -> PathBuf {
    let path = named("ALLIUM_BIN").unwrap_or_else(|| root().join("target/release/allium"));
    assert!(path.is_file(), "there is no {}: run `cargo xtask build`, or set ALLIUM_BIN", path.display());
    path
}

/// Whether the page has been built.
pub fn has_page() -> bool {
    page_folder().join("index.html").is_file()
}

/// The folder of the built page.
#[track_caller]
pub fn page() -> PathBuf {
    let path = page_folder();
    assert!(has_page(), "there is no page in {}: run `cargo xtask build`, or set ALLIUM_PAGE", path.display());
    path
}

/// The program `chromedriver`.
#[track_caller]
pub fn chromedriver() -> PathBuf {
    program("CHROMEDRIVER", &["chromedriver"])
}

/// The program `chromium`.
#[track_caller]
pub fn chromium() -> PathBuf {
    program("CHROMIUM", &["chromium", "chromium-browser", "google-chrome"])
}

/// Whether the long tests are to run too.
pub fn full() -> bool {
    env::var_os("ALLIUM_FULL").is_some_and(|value| value == "1")
}

/// A folder for what a person may want to look at after the tests.
pub fn screenshots() -> PathBuf {
    let folder = named("CARGO_TARGET_DIR").unwrap_or_else(|| root().join("target")).join("screenshots");
    std::fs::create_dir_all(&folder).expect("the target folder can be written");
    folder
}

fn page_folder() -> PathBuf {
    named("ALLIUM_PAGE").unwrap_or_else(|| root().join("dist"))
}

fn named(variable: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env::var_os(variable).filter(|value| !value.is_empty())?);
    // Tests run in their package's folder, people and tools in the repository's.
    Some(if path.is_relative() { root().join(path) } else { path })
}

#[track_caller]
fn program(variable: &str, names: &[&str]) -> PathBuf {
    let on_path = || {
        let folders = env::var_os("PATH")?;
        env::split_paths(&folders)
            .flat_map(|folder| names.iter().map(move |name| folder.join(name)))
            .find(|path| path.is_file())
    };
    named(variable).or_else(on_path).unwrap_or_else(|| {
        panic!("there is no {}: install Debian's chromium and chromium-driver, or set {variable}", names[0])
    })
}
