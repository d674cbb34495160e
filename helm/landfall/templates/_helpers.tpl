{{/* One name for everything: the release's. `helm install landfall …` makes a webhook configuration `landfall`. */}}
{{- define "landfall.name" -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{/* The API group, and the prefix of annotations and labels: `API_GROUP` in src/domain/api_group.rs. */}}
{{- define "landfall.group" -}}
landfall.dev
{{- end }}

{{- define "landfall.selector" -}}
app.kubernetes.io/name: landfall
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Helm adds its own labels when it installs. Here they would be wrong for whoever renders and applies. */}}
{{- define "landfall.labels" -}}
{{ include "landfall.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{/* The conditions on labels: the list, then those by name, in the order of their names. */}}
{{- define "landfall.conditions" -}}
{{- $all := .matchExpressions -}}
{{- range .leaveAlone }}{{ if . }}{{ $all = append $all . }}{{ end }}{{ end -}}
{{- with $all }}{{ toYaml . }}{{ end -}}
{{- end }}

{{- define "landfall.image" -}}
{{- with .Values.image -}}
{{- if not .repository -}}
{{- fail "\n\nimage.repository: say where Landfall's image lies, such as registry.ams.example.com/platform/landfall. It must be a registry that this site reaches without Landfall." -}}
{{- end -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ with .digest }}@{{ . }}{{ end }}
{{- end -}}
{{- end }}

{{/* The configuration as text: a text passes through as it is. */}}
{{- define "landfall.config.text" -}}
{{- $config := required "\n\nconfig: Landfall needs its configuration: --set-file config=landfall.yaml. `landfall check landfall.yaml` tells whether it is right." .Values.config -}}
{{- if kindIs "string" $config }}{{ $config }}{{ else }}{{ toYaml $config }}{{ end -}}
{{- end }}

{{/*
What of the configuration the rest of the chart must know, as JSON: `namespaces` that are left alone in the API server,
`pullSecrets`, the names of the Secrets that Landfall makes, and `reports`, the name of the Reports that it writes, if it does.
The configuration itself is judged by `landfall check`; here only what would leave a Pod waiting for a file for ever.
*/}}
{{- define "landfall.config.facts" -}}
{{- $text := include "landfall.config.text" . -}}
{{- $config := fromYaml $text -}}
{{- with $config.Error }}{{ fail (printf "\n\nconfig: this is no YAML: %s" .) }}{{ end -}}
{{- $problems := list -}}
{{- $namespaces := list "kube-system" "kube-node-lease" .Release.Namespace -}}
{{- range ($config.exclude | default dict).namespaces -}}
{{- if kindIs "string" . -}}
{{- $namespaces = append $namespaces . -}}
{{- else -}}
{{- $problems = append $problems (printf "config: exclude.namespaces: to Helm, which reads YAML 1.1, one of them is %v; put it in quotes" .) -}}
{{- end -}}
{{- end -}}
{{- $providers := list -}}
{{- range .Values.credentialProviders }}{{ $providers = append $providers .name }}{{ end -}}
{{- $pulls := $config.pullSecrets | default dict -}}
{{- $pullFolders := dict -}}
{{- $pullRegistries := list -}}
{{- range $pulls.perNamespace -}}
{{- $pullRegistries = append $pullRegistries .registry -}}
{{- $_ := set $pullFolders (toString (dig "credentials" "dir" "" .)) "pullSecrets.perNamespace" -}}
{{- end -}}
{{- $pullSecrets := list -}}
{{- range $name, $registry := $config.registries -}}
{{- if kindIs "map" $registry -}}
{{- with $registry.pullCredentials }}{{ $_ := set $pullFolders (toString .dir) (printf "registries.%s.pullCredentials" $name) }}{{ end -}}
{{- if and (eq (toString $pulls.mode) "Managed") $registry.pullSecret (or $registry.pullCredentials (has $name $pullRegistries)) -}}
{{- $pullSecrets = append $pullSecrets $registry.pullSecret -}}
{{- end -}}
{{- /* A registry inside the cluster must start without Landfall: the Pods that serve it are left alone. */ -}}
{{- $inside := regexFind "^https?://[^./:]+\\.[^./:]+\\.svc([.:/]|$)" ($registry.url | default "") -}}
{{- if $inside }}{{ $namespaces = append $namespaces (index (splitList "." $inside) 1) }}{{ end -}}
{{- range $kind, $path := ($registry.credentials | default dict) -}}
{{- $folder := regexReplaceAll "^/etc/landfall/credentials/([^/]+).*$" (toString $path) "${1}" -}}
{{- if and (hasPrefix "/etc/landfall/credentials/" (toString $path)) (not (hasKey $.Values.credentials $folder)) -}}
{{- $problems = append $problems (printf "config: registries.%s.credentials.%s is %s, but no Secret is mounted there: --set credentials.%s=<name of the Secret>" $name $kind $path $folder) -}}
{{- end -}}
{{- if and (eq (toString $kind) "provider") (kindIs "map" $path) -}}
{{- $provider := trimPrefix "/etc/landfall/providers/" (toString $path.command) -}}
{{- if and (ne $provider (toString $path.command)) (not (has $provider $providers)) -}}
{{- $problems = append $problems (printf "config: registries.%s.credentials.provider.command is %s, but credentialProviders has no `name: %s`" $name $path.command $provider) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $kind, $path := (($registry.healing | default dict).credentials | default dict) -}}
{{- $folder := regexReplaceAll "^/etc/landfall/credentials/([^/]+).*$" (toString $path) "${1}" -}}
{{- if and (hasPrefix "/etc/landfall/credentials/" (toString $path)) (not (hasKey $.Values.credentials $folder)) -}}
{{- $problems = append $problems (printf "config: registries.%s.healing.credentials.%s is %s, but no Secret is mounted there: --set credentials.%s=<name of the Secret>" $name $kind $path $folder) -}}
{{- end -}}
{{- end -}}
{{- $secret := toString ($registry.notifications | default dict).secretFile -}}
{{- if and (hasPrefix "/etc/landfall/notifications/" $secret) (not $.Values.notifications.secretName) -}}
{{- $problems = append $problems (printf "config: registries.%s.notifications.secretFile is %s, but no Secret is mounted there: --set notifications.secretName=<name of the Secret>" $name $secret) -}}
{{- end -}}
{{- if and (hasPrefix "/etc/landfall/ca/" (toString $registry.caFile)) (not (or $.Values.ca.configMapName $.Values.ca.secretName)) -}}
{{- $problems = append $problems (printf "config: registries.%s.caFile is %s, but nothing is mounted there: --set ca.configMapName=<name> or ca.secretName=<name>" $name $registry.caFile) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $path, $key := $pullFolders -}}
{{- $folder := regexReplaceAll "^/etc/landfall/pull/([^/]+).*$" $path "${1}" -}}
{{- if and (hasPrefix "/etc/landfall/pull/" $path) (not (hasKey $.Values.pullCredentials $folder)) -}}
{{- $problems = append $problems (printf "config: %s names %s, but no Secret is mounted there: --set pullCredentials.%s=<name of the Secret>" $key $path $folder) -}}
{{- end -}}
{{- end -}}
{{- if $problems }}{{ fail (printf "\n\n%s" (join "\n" $problems)) }}{{ end -}}
{{- $reports := "" -}}
{{- if eq (toString ($config.reports | default dict).mode) "OpenReports" -}}
{{- $reports = printf "landfall-%s" (regexReplaceAll "[^a-z0-9]" (toString $config.site | lower) "-") -}}
{{- end -}}
{{- dict "namespaces" ($namespaces | uniq | sortAlpha) "pullSecrets" ($pullSecrets | uniq | sortAlpha) "reports" $reports | toJson -}}
{{- end }}

{{/* Two folders in one, from a ConfigMap or a Secret or both. */}}
{{- define "landfall.projected" -}}
projected:
  sources:
    {{- with .configMapName }}
    - configMap: {name: {{ . }}}
    {{- end }}
    {{- with .secretName }}
    - secret: {name: {{ . }}}
    {{- end }}
{{- end }}

{{/* The configuration and all that it names. */}}
{{- define "landfall.volumes" -}}
- name: config
  configMap: {name: {{ include "landfall.name" . }}}
{{- range $i, $registry := keys .Values.credentials | sortAlpha }}
- name: credentials-{{ $i }}
  secret: {secretName: {{ index $.Values.credentials $registry }}}
{{- end }}
{{- range $i, $folder := keys .Values.pullCredentials | sortAlpha }}
- name: pull-{{ $i }}
  secret: {secretName: {{ index $.Values.pullCredentials $folder }}}
{{- end }}
{{- if .Values.credentialProviders }}
- name: providers
  emptyDir: {}
{{- end }}
{{- with .Values.notifications.secretName }}
- name: notifications
  secret: {secretName: {{ . }}}
{{- end }}
{{- if or .Values.ca.configMapName .Values.ca.secretName }}
- name: ca
  {{- include "landfall.projected" .Values.ca | nindent 2 }}
{{- end }}
{{- end }}

{{/* Where they stand. */}}
{{- define "landfall.mounts" -}}
- {name: config, mountPath: /etc/landfall/config, readOnly: true}
{{- range $i, $registry := keys .Values.credentials | sortAlpha }}
- {name: credentials-{{ $i }}, mountPath: {{ printf "/etc/landfall/credentials/%s" $registry | quote }}, readOnly: true}
{{- end }}
{{- range $i, $folder := keys .Values.pullCredentials | sortAlpha }}
- {name: pull-{{ $i }}, mountPath: {{ printf "/etc/landfall/pull/%s" $folder | quote }}, readOnly: true}
{{- end }}
{{- if .Values.credentialProviders }}
- {name: providers, mountPath: /etc/landfall/providers, readOnly: true}
{{- end }}
{{- if .Values.notifications.secretName }}
- {name: notifications, mountPath: /etc/landfall/notifications, readOnly: true}
{{- end }}
{{- if or .Values.ca.configMapName .Values.ca.secretName }}
- {name: ca, mountPath: /etc/landfall/ca, readOnly: true}
{{- end }}
{{- end }}

{{/* The network of Pods: where they listen, and how they look names up. */}}
{{- define "landfall.network" -}}
{{- if .Values.hostNetwork.enabled }}
hostNetwork: true
{{- end }}
{{- with .Values.dnsPolicy | default (ternary "ClusterFirstWithHostNet" "" .Values.hostNetwork.enabled) }}
dnsPolicy: {{ . }}
{{- end }}
{{- with .Values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The port of an address `host:port`. */}}
{{- define "landfall.port" }}{{ regexFind "[0-9]+$" . }}{{ end }}

{{/* The loopback address that the admin port listens on, if it does. Then only the node itself reaches it. */}}
{{- define "landfall.admin.loopback" -}}
{{- if .Values.hostNetwork.enabled -}}
{{- regexFind "^(127[.][0-9.]+|::1)$" (regexReplaceAll "^\\[?([^]]*?)\\]?:[0-9]+$" .Values.hostNetwork.adminListen "${1}") -}}
{{- end -}}
{{- end }}

{{/* What brings the credential providers to where they are mounted. */}}
{{- define "landfall.providers" -}}
{{- with .Values.credentialProviders }}
initContainers:
  {{- range . }}
  - name: provider-{{ .name }}
    image: {{ .image }}
    imagePullPolicy: {{ $.Values.image.pullPolicy }}
    command: [cp, {{ quote .path }}, {{ printf "/etc/landfall/providers/%s" .name | quote }}]
    resources:
      {{- toYaml $.Values.resources | nindent 6 }}
    securityContext:
      # Nobody in particular: images of single programs often name root.
      runAsUser: 65532
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL]}
    volumeMounts:
      - {name: providers, mountPath: /etc/landfall/providers}
  {{- end }}
{{- end }}
{{- end }}

{{/*
What the API server fills in by default. matchConstraints of a ValidatingAdmissionPolicy are one value to server-side apply:
left out, the defaults would make it differ from what is applied again, which is a conflict.
*/}}
{{- define "landfall.defaults" -}}
matchPolicy: Equivalent
objectSelector: {}
{{- end }}

{{/* Puts the ValidatingAdmissionPolicy of this name in force. Of: the root, the name. */}}
{{- define "landfall.binding" -}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ index . 1 }}
  labels:
    {{- include "landfall.labels" (index . 0) | nindent 4 }}
spec:
  policyName: {{ index . 1 }}
  validationActions: [Deny]
{{- end }}
