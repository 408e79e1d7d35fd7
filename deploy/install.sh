#!/usr/bin/env bash
# Installs the stack with Helm alone, wave by wave. A wave begins when everything of the one before is ready.
#
#   deploy/install.sh --profile dev|production [--dry-run] [--from WAVE] [--timeout 10m] [--values FOLDER]
#
# --dry-run prints the commands and runs none. --from begins with a later wave, after a failure. --values takes
# FOLDER/<chart>.yaml, where there is one, on top of the profile. Needs helm 3.14 or newer and kubectl; may be repeated.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/charts"

RELEASES=( # wave, release and chart, namespace
  "1 kalypso-otel otel-system"
  "2 kalypso-istio istio-system"
  "3 kalypso-minio minio"
  "4 kalypso-mimir mimir"
  "4 kalypso-tempo tempo"
  "4 kalypso-loki loki"
  "5 kalypso-pyroscope pyroscope"
  "6 kalypso-grafana grafana"
)
# What production needs and no chart makes up: namespace, Secret, its keys.
SECRETS=(
  "minio kalypso-minio rootUser rootPassword"
  "mimir kalypso-s3 S3_ACCESS_KEY_ID S3_SECRET_ACCESS_KEY"
  "tempo kalypso-s3 S3_ACCESS_KEY_ID S3_SECRET_ACCESS_KEY"
  "loki kalypso-s3 S3_ACCESS_KEY_ID S3_SECRET_ACCESS_KEY"
  "pyroscope kalypso-s3 S3_ACCESS_KEY_ID S3_SECRET_ACCESS_KEY"
  "grafana kalypso-grafana admin-user admin-password"
)
profile='' dry='' from=1 timeout=10m values=''

die() { echo "install.sh: $*" >&2; exit 1; }
say() { echo "==> $*"; }
run() { if [ -n "$dry" ]; then echo "$*"; else "$@"; fi; }

while [ $# -gt 0 ]; do
  case $1 in
    --profile) profile=${2:-}; shift 2 || die "--profile dev|production" ;;
    --from) from=${2:-}; shift 2 || die "--from WAVE" ;;
    --timeout) timeout=${2:-}; shift 2 || die "--timeout 10m" ;;
    --values) values=$(readlink -f "${2:-}") || die "--values FOLDER"; shift 2 ;;
    --dry-run) dry=yes; shift ;;
    -h | --help) sed -n '2,8s/^# \{0,1\}//p' "../install.sh"; exit ;;
    *) die "unknown argument $1" ;;
  esac
done
case $profile in dev | production) ;; *) die "--profile dev or --profile production" ;; esac
[[ $from =~ ^[1-6]$ ]] || die "--from is a wave, 1 to 6"
if [ -z "$dry" ]; then
  for program in helm kubectl; do command -v "$program" > /dev/null || die "$program is not there"; done
  kubectl version > /dev/null || die "kubectl reaches no cluster"
fi

namespace() { # NAMESPACE
  say "namespace $1"
  if [ -n "$dry" ] || ! kubectl get namespace "$1" > /dev/null 2>&1; then run kubectl create namespace "$1"; fi
  # The agent is on the host's pids and reads its processes.
  if [ "$1" = pyroscope ]; then
    run kubectl label namespace "$1" pod-security.kubernetes.io/enforce=privileged --overwrite
  fi
}

# `helm dependency build` wants every repository under a name.
repositories() {
  local url number=0
  say "chart repositories"
  for url in $(sed -n 's/^ *repository: \(https:.*\)$/\1/p' kalypso-*/Chart.yaml | sort -u); do
    number=$((number + 1))
    run helm repo add "kalypso-$number" "$url" --force-update
  done
}

# Every Secret that is missing is named, before anything is installed.
check_secrets() {
  local line missing=0 namespace name key
  for line in "${SECRETS[@]}"; do
    read -r namespace name keys <<< "$line"
    for key in $keys; do
      if ! kubectl -n "$namespace" get secret "$name" -o "jsonpath={.data['$key']}" 2> /dev/null | grep -q .; then
        echo "install.sh: no key $key in the Secret $name of the namespace $namespace" >&2
        missing=1
      fi
    done
  done
  [ "$missing" = 0 ] || die "make them (by hand, External Secrets or Sealed Secrets) and start again"
}

upgrade() { # RELEASE NAMESPACE [HELM ARGUMENTS]
  local release=$1 namespace=$2 files=()
  shift 2
  if [ -n "$values" ] && [ -f "$values/$release.yaml" ]; then files=(--values "$values/$release.yaml"); fi
  run helm upgrade --install "$release" "$release" --namespace "$namespace" --values "$release/values-$profile.yaml" \
    "${files[@]}" --wait --wait-for-jobs --timeout "$timeout" "$@"
}

# Certificates first, then the operator's certificate, then its pod: Helm knows no order inside a release.
upgrade_otel() { # RELEASE NAMESPACE
  local operator=opentelemetry-operator
  upgrade "$@" --set "$operator.enabled=false"
  upgrade "$@" --set "$operator.replicaCount=0"
  run kubectl -n "$2" wait certificate --all --for=condition=Ready --timeout="$timeout"
  upgrade "$@"
}

ready() { # NAMESPACE
  local workloads workload
  if [ -n "$dry" ]; then echo "kubectl -n $1 rollout status --timeout=$timeout (each Deployment, StatefulSet, DaemonSet)"; return; fi
  workloads=$(kubectl -n "$1" get deployment,statefulset,daemonset -o name)
  for workload in $workloads; do kubectl -n "$1" rollout status "$workload" --timeout="$timeout"; done
}

install() { # RELEASE NAMESPACE
  say "$1 in $2"
  run helm dependency build "$1"
  if [ "$1" = kalypso-otel ]; then upgrade_otel "$@"; else upgrade "$@"; fi
  ready "$2"
}

verify() {
  local line wave release namespace
  say "verification"
  for line in "${RELEASES[@]}"; do
    read -r wave release namespace <<< "$line"
    run helm status "$release" --namespace "$namespace" --output json > /dev/null || die "$release is not there"
    run kubectl -n "$namespace" wait pod --all --for=condition=Ready --field-selector=status.phase=Running --timeout="$timeout"
  done
  # Profiles arrive: the API server's proxy asks Pyroscope for the labels that the agents sent.
  run kubectl -n pyroscope rollout status daemonset/profiler-agent --timeout="$timeout"
  run kubectl get --raw "/api/v1/namespaces/pyroscope/services/kalypso-pyroscope:4040/proxy/ready"
}

repositories
for line in "${RELEASES[@]}"; do read -r _ _ name <<< "$line"; namespace "$name"; done
if [ "$profile" = production ] && [ -z "$dry" ]; then check_secrets; fi
for line in "${RELEASES[@]}"; do
  read -r wave release name <<< "$line"
  if [ "$wave" -lt "$from" ]; then say "$release: left as it is"; continue; fi
  install "$release" "$name"
done
verify
say "the stack stands: kubectl -n grafana port-forward service/kalypso-grafana 3000:80"
