package main

import (
	"bufio"
	"context"
	"crypto/sha1" // what RFC 6455 asks for in the handshake; nothing is kept secret by it
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// webSocket answers each text frame with "INSTANCE: text" until the client
// closes (RFC 6455, frames up to 125 bytes).
func (a *app) webSocket(w http.ResponseWriter, r *http.Request) error {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err
	}
	defer conn.Close()
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\nx-instance: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(sum[:]), a.name)
	for rw.Flush() == nil {
		text, err := readFrame(rw.Reader)
		if err != nil {
			return nil // the client is gone, or said goodbye: there is nobody to tell
		}
		reply := append([]byte(a.name+": "), text...)
		_, _ = rw.Write(append([]byte{0x81, byte(len(reply))}, reply...))
	}
	return nil
}

func readFrame(r *bufio.Reader) ([]byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	size := int(head[1] & 0x7f)
	if head[0]&0x0f != 1 || head[1]&0x80 == 0 || size > 100 {
		return nil, errors.New("not a short masked text frame")
	}
	body := make([]byte, 4+size)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, err
	}
	mask, text := body[:4], body[4:]
	for i := range text {
		text[i] ^= mask[i%4]
	}
	return text, nil
}

// Say implements echoapi.Server. Metadata fail-code asks for a gRPC code, at
// the instance that fail-at names.
func (a *app) Say(ctx context.Context, text string) (string, error) {
	a.enter("GRPC")
	defer a.leave()
	md, _ := metadata.FromIncomingContext(ctx)
	if at := md.Get("fail-at"); len(at) == 1 && at[0] == a.name {
		var code uint32
		if _, err := fmt.Sscan(strings.Join(md.Get("fail-code"), ""), &code); err != nil {
			return "", err
		}
		return "", status.Errorf(codes.Code(code), "%s was told to", a.name)
	}
	return a.name + ": " + text, nil
}

// Tick implements echoapi.Server.
func (a *app) Tick(ctx context.Context, n uint32, interval time.Duration, send func(string) error) error {
	a.enter("GRPC")
	defer a.leave()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for range n {
		if err := send(a.name); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// serveTCP answers each line with "INSTANCE: line".
func (a *app) serveTCP(ctx context.Context, lis net.Listener) error {
	stop := context.AfterFunc(ctx, func() { lis.Close() })
	defer stop()
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		conn, err := lis.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		conns.Go(func() {
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			a.enter("TCP")
			defer a.leave()
			lines := bufio.NewScanner(conn)
			for lines.Scan() {
				if _, err := fmt.Fprintf(conn, "%s: %s\n", a.name, lines.Text()); err != nil {
					return
				}
			}
		})
	}
}
