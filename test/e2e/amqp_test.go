//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"meshlite.dev/test/lab"
)

// TestTheExampleOfAMQP runs examples/amqp as docs/amqp.md has it: a publisher and a
// consumer in plain pika keep their connections through their sidecar while policies,
// instances and servers change, and connect again when the broker was killed. No
// order is lost.
func TestTheExampleOfAMQP(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	r := l.StartRabbit()
	broker := exampleBroker(t, r)
	l.Registry.Register(broker)
	s := l.StartServer()
	client := l.Sidecar("shop", "--upstream", "rabbitmq/tcp")
	url := fmt.Sprintf("AMQP_URL=amqp://guest:guest@127.0.0.1:%d/?heartbeat=30", client.Upstreams["rabbitmq"])
	script := example(t, "orders.py")
	o := orders{
		consumer:  l.Start("consumer", []string{url}, lab.Binaries.PythonPika, script, "consume"),
		publisher: l.Start("publisher", []string{url}, lab.Binaries.PythonPika, script, "publish"),
	}
	o.connected(t, 1, "the start")

	document, err := os.ReadFile(example(t, "rabbitmq.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	changed := func() int { return client.Stat("cluster_manager.cluster_modified") }
	for _, d := range []string{string(document), policyYAML("rabbitmq", "\n  limits: {connections: 9}\n  timeouts: {idle: 1s}"), ""} {
		before := changed()
		if l.Policies.Write("rabbitmq.yaml", d); d == "" {
			l.Policies.Remove("rabbitmq.yaml")
		}
		lab.Until(t, 20*time.Second, "the policy is in Envoy", func() error {
			if changed() == before {
				return errors.New("the cluster is as it was")
			}
			return nil
		})
		o.connected(t, 1, "a policy")
	}
	second := broker
	second.ID, second.Port = "rabbitmq-2", lab.FreePort(t)
	hosts := func(n int) {
		t.Helper()
		lab.Until(t, 30*time.Second, fmt.Sprintf("%d brokers", n), func() error {
			if got := client.Hosts("rabbitmq"); len(got) != n {
				return fmt.Errorf("%v", got)
			}
			return nil
		})
		o.connected(t, 1, fmt.Sprintf("a change to %d brokers", n))
	}
	l.Registry.Register(second)
	hosts(2)
	l.Registry.Deregister(second)
	hosts(1)
	s.Kill()
	o.connected(t, 1, "the death of the server")
	s.Start()
	s.WaitReady(20 * time.Second)
	o.connected(t, 1, "the server's return")

	r.Kill()
	o.consumer.WaitLog("not connected: ", 20*time.Second)
	o.publisher.WaitLog("not connected: ", 20*time.Second)
	r.Start()
	r.WaitReady(90 * time.Second)
	t.Logf("orders go on %s after the broker is ready again", o.goOn(t, "the broker's return").Round(10*time.Millisecond))
	o.connected(t, 2, "the broker's return")
	o.check(t)
}

// orders are the two processes of the example.
type orders struct{ consumer, publisher *lab.Process }

// goOn waits for twenty more.
func (o orders) goOn(t *testing.T, after string) time.Duration {
	t.Helper()
	was := strings.Count(o.consumer.Log(), " is new\n")
	return lab.Until(t, 30*time.Second, "orders go on after "+after, func() error {
		if n := strings.Count(o.consumer.Log(), " is new\n") - was; n < 20 {
			return fmt.Errorf("%d more", n)
		}
		return nil
	})
}

// connected fails t unless orders go on and each process has connected n times so far.
func (o orders) connected(t *testing.T, n int, after string) {
	t.Helper()
	o.goOn(t, after)
	for _, p := range []*lab.Process{o.consumer, o.publisher} {
		if got := strings.Count("\n"+p.Log(), "\nconnected\n"); got != n {
			t.Fatalf("after %s: the %s has connected %d times, want %d", after, p.Name, got, n)
		}
	}
}

// check ends the publisher, and waits until all orders that were confirmed have come,
// in order.
func (o orders) check(t *testing.T) {
	t.Helper()
	o.publisher.Kill()
	published := strings.Count(o.publisher.Log(), "published ")
	o.consumer.WaitLog(fmt.Sprintf("order %d is new\n", published), 20*time.Second)
	next, again := 1, 0
	for line := range strings.Lines(o.consumer.Log()) {
		switch {
		case line == fmt.Sprintf("order %d is new\n", next):
			next++
		case strings.HasSuffix(line, " again\n"):
			again++
		case strings.HasPrefix(line, "order "):
			t.Fatalf("%q, want order %d", line, next)
		}
	}
	t.Logf("%d orders confirmed, %d came, and %d of them again", published, next-1, again)
}

// example is a file of examples/amqp.
func example(t *testing.T, name string) string {
	t.Helper()
	root, err := lab.Root()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, "examples", "amqp", name)
}

// exampleBroker is the instance of rabbitmq.json at the address of r.
func exampleBroker(t *testing.T, r *lab.Rabbit) lab.Instance {
	t.Helper()
	raw, err := os.ReadFile(example(t, "rabbitmq.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Service lab.Instance }
	if err := json.Unmarshal([]byte(strings.Replace(string(raw), "5672", strings.TrimPrefix(r.Addr, "127.0.0.1:"), 1)), &file); err != nil {
		t.Fatal(err)
	}
	return file.Service
}
