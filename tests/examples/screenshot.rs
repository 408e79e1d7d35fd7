//! A picture of a page at an address: `screenshot URL FILE [WIDTH HEIGHT]`, once its flame graph is there.

use profiler_tests::webdriver::{Browser, Options};
use std::path::Path;
use std::time::Duration;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let size = match arguments.get(3..5) {
        Some([width, height]) => (width.parse()?, height.parse()?),
        _ => (1400, 900),
    };
    let browser = Browser::start(Options { size, dark: false })?;
    browser.open(&arguments[1])?;
    browser.wait_for(".frame.native", Duration::from_secs(30))?;
    browser.screenshot(Path::new(&arguments[2]))
}
