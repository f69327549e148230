//! Files that only their owner may read, and that are never half written.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Creates a folder, and those above it, that only the owner may enter.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

/// Replaces a file by `bytes`; after a crash the file is either the old one or the new one.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = write_beside(path, bytes)?;
    fs::rename(&new, path)?;
    sync_dir(parent(path))
}

/// Writes a file that must not be there yet; the error's kind is [`io::ErrorKind::AlreadyExists`] when it is.
pub fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = write_beside(path, bytes)?;
    // Unlike a new name, a second one never replaces a file.
    let linked = fs::hard_link(&new, path);
    fs::remove_file(&new)?;
    linked?;
    sync_dir(parent(path))
}

/// Writes a file beside the one that it is to become.
fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    // One that was left over keeps its permissions.
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(new)
}

/// Reads a file of at most `max` bytes; `None` when there is none.
pub fn read_bounded(path: &Path, max: usize) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    if bytes.len() > max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("longer than {max} bytes")));
    }
    Ok(Some(bytes))
}

/// Makes the names in a folder survive a crash.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The folder that a file is in.
pub fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The path from the root, whether or not there is anything yet.
pub fn absolute(path: &Path) -> io::Result<PathBuf> {
    std::path::absolute(path)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A folder of its own for a test, removed at the end.
    pub(crate) struct TestDir(pub PathBuf);

    impl TestDir {
        pub(crate) fn new() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let name = format!("allium-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let path = std::env::temp_dir().join(name);
            create_private_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for TestDir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn files_are_the_owners_alone_and_bounded() {
        let dir = TestDir::new();
        let nested = dir.0.join("a/b");
        create_private_dir(&nested).unwrap();
        let file = nested.join("file");
        assert_eq!(read_bounded(&file, 9).unwrap(), None);
        write_atomic(&file, b"old").unwrap();
        write_atomic(&file, b"new bytes").unwrap();
        assert_eq!(read_bounded(&file, 9).unwrap().as_deref(), Some(&b"new bytes"[..]));
        assert!(read_bounded(&file, 8).is_err());
        assert_eq!((mode(&dir.0), mode(&nested), mode(&file)), (0o700, 0o700, 0o600));
        assert_eq!(fs::read_dir(&nested).unwrap().count(), 1);
        let other = nested.join("other");
        write_new(&other, b"mine").unwrap();
        assert_eq!(write_new(&other, b"yours").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_dir(&nested).unwrap().count(), 2);
        assert_eq!((mode(&other), read_bounded(&other, 9).unwrap().as_deref()), (0o600, Some(&b"mine"[..])));
    }
}
