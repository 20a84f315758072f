//go:build e2e

package kube_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"meshlite.dev/internal/ctl/kube"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/policytest"
	"meshlite.dev/test/lab"
)

func TestMain(m *testing.M) {
	if err := lab.FindTools(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func writer(t *testing.T, cfg kube.Config) *kube.Writer {
	t.Helper()
	if cfg.Warnings == nil {
		cfg.Warnings = io.Discard
	}
	w, err := kube.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// refusedAs demands an error with every text.
func refusedAs(t *testing.T, err error, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("the error %v does not say %q", err, text)
		}
	}
}

// TestWriter on a real API server, whose state each part leaves empty.
func TestWriter(t *testing.T) {
	c := lab.New(t).StartCluster()
	early := writer(t, kube.Config{Kubeconfig: c.Kubeconfig()})
	refusedAs(t, early.Write(t.Context(), []policy.Change{policytest.Put(t, "a", 1, "")}), "ResiliencePolicy/default/a", "the cluster does not know the kind", "kubectl apply -k")
	_, err := early.Held(t.Context(), []policy.Key{{Kind: policy.KindResiliencePolicy, Namespace: "default", Name: "a"}})
	refusedAs(t, err, "the cluster does not know the kind")
	c.InstallCRDs()
	w := writer(t, kube.Config{Kubeconfig: c.Kubeconfig()})
	for name, test := range map[string]func(*testing.T, *lab.Cluster, *kube.Writer){
		"a document that moved is not overwritten":              func(t *testing.T, _ *lab.Cluster, w *kube.Writer) { policytest.RunWriter(t, w) },
		"labels and annotations are kept":                       labels,
		"a status that is written meanwhile is in nobody's way": statusMeanwhile,
		"fields of another manager are a conflict":              managers,
		"what the API server refuses leaves all as it was":      refusals,
		"rights are the user's":                                 rights,
		"many documents are written":                            many,
	} {
		t.Run(name, func(t *testing.T) { test(t, c, w) })
	}
	c.Kill()
	err = w.Write(t.Context(), []policy.Change{policytest.Put(t, "a", 1, "")})
	if !errors.Is(err, kube.ErrUnreachable) {
		t.Errorf("with the API server away: %v", err)
	}
	refusedAs(t, err, "https://"+c.Addr, "connection refused")
}

func get(c *lab.Cluster, name, path string) string {
	return c.MustKubectl("get", "rp", name, "-o", "jsonpath={"+path+"}")
}

func write(t *testing.T, w *kube.Writer, changes ...policy.Change) {
	t.Helper()
	if err := w.Write(t.Context(), changes); err != nil {
		t.Fatal(err)
	}
}

func labels(t *testing.T, c *lab.Cluster, w *kube.Writer) {
	put := policytest.Put(t, "labelled", 1, "")
	put.Document.Labels = map[string]string{"team": "shop"}
	put.Document.Annotations = map[string]string{"note": "first"}
	write(t, w, put)
	if got := get(c, "labelled", ".metadata.labels.team") + get(c, "labelled", ".metadata.annotations.note"); got != "shopfirst" {
		t.Errorf("kept %q", got)
	}
	if got := get(c, "labelled", ".metadata.managedFields[*].manager"); got != kube.FieldManager {
		t.Errorf("the fields are %q's", got)
	}
	held := policytest.Held(t, w, put.Key)
	for _, want := range []string{`"labels":{"team":"shop"}`, `"annotations":{"note":"first"}`} {
		if !strings.Contains(string(held.Text), want) || strings.Contains(string(held.Text), "managedFields") {
			t.Errorf("held %s", held.Text)
		}
	}
	edit := policytest.Put(t, "labelled", 2, held.Version)
	edit.Document.Annotations = map[string]string{"note": "second"}
	write(t, w, edit)
	if got := get(c, "labelled", ".metadata.labels") + get(c, "labelled", ".metadata.annotations.note") + get(c, "labelled", ".spec.retry.attempts"); got != "second2" {
		t.Errorf("after the edit %q", got)
	}
	write(t, w, policy.Change{Key: put.Key})
	if h := policytest.Held(t, w, put.Key); h.Version != "" {
		t.Errorf("still there: %s", h.Text)
	}
	write(t, w, policy.Change{Key: put.Key}) // no fault
}

func statusMeanwhile(t *testing.T, c *lab.Cluster, w *kube.Writer) {
	write(t, w, policytest.Put(t, "status", 1, ""))
	held := policytest.Held(t, w, policytest.Put(t, "status", 1, "").Key)
	c.MustKubectl("patch", "rp", "status", "--subresource=status", "--type=merge", "-p", `{"status":{"inForceGeneration":1}}`)
	write(t, w, policytest.Put(t, "status", 2, held.Version))
	if got := get(c, "status", ".status.inForceGeneration") + get(c, "status", ".spec.retry.attempts"); got != "12" {
		t.Errorf("after the edit %q", got)
	}
	c.MustKubectl("delete", "rp", "status")
}

func managers(t *testing.T, c *lab.Cluster, w *kube.Writer) {
	c.Apply("apiVersion: meshlite.dev/v1alpha1\nkind: ResiliencePolicy\nmetadata: {name: shared}\nspec: {targetRefs: [{kind: Service, name: shared}], retry: {attempts: 1}}\n")
	put := policytest.Put(t, "shared", 2, "")
	err := w.Check(t.Context(), []policy.Change{put})
	refusedAs(t, err, "ResiliencePolicy/default/shared", "kubectl", ".spec.retry.attempts", "--force-conflicts")
	refusedAs(t, w.Write(t.Context(), []policy.Change{put}), "--force-conflicts")
	if got := get(c, "shared", ".spec.retry.attempts"); got != "1" {
		t.Errorf("overwritten: %s", got)
	}
	held := policytest.Held(t, w, put.Key)
	if strings.Contains(string(held.Text), policy.LastApplied) {
		t.Errorf("an editor would see kubectl's annotation: %s", held.Text)
	}
	write(t, writer(t, kube.Config{Kubeconfig: c.Kubeconfig(), Force: true}), put)
	if got := get(c, "shared", ".spec.retry.attempts"); got != "2" {
		t.Errorf("with force: %s", got)
	}
	edit := policytest.Put(t, "shared", 3, policytest.Held(t, w, put.Key).Version)
	write(t, w, edit)
	if got := get(c, "shared", ".metadata.annotations"); !strings.Contains(got, "last-applied") {
		t.Errorf("kubectl's annotation is lost: %s", got)
	}
	c.MustKubectl("delete", "rp", "shared")
}

func refusals(t *testing.T, _ *lab.Cluster, w *kube.Writer) {
	good, bad, nowhere := policytest.Put(t, "good", 1, ""), policytest.Put(t, "bad", 1, ""), policytest.Put(t, "good", 1, "")
	replace := func(d *policy.Document, old, text string) {
		d.Canonical = []byte(strings.Replace(string(d.Canonical), old, text, 1))
	}
	replace(bad.Document, `"attempts":1`, `"attempts":99`) // what an older meshctl would let pass
	replace(nowhere.Document, `"namespace":"default"`, `"namespace":"nowhere"`)
	nowhere.Namespace = "nowhere"
	for _, step := range []error{
		w.Check(t.Context(), []policy.Change{good, bad, nowhere}),
		w.Write(t.Context(), []policy.Change{good, bad, nowhere}),
	} {
		refusedAs(t, step, "ResiliencePolicy/default/bad: spec.retry.attempts", "there is no namespace nowhere", "kubectl create namespace nowhere")
	}
	if h := policytest.Held(t, w, good.Key); h.Version != "" {
		t.Errorf("half a change set was written: %s", h.Text)
	}
}

func rights(t *testing.T, c *lab.Cluster, _ *kube.Writer) {
	c.Apply(`{apiVersion: v1, kind: ServiceAccount, metadata: {name: reader, namespace: default}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: default}
rules: [{apiGroups: [meshlite.dev], resources: [resiliencepolicies], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: default}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader, namespace: default}]
`)
	w := writer(t, kube.Config{Kubeconfig: c.KubeconfigFor("default/reader")})
	put := policytest.Put(t, "forbidden", 1, "")
	policytest.Held(t, w, put.Key)
	refusedAs(t, w.Write(t.Context(), []policy.Change{put}), "system:serviceaccount:default:reader", "cannot patch", "kubectl auth can-i")
}

func many(t *testing.T, c *lab.Cluster, w *kube.Writer) {
	var changes []policy.Change
	for i := range 60 {
		changes = append(changes, policytest.Put(t, fmt.Sprint("many", i), 1, ""))
	}
	write(t, w, changes...)
	all, err := w.Held(t.Context(), policy.KeysOf(changes))
	if err != nil || len(all) != len(changes) {
		t.Errorf("%d of %d are there: %v", len(all), len(changes), err)
	}
	for i := range changes {
		changes[i].Document = nil
	}
	write(t, w, changes...)
	if left := c.MustKubectl("get", "rp", "-o", "name"); left != "" {
		t.Errorf("left is %s", left)
	}
}

// TestCredentialsAreThoseOfKubectl: contexts, exec plugins, and a sentence
// where there are none.
func TestCredentialsAreThoseOfKubectl(t *testing.T) {
	c := lab.New(t).StartCluster()
	c.InstallCRDs()
	raw, err := os.ReadFile(c.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	_, token, _ := bytes.Cut(raw, []byte("token: "))
	token, _, _ = bytes.Cut(token, []byte("}"))
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plugin := file("plugin", "#!/bin/sh\necho '{\"apiVersion\": \"client.authentication.k8s.io/v1\", \"kind\": \"ExecCredential\", \"status\": {\"token\": "+string(token)+"}}'\n", 0o700)
	text := strings.NewReplacer("current-context: lab", "current-context: nowhere", "- name: lab\n  context:", "- name: nowhere\n  context: {cluster: nowhere, user: nobody}\n- name: lab\n  context:",
		"token: "+string(token), "exec: {apiVersion: client.authentication.k8s.io/v1, command: "+plugin+", interactiveMode: Never}").Replace(string(raw))
	config := file("config", text, 0o600)
	put := policytest.Put(t, "exec", 1, policy.Absent)
	write(t, writer(t, kube.Config{Kubeconfig: config, Context: "lab"}), put)
	t.Setenv("KUBECONFIG", config)
	if h := policytest.Held(t, writer(t, kube.Config{Context: "lab"}), put.Key); h.Version == "" {
		t.Error("KUBECONFIG is not read")
	}
	t.Setenv("HOME", dir)
	for name, cfg := range map[string]kube.Config{
		"the current context has no cluster": {Kubeconfig: config},
		"no such context":                    {Kubeconfig: config, Context: "prod"},
		"no such file":                       {Kubeconfig: filepath.Join(dir, "nope")},
	} {
		if _, err := kube.New(cfg); !errors.Is(err, kube.ErrNoCluster) {
			t.Errorf("%s: %v", name, err)
		} else {
			refusedAs(t, err, "--kubeconfig")
		}
	}
}
