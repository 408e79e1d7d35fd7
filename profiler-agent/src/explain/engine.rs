//! What the container engines of this host say of the container of a process.

use crate::container::Container;
use crate::engines::{self, Described, Found};
use crate::process::NameSource;
use std::path::PathBuf;
use std::sync::Arc;

/// What was told.
#[derive(Debug, Default)]
pub(super) struct Told {
    container: Option<Described>,
    /// One for each engine, or one for none.
    pub(super) lines: Vec<String>,
}

/// Asks for the container that the process is in; nobody for one in a pod, or in none.
pub(super) fn ask(container: Option<&Container>, sockets: &[PathBuf]) -> Told {
    let id = container.filter(|container| container.pod_uid.is_none()).and_then(Container::id);
    let Some(id) = id.filter(|_| !sockets.is_empty()) else { return Told::default() };
    match engines::look_up(sockets, id) {
        Ok(found) => told(found),
        Err(error) => Told { container: None, lines: vec![error.to_string()] },
    }
}

fn told(found: Vec<Found>) -> Told {
    let mut lines: Vec<String> = found.iter().filter(|found| !found.is_absent()).map(line).collect();
    if lines.is_empty() {
        lines.push(format!("none: {}", found.iter().map(line).collect::<Vec<_>>().join("; ")));
    }
    let container = found.into_iter().find_map(|found| found.told.ok()?.1);
    Told { container, lines }
}

fn line(found: &Found) -> String {
    let socket = found.socket.display();
    match &found.told {
        Ok((server, Some(container))) => {
            let name = container.name.as_deref().unwrap_or("a container without a name");
            let image = container.image.as_deref().map(|image| format!(" of {image}")).unwrap_or_default();
            format!("{name}{image}, by {server} at {socket}")
        }
        Ok((server, None)) => format!("{server} at {socket} does not know the container"),
        Err(problem) if found.is_absent() => problem.say(&found.socket),
        Err(problem) => format!("{}; fix: {}", problem.say(&found.socket), problem.fix()),
    }
}

impl Told {
    /// What a source of names says by it.
    pub(super) fn answer(&self, source: NameSource) -> Option<String> {
        engines::answer(source, self.container.as_ref()?).map(str::to_owned)
    }

    /// Labels of the process and those of its container.
    pub(super) fn labels(&self, own: &[(Arc<str>, Arc<str>)]) -> Vec<String> {
        let mut labels: Vec<(&str, &str)> = own.iter().map(|(key, value)| (&**key, &**value)).collect();
        for (key, value) in self.container.iter().flat_map(engines::labels) {
            let is_new = !labels.iter().any(|(known, _)| *known == key);
            labels.extend(value.filter(|_| is_new).map(|value| (key, value)));
        }
        labels.sort_unstable();
        labels.into_iter().map(|(key, value)| format!("{key}={value}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::Problem;

    fn found(socket: &str, told: Result<Option<Described>, Problem>) -> Found {
        Found { socket: socket.into(), told: told.map(|container| ("Docker/28.0 (linux)".into(), container)) }
    }

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn the_engine_that_knows_the_container_names_it() {
        let shop = Described {
            name: text("shop-web-1"),
            image: text("shop/web:v2"),
            service: text("web"),
            namespace: text("shop"),
            ..Described::default()
        };
        let told = told(vec![found("/a.sock", Err(Problem::Forbidden)), found("/b.sock", Ok(Some(shop)))]);
        assert_eq!(told.lines.len(), 2);
        assert!(told.lines[0].starts_with("/a.sock is not for the agent's user; fix: run the agent as root"));
        assert_eq!(told.lines[1], "shop-web-1 of shop/web:v2, by Docker/28.0 (linux) at /b.sock");
        assert_eq!(
            [NameSource::Label, NameSource::Owner].map(|source| told.answer(source)),
            [text("web"), text("shop-web-1")]
        );
        let own = [("service.version".into(), "7".into())];
        let wanted = "container.image.name=shop/web container.name=shop-web-1 service.namespace=shop service.version=7";
        assert_eq!(told.labels(&own).join(" "), wanted);
    }

    #[test]
    fn engines_that_are_not_there_are_one_line() {
        let absent = |socket| found(socket, Err(Problem::Absent));
        assert_eq!(told(vec![absent("/a"), absent("/b")]).lines, ["none: /a is not there; /b is not there"]);
        let told = told(vec![absent("/a"), found("/b", Ok(None))]);
        assert_eq!(told.lines, ["Docker/28.0 (linux) at /b does not know the container"]);
        assert_eq!(ask(None, &["/a".into()]).lines, [""; 0]);
    }
}
