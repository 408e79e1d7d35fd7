{{- /* A line of the file: list key value. Nothing where the value is empty. JSON's strings and arrays are TOML's. */}}
{{- define "profiler-agent.setting" -}}
{{- $key := index . 0 }}
{{- $value := index . 1 }}
{{- if kindIs "bool" $value }}
{{ $key }} = {{ $value }}
{{- else if kindIs "map" $value }}
{{- if $value }}
{{ $key }} = { {{ range $i, $name := keys $value | sortAlpha }}{{ if $i }}, {{ end }}{{ toJson $name }} = {{ get $value $name | toString | toJson }}{{ end }} }
{{- end }}
{{- else if $value }}
{{ $key }} = {{ if kindIs "float64" $value }}{{ int64 $value }}{{ else }}{{ toJson $value }}{{ end }}
{{- end }}
{{- end }}

{{- /* YAML takes a bare on and off for true and false. */}}
{{- define "profiler-agent.kubernetesMode" -}}
{{- $mode := .Values.agent.kubernetes.mode }}
{{- if kindIs "bool" $mode }}{{ ternary "on" "off" $mode }}{{ else }}{{ $mode }}{{ end }}
{{- end }}

{{- /* The file that the agent reads. */}}
{{- define "profiler-agent.config" -}}
{{- $a := .Values.agent -}}
{{- $collector := eq .Values.via "collector" -}}
# `profiler-agent config show --config FILE` in the pod says what counts and why.
{{- include "profiler-agent.setting" (list "frequency" $a.frequency) }}
{{- include "profiler-agent.setting" (list "event" $a.event) }}
{{- if not $a.kernelStacks }}{{ include "profiler-agent.setting" (list "no-kernel-stacks" true) }}{{ end }}
{{- include "profiler-agent.setting" (list "unwind-max-bytes" $a.unwindMaxBytes) }}
{{- include "profiler-agent.setting" (list "cpu-budget" $a.cpuBudget) }}
{{- include "profiler-agent.setting" (list "memory-budget" $a.memoryBudget) }}
{{- with include "profiler-agent.endpoints" . | fromJsonArray }}
{{- include "profiler-agent.setting" (list "endpoint" .) }}
{{- include "profiler-agent.setting" (list "protocol" (ternary "grpc" $a.protocol $collector)) }}
{{- end }}
{{- include "profiler-agent.setting" (list "interval" $a.interval) }}
{{- include "profiler-agent.setting" (list "tenant" $a.tenant) }}
{{- include "profiler-agent.setting" (list "header" $a.headers) }}
{{- if not $collector }}
{{- include "profiler-agent.setting" (list "tls-server-name" $a.tlsServerName) }}
{{- include "profiler-agent.setting" (list "basic-auth-user" $a.basicAuthUser) }}
{{- end }}
{{- include "profiler-agent.setting" (list "canary-url" $a.canary.url) }}
{{- include "profiler-agent.setting" (list "canary-tenant" $a.canary.tenant) }}
{{- include "profiler-agent.setting" (list "canary-basic-auth-user" $a.canary.basicAuthUser) }}
{{- range include "profiler-agent.agentKeys" . | fromJsonArray }}
{{- include "profiler-agent.setting" (list (get (include "profiler-agent.credentialSettings" $ | fromJson) .) (printf "/etc/profiler/credentials/%s" .)) }}
{{- end }}
{{- if ne .Values.spool.type "none" }}
{{- include "profiler-agent.setting" (list "spool-dir" "/var/lib/profiler/spool") }}
{{- include "profiler-agent.setting" (list "spool-max-bytes" .Values.spool.maxBytes) }}
{{- end }}
{{- include "profiler-agent.setting" (list "service-name-from" $a.serviceNameFrom) }}
{{- include "profiler-agent.setting" (list "label" $a.labels) }}
{{- include "profiler-agent.setting" (list "label-style" $a.labelStyle) }}
{{- include "profiler-agent.setting" (list "max-series" $a.maxSeries) }}
{{- include "profiler-agent.setting" (list "debuginfod" $a.debuginfod) }}
{{- include "profiler-agent.setting" (list "kubernetes" (include "profiler-agent.kubernetesMode" .)) }}
{{- include "profiler-agent.setting" (list "annotation-prefix" $a.kubernetes.annotationPrefix) }}
{{- include "profiler-agent.setting" (list "label-preset" $a.kubernetes.labelPreset) }}
{{- include "profiler-agent.setting" (list "default-enabled" $a.kubernetes.defaultEnabled) }}
{{- if $a.kubernetes.kubeletFallback }}{{ include "profiler-agent.setting" (list "kubelet-fallback" true) }}{{ end }}
{{- include "profiler-agent.setting" (list "pod-label" $a.kubernetes.podLabels) }}
{{- include "profiler-agent.setting" (list "pod-annotation" $a.kubernetes.podAnnotations) }}
{{- include "profiler-agent.setting" (list "listen" (printf "%s:%d" .Values.page.address (int64 .Values.page.port))) }}
{{- include "profiler-agent.setting" (list "metrics-open" .Values.metrics.open) }}
{{- include "profiler-agent.setting" (list "allowed-host" .Values.page.allowedHosts) }}
{{- include "profiler-agent.setting" (list "log-level" $a.log.level) }}
{{- include "profiler-agent.setting" (list "log-format" $a.log.format) }}
{{- range $a.services }}

[[service]]
{{- include "profiler-agent.setting" (list "name" .name) }}
{{- include "profiler-agent.setting" (list "frequency" .frequency) }}
{{- end }}
{{- range $rule := $a.relabel }}

[[relabel]]
{{- range $key := keys $rule | sortAlpha }}
{{- if has $key (list "replacement" "separator") }}
{{ $key }} = {{ get $rule $key | toJson }}
{{- else }}
{{- include "profiler-agent.setting" (list $key (get $rule $key)) }}
{{- end }}
{{- end }}
{{- end }}
{{ end }}

{{- /* Which setting has the file with a key of the Secret. */}}
{{- define "profiler-agent.credentialSettings" -}}
{"bearer-token": "bearer-token-file", "basic-auth-password": "basic-auth-password-file", "headers": "header-file",
"ca.crt": "ca-file", "tls.crt": "cert-file", "tls.key": "key-file", "page-token": "page-token-file",
"canary-bearer-token": "canary-bearer-token-file", "canary-basic-auth-password": "canary-basic-auth-password-file"}
{{- end }}

{{- /* Ports of all URLs that the agent opens, as JSON. */}}
{{- define "profiler-agent.urlPorts" -}}
{{- $urls := concat (include "profiler-agent.endpoints" . | fromJsonArray) .Values.agent.debuginfod }}
{{- with .Values.agent.canary.url }}{{ $urls = append $urls . }}{{ end }}
{{- $ports := .Values.networkPolicy.extraEndpointPorts }}
{{- range $url := $urls }}
{{- $ports = append $ports (include "profiler-agent.authority" $url | regexFind "[0-9]+$") }}
{{- end }}
{{- $seen := list }}
{{- range $ports }}{{ $seen = append $seen (int64 .) }}{{ end }}
{{- toJson (uniq $seen) }}
{{- end }}
