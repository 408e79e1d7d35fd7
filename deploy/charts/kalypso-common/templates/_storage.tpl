{{- /*
Object storage of a part: a ConfigMap and, where the values have the credentials, a Secret, both called `kalypso-s3`. The
pods take both as environment variables and their configuration names those, so that no address and no secret stands in a
configuration. Without `storage.s3.endpoint` it is the stack's own MinIO.

    S3_ENDPOINT HOST:PORT    S3_URL http(s)://HOST:PORT    S3_INSECURE true|false    S3_REGION
    S3_BUCKET_<NAME> for each of `storage.s3.buckets`       S3_ACCESS_KEY_ID    S3_SECRET_ACCESS_KEY
*/}}
{{- define "kalypso.storage" -}}
{{- $s3 := .Values.storage.s3 }}
{{- $endpoint := $s3.endpoint | default (include "kalypso.address" (list "minio" .)) }}
{{- $insecure := empty $s3.endpoint | ternary true $s3.insecure }}
apiVersion: v1
kind: ConfigMap
metadata:
  name: kalypso-s3
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "kalypso.labels" . | nindent 4 }}
data:
  S3_ENDPOINT: {{ $endpoint | quote }}
  S3_URL: {{ printf "%s://%s" ($insecure | ternary "http" "https") $endpoint | quote }}
  S3_INSECURE: {{ $insecure | quote }}
  S3_REGION: {{ $s3.region | quote }}
  {{- range $name, $bucket := $s3.buckets }}
  S3_BUCKET_{{ $name | upper }}: {{ $bucket | quote }}
  {{- end }}
{{- if and $s3.accessKeyId $s3.secretAccessKey }}
---
apiVersion: v1
kind: Secret
metadata:
  name: kalypso-s3
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "kalypso.labels" . | nindent 4 }}
stringData:
  S3_ACCESS_KEY_ID: {{ $s3.accessKeyId | quote }}
  S3_SECRET_ACCESS_KEY: {{ $s3.secretAccessKey | quote }}
{{- end }}
{{- end }}

{{- define "kalypso.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: kalypso
{{- end }}
