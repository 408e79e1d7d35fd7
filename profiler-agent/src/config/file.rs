//! The configuration file: TOML, keys are the flags without their dashes.

use super::layer::{Layer, Mistakes, Origin};
use super::setting::{Arity, SETTINGS, Setting};
use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// A longer file is not a configuration.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Further apart, a suggestion is noise.
const MAX_TYPOS: usize = 3;

/// Settings of a file; what is wrong with its form goes to `mistakes`.
pub(super) fn read_file(path: &Path, mistakes: &mut Mistakes) -> Layer {
    match content(path) {
        Ok(text) => parse(&text, &path.display().to_string(), mistakes),
        Err(error) => {
            let origin = Origin::File { path: path.display().to_string(), line: 0, column: 0 };
            mistakes.add(origin, format!("cannot be read: {error}"));
            Layer::default()
        }
    }
}

fn content(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(std::io::Error::other(format!("longer than {MAX_FILE_BYTES} bytes")));
    }
    Ok(text)
}

/// Checks a file alone, as `config check` does.
///
/// # Errors
/// Every mistake.
pub fn check_file(path: &Path) -> Result<(), Mistakes> {
    let mut mistakes = Mistakes::default();
    let layer = read_file(path, &mut mistakes);
    super::build::check(&layer, &mut mistakes);
    super::build::contradictions(&layer, &mut mistakes);
    if mistakes.0.is_empty() { Ok(()) } else { Err(mistakes.in_order()) }
}

pub(super) fn parse(text: &str, path: &str, mistakes: &mut Mistakes) -> Layer {
    let mut reading = Reading { text, path, layer: Layer::default(), mistakes };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        reading.mistake(error.span().unwrap_or_default(), format!("is not TOML: {}", error.message().trim()));
    }
    // After a syntax error the rest of a table may be misread.
    if errors.is_empty() {
        reading.table(table.get_ref());
    }
    reading.layer
}

struct Reading<'a> {
    text: &'a str,
    path: &'a str,
    layer: Layer,
    mistakes: &'a mut Mistakes,
}

impl Reading<'_> {
    fn table(&mut self, table: &DeTable<'_>) {
        // The parser sorts by key; mistakes are easier to mend in the order of the file.
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            match Setting::named(key.get_ref()).filter(|setting| setting.in_file()) {
                Some(setting) => self.value(setting, value.get_ref(), value.span()),
                None => self.mistake(key.span(), unknown(key.get_ref())),
            }
        }
    }

    fn value(&mut self, setting: &'static Setting, value: &DeValue<'_>, span: Range<usize>) {
        match (value, setting.arity) {
            (DeValue::Array(items), Arity::List | Arity::Pairs) => {
                for item in items {
                    self.scalar(setting, item.get_ref(), item.span());
                }
            }
            (DeValue::Table(pairs), Arity::Pairs) => {
                for (key, value) in pairs {
                    match scalar(value.get_ref()) {
                        Some(text) => {
                            let pair = format!("{}={text}", key.get_ref());
                            self.layer.add(setting.key, pair, self.origin(&value.span()));
                        }
                        None => {
                            self.mistake(value.span(), format!("{} {}: must be a string", setting.key, key.get_ref()))
                        }
                    }
                }
            }
            _ => self.scalar(setting, value, span),
        }
    }

    fn scalar(&mut self, setting: &'static Setting, value: &DeValue<'_>, span: Range<usize>) {
        let Some(text) = scalar(value) else {
            let right = match setting.arity {
                Arity::List => "must be a string, a number or an array of them",
                Arity::Pairs => "must be a string KEY=VALUE, an array of them or a table",
                Arity::Switch => "must be true or false",
                Arity::One => "must be a string or a number",
            };
            return self.mistake(span, format!("{}: {right}", setting.key));
        };
        let origin = self.origin(&span);
        if setting.splits() {
            for part in text.split(',') {
                self.layer.add(setting.key, part.trim(), origin.clone());
            }
        } else {
            self.layer.add(setting.key, text, origin);
        }
    }

    fn origin(&self, span: &Range<usize>) -> Origin {
        let before = &self.text[..self.text.floor_char_boundary(span.start)];
        let line = 1 + before.matches('\n').count();
        let column = 1 + before.rsplit('\n').next().unwrap_or_default().chars().count();
        Origin::File { path: self.path.to_owned(), line, column }
    }

    fn mistake(&mut self, span: Range<usize>, text: String) {
        self.mistakes.add(self.origin(&span), text);
    }
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.clone().into_owned()),
        DeValue::Integer(number) => Some(number.as_str().to_owned()).filter(|_| number.radix() == 10),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(switch) => Some(switch.to_string()),
        _ => None,
    }
}

