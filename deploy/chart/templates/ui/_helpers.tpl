{{- define "jobwright.ui.name" -}}
{{ include "jobwright.name" . }}-ui
{{- end }}

{{/* Not the labels of the controller's pods, which its Service, budget and network policy select. */}}
{{- define "jobwright.ui.selector" -}}
app.kubernetes.io/name: jobwright-ui
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "jobwright.ui.labels" -}}
{{ include "jobwright.ui.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: ui
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "jobwright.ui.clusterName" -}}
{{ .Release.Namespace }}:{{ include "jobwright.ui.name" . }}
{{- end }}

{{- define "jobwright.ui.serviceAccount" -}}
{{- if .Values.ui.serviceAccount.name }}{{ .Values.ui.serviceAccount.name }}{{ else if .Values.ui.serviceAccount.create }}{{ include "jobwright.ui.name" . }}{{ else }}default{{ end }}
{{- end }}

{{- define "jobwright.ui.image" -}}
{{ .Values.ui.image.repository }}{{ if .Values.ui.image.digest }}@{{ .Values.ui.image.digest }}{{ else }}:{{ .Values.ui.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{/* What the caches of the console hold. Pods, logs and everything else are read with the permissions of the user. */}}
{{- define "jobwright.ui.rules" -}}
- apiGroups: [batch]
  resources: [jobs, cronjobs]
  verbs: [list, watch]
- apiGroups: [jobwright.dev]
  resources: [jobschedules, calendars, joblimits]
  verbs: [list, watch]
{{- end }}
