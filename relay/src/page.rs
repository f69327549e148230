//! The page's files, read from disk as they are now, and what browsers are told about them.

mod policy;

use std::collections::HashMap;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

const INDEX: &str = "index.html";

/// The largest file of a page, in bytes.
const MAX_FILE_LEN: usize = 32 * 1024 * 1024;

/// How many files are kept in memory. A page has a handful.
const MAX_CACHED: usize = 64;

/// A folder with a built page.
#[derive(Debug)]
struct Page {
    dir: PathBuf,
    cache: Mutex<HashMap<PathBuf, Arc<CachedFile>>>,
}

/// One file as it was when it was last read. All answers share the one copy.
#[derive(Debug)]
struct CachedFile {
    modified: SystemTime,
    len: u64,
    bytes: Bytes,
    etag: HeaderValue,
    policy: HeaderValue,
}

impl Page {
    fn new(dir: PathBuf) -> Self {
        Self { dir, cache: Mutex::new(HashMap::new()) }
    }

    fn read(&self, name: &Path) -> io::Result<Arc<CachedFile>> {
        let path = self.dir.join(name);
        let metadata = std::fs::metadata(&path)?;
        if !metadata.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let (modified, len) = (metadata.modified()?, metadata.len());
        let cache = || self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = cache().get(name).filter(|file| file.modified == modified && file.len == len) {
            return Ok(Arc::clone(file));
        }
        let bytes = crate::files::read_bounded(&path, MAX_FILE_LEN)?.ok_or(io::ErrorKind::NotFound)?;
        let digest = HEXLOWER.encode(&Sha256::digest(&bytes));
        let header = |text: String| HeaderValue::try_from(text).map_err(io::Error::other);
        let policy = if content_type(name).starts_with("text/html") {
            policy::for_document(&String::from_utf8_lossy(&bytes))
        } else {
            policy::for_document("")
        };
        let file = Arc::new(CachedFile {
            modified,
            len,
            bytes: bytes.into(),
            etag: header(format!("\"{digest}\""))?,
            policy: header(policy)?,
        });
        let mut cache = cache();
        if cache.len() >= MAX_CACHED {
            cache.clear();
        }
        cache.insert(name.to_owned(), Arc::clone(&file));
        Ok(file)
    }
}

/// Serves the files of the page in a folder, which may be built later, wherever nothing else is served.
pub fn router(dir: PathBuf) -> Router {
    Router::new().fallback_service(get(serve).with_state(Arc::new(Page::new(dir))))
}

async fn serve(State(page): State<Arc<Page>>, uri: Uri, request: HeaderMap) -> Response {
    let Some(name) = file_name(uri.path()) else { return with_policy(not_found()) };
    let read = {
        let (page, name) = (Arc::clone(&page), name.clone());
        tokio::task::spawn_blocking(move || page.read(&name)).await
    };
    match read {
        Ok(Ok(file)) => answer(&name, &file, &request),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound && name == Path::new(INDEX) => {
            with_policy((StatusCode::SERVICE_UNAVAILABLE, Html(MISSING)).into_response())
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => with_policy(not_found()),
        Ok(Err(error)) => {
            tracing::warn!(%error, "cannot read a file of the page");
            with_policy(StatusCode::INTERNAL_SERVER_ERROR.into_response())
        }
        Err(_) => with_policy(StatusCode::INTERNAL_SERVER_ERROR.into_response()),
    }
}

const MISSING: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Allium</title>\
    <h1>The page has not been built yet</h1>\
    <p>The network runs, but there is no page to show. Build it with <code>cargo xtask build</code> and load this \
    again, or say where it is with <code>--page DIR</code>.</p></html>";

fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "there is no such file").into_response()
}

fn answer(name: &Path, file: &CachedFile, request: &HeaderMap) -> Response {
    let caching = if is_hashed(name) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type(name))),
        (header::CACHE_CONTROL, HeaderValue::from_static(caching)),
        (header::ETAG, file.etag.clone()),
        (header::CONTENT_SECURITY_POLICY, file.policy.clone()),
    ];
    let same = request.get(header::IF_NONE_MATCH).is_some_and(|known| *known == file.etag);
    let response = if same {
        (StatusCode::NOT_MODIFIED, headers).into_response()
    } else {
        (headers, file.bytes.clone()).into_response()
    };
    with_policy(response)
}

/// Adds what browsers are told with every answer.
fn with_policy(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let alone = HeaderValue::from_static("same-origin");
    headers.insert("cross-origin-opener-policy", alone);
    if !headers.contains_key(header::CONTENT_SECURITY_POLICY)
        && let Ok(policy) = HeaderValue::try_from(policy::for_document(""))
    {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// The file that a path of the address names; `None` if it leads anywhere else. Paths without an extension are the
/// page's own business and get the index.
fn file_name(path: &str) -> Option<PathBuf> {
    let path = Path::new(path.trim_start_matches('/'));
    let plain = path.components().all(|part| match part {
        Component::Normal(name) => name.to_str().is_some_and(|name| !name.starts_with('.') && !name.contains('%')),
        _ => false,
    });
    match plain {
        false => None,
        true if path.extension().is_none() => Some(PathBuf::from(INDEX)),
        true => Some(path.to_owned()),
    }
}

/// Whether the name changes with the content: `app-0123456789abcdef.js`, `app-0123456789abcdef_bg.wasm`.
fn is_hashed(name: &Path) -> bool {
    let stem = name.file_name().and_then(|name| name.to_str()).and_then(|name| name.split('.').next());
    let hash = stem.and_then(|stem| stem.rsplit_once('-')).map(|(_, hash)| hash.trim_end_matches("_bg"));
    hash.is_some_and(|hash| hash.len() >= 8 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn content_type(name: &Path) -> &'static str {
    match name.extension().and_then(|extension| extension.to_str()).unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "wasm" => "application/wasm",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "ico" => "image/vnd.microsoft.icon",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests;
