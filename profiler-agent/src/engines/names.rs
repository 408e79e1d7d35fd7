//! What samples of a process in a container are labelled with.

use super::listing::Described;
use crate::container::image;
use crate::process::NameSource;

/// What a container says of the name of its service. A unit of systemd that runs it owns it, nobody else does: it stands
/// for itself then.
pub(crate) fn answer(source: NameSource, container: &Described) -> Option<&str> {
    match source {
        NameSource::Label => container.service.as_deref(),
        NameSource::Owner => container.unit.as_deref().or(container.name.as_deref()),
        NameSource::Annotation | NameSource::Env | NameSource::Unit | NameSource::Script | NameSource::Exe => None,
    }
}

/// Key and value of its labels, by the semantic conventions.
pub(crate) fn labels(container: &Described) -> [(&'static str, Option<&str>); 4] {
    let image = container.image.as_deref();
    [
        ("service.namespace", container.namespace.as_deref()),
        ("service.version", image.and_then(image::version)),
        ("container.name", container.name.as_deref()),
        ("container.image.name", image.and_then(image::name)),
    ]
}
