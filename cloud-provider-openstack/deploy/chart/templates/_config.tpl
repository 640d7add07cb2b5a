{{/* The cloud config from sections of values. */}}
{{- define "openstack.config" -}}
{{- $sections := list (list "Global" "global") (list "Networking" "networking") (list "LoadBalancer" "loadBalancer") (list "BlockStorage" "blockStorage") (list "Metadata" "metadata") (list "Route" "route") -}}
{{- range $section := $sections }}
{{- with get $.Values.cloudConfig (last $section) }}
[{{ first $section }}]
{{- range $key, $value := . }}
{{ $key }} = {{ $value | quote }}
{{- end }}
{{ end }}
{{- end }}
{{- end -}}
