//! `ip` of iproute2, with which tests set up network namespaces.

use nix::unistd::Uid;

use super::Setup;
use super::apt::on_path;

impl Setup<'_> {
    /// Installs Debian's `iproute2` where it is missing and of use: for root alone. Where it cannot be had, the tests that want
    /// it say that they are skipped, and all else goes on.
    pub(super) fn iproute(self) {
        if !Uid::effective().is_root() || on_path("ip").is_some() || on_path("apt-get").is_none() {
            return;
        }
        if self.apt_try(&["iproute2"], "iproute2").is_err() {
            self.steps.note("iproute2 cannot be installed: tests over network namespaces will be skipped");
        }
    }
}
