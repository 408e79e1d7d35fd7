//! The page of a running agent in a real browser (Debian packages chromium and chromium-driver).

use profiler_tests::agent::{Agent, Metrics};
use profiler_tests::webdriver::{Browser, ESCAPE, Element, Options};
use profiler_tests::workload::{Running, compile_c};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(30);
const IMAGE: &str = "<img src=x onerror=alert(1)>";

/// An agent, workloads and a browser that shows the agent's page.
struct Stage {
    browser: Browser,
    agent: Agent,
    folder: tempfile::TempDir,
    threads: Running,
    _workloads: [Running; 2],
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let start = |name: &str, arguments: &[&str]| Running::start(&compile_c(folder.path(), name, &[]), arguments);
        let workloads = [start("burn.c", &[]), start("img.c", &[])];
        let threads = start("threads.c", &["600"]);
        let agent = Agent::run(&["--interval", "1s", "--frequency", "199"]);
        let browser = Browser::start(Options::default())
            .unwrap_or_else(|error| panic!("no browser: {error:#}; install chromium and chromium-driver"));
        browser.open(&format!("http://{}/", agent.address)).unwrap();
        Self { browser, agent, folder, threads, _workloads: workloads }
    }

    fn one(&self, css: &str) -> Element {
        self.browser.wait_for(css, WAIT).unwrap()
    }

    fn click(&self, css: &str) {
        // A refresh may replace an element between the look and the click.
        for _ in 0..20 {
            if self.browser.click(&self.one(css)).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("{css} cannot be clicked");
    }

    fn until(&self, expression: &str) -> Value {
        self.browser.wait_until(&format!("return {expression};"), WAIT).unwrap()
    }

    fn run(&self, expression: &str) -> Value {
        self.browser.execute(&format!("return {expression};"), &[]).unwrap()
    }

    /// Chooses a service and waits until its flame graph is there.
    fn pick(&self, service: &str, function: &str) {
        self.click(&format!("#services li[data-service='{service}'] > .row > .pick"));
        self.until("!document.querySelector('.frame.service')");
        self.one(&format!(".frame[data-name='{function}']"));
    }

    /// No refresh while elements are looked at one by one.
    fn hold(&self) {
        self.run("document.getElementById('auto').checked && document.getElementById('auto').click()");
    }

    /// Nothing went wrong unseen, and nothing was asked of anybody but the agent.
    fn is_clean(&self) {
        assert_eq!(self.browser.alert(), None);
        assert_eq!(self.browser.console_errors().unwrap(), Vec::<String>::new());
        let origins = self.run("performance.getEntriesByType('resource').map((entry) => new URL(entry.name).host)");
        let origins = origins.as_array().unwrap();
        assert!(origins.len() > 3 && origins.iter().all(|host| *host == json!(self.agent.address)), "{origins:?}");
        let elsewhere = "[...document.querySelectorAll('[src],link[href],a[href]')].map((e) => e.src || e.href)\
                         .filter((url) => new URL(url).host !== location.host)";
        assert_eq!(self.run(elsewhere), json!([]));
    }
}

fn number(value: &Value) -> f64 {
    value.as_str().and_then(|text| text.parse().ok()).or_else(|| value.as_f64()).unwrap_or_else(|| panic!("{value}"))
}

/// Where the pictures go.
fn pictures() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("page");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn shows_the_host_and_lets_a_user_look_closer() {
    let stage = Stage::new();
    let browser = &stage.browser;
    stage.one(".frame.service[data-name='burn']");
    browser.screenshot(&pictures().join("host.png")).unwrap();

    // The share of each service is of the whole.
    stage.one("#services li[data-service='img']");
    let shares = "[...document.querySelectorAll('#services > li.service > .row > .pick')].map((e) => +e.dataset.share)";
    let shares: Vec<f64> = stage.run(shares).as_array().unwrap().iter().map(number).collect();
    let sum: f64 = shares.iter().sum();
    assert!((sum - 1.0).abs() < 0.01, "{shares:?}");

    // Half of burn is alpha, wherever the browser is.
    stage.pick("burn", "alpha");
    let total = |name: &str| {
        number(&stage.run(&format!("document.querySelector('.frame[data-name=\"{name}\"]').dataset.total")))
    };
    for name in ["main", "work", "alpha", "beta", "gamma_"] {
        stage.one(&format!(".frame[data-name='{name}']"));
    }
    stage.hold();
    assert!(total("work") >= total("alpha") + total("beta") + total("gamma_"));
    assert!(total("alpha") > total("gamma_"));
    let shown = stage.run("document.querySelector('.frame[data-name=alpha]').textContent");
    assert_eq!(shown, "alpha");
    browser.screenshot(&pictures().join("service.png")).unwrap();

    zooms(&stage);
    searches(&stage);
    is_a_table_too(&stage);
    stage.is_clean();
}

