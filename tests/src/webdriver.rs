//! A browser driven over WebDriver (W3C): the commands a test of the page needs, as plain HTTP to chromedriver.
//!
//! Needs the Debian packages `chromium` and `chromium-driver`. Both end with the [`Browser`].

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Key under which the protocol names an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Time for one command, loading a page included.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

const POLL: Duration = Duration::from_millis(50);

/// The Escape key in [`Browser::send_keys`].
pub const ESCAPE: &str = "\u{e00c}";
/// The Enter key.
pub const ENTER: &str = "\u{e007}";
/// The Tab key.
pub const TAB: &str = "\u{e004}";
/// The down arrow.
pub const ARROW_DOWN: &str = "\u{e015}";
/// The right arrow.
pub const ARROW_RIGHT: &str = "\u{e014}";

/// How the browser is started.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Width and height of the page in CSS pixels.
    pub size: (u32, u32),
    /// Whether the page sees `prefers-color-scheme: dark`.
    pub dark: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { size: (1400, 900), dark: false }
    }
}

/// A headless Chromium with a profile folder of its own.
#[derive(Debug)]
pub struct Browser {
    driver: Driver,
    session: String,
    _data: tempfile::TempDir,
}

/// An element of the page; stale once the page replaces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element(String);

impl Browser {
    /// Starts chromedriver and a browser.
    ///
    /// # Errors
    /// When one of them is not installed or does not start.
    pub fn start(options: Options) -> Result<Self> {
        let data = tempfile::tempdir()?;
        let driver = Driver::start()?;
        let answer = driver.command("POST", "/session", &capabilities(options, data.path()))?;
        let session = answer["sessionId"].as_str().context("chromedriver gave no session id")?.to_owned();
        let browser = Self { driver, session, _data: data };
        browser.emulate(options)?;
        Ok(browser)
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.driver.command("POST", &format!("/session/{}{path}", self.session), body)
    }

    fn get(&self, path: &str) -> Result<Value> {
        self.driver.command("GET", &format!("/session/{}{path}", self.session), &Value::Null)
    }

    /// The page's size without the window's frame, and the colour scheme.
    fn emulate(&self, options: Options) -> Result<()> {
        let (width, height) = options.size;
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics)?;
        let scheme = if options.dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", &media)
    }

    fn devtools(&self, command: &str, parameters: &Value) -> Result<()> {
        self.post("/goog/cdp/execute", &json!({ "cmd": command, "params": parameters })).map(drop)
    }

    /// Opens an address and waits until it is loaded.
    pub fn open(&self, url: &str) -> Result<()> {
        self.post("/url", &json!({ "url": url })).map(drop)
    }

    /// All elements of a CSS selector, in the page's order.
    pub fn find_all(&self, css: &str) -> Result<Vec<Element>> {
        let found = self.post("/elements", &json!({ "using": "css selector", "value": css }))?;
        let found = found.as_array().context("elements are no list")?;
        let id = |element: &Value| element[ELEMENT].as_str().map(|id| Element(id.to_owned()));
        found.iter().map(|element| id(element).context("element without id")).collect()
    }

    /// The first element of a CSS selector.
    pub fn find(&self, css: &str) -> Result<Element> {
        self.find_all(css)?.into_iter().next().with_context(|| format!("no element {css}"))
    }

    /// Waits until there is such an element.
    pub fn wait_for(&self, css: &str, timeout: Duration) -> Result<Element> {
        let until = Instant::now() + timeout;
        loop {
            match self.find(css) {
                Ok(element) => return Ok(element),
                Err(error) if Instant::now() >= until => return Err(error.context(format!("waited {timeout:?}"))),
                Err(_) => std::thread::sleep(POLL),
            }
        }
    }

    /// Waits until a script (`return …;`) gives something that is true, and gives that.
    pub fn wait_until(&self, script: &str, timeout: Duration) -> Result<Value> {
        let until = Instant::now() + timeout;
        loop {
            let value = self.execute(script, &[])?;
            let is_true = !matches!(value, Value::Null | Value::Bool(false)) && value != json!(0) && value != json!("");
            if is_true {
                return Ok(value);
            }
            if Instant::now() >= until {
                bail!("not true within {timeout:?}: {script}");
            }
            std::thread::sleep(POLL);
        }
    }

    /// Clicks the middle of an element, as a user would: something that lies above it takes the click or fails it.
    pub fn click(&self, element: &Element) -> Result<()> {
        self.post(&format!("/element/{}/click", element.0), &json!({})).map(drop)
    }

    /// Types into an element.
    pub fn send_keys(&self, element: &Element, text: &str) -> Result<()> {
        self.post(&format!("/element/{}/value", element.0), &json!({ "text": text })).map(drop)
    }

    /// Presses and releases keys one by one, wherever the focus is.
    pub fn press(&self, keys: &str) -> Result<()> {
        let press = |key: char| [("keyDown", key), ("keyUp", key)];
        let actions: Vec<Value> =
            keys.chars().flat_map(press).map(|(kind, key)| json!({ "type": kind, "value": key.to_string() })).collect();
        self.post("/actions", &json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] }))
            .map(drop)
    }

    /// Moves the pointer to the middle of an element.
    pub fn hover(&self, element: &Element) -> Result<()> {
        let origin = json!({ ELEMENT: element.0 });
        let moves = json!([{ "type": "pointerMove", "duration": 0, "origin": origin, "x": 0, "y": 0 }]);
        self.pointer(&moves)
    }

    /// Drags inside an element from one horizontal offset to another, in pixels from its middle.
    pub fn drag(&self, element: &Element, from_x: i32, to_x: i32) -> Result<()> {
        let origin = json!({ ELEMENT: element.0 });
        self.pointer(&json!([
            { "type": "pointerMove", "duration": 0, "origin": origin, "x": from_x, "y": 0 },
            { "type": "pointerDown", "button": 0 },
            { "type": "pointerMove", "duration": 100, "origin": origin, "x": to_x, "y": 0 },
            { "type": "pointerUp", "button": 0 },
        ]))
    }

    fn pointer(&self, actions: &Value) -> Result<()> {
        let pointer = json!({ "type": "pointer", "id": "mouse", "actions": actions });
        self.post("/actions", &json!({ "actions": [pointer] })).map(drop)
    }

    /// The text a user sees.
    pub fn text(&self, element: &Element) -> Result<String> {
        let text = self.get(&format!("/element/{}/text", element.0))?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// An attribute, `None` when it is not there.
    pub fn attribute(&self, element: &Element, name: &str) -> Result<Option<String>> {
        let value = self.get(&format!("/element/{}/attribute/{name}", element.0))?;
        Ok(value.as_str().map(str::to_owned))
    }

    /// Runs the body of a function in the page; `arguments[n]` there, what it returns here.
    pub fn execute(&self, script: &str, arguments: &[Value]) -> Result<Value> {
        self.post("/execute/sync", &json!({ "script": script, "args": arguments }))
    }

    /// Text of the dialog that is open, `None` when none is: a page that is never tricked opens none.
    pub fn alert(&self) -> Option<String> {
        let text = self.get("/alert/text").ok()?;
        text.as_str().map(str::to_owned)
    }

    /// Messages of the page's console at level SEVERE: errors, violations of its policy.
    pub fn console_errors(&self) -> Result<Vec<String>> {
        let entries = self.post("/se/log", &json!({ "type": "browser" }))?;
        let entries = entries.as_array().cloned().unwrap_or_default();
        let severe = entries.iter().filter(|entry| entry["level"] == "SEVERE");
        Ok(severe.filter_map(|entry| entry["message"].as_str().map(str::to_owned)).collect())
    }

    /// Writes what is visible to a PNG file.
    pub fn screenshot(&self, path: &Path) -> Result<()> {
        let image = self.get("/screenshot")?;
        let bytes = decode_base64(image.as_str().context("screenshot is no text")?)?;
        std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.driver.command("DELETE", &format!("/session/{}", self.session), &Value::Null);
    }
}

