//! What a reference to an image says: `registry:5000/team/web:v2@sha256:0f1e`.

/// An image without a name is called by its digest.
const DIGEST: &str = "sha256:";

/// Tag, digest, or both as `tag@digest`, as the semantic conventions want it for `service.version`; none for `latest`,
/// which says nothing.
pub(crate) fn version(image: &str) -> Option<&str> {
    let version = image[name_end(image)..].trim_start_matches([':', '@']);
    Some(version).filter(|version| !version.is_empty() && *version != "latest")
}

/// The image without tag and digest, `container.image.name`; none for one that has no name.
pub(crate) fn name(image: &str) -> Option<&str> {
    let name = if image.starts_with(DIGEST) { "" } else { &image[..name_end(image)] };
    Some(name).filter(|name| !name.is_empty())
}

/// Where tag or digest begin.
fn name_end(image: &str) -> usize {
    let digest = image.find('@').unwrap_or(image.len());
    // A colon before the last slash is that of the registry's port.
    let last = image[..digest].rfind('/').map_or(0, |slash| slash + 1);
    image[last..digest].find(':').map_or(digest, |colon| last + colon)
}

#[cfg(test)]
mod tests {
    use super::{name, version};

    #[test]
    fn tags_and_digests_are_versions() {
        let cases = [
            ("nginx", None),
            ("nginx:latest", None),
            ("nginx:1.29", Some("1.29")),
            ("registry:5000/team/web", None),
            ("registry:5000/team/web:v2.1.0-rc1", Some("v2.1.0-rc1")),
            ("registry/web@sha256:0f1e", Some("sha256:0f1e")),
            ("registry/web:v2@sha256:0f1e", Some("v2@sha256:0f1e")),
            ("", None),
            ("@", None),
            ("a:", None),
        ];
        for (image, wanted) in cases {
            assert_eq!(version(image), wanted, "{image}");
        }
    }
    #[test]
    fn names_have_neither() {
        let cases = [
            ("nginx", Some("nginx")),
            ("nginx:1.29", Some("nginx")),
            ("registry:5000/team/web", Some("registry:5000/team/web")),
            ("registry:5000/team/web:v2", Some("registry:5000/team/web")),
            ("registry/web:v2@sha256:0f1e", Some("registry/web")),
            ("registry/web@sha256:0f1e", Some("registry/web")),
            ("sha256:5f604470354d", None),
            ("", None),
            (":1", None),
            ("@", None),
        ];
        for (image, wanted) in cases {
            assert_eq!(name(image), wanted, "{image}");
        }
    }
}