fn zooms(stage: &Stage) {
    let widths =
        "[document.querySelector('.frame[data-name=alpha]').offsetWidth, document.getElementById('flame').clientWidth]";
    let width = |index: usize| number(&stage.run(widths)[index]);
    let before = width(0);
    assert!(before < 0.8 * width(1), "alpha is {before} of {} pixels", width(1));
    stage.click(".frame[data-name='alpha']");
    stage.until("!document.getElementById('reset').hidden");
    assert!(width(0) > 0.95 * width(1), "alpha is not zoomed to the full width");
    let crumbs = stage.run("[...document.querySelectorAll('#crumbs .crumb')].map((crumb) => crumb.textContent)");
    assert_eq!(crumbs, json!(["All services", "burn", "alpha"]));
    stage.click("#reset");
    stage.until("document.getElementById('reset').hidden");
    assert!((width(0) - before).abs() < 2.0, "reset does not return");
    stage.click(".frame[data-name='work']");
    stage.until("!document.getElementById('reset').hidden");
    stage.browser.press(ESCAPE).unwrap();
    stage.until("document.getElementById('reset').hidden");
}

fn searches(stage: &Stage) {
    stage.browser.press("/").unwrap();
    stage.browser.press("alpha").unwrap();
    stage.until("document.querySelector('.frame[data-name=alpha]').classList.contains('match')");
    assert_eq!(stage.run("document.querySelector('.frame[data-name=beta]').classList.contains('match')"), false);
    let text = stage.run("document.getElementById('match').textContent");
    assert!(text.as_str().is_some_and(|text| text.contains('%')), "{text}");
    let share = number(&stage.run("document.getElementById('match').dataset.share"));
    // It may be called from several places.
    let true_share = "[...document.querySelectorAll('.frame[data-name=alpha]')].reduce((sum, e) => sum + +e.dataset.total, 0) / document.querySelector('.frame.root').dataset.total";
    let true_share = number(&stage.run(true_share));
    assert!((share - true_share).abs() < 0.001, "{share} is shown, {true_share} it is");
    stage.browser.screenshot(&pictures().join("search.png")).unwrap();
    stage.browser.press(ESCAPE).unwrap();
    stage.until("!document.querySelector('.frame.match')");
}

fn is_a_table_too(stage: &Stage) {
    stage.click("#tab-table");
    for name in ["alpha", "beta", "gamma_"] {
        stage.one(&format!("#table-panel tr[data-name='{name}']"));
    }
    let first = stage.run("document.querySelector('#table-panel tbody tr').dataset.name");
    assert_eq!(first, "alpha", "sorted by self time");
    stage.browser.screenshot(&pictures().join("table.png")).unwrap();
    stage.click("#tab-flame");
}

#[test]
fn a_function_that_is_html_stays_text() {
    let stage = Stage::new();
    stage.pick("img", IMAGE);
    stage.hold();
    let shown = stage.run("[...document.querySelectorAll('.frame')].map((frame) => frame.textContent)");
    assert!(shown.as_array().unwrap().contains(&json!(IMAGE)), "{shown}");
    let frame = stage.one(&format!(".frame[data-name='{IMAGE}']"));
    stage.browser.hover(&frame).unwrap();
    stage.until("!document.getElementById('tooltip').hidden");
    stage.browser.screenshot(&pictures().join("hostile.png")).unwrap();
    stage.browser.click(&frame).unwrap();
    stage.until("!document.getElementById('reset').hidden");
    stage.click("#tab-table");
    stage.one(&format!("#table-panel tr[data-name='{IMAGE}']"));
    stage.run("(document.getElementById('search').value = '<img', document.getElementById('search').dispatchEvent(new Event('input')))");
    stage.until("document.getElementById('match').textContent.includes('%')");
    let images = stage.run("document.querySelectorAll('#view .frame img, #view table img, #services img, #crumbs img, #tooltip img, [onerror]').length");
    assert_eq!(images, 0);
    stage.is_clean();
}

