//! Objects that tests apply.

use serde_json::{Value, json};

/// Namespace of the workloads.
pub const SHOP: &str = "shop";
/// Namespace of agent and server.
pub const PROFILING: &str = "profiling";

/// A namespace; `privileged` admits the agent.
#[must_use]
pub fn namespace(name: &str, level: &str) -> Value {
    let labels = json!({"pod-security.kubernetes.io/enforce": level});
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

/// A pod's specification: one container, an image of one program with these arguments, and a share of one CPU.
#[must_use]
pub fn burning(arguments: &[&str], cpu: &str, restart: &str) -> Value {
    json!({
        "restartPolicy": restart,
        "automountServiceAccountToken": false,
        "terminationGracePeriodSeconds": 2,
        "containers": [{
            "name": "work", "image": "localhost/burn:test", "imagePullPolicy": "Never", "args": arguments,
            "resources": {"limits": {"cpu": cpu}, "requests": {"cpu": "10m"}},
        }],
    })
}

/// A Deployment of one such pod in [`SHOP`].
#[must_use]
pub fn deployment(name: &str, annotations: &Value, cpu: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": SHOP},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}, "annotations": annotations},
                "spec": burning(&[], cpu, "Always"),
            },
        },
    })
}

/// A Job in [`SHOP`] that burns this many CPU seconds.
#[must_use]
pub fn job(name: &str, seconds: &str) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": SHOP},
        "spec": {"backoffLimit": 0, "template": {"spec": burning(&[seconds], "300m", "Never")}},
    })
}

/// A CronJob in [`SHOP`] that does the same every minute.
#[must_use]
pub fn cron_job(name: &str, seconds: &str) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name, "namespace": SHOP},
        "spec": {
            "schedule": "* * * * *", "concurrencyPolicy": "Forbid",
            "jobTemplate": {"spec": job(name, seconds)["spec"]},
        },
    })
}

/// A server and its Service, whose address stays when the pod goes; so does what is stored, in a folder of the node.
#[must_use]
pub fn pyroscope(arguments: &[String], folder: &str) -> [Value; 2] {
    let labels = json!({"app": "pyroscope"});
    let pod = json!({
        "automountServiceAccountToken": false,
        "terminationGracePeriodSeconds": 30,
        "containers": [{
            "name": "pyroscope", "image": "localhost/pyroscope:test", "imagePullPolicy": "Never",
            "args": arguments, "workingDir": "/data",
            "ports": [{"name": "http", "containerPort": 4040}],
            "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 1},
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        }],
        "volumes": [{"name": "data", "hostPath": {"path": folder, "type": "DirectoryOrCreate"}}],
    });
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "pyroscope", "namespace": PROFILING},
        "spec": {
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "pyroscope", "namespace": PROFILING},
        "spec": {"selector": labels, "ports": [{"name": "http", "port": 4040, "targetPort": "http"}]},
    });
    [deployment, service]
}

/// A pod of the agent alone, with these capabilities, that sends nowhere.
#[must_use]
pub fn agent_with(name: &str, capabilities: &[&str], account: Option<&str>, arguments: &[&str]) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": PROFILING, "labels": {"app": "trial"}},
        "spec": {
            "hostPID": true,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 5,
            "serviceAccountName": account.unwrap_or("default"),
            "automountServiceAccountToken": account.is_some(),
            "tolerations": [{"operator": "Exists"}],
            "containers": [{
                "name": "agent", "image": "profiler-agent:0.1.0", "imagePullPolicy": "Never",
                "command": ["/profiler-agent"], "args": arguments,
                "env": [{"name": "PROFILER_NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
                "securityContext": {
                    "runAsUser": 0, "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false,
                    "seccompProfile": {"type": "RuntimeDefault"},
                    "capabilities": {"drop": ["ALL"], "add": capabilities},
                },
                "volumeMounts": [{"name": "cgroup", "mountPath": "/sys/fs/cgroup", "readOnly": true}],
            }],
            "volumes": [{"name": "cgroup", "hostPath": {"path": "/sys/fs/cgroup", "type": "Directory"}}],
        },
    })
}
