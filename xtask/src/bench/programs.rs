//! Real programs that keep the machine busy: whatever of them is installed.

use super::Running;
use super::postgres::Postgres;
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
const C: &str = "volatile long sink; int main(void) { for (;;) for (int i = 0; i < 1000; i++) sink += i; }";

/// The running programs; they end with this.
pub(super) struct Mix {
    names: Vec<&'static str>,
    missing: Vec<&'static str>,
    running: Vec<Running>,
    postgres: Option<Postgres>,
}

impl Mix {
    /// Starts what is there.
    pub(super) fn start() -> Result<Self> {
        let java = places::cache()?.join("BenchMix.java");
        fs::write(&java, JAVA)?;
        let java = java.to_string_lossy().into_owned();
        let mut mix = Self { names: Vec::new(), missing: Vec::new(), running: Vec::new(), postgres: None };
        mix.add("python3", &["-c", PYTHON]);
        mix.add("node", &["-e", NODE]);
        mix.add("java", &["-XX:+UseSerialGC", &java]);
        mix.postgres = Postgres::start()?;
        let names = if mix.postgres.is_some() { &mut mix.names } else { &mut mix.missing };
        names.push("postgres");
        if mix.names.is_empty() {
            bail!("none of the programs is installed: {}", mix.missing.join(", "));
        }
        Ok(mix)
    }

    /// Starts a compiler again and again: processes that live for milliseconds.
    pub(super) fn add_compiler(&mut self) -> Result<()> {
        let source = places::cache()?.join("bench-mix.c");
        fs::write(&source, C)?;
        self.add("sh", &["-c", &format!("while gcc -O2 -S -o /dev/null {}; do :; done", source.display())]);
        Ok(())
    }

    fn add(&mut self, program: &'static str, args: &[&str]) {
        match Running::start(program.as_ref(), args) {
            Ok(running) => {
                self.running.push(running);
                self.names.push(program);
            }
            Err(_) => self.missing.push(program),
        }
    }

    /// What runs and what does not.
    pub(super) fn describe(&self) -> String {
        let missing = match self.missing.is_empty() {
            true => String::new(),
            false => format!("; not installed: {}", self.missing.join(", ")),
        };
        format!("a mix of real programs: {}{missing}", self.names.join(", "))
    }
}
