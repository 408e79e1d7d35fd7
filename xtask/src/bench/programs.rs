//! Real programs that keep the machine busy: whatever of them is installed.

use super::Running;
use crate::places;
use anyhow::{Result, bail};
use std::fs;

const PYTHON: &str = "
def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
while True: fib(25); sorted(str(i) for i in range(20000))
";
const NODE: &str = "
const fib = n => n < 2 ? n : fib(n - 1) + fib(n - 2);
for (;;) { fib(27); JSON.stringify([...Array(20000).keys()].map(String).sort()); }
";
const JAVA: &str = "
import java.util.*;
public class BenchMix {
    static long fib(int n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
    public static void main(String[] args) {
        for (long sum = 0; ; sum += fib(27)) {
            List<String> list = new ArrayList<>();
            for (int i = 0; i < 20000; i++) list.add(String.valueOf(i * sum));
            Collections.sort(list);
        }
    }
}
";
const C: &str = "for (;;) for (int i = 0; i < 1000; i++) sink += i;";

/// The running programs; they end with this.
pub(super) struct Mix {
    running: Vec<(&'static str, Running)>,
    missing: Vec<&'static str>,
}

impl Mix {
    /// Starts what is there.
    pub(super) fn start() -> Result<Self> {
        let java = places::cache()?.join("BenchMix.java");
        fs::write(&java, JAVA)?;
        let c = places::cache()?.join("bench-mix.c");
        fs::write(&c, format!("volatile long sink; int main(void) {{ {C} }}"))?;
        let shell_loop = format!("while gcc -O2 -S -o /dev/null {}; do :; done", c.display());
        let java = java.to_string_lossy().into_owned();
        let programs = [
            ("python3", vec!["-c", PYTHON]),
            ("node", vec!["-e", NODE]),
            ("java", vec!["-XX:+UseSerialGC", &java]),
            ("sh", vec!["-c", &shell_loop]),
        ];
        let mut mix = Self { running: Vec::new(), missing: Vec::new() };
        for (program, args) in programs {
            match Running::start(program.as_ref(), &args) {
                Ok(running) => mix.running.push((program, running)),
                Err(_) => mix.missing.push(program),
            }
        }
        if mix.running.is_empty() {
            bail!("none of the programs is installed: {}", mix.missing.join(", "));
        }
        Ok(mix)
    }

    /// What runs and what does not.
    pub(super) fn describe(&self) -> String {
        let names: Vec<&str> = self.running.iter().map(|(name, _)| *name).collect();
        let missing = if self.missing.is_empty() {
            String::new()
        } else {
            format!("; not installed: {}", self.missing.join(", "))
        };
        format!("a mix of real programs: {} (a compiler started again and again){missing}", names.join(", "))
    }
}
