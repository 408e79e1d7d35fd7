{{- define "profiler-agent.collectorName" -}}
{{- printf "%s-collector" (include "profiler-agent.fullname" .) }}
{{- end }}

{{- /* OTLP in, OTLP over gRPC out. No batching: the agents' windows are batches. */}}
{{- define "profiler-agent.collectorConfig" -}}
{{- $c := .Values.collector -}}
extensions:
  health_check:
    endpoint: 0.0.0.0:13133
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
    endpoint: {{ $c.endpoint }}
    tls:
      insecure: {{ not $c.tls }}
    {{- with $c.headers }}
    headers:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    retry_on_failure:
      enabled: true
      max_elapsed_time: 300s
    sending_queue:
      enabled: true
      queue_size: {{ $c.queueSize }}
service:
  extensions: [health_check]
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
