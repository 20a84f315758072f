//go:build e2e

package schema_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"meshlite.dev/internal/policy"
	"meshlite.dev/test/lab"
)

// TestAnAPIServerAgrees: what is accepted from a file is accepted by a real
// kube-apiserver and comes back the same, and what is refused is refused there
// too, with our sentence where a rule has one.
func TestAnAPIServerAgrees(t *testing.T) {
	if err := lab.FindTools(); err != nil {
		t.Fatal(err)
	}
	c := lab.New(t).StartCluster()
	c.InstallCRDs()
	c.MustKubectl("create", "namespace", "shop")

	documents := map[string]string{}
	for i, b := range brokenDocuments() {
		name := fmt.Sprintf("broken-%03d", i)
		documents[name] = b.text(name)
	}
	for i, text := range fullDocuments(t) {
		documents[fmt.Sprintf("full-%03d", i)] = text
	}
	for i, spec := range oddSpecs {
		name := fmt.Sprintf("odd-%03d", i)
		documents[name] = broken{kind: "TrafficRoute", spec: spec}.text(name)
	}
	for i, spec := range strict {
		name := fmt.Sprintf("strict-%03d", i)
		documents[name] = broken{kind: "TrafficRoute", spec: spec}.text(name)
	}
	for i, meta := range metadata {
		name := fmt.Sprintf("metadata-%03d", i)
		documents[name] = "apiVersion: meshlite.dev/v1alpha1\nkind: TrafficRoute\nmetadata: {" + strings.ReplaceAll(meta, "NAME", name) + "}\nspec: {service: a}\n"
	}
	dir := t.TempDir()
	for name, text := range documents {
		if err := os.WriteFile(filepath.Join(dir, name+".yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, stderr, err := c.Kubectl("apply", "-f", dir)
	if err == nil {
		t.Fatal("kubectl apply accepts every document")
	}
	refused := refusals(stderr)
	rules := messages(t)
	accepted := 0
	for name, text := range documents {
		p := policy.Decode(name, []byte(text))
		words, no := refused[name]
		if len(p.Documents)+len(p.Refused) != 1 {
			t.Fatalf("%s: %d documents and %d refusals", name, len(p.Documents), len(p.Refused))
		}
		if want := no || strings.HasPrefix(name, "strict"); want != (len(p.Refused) > 0) {
			t.Errorf("%s: the API server says %q, offline it is %v\n%s", name, words, p.Refused, text)
		}
		for _, d := range p.Documents {
			accepted++
			stored := c.MustKubectl("get", d.Kind, "--namespace", d.Namespace, d.Name, "-o", "json")
			if same := policy.Decode(name, []byte(stored)); len(same.Documents) != 1 || same.Documents[0].Hash != d.Hash {
				t.Errorf("%s is another document once Kubernetes has it: %v\n%s\n%s", name, same.Refused, stored, d.Canonical)
			}
		}
		for _, r := range p.Refused {
			for _, f := range r.Faults {
				if rules[f.Reason] && !strings.Contains(words, f.Reason) {
					t.Errorf("%s: the API server says %q, not %q", name, words, f.Reason)
				}
			}
		}
	}
	if accepted == 0 || len(refused) < len(brokenDocuments()) {
		t.Errorf("%d documents accepted, %d refused:\n%s", accepted, len(refused), stderr)
	}
}

// oddSpecs are written in ways that readers of YAML may take differently.
var oddSpecs = []string{
	"service: a, rules: null",
	"service: a, rules: [{name: r, filters: null}]",
	"service: a, rules: [{name: r, backends: [{weight: 1e3}]}]",
	"service: a, rules: [{name: r, backends: [{weight: 5.0}]}]",
	"service: a, rules: [{name: r, backends: [{weight: 0x10}]}]",
	"service: a, rules: [{name: r, backends: [{weight: 0o17}]}]",
	"service: a, rules: [{name: r, backends: [{weight: 010}]}]",
	"service: a, rules: [{name: r, backends: [{weight: 1_000}]}]",
	"service: a, rules: [{name: r, backends: [{weight: '1'}]}]",
	"service: a, rules: [{name: r, matches: [{headers: [{name: a, type: Present, invert: yes}]}]}]",
	"service: a, rules: [{name: r, matches: [{headers: [{name: a, type: Present, invert: True}]}]}]",
	"service: a, rules: [{name: r, matches: [{headers: [{name: a, type: Present, invert: y}]}]}]",
	"service: on",
	"service: y",
	"service: 'off'",
	"service: a, subsets: [{name: s, tags: [no]}]",
	"service: a, subsets: [{name: s, tags: [2026-11-23]}]",
	"service: a, subsets: [{name: s, tags: [1:30]}]",
	"service: a, subsets: [{name: s, meta: {1: b}}]",
	"service: a, subsets: [{name: s, meta: {a: ~}}]",
	"service: a, subsets: [{name: s, meta: {a: .inf}}]",
	"service: a, effect: Shadow",
	"service: a, rules: [{name: r, filters: {mirrors: [{service: b, percent: 0.1%}]}}]",
	"service: a, rules: [{name: r, filters: {mirrors: [{service: b, percent: 5.0}]}}]",
}

// strict are refused offline alone: kubectl reads another document than the
// author sees.
var strict = []string{
	"service: a, service: b",
	"service: a, subsets: [{name: s, meta: {on: b}}]",
	"service: a, subsets: [{name: s, meta: {0x10: b}}]",
}

// metadata of documents, good and bad.
var metadata = []string{
	"name: NAME, labels: {app.kubernetes.io/name: a, a: ''}, annotations: {Example.com/A: 'any thing'}",
	"name: NAME, labels: {a: 'b c'}",
	"name: NAME, labels: {a: on}",
	"name: NAME, labels: {Example.com/a: b}",
	"name: NAME, labels: {a: 1}",
	"name: NAME, labels: [a]",
	"name: NAME, annotations: {'a b': c}",
	"name: NAME, annotations: {a: true}",
	"name: NAME.with.dots",
	"name: NAME..dots",
	"name: NAME.-a",
	"name: NAME-",
	"name: NAME, colour: red",
}

var named = regexp.MustCompile(`/([a-z]+-\d{3})\.yaml`)

// refusals are what kubectl prints of each document that was refused.
func refusals(stderr string) map[string]string {
	out, about := map[string]string{}, [][]string(nil)
	for line := range strings.Lines(stderr) {
		if m := named.FindAllStringSubmatch(line, -1); m != nil {
			about = m // what is no manifest at all stands on one line with others
		}
		for _, m := range about {
			out[m[1]] += line
		}
	}
	return out
}
