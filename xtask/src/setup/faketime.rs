//! libfaketime, with which tests give processes a clock that is wrong.

use std::fs;
use std::path::Path;

use nix::unistd::Uid;

use super::Setup;
use super::apt::on_path;

impl Setup<'_> {
    /// Installs Debian's `libfaketime` for root where it is missing. Where it cannot be had, the tests that want it say that they
    /// are skipped, and all else goes on.
    pub(super) fn faketime(self) {
        let folders = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
        let mut folders = folders.map(|folder| folder.path().join("faketime"));
        if folders.any(|folder| Path::is_dir(&folder)) || !Uid::effective().is_root() || on_path("apt-get").is_none() {
            return;
        }
        if self.apt_try(&["libfaketime"], "libfaketime").is_err() {
            self.steps.note("libfaketime cannot be installed: tests with wrong clocks will be skipped");
        }
    }
}
