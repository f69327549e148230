//! What a person would look at afterwards.

use std::fs;
use std::path::Path;

use data_encoding::BASE64;

use super::{Browser, Page, Scheme};
use crate::artifacts;

/// The sizes and colours in which the page is looked at.
pub const LOOKS: [(u32, u32, Scheme, &str); 4] = [
    (1100, 760, Scheme::Light, "wide-light"),
    (1100, 760, Scheme::Dark, "wide-dark"),
    (390, 844, Scheme::Light, "phone-light"),
    (390, 844, Scheme::Dark, "phone-dark"),
];

/// Saves screenshots of a page in all looks, and checks that it fits into each.
#[track_caller]
pub fn save_all(page: &Page, name: &str) {
    for (width, height, scheme, look) in LOOKS {
        page.look(width, height, scheme);
        page.assert_fits();
        save(&page.browser.screenshot(), &artifacts::screenshots().join(format!("{name}-{look}.png")));
    }
    page.look(1100, 760, Scheme::Light);
}

/// Puts two pictures side by side on a plain ground, with some room around them, and returns the PNG.
#[track_caller]
pub fn side_by_side(browser: &Browser, left: &[u8], right: &[u8], size: (u32, u32)) -> Vec<u8> {
    let image = |png: &[u8]| format!("<img src=\"data:image/png;base64,{}\">", BASE64.encode(png));
    let html = format!(
        "<!doctype html><style>body{{margin:0;display:flex;gap:24px;padding:24px;background:#d9d3e4;\
         width:max-content}}img{{width:{}px;height:{}px;border-radius:12px;box-shadow:0 4px 24px #0003}}</style>{}{}",
        size.0,
        size.1,
        image(left),
        image(right)
    );
    browser.go("about:blank");
    browser.resize(2 * size.0 + 72, size.1 + 48, false);
    let script = "
        document.open(); document.write(arguments[0]); document.close();
        return Promise.all([...document.images].map(image => image.decode())).then(() => true);";
    browser.script(script, &[html.into()]);
    browser.screenshot()
}

/// Writes a picture, and the folders that it needs.
#[track_caller]
pub fn save(png: &[u8], path: &Path) {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).expect("the folder can be made");
    }
    fs::write(path, png).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
