//! One rule: <https://prometheus.io/docs/prometheus/latest/configuration/configuration/#relabel_config>.

use super::labels::Labels;
use super::pattern::{BadPattern, Pattern};
use crate::otlp::underscored;
use md5::{Digest as _, Md5};

/// What a rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// Sets the target to the expanded replacement where the regex fits.
    #[default]
    Replace,
    /// Drops services that the regex does not fit.
    Keep,
    /// Drops services that the regex fits.
    Drop,
    /// Sets the target to the hash of the sources modulo `modulus`.
    HashMod,
    /// Copies labels whose names the regex fits to the names that the replacement gives.
    LabelMap,
    /// Removes labels whose names the regex fits.
    LabelDrop,
    /// Removes labels whose names the regex does not fit.
    LabelKeep,
    /// Sets the target to the sources in lower case.
    Lowercase,
    /// Sets the target to the sources in upper case.
    Uppercase,
    /// Drops services whose sources differ from the target.
    KeepEqual,
    /// Drops services whose sources equal the target.
    DropEqual,
}

/// The words of actions.
pub const ACTIONS: &[(&str, Action)] = &[
    ("replace", Action::Replace),
    ("keep", Action::Keep),
    ("drop", Action::Drop),
    ("hashmod", Action::HashMod),
    ("labelmap", Action::LabelMap),
    ("labeldrop", Action::LabelDrop),
    ("labelkeep", Action::LabelKeep),
    ("lowercase", Action::Lowercase),
    ("uppercase", Action::Uppercase),
    ("keepequal", Action::KeepEqual),
    ("dropequal", Action::DropEqual),
];

impl Action {
    fn word(self) -> &'static str {
        ACTIONS.iter().find(|(_, action)| *action == self).map_or("", |(word, _)| word)
    }

    /// Whether it reads or writes the target.
    fn has_target(self) -> bool {
        use Action::{DropEqual, HashMod, KeepEqual, Lowercase, Replace, Uppercase};
        matches!(self, Replace | HashMod | Lowercase | Uppercase | KeepEqual | DropEqual)
    }
}

/// One rule; its defaults are those of Prometheus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Labels whose values are joined.
    pub source_labels: Vec<String>,
    /// Between them.
    pub separator: String,
    /// What the joined values, or a label's name, have to fit.
    pub regex: Pattern,
    /// Of the hash.
    pub modulus: u64,
    /// The label that is set.
    pub target_label: String,
    /// What it is set to.
    pub replacement: String,
    /// What the rule does.
    pub action: Action,
}

