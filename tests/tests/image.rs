//! The container image: whole, small, of static programs alone, and enough to run.

use profiler_tests::oci::{Image, Layout, assert_static, certificates, inside, list, made, sha256};
use profiler_tests::workload::{Running, free_port, run};
use std::path::{Path, PathBuf};
use std::process::Command;

/// More than this nobody wants to pull onto every node (bytes).
const MOST: usize = 25_000_000;
/// When everything in the image was changed.
const NEVER: &str = "1970-01-01T00:00:00";

fn folder() -> PathBuf {
    made("PROFILER_IMAGE", "cargo xtask image")
}

fn unpacked() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    Image::of_host(&folder()).unpack(root.path());
    root
}

/// Standard output and error of a command.
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn the_layout_is_whole() {
    let mut layout = Layout::open(&folder());
    let images = layout.images();
    let architectures: Vec<&str> = images.iter().map(|image| image.architecture.as_str()).collect();
    assert_eq!(architectures, ["amd64", "arm64"]);
    assert_eq!(layout.unseen(), [""; 0]);
    let annotations = layout.top()["manifests"][0]["annotations"].clone();
    assert_eq!(annotations["io.containerd.image.name"], "docker.io/library/profiler-agent:0.1.0");
    assert_eq!(annotations["org.opencontainers.image.ref.name"], "0.1.0");
    for image in images {
        assert_eq!(image.config["rootfs"]["diff_ids"][0], format!("sha256:{}", sha256(&image.layer)));
        assert_eq!(image.config["os"], "linux");
        let config = &image.config["config"];
        assert_eq!(config["Entrypoint"], serde_json::json!(["/profiler-agent"]));
        assert_eq!(config["Cmd"], serde_json::json!(["run"]));
        assert_eq!(config["User"], "0:0");
        assert!(image.compressed < MOST, "{}: {} bytes", image.architecture, image.compressed);
    }
}

#[test]
fn labels_say_what_it_is() {
    for image in Layout::open(&folder()).images() {
        let labels = &image.config["config"]["Labels"];
        assert_eq!(labels, &image.manifest["annotations"]);
        let label = |name: &str| labels[format!("org.opencontainers.image.{name}")].as_str().unwrap_or_default();
        assert_eq!((label("title"), label("version")), ("profiler-agent", "0.1.0"));
        assert_eq!(label("licenses"), "Apache-2.0 OR MIT");
        assert_eq!(label("created"), image.config["created"]);
        assert!(label("description").starts_with("Continuous profiler"));
        let revision = label("revision").trim_end_matches("-dirty");
        assert!(revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit()), "{revision}");
    }
}

#[test]
fn it_holds_these_files_and_no_others() {
    for image in Layout::open(&folder()).images() {
        let wanted = [
            "drwxr-xr-x etc/",
            "-rw-r--r-- etc/group",
            "-rw-r--r-- etc/nsswitch.conf",
            "-rw-r--r-- etc/passwd",
            "drwxr-xr-x etc/ssl/",
            "drwxr-xr-x etc/ssl/certs/",
            "-rw-r--r-- etc/ssl/certs/ca-certificates.crt",
            "-rwxr-xr-x profiler-agent",
            "drwxrwxrwt tmp/",
            "drwxr-xr-x usr/",
            "drwxr-xr-x usr/share/",
            "drwxr-xr-x usr/share/doc/",
            "drwxr-xr-x usr/share/doc/profiler-agent/",
            "-rw-r--r-- usr/share/doc/profiler-agent/LICENSE-APACHE",
            "-rw-r--r-- usr/share/doc/profiler-agent/LICENSE-GPL-2.0",
            "-rw-r--r-- usr/share/doc/profiler-agent/LICENSE-MIT",
            "drwxr-xr-x usr/share/sbom/",
            "-rw-r--r-- usr/share/sbom/profiler-agent.cdx.json",
        ];
        let entry = |line: &str| line.replacen(' ', &format!(" 0/0 {NEVER} "), 1);
        assert_eq!(image.listing(), wanted.map(entry));
        let program = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&program, image.file("profiler-agent")).unwrap();
        assert_static(program.path(), &image.architecture);
    }
}

/// For `docker load`, `podman load` and `ctr images import`.
#[test]
fn the_archive_is_the_layout() {
    let archive = std::fs::read(folder().join("profiler-agent-0.1.0-oci.tar")).unwrap();
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("archive"), &archive).unwrap();
    run(Command::new("tar").args(["--extract", "--file", "archive", "--one-top-level=oci"]).current_dir(root.path()));
    run(Command::new("diff").arg("--recursive").arg(root.path().join("oci")).arg(folder().join("oci")));
    assert!(list(&archive).iter().all(|line| line.contains(NEVER)));
    let docker: serde_json::Value =
        serde_json::from_slice(&std::fs::read(root.path().join("oci/manifest.json")).unwrap()).unwrap();
    let images = Layout::open(root.path()).images();
    for (entry, image) in docker.as_array().unwrap().iter().zip(&images) {
        let path = |descriptor: &serde_json::Value| descriptor["digest"].as_str().unwrap().replace(':', "/");
        assert_eq!(entry["Config"], format!("blobs/{}", path(&image.manifest["config"])));
        assert_eq!(entry["Layers"][0], format!("blobs/{}", path(&image.manifest["layers"][0])));
        assert_eq!(entry["RepoTags"][0], format!("profiler-agent:0.1.0-{}", image.architecture));
    }
}

