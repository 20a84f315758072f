package lab

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// WebSocket is a client of the echo service (RFC 6455, short text frames).
type WebSocket struct {
	conn net.Conn
	r    *bufio.Reader
}

// DialWebSocket connects to addr and asks for an upgrade of http://HOST/.
func DialWebSocket(ctx context.Context, addr, host string) (*WebSocket, error) {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	w := &WebSocket{conn, bufio.NewReader(conn)}
	key := base64.StdEncoding.EncodeToString([]byte("sixteen bytes...")) // any will do: nothing here is a secret
	_, err = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n", host, key)
	if err != nil {
		conn.Close()
		return nil, err
	}
	resp, err := http.ReadResponse(w.r, nil)
	if err != nil {
		conn.Close()
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusSwitchingProtocols {
		conn.Close()
		return nil, fmt.Errorf("upgrade answered %s, x-mesh-reason %q", resp.Status, resp.Header.Get("x-mesh-reason"))
	}
	return w, nil
}

// Close ends the connection.
func (w *WebSocket) Close() { w.conn.Close() }

// Echo sends text and returns what comes back within 5 seconds.
func (w *WebSocket) Echo(text string) (string, error) {
	if err := w.conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	frame := append([]byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0}, text...) // a mask of zeros leaves the text
	if _, err := w.conn.Write(frame); err != nil {
		return "", err
	}
	var head [2]byte
	if _, err := io.ReadFull(w.r, head[:]); err != nil {
		return "", err
	}
	body := make([]byte, head[1])
	_, err := io.ReadFull(w.r, body)
	return string(body), err
}
