//! The table of files: a line for each.

use super::code::Code;
use super::report::fit;
use crate::output::{grouped, text_width, visible};
use crate::symbolize::SymbolOrigin;
use std::path::Path;

const GAP: &str = "  ";
/// Digits of a build ID that are shown.
const BUILD_ID_DIGITS: usize = 12;
/// The narrowest path and the narrowest list of symbols: other columns are left out before they get narrower.
const MIN_PATH_WIDTH: usize = 24;
const MIN_SYMBOLS_WIDTH: usize = 32;
/// Columns that are left out in a narrow terminal, in this order.
const OPTIONAL: [usize; 5] = [1, 4, 2, 3, 5];
const TITLES: [&str; 7] = ["path", "build ID", "text", "rows", "bytes", "rows from", "symbols from"];
const PATH: usize = 0;
const SYMBOLS: usize = 6;
/// Numbers stand at the right of their columns.
const NUMBERS: std::ops::RangeInclusive<usize> = 2..=4;

type Cells = [String; 7];

/// Titles, then a line for each file, in at most so many columns.
pub(super) fn lines(files: &[Code], width: Option<usize>) -> Vec<String> {
    let mut rows: Vec<Cells> = vec![TITLES.map(str::to_owned)];
    rows.extend(files.iter().map(cells));
    let widths = widths(&rows, width);
    rows.iter().map(|row| line(row, &widths)).collect()
}

fn cells(code: &Code) -> Cells {
    let (rows, bytes, from) = match &code.rows {
        Ok(origin) => (grouped(origin.rows), size(origin.bytes as u64), origin.from.join(", ")),
        Err(why) => ("none".to_owned(), String::new(), reason(why)),
    };
    let symbols = match &code.symbols {
        Ok(origins) => symbols(origins),
        Err(why) => format!("none: {}", reason(why)),
    };
    let build_id = code.executable.build_id().chars().take(BUILD_ID_DIGITS).collect();
    [visible(&code.executable.path), build_id, size(code.bytes), rows, bytes, from, symbols]
}

/// A label in words.
pub(super) fn reason(label: &str) -> String {
    match label {
        "no_cfi" => "no call frame information".to_owned(),
        "anonymous" => "made at run time".to_owned(),
        "not_found" => "file not found".to_owned(),
        "malformed" => "no readable ELF file".to_owned(),
        label => label.replace('_', " "),
    }
}

fn symbols(origins: &[SymbolOrigin]) -> String {
    let mut texts = Vec::new();
    // A path stands once.
    let mut last = None;
    for origin in origins {
        let of = |path: &Path| visible(&path.to_string_lossy());
        texts.push(match origin {
            SymbolOrigin::GoTable(functions) => format!("Go pclntab ({})", grouped(*functions)),
            SymbolOrigin::DebugInfo => "debug info".to_owned(),
            SymbolOrigin::ByBuildId(path) => format!("debug info by build ID {}", of(last.insert(path))),
            SymbolOrigin::ByDebugLink(path) => format!("debug info by debug link {}", of(last.insert(path))),
            SymbolOrigin::Section(section, functions) => format!("{section} ({})", grouped(*functions as u64)),
            SymbolOrigin::SeparateSymtab(path, functions) => {
                let functions = grouped(*functions as u64);
                let is_same = last == Some(path);
                if is_same {
                    format!("its .symtab ({functions})")
                } else {
                    format!(".symtab ({functions}) of {}", of(path))
                }
            }
            SymbolOrigin::PerfMap => "perf map".to_owned(),
            SymbolOrigin::Jitdump => "jitdump".to_owned(),
        });
    }
    texts.join(", ")
}

/// 4.0 KiB, 1.2 MiB.
fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..0x10_0000 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

/// Widths of the columns; 0 for one that is left out.
fn widths(rows: &[Cells], width: Option<usize>) -> [usize; 7] {
    let mut widths = std::array::from_fn(|column| rows.iter().map(|row| text_width(&row[column])).max().unwrap_or(0));
    let Some(width) = width else { return widths };
    let [path, symbols] = [widths[PATH], widths[SYMBOLS]];
    (widths[PATH], widths[SYMBOLS]) = (MIN_PATH_WIDTH.min(path), MIN_SYMBOLS_WIDTH.min(symbols));
    for column in OPTIONAL {
        if total(&widths) > width {
            widths[column] = 0;
        }
    }
    widths[SYMBOLS] = widths[SYMBOLS].saturating_sub(total(&widths).saturating_sub(width));
    // What is left goes to the path first, but not all of it.
    let mut left = width.saturating_sub(total(&widths));
    for (column, wanted, share) in [(PATH, path, left / 2), (SYMBOLS, symbols, left), (PATH, path, left)] {
        let more = (wanted - widths[column]).min(share).min(left);
        widths[column] += more;
        left -= more;
    }
    widths
}

fn total(widths: &[usize; 7]) -> usize {
    let shown = widths.iter().filter(|width| **width > 0);
    shown.map(|width| width + GAP.len()).sum::<usize>().saturating_sub(GAP.len())
}

fn line(row: &Cells, widths: &[usize; 7]) -> String {
    let mut cells = Vec::new();
    for (column, (text, &width)) in row.iter().zip(widths).enumerate().filter(|(_, (_, width))| **width > 0) {
        let text = fit(text, Some(width));
        let blanks = " ".repeat(width - text_width(&text));
        cells.push(if NUMBERS.contains(&column) { blanks + &text } else { text + &blanks });
    }
    cells.join(GAP).trim_end().to_owned()
}
