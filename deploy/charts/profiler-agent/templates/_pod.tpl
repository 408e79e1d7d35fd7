{{- /* What the agent's container may do. */}}
{{- define "profiler-agent.securityContext" -}}
{{- $s := .Values.securityContext -}}
# With another user than 0 Kubernetes gives no capabilities to what the container executes.
runAsUser: 0
runAsGroup: 0
readOnlyRootFilesystem: true
{{- if $s.privileged }}
privileged: true
{{- else }}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
  add:
    - BPF # load programs, create maps
    - PERFMON # perf_event_open on every process; tracing programs
    - SYS_PTRACE # memory and maps of other users' processes
    - DAC_READ_SEARCH # their files
    - SYSLOG # addresses in /proc/kallsyms
    - CHECKPOINT_RESTORE # /proc/PID/map_files: files that were deleted
    {{- range $s.extraCapabilities }}
    - {{ . }}
    {{- end }}
{{- end }}
seccompProfile:
  {{- toYaml $s.seccompProfile | nindent 2 }}
{{- if eq (include "profiler-agent.appArmorStyle" .) "field" }}
appArmorProfile:
  type: {{ $s.appArmor.type }}
{{- end }}
{{- if $s.seLinux.enabled }}
seLinuxOptions:
  type: {{ $s.seLinux.type }}
{{- end }}
{{- end }}

{{- /* field, annotation or off. */}}
{{- define "profiler-agent.appArmorStyle" -}}
{{- $style := .Values.securityContext.appArmor.style }}
{{- if kindIs "bool" $style }}off
{{- else if ne $style "auto" }}{{ $style }}
{{- else if semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version }}field
{{- else }}annotation
{{- end }}
{{- end }}

{{- /* Annotation of a pod before Kubernetes 1.30. */}}
{{- define "profiler-agent.appArmorAnnotation" -}}
{{- if eq (include "profiler-agent.appArmorStyle" .) "annotation" -}}
container.apparmor.security.beta.kubernetes.io/profiler-agent: {{ eq .Values.securityContext.appArmor.type "Unconfined" | ternary "unconfined" "runtime/default" }}
{{- end }}
{{- end }}

{{- define "profiler-agent.env" -}}
- name: PROFILER_CONFIG
  value: /etc/profiler/profiler.toml
- name: PROFILER_NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
{{- if .Values.agent.kubernetes.kubeletFallback }}
- name: NODE_IP
  valueFrom:
    fieldRef:
      fieldPath: status.hostIP
- name: PROFILER_KUBELET_URL
  value: https://$(NODE_IP):10250
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "profiler-agent.volumeMounts" -}}
- name: config
  mountPath: /etc/profiler/profiler.toml
  subPath: profiler.toml
  readOnly: true
{{- if ne .Values.credentials.source "none" }}
- name: credentials
  mountPath: /etc/profiler/credentials
  readOnly: true
{{- end }}
# A container sees its own part of the hierarchy alone.
- name: cgroup
  mountPath: /sys/fs/cgroup
  readOnly: true
{{- if ne .Values.spool.type "none" }}
- name: spool
  mountPath: /var/lib/profiler
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* All but the spool. */}}
{{- define "profiler-agent.volumes" -}}
- name: config
  configMap:
    name: {{ include "profiler-agent.fullname" . }}
{{- if ne .Values.credentials.source "none" }}
- name: credentials
  secret:
    secretName: {{ include "profiler-agent.credentialsName" . }}
    defaultMode: 0400
{{- end }}
- name: cgroup
  hostPath:
    path: /sys/fs/cgroup
    type: Directory
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
