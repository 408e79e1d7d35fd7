//! A profile as a file: what `record` writes and the page offers for download.
//!
//! In: a [`Profile`]. Out: the bytes of one format, and a file that is complete or was never touched.
//! Invariant: names come from profiled programs and are hostile text; in every format but OTLP they are made
//! printable first (`text`), and an empty profile is a valid file.

mod file;
mod folded;
mod otlp_json;
mod pprof;
mod pprof_proto;
mod svg;
mod text;
mod top;

#[cfg(test)]
mod fixture;

pub use file::{NotWritable, OutputFile};
pub use folded::folded;
pub use otlp_json::render_otlp;
pub use pprof::pprof;
pub use svg::svg;
pub(crate) use text::grouped;
pub use top::{TOP_ROWS, top};
pub(crate) use top::{fit_middle, text_width, visible};

use crate::profile::Profile;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use std::path::{Path, PathBuf};

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// gzip'd `profile.proto` of pprof.
    Pprof,
    /// Collapsed stacks, one line each.
    Folded,
    /// A flame graph.
    Svg,
    /// `ExportProfilesServiceRequest` in protobuf.
    Otlp,
    /// The same in OTLP/JSON.
    Json,
}

/// The path's extension names no format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown extension of {} (known: .pb.gz pprof, .folded collapsed stacks, .svg flame graph, .otlp OTLP protobuf, .json OTLP/JSON)",
    path.display()
)]
pub struct UnknownExtension {
    /// The path as it was given.
    pub path: PathBuf,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 5] = [Self::Pprof, Self::Folded, Self::Svg, Self::Otlp, Self::Json];

    /// How names of files in this format end.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Pprof => ".pb.gz",
            Self::Folded => ".folded",
            Self::Svg => ".svg",
            Self::Otlp => ".otlp",
            Self::Json => ".json",
        }
    }

    /// The format that the path's extension names.
    ///
    /// # Errors
    /// No format has that extension.
    pub fn from_path(path: &Path) -> Result<Self, UnknownExtension> {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        let named = |format: &Self| name.ends_with(format.extension().as_bytes());
        Self::ALL.into_iter().find(named).ok_or_else(|| UnknownExtension { path: path.to_owned() })
    }
}

/// The profile in a format. `host` is named in the flame graph's title; `request` is asked only for the OTLP formats.
///
/// # Errors
/// An encoder of another crate failed; never because of what the profile holds.
pub fn render(
    profile: &Profile,
    format: Format,
    host: &str,
    request: impl FnOnce() -> ExportProfilesServiceRequest,
) -> anyhow::Result<Vec<u8>> {
    match format {
        Format::Pprof => Ok(pprof(profile)?),
        Format::Folded => Ok(folded(profile).into_bytes()),
        Format::Svg => Ok(svg(profile, host)?),
        Format::Otlp => render_otlp(&request(), false),
        Format::Json => render_otlp(&request(), true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extension_names_the_format() {
        for (path, format) in [
            ("/tmp/a.pb.gz", Format::Pprof),
            ("a.b.folded", Format::Folded),
            ("x.svg", Format::Svg),
            ("x.otlp", Format::Otlp),
            ("x.json", Format::Json),
        ] {
            assert_eq!(Format::from_path(Path::new(path)), Ok(format));
        }
    }

    #[test]
    fn unknown_extension_lists_the_known_ones() {
        for path in ["out.txt", "out", "svg", "/", "out.gz", "out.SVG", ".."] {
            let error = Format::from_path(Path::new(path)).unwrap_err().to_string();
            assert!(error.starts_with(&format!("unknown extension of {path} (known: .pb.gz")), "{error}");
            assert!(Format::ALL.iter().all(|format| error.contains(format.extension())), "{error}");
        }
    }

    #[test]
    fn every_format_renders_an_empty_profile() {
        for format in Format::ALL {
            let bytes = render(&Profile::default(), format, "host", Default::default).unwrap();
            assert!(matches!(format, Format::Folded | Format::Otlp) == bytes.is_empty(), "{format:?}");
        }
    }
}
