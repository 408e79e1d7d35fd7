//! Who the process is, in lines.

use super::engine::Told;
use crate::config::name_source_word;
use crate::container;
use crate::process::{Identity, Living, NameSource};

/// What each source of names says.
type Answers = [Answer];
type Answer = (NameSource, Option<String>);

/// Title and text of each line.
pub(super) fn lines(
    living: &Living,
    identity: &Identity,
    answers: Vec<Answer>,
    told: &Told,
) -> Vec<(&'static str, String)> {
    let with_told = |(source, answer): Answer| (source, answer.or_else(|| told.answer(source)));
    let answers: Vec<Answer> = answers.into_iter().map(with_told).collect();
    let mut lines = vec![
        ("pid", living.pid.to_string()),
        ("name", living.exe_name()),
        ("executable", living.exe.clone()),
        ("command", living.command.clone()),
    ];
    lines.extend(living.parent.as_ref().map(|(pid, name)| ("parent", format!("{pid} {name}"))));
    lines.push(("service", service(&identity.service, &answers)));
    lines.push(("", others(&answers)));
    lines.push(("labels", told.labels(&identity.labels).join(", ")));
    lines.push(("cgroup", living.cgroup.clone()));
    lines.extend(container(&living.cgroup));
    lines.extend(told.lines.iter().map(|line| ("engine", line.clone())));
    lines.extend(living.inner_pid.map(|pid| ("pid namespace", format!("its own, in which its id is {pid}"))));
    lines.retain(|(_, text)| !text.is_empty());
    lines
}

fn service(name: &str, answers: &Answers) -> String {
    match answers.iter().find(|(_, answer)| answer.is_some()) {
        Some((source, Some(name))) => format!("{name}, from {}", name_source_word(*source)),
        _ => format!("{name}, from the executable: no source says anything"),
    }
}

/// What the sources say that did not count.
fn others(answers: &Answers) -> String {
    let first = answers.iter().position(|(_, answer)| answer.is_some()).unwrap_or(answers.len());
    let word = |(source, _): &Answer| name_source_word(*source);
    let silent = answers.iter().filter(|(_, answer)| answer.is_none()).map(word).collect::<Vec<_>>();
    let says = |known: &Answer| Some(format!("{} would say {}", word(known), known.1.as_ref()?));
    let mut parts: Vec<String> = answers.iter().skip(first + 1).filter_map(says).collect();
    if !silent.is_empty() {
        parts.push(format!("nothing from {}", silent.join(", ")));
    }
    parts.join("; ")
}

/// The container that its cgroup names, and the pod of it.
fn container(cgroup: &str) -> Vec<(&'static str, String)> {
    let line = format!("0::{cgroup}");
    let Some(found) = container::parse(&line) else { return Vec::new() };
    let runtime = container::runtime(&line).map(|runtime| format!(", {}", runtime.name())).unwrap_or_default();
    let id = found.id().map(|id| ("container", format!("{id}{runtime}")));
    let pod = found.pod_uid.as_ref().map(|uid| ("pod", uid.to_string()));
    id.into_iter().chain(pod).collect()
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
    fn containers_have_their_runtime_and_their_pod() {
        let id = "0123456789abcdef".repeat(4);
        assert_eq!(container(&format!("/docker/{id}")), [("container", format!("{id}, docker"))]);
        let uid = "7be6f2a4-0c1d-4d5e-9f8a-12ab34cd56ef";
        let lines = container(&format!("/kubepods/pod{uid}/{id}"));
        assert_eq!(lines, [("container", id), ("pod", uid.to_owned())]);
        assert_eq!(container("/system.slice/ssh.service"), []);
    }
}
