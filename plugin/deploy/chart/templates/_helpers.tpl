{{- define "varve.labels" -}}
app.kubernetes.io/name: varve
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}
{{- define "varve.pod" -}}
app.kubernetes.io/name: varve
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- define "varve.sidecar.security" -}}
securityContext:
  runAsUser: 0
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}
{{- end }}
{{- define "varve.confined" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}
