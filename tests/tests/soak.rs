//! Processes that come and go, for long: memory, maps and descriptors of the agent stay flat.

use profiler_tests::agent::Agent;
use profiler_tests::cgroup::{Group, Version};
use profiler_tests::stub::{Protocol, Stub};
use profiler_tests::workload::{Running, compile_c};
use std::time::{Duration, Instant};

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// A figure over time.
struct Series {
    name: &'static str,
    /// What a change of the whole time may be besides noise, as a share of the mean.
    tolerance: f64,
    points: Vec<(f64, f64)>,
}

impl Series {
    fn new(name: &'static str, tolerance: f64) -> Self {
        Self { name, tolerance, points: Vec::new() }
    }

    /// Mean, slope a second, and the slope's standard error, by least squares.
    fn line(&self) -> (f64, f64, f64) {
        let count = self.points.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| self.points.iter().map(of).sum::<f64>() / count;
        let (mean_t, mean_y) = (mean(|point| point.0), mean(|point| point.1));
        let spread: f64 = self.points.iter().map(|(t, _)| (t - mean_t).powi(2)).sum();
        let slope = self.points.iter().map(|(t, y)| (t - mean_t) * (y - mean_y)).sum::<f64>() / spread;
        let rest = |(t, y): &(f64, f64)| (y - mean_y - slope * (t - mean_t)).powi(2);
        let variance = self.points.iter().map(rest).sum::<f64>() / (count - 2.0);
        (mean_y, slope, (variance / spread).sqrt())
    }

    /// Whether the change over the whole time is within noise: four standard errors, which neighbouring points that
    /// are alike make too small, and the tolerance.
    fn is_flat(&self) -> bool {
        let (mean, slope, error) = self.line();
        let seconds = self.points.last().unwrap().0 - self.points[0].0;
        let (change, noise) = (slope * seconds, 4.0 * error * seconds + self.tolerance * mean);
        println!("{}: mean {mean:.1}, change {change:+.1} in {seconds:.0} s, noise {noise:.1}", self.name);
        change <= noise
    }
}

/// Under churn, after a third of the time for getting warm. `tolerance` is that of resident memory. Of other processes the
/// agent hears, and samples none: what a host does besides would be taken for growth.
fn soak(time: Duration, tolerance: f64) {
    let folder = tempfile::tempdir().unwrap();
    let stub = Stub::forgetting(Protocol::Grpc);
    let spool = folder.path().join("spool");
    let group = Group::new(Version::of_containers());
    let agent = Agent::run(&[
        "--cgroup",
        group.as_str(),
        "--endpoint",
        &stub.endpoint(),
        "--frequency",
        "99",
        "--interval",
        "1s",
        "--spool-dir",
        spool.to_str().unwrap(),
    ]);
    let seconds = time.as_secs().to_string();
    let other = folder.path().join("other");
    std::fs::copy("/bin/true", &other).unwrap();
    let arguments = [&*seconds, "2", "/bin/true", other.to_str().unwrap()];
    let mut churn = Running::held(&compile_c(folder.path(), "forks.c", &[]), &arguments);
    group.add(&churn);
    churn.go_on();
    let started = Instant::now();
    let mut all = [
        Series::new("resident MiB without the hour", tolerance),
        Series::new("map MiB", 0.05),
        Series::new("descriptors", 0.05),
        Series::new("processes map used", 0.05),
    ];
    while started.elapsed() < time {
        std::thread::sleep(LOOK);
        if started.elapsed() < time / 3 {
            continue;
        }
        let (metrics, at_s) = (agent.metrics(), started.elapsed().as_secs_f64());
        metrics.assert_balance();
        let mib = |name: &str| metrics.get(name) / f64::from(1 << 20);
        let maps = mib("profiler_map_bytes") + mib("profiler_unwind_bytes");
        let used = metrics.get("profiler_map_used_ratio{map=\"processes\"}");
        // The last hour grows for an hour.
        let resident = mib("process_resident_memory_bytes") - mib("profiler_history_bytes");
        let values = [resident, maps, agent.descriptors() as f64, used];
        all.iter_mut().zip(values).for_each(|(series, value)| series.points.push((at_s, value)));
    }
    let said = churn.wait();
    println!("{} processes in {seconds} s", said["children"]);
    let flat: Vec<bool> = all.iter().map(Series::is_flat).collect();
    let last = agent.ends_well();
    assert_eq!(last.taken, last.exported, "{}", last.stderr);
    assert!(flat.iter().all(|is_flat| *is_flat), "something grows, see above");
}

/// In a minute some 100,000 processes come and go: what grows with them by 150 bytes each is more than the tolerance.
#[test]
fn a_minute_of_churn_leaves_the_agent_as_it_was() {
    soak(Duration::from_secs(90), 0.25);
}

#[test]
#[ignore = "two hours; cargo xtask test --long"]
fn two_hours_of_churn_leave_the_agent_as_it_was() {
    soak(Duration::from_secs(2 * 3600), 0.08);
}
