package bootstrap

import (
	"time"

	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	connectionsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	heapv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/fixed_heap/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	maxConnections = 50_000  // from callers, over all listeners
	maxHeap        = 1 << 30 // bytes
	shrinkAt       = 0.95    // of maxHeap: memory goes back to the system
	refuseAt       = 0.98    // of maxHeap: new requests get 503
)

// overload keeps a sidecar from taking the memory of the service beside it.
// https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/operations/overload_manager/overload_manager
func overload() *overloadv3.OverloadManager {
	return &overloadv3.OverloadManager{
		RefreshInterval: durationpb.New(250 * time.Millisecond),
		ResourceMonitors: []*overloadv3.ResourceMonitor{
			monitor("envoy.resource_monitors.global_downstream_max_connections",
				&connectionsv3.DownstreamConnectionsConfig{MaxActiveDownstreamConnections: maxConnections}),
			monitor("envoy.resource_monitors.fixed_heap", &heapv3.FixedHeapConfig{MaxHeapSizeBytes: maxHeap}),
		},
		Actions: []*overloadv3.OverloadAction{
			onHeap("envoy.overload_actions.shrink_heap", shrinkAt),
			onHeap("envoy.overload_actions.stop_accepting_requests", refuseAt),
		},
	}
}

func monitor(name string, config proto.Message) *overloadv3.ResourceMonitor {
	m := &overloadv3.ResourceMonitor{Name: name}
	if packed, err := anypb.New(config); err == nil { // plain numbers always marshal
		m.ConfigType = &overloadv3.ResourceMonitor_TypedConfig{TypedConfig: packed}
	}
	return m
}

func onHeap(action string, share float64) *overloadv3.OverloadAction {
	return &overloadv3.OverloadAction{Name: action, Triggers: []*overloadv3.Trigger{{
		Name:         "envoy.resource_monitors.fixed_heap",
		TriggerOneof: &overloadv3.Trigger_Threshold{Threshold: &overloadv3.ThresholdTrigger{Value: share}},
	}}}
}
