// Package echoapi is the gRPC face of the echo test service: a service
// description written by hand over protobuf's well-known types, so that tests
// need no generated code.
package echoapi

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const service = "meshlite.test.Echo"

// Server answers calls.
type Server interface {
	// Say answers "INSTANCE: text".
	Say(ctx context.Context, text string) (string, error)
	// Tick sends the instance's name every interval, n times.
	Tick(ctx context.Context, n uint32, interval time.Duration, send func(string) error) error
}

// Register adds s to g.
func Register(g *grpc.Server, s Server) { g.RegisterService(&desc, s) }

var desc = grpc.ServiceDesc{
	ServiceName: service,
	HandlerType: (*Server)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "Say", Handler: func(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		var in wrapperspb.StringValue
		if err := decode(&in); err != nil {
			return nil, err
		}
		out, err := srv.(Server).Say(ctx, in.Value)
		if err != nil {
			return nil, err
		}
		return wrapperspb.String(out), nil
	}}},
	Streams: []grpc.StreamDesc{{StreamName: "Tick", ServerStreams: true, Handler: func(srv any, s grpc.ServerStream) error {
		var in wrapperspb.StringValue
		if err := s.RecvMsg(&in); err != nil {
			return err
		}
		var n uint32
		var interval string
		if _, err := fmt.Sscan(in.Value, &n, &interval); err != nil {
			return err
		}
		every, err := time.ParseDuration(interval)
		if err != nil {
			return err
		}
		return srv.(Server).Tick(s.Context(), n, every, func(text string) error { return s.SendMsg(wrapperspb.String(text)) })
	}}},
}

// Say calls Server.Say over c.
func Say(ctx context.Context, c grpc.ClientConnInterface, text string, opts ...grpc.CallOption) (string, error) {
	var out wrapperspb.StringValue
	err := c.Invoke(ctx, "/"+service+"/Say", wrapperspb.String(text), &out, opts...)
	return out.Value, err
}

// Tick calls Server.Tick over c and hands each text to got until the stream
// ends; io.EOF is its good end.
func Tick(ctx context.Context, c grpc.ClientConnInterface, n uint32, interval time.Duration, got func(string)) error {
	s, err := c.NewStream(ctx, &desc.Streams[0], "/"+service+"/Tick")
	if err != nil {
		return err
	}
	if err := s.SendMsg(wrapperspb.String(fmt.Sprint(n, " ", interval))); err != nil {
		return err
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	for {
		var out wrapperspb.StringValue
		if err := s.RecvMsg(&out); err != nil {
			return err
		}
		got(out.Value)
	}
}
