//! Settings from environment variables: our own, and those of OpenTelemetry.

use super::layer::{Environment, Layer, Mistakes, Origin};
use super::setting::{Arity, Command, SETTINGS, Setting};
use crate::process::percent_decode;

/// OpenTelemetry's variables by setting, the more specific first.
const OPEN_TELEMETRY: [(&str, &str); 4] = [
    ("endpoint", "OTEL_EXPORTER_OTLP_PROFILES_ENDPOINT"),
    ("endpoint", "OTEL_EXPORTER_OTLP_ENDPOINT"),
    ("header", "OTEL_EXPORTER_OTLP_HEADERS"),
    ("ca-file", "OTEL_EXPORTER_OTLP_CERTIFICATE"),
];

/// What the environment says. An empty variable says nothing, as OpenTelemetry has it.
pub(super) fn read(command: Command, environment: Environment<'_>, mistakes: &mut Mistakes) -> Layer {
    let mut layer = Layer::default();
    for setting in SETTINGS.iter().filter(|setting| setting.commands.contains(&command)) {
        let name = setting.variable();
        if let Some(text) = variable(&name, environment, mistakes) {
            add(setting, &text, &Origin::Environment(name), &mut layer);
        }
    }
    if command == Command::Run {
        open_telemetry(environment, mistakes, &mut layer);
    }
    layer
}

fn add(setting: &Setting, text: &str, origin: &Origin, layer: &mut Layer) {
    match setting.arity {
        Arity::One | Arity::Switch => layer.add(setting.key, text, origin.clone()),
        Arity::List | Arity::Pairs => {
            for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
                layer.add(setting.key, part, origin.clone());
            }
        }
    }
}

fn open_telemetry(environment: Environment<'_>, mistakes: &mut Mistakes, layer: &mut Layer) {
    for (key, name) in OPEN_TELEMETRY {
        if !layer.items(key).is_empty() {
            continue;
        }
        let Some(text) = variable(name, environment, mistakes) else { continue };
        let origin = Origin::Environment(name.into());
        if key != "header" {
            layer.add(key, text, origin);
            continue;
        }
        // W3C baggage: values are percent-encoded.
        for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
            layer.add(key, percent_decode(pair.trim()), origin.clone());
        }
    }
}

fn variable(name: &str, environment: Environment<'_>, mistakes: &mut Mistakes) -> Option<String> {
    match environment(name)?.into_string() {
        Ok(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Err(_) => {
            mistakes.add(Origin::Environment(name.into()), "is not UTF-8; plain text");
            None
        }
    }
}
