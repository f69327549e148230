//! The content security policy of a document.

use data_encoding::BASE64;
use sha2::{Digest, Sha256};

/// The policy for a document with these inline scripts, each allowed by its hash. All else comes from the same origin,
/// but links go to any relay, and the list of relays may come from any authority.
pub fn for_document(html: &str) -> String {
    let mut scripts = String::new();
    for script in inline_scripts(html) {
        // Browsers see line ends as the HTML standard has them.
        let script = script.replace("\r\n", "\n").replace('\r', "\n");
        scripts.push_str(&format!(" 'sha256-{}'", BASE64.encode(&Sha256::digest(script.as_bytes()))));
    }
    format!(
        "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'{scripts}; connect-src 'self' ws: wss: http: https:; \
         img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

/// The text of all scripts that stand in the document itself.
fn inline_scripts(html: &str) -> Vec<&str> {
    let mut scripts = Vec::new();
    let lower = html.to_ascii_lowercase();
    let mut at = 0;
    while let Some(start) = find(&lower, at, "<script") {
        let Some(open) = find(&lower, start, ">") else { break };
        let Some(end) = find(&lower, open, "</script") else { break };
        let attributes = lower.get(start + "<script".len()..open).unwrap_or_default();
        let external = attributes.split_ascii_whitespace().any(|attribute| attribute.starts_with("src="));
        let tag = attributes.is_empty() || attributes.starts_with(|first: char| first.is_ascii_whitespace());
        if let Some(text) = html.get(open + 1..end).filter(|text| tag && !external && !text.is_empty()) {
            scripts.push(text);
        }
        at = end + "</script".len();
    }
    scripts
}

fn find(text: &str, from: usize, pattern: &str) -> Option<usize> {
    text.get(from..)?.find(pattern).map(|at| from + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inline_scripts_are_found_and_others_are_not() {
        let html = "<html><script type=\"module\">\nimport x;\n</script><SCRIPT SRC=\"a.js\"></SCRIPT>\
            <script src=b.js>ignored</script><script>2 > 1</script ><scripture>no</scripture><script>open";
        assert_eq!(inline_scripts(html), ["\nimport x;\n", "2 > 1"]);
    }

    #[test]
    fn an_inline_script_is_allowed_by_its_hash() {
        let policy = for_document("<script>doSomething();</script>");
        let start = policy.find("script-src").unwrap();
        let scripts = policy[start..].split(';').next().unwrap();
        let hash = BASE64.encode(&Sha256::digest(b"doSomething();"));
        assert_eq!(scripts, format!("script-src 'self' 'wasm-unsafe-eval' 'sha256-{hash}'"));
        assert_eq!(for_document("<script>a\r\nb</script>"), for_document("<script>a\nb</script>"));
        assert!(!policy.contains("unsafe-inline"));
        assert!(policy.contains("frame-ancestors 'none'"));
    }
}
