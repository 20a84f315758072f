package bootstrap

import (
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// maxRegexProgram is how large a compiled regex may be, in RE2's instructions.
// Envoy's own 100 refuses a suffix of a hundred characters; the policies bound
// their regexes themselves, well below this.
// https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/type/matcher/v3/regex.proto
const maxRegexProgram = 32768

// runtime is what Envoy reads beside its configuration. The layer of the admin
// port stays on top of it, as without any of ours.
func runtime() *bootstrapv3.LayeredRuntime {
	own := &structpb.Struct{Fields: map[string]*structpb.Value{
		"re2.max_program_size.error_level": structpb.NewNumberValue(maxRegexProgram),
	}}
	return &bootstrapv3.LayeredRuntime{Layers: []*bootstrapv3.RuntimeLayer{
		{Name: "meshlite", LayerSpecifier: &bootstrapv3.RuntimeLayer_StaticLayer{StaticLayer: own}},
		{Name: "admin", LayerSpecifier: &bootstrapv3.RuntimeLayer_AdminLayer_{AdminLayer: &bootstrapv3.RuntimeLayer_AdminLayer{}}},
	}}
}
