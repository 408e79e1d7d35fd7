//! Raw values with their origins, and what is wrong with them.

use super::table::Table;
use crate::exit::{self, Failure};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;

/// Bytes of what is said of one mistake: a value may be as long as a file.
const MAX_TEXT_BYTES: usize = 1000;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// A place in the file.
    File {
        /// The path as it was given.
        path: String,
        /// From 1; 0 for the file as a whole.
        line: usize,
        /// In characters, from 1; 0 for the file as a whole.
        column: usize,
    },
    /// An environment variable.
    Environment(String),
    /// A flag, without its dashes.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: 0, .. } => f.write_str(path),
            Self::File { path, line, column } => write!(f, "{path}:{line}:{column}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag --{name}"),
        }
    }
}

/// One value of a setting, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// As the user wrote it.
    pub text: String,
    /// Where.
    pub origin: Origin,
}

/// The settings of one source, or of several with the later ones laid over the earlier ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layer {
    items: BTreeMap<&'static str, Vec<Item>>,
    tables: Vec<Table>,
}

impl Layer {
    /// Adds a value of the setting with this key.
    pub fn add(&mut self, key: &'static str, text: impl Into<String>, origin: Origin) {
        self.items.entry(key).or_default().push(Item { text: text.into(), origin });
    }

    /// Values of a setting; empty when this layer says nothing.
    #[must_use]
    pub fn items(&self, key: &str) -> &[Item] {
        self.items.get(key).map_or(&[], Vec::as_slice)
    }

    /// All settings that this layer says something about.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &[Item])> {
        self.items.iter().map(|(key, items)| (*key, items.as_slice()))
    }

    /// Adds a table.
    pub(super) fn add_table(&mut self, table: Table) {
        self.tables.push(table);
    }

    /// All tables, in the order of the file.
    #[must_use]
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// This layer with `upper` over it: a setting that `upper` names is taken from there as a whole.
    #[must_use]
    pub fn under(mut self, upper: Self) -> Self {
        self.items.extend(upper.items);
        self.tables.extend(upper.tables);
        self
    }
}

/// Environment variables by name; a function, so that tests need not touch the process's own.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// This process's own.
#[must_use]
pub fn process_environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// Something wrong, in the words `where: what; what would be right`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where.
    pub origin: Origin,
    /// The setting's key, the value, what is wrong and what would be right.
    pub text: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.text)
    }
}

/// Every mistake of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes(pub Vec<Mistake>);

impl Mistakes {
    /// Adds one.
    pub fn add(&mut self, origin: Origin, text: impl Into<String>) {
        let mut text = text.into();
        if text.len() > MAX_TEXT_BYTES {
            text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
            text.push('…');
        }
        self.0.push(Mistake { origin, text });
    }

    /// Those of the file first, in its order.
    #[must_use]
    pub fn in_order(mut self) -> Self {
        self.0.sort_by_key(|mistake| match mistake.origin {
            Origin::File { line, column, .. } => (line, column),
            _ => (usize::MAX, 0),
        });
        self
    }

    /// Whether the command line alone is to be mended: that is wrong usage, not a bad configuration.
    fn of_flags(&self) -> bool {
        self.0.iter().all(|mistake| matches!(mistake.origin, Origin::Flag(_)))
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, what) = (self.0.len(), if self.of_flags() { "wrong usage" } else { "bad configuration" });
        write!(f, "{what}, {count} mistake{}", if count == 1 { "" } else { "s" })?;
        self.0.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

impl From<Mistakes> for Failure {
    fn from(mistakes: Mistakes) -> Self {
        let code = if mistakes.of_flags() { exit::USAGE } else { exit::CONFIGURATION };
        Self { code, message: mistakes.to_string() }
    }
}
