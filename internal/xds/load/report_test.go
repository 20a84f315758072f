package load

import (
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	loadv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"google.golang.org/protobuf/proto"
)

func TestReportSkipsTheNode(t *testing.T) {
	full := &loadv3.LoadStatsRequest{
		Node: &corev3.Node{Id: "web-1", Cluster: "web"},
		ClusterStats: []*endpointv3.ClusterStats{
			{ClusterName: "orders", TotalDroppedRequests: 3}, {ClusterName: "billing"},
		},
	}
	raw, err := proto.Marshal(full)
	if err != nil {
		t.Fatal(err)
	}
	got := newReport()
	if err := proto.Unmarshal(raw, got); err != nil {
		t.Fatal(err)
	}
	full.Node = nil
	if !proto.Equal(got.LoadStatsRequest, full) {
		t.Fatalf("got %v, want %v", got.LoadStatsRequest, full)
	}
}

// FuzzReport checks the decoder against the generated one: what that reads,
// ours reads alike.
func FuzzReport(f *testing.F) {
	seed, err := proto.Marshal(&loadv3.LoadStatsRequest{
		Node:         &corev3.Node{Id: "web-1"},
		ClusterStats: []*endpointv3.ClusterStats{{ClusterName: "orders", TotalDroppedRequests: 3}},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte{0x12, 0xff})
	f.Fuzz(func(t *testing.T, raw []byte) {
		want, got := &loadv3.LoadStatsRequest{}, newReport()
		errWant := proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(raw, want)
		errGot := proto.Unmarshal(raw, got)
		if errWant != nil {
			return // the node may be what is broken, and we do not look at it
		}
		if errGot != nil {
			t.Fatalf("refused: %v", errGot)
		}
		if len(got.ClusterStats) != len(want.ClusterStats) {
			t.Fatalf("%d cluster statistics, want %d", len(got.ClusterStats), len(want.ClusterStats))
		}
		for i, c := range got.ClusterStats {
			if c.GetClusterName() != want.ClusterStats[i].GetClusterName() || c.GetTotalDroppedRequests() != want.ClusterStats[i].GetTotalDroppedRequests() {
				t.Fatalf("cluster statistics %d: %v, want %v", i, c, want.ClusterStats[i])
			}
		}
	})
}
