{{/* Name of the release, with the name of the chart in front if the name of the release does not contain it. */}}
{{- define "jobwright.name" -}}
{{- if contains "jobwright" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "jobwright-%s" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "jobwright.selector" -}}
app.kubernetes.io/name: jobwright
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "jobwright.labels" -}}
{{ include "jobwright.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: controller
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "jobwright.serviceAccount" -}}
{{- if .Values.serviceAccount.name }}{{ .Values.serviceAccount.name }}{{ else if .Values.serviceAccount.create }}{{ include "jobwright.name" . }}{{ else }}default{{ end }}
{{- end }}

{{- define "jobwright.image" -}}
{{ .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{/* Not the labels of the controller's pods, which its Service, budget and network policy select. */}}
{{- define "jobwright.uninstallLabels" -}}
app.kubernetes.io/name: jobwright-uninstall-check
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: uninstall-check
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* What the pod of the check needs is there before it and goes after it, however it ends. */}}
{{- define "jobwright.uninstallHook" -}}
helm.sh/hook: pre-delete
helm.sh/hook-weight: "-5"
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded,hook-failed
{{- end }}

{{/* Cluster-wide names may not collide with those of a release in another namespace. */}}
{{- define "jobwright.clusterName" -}}
{{ .Release.Namespace }}:{{ include "jobwright.name" . }}
{{- end }}

{{- define "jobwright.leaseNamespace" -}}
{{ .Values.leaderElection.namespace | default .Values.namespace | default "kube-system" }}
{{- end }}

{{- define "jobwright.runs" -}}
{{- $here := or (ne .controller "cronjob") (eq .root.Values.claim "all") -}}
{{- $named := or (has .controller .root.Values.controllers) (and (eq .controller "job") (eq .root.Values.claim "managed-by")) -}}
{{- if and $here $named }}yes{{ end }}
{{- end }}

{{/* What jobwright does, and nothing else; src/client/permissions.rs asks for the same. */}}
{{- define "jobwright.rules" -}}
{{- $cronjob := include "jobwright.runs" (dict "root" . "controller" "cronjob") -}}
{{- $job := include "jobwright.runs" (dict "root" . "controller" "job") -}}
{{- $ttl := include "jobwright.runs" (dict "root" . "controller" "ttl") -}}
{{- $schedule := include "jobwright.runs" (dict "root" . "controller" "jobschedule") -}}
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch{{ if $job }}, patch{{ end }}{{ if or $cronjob $schedule }}, create{{ end }}{{ if or $cronjob $schedule $ttl }}, delete{{ end }}]
{{- if $job }}
- apiGroups: [batch]
  resources: [jobs/status]
  verbs: [patch]
# Asked for by the admission plugin OwnerReferencesPermissionEnforcement, where it is on: a pod blocks its Job's deletion.
- apiGroups: [batch]
  resources: [jobs/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, delete, patch]
{{- if or (gt (int .Values.settings.logTail) 0) .Values.rbac.podLogs }}
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
{{- end }}
{{- if (.Values.featureGates).WorkloadWithJob }}
- apiGroups: [scheduling.k8s.io]
  resources: [workloads, podgroups]
  verbs: [get, list, watch, create, patch]
{{- end }}
- apiGroups: [jobwright.dev]
  resources: [joblimits]
  verbs: [list, watch]
- apiGroups: [jobwright.dev]
  resources: [joblimits/status]
  verbs: [patch]
# A JobPolicy sets a condition on a pod that does not start in time, and can suspend its Job.
- apiGroups: [""]
  resources: [pods/status]
  verbs: [patch]
{{- end }}
{{- if or $job $ttl }}
- apiGroups: [jobwright.dev]
  resources: [jobpolicies]
  verbs: [list, watch]
- apiGroups: [jobwright.dev]
  resources: [jobpolicies/status]
  verbs: [patch]
{{- end }}
{{- if $schedule }}
- apiGroups: [jobwright.dev]
  resources: [calendars]
  verbs: [list, watch]
- apiGroups: [jobwright.dev]
  resources: [calendars/status]
  verbs: [patch]
{{- end }}
{{- if and $ttl (not .Values.namespace) }}
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get, list, watch]
{{- end }}
{{- if $schedule }}
- apiGroups: [jobwright.dev]
  resources: [jobschedules]
  verbs: [get, list, watch]
- apiGroups: [jobwright.dev]
  resources: [jobschedules/status]
  verbs: [patch]
- apiGroups: [jobwright.dev]
  resources: [jobschedules/finalizers]
  verbs: [update]
{{- end }}
{{- if $cronjob }}
- apiGroups: [batch]
  resources: [cronjobs]
  verbs: [get, list, watch]
- apiGroups: [batch]
  resources: [cronjobs/status]
  verbs: [patch]
- apiGroups: [batch]
  resources: [cronjobs/finalizers]
  verbs: [update]
{{- end }}
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- end }}
