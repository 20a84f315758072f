package resource

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	luav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/lua/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
)

const luaFilter = "envoy.filters.http.lua"

// lowerCaseScript makes host names case-insensitive, as they are: scope keys
// are not. It touches nothing when the host is lower case already.
const lowerCaseScript = `function envoy_on_request(h)
  local a = h:headers():get(':authority')
  local l = a and a:lower()
  if l ~= a then
    h:headers():replace(':authority', l)
    h:clearRouteCache()
  end
end
`

// passthroughScript also sends what no scope matched to the scope of
// everything else; names of the mesh never leave it. Reading the metadata
// refreshes the route after the first clearing.
const passthroughScript = `function envoy_on_request(h)
  local hs = h:headers()
  local a = hs:get(':authority')
  if not a then return end
  local l = a:lower()
  if l ~= a then hs:replace(':authority', l) end
  if l ~= hs:get('x-mesh-host') then
    hs:replace('x-mesh-host', l)
    h:clearRouteCache()
    h:metadata()
  end
  if h:streamInfo():routeName() ~= '' then return end
  local host = l:gsub(':%d+$', '')
  if host:find('%.mesh$') or host:find('%.service%.consul$') then return end
  hs:replace('x-mesh-host', '*')
  h:clearRouteCache()
end
`

func lua(script string) *hcmv3.HttpFilter {
	return httpFilter(luaFilter, &luav3.Lua{
		DefaultSourceCode: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: script}},
	})
}
