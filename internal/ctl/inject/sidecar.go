package inject

import (
	"fmt"
	"maps"
	"path"
	"slices"

	"go.yaml.in/yaml/v3"
)

// inject adds the sidecar, or replaces what an earlier call added.
func (w *workload) inject() {
	put(ensure(w.spec, "initContainers", yaml.SequenceNode), w.sidecar(), true)
	volumes := ensure(w.spec, "volumes", yaml.SequenceNode)
	drop(volumes, tlsVolume)
	put(volumes, node(map[string]any{"name": tmpVolume, "emptyDir": map[string]any{}}), false)
	if w.options.TLSSecret != "" {
		put(volumes, node(map[string]any{"name": tlsVolume, "secret": map[string]any{"secretName": w.options.TLSSecret}}), false)
	}
	for _, c := range items(child(w.spec, "containers")) {
		w.environment(c)
	}
	annotations := ensure(ensure(w.template, "metadata", yaml.MappingNode), "annotations", yaml.MappingNode)
	set(annotations, AnnotationService, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: w.options.Proxy.Service})
}

// container is the part of a Kubernetes container that is written, in the
// order in which people read it.
type container struct {
	Name            string         `yaml:"name"`
	Image           string         `yaml:"image"`
	RestartPolicy   string         `yaml:"restartPolicy"`
	Args            []string       `yaml:"args"`
	Env             []variable     `yaml:"env"`
	StartupProbe    probe          `yaml:"startupProbe"`
	Resources       map[string]any `yaml:"resources"`
	SecurityContext map[string]any `yaml:"securityContext"`
	VolumeMounts    []mount        `yaml:"volumeMounts"`
}

type variable struct {
	Name      string         `yaml:"name"`
	ValueFrom map[string]any `yaml:"valueFrom"`
}

type probe struct {
	Exec             map[string][]string `yaml:"exec"`
	PeriodSeconds    int                 `yaml:"periodSeconds"`
	FailureThreshold int                 `yaml:"failureThreshold"`
}

type mount struct {
	Name      string `yaml:"name"`
	MountPath string `yaml:"mountPath"`
	ReadOnly  bool   `yaml:"readOnly,omitempty"`
}

// sidecar is a native sidecar container: it starts before the workload's own
// containers, which wait for its startup probe, and ends after them, so that
// no call of theirs misses it.
// https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/
func (w *workload) sidecar() *yaml.Node {
	p := w.options.Proxy
	args := []string{
		"proxy", "run", "--service=" + p.Service, "--id=$(POD_NAME)", "--xds-addr=" + p.XDSAddr,
		fmt.Sprintf("--outbound-port=%d", p.OutboundPort), fmt.Sprintf("--admin-port=%d", p.AdminPort), "--drain-time=" + drainGrace,
	}
	for _, u := range p.Upstreams {
		args = append(args, "--upstream="+u.String())
	}
	if p.Region != "" {
		args = append(args, "--region="+p.Region)
	}
	if p.Zone != "" {
		args = append(args, "--zone="+p.Zone)
	}
	for _, key := range slices.Sorted(maps.Keys(p.Labels)) {
		args = append(args, "--label="+key+"="+p.Labels[key])
	}
	c := container{
		Name: Container, Image: w.options.Image, RestartPolicy: "Always",
		Env: []variable{{"POD_NAME", map[string]any{"fieldRef": map[string]any{"fieldPath": "metadata.name"}}}},
		StartupProbe: probe{
			Exec:          map[string][]string{"command": {"meshctl", "proxy", "ready", fmt.Sprintf("--admin=127.0.0.1:%d", p.AdminPort)}},
			PeriodSeconds: 1, FailureThreshold: 60,
		},
		Resources: map[string]any{
			"requests": map[string]any{"cpu": "50m", "memory": "64Mi"},
			"limits":   map[string]any{"memory": "512Mi"},
		},
		SecurityContext: map[string]any{
			"runAsNonRoot": true, "runAsUser": proxyUser, "runAsGroup": proxyUser, "readOnlyRootFilesystem": true,
			"allowPrivilegeEscalation": false, "capabilities": map[string]any{"drop": []string{"ALL"}},
			"seccompProfile": map[string]any{"type": "RuntimeDefault"},
		},
		VolumeMounts: []mount{{Name: tmpVolume, MountPath: "/tmp"}},
	}
	if w.options.TLSSecret != "" {
		args = append(args, "--tls-ca="+path.Join(tlsFolder, "ca.crt"), "--tls-cert="+path.Join(tlsFolder, "tls.crt"), "--tls-key="+path.Join(tlsFolder, "tls.key"))
		c.VolumeMounts = append(c.VolumeMounts, mount{tlsVolume, tlsFolder, true})
	}
	c.Args = args
	return node(c)
}

// proxyVariables send a container's plain HTTP through the sidecar.
var proxyVariables = []string{"HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"}

// environment sets the proxy variables of a container, or takes away those
// that an earlier call set. A value of the operator's own stays.
func (w *workload) environment(c *yaml.Node) {
	proxy := fmt.Sprintf("http://127.0.0.1:%d", w.options.Proxy.OutboundPort)
	none := w.options.Proxy.NoProxyList()
	values := map[string]string{"HTTP_PROXY": proxy, "http_proxy": proxy, "NO_PROXY": none, "no_proxy": none}
	if !w.options.HTTPProxy {
		if env := child(c, "env"); env != nil {
			for _, name := range proxyVariables {
				if e := named(env, name); e != nil && text(e, "value") == values[name] {
					drop(env, name)
				}
			}
			if len(env.Content) == 0 {
				remove(c, "env")
			}
		}
		return
	}
	env := ensure(c, "env", yaml.SequenceNode)
	for _, name := range proxyVariables {
		if named(env, name) == nil {
			put(env, node(yamlVariable{name, values[name]}), false)
		}
	}
}

type yamlVariable struct {
	Name  string `yaml:"name"`
	Value string `yaml:"value"`
}
