//! The configuration file: TOML, keys are the flags without their dashes.

use super::layer::{Layer, Mistakes, Origin};
use super::nearest::unknown;
use super::setting::{Arity, SETTINGS, Setting};
use super::table::{Field, Shape, TABLES, Table, TableKey, TableKind};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// A longer file is not a configuration.
const MAX_FILE_BYTES: u64 = 256 << 10;

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
    check(&layer, mistakes)
}

/// The same of a file's text.
///
/// # Errors
/// Every mistake.
pub fn check_text(text: &str, path: &str) -> Result<(), Mistakes> {
    let mut mistakes = Mistakes::default();
    let layer = parse(text, path, &mut mistakes);
    check(&layer, mistakes)
}

fn check(layer: &Layer, mut mistakes: Mistakes) -> Result<(), Mistakes> {
    super::build::check(layer, &mut mistakes);
    super::build::contradictions(layer, &mut mistakes);
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
            let setting = Setting::named(key.get_ref()).filter(|setting| setting.in_file());
            let kind = TABLES.iter().find(|kind| kind.key == key.get_ref());
            match (setting, kind) {
                (Some(setting), _) => self.value(setting, value.get_ref(), value.span()),
                (None, Some(kind)) => self.tables(kind, value.get_ref(), value.span()),
                (None, None) => {
                    let settings = SETTINGS.iter().filter(|setting| setting.in_file() && !setting.hidden);
                    let known = settings.map(|setting| setting.key).chain(TABLES.iter().map(|kind| kind.key));
                    self.mistake(key.span(), unknown(key.get_ref(), known, "`profiler-agent run --help` lists them"));
                }
            }
        }
    }

    fn tables(&mut self, kind: &'static TableKind, value: &DeValue<'_>, span: Range<usize>) {
        let DeValue::Array(items) = value else { return self.no_tables(kind, span) };
        for item in items {
            match item.get_ref() {
                DeValue::Table(table) => self.fields(kind, table, &item.span()),
                _ => self.no_tables(kind, item.span()),
            }
        }
    }

    fn no_tables(&mut self, kind: &TableKind, span: Range<usize>) {
        self.mistake(span, format!("{0}: must be tables, each below [[{0}]]", kind.key));
    }

    fn fields(&mut self, kind: &'static TableKind, table: &DeTable<'_>, span: &Range<usize>) {
        let mut fields = BTreeMap::new();
        for (key, value) in table {
            match kind.keys.iter().find(|known| known.key == key.get_ref()) {
                Some(known) => {
                    let texts = self.texts(kind, known, value.get_ref(), value.span());
                    let origin = self.origin(&value.span());
                    fields.insert(known.key, Field { texts, shape: known.shape, origin });
                }
                None => {
                    let known: Vec<&str> = kind.keys.iter().map(|known| known.key).collect();
                    let advice = format!("one of {}", known.join(", "));
                    self.mistake(key.span(), unknown(key.get_ref(), known.into_iter(), &advice));
                }
            }
        }
        self.layer.add_table(Table { kind: kind.key, origin: self.origin(span), fields });
    }

    /// What is of the wrong shape is a mistake and is left out.
    fn texts(&mut self, kind: &TableKind, key: &TableKey, value: &DeValue<'_>, span: Range<usize>) -> Vec<String> {
        let items: Vec<(&DeValue<'_>, Range<usize>)> = match value {
            DeValue::Array(items) if key.shape == Shape::Texts => {
                items.iter().map(|item| (item.get_ref(), item.span())).collect()
            }
            _ => vec![(value, span)],
        };
        let mut texts = Vec::with_capacity(items.len());
        for (item, span) in items {
            let fits = match key.shape {
                Shape::Number => matches!(item, DeValue::Integer(_)),
                Shape::Text | Shape::Texts => matches!(item, DeValue::String(_)),
            };
            match scalar(item).filter(|_| fits) {
                Some(text) => texts.push(text),
                None => self.mistake(span, format!("{} {}: {}", kind.key, key.key, key.shape.wanted())),
            }
        }
        texts
    }

    fn value(&mut self, setting: &'static Setting, value: &DeValue<'_>, span: Range<usize>) {
        match (value, setting.arity) {
            // Where nothing can be wanted, an empty list says that it is.
            (DeValue::Array(items), Arity::List) if items.is_empty() && (setting.check)("").is_ok() => {
                self.layer.add(setting.key, "", self.origin(&span));
            }
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
