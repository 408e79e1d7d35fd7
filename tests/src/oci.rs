//! Container images as `cargo xtask image` writes them, read without knowing how they are made.

use crate::workload::run;
use flate2::read::GzDecoder;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A folder that `cargo xtask image` or `cargo xtask package` filled: what the variable names.
#[must_use]
pub fn made(variable: &str, how: &str) -> PathBuf {
    let folder =
        std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} names no folder: fill one by `{how}`"));
    PathBuf::from(folder)
}

/// SHA-256 in hexadecimal digits.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An OCI image layout; reading a blob checks its digest and size.
pub struct Layout {
    folder: PathBuf,
    /// Names of the blobs that were read.
    seen: BTreeSet<String>,
}

/// One image of it.
pub struct Image {
    /// As images call it.
    pub architecture: String,
    /// The manifest.
    pub manifest: Value,
    /// The configuration.
    pub config: Value,
    /// Bytes to be pulled.
    pub compressed: usize,
    /// The only layer, a tar archive.
    pub layer: Vec<u8>,
}

impl Layout {
    /// The one that is tested.
    #[must_use]
    pub fn open(folder: &Path) -> Self {
        let folder = folder.join("oci");
        assert_eq!(std::fs::read(folder.join("oci-layout")).unwrap(), br#"{"imageLayoutVersion":"1.0.0"}"#);
        Self { folder, seen: BTreeSet::new() }
    }

    /// `index.json`.
    #[must_use]
    pub fn top(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.folder.join("index.json")).unwrap()).unwrap()
    }

    /// What a descriptor of this media type names.
    pub fn blob(&mut self, descriptor: &Value, media_type: &str) -> Vec<u8> {
        assert_eq!(descriptor["mediaType"], media_type);
        let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        let bytes = std::fs::read(self.folder.join("blobs/sha256").join(digest)).unwrap();
        assert_eq!(sha256(&bytes), digest);
        assert_eq!(descriptor["size"], bytes.len());
        self.seen.insert(digest.to_owned());
        bytes
    }

    /// The same, of JSON that says its media type itself.
    pub fn json(&mut self, descriptor: &Value, media_type: &str) -> Value {
        let value: Value = serde_json::from_slice(&self.blob(descriptor, media_type)).unwrap();
        assert_eq!((value["schemaVersion"].as_u64(), value["mediaType"].as_str()), (Some(2), Some(media_type)));
        value
    }

    /// The index that `index.json` names.
    pub fn index(&mut self) -> Value {
        let top = self.top();
        assert_eq!(top["manifests"].as_array().unwrap().len(), 1);
        self.json(&top["manifests"][0], "application/vnd.oci.image.index.v1+json")
    }

    /// The images of the index.
    pub fn images(&mut self) -> Vec<Image> {
        let index = self.index();
        index["manifests"].as_array().unwrap().iter().map(|descriptor| self.image(descriptor)).collect()
    }

    fn image(&mut self, descriptor: &Value) -> Image {
        let manifest = self.json(descriptor, "application/vnd.oci.image.manifest.v1+json");
        let config = self.blob(&manifest["config"], "application/vnd.oci.image.config.v1+json");
        let config: Value = serde_json::from_slice(&config).unwrap();
        assert_eq!(descriptor["platform"]["os"], "linux");
        assert_eq!(descriptor["platform"]["architecture"], config["architecture"]);
        let layers = manifest["layers"].as_array().unwrap();
        assert_eq!(layers.len(), 1);
        let compressed = self.blob(&layers[0], "application/vnd.oci.image.layer.v1.tar+gzip");
        let mut layer = Vec::new();
        GzDecoder::new(&compressed[..]).read_to_end(&mut layer).unwrap();
        let architecture = config["architecture"].as_str().unwrap().to_owned();
        Image { architecture, manifest, config, compressed: compressed.len(), layer }
    }

    /// Blobs that nothing named so far.
    #[must_use]
    pub fn unseen(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.join("blobs/sha256")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !self.seen.contains(name)).collect()
    }
}

impl Image {
    /// The image for the machine that tests.
    #[must_use]
    pub fn of_host(folder: &Path) -> Self {
        let name = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let mut images = Layout::open(folder).images().into_iter();
        images.find(|image| image.architecture == name).unwrap_or_else(|| panic!("no image for {name}"))
    }

    /// `MODE OWNER/GROUP TIME PATH` of each entry, as `tar` lists them.
    #[must_use]
    pub fn listing(&self) -> Vec<String> {
        list(&self.layer)
    }

    /// The content of a file.
    #[must_use]
    pub fn file(&self, path: &str) -> Vec<u8> {
        let content = tar(&["--extract", "--to-stdout", path], &self.layer);
        assert!(!content.is_empty(), "{path} is empty");
        content
    }

    /// Unpacks it, with what container runtimes add: places for /proc, /sys and /dev.
    pub fn unpack(&self, root: &Path) {
        tar(&["--extract", "--preserve-permissions", "--directory", root.to_str().unwrap()], &self.layer);
        for folder in ["proc", "sys", "dev"] {
            std::fs::create_dir(root.join(folder)).unwrap();
        }
    }
}

/// `MODE OWNER/GROUP TIME PATH` of each entry of a tar archive.
#[must_use]
pub fn list(archive: &[u8]) -> Vec<String> {
    let text = tar(&["--list", "--verbose", "--numeric-owner", "--full-time", "--utc"], archive);
    let words = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        format!("{} {} {}T{} {}", words[0], words[1], words[3], words[4], words[5])
    };
    String::from_utf8(text).unwrap().lines().map(words).collect()
}

/// What the host's tar makes of an archive.
fn tar(args: &[&str], archive: &[u8]) -> Vec<u8> {
    let mut tar = Command::new("tar");
    let mut child = tar.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let archive = archive.to_vec();
    // It may end before it has read all.
    let writer = std::thread::spawn(move || stdin.write_all(&archive).is_ok());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "tar {args:?}: {}", output.status);
    assert!(writer.join().unwrap());
    output.stdout
}

/// A command with an unpacked image as all it sees, besides the host's /proc, /sys and /dev.
#[must_use]
pub fn inside(root: &Path, program: &str) -> Command {
    let script = "for folder in proc sys dev; do mount --rbind /$folder \"$1/$folder\"; done; exec chroot \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", script, "sh"]).arg(root).arg(program).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

/// Asserts that nothing but the kernel is needed to start a program of this architecture.
pub fn assert_static(program: &Path, architecture: &str) {
    let readelf = |flag: &str| {
        let output = Command::new("readelf").args(["--wide", flag]).arg(program).env("LC_ALL", "C").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let machine = match architecture {
        "amd64" => "Advanced Micro Devices X86-64",
        _ => "AArch64",
    };
    let header = readelf("--file-header");
    assert!(header.contains(machine), "{header}");
    let segments = readelf("--program-headers");
    assert!(segments.contains("LOAD") && !segments.contains("INTERP"), "{segments}");
    let dynamic = readelf("--dynamic");
    assert!(!dynamic.contains("NEEDED"), "{dynamic}");
}

/// An authority, and a certificate of it for `localhost`, as PEM files of these names: `ca.pem`, `server.pem`, `server.key`.
pub fn certificates(folder: &Path) {
    let script = "
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority \
            -keyout ca.key -out ca.pem
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost \
            -keyout server.key -out server.csr
        printf 'subjectAltName=DNS:localhost\\nbasicConstraints=CA:FALSE\\n' > extensions
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out server.pem";
    run(Command::new("sh").args(["-ec", script]).current_dir(folder));
}
