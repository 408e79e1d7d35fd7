{{- /*
The one table of the stack: in which release and namespace a part is, which of the release's services answers for it
(what stands behind the release's name), and on which port. `cargo xtask deploy --verify` looks each of them up in what the
charts render. An installation with other names says so under `global.kalypso.<part>`, with the same keys.
*/}}
{{- define "kalypso.table" -}}
minio: {release: kalypso-minio, namespace: minio, service: "", port: 9000}
mimir: {release: kalypso-mimir, namespace: mimir, service: -gateway, port: 80}
tempo: {release: kalypso-tempo, namespace: tempo, service: -query-frontend, port: 3200}
traces: {release: kalypso-tempo, namespace: tempo, service: -distributor, port: 4317}
loki: {release: kalypso-loki, namespace: loki, service: -gateway, port: 80}
pyroscope: {release: kalypso-pyroscope, namespace: pyroscope, service: "", port: 4040}
{{- end }}

{{- /* `list PART .`: a row of the table, as JSON. Works in sub-charts, too: only global values are read. */}}
{{- define "kalypso.row" -}}
{{- $part := index . 0 }}
{{- $root := index . 1 }}
{{- $row := get (include "kalypso.table" . | fromYaml) $part }}
{{- if not $row }}{{ fail (printf "the stack has no part called %q" $part) }}{{ end }}
{{- $own := get (($root.Values.global).kalypso | default dict) $part | default dict }}
{{- mergeOverwrite $row $own | toJson }}
{{- end }}

{{- /* `list PART .`: HOST:PORT. */}}
{{- define "kalypso.address" -}}
{{- $row := include "kalypso.row" . | fromJson }}
{{- $domain := ((index . 1).Values.global).clusterDomain | default "cluster.local" }}
{{- printf "%s%s.%s.svc.%s:%d" $row.release $row.service $row.namespace $domain (int $row.port) }}
{{- end }}

{{- /* `list PART .`: http://HOST:PORT. */}}
{{- define "kalypso.url" -}}
{{- printf "http://%s" (include "kalypso.address" .) }}
{{- end }}
