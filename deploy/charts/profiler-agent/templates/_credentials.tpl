{{- /* Keys that the Secret has, as JSON. */}}
{{- define "profiler-agent.credentialKeys" -}}
{{- $c := .Values.credentials }}
{{- $keys := list }}
{{- if eq $c.source "values" }}{{ $keys = keys $c.values }}
{{- else if eq $c.source "existing" }}{{ $keys = $c.existing.keys }}
{{- else if eq $c.source "external" }}{{ $keys = keys $c.external.data }}
{{- else if eq $c.source "sealed" }}{{ $keys = keys $c.sealed }}
{{- end }}
{{- toJson (sortAlpha $keys) }}
{{- end }}

{{- /* Those of them that the agents use: what is for the server is the collector's where there is one. */}}
{{- define "profiler-agent.agentKeys" -}}
{{- $keys := include "profiler-agent.credentialKeys" . | fromJsonArray }}
{{- if eq .Values.via "collector" }}
{{- $keys = without $keys "bearer-token" "basic-auth-password" "tls.crt" "tls.key" }}
{{- end }}
{{- toJson $keys }}
{{- end }}

{{- define "profiler-agent.credentialsName" -}}
{{- if eq .Values.credentials.source "existing" }}
{{- .Values.credentials.existing.name }}
{{- else }}
{{- printf "%s-credentials" (include "profiler-agent.fullname" .) }}
{{- end }}
{{- end }}

{{- /* What the schema cannot see. */}}
{{- define "profiler-agent.check" -}}
{{- $keys := include "profiler-agent.credentialKeys" . | fromJsonArray }}
{{- $c := .Values.credentials }}
{{- if and (ne $c.source "none") (not $keys) }}
{{- fail (printf "credentials.source is %q, but no key is named; name those that the Secret has" $c.source) }}
{{- end }}
{{- if and (eq $c.source "existing") (not $c.existing.name) }}
{{- fail "credentials.source is \"existing\", but credentials.existing.name is empty; give the name of the Secret" }}
{{- end }}
{{- if and (eq $c.source "external") (not $c.external.store.name) }}
{{- fail "credentials.source is \"external\", but credentials.external.store.name is empty; give the name of the store" }}
{{- end }}
{{- if and (has "bearer-token" $keys) (has "basic-auth-password" $keys) }}
{{- fail "credentials has bearer-token and basic-auth-password; only one can authenticate" }}
{{- end }}
{{- if ne (has "basic-auth-password" $keys) (ne .Values.agent.basicAuthUser "") }}
{{- fail "agent.basicAuthUser and the key basic-auth-password of credentials belong together; give both or neither" }}
{{- end }}
{{- if ne (has "canary-basic-auth-password" $keys) (ne .Values.agent.canary.basicAuthUser "") }}
{{- fail "agent.canary.basicAuthUser and the key canary-basic-auth-password of credentials belong together; give both or neither" }}
{{- end }}
{{- if ne (has "tls.crt" $keys) (has "tls.key" $keys) }}
{{- fail "credentials has one of tls.crt and tls.key; give both or neither" }}
{{- end }}
{{- if eq .Values.via "collector" }}
{{- $servers := include "profiler-agent.servers" . | fromJsonArray }}
{{- if not $servers }}
{{- fail "via is \"collector\", but agent.endpoints is empty; give the server that the collector sends to" }}
{{- end }}
{{- if has "headers" $keys }}
{{- fail "via is \"collector\", which cannot read the key headers of credentials; use collector.extraConfig" }}
{{- end }}
{{- if and (has "bearer-token" $keys) (hasPrefix "http:" (first $servers)) }}
{{- fail "via is \"collector\", which sends a bearer-token over https alone; agent.endpoints begins with http" }}
{{- end }}
{{- end }}
{{- if and .Values.agent.canary.url (not (include "profiler-agent.endpoints" . | fromJsonArray)) }}
{{- fail "agent.canary.url without agent.endpoints; give that, too" }}
{{- end }}
{{- $surge := dig "rollingUpdate" "maxSurge" 0 .Values.updateStrategy | toString }}
{{- if and (eq .Values.spool.type "hostPath") (not (has $surge (list "0" "0%"))) }}
{{- fail "updateStrategy.rollingUpdate.maxSurge with spool.type hostPath; two agents cannot share a spool, use maxUnavailable" }}
{{- end }}
{{- end }}
