//! What owns a pod, from what the pod itself says: no right to read anything else is needed.
//!
//! A Deployment owns its pods through a ReplicaSet that has its name and a hash; a CronJob through a Job that has its name
//! and the minute it was planned for (`getJobName` of the CronJob controller).

use std::ops::RangeInclusive;

/// The hash in the name of a Deployment's ReplicaSet.
const DEPLOYMENT_HASH: &str = "pod-template-hash";
/// The same of an Argo Rollout.
const ROLLOUT_HASH: &str = "rollouts-pod-template-hash";
/// Digits of minutes since 1970, from 1989 to 3871.
const MINUTE_DIGITS: RangeInclusive<usize> = 8..=9;
/// How long before its pod a job may have been planned: controllers that were away catch up.
const PLANNED_MINUTES_BEFORE: i64 = 7 * 24 * 60;
/// Clocks of nodes differ.
const PLANNED_MINUTES_AFTER: i64 = 10;

/// What owns a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// `Deployment`, `CronJob`, `StatefulSet`, …; `Pod` for a pod that nothing owns.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// What a pod says of its owner.
#[derive(Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) pod_name: &'a str,
    /// Kind and name of the owner that controls it.
    pub(super) controller: Option<(&'a str, &'a str)>,
    /// When it was created.
    pub(super) created_unix_s: Option<i64>,
    /// Value of a label.
    pub(super) label: &'a dyn Fn(&str) -> Option<&'a str>,
}

/// The owner that people deal with.
pub(super) fn find(facts: &Facts<'_>) -> Owner {
    let owner = |kind: &str, name: &str| Owner { kind: kind.to_owned(), name: name.to_owned() };
    match facts.controller {
        Some(("ReplicaSet", name)) => {
            let without =
                |label| name.strip_suffix((facts.label)(label)?)?.strip_suffix('-').filter(|name| !name.is_empty());
            let deployment = without(DEPLOYMENT_HASH).map(|name| owner("Deployment", name));
            let rollout = || without(ROLLOUT_HASH).map(|name| owner("Rollout", name));
            deployment.or_else(rollout).unwrap_or_else(|| owner("ReplicaSet", name))
        }
        Some(("Job", name)) => match planned(name, facts.created_unix_s) {
            Some(cron_job) => owner("CronJob", cron_job),
            None => owner("Job", name),
        },
        // A static pod: kubelet gives it the node's name as well.
        Some(("Node", node)) => owner(
            "Pod",
            facts.pod_name.strip_suffix(node).and_then(|name| name.strip_suffix('-')).unwrap_or(facts.pod_name),
        ),
        Some((kind, name)) => owner(kind, name),
        None => owner("Pod", facts.pod_name),
    }
}

/// The CronJob that a job of this name is of: minutes that fit the time of its pod are none that somebody wrote.
fn planned(job: &str, created_unix_s: Option<i64>) -> Option<&str> {
    let (cron_job, digits) = job.rsplit_once('-')?;
    if cron_job.is_empty()
        || !MINUTE_DIGITS.contains(&digits.len())
        || !digits.bytes().all(|byte| byte.is_ascii_digit())
    {
        return None;
    }
    let planned: i64 = digits.parse().ok()?;
    let created = created_unix_s? / 60;
    let fits = (created - PLANNED_MINUTES_BEFORE..=created + PLANNED_MINUTES_AFTER).contains(&planned);
    fits.then_some(cron_job)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22 02:30:30 UTC.
    const NOW_S: i64 = 1_795_314_630;
    const MINUTE: i64 = NOW_S / 60;

    fn found(controller: Option<(&str, &str)>, pod_name: &str, labels: &[(&str, &'static str)]) -> (String, String) {
        let label = |wanted: &str| labels.iter().find(|(key, _)| *key == wanted).map(|(_, value)| *value);
        let facts = Facts { pod_name, controller, created_unix_s: Some(NOW_S), label: &label };
        let Owner { kind, name } = find(&facts);
        (kind, name)
    }

    #[test]
    fn a_deployment_stands_behind_its_replica_set() {
        let hash = [("pod-template-hash", "5d69d7f9c")];
        let cases = [
            ("web-5d69d7f9c", &hash[..], ("Deployment", "web")),
            ("web-api-5d69d7f9c", &hash, ("Deployment", "web-api")),
            // Made by hand.
            ("web", &hash, ("ReplicaSet", "web")),
            ("web-5d69d7f9c", &[], ("ReplicaSet", "web-5d69d7f9c")),
            ("-5d69d7f9c", &hash, ("ReplicaSet", "-5d69d7f9c")),
            ("web-5d69d7f9c", &[("rollouts-pod-template-hash", "5d69d7f9c")], ("Rollout", "web")),
        ];
        for (name, labels, wanted) in cases {
            let (kind, found) = found(Some(("ReplicaSet", name)), "web-5d69d7f9c-x2b4z", labels);
            assert_eq!((kind.as_str(), found.as_str()), wanted, "{name} {labels:?}");
        }
    }

    #[test]
    fn a_cron_job_stands_behind_a_job_of_its_time() {
        let cases = [
            (format!("backup-{MINUTE}"), ("CronJob", "backup".to_owned())),
            (format!("nightly-backup-{}", MINUTE - 30), ("CronJob", "nightly-backup".to_owned())),
            // Somebody wrote a date, a number, or another time.
            ("backup-20261122".to_owned(), ("Job", "backup-20261122".to_owned())),
            ("backup-1".to_owned(), ("Job", "backup-1".to_owned())),
            (format!("-{MINUTE}"), ("Job", format!("-{MINUTE}"))),
            (format!("backup-{}", MINUTE + 60), ("Job", format!("backup-{}", MINUTE + 60))),
            ("migrate".to_owned(), ("Job", "migrate".to_owned())),
            ("a-99999999999999999999".to_owned(), ("Job", "a-99999999999999999999".to_owned())),
        ];
        for (name, (kind, wanted)) in cases {
            assert_eq!(found(Some(("Job", &name)), "p", &[]), (kind.to_owned(), wanted), "{name}");
        }
    }

    #[test]
    fn others_own_their_pods_themselves() {
        let pod = |controller, name| found(controller, name, &[]);
        let owner = |kind: &str, name: &str| (kind.to_owned(), name.to_owned());
        assert_eq!(pod(Some(("StatefulSet", "db")), "db-0"), owner("StatefulSet", "db"));
        assert_eq!(pod(Some(("DaemonSet", "agent")), "agent-x8k2p"), owner("DaemonSet", "agent"));
        assert_eq!(pod(None, "shell"), owner("Pod", "shell"));
        assert_eq!(pod(Some(("Node", "n1")), "kube-apiserver-n1"), owner("Pod", "kube-apiserver"));
        assert_eq!(pod(Some(("Node", "n1")), "odd"), owner("Pod", "odd"));
    }
}
