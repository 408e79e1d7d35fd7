//! The page's files, part of the binary.

/// Path, media type and content of every file.
const FILES: &[(&str, &str, &str)] = &[
    ("/", "text/html; charset=utf-8", include_str!("assets/index.html")),
    ("/app.css", "text/css; charset=utf-8", include_str!("assets/app.css")),
    ("/app.js", "text/javascript; charset=utf-8", include_str!("assets/app.js")),
    ("/flame.js", "text/javascript; charset=utf-8", include_str!("assets/flame.js")),
    ("/format.js", "text/javascript; charset=utf-8", include_str!("assets/format.js")),
    ("/services.js", "text/javascript; charset=utf-8", include_str!("assets/services.js")),
    ("/table.js", "text/javascript; charset=utf-8", include_str!("assets/table.js")),
    ("/timeline.js", "text/javascript; charset=utf-8", include_str!("assets/timeline.js")),
    ("/favicon.svg", "image/svg+xml", include_str!("assets/favicon.svg")),
];

/// Media type and content of the file at this path.
pub(super) fn find(path: &str) -> Option<(&'static str, &'static str)> {
    FILES.iter().find(|(name, _, _)| *name == path).map(|&(_, media_type, content)| (media_type, content))
}
