//! A flame graph drawn by inferno.

use super::folded;
use super::text::{KERNEL_SUFFIX, grouped, printable};
use crate::profile::Profile;
use anyhow::Context as _;
use inferno::flamegraph::color::{BackgroundColor, Color, PaletteMap};
use inferno::flamegraph::{self, Options, TextTruncateDirection};

/// Narrower boxes, in percent of the whole, are left out: under half a pixel at 1,200.
const MIN_WIDTH_PERCENT: f64 = 0.03;
/// Of a character, as a share of the font's height: the widest of the usual monospace fonts.
const FONT_WIDTH: f64 = 0.61;
const BACKGROUND: Color = Color { r: 250, g: 250, b: 250 };
const LEGEND: &str = "warm: program · blue: kernel · grey: no symbol";

/// The flame graph as an SVG document; says so when there are no samples.
///
/// # Errors
/// inferno failed.
pub fn svg(profile: &Profile, host: &str) -> anyhow::Result<Vec<u8>> {
    let title = title(profile, host);
    let stacks = folded::sorted(profile);
    if stacks.is_empty() {
        return Ok(empty(&title).into_bytes());
    }
    let mut colors = colors(&stacks);
    let mut options = Options::default();
    options.title = title;
    options.subtitle = Some(LEGEND.to_owned());
    options.count_name = "samples".to_owned();
    options.min_width = MIN_WIDTH_PERCENT;
    options.font_width = FONT_WIDTH;
    options.text_truncate_direction = TextTruncateDirection::Right;
    options.bgcolors = Some(BackgroundColor::Flat(BACKGROUND));
    options.palette_map = Some(&mut colors);
    // Takes the lines from last to first and does not sort them: its own order, by text, tears boxes apart.
    options.flame_chart = true;
    let lines: Vec<String> = stacks.iter().rev().map(|(stack, count)| format!("{stack} {count}")).collect();
    let mut document = Vec::new();
    flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), &mut document)
        .with_context(|| format!("drawing a flame graph of {} stacks", stacks.len()))?;
    Ok(document)
}

fn title(profile: &Profile, host: &str) -> String {
    let mut title = format!("{}: {:.1} s", printable(host), profile.duration_ns as f64 / 1e9);
    if profile.period_ns > 0 {
        title += &format!(" at {:.0} Hz", 1e9 / profile.period_ns as f64);
    }
    match profile.sample_count() {
        0 => title,
        samples => format!("{title}, {} samples", grouped(samples)),
    }
}

/// The colour of every frame: its kind is the hue, its name the shade, so that a function keeps its colour.
fn colors(stacks: &[(String, u64)]) -> PaletteMap {
    let mut colors = PaletteMap::default();
    colors.insert("", Color { r: 226, g: 226, b: 230 });
    for (stack, _) in stacks {
        for (depth, frame) in stack.split(';').enumerate() {
            if colors.get(frame).is_none() {
                colors.insert(frame, color(frame, depth));
            }
        }
    }
    colors
}

fn color(frame: &str, depth: usize) -> Color {
    let shade = shade(frame);
    let between = |from: u8, to: u8| from + ((u32::from(to - from) * u32::from(shade)) >> 8) as u8;
    if depth == 0 {
        Color { r: between(196, 212), g: between(202, 218), b: between(206, 222) }
    } else if frame.ends_with(KERNEL_SUFFIX) {
        Color { r: between(120, 165), g: between(170, 205), b: between(225, 250) }
    } else if is_unresolved(frame) {
        Color { r: between(196, 212), g: between(192, 206), b: between(182, 194) }
    } else {
        Color { r: between(236, 252), g: between(120, 205), b: between(70, 105) }
    }
}

/// `module+0x1234`, which stands for a function without a name.
fn is_unresolved(frame: &str) -> bool {
    let Some((_, offset)) = frame.rsplit_once("+0x") else { return false };
    !offset.is_empty() && offset.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// FNV-1a of the name, folded to a byte.
fn shade(frame: &str) -> u8 {
    let hash = frame.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash ^ (hash >> 8) ^ (hash >> 16) ^ (hash >> 24)) as u8
}

