//! A list of containers as `GET /containers/json` answers it: Docker's Engine API, `ContainerSummary`.

use crate::process::printable;
use serde::Deserialize;
use std::sync::Arc;

/// A container as its engine describes it; texts are bounded and printable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Described {
    /// 64 hexadecimal digits.
    pub id: Arc<str>,
    /// Its name.
    pub name: Option<String>,
    /// Its image as asked for.
    pub image: Option<String>,
    /// What its labels call its service.
    pub service: Option<String>,
    /// Compose project or Swarm stack.
    pub namespace: Option<String>,
    /// The systemd unit that runs it.
    pub unit: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
    names: Option<Vec<String>>,
    image: Option<String>,
    labels: Option<Labels>,
}

/// Those that name something. Others may be secrets of somebody, and are not kept.
#[derive(Default, Deserialize)]
struct Labels {
    /// As pods have it in an annotation.
    #[serde(rename = "resource.opentelemetry.io/service.name")]
    service_name: Option<String>,
    #[serde(rename = "com.docker.compose.service")]
    compose_service: Option<String>,
    #[serde(rename = "com.docker.swarm.service.name")]
    swarm_service: Option<String>,
    #[serde(rename = "com.docker.compose.project")]
    compose_project: Option<String>,
    #[serde(rename = "com.docker.stack.namespace")]
    swarm_stack: Option<String>,
    #[serde(rename = "PODMAN_SYSTEMD_UNIT")]
    unit: Option<String>,
}

/// The containers of an answer.
///
/// # Errors
/// The bytes are no such list.
pub(crate) fn described(body: &[u8]) -> Result<Vec<Described>, serde_json::Error> {
    let listed: Vec<Listed> = serde_json::from_slice(body)?;
    Ok(listed.into_iter().map(describe).collect())
}

fn describe(listed: Listed) -> Described {
    let labels = listed.labels.unwrap_or_default();
    let first = |texts: [Option<String>; 3]| texts.into_iter().flatten().find_map(|text| printable(&text));
    Described {
        id: Arc::from(listed.id),
        name: name(&listed.names.unwrap_or_default()).and_then(printable),
        image: listed.image.as_deref().and_then(printable),
        service: first([labels.service_name, labels.compose_service, labels.swarm_service]),
        namespace: first([labels.compose_project, labels.swarm_stack, None]),
        unit: labels.unit.as_deref().and_then(unit).and_then(printable),
    }
}

/// `/shop`; `/other/shop` is what a container linked to it calls it.
fn name(names: &[String]) -> Option<&str> {
    let own = |name: &&str| !name.is_empty() && !name.contains('/');
    names.iter().map(|name| name.strip_prefix('/').unwrap_or(name)).find(own)
}

/// `shop.service` is `shop`, `shop@1.service` is `shop`, as the source `unit` has it.
fn unit(name: &str) -> Option<&str> {
    let name = name.strip_suffix(".service")?;
    Some(name.split_once('@').map_or(name, |(template, _)| template))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "538a72bb1a0900b04addd342de1fdf175e70e5715dd38fdb95ba9b9ed8c5e110";

    /// As Podman 4.3 answers.
    const PODMAN: &str = r#"[{"Id":"ID","Names":["/shop"],"Image":"localhost/burn:test",
        "ImageID":"sha256:5f604470354da2637c199cf1ab69760b563b799ecd6bee5476fe494a4b718309","Command":"",
        "Created":1795872081,"Ports":[],"Labels":{"com.docker.compose.project":"store","com.docker.compose.service":"web"},
        "State":"running","Status":"Up 5 minutes","NetworkSettings":{"Networks":null},"Mounts":[],"Name":"","Config":null,
        "NetworkingConfig":null,"Platform":null,"AdjustCPUShares":false}]"#;

    fn only(json: &str) -> Described {
        let mut all = described(json.replace("\"ID\"", &format!("{ID:?}")).as_bytes()).unwrap();
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn a_container_has_name_image_and_the_labels_of_compose() {
        let wanted = Described {
            id: ID.into(),
            name: text("shop"),
            image: text("localhost/burn:test"),
            service: text("web"),
            namespace: text("store"),
            unit: None,
        };
        assert_eq!(only(PODMAN), wanted);
        assert_eq!(described(b"[]").unwrap(), []);
    }

    #[test]
    fn every_field_but_the_id_may_be_missing() {
        let bare = Described { id: ID.into(), ..Described::default() };
        for json in [
            r#"[{"Id":"ID"}]"#,
            r#"[{"Id":"ID","Names":null,"Image":null,"Labels":null}]"#,
            r#"[{"Id":"ID","Names":["","/","/a/b"],"Image":" ","Labels":{"PODMAN_SYSTEMD_UNIT":"shop.scope"}}]"#,
        ] {
            assert_eq!(only(json), bare, "{json}");
        }
    }

    #[test]
    fn names_are_its_own_not_those_of_links() {
        let linked = only(r#"[{"Id":"ID","Names":["/web/db","/store-db-1"]}]"#);
        assert_eq!(linked.name, text("store-db-1"));
    }

    #[test]
    fn labels_count_in_order() {
        let of = |labels: &str| only(&format!(r#"[{{"Id":"ID","Labels":{{{labels}}}}}]"#));
        let swarm = r#""com.docker.swarm.service.name":"store_web","com.docker.stack.namespace":"store""#;
        assert_eq!((of(swarm).service, of(swarm).namespace), (text("store_web"), text("store")));
        let said = r#""com.docker.compose.service":"web","resource.opentelemetry.io/service.name":"cart""#;
        assert_eq!(of(said).service, text("cart"));
        assert_eq!(of(r#""PODMAN_SYSTEMD_UNIT":"shop@1.service""#).unit, text("shop"));
    }

    #[test]
    fn odd_texts_are_bounded_and_printable() {
        let long = "x".repeat(5000);
        let odd = only(&format!(r#"[{{"Id":"ID","Names":["/a\u001b[31m"],"Image":"{long}"}}]"#));
        assert_eq!(odd.name, text("a?[31m"));
        assert_eq!(odd.image.unwrap().len(), 255);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        let deep = "[".repeat(100_000);
        for text in ["", "7", "<html>", "{}", "[7]", r#"[{"Names":[]}]"#, r#"[{"Id":7}]"#, &deep] {
            assert!(described(text.as_bytes()).is_err(), "{text}");
        }
    }
}
