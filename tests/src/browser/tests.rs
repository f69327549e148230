//! What the browser's checks are to find, they find.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Browser, Page};
use crate::process;

/// A page with one fault of each kind.
const FAULTY: &str = "<!doctype html><title>faulty</title><style>body{margin:0}div{height:20px}</style>\
    <div data-testid=good>good</div>\
    <div data-testid=covered>covered</div><div style='position:relative;top:-20px'>the cover</div>\
    <div data-testid=below style='position:absolute;top:5000px'>below</div>\
    <script>console.warn('oh'); console.log('fine'); console.error('dear')</script>";

#[test]
fn faults_of_a_page_are_found() {
    let page = Page { browser: Browser::start("the test") };
    let faulty = page.browser.folder.path().join("faulty.html");
    fs::write(&faulty, FAULTY).unwrap();
    page.browser.go(&format!("file://{}", faulty.display()));
    let fails = |check: &dyn Fn()| catch_unwind(AssertUnwindSafe(check)).is_err();

    assert_eq!(page.browser.complaints().len(), 2, "a warning and an error");
    assert!(page.browser.complaints().is_empty(), "each is told once");
    page.browser.script("console.error('again')", &[]);
    assert!(fails(&|| page.assert_quiet()));

    page.assert_at_hand(&["good"]);
    for id in ["covered", "below", "missing"] {
        assert!(fails(&|| page.assert_at_hand(&[id])), "{id} is called at hand");
    }
    page.browser.script("document.querySelector('[data-testid=below]').remove()", &[]);
    page.assert_fits();
    page.browser.script("document.querySelector('[data-testid=good]').style.width = '1101px'", &[]);
    assert!(fails(&|| page.assert_fits()), "1101 pixels fit into 1100");
}

#[test]
fn nothing_is_left_of_a_browser() {
    let browser = Browser::start("the test");
    let folder = browser.folder.path().display().to_string();
    let alive = || {
        let all = process::all().into_iter();
        all.filter(|pid| process::command_line(*pid).iter().any(|arg| arg.contains(&folder))).count()
    };
    assert!(alive() > 1, "a browser has several processes");
    assert!(browser.owns(browser.pid()) && !browser.owns(std::process::id()));
    drop(browser);
    crate::wait::until(std::time::Duration::from_secs(5), "the end of the browser", || (alive() == 0).then_some(()));
}
