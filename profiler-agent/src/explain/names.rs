//! Who the process is, in lines.

use crate::config::name_source_word;
use crate::process::{Identity, Living, NameSource};

/// What each source of names says.
type Answers = [(NameSource, Option<String>)];

/// Title and text of each line.
pub(super) fn lines(living: &Living, identity: &Identity, answers: &Answers) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("pid", living.pid.to_string()),
        ("name", living.exe_name()),
        ("executable", living.exe.clone()),
        ("command", living.command.clone()),
    ];
    lines.extend(living.parent.as_ref().map(|(pid, name)| ("parent", format!("{pid} {name}"))));
    lines.push(("service", service(&identity.service, answers)));
    lines.push(("", others(answers)));
    let labels = identity.labels.iter().map(|(key, value)| format!("{key}={value}"));
    lines.push(("labels", labels.collect::<Vec<_>>().join(", ")));
    lines.push(("cgroup", living.cgroup.clone()));
    lines.extend(container(&living.cgroup).map(|id| ("container", id.to_owned())));
    lines.extend(living.inner_pid.map(|pid| ("pid namespace", format!("its own, in which its id is {pid}"))));
    lines.retain(|(_, text)| !text.is_empty());
    lines
}

fn service(name: &str, answers: &Answers) -> String {
    match answers.iter().find(|(_, answer)| answer.is_some()) {
        Some((source, _)) => format!("{name}, from {}", name_source_word(*source)),
        None => format!("{name}, from the executable: no source says anything"),
    }
}

/// What the sources say that did not count.
fn others(answers: &Answers) -> String {
    let first = answers.iter().position(|(_, answer)| answer.is_some()).unwrap_or(answers.len());
    let word = |(source, _): &(NameSource, Option<String>)| name_source_word(*source);
    let silent = answers.iter().filter(|(_, answer)| answer.is_none()).map(word).collect::<Vec<_>>();
    let says = |known: &(NameSource, Option<String>)| Some(format!("{} would say {}", word(known), known.1.as_ref()?));
    let mut parts: Vec<String> = answers.iter().skip(first + 1).filter_map(says).collect();
    if !silent.is_empty() {
        parts.push(format!("nothing from {}", silent.join(", ")));
    }
    parts.join("; ")
}

/// The id of a container: 64 hexadecimal digits, the innermost.
fn container(cgroup: &str) -> Option<&str> {
    let is_id = |part: &&str| part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    cgroup.rsplit(|c: char| !c.is_ascii_alphanumeric()).find(is_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn the_service_has_its_source_and_the_others_theirs() {
        let answers = [
            (NameSource::Env, None),
            (NameSource::Unit, None),
            (NameSource::Script, answer("app.py")),
            (NameSource::Exe, answer("python3.11")),
        ];
        assert_eq!(service("app.py", &answers), "app.py, from script");
        assert_eq!(others(&answers), "exe would say python3.11; nothing from env, unit");
        assert_eq!(service("x", &[]), "x, from the executable: no source says anything");
        assert_eq!(others(&[(NameSource::Exe, answer("x"))]), "");
    }

    #[test]
    fn containers_have_64_digits() {
        let id = "0123456789abcdef".repeat(4);
        for cgroup in [format!("/docker/{id}"), format!("/kubepods.slice/pod1.slice/cri-containerd-{id}.scope")] {
            assert_eq!(container(&cgroup), Some(&*id));
        }
        assert_eq!(container("/system.slice/ssh.service"), None);
        assert_eq!(container(&format!("/docker/{id}0")), None);
    }
}
