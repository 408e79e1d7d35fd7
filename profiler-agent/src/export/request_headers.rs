//! Headers of a request: fixed ones, and credentials read anew.

use super::config::{Auth, ExportConfig};
use anyhow::Context;
use base64::Engine;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes of a file with a credential, certificate or key at most.
const MAX_FILE_BYTES: u64 = 1 << 20;

#[derive(Debug)]
pub(crate) struct RequestHeaders {
    fixed: HeaderMap,
    file: Option<PathBuf>,
    auth: Auth,
}

impl RequestHeaders {
    pub(crate) fn new(config: &ExportConfig) -> anyhow::Result<Self> {
        let mut fixed = HeaderMap::new();
        for (name, value) in &config.headers {
            let key: HeaderName = name.parse().with_context(|| format!("header name {name:?}"))?;
            fixed.append(key, sensitive(value).with_context(|| format!("value of header {name:?}"))?);
        }
        if let Some(tenant) = &config.tenant {
            let value = HeaderValue::from_str(tenant).with_context(|| format!("tenant {tenant:?}"))?;
            fixed.insert("x-scope-orgid", value);
        }
        Ok(Self { fixed, file: config.header_file.clone(), auth: config.auth.clone() })
    }

    /// All headers, with those in files as they are there now.
    pub(crate) fn read(&self) -> anyhow::Result<HeaderMap> {
        let mut headers = self.fixed.clone();
        if let Some(file) = &self.file {
            add_lines(&mut headers, &read_secret(file).context("header file")?).context("header file")?;
        }
        let authorization = match &self.auth {
            Auth::None => return Ok(headers),
            Auth::BearerFile(file) => format!("Bearer {}", read_secret(file).context("bearer token file")?),
            Auth::Basic { user, password_file } => {
                let password = read_secret(password_file).context("basic auth password file")?;
                let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
                format!("Basic {pair}")
            }
        };
        headers.insert(AUTHORIZATION, sensitive(&authorization).context("credentials")?);
        Ok(headers)
    }
}

/// Lines `Name: value`; empty ones, and comments behind a `#`, are skipped.
fn add_lines(headers: &mut HeaderMap, text: &str) -> anyhow::Result<()> {
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        // A line may be a secret: it is not repeated.
        let (name, value) = line.split_once(':').with_context(|| format!("line {number} is not Name: value"))?;
        let name: HeaderName = name.trim().parse().with_context(|| format!("line {number}"))?;
        headers.append(name, sensitive(value.trim()).with_context(|| format!("line {number}"))?);
    }
    Ok(())
}

fn sensitive(value: &str) -> anyhow::Result<HeaderValue> {
    // The parser's own error does not repeat the value.
    let mut value = HeaderValue::from_str(value)?;
    value.set_sensitive(true);
    Ok(value)
}

fn read_secret(file: &Path) -> anyhow::Result<String> {
    let bytes = read_file(file)?;
    let text = String::from_utf8(bytes).ok().with_context(|| format!("{} is not text", file.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// A regular file's content; anything else could keep us waiting.
pub(super) fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    let said = || path.display().to_string();
    anyhow::ensure!(std::fs::metadata(path).with_context(said)?.is_file(), "{}: not a file", path.display());
    let mut bytes = Vec::new();
    File::open(path).with_context(said)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).with_context(said)?;
    anyhow::ensure!(bytes.len() as u64 <= MAX_FILE_BYTES, "{}: larger than {MAX_FILE_BYTES} bytes", path.display());
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ExportConfig {
        ExportConfig::new(Vec::new())
    }

    #[test]
    fn credentials_follow_their_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let headers = RequestHeaders::new(&ExportConfig { auth: Auth::BearerFile(file.clone()), ..config() }).unwrap();
        assert!(format!("{:#}", headers.read().unwrap_err()).starts_with("bearer token file: "));
        for token in ["one", "two"] {
            std::fs::write(&file, format!("{token}\n")).unwrap();
            assert_eq!(headers.read().unwrap()[AUTHORIZATION], format!("Bearer {token}"));
        }
        let auth = Auth::Basic { user: "Aladdin".into(), password_file: file.clone() };
        std::fs::write(&file, "open sesame").unwrap();
        let headers = RequestHeaders::new(&ExportConfig { auth, ..config() }).unwrap();
        assert_eq!(headers.read().unwrap()[AUTHORIZATION], "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        std::fs::write(&file, "x".repeat(2 << 20)).unwrap();
        assert!(format!("{:#}", headers.read().unwrap_err()).contains("larger than"));
    }

    #[test]
    fn headers_follow_their_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("headers");
        let headers = RequestHeaders::new(&ExportConfig { header_file: Some(file.clone()), ..config() }).unwrap();
        std::fs::write(&file, "# from the vault\nX-Key: one:two\r\n\nx-key:three\n").unwrap();
        let read = headers.read().unwrap();
        assert_eq!(read.get_all("x-key").iter().collect::<Vec<_>>(), ["one:two", "three"]);
        assert_eq!(format!("{read:?}"), r#"{"x-key": Sensitive, "x-key": Sensitive}"#);
        std::fs::write(&file, "X-Key: one\nhush\n").unwrap();
        assert_eq!(format!("{:#}", headers.read().unwrap_err()), "header file: line 2 is not Name: value");
    }

    #[test]
    fn wrong_headers_are_said_at_start() {
        let wrong = ExportConfig { tenant: Some("a\nb".into()), ..config() };
        assert!(format!("{:#}", RequestHeaders::new(&wrong).unwrap_err()).starts_with("tenant \"a\\nb\""));
        let wrong = ExportConfig { headers: vec![("a b".into(), "c".into())], ..config() };
        assert!(RequestHeaders::new(&wrong).is_err());
    }
}
