{{/* Pieces that both parts, gateway and redisProxy, are made of. `part` is one of them, `root` everything. */}}

{{/* Within metadata. In: root, name; and if it has them namespace, labels, annotations. */}}
{{- define "portcullis.metadata" -}}
name: {{ .name }}
namespace: {{ .namespace | default .root.Release.Namespace }}
{{- with merge (dict) (.labels | default dict) .root.Values.labels }}
labels:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with merge (dict) (.annotations | default dict) .root.Values.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* By which a part's pods are found. In: the part. */}}
{{- define "portcullis.selector" -}}
{ matchLabels: { app.kubernetes.io/name: {{ .name }} } }
{{- end }}

{{- define "portcullis.labels" -}}
{{ dict "app.kubernetes.io/name" .name "app.kubernetes.io/part-of" "portcullis" | toJson }}
{{- end }}

{{/* A ServiceAccount that may ask the API for nothing. In: root, part. */}}
{{- define "portcullis.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "portcullis.metadata" (dict "root" .root "name" .part.name) | nindent 2 }}
automountServiceAccountToken: false
{{- end }}

{{/* The ConfigMap of a configuration that is given as text. In: root, part, file. */}}
{{- define "portcullis.configMap" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "portcullis.metadata" (dict "root" .root "name" .part.name) | nindent 2 }}
data:
  {{ .file }}: {{ toJson .part.config.text }}
{{- end }}

{{/* An image that says which one it is. In: path, image. */}}
{{- define "portcullis.image" -}}
{{- $image := required (printf "%s: which image, by digest or by a tag other than latest" .path) .image -}}
{{- if hasSuffix ":latest" $image -}}
{{- fail (printf "%s: %s is another image every time: give a digest, or another tag" .path $image) -}}
{{- end -}}
{{ $image }}
{{- end }}

{{/* The volume with the image of a module, whose names may have an underscore. */}}
{{- define "portcullis.moduleVolume" -}}
module-{{ . | replace "_" "-" }}
{{- end }}

{{/* The volume that the configuration comes from. In: part, and path, where the part is in the values. */}}
{{- define "portcullis.configVolume" -}}
{{- $config := .part.config -}}
{{- if gt (len (compact (list $config.text $config.configMap $config.secret))) 1 -}}
{{- fail (printf "%s.config: give one of text, configMap and secret" .path) -}}
{{- end -}}
{{- if $config.secret -}}
{ name: config, secret: { secretName: {{ $config.secret }}, defaultMode: 288 } }
{{- else -}}
{ name: config, configMap: { name: {{ $config.configMap | default .part.name }} } }
{{- end -}}
{{- end }}

{{/* Within metadata of a part's pods. Another text of its configuration makes other pods. In: root, part. */}}
{{- define "portcullis.podMetadata" -}}
labels:
  {{- merge (include "portcullis.labels" .part | fromJson) .part.podLabels .root.Values.labels | toYaml | nindent 2 }}
{{- $own := dict -}}
{{- with .part.config.text }}{{ $own = dict "checksum/config" (sha256sum .) }}{{ end }}
{{- with merge $own .part.podAnnotations .root.Values.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Within the spec of a part's pods. In: root, part. */}}
{{- define "portcullis.pod" -}}
serviceAccountName: {{ .part.name }}
automountServiceAccountToken: false
securityContext: { runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532, seccompProfile: { type: RuntimeDefault } }
topologySpreadConstraints:
- maxSkew: {{ int .part.spread.maxSkew }}
  topologyKey: {{ .part.spread.topologyKey }}
  whenUnsatisfiable: {{ .part.spread.whenUnsatisfiable }}
  labelSelector: {{ include "portcullis.selector" .part }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
- { name: {{ . }} }
{{- end }}
{{- end }}
{{- with .part.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .part.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .part.tolerations }}
tolerations:
{{ toYaml . }}
{{- end }}
{{- with .part.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Within a container. In: its resources. */}}
{{- define "portcullis.contained" -}}
resources:
  {{- toYaml . | nindent 2 }}
securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: [ALL] } }
{{- end }}

{{/* In: root, part. */}}
{{- define "portcullis.podDisruptionBudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "portcullis.metadata" (dict "root" .root "name" .part.name) | nindent 2 }}
spec:
  maxUnavailable: {{ .part.podDisruptionBudget.maxUnavailable }}
  selector: {{ include "portcullis.selector" .part }}
{{- end }}

{{/* Someone that a NetworkPolicy names. In: namespaceLabels, podLabels. */}}
{{- define "portcullis.peer" -}}
- namespaceSelector:
    matchLabels:
      {{- toYaml .namespaceLabels | nindent 6 }}
{{- with .podLabels }}
  podSelector:
    matchLabels:
      {{- toYaml . | nindent 6 }}
{{- end }}
{{- end }}

{{/* The rule that lets pods ask for names. In: root. */}}
{{- define "portcullis.dns" -}}
- to:
  {{- include "portcullis.peer" .Values.networkPolicy.dns | nindent 2 }}
  ports:
  - { port: 53, protocol: UDP }
  - { port: 53, protocol: TCP }
{{- end }}
