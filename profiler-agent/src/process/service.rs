//! What a process is called: the first source that answers gives `service.name`.
//!
//! Everything here is text of other processes: bounded, control characters replaced.

mod script;

use std::collections::BTreeMap;

/// Longest name or label value in bytes; the server's own bound is higher.
const MAX_NAME_BYTES: usize = 255;

/// Where a name can come from, in the words of `--service-name-from`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameSource {
    /// `OTEL_SERVICE_NAME`, or `service.name` in `OTEL_RESOURCE_ATTRIBUTES`.
    Env,
    /// An annotation of the pod; no answer without Kubernetes.
    Annotation,
    /// A label of the pod, or of the container; no answer without Kubernetes and without a container engine.
    Label,
    /// What owns the pod; the container itself where there is no Kubernetes.
    Owner,
    /// The systemd service unit.
    Unit,
    /// Script, module or jar of an interpreter.
    Script,
    /// The executable's file name.
    Exe,
}

/// What is known of a process.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts<'a> {
    /// NUL-separated.
    pub environ: &'a [u8],
    /// NUL-separated.
    pub cmdline: &'a [u8],
    /// Lines of `/proc/PID/cgroup`.
    pub cgroup: &'a str,
    /// Path of the executable.
    pub exe: &'a str,
}

/// `service.name` by the first source that answers, and which one that is; the executable's name when none does.
#[must_use]
pub(super) fn service_name(facts: &Facts<'_>, sources: &[NameSource]) -> (String, Option<NameSource>) {
    let answer = |source: &NameSource| Some((printable(&answer(facts, *source)?)?, Some(*source)));
    sources.iter().find_map(answer).unwrap_or_else(|| (exe_name(facts.exe), None))
}

fn answer(facts: &Facts<'_>, source: NameSource) -> Option<String> {
    match source {
        NameSource::Env => from_environment(facts.environ),
        NameSource::Unit => unit(facts.cgroup),
        NameSource::Script => script::script(facts.exe, facts.cmdline),
        NameSource::Annotation | NameSource::Label | NameSource::Owner => None,
        NameSource::Exe => Some(exe_name(facts.exe)),
    }
}

/// What each source says.
#[must_use]
pub(super) fn answers(facts: &Facts<'_>, sources: &[NameSource]) -> Vec<(NameSource, Option<String>)> {
    let shown = |name: String| printable(&name).unwrap_or_else(|| exe_name(facts.exe));
    sources.iter().map(|&source| (source, answer(facts, source).map(shown))).collect()
}

/// The file name of an executable. Those in memory have names made up at random: all of them are `memfd`.
#[must_use]
pub(super) fn exe_name(exe: &str) -> String {
    if exe.starts_with("/memfd:") {
        return "memfd".into();
    }
    printable(base_name(exe)).unwrap_or_else(|| "unknown".into())
}

/// `service.namespace` and `service.version` of `OTEL_RESOURCE_ATTRIBUTES`.
#[must_use]
pub(super) fn labels(environ: &[u8]) -> Vec<(String, String)> {
    let attributes = resource_attributes(environ);
    let wanted = ["service.namespace", "service.version"];
    wanted.into_iter().filter_map(|key| Some((key.to_owned(), printable(attributes.get(key)?)?))).collect()
}

fn from_environment(environ: &[u8]) -> Option<String> {
    let named = variable(environ, b"OTEL_SERVICE_NAME").filter(|name| !name.trim().is_empty());
    named.or_else(|| resource_attributes(environ).remove("service.name"))
}

fn variable(environ: &[u8], name: &[u8]) -> Option<String> {
    let value = |entry: &[u8]| Some(entry.strip_prefix(name)?.strip_prefix(b"=")?.to_vec());
    environ.split(|&byte| byte == 0).find_map(value).map(|value| String::from_utf8_lossy(&value).into_owned())
}

/// `key=value,key=value`, values percent-encoded (OpenTelemetry resource SDK, W3C baggage).
fn resource_attributes(environ: &[u8]) -> BTreeMap<String, String> {
    let text = variable(environ, b"OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=')?;
        Some((key.trim().to_owned(), percent_decode(value.trim())))
    };
    text.split(',').filter_map(pair).filter(|(_, value)| !value.is_empty()).collect()
}

