package load

import (
	"fmt"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	loadv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/runtime/protoiface"
)

// Fields of envoy.service.load_stats.v3.LoadStatsRequest.
const clusterStatsField protowire.Number = 2

// report is a LoadStatsRequest whose node is not decoded: it is the same in
// every message of a stream, and most of its bytes.
type report struct{ *loadv3.LoadStatsRequest }

func newReport() report { return report{&loadv3.LoadStatsRequest{}} }

// ProtoReflect implements proto.Message with a decoder of its own.
func (r report) ProtoReflect() protoreflect.Message {
	return reflected{r.LoadStatsRequest.ProtoReflect(), r.LoadStatsRequest}
}

type reflected struct {
	protoreflect.Message
	into *loadv3.LoadStatsRequest
}

// ProtoMethods implements protoreflect.Message. It offers Unmarshal alone; all
// else goes the slow way, which nobody takes.
func (r reflected) ProtoMethods() *protoiface.Methods {
	return &protoiface.Methods{
		Flags: protoiface.SupportUnmarshalDiscardUnknown,
		Unmarshal: func(in protoiface.UnmarshalInput) (protoiface.UnmarshalOutput, error) {
			return protoiface.UnmarshalOutput{}, decode(in.Buf, r.into)
		},
		CheckInitialized: func(protoiface.CheckInitializedInput) (protoiface.CheckInitializedOutput, error) {
			return protoiface.CheckInitializedOutput{}, nil // proto3 has no required fields
		},
	}
}

// decode reads the cluster statistics of a LoadStatsRequest and skips the rest.
func decode(b []byte, into *loadv3.LoadStatsRequest) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return fmt.Errorf("load report: %w", protowire.ParseError(n))
		}
		b = b[n:]
		if num != clusterStatsField || typ != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
				return fmt.Errorf("load report: field %d: %w", num, protowire.ParseError(n))
			}
			b = b[n:]
			continue
		}
		body, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return fmt.Errorf("load report: cluster statistics: %w", protowire.ParseError(n))
		}
		stats := &endpointv3.ClusterStats{}
		if err := proto.Unmarshal(body, stats); err != nil {
			return fmt.Errorf("load report: cluster statistics: %w", err)
		}
		into.ClusterStats = append(into.ClusterStats, stats)
		b = b[n:]
	}
	return nil
}
