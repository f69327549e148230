//! What the system allows this process.

/// Takes as many open files as the system gives: every link is one, and the usual limit is for programs with a few.
pub fn raise_open_files() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::info!(%error, "cannot raise the number of open files");
        }
    }
}
