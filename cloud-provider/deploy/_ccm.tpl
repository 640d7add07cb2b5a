{{/* What the charts of all clouds have in common; each has a link to this file. */}}

{{/* A tag that was asked for, else the digest that the release has pinned, else the tag of the chart's version. */}}
{{- define "ccm.image" -}}
{{- $image := .Values.image -}}
{{- if $image.tag -}}
{{ $image.repository }}:{{ $image.tag }}
{{- else if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:v{{ .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* What controllers call, and nothing else; a test compares it with the audit log of an API server. */}}
{{- define "ccm.rules" -}}
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
- apiGroups: [""]
  resources: [nodes]
  verbs: [delete, get, list, patch, watch]
- apiGroups: [""]
  resources: [nodes/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [services]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [services/status]
  verbs: [patch]
- apiGroups: [authentication.k8s.io]
  resources: [tokenreviews]
  verbs: [create]
- apiGroups: [authorization.k8s.io]
  resources: [subjectaccessreviews]
  verbs: [create]
{{- if .Values.rbac.persistentVolumes }}
- apiGroups: [""]
  resources: [persistentvolumes]
  verbs: [get, list, update, watch]
{{- end }}
{{- if .Values.rbac.serviceAccountCredentials }}
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [create, get]
- apiGroups: [""]
  resources: [serviceaccounts/token]
  verbs: [create]
{{- end }}
{{- end -}}

{{/* Service account, roles and bindings. Takes root, namespace, labels, annotations, accountAnnotations, reader and readerRole. */}}
{{- define "ccm.rbac" -}}
{{- $v := .root.Values -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ $v.serviceAccountName }}
  namespace: {{ .namespace }}
  {{- include "ccm.metadata" (dict "labels" .labels "annotations" (merge dict .accountAnnotations .annotations)) | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {{ $v.clusterRoleName }}
  {{- include "ccm.metadata" . | nindent 2 }}
rules:
{{- if $v.clusterRoleRules }}
{{ toYaml $v.clusterRoleRules | indent 2 }}
{{- else }}
{{ include "ccm.rules" .root | indent 2 }}
{{- end }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ $v.clusterRoleName }}
  {{- include "ccm.metadata" . | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ $v.clusterRoleName }}
{{- include "ccm.subjects" . }}
---
# Leases of kube-system only: those of kubelets are nobody else's business.
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ $v.clusterRoleName }}:leader-election
  namespace: kube-system
  {{- include "ccm.metadata" . | nindent 2 }}
rules:
  - apiGroups: [coordination.k8s.io]
    resources: [leases]
    verbs: [create, get, update]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ $v.clusterRoleName }}:leader-election
  namespace: kube-system
  {{- include "ccm.metadata" . | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ $v.clusterRoleName }}:leader-election
{{- include "ccm.subjects" . }}
---
# How the API server authenticates, which callers of the secure port are checked with.
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ .reader }}
  namespace: kube-system
  {{- include "ccm.metadata" . | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ .readerRole }}
{{- include "ccm.subjects" . }}
{{- end -}}

{{- define "ccm.subjects" }}
subjects:
  - kind: ServiceAccount
    name: {{ .root.Values.serviceAccountName }}
    namespace: {{ .namespace }}
{{- end -}}

{{- define "ccm.metadata" -}}
labels: {{- toYaml .labels | nindent 2 }}
{{- with .annotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/*
The controllers. Takes root, name, namespace, labels and annotations; selector, podLabels and podAnnotations of pods; container,
args, env, volumes and mounts; hostNetwork and loopback, which says that the secure port is on 127.0.0.1 only.
*/}}
{{- define "ccm.workload" -}}
{{- $v := .root.Values -}}
{{- if not (has $v.kind (list "DaemonSet" "Deployment")) }}{{ fail "kind is DaemonSet or Deployment" }}{{ end -}}
apiVersion: apps/v1
kind: {{ $v.kind }}
metadata:
  name: {{ .name }}
  namespace: {{ .namespace }}
  {{- include "ccm.metadata" . | nindent 2 }}
