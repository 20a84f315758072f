package resource

import (
	"fmt"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"meshlite.dev/internal/mesh"
)

// notSynced answers for a service that the catalog has not told about yet.
func notSynced(cfg Config, service string) *routev3.RouteConfiguration {
	return answer(cfg, service, 503, "not-synced service="+service, "the catalog has not answered for "+service+" yet")
}

// notHTTP answers for a service without a Host route.
func notHTTP(cfg Config, service string) *routev3.RouteConfiguration {
	return answer(cfg, service, 404, "tcp-service service="+service,
		fmt.Sprintf("%s speaks tcp: reach it by a local port of its own (--upstream %s=PORT/tcp)", service, service))
}

// answer is a route configuration that answers every request.
func answer(cfg Config, service string, code uint32, reason, body string) *routev3.RouteConfiguration {
	return configuration(cfg, service, &routev3.Route{
		Name:                 service + "/" + strings.SplitN(reason, " ", 2)[0],
		Match:                everything(),
		Action:               direct(code, body),
		ResponseHeadersToAdd: []*corev3.HeaderValueOption{header(ReasonHeader, reason)},
		Metadata:             metadata(service, mesh.DocumentRef{}, nil),
	})
}

func direct(code uint32, body string) *routev3.Route_DirectResponse {
	return &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{
		Status: code, Body: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: body}},
	}}
}

// answered is a route of a rule without backends: it redirects, or answers, or
// nothing is behind any of its backends.
func answered(service string, d *mesh.Destination, r *mesh.Rule, m mesh.Match, ts []target) *routev3.Route {
	rt := base(service, d, r, m, "")
	by := " policy=" + d.Routes.By.String()
	var reason string
	switch {
	case r.Redirect != nil:
		rt.Action = &routev3.Route_Redirect{Redirect: redirect(r.Redirect)}
		reason = "redirect" + by
	case r.Direct != nil:
		rt.Action = direct(r.Direct.Status, r.Direct.Body)
		reason = "direct-response" + by
	case len(ts) == 0:
		rt.Action = direct(503, "no backend of the rule has a weight")
		reason = "missing-backend service=" + service + by
	default:
		var body string
		reason, body = absent(service, d, ts[0])
		rt.Action = direct(503, body)
	}
	rt.ResponseHeadersToAdd = append(rt.ResponseHeadersToAdd, header(ReasonHeader, escape(reason)))
	return rt
}

// absent says why nothing is behind a target, in x-mesh-reason and to people.
func absent(service string, d *mesh.Destination, t target) (reason, body string) {
	by := " policy=" + d.Routes.By.String()
	if t.why.State == mesh.NotSynced || t.waits != nil {
		return "not-synced service=" + t.why.String() + by, "the catalog has not answered for " + t.why.String() + " yet"
	}
	return "missing-backend service=" + service + " backend=" + t.why.String() + by,
		"there is no " + t.why.String() + ", a backend of " + service
}

var redirectCodes = map[uint32]routev3.RedirectAction_RedirectResponseCode{
	301: routev3.RedirectAction_MOVED_PERMANENTLY,
	302: routev3.RedirectAction_FOUND,
	303: routev3.RedirectAction_SEE_OTHER,
	307: routev3.RedirectAction_TEMPORARY_REDIRECT,
	308: routev3.RedirectAction_PERMANENT_REDIRECT,
}

// redirect keeps the query, and what it does not name.
func redirect(r *mesh.Redirect) *routev3.RedirectAction {
	a := &routev3.RedirectAction{HostRedirect: r.Host, PortRedirect: r.Port, ResponseCode: redirectCodes[r.Status]}
	if r.Scheme != "" {
		a.SchemeRewriteSpecifier = &routev3.RedirectAction_SchemeRedirect{SchemeRedirect: r.Scheme}
	}
	if r.Path != "" {
		a.PathRewriteSpecifier = &routev3.RedirectAction_PathRedirect{PathRedirect: r.Path}
	}
	return a
}
