//! Uses the page at an address (`page_demo`'s) as a user would and takes pictures of it: `page_shots URL FOLDER`.

use profiler_tests::webdriver::{ARROW_DOWN, Browser, ENTER, ESCAPE, Options};
use serde_json::json;
use std::path::Path;
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(10);

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let (url, folder) = (&arguments[1], Path::new(&arguments[2]));
    for (name, size, dark) in
        [("light", (1400, 900), false), ("dark", (1400, 900), true), ("narrow", (800, 1100), false)]
    {
        let browser = Browser::start(Options { size, dark })?;
        browser.open(url)?;
        browser.wait_for(".frame, #empty:not([hidden])", WAIT)?;
        let shot = |what: &str| browser.screenshot(&folder.join(format!("{name}-{what}.png")));
        shot("all")?;
        if browser.find("li[data-service=checkout]").is_ok() {
            service(&browser, &shot)?;
            hostile(&browser, &shot)?;
            timeline(&browser, &shot)?;
        }
        let zoom = "const count = document.querySelectorAll('.frame').length; const from = performance.now(); \
                    document.querySelector('.frame.root')?.click(); document.body.offsetHeight; \
                    return `${count} frames, drawn in ${Math.round(performance.now() - from)} ms`;";
        let drawn = browser.execute(zoom, &[])?;
        println!("{name}: {drawn}, alert {:?}, console {:?}", browser.alert(), browser.console_errors()?);
    }
    Ok(())
}

type Shot<'a> = &'a dyn Fn(&str) -> anyhow::Result<()>;

fn service(browser: &Browser, shot: Shot<'_>) -> anyhow::Result<()> {
    browser.click(&browser.find("li[data-service=checkout] > .row > .toggle")?)?;
    browser.click(&browser.find("li[data-service=checkout] li.process > .row > .toggle")?)?;
    browser.click(&browser.find("li[data-service=checkout] > .row > .pick")?)?;
    browser.wait_until(
        "return !document.querySelector('.frame.service') && !!document.querySelector('.frame.native')",
        WAIT,
    )?;
    browser.press("/")?;
    browser.press("regex")?;
    let zoom = browser.find(".frame[data-name='checkout::cart::price_all']")?;
    browser.hover(&zoom)?;
    shot("search")?;
    browser.press(ESCAPE)?;
    browser.click(&zoom)?;
    browser.hover(&browser.find("#summary")?)?;
    shot("zoom")?;
    browser.click(&browser.find("#tab-table")?)?;
    shot("table")?;
    browser.click(&browser.find("#tab-flame")?)?;
    browser.press(ESCAPE)?;
    let zoomed = browser.execute("return document.querySelectorAll('.frame.above').length", &[])?;
    assert_eq!(zoomed, json!(0), "escape zooms out");
    browser.execute("document.getElementById('flame').focus()", &[])?;
    browser.press(&ARROW_DOWN.repeat(4))?;
    shot("keys")?;
    browser.press(ENTER)?;
    let above = browser.find_all(".frame.above")?;
    assert_eq!(above.len(), 4, "enter zooms in");
    Ok(())
}

fn hostile(browser: &Browser, shot: Shot<'_>) -> anyhow::Result<()> {
    browser.click(&browser.find("li[data-service='<script>alert(2)</script>'] > .row > .pick")?)?;
    let frame = browser.wait_for(".frame[data-name='javascript:alert(4)']", WAIT)?;
    browser.hover(&frame)?;
    shot("hostile")?;
    assert!(browser.find_all("#view .frame img, #services img, #tooltip img")?.is_empty());
    Ok(())
}

fn timeline(browser: &Browser, shot: Shot<'_>) -> anyhow::Result<()> {
    browser.drag(&browser.find("#bars")?, -200, 150)?;
    browser.wait_until("return location.hash.includes('from=')", WAIT)?;
    browser.click(&browser.find("li.all > .row > .pick")?)?;
    browser.wait_for(".frame.service", WAIT)?;
    browser.hover(&browser.find("#summary")?)?;
    shot("range")
}