spec:
  {{- if eq $v.kind "Deployment" }}
  replicas: {{ $v.replicas }}
  # On the network of the host two of them have no place on one machine.
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 0, maxUnavailable: 1}}
  {{- else }}
  updateStrategy: {type: RollingUpdate}
  {{- end }}
  selector:
    matchLabels: {{- toYaml .selector | nindent 6 }}
  template:
    metadata:
      labels: {{- toYaml .podLabels | nindent 8 }}
      {{- with .podAnnotations }}
      annotations: {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      serviceAccountName: {{ $v.serviceAccountName }}
      {{- with $v.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      {{- if .hostNetwork }}
      hostNetwork: true
      {{- end }}
      dnsPolicy: {{ $v.dnsPolicy }}
      {{- range $field := list "imagePullSecrets" "hostAliases" "nodeSelector" "affinity" "tolerations" }}
      {{- with get $v $field }}
      {{ $field }}: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- end }}
      {{- if eq $v.kind "Deployment" }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels: {{- toYaml .selector | nindent 14 }}
      {{- end }}
      {{- with $v.podSecurityContext }}
      securityContext: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $v.extraInitContainers }}
      initContainers: {{- toYaml . | nindent 8 }}
      {{- end }}
      containers:
        - name: {{ .container }}
          image: {{ include "ccm.image" .root }}
          args: {{- toYaml .args | nindent 12 }}
          {{- with .env }}
          env: {{- toYaml . | nindent 12 }}
          {{- end }}
          ports:
            - name: https
              containerPort: 10258
          {{- $loopback := .loopback }}
          {{- range $probe, $path := dict "livenessProbe" "/livez" "readinessProbe" "/readyz" "startupProbe" "/livez" }}
          {{- with get $v $probe }}
          {{ $probe }}:
            {{- if not (or .httpGet .exec .tcpSocket .grpc) }}
            httpGet:
              path: {{ $path }}
              port: 10258
              scheme: HTTPS
              {{- if $loopback }}
              host: 127.0.0.1
              {{- end }}
            {{- end }}
            {{- toYaml . | nindent 12 }}
          {{- end }}
          {{- end }}
          {{- with $v.resources }}
          resources: {{- toYaml . | nindent 12 }}
          {{- end }}
          {{- with $v.securityContext }}
          securityContext: {{- toYaml . | nindent 12 }}
          {{- end }}
          {{- with .mounts }}
          volumeMounts: {{- toYaml . | nindent 12 }}
          {{- end }}
      {{- with .volumes }}
      volumes: {{- toYaml . | nindent 8 }}
      {{- end }}
{{- if and (eq $v.kind "Deployment") $v.podDisruptionBudget.enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .name }}
  namespace: {{ .namespace }}
  {{- include "ccm.metadata" . | nindent 2 }}
spec:
  maxUnavailable: {{ $v.podDisruptionBudget.maxUnavailable }}
  selector:
    matchLabels: {{- toYaml .selector | nindent 6 }}
{{- end }}
{{- end -}}

{{/* What watches the controllers. Takes root, name, namespace, labels, annotations and the selector of pods. */}}
{{- define "ccm.monitoring" -}}
{{- $v := .root.Values -}}
{{- $meta := dict "labels" .labels "annotations" .annotations -}}
{{- if $v.serviceMonitor.enabled }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ .name }}
  namespace: {{ .namespace }}
  {{- include "ccm.metadata" $meta | nindent 2 }}
spec:
  clusterIP: None
  selector: {{- toYaml .selector | nindent 4 }}
  ports:
    - name: https
      port: 10258
      targetPort: https
---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: {{ .name }}
  namespace: {{ .namespace }}
  {{- include "ccm.metadata" (dict "labels" (merge dict (default dict $v.serviceMonitor.additionalLabels) .labels) "annotations" .annotations) | nindent 2 }}
spec:
  selector:
    matchLabels: {{- toYaml .labels | nindent 6 }}
  endpoints:
    # The serving certificate is the controller's own, as upstream's.
    - port: https
      scheme: https
      interval: {{ $v.serviceMonitor.interval }}
      bearerTokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token
      tlsConfig: {insecureSkipVerify: true}
{{- end }}
{{- if $v.prometheusRule.enabled }}
---
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: {{ .name }}
  namespace: {{ .namespace }}
  {{- include "ccm.metadata" (dict "labels" (merge dict (default dict $v.prometheusRule.additionalLabels) .labels) "annotations" .annotations) | nindent 2 }}
spec:
{{ .root.Files.Get "files/alerts.yaml" | replace "@job@" .name | replace "@runbooks@" $v.prometheusRule.runbooks | indent 2 }}
{{- end }}
{{- if $v.dashboard.enabled }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .name }}-dashboard
  namespace: {{ .namespace }}
  {{- include "ccm.metadata" (dict "labels" (merge dict $v.dashboard.labels .labels) "annotations" .annotations) | nindent 2 }}
data:
  {{ .name }}.json: |-
{{ .root.Files.Get "files/dashboard.json" | replace "@job@" .name | indent 4 }}
{{- end }}
{{- end -}}