/// Percent-encoded text as W3C baggage has it; what is no code stays.
pub(crate) fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let code = code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        decoded.push(code.unwrap_or(bytes[at]));
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The innermost service unit, without its suffix: `nginx.service` is `nginx`, `getty@tty1.service` is `getty`.
/// Login sessions and the user manager are no services; a service of a user's own is.
fn unit(cgroup: &str) -> Option<String> {
    let path = |line: &str| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        (controllers.is_empty() || controllers == "name=systemd").then(|| path.to_owned())
    };
    let service = |path: String| {
        let unit = path.rsplit('/').find_map(|part| part.strip_suffix(".service").map(str::to_owned))?;
        let in_scope =
            path.rsplit('/').take_while(|part| !part.ends_with(".service")).any(|part| part.ends_with(".scope"));
        let template = unit.split_once('@').map_or(unit.as_str(), |(template, _)| template);
        (!in_scope && template != "user").then(|| unescape_unit(template))
    };
    cgroup.lines().filter_map(path).find_map(service)
}

/// systemd writes odd bytes as `\x2d`; several make one character.
fn unescape_unit(name: &str) -> String {
    let mut parts = name.split("\\x");
    let mut plain = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..2).and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(code) => {
                plain.push(code);
                plain.extend_from_slice(&part.as_bytes()[2..]);
            }
            None => plain.extend([b"\\x", part.as_bytes()].concat()),
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

fn base_name(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or(path)
}

/// A name as labels may have it: bounded, without what terminals obey; none where nothing is left.
pub(crate) fn printable(name: &str) -> Option<String> {
    let name: String = name.trim().chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    Some(name[..name.floor_char_boundary(MAX_NAME_BYTES)].to_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [NameSource; 4] = [NameSource::Env, NameSource::Unit, NameSource::Script, NameSource::Exe];

    fn named(exe: &str, cmdline: &str) -> String {
        let cmdline = cmdline.replace(' ', "\0");
        service_name(&Facts { exe, cmdline: cmdline.as_bytes(), ..Facts::default() }, &ALL).0
    }

    #[test]
    fn interpreters_are_called_by_what_they_run() {
        assert_eq!(named("/usr/bin/python3.11", "python3 -u /srv/app.py"), "app.py");
        assert_eq!(named("/usr/bin/python3.11", "python3 -c import_x"), "python3.11");
        assert_eq!(named("/usr/sbin/nginx", "nginx: master process"), "nginx");
    }

    #[test]
    fn the_environment_comes_first() {
        let facts = |environ: &'static str| Facts {
            environ: environ.as_bytes(),
            cgroup: "0::/system.slice/nginx.service",
            exe: "/usr/sbin/nginx",
            ..Facts::default()
        };
        assert_eq!(service_name(&facts("A=1\0OTEL_SERVICE_NAME=shop\0"), &ALL).0, "shop");
        let attributes =
            facts("OTEL_SERVICE_NAME=\0OTEL_RESOURCE_ATTRIBUTES=a=b, service.name=my%20shop,service.version=1.2");
        assert_eq!(service_name(&attributes, &ALL).0, "my shop");
        assert_eq!(labels(attributes.environ), [("service.version".to_owned(), "1.2".to_owned())]);
        assert_eq!(service_name(&facts("XOTEL_SERVICE_NAME=no"), &ALL).0, "nginx");
        assert_eq!(service_name(&facts("OTEL_SERVICE_NAME=shop"), &[NameSource::Exe]).0, "nginx");
    }

    #[test]
    fn units_are_services_and_nothing_else() {
        let cases = [
            ("0::/system.slice/ssh.service", Some("ssh")),
            ("0::/system.slice/system-getty.slice/getty@tty1.service", Some("getty")),
            ("0::/user.slice/user-0.slice/session-3.scope", None),
            ("0::/user.slice/user-1000.slice/user@1000.service/init.scope", None),
            ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/pipewire.service", Some("pipewire")),
            ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-x.scope", None),
            ("0::/system.slice/caf\\xc3\\xa9.service", Some("café")),
            ("0::/system.slice/a\\xzz.service", Some("a\\xzz")),
            ("0::/init.scope", None),
            ("0::/", None),
            ("12:pids:/system.slice/a.service\n1:name=systemd:/system.slice/my\\x2dapp.service\n0::/", Some("my-app")),
        ];
        for (cgroup, wanted) in cases {
            assert_eq!(unit(cgroup).as_deref(), wanted, "{cgroup}");
        }
    }

    #[test]
    fn names_are_bounded_and_printable() {
        let long = "é".repeat(1000);
        assert!(named(&format!("/bin/{long}"), "").len() <= MAX_NAME_BYTES);
        assert_eq!(named("/bin/a\u{1b}[31m", ""), "a?[31m");
        assert_eq!(named("", ""), "unknown");
        assert_eq!(named("/memfd:a8f3e1", ""), "memfd");
    }
}
