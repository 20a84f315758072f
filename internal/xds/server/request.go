package server

import (
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
)

// request is one message of a proxy, of either protocol.
type request struct {
	typeURL string
	nonce   string // of the response that it answers; "" is a change of subscription
	refused bool   // the answer is a NACK
	detail  string // Envoy's words, uncleaned
	node    *corev3.Node

	subscribe, unsubscribe []string          // delta
	initial                map[string]string // delta: versions brought along
	names                  []string          // state of the world: the whole subscription
	version                string            // state of the world: version in force
}

// wire is one stream in one protocol. One goroutine receives, one sends.
type wire interface {
	receive() (*request, error)
	send(*response) error
}

type deltaWire struct{ grpc.ServerStream }

func (w deltaWire) receive() (*request, error) {
	m := new(discoveryv3.DeltaDiscoveryRequest)
	if err := w.RecvMsg(m); err != nil {
		return nil, fmt.Errorf("receive: %w", err)
	}
	return &request{
		typeURL: m.GetTypeUrl(), nonce: m.GetResponseNonce(), node: m.GetNode(),
		refused: m.GetErrorDetail() != nil, detail: m.GetErrorDetail().GetMessage(),
		subscribe: m.GetResourceNamesSubscribe(), unsubscribe: m.GetResourceNamesUnsubscribe(),
		initial: m.GetInitialResourceVersions(),
	}, nil
}

func (w deltaWire) send(r *response) error { return sendOn(w.ServerStream, r) }

type sotwWire struct{ grpc.ServerStream }

func (w sotwWire) receive() (*request, error) {
	m := new(discoveryv3.DiscoveryRequest)
	if err := w.RecvMsg(m); err != nil {
		return nil, fmt.Errorf("receive: %w", err)
	}
	return &request{
		typeURL: m.GetTypeUrl(), nonce: m.GetResponseNonce(), node: m.GetNode(),
		refused: m.GetErrorDetail() != nil, detail: m.GetErrorDetail().GetMessage(),
		names: m.GetResourceNames(), version: m.GetVersionInfo(),
	}, nil
}

func (w sotwWire) send(r *response) error { return sendOn(w.ServerStream, r) }

func sendOn(s grpc.ServerStream, r *response) error {
	if err := s.SendMsg(r); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}