fn unknown(key: &str) -> String {
    let nearest = SETTINGS.iter().filter(|setting| setting.in_file() && !setting.hidden);
    let nearest = nearest.map(|setting| (typos(key, setting.key), setting.key)).min();
    match nearest {
        Some((typos, known)) if typos <= MAX_TYPOS && typos < known.len().min(key.len()) => {
            format!("unknown key {key:?}; did you mean {known}?")
        }
        _ => format!("unknown key {key:?}; `profiler-agent run --help` lists them"),
    }
}

/// Edits between two keys (Levenshtein); `_` is as good as `-`. Long keys are cut: they are far apart anyway.
fn typos(left: &str, right: &str) -> usize {
    let plain = |key: &str| -> Vec<char> { key.to_lowercase().replace('_', "-").chars().take(64).collect() };
    let (left, right) = (plain(left), plain(right));
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Layer, Vec<String>) {
        let mut mistakes = Mistakes::default();
        let layer = parse(text, "p.toml", &mut mistakes);
        (layer, mistakes.0.iter().map(ToString::to_string).collect())
    }

    fn texts<'a>(layer: &'a Layer, key: &str) -> Vec<&'a str> {
        layer.items(key).iter().map(|item| item.text.as_str()).collect()
    }

    #[test]
    fn reads_every_form_of_value() {
        let (layer, mistakes) = read(
            "frequency = 97\ninterval = \"5s\"\nno-kernel-stacks = true\npid = [1, 2]\nservice-name-from = \"env, exe\"\n\
             label = { env = \"prod\" }\nheader = [\"a=1,2\",\n  \"b=3\"]\n",
        );
        assert_eq!(mistakes, Vec::<String>::new());
        assert_eq!(texts(&layer, "frequency"), ["97"]);
        assert_eq!(texts(&layer, "no-kernel-stacks"), ["true"]);
        assert_eq!(texts(&layer, "pid"), ["1", "2"]);
        assert_eq!(texts(&layer, "service-name-from"), ["env", "exe"]);
        assert_eq!(texts(&layer, "label"), ["env=prod"]);
        assert_eq!(texts(&layer, "header"), ["a=1,2", "b=3"]);
        assert_eq!(layer.items("header")[1].origin.to_string(), "p.toml:8:3");
    }

    #[test]
    fn every_mistake_has_its_line_and_column() {
        let (_, mistakes) =
            read("frequencey = 97\n\nservice_name_from = \"exe\"\ninterval = []\nzebra = 1\nconfig = \"x\"\n");
        assert_eq!(
            mistakes,
            [
                "p.toml:1:1: unknown key \"frequencey\"; did you mean frequency?",
                "p.toml:3:1: unknown key \"service_name_from\"; did you mean service-name-from?",
                "p.toml:4:12: interval: must be a string or a number",
                "p.toml:5:1: unknown key \"zebra\"; `profiler-agent run --help` lists them",
                "p.toml:6:1: unknown key \"config\"; `profiler-agent run --help` lists them",
            ]
        );
    }

    #[test]
    fn what_is_not_toml_is_a_mistake_with_a_place() {
        let (_, mistakes) = read("frequency = 97\ninterval = \n");
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert!(mistakes[0].starts_with("p.toml:2:12: is not TOML: "), "{mistakes:?}");
        assert_eq!(read("frequency = 1\nfrequency = 2").1.len(), 1);
    }

    #[test]
    fn columns_count_characters() {
        let (_, mistakes) = read("label = { \"é\" = \"ü\", b = [] }\r\n\tzebra = 1\n");
        assert!(mistakes[0].starts_with("p.toml:1:26: label b"), "{mistakes:?}");
        assert!(mistakes[1].starts_with("p.toml:2:2: unknown key"), "{mistakes:?}");
    }
}
