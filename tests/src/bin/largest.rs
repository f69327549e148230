//! What the largest directory costs a page, in Chromium and without any warmth: a new browser for each run.
//!
//! `cargo xtask build && cargo run -p allium-tests --bin largest` prints the medians, and writes the list of relays
//! into the target folder.

#![expect(clippy::expect_used, reason = "what goes wrong here is told where it happens")]

use std::fs;
use std::path::Path;

use allium_shared::netdir::{Consensus, Mirror};
use allium_tests::artifacts;
use allium_tests::browser::Page;
use allium_tests::largest::{Directory, Largest};

const RUNS: usize = 7;

/// In the page's worker, before all else: tells how long it takes from the last byte of the list of relays to the first link.
const IN_WORKER: &str = "
    const told = new BroadcastChannel('timing');
    const { arrayBuffer } = Response.prototype;
    let begin = 0;
    Response.prototype.arrayBuffer = async function () {
        const bytes = await arrayBuffer.call(this);
        if (this.url.endsWith('/directory/consensus')) begin = performance.now();
        return bytes;
    };
    globalThis.WebSocket = class extends WebSocket {
        constructor(...all) {
            super(...all);
            if (begin > 0) told.postMessage(performance.now() - begin);
            begin = 0;
        }
    };
";

/// In the page: hears that, and notes when the relays are there and what has kept the page from being drawn.
const IN_PAGE: &str = "
    new BroadcastChannel('timing').onmessage = ({ data }) => { window.link = data; };
    window.tasks = [0];
    new PerformanceObserver(list => window.tasks.push(...list.getEntries().map(entry => entry.duration)))
        .observe({ type: 'longtask', buffered: true });
    const look = setInterval(() => {
        if (!document.querySelector('[data-testid=network-count]')) return;
        clearInterval(look);
        setTimeout(() => { window.shown = [performance.now(), Math.max(...window.tasks)]; });
    }, 5);
";

fn main() {
    let folder = tempfile::tempdir().expect("there is a place for files");
    for file in fs::read_dir(artifacts::page()).expect("the page's folder can be read").flatten() {
        let bytes = fs::read(file.path()).expect("the page's files can be read");
        let first = if file.file_name() == "worker.js" { IN_WORKER } else { "" };
        let copy = folder.path().join(file.file_name());
        fs::write(copy, [first.as_bytes(), &bytes].concat()).expect("files can be written");
    }
    let largest = Largest::serve_with(folder.path());
    let bytes = largest.consensus().as_bytes();
    let file = artifacts::root().join("target/largest-consensus");
    fs::write(&file, bytes).expect("the target folder can be written");
    println!("the list of relays has {} bytes; it is in {}", bytes.len(), Path::new(&file).display());

    println!("what the holder of one needs for the next, with 2 % other relays: {} bytes", difference());

    let mut links: Vec<f64> = (0..RUNS).map(|_| run(&largest, "", "return window.link")[0]).collect();
    println!("from its last byte to the first link, in the worker: {} ms", median(&mut links));
    let shown: Vec<[f64; 2]> = (0..RUNS).map(|_| run(&largest, "network", "return window.shown")).collect();
    let mut times: Vec<f64> = shown.iter().map(|run| run[0]).collect();
    println!("from opening /network to its picture: {} ms", median(&mut times));
    let mut tasks: Vec<f64> = shown.iter().map(|run| run[1]).collect();
    println!("the longest task of the page's own thread until then: {} ms", median(&mut tasks));
}

/// The length of what brings the largest list up to date when two in a hundred relays are others.
fn difference() -> usize {
    let mut mirror = Mirror::default();
    let held = Directory::largest().expect("the directory can be made");
    let later = held.clone().later(2).expect("the later one, too");
    let [held, later] = [(held, 1_800_000_000), (later, 1_800_003_600)].map(|(directory, begin)| {
        let bytes = directory.consensus(begin).expect("the consensus can be made");
        Consensus::verify_signatures(&bytes, &directory.authorities).expect("it is signed")
    });
    mirror.push(&held);
    mirror.push(&later);
    mirror.update_for(Some(&held.digest())).map_or(0, |update| update.len())
}

/// Opens a page of the largest network in a new browser, and waits for what a script says: one number or two.
fn run(largest: &Largest, path: &str, script: &str) -> [f64; 2] {
    let page = Page::launch("Ada", "about:blank");
    page.browser.script_first(IN_PAGE);
    page.browser.go(&format!("{}/{path}", largest.url()));
    page.until("the measure", |page| {
        let value = page.browser.script(script, &[]);
        value.as_f64().map(|time| [time, 0.0]).or_else(|| Some([value[0].as_f64()?, value[1].as_f64()?]))
    })
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default().round()
}