#[test]
fn the_agent_runs_with_these_files_alone() {
    let root = unpacked();
    assert_eq!(said(inside(root.path(), "/profiler-agent").arg("--version")), "profiler-agent 0.1.0\n");
    let load = Running::spawn(Command::new("dd").args(["if=/dev/zero", "of=/dev/null", "bs=1M"]));
    let mut record = inside(root.path(), "/profiler-agent");
    record.args(["record", "--duration", "1s", "--output", "/tmp/x.folded", "--pid", &load.pid().to_string()]);
    let output = record.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let stacks = std::fs::read_to_string(root.path().join("tmp/x.folded")).unwrap();
    assert!(stacks.contains("dd") && stacks.contains("sys_read"), "{stacks}");
}

/// A server that speaks TLS, and says 501 to what it is sent.
const TLS_SERVER: &str = "
import http.server, ssl, sys
server = http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), http.server.BaseHTTPRequestHandler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('server.pem', 'server.key')
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
";

#[test]
fn it_trusts_whom_the_image_names() {
    let root = unpacked();
    certificates(&root.path().join("tmp"));
    let port = free_port().to_string();
    let mut server = Command::new("/usr/bin/python3");
    let _server = Running::spawn(server.args(["-c", TLS_SERVER, &port]).current_dir(root.path().join("tmp")));
    wait_for_listener(&port);
    let endpoint = format!("https://localhost:{port}");
    let doctor = || {
        let mut doctor = inside(root.path(), "/profiler-agent");
        doctor.args(["doctor", "--protocol", "http", "--endpoint", &endpoint]);
        doctor
    };
    std::fs::write(root.path().join("etc/hosts"), "127.0.0.1 localhost\n").unwrap();
    let refused = said(&mut doctor());
    assert!(refused.contains("UnknownIssuer"), "{refused}");
    let by_variable = said(doctor().env("SSL_CERT_FILE", "/tmp/ca.pem"));
    assert!(!by_variable.contains("UnknownIssuer") && by_variable.contains("HTTP 501"), "{by_variable}");
    // As a ConfigMap over the image's own file does it.
    std::fs::copy(root.path().join("tmp/ca.pem"), root.path().join("etc/ssl/certs/ca-certificates.crt")).unwrap();
    let by_file = said(&mut doctor());
    assert!(!by_file.contains("UnknownIssuer") && by_file.contains("HTTP 501"), "{by_file}");
}

fn wait_for_listener(port: &str) {
    let started = std::time::Instant::now();
    while std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_err() {
        assert!(started.elapsed() < std::time::Duration::from_secs(30), "nothing listens on {port}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// A name server that gives every name the same address, on a loopback of its own.
const NAME_SERVER: &str = "
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(('127.0.0.1', 53))
print('up', flush=True)
while True:
    query, client = server.recvfrom(512)
    end = query.index(b'\\0', 12) + 5
    is_a = query[end - 4:end - 2] == b'\\0\\1'
    answer = b'\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x3c\\0\\4\\x7f\\0\\0\\1' if is_a else b''
    server.sendto(query[:2] + b'\\x81\\x80\\0\\1\\0' + bytes([is_a]) + b'\\0\\0\\0\\0' + query[12:end] + answer, client)
";

/// On a host glibc would load what `/etc/nsswitch.conf` names, and the host's own glibc with it; a static program that does
/// crashes. This one does whatever it is loaded into.
#[test]
fn names_are_looked_up_without_shared_libraries() {
    let root = unpacked();
    let libraries = root.path().join("usr/lib");
    std::fs::create_dir(&libraries).unwrap();
    let source = root.path().join("tmp/broken.c");
    std::fs::write(&source, "__attribute__((constructor)) static void loaded(void) { __builtin_trap(); }\n").unwrap();
    let mut gcc = Command::new("gcc");
    run(gcc.args(["-shared", "-nostdlib", "-fPIC", "-o"]).arg(libraries.join("libnss_broken.so.2")).arg(source));
    std::fs::write(root.path().join("etc/nsswitch.conf"), "hosts: broken files dns\n").unwrap();
    std::fs::write(root.path().join("etc/resolv.conf"), "nameserver 127.0.0.1\n").unwrap();
    std::fs::write(root.path().join("etc/hosts"), "127.0.0.2 known\n").unwrap();
    std::fs::write(root.path().join("tmp/name_server.py"), NAME_SERVER).unwrap();
    let script = r#"
        ip link set lo up
        /usr/bin/python3 "$1/tmp/name_server.py" > "$1/tmp/up" & server=$!
        trap 'kill $server' EXIT
        while ! grep --quiet up "$1/tmp/up"; do kill -0 $server; sleep 0.02; done
        for name in known collector.example; do
            chroot "$1" /profiler-agent doctor --endpoint "http://$name:4" || true
        done"#;
    let said = said(Command::new("unshare").args(["--net", "sh", "-ec", script, "sh"]).arg(root.path()));
    assert!(said.contains("127.0.0.2:4 cannot be reached over TCP"), "{said}");
    assert!(said.contains("127.0.0.1:4 cannot be reached over TCP"), "{said}");
}

/// Text of a program that could be a path.
fn text_of(program: &[u8]) -> String {
    program.iter().map(|byte| if (32..127).contains(byte) { char::from(*byte) } else { '\n' }).collect()
}

#[test]
fn programs_name_no_folder_of_the_machine_that_made_them() {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let home = std::env::var("HOME").unwrap();
    let folders = [tree.to_str().unwrap(), &format!("{home}/.cargo"), &format!("{home}/.cache")];
    for image in Layout::open(&folder()).images() {
        let text = text_of(&image.file("profiler-agent"));
        for folder in folders {
            let line = text.lines().find(|line| line.contains(folder));
            assert_eq!(line, None, "{} names {folder}", image.architecture);
        }
        assert!(text.contains("/crates/tokio-1"), "where are its crates?");
    }
}