#[test]
fn processes_threads_and_ranges() {
    let stage = Stage::new();
    let pid = stage.threads.pid();
    let service = "#services li[data-service='threads']";
    stage.one(service);
    stage.click(&format!("{service} > .row > .toggle"));
    let process = format!("{service} li.process[data-pid='{pid}']");
    stage.one(&process);
    stage.click(&format!("{process} > .row > .toggle"));
    stage.one(&format!("{process} li.thread[data-tid]"));
    let tids: Vec<u32> = threads_of(pid);
    let shown = stage.until(&format!(
        "(() => {{ const tids = [...document.querySelectorAll(\"{process} li.thread\")].map((e) => +e.dataset.tid); return tids.length > 1 && tids; }})()"
    ));
    let shown: Vec<u32> = shown.as_array().unwrap().iter().map(|tid| number(tid) as u32).collect();
    assert!(shown.iter().all(|tid| tids.contains(tid)), "{shown:?} are not among {tids:?}");
    stage.click(&format!("{process} li.thread[data-tid='{}'] > .row > .pick", shown[0]));
    stage.until(&format!("location.hash.includes('tid={}')", shown[0]));
    stage.until("!!document.querySelector('.frame.native')");
    stage.browser.screenshot(&pictures().join("threads.png")).unwrap();

    for range in ["1m", "5m", "15m", "1h"] {
        stage.click(&format!("#ranges button[data-range='{range}']"));
        stage.until(&format!(
            "document.querySelector('#ranges button[data-range=\"{range}\"]').getAttribute('aria-pressed') === 'true'"
        ));
        stage.until("!!document.querySelector('.frame.native')");
    }
    stage.is_clean();
}

fn threads_of(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.map(|task| task.unwrap().file_name().to_string_lossy().parse().unwrap()).collect()
}

#[test]
fn downloads_are_what_is_shown() {
    let stage = Stage::new();
    stage.pick("burn", "alpha");
    stage.hold();
    let path = |id: &str| {
        let href = stage.run(&format!("document.getElementById('{id}').href"));
        let href = href.as_str().unwrap().to_owned();
        href.strip_prefix(&format!("http://{}", stage.agent.address)).unwrap_or_else(|| panic!("{href}")).to_owned()
    };
    let folded = stage.agent.get(&path("download-folded"));
    assert!(folded.lines().count() > 2 && folded.lines().any(|line| line.contains("work;alpha ")), "{folded}");
    for line in folded.lines() {
        assert!(line.starts_with("burn;"), "{line}");
        assert!(line.rsplit_once(' ').is_some_and(|(_, count)| count.parse::<u64>().is_ok()), "{line}");
    }
    let file = stage.folder.path().join("burn.pb.gz");
    download(&stage.agent.address, &path("download-pprof"), &file);
    let top = Command::new("go").args(["tool", "pprof", "-top"]).arg(&file).output().expect("go is installed");
    let text = String::from_utf8_lossy(&top.stdout);
    assert!(top.status.success(), "{}", String::from_utf8_lossy(&top.stderr));
    for name in ["alpha", "beta", "gamma_", "work"] {
        assert!(text.lines().any(|line| line.ends_with(name) || line.contains(&format!("{name} "))), "{text}");
    }
    assert!(!text.contains("onerror"), "other services are in the download: {text}");
    stage.agent.metrics().assert_balance();
}

/// A body that is no text.
fn download(address: &str, path: &str, file: &Path) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.0 200"), "{}", String::from_utf8_lossy(&answer));
    let body = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
    std::fs::write(file, &answer[body..]).unwrap();
}

#[test]
fn the_page_says_what_the_ledger_says() {
    let stage = Stage::new();
    stage.one(".frame.service");
    let footer = stage.until("document.getElementById('ledger').textContent");
    assert!(
        footer.as_str().is_some_and(|text| text.contains("samples taken") && text.contains("0 dropped")),
        "{footer}"
    );
    let metrics: Metrics = stage.agent.metrics();
    metrics.assert_balance();
    assert!(metrics.taken() > 0.0);
    let (status, _) = stage.agent.stop();
    assert_eq!(status.code(), Some(0));
    // The page stays, and says that the agent is gone.
    let error = stage.browser.wait_until("return !document.getElementById('error').hidden;", WAIT);
    assert!(error.is_ok());
}
