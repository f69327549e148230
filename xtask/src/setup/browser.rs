//! Chromium and its driver, for the tests in a browser.

use std::env;
use std::path::PathBuf;

use super::apt::on_path;
use super::{Setup, SetupError};
use crate::step::is_program;

/// Names that Chromium goes by.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];
const DRIVERS: [&str; 1] = ["chromedriver"];

/// A browser and the program that drives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Browser {
    /// The browser.
    pub chromium: PathBuf,
    /// Its WebDriver.
    pub chromedriver: PathBuf,
}

impl Setup<'_> {
    /// Finds Chromium and its driver, by `CHROMIUM` and `CHROMEDRIVER` or on the path; else installs Debian's.
    pub(super) fn browser(self) -> Result<Browser, SetupError> {
        if let Some(browser) = find()? {
            return Ok(browser);
        }
        let advice = "install Chromium and its chromedriver in the way of your system, on the PATH or named by the \
                      variables CHROMIUM and CHROMEDRIVER";
        self.apt_install(&["chromium", "chromium-driver"], "Chromium and its driver", advice)?;
        find()?.ok_or_else(|| SetupError::Missing {
            missing: "Chromium, although its package is installed,".to_owned(),
            advice: advice.to_owned(),
        })
    }
}

fn find() -> Result<Option<Browser>, SetupError> {
    let (chromium, chromedriver) = (locate("CHROMIUM", &BROWSERS)?, locate("CHROMEDRIVER", &DRIVERS)?);
    Ok(chromium.zip(chromedriver).map(|(chromium, chromedriver)| Browser { chromium, chromedriver }))
}

/// The program that `variable` names, which must then exist; without it the first of `names` on the path.
fn locate(variable: &str, names: &[&str]) -> Result<Option<PathBuf>, SetupError> {
    match env::var_os(variable).map(PathBuf::from) {
        Some(path) if is_program(&path) => Ok(Some(path)),
        Some(path) => Err(SetupError::Missing {
            missing: format!("{}, which the variable {variable} names,", path.display()),
            advice: format!("correct {variable}, or unset it to have the program installed"),
        }),
        None => Ok(names.iter().find_map(|name| on_path(name))),
    }
}
