package xdstest

import (
	"context"
	"fmt"
	"io"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// Delta is a pipe of the incremental protocol.
type Delta = Pipe[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]

// SotW is a pipe of the state-of-the-world protocol.
type SotW = Pipe[discoveryv3.DiscoveryRequest, discoveryv3.DiscoveryResponse]

// Pipe is a gRPC stream without a network, for use in synctest bubbles. Its
// server end is the Pipe itself (grpc.BidiStreamingServer), its client end is
// Client.
type Pipe[Req, Resp any] struct {
	codec  encoding.CodecV2
	ctx    context.Context
	cancel context.CancelFunc
	reqs   chan *Req
	resps  chan *Resp
	done   chan struct{}
	err    error
}

// Open starts serve on a new pipe, in a goroutine that ends when the stream
// does. room is how many responses fit before the server's send blocks. ctx
// carries what the server reads of it.
func Open[Req, Resp any](ctx context.Context, codec encoding.CodecV2, room int, serve func(*Pipe[Req, Resp]) error) *Pipe[Req, Resp] {
	p := &Pipe[Req, Resp]{codec: codec, reqs: make(chan *Req, 1024), resps: make(chan *Resp, room), done: make(chan struct{})}
	p.ctx, p.cancel = context.WithCancel(ctx)
	go func() {
		p.err = serve(p)
		p.cancel() // as gRPC does when a handler returns
		close(p.done)
	}()
	return p
}

// Say sends a request to the server.
func (p *Pipe[Req, Resp]) Say(r *Req) { p.reqs <- r }

// Hear waits for a response; the stream's error when it has ended.
func (p *Pipe[Req, Resp]) Hear() (*Resp, error) {
	select {
	case r := <-p.resps:
		return r, nil
	case <-p.done:
		select {
		case r := <-p.resps:
			return r, nil
		default:
		}
		if p.err == nil {
			return nil, io.EOF
		}
		return nil, p.err
	}
}

// Heard returns the responses that have come so far.
func (p *Pipe[Req, Resp]) Heard() (out []*Resp) {
	for {
		select {
		case r := <-p.resps:
			out = append(out, r)
		default:
			return out
		}
	}
}

// Hang breaks the connection.
func (p *Pipe[Req, Resp]) Hang() { p.cancel() }

// Wait returns the handler's error once it has returned.
func (p *Pipe[Req, Resp]) Wait() error {
	<-p.done
	return p.err
}

// Context implements grpc.ServerStream.
func (p *Pipe[Req, Resp]) Context() context.Context { return p.ctx }

// SendMsg implements grpc.ServerStream.
func (p *Pipe[Req, Resp]) SendMsg(m any) error {
	raw, err := p.codec.Marshal(m)
	if err != nil {
		return fmt.Errorf("pipe: %w", err)
	}
	r := new(Resp)
	if err := proto.Unmarshal(raw.Materialize(), any(r).(proto.Message)); err != nil {
		return fmt.Errorf("pipe: %w", err)
	}
	select {
	case p.resps <- r:
		return nil
	case <-p.ctx.Done():
		return fmt.Errorf("pipe: %w", p.ctx.Err())
	}
}

// RecvMsg implements grpc.ServerStream.
func (p *Pipe[Req, Resp]) RecvMsg(m any) error {
	select {
	case r := <-p.reqs:
		dst, src := m.(proto.Message), any(r).(proto.Message)
		proto.Reset(dst)
		proto.Merge(dst, src)
		return nil
	case <-p.ctx.Done():
		return fmt.Errorf("pipe: %w", p.ctx.Err())
	}
}

// Send implements grpc.BidiStreamingServer.
func (p *Pipe[Req, Resp]) Send(r *Resp) error { return p.SendMsg(r) }

// Recv implements grpc.BidiStreamingServer.
func (p *Pipe[Req, Resp]) Recv() (*Req, error) {
	r := new(Req)
	return r, p.RecvMsg(r)
}

// SetHeader implements grpc.ServerStream.
func (p *Pipe[Req, Resp]) SetHeader(metadata.MD) error { return nil }

// SendHeader implements grpc.ServerStream.
func (p *Pipe[Req, Resp]) SendHeader(metadata.MD) error { return nil }

// SetTrailer implements grpc.ServerStream.
func (p *Pipe[Req, Resp]) SetTrailer(metadata.MD) {}
