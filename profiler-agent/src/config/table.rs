//! Tables of the file: what takes more than a value, and stands in no flag.

use super::layer::Origin;
use super::value::Wrong;
use std::collections::BTreeMap;

/// A kind of table, declared once; a file may have several of each: `[[relabel]]`.
#[derive(Debug)]
pub struct TableKind {
    /// What stands in the brackets.
    pub key: &'static str,
    /// Its own keys.
    pub keys: &'static [TableKey],
}

/// A key of a table.
#[derive(Debug)]
pub struct TableKey {
    /// As it stands in the file.
    pub key: &'static str,
    /// What it takes.
    pub shape: Shape,
}

/// What a key of a table takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A string.
    Text,
    /// A whole number from 0.
    Number,
    /// An array of strings, or one.
    Texts,
}

impl Shape {
    /// For messages.
    pub(super) fn wanted(self) -> &'static str {
        match self {
            Self::Text => "must be a string",
            Self::Number => "must be a whole number",
            Self::Texts => "must be an array of strings",
        }
    }
}

const fn key(key: &'static str, shape: Shape) -> TableKey {
    TableKey { key, shape }
}

/// Key of relabel rules.
pub(super) const RELABEL: &str = "relabel";
/// Key of what is said of single services.
pub(super) const SERVICE: &str = "service";

/// All kinds.
pub static TABLES: &[TableKind] = &[
    TableKind { key: SERVICE, keys: &[key("name", Shape::Text), key("frequency", Shape::Number)] },
    TableKind {
        key: RELABEL,
        keys: &[
            key("source-labels", Shape::Texts),
            key("separator", Shape::Text),
            key("regex", Shape::Text),
            key("modulus", Shape::Number),
            key("target-label", Shape::Text),
            key("replacement", Shape::Text),
            key("action", Shape::Text),
        ],
    },
];

/// One table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Key of its kind.
    pub kind: &'static str,
    /// Where it begins.
    pub origin: Origin,
    /// What stands in it.
    pub fields: BTreeMap<&'static str, Field>,
}

/// A value in a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// One, unless the key takes several.
    pub texts: Vec<String>,
    /// What it takes.
    pub shape: Shape,
    /// Where.
    pub origin: Origin,
}

impl Table {
    /// The value; none when nothing is said.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.fields.get(key)?.texts.first().map(String::as_str)
    }

    /// Where a mistake of this key is to be mended.
    pub(super) fn place(&self, key: &str) -> Origin {
        self.fields.get(key).map_or(&self.origin, |field| &field.origin).clone()
    }

    /// The parsed value; none when nothing is said, or when what is said is wrong, which goes to `wrong`.
    pub(super) fn parsed<T>(
        &self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, Wrong>,
        wrong: &mut impl FnMut(Origin, String),
    ) -> Option<T> {
        let text = self.text(key)?;
        match parse(text) {
            Ok(value) => Some(value),
            Err(Wrong(why)) => {
                wrong(self.place(key), format!("{} {key} {text:?} {why}", self.kind));
                None
            }
        }
    }
}
