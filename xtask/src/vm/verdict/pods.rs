//! What guest/pods.sh shows: a pod that says no costs no sample from the moment on at which the agent says so.

use super::{MIN_SAMPLES, Transcript};
use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The pod that says no, and then how often.
const REFUSES: &str = "refuses";
/// The pod that says nothing.
const AGREES: &str = "agrees";
/// Between two samples of [`REFUSES`] in the end, 20 Hz in guest/pods.sh.
const SLOW_PERIOD_NS: u64 = 50_000_000;

impl Transcript {
    /// Everything about pods that is not as it must be.
    pub(super) fn pods(&self) -> [Result<()>; 5] {
        [
            self.has("pods sampled at first"),
            self.excluded(),
            self.slower(),
            self.recording("pods-log", MIN_SAMPLES),
            self.has("pods ended 0"),
        ]
    }

    /// For people to read: milliseconds until annotations held.
    pub(super) fn pod_figures(&self) -> String {
        let delay = |what: &str| self.delay(what).map_or("?".to_owned(), |ms| format!("{ms} ms"));
        format!("pod excluded within {}, slower within {}", delay("excluded"), delay("slower"))
    }

    /// From the annotation to the agent's line that says it holds.
    fn delay(&self, what: &str) -> Result<u64> {
        let missing = || format!("pods {what}: not applied");
        let words = self.fact(&format!("pods {what} within")).and_then(|rest| rest.strip_suffix(" ms"));
        words.and_then(|ms| ms.parse().ok()).with_context(missing)
    }

    /// While the other pod is idle, no sample at all; later none but those of the other pod.
    fn excluded(&self) -> Result<()> {
        self.delay("excluded")?;
        let taken = |words| self.fact(words).and_then(|count| count.parse::<u64>().ok());
        let (before, after) = (taken("pods taken when excluded"), taken("pods taken after the storm"));
        ensure!(
            before.is_some() && before == after,
            "pods: {before:?} samples when excluded, {after:?} after a fork storm"
        );
        let others = self.services("pods-excluded")?;
        ensure!(others.len() == 1 && others[0].0 == AGREES, "pods: all but {AGREES} are excluded: {others:?}");
        Ok(())
    }

    /// Every sample stands for the period that was asked for.
    fn slower(&self) -> Result<()> {
        self.delay("slower")?;
        let services = self.services("pods-slower")?;
        let slow = |(name, cpu_ns): &(String, u64)| name == REFUSES && *cpu_ns > 0 && cpu_ns % SLOW_PERIOD_NS == 0;
        ensure!(services.iter().any(slow), "pods: {REFUSES} is sampled at 20 Hz: {services:?}");
        Ok(())
    }

    /// Names of services, and their CPU time in nanoseconds.
    fn services(&self, section: &str) -> Result<Vec<(String, u64)>> {
        let text = self.section(section)?.concat();
        let answer: Value = serde_json::from_str(&text).with_context(|| format!("{section}: no JSON"))?;
        let service = |service: &Value| Some((service["name"].as_str()?.to_owned(), service["cpu_ns"].as_u64()?));
        let services = answer["services"].as_array().with_context(|| format!("{section}: no services"))?;
        Ok(services.iter().filter_map(service).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::console;

    fn excluded(after: u64, services: &str) -> Result<(), String> {
        let transcript = console(&format!(
            "@@ fact pods excluded within 12 ms\n@@ fact pods taken when excluded 70\n@@ fact pods taken after the storm {after}\n\
             @@ begin pods-excluded\n{{\"services\":[{services}]}}\n@@ end pods-excluded 0"
        ));
        transcript.excluded().map_err(|error| error.to_string())
    }

    const AGREES: &str = "{\"name\":\"agrees\",\"cpu_ns\":5}";

    #[test]
    fn an_excluded_pod_has_no_sample() {
        assert_eq!(excluded(70, AGREES), Ok(()));
        let error = excluded(71, AGREES).unwrap_err();
        assert_eq!(error, "pods: Some(70) samples when excluded, Some(71) after a fork storm");
        let error = excluded(70, &format!("{AGREES},{{\"name\":\"busybox\",\"cpu_ns\":5}}")).unwrap_err();
        assert_eq!(error, "pods: all but agrees are excluded: [(\"agrees\", 5), (\"busybox\", 5)]");
        assert!(excluded(70, "").is_err());
    }

    #[test]
    fn a_rule_counts_when_the_agent_says_that_it_holds() {
        let transcript = console("@@ fact pods excluded within 12 ms\n@@ fact pods slower within  ms");
        assert_eq!(transcript.pod_figures(), "pod excluded within 12 ms, slower within ?");
        assert_eq!(transcript.slower().unwrap_err().to_string(), "pods slower: not applied");
    }

    #[test]
    fn a_slower_pod_has_its_own_period() {
        let slower = |cpu_ns: u64| {
            console(&format!(
                "@@ fact pods slower within 3 ms\n@@ begin pods-slower\n\
                 {{\"services\":[{{\"name\":\"refuses\",\"cpu_ns\":{cpu_ns}}}]}}\n@@ end pods-slower 0"
            ))
            .slower()
        };
        assert!(slower(150_000_000).is_ok());
        assert!(slower(150_753_750).is_err());
        assert!(slower(0).is_err());
    }
}
