// Package inject puts the sidecar into Kubernetes manifests. It edits text: no
// cluster is asked, comments and the order of fields stay, and what was
// injected before is replaced, so that the same manifest twice gives the same
// bytes.
package inject

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/xds/bootstrap"
)

// Annotations of a pod template; each beats the flag of its name.
const (
	AnnotationInject    = "meshlite.dev/inject"     // "false" leaves the workload alone
	AnnotationService   = "meshlite.dev/service"    // the workload's own name in the mesh
	AnnotationUpstreams = "meshlite.dev/upstreams"  // local ports: "orders=9001,broker=5672/tcp"
	AnnotationHTTPProxy = "meshlite.dev/http-proxy" // "true" sets HTTP_PROXY in every container
)

// Names of what is injected.
const (
	Container  = "meshlite-proxy"
	tlsVolume  = "meshlite-tls"
	tmpVolume  = "meshlite-tmp"
	tlsFolder  = "/etc/meshlite/tls"
	proxyUser  = 15000
	drainGrace = "20s"
)

// Options are the same for every workload of a call.
type Options struct {
	// Proxy is what "meshctl proxy run" gets; Service and Upstreams may come
	// from annotations, ID is the pod's name. TLS files are not read from it.
	Proxy bootstrap.Config
	Image string // of the sidecar: meshctl and Envoy
	// TLSSecret is a Secret of the workload's namespace with ca.crt and, for a
	// server that asks for client certificates, tls.crt and tls.key. "": no TLS.
	TLSSecret string
	HTTPProxy bool // set HTTP_PROXY, NO_PROXY in the workload's containers
}

// Result says what became of each object.
type Result struct {
	Injected []string // "Deployment/checkout as checkout"
	Skipped  []string // "Service/checkout: has no pods"
}

// podPath is where each kind has its pod template.
var podPath = map[string][]string{
	"Pod":         {},
	"Deployment":  {"spec", "template"},
	"StatefulSet": {"spec", "template"},
	"DaemonSet":   {"spec", "template"},
	"ReplicaSet":  {"spec", "template"},
	"Job":         {"spec", "template"},
	"CronJob":     {"spec", "jobTemplate", "spec", "template"},
}

// Inject returns the manifest in data, YAML documents or JSON, with a sidecar
// in every workload. Other objects stay as they are. Its error names every
// object at fault; nothing is then returned.
func Inject(data []byte, o Options) ([]byte, Result, error) {
	var out bytes.Buffer
	var res Result
	var faults []error
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for i := 1; ; i++ {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, Result{}, errors.Join(append(faults, fmt.Errorf("document %d: is not YAML: %w", i, err))...)
		}
		if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
			if len(doc.Content) == 1 && doc.Content[0].Tag != "!!null" {
				faults = append(faults, fmt.Errorf("document %d: must be a Kubernetes object", i))
			}
			continue
		}
		faults = append(faults, object(doc.Content[0], o, &res)...)
		if err := enc.Encode(&doc); err != nil {
			faults = append(faults, fmt.Errorf("document %d: %w", i, err))
		}
	}
	if err := errors.Join(append(faults, enc.Close())...); err != nil {
		return nil, Result{}, err
	}
	return out.Bytes(), res, nil
}

// object injects into one object, or into the items of a List.
func object(obj *yaml.Node, o Options, res *Result) (faults []error) {
	kind := text(obj, "kind")
	if kind == "List" {
		for _, item := range items(child(obj, "items")) {
			faults = append(faults, object(item, o, res)...)
		}
		return faults
	}
	label := kind + "/" + text(child(obj, "metadata"), "name")
	path, ok := podPath[kind]
	if !ok {
		res.Skipped = append(res.Skipped, label+": has no pods")
		return nil
	}
	template := obj
	for _, step := range path {
		template = child(template, step)
	}
	spec := child(template, "spec")
	if spec == nil || len(items(child(spec, "containers"))) == 0 {
		return []error{fmt.Errorf("%s: %s.spec.containers: is missing", label, strings.Join(path, "."))}
	}
	w := workload{obj: obj, template: template, spec: spec, options: o}
	if w.annotation(AnnotationInject) == "false" {
		res.Skipped = append(res.Skipped, label+": annotation "+AnnotationInject+" is false")
		return nil
	}
	if faults := w.settle(); len(faults) > 0 {
		for i, err := range faults {
			faults[i] = fmt.Errorf("%s: %w", label, err)
		}
		return faults
	}
	w.inject()
	res.Injected = append(res.Injected, label+" as "+w.options.Proxy.Service)
	return nil
}

// workload is one object with pods.
type workload struct {
	obj, template, spec *yaml.Node
	options             Options
}

func (w *workload) annotation(name string) string {
	return text(child(child(w.template, "metadata"), "annotations"), name)
}

// settle puts what annotations and labels say into the options.
func (w *workload) settle() (faults []error) {
	p := &w.options.Proxy
	p.ID = "$(POD_NAME)"
	p.Upstreams = slices.Clone(p.Upstreams)
	if s := w.annotation(AnnotationService); s != "" || p.Service == "" {
		p.Service = s
	}
	labels := child(child(w.template, "metadata"), "labels")
	for _, name := range []string{text(labels, "app.kubernetes.io/name"), text(labels, "app"), text(child(w.obj, "metadata"), "name")} {
		if p.Service == "" {
			p.Service = name
		}
	}
	if !mesh.IsDNSLabel(p.Service) {
		faults = append(faults, fmt.Errorf("annotation %s is missing, and %q is no service name; use a DNS label, or --service", AnnotationService, p.Service))
	}
	if v := w.annotation(AnnotationUpstreams); v != "" {
		more, err := bootstrap.ParseUpstreams(v)
		if err != nil {
			faults = append(faults, fmt.Errorf("annotation %s is %q; %w", AnnotationUpstreams, v, err))
		}
		p.Upstreams = more
	}
	switch v := w.annotation(AnnotationHTTPProxy); v {
	case "":
	case "true", "false":
		w.options.HTTPProxy = v == "true"
	default:
		faults = append(faults, fmt.Errorf("annotation %s is %q; use \"true\" or \"false\"", AnnotationHTTPProxy, v))
	}
	if len(faults) > 0 {
		return faults
	}
	check := *p
	check.ID = "pod"
	if err := check.Validate(); err != nil {
		return []error{err}
	}
	return nil
}
