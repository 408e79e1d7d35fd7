{{- define "profiler-agent.collectorName" -}}
{{- printf "%s-collector" (include "profiler-agent.fullname" .) }}
{{- end }}

{{- /* OTLP in, OTLP over gRPC out. No batching: the agents' windows are batches. */}}
{{- define "profiler-agent.collectorConfig" -}}
{{- include "profiler-agent.check" . -}}
{{- $c := .Values.collector -}}
{{- $a := .Values.agent -}}
{{- $keys := include "profiler-agent.credentialKeys" . | fromJsonArray -}}
{{- $server := include "profiler-agent.servers" . | fromJsonArray | first -}}
{{- $headers := merge (dict) $a.headers -}}
{{- with $a.tenant }}{{ $_ := set $headers "X-Scope-OrgID" . }}{{ end -}}
{{- $auth := has "bearer-token" $keys | ternary "bearertokenauth" (has "basic-auth-password" $keys | ternary "basicauth" "") -}}
extensions:
  health_check:
    endpoint: 0.0.0.0:13133
  {{- if eq $auth "bearertokenauth" }}
  bearertokenauth:
    filename: /etc/credentials/bearer-token
  {{- else if $auth }}
  basicauth:
    client_auth:
      username: {{ $a.basicAuthUser }}
      password: ${file:/etc/credentials/basic-auth-password}
  {{- end }}
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: 0.0.0.0:4317
        max_recv_msg_size_mib: {{ $c.maxMessageMiB }}
      http:
        endpoint: 0.0.0.0:4318
processors:
  memory_limiter:
    check_interval: 1s
    limit_percentage: 80
    spike_limit_percentage: 20
exporters:
  otlp_grpc:
    endpoint: {{ include "profiler-agent.authority" $server }}
    tls:
      insecure: {{ hasPrefix "http:" $server }}
      {{- with $a.tlsServerName }}
      server_name_override: {{ . }}
      {{- end }}
      {{- if has "ca.crt" $keys }}
      ca_file: /etc/credentials/ca.crt
      {{- end }}
      {{- if has "tls.crt" $keys }}
      cert_file: /etc/credentials/tls.crt
      key_file: /etc/credentials/tls.key
      {{- end }}
    {{- with $headers }}
    headers:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with $auth }}
    auth:
      authenticator: {{ . }}
    {{- end }}
    retry_on_failure:
      enabled: true
      max_elapsed_time: 300s
    sending_queue:
      enabled: true
      queue_size: {{ $c.queueSize }}
service:
  extensions: [health_check{{ with $auth }}, {{ . }}{{ end }}]
  pipelines:
    profiles:
      receivers: [otlp]
      processors: [memory_limiter]
      exporters: [otlp_grpc]
  telemetry:
    metrics:
      readers:
        - pull:
            exporter:
              prometheus:
                host: 0.0.0.0
                port: 8888
{{- end }}

{{- define "profiler-agent.collectorMerged" -}}
{{- $config := include "profiler-agent.collectorConfig" . | fromYaml }}
{{- toYaml (mergeOverwrite $config (deepCopy .Values.collector.extraConfig)) }}
{{- end }}
