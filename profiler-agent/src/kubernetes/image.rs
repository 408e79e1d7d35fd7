//! The version in the name of an image.

/// Tag, digest, or both as `tag@digest`, as the semantic conventions want it for `service.version`; none for `latest`,
/// which says nothing.
pub(super) fn version(image: &str) -> Option<&str> {
    let name_end = image.find('@').unwrap_or(image.len());
    // A colon before the last slash is that of the registry's port.
    let last = image[..name_end].rfind('/').map_or(0, |slash| slash + 1);
    let version = match image[last..name_end].find(':') {
        Some(colon) => &image[last + colon + 1..],
        None => image[name_end..].trim_start_matches('@'),
    };
    Some(version).filter(|version| !version.is_empty() && *version != "latest")
}

#[cfg(test)]
mod tests {
    use super::version;

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
}
