// Package admin is the HTTP API through which people, meshctl and Prometheus
// look at the control plane, overrule the guard and write the policies of a
// folder.
// Its documents are those of adminapi; errors are adminapi.Failure.
//
//	GET  /v1/services                  services, their health and policies
//	GET  /v1/services/{name}           one, with its instances
//	POST /v1/services/accept           believe what the catalog says was lost
//	GET  /v1/graph                     who called whom
//	GET  /v1/proxies                   every sidecar and its state
//	GET  /v1/proxies/{id}              one
//	GET  /v1/proxies/{id}/config       what it acknowledged (?type= ?name=)
//	GET  /v1/proxies/{id}/diff         what it lacks of what it should have
//	GET  /v1/policies                  documents in force, mesh-default first
//	POST /v1/policies                  put and remove documents as one change set
//	GET  /v1/policies/{kind}/{namespace}/{name}        one, with the values that it decides
//	GET  /v1/policies/{kind}/{namespace}/{name}/held   one as the folder holds it
//	POST /v1/policies/preview          what a change set would change on every sidecar
//	GET  /v1/rollouts                  the history, what is in force, how rollouts go
//	POST /v1/rollouts                  begin one, or say how the next one goes
//	POST /v1/rollouts/undo             begin one to an earlier revision
//	GET  /v1/rollouts/{id}             one; /votes, /log and /watch (JSON lines) of it
//	POST /v1/rollouts/{id}/{verb}      commit, confirm, abort, resolve
//	GET  /v1/revisions                 what was in force when, and by which rollout
//	GET  /v1/revisions/{revision}      the documents of one, by number or hash
//	GET  /v1/explain                   every effective field (?service= ?caller= ?path= ?field=)
//	GET  /v1/findings                  what an operator should look at
//	GET  /v1/doctor                    checks with hints
//	GET  /v1/version
//	GET  /v1/watch                     changes as they happen, JSON lines (?service=)
//	GET  /v1/events                    domain events, JSON lines (?type= ?service= ?since= ?after= ?last= ?follow=)
//	POST /v1/events                    publish some
//	POST /v1/events/replay             publish a part of the log to the broker again
//	GET  /v1/prometheus/targets        the sidecars, for http_sd
//	GET  /healthz /readyz /metrics     never behind the token
//	GET  /debug/{catalog,model,ledger} each stage as JSON; /debug/snapshot/{id}
//
// A handler reads what its ports return and keeps nothing. The package knows no
// protobuf: xds/dump turns messages into JSON.
package admin
