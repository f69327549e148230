use super::*;
use crate::files::tests::TestDir;

async fn get(page: &Arc<Page>, path: &str, etag: Option<&HeaderValue>) -> Response {
    let mut headers = HeaderMap::new();
    if let Some(etag) = etag {
        headers.insert(header::IF_NONE_MATCH, etag.clone());
    }
    serve(State(Arc::clone(page)), path.parse().unwrap(), headers).await
}

fn header_of(response: &Response, name: impl header::AsHeaderName) -> &str {
    response.headers().get(name).unwrap().to_str().unwrap()
}

#[tokio::test]
async fn files_have_types_tags_and_policies() {
    let dir = TestDir::new();
    std::fs::write(dir.0.join("index.html"), "<script>go()</script>").unwrap();
    std::fs::write(dir.0.join("app-0123456789abcdef_bg.wasm"), b"\0asm").unwrap();
    let page = Arc::new(Page::new(dir.0.clone()));

    let index = get(&page, "/", None).await;
    assert_eq!(index.status(), StatusCode::OK);
    assert_eq!(header_of(&index, header::CONTENT_TYPE), "text/html; charset=utf-8");
    assert_eq!(header_of(&index, header::CACHE_CONTROL), "no-cache");
    assert!(header_of(&index, header::CONTENT_SECURITY_POLICY).contains("'sha256-"));
    assert_eq!(header_of(&index, header::X_CONTENT_TYPE_OPTIONS), "nosniff");
    assert_eq!(header_of(&index, header::REFERRER_POLICY), "no-referrer");

    let etag = index.headers().get(header::ETAG);
    assert_eq!(get(&page, "/index.html", etag).await.status(), StatusCode::NOT_MODIFIED);
    for route in ["/network", "/some/route"] {
        assert_eq!(get(&page, route, etag).await.status(), StatusCode::NOT_MODIFIED);
    }
    std::fs::write(dir.0.join("index.html"), "<script>other()</script>").unwrap();
    assert_eq!(get(&page, "/", etag).await.status(), StatusCode::OK);

    let wasm = get(&page, "/app-0123456789abcdef_bg.wasm", None).await;
    assert_eq!(header_of(&wasm, header::CONTENT_TYPE), "application/wasm");
    assert!(header_of(&wasm, header::CACHE_CONTROL).contains("immutable"));
    assert_eq!(get(&page, "/none.js", None).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_page_that_is_not_built_says_so() {
    let dir = TestDir::new();
    let page = Arc::new(Page::new(dir.0.join("dist")));
    let response = get(&page, "/", None).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
    assert!(String::from_utf8_lossy(&body).contains("cargo xtask build"));
}

#[test]
fn no_path_leads_out_of_the_folder() {
    assert_eq!(file_name("/"), Some("index.html".into()));
    assert_eq!(file_name("/a/b.css"), Some("a/b.css".into()));
    for path in ["/../x.js", "/a/../../x.js", "/.git/config.js", "/%2e%2e/x.js", "/a/..", "/..%2fx.js"] {
        assert_eq!(file_name(path), None, "{path}");
    }
    assert_eq!(file_name("//etc/passwd.txt"), Some("etc/passwd.txt".into()));
}

#[test]
fn only_names_with_a_hash_are_cached_for_long() {
    for name in ["allium-web-0123456789abcdef.js", "allium-web-0123456789abcdef_bg.wasm", "style-89abcdef.css"] {
        assert!(is_hashed(Path::new(name)), "{name}");
    }
    for name in ["index.html", "allium-web.js", "allium-0123.js", "favicon.svg", "icon-192.png"] {
        assert!(!is_hashed(Path::new(name)), "{name}");
    }
}
