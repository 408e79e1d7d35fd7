{{- define "profiler-agent.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* Short enough for what is put behind it. */}}
{{- define "profiler-agent.fullname" -}}
{{- $name := include "profiler-agent.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 45 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 45 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 45 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "profiler-agent.namespace" -}}
{{- default .Release.Namespace .Values.namespace.name }}
{{- end }}

{{- /* What rights on the cluster are called: releases of one name in two namespaces do not meet. */}}
{{- define "profiler-agent.clusterName" -}}
{{- printf "%s-%s" (include "profiler-agent.namespace" .) (include "profiler-agent.fullname" .) }}
{{- end }}

{{- define "profiler-agent.selectorLabels" -}}
app.kubernetes.io/name: {{ include "profiler-agent.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: agent
{{- end }}

{{- define "profiler-agent.collectorSelectorLabels" -}}
app.kubernetes.io/name: {{ include "profiler-agent.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: collector
{{- end }}

{{- /* Of every object, besides its name. */}}
{{- define "profiler-agent.commonLabels" -}}
{{- $own := include "profiler-agent.ownLabels" . | fromYaml }}
{{- toYaml (merge $own .Values.commonLabels) }}
{{- end }}

{{- define "profiler-agent.ownLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: profiler
{{- end }}

{{- define "profiler-agent.labels" -}}
{{ include "profiler-agent.selectorLabels" . }}
{{ include "profiler-agent.commonLabels" . }}
{{- end }}

{{- define "profiler-agent.collectorLabels" -}}
{{ include "profiler-agent.collectorSelectorLabels" . }}
{{ include "profiler-agent.commonLabels" . }}
{{- end }}

{{- /* list labels more: as one, the latter before the former. */}}
{{- define "profiler-agent.labelsWith" -}}
{{- toYaml (merge (dict) (index . 1) (index . 0 | fromYaml)) }}
{{- end }}

{{- define "profiler-agent.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "profiler-agent.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- /* list . image defaultTag */}}
{{- define "profiler-agent.imageOf" -}}
{{- $root := index . 0 }}
{{- $image := index . 1 }}
{{- $registry := default $image.registry $root.Values.global.imageRegistry }}
{{- $name := $image.repository }}
{{- if $registry }}{{ $name = printf "%s/%s" (trimSuffix "/" $registry) $name }}{{ end }}
{{- if $image.digest }}{{ printf "%s@%s" $name $image.digest }}{{ else }}{{ printf "%s:%s" $name (default (index . 2) $image.tag) }}{{ end }}
{{- end }}

{{- define "profiler-agent.image" -}}
{{- include "profiler-agent.imageOf" (list . .Values.image .Chart.AppVersion) }}
{{- end }}

{{- /* Pull secrets are written as names or as Kubernetes writes them. */}}
{{- define "profiler-agent.imagePullSecrets" -}}
{{- $names := list }}
{{- range concat .Values.global.imagePullSecrets .Values.imagePullSecrets }}
{{- $names = append $names (kindIs "map" . | ternary (get (kindIs "map" . | ternary . dict) "name") .) }}
{{- end }}
{{- with uniq $names -}}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Servers as JSON, wherever profiles pass. */}}
{{- define "profiler-agent.servers" -}}
{{- $servers := list }}
{{- range .Values.agent.endpoints }}{{ $servers = append $servers (tpl . $) }}{{ end }}
{{- toJson $servers }}
{{- end }}

{{- /* Where agents send to, as JSON. */}}
{{- define "profiler-agent.endpoints" -}}
{{- if eq .Values.via "collector" }}
{{- list (printf "http://%s.%s.svc.%s:4317" (include "profiler-agent.collectorName" .) (include "profiler-agent.namespace" .) .Values.clusterDomain) | toJson }}
{{- else }}
{{- include "profiler-agent.servers" . }}
{{- end }}
{{- end }}

{{- /* host:port of a URL. */}}
{{- define "profiler-agent.authority" -}}
{{- $authority := regexReplaceAll "^https?://([^/]*).*$" . "${1}" }}
{{- if not (regexMatch ":[0-9]+$" $authority) }}
{{- $authority = printf "%s:%s" $authority (hasPrefix "https:" . | ternary "443" "80") }}
{{- end }}
{{- $authority }}
{{- end }}
