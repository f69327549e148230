//! Where things lie, in the repository and in the user's cache.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

/// Why the folders are not known.
#[derive(Debug, thiserror::Error)]
pub enum LocateError {
    /// The folder of this package has no parent, or does not exist any more.
    #[error("cannot find the repository: {0}")]
    Root(#[from] io::Error),
    /// Neither of the variables that lead to a cache is set.
    #[error("neither XDG_CACHE_HOME nor HOME is set: cannot tell where the tools belong")]
    NoCache,
}

/// The repository and the user's cache.
#[derive(Clone, Debug)]
pub struct Workspace {
    root: PathBuf,
    target: PathBuf,
    cache: PathBuf,
}

impl Workspace {
    /// Finds the repository that this package belongs to and the cache of the user who runs it.
    pub fn locate() -> Result<Self, LocateError> {
        // Cargo sets the variable at run time too; the compiled-in value is for those who start the binary by hand.
        let package =
            env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = package.join("..").canonicalize()?;
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => std::path::absolute(dir)?,
            None => root.join("target"),
        };
        let cache = cache_home(env::var_os("XDG_CACHE_HOME").map(PathBuf::from), env::home_dir())
            .ok_or(LocateError::NoCache)?
            .join("allium");
        Ok(Self { root, target, cache })
    }

    /// The repository's top folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Cargo's target folder.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// The built page.
    pub fn dist(&self) -> PathBuf {
        self.root.join("dist")
    }

    /// The release binary of relay, authority and native client.
    pub fn allium(&self) -> PathBuf {
        self.target.join("release").join("allium")
    }

    /// The full output of every step.
    pub fn logs(&self) -> PathBuf {
        self.target.join("xtask").join("logs")
    }

    /// Files that chores make for the programs that they call.
    pub fn scratch(&self) -> PathBuf {
        self.target.join("xtask")
    }

    /// What is installed once per user, for all checkouts.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// The folder of one tool at one version: a new version never disturbs a checkout that wants the old one.
    pub fn tool(&self, name: &str, version: &str) -> PathBuf {
        self.cache.join("tools").join(format!("{name}-{version}"))
    }
}

/// The user's cache folder, as the XDG base directory specification has it: a relative value is ignored.
fn cache_home(xdg: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    xdg.filter(|dir| dir.is_absolute())
        .or_else(|| home.filter(|dir| !dir.as_os_str().is_empty()).map(|dir| dir.join(".cache")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_follows_xdg() {
        let home = || Some(PathBuf::from("/home/ada"));
        assert_eq!(cache_home(Some("/var/cache/ada".into()), home()), Some("/var/cache/ada".into()));
        assert_eq!(cache_home(Some("relative".into()), home()), Some("/home/ada/.cache".into()));
        assert_eq!(cache_home(Some("".into()), home()), Some("/home/ada/.cache".into()));
        assert_eq!(cache_home(None, home()), Some("/home/ada/.cache".into()));
        assert_eq!(cache_home(None, Some("".into())), None);
        assert_eq!(cache_home(None, None), None);
    }
}