/// inferno knows no empty flame graph.
fn empty(title: &str) -> String {
    format!(
        r##"<?xml version="1.0" standalone="no"?>
<svg version="1.1" xmlns="http://www.w3.org/2000/svg" width="1200" height="120" viewBox="0 0 1200 120">
<rect width="100%" height="100%" fill="#fafafa"/>
<g font-family="monospace" text-anchor="middle">
<text x="600" y="36" font-size="17">{}</text>
<text x="600" y="76" font-size="14" fill="#555555">no samples</text>
</g>
</svg>
"##,
        escaped(title)
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{self, HOSTILE, Named};
    use super::*;
    use quick_xml::Reader;
    use quick_xml::events::Event;

    /// Element names and text of a document; panics where it is not well-formed.
    fn parse(document: &[u8]) -> (Vec<String>, Vec<String>) {
        let text = std::str::from_utf8(document).unwrap();
        let mut reader = Reader::from_str(text);
        reader.config_mut().check_comments = true;
        let (mut elements, mut texts, mut depth) = (Vec::new(), Vec::new(), 0);
        loop {
            match reader.read_event().unwrap() {
                Event::Start(start) => {
                    depth += 1;
                    start.attributes().for_each(|attribute| drop(attribute.unwrap()));
                    elements.push(String::from_utf8(start.name().0.to_vec()).unwrap());
                    texts.push(String::new());
                }
                Event::End(_) => depth -= 1,
                Event::Text(text) => {
                    let text = text.decode().unwrap();
                    texts.last_mut().map_or_else(|| assert!(text.trim().is_empty()), |last| last.push_str(&text));
                }
                Event::GeneralRef(reference) => {
                    let name = reference.decode().unwrap();
                    let resolved = quick_xml::escape::resolve_predefined_entity(&name);
                    texts.last_mut().unwrap().push_str(resolved.expect("only predefined entities"));
                }
                Event::Eof => break,
                _ => {}
            }
        }
        assert_eq!(depth, 0);
        (elements, texts)
    }

    fn has_illegal_character(document: &[u8]) -> bool {
        let text = std::str::from_utf8(document).unwrap();
        text.chars().any(|c| (c.is_control() && c != '\n') || matches!(c, '\u{fffe}' | '\u{ffff}' | '\u{202e}'))
    }

    #[test]
    fn draws_one_box_per_function_and_caller() {
        let document = svg(&fixture::profile(), "db <1>").unwrap();
        let (_, texts) = parse(&document);
        assert!(texts.iter().any(|text| text == "db <1>: 1.0 s at 100 Hz, 77 samples"), "{texts:?}");
        let boxes: Vec<&String> =
            texts.iter().filter(|text| text.contains(" samples, ") && text.ends_with("%)")).collect();
        // `handle` once, although `handle(int)` stands between its lines when they are sorted as text.
        assert_eq!(boxes.iter().filter(|text| text.starts_with("handle (70 samples")).count(), 1, "{boxes:?}");
        assert!(boxes.iter().any(|text| *text == "all (77 samples, 100%)"), "{boxes:?}");
        assert!(boxes.iter().any(|text| text.starts_with("ksys_write (20 samples, 25.97%")), "{boxes:?}");
    }

    #[test]
    fn hostile_names_stay_text() {
        let (tame, _) = parse(&svg(&fixture::named(&Named::default()), "host").unwrap());
        for hostile in HOSTILE.iter() {
            let profile = fixture::named(&Named { process: hostile, function: hostile, ..Named::default() });
            let document = svg(&profile, hostile).unwrap();
            let (elements, _) = parse(&document);
            assert_eq!(elements, tame, "{hostile:?}");
            assert!(!has_illegal_character(&document), "{hostile:?}");
        }
    }

    #[test]
    fn without_samples_says_so() {
        for host in HOSTILE.iter() {
            let document = svg(&Profile::default(), host).unwrap();
            let (elements, texts) = parse(&document);
            assert_eq!(elements, ["svg", "g", "text", "text"]);
            assert!(texts.iter().any(|text| text.trim() == "no samples"));
            assert!(!has_illegal_character(&document), "{host:?}");
        }
    }

    #[test]
    fn colours_tell_kinds_apart() {
        let kernel = color("ksys_write_[k]", 3);
        let native = color("main", 1);
        let unresolved = color("libfoo.so+0x12ab", 1);
        assert!(kernel.b > kernel.r && native.r > native.b);
        assert!(unresolved.r.abs_diff(unresolved.b) < 32);
        assert!(!is_unresolved("f+0x") && !is_unresolved("a+0xzz"));
    }
}
