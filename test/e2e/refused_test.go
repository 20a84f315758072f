//go:build e2e

package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"meshlite.dev/test/lab"
)

// TestRefusedStream: a server that refuses streams has not processed them, so
// even a POST is tried elsewhere, by default.
func TestRefusedStream(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	h2 := map[string]string{"protocol": "http2"}
	l.ServiceWith("orders", 1, h2)
	l.Registry.Register(lab.Instance{ID: "refuser", Name: "orders", Address: "127.0.0.1", Port: refuser(t), Meta: h2})
	l.Policies.Write("orders.yaml", policyYAML("orders", "\n  outlierDetection: {mode: Disabled}\n  loadBalancing: {type: RoundRobin}"))
	l.StartServer()
	client := l.Sidecar("client")
	client.WaitStatus("http://orders/", http.StatusOK, 10*time.Second)
	clean(t, calls(t, client, 40, http.MethodPost, "http://orders/"))
	if n := client.Stat("cluster.orders.upstream_rq_retry"); n < 10 {
		t.Errorf("%d retries for 40 calls, half of which were refused", n)
	}
}

// refuser is an HTTP/2 server that answers each stream with REFUSED_STREAM.
func refuser(t *testing.T) int {
	t.Helper()
	port := lab.FreePort(t)
	lis, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lis.Close() })
	go func() {
		for {
			conn, err := lis.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { conn.Close() })
			go refuse(conn)
		}
	}()
	return port
}

func refuse(conn net.Conn) {
	defer conn.Close()
	if _, err := io.CopyN(io.Discard, conn, int64(len(http2.ClientPreface))); err != nil {
		return
	}
	f := http2.NewFramer(conn, conn)
	err := f.WriteSettings()
	for err == nil {
		var frame http2.Frame
		if frame, err = f.ReadFrame(); err != nil {
			return
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				err = f.WriteSettingsAck()
			}
		case *http2.PingFrame:
			err = f.WritePing(true, frame.Data)
		case *http2.HeadersFrame:
			err = f.WriteRSTStream(frame.StreamID, http2.ErrCodeRefusedStream)
		}
	}
}