/// What is wrong with a rule: the key to mend, and why.
pub type Fault = (&'static str, String);

const SEPARATOR: &str = ";";
const REGEX: &str = "(.*)";
const REPLACEMENT: &str = "$1";

impl Rule {
    /// A rule of defaults, which has no target yet.
    ///
    /// # Errors
    /// Never: the default expression is one.
    pub fn new() -> Result<Self, BadPattern> {
        Ok(Self {
            source_labels: Vec::new(),
            separator: SEPARATOR.into(),
            regex: Pattern::new(REGEX)?,
            modulus: 0,
            target_label: String::new(),
            replacement: REPLACEMENT.into(),
            action: Action::Replace,
        })
    }

    /// Everything that is wrong with it, by the rules of Prometheus.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = self.target_fault();
        let action = self.action.word();
        if self.action == Action::HashMod && self.modulus == 0 {
            faults.push(("modulus", format!("{action} needs a modulus from 1")));
        }
        if self.action == Action::LabelMap && !is_name_template(&self.replacement) {
            let shown = &self.replacement;
            faults.push(("replacement", format!("{shown:?} gives no label names; letters, digits, _ and groups")));
        }
        let unused = self.unused_keys().iter().filter(|key| self.is_set(key));
        faults.extend(unused.map(|&key| (key, format!("{action} takes none"))));
        faults
    }

    fn target_fault(&self) -> Vec<Fault> {
        let (action, target) = (self.action, self.target_label.as_str());
        let fits = match action {
            Action::Replace if target.contains('$') => is_name_template(target),
            _ => is_name(target),
        };
        match (action.has_target(), target.is_empty()) {
            (true, true) => vec![("target-label", format!("{} needs one", action.word()))],
            (true, false) if !fits => {
                vec![("target-label", format!("{target:?} is no label; letters, digits, _ and ., not a digit first"))]
            }
            _ => Vec::new(),
        }
    }

    /// Keys that would have no effect.
    fn unused_keys(&self) -> &'static [&'static str] {
        match self.action {
            Action::Lowercase | Action::Uppercase => &["replacement"],
            Action::KeepEqual | Action::DropEqual => &["separator", "regex", "modulus", "replacement"],
            Action::LabelDrop | Action::LabelKeep => {
                &["source-labels", "separator", "modulus", "target-label", "replacement"]
            }
            _ => &[],
        }
    }

    fn is_set(&self, key: &str) -> bool {
        match key {
            "source-labels" => !self.source_labels.is_empty(),
            "separator" => self.separator != SEPARATOR,
            "regex" => self.regex.as_str() != REGEX,
            "modulus" => self.modulus != 0,
            "target-label" => !self.target_label.is_empty(),
            "replacement" => self.replacement != REPLACEMENT,
            _ => false,
        }
    }

    /// Applies it; false when the service is dropped.
    pub(super) fn apply(&self, labels: &mut Labels) -> bool {
        let sources: Vec<&str> = self.source_labels.iter().map(|label| labels.get(&underscored(label))).collect();
        let value = sources.join(&self.separator);
        match self.action {
            Action::Keep => return self.regex.matches(&value),
            Action::Drop => return !self.regex.matches(&value),
            Action::KeepEqual => return labels.get(&underscored(&self.target_label)) == value,
            Action::DropEqual => return labels.get(&underscored(&self.target_label)) != value,
            Action::Replace => self.replace(labels, &value),
            Action::HashMod => labels.set(&self.target_label, &hash(&value, self.modulus).to_string()),
            Action::Lowercase => labels.set(&self.target_label, &value.to_lowercase()),
            Action::Uppercase => labels.set(&self.target_label, &value.to_uppercase()),
            Action::LabelMap => self.map(labels),
            Action::LabelDrop => labels.retain(|name| !self.regex.matches(name)),
            Action::LabelKeep => labels.retain(|name| self.regex.matches(name)),
        }
        true
    }

    fn replace(&self, labels: &mut Labels, value: &str) {
        let Some([target, new]) = self.regex.expand(value, [&self.target_label, &self.replacement]) else { return };
        if is_name(&target) {
            labels.set(&target, &new);
        }
    }

    fn map(&self, labels: &mut Labels) {
        for (name, value) in labels.pairs() {
            if let Some([target]) = self.regex.expand(&name, [&self.replacement])
                && is_name(&target)
            {
                labels.set(&target, &value);
            }
        }
    }
}

/// As Prometheus does it: the last eight bytes of the MD5 sum.
fn hash(value: &str, modulus: u64) -> u64 {
    let sum: [u8; 16] = Md5::digest(value).into();
    let last = sum[8..].iter().fold(0, |last, &byte| last << 8 | u64::from(byte));
    last.checked_rem(modulus).unwrap_or_default()
}

/// `[a-zA-Z_][a-zA-Z0-9_.]*`
fn is_name(text: &str) -> bool {
    let head = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    head && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))
}

/// Pieces of a name and groups: `$1`, `${1}`, `${name}`.
fn is_name_template(text: &str) -> bool {
    let mut rest = text;
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    while let Some(at) = rest.find('$') {
        if !rest[..at].chars().all(|c| word(c) || c == '.') {
            return false;
        }
        let group = &rest[at + 1..];
        let (name, after) = match group.strip_prefix('{') {
            Some(braced) => match braced.split_once('}') {
                Some(parts) => parts,
                None => return false,
            },
            None => group.split_at(group.find(|c| !word(c)).unwrap_or(group.len())),
        };
        if name.is_empty() || !name.chars().all(word) {
            return false;
        }
        rest = after;
    }
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && rest.chars().all(|c| word(c) || c == '.')
}