fn capabilities(options: Options, data: &Path) -> Value {
    let (width, height) = options.size;
    let args = [
        "--headless=new".to_owned(),
        "--no-sandbox".to_owned(),
        "--disable-gpu".to_owned(),
        "--disable-quic".to_owned(),
        "--disable-dev-shm-usage".to_owned(),
        "--no-first-run".to_owned(),
        "--disable-background-networking".to_owned(),
        "--disable-component-update".to_owned(),
        "--disable-sync".to_owned(),
        "--no-proxy-server".to_owned(),
        format!("--window-size={width},{height}"),
        format!("--user-data-dir={}", data.display()),
    ];
    json!({ "capabilities": { "alwaysMatch": {
        "browserName": "chrome",
        "unhandledPromptBehavior": "ignore",
        "goog:loggingPrefs": { "browser": "ALL" },
        "goog:chromeOptions": { "args": args },
    } } })
}

/// A chromedriver of our own on a port of its choice.
#[derive(Debug)]
struct Driver {
    process: Child,
    port: u16,
}

impl Driver {
    fn start() -> Result<Self> {
        let mut process = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start chromedriver (Debian package chromium-driver)")?;
        let output = process.stdout.take().context("chromedriver has no output")?;
        let mut driver = Self { process, port: 0 };
        let mut lines = BufReader::new(output).lines();
        let port = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse().ok()
        });
        driver.port = port.context("chromedriver did not say its port")?;
        // Its pipe must not fill up.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(driver)
    }

    /// Sends a command; gives `value` of the answer.
    fn command(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let content = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.exchange(method, path, &content).with_context(|| format!("{method} {path}"))?;
        let value = &answer["value"];
        match value["error"].as_str() {
            Some(error) => Err(anyhow!("{error}: {}", value["message"].as_str().unwrap_or_default())),
            None => Ok(value.clone()),
        }
    }

    fn exchange(&self, method: &str, path: &str, content: &str) -> Result<Value> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(COMMAND_TIMEOUT))?;
        let port = self.port;
        let length = content.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{content}"
        )?;
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        let mut line = String::new();
        while reader.read_line(&mut line)? > 2 {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
            line.clear();
        }
        let mut bytes = vec![0; length];
        reader.read_exact(&mut bytes)?;
        serde_json::from_slice(&bytes).context("answer is no JSON")
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn decode_base64(text: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0u32, 0);
    for character in text.bytes().filter(|character| *character != b'=') {
        let value = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => bail!("no base64: byte {character}"),
        };
        bits = (bits << 6) | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_base64() {
        assert_eq!(decode_base64("aGVsbG8=").unwrap(), b"hello");
        assert_eq!(decode_base64("//79").unwrap(), [255, 254, 253]);
        assert!(decode_base64("a b").is_err());
    }
}
