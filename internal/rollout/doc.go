// Package rollout brings policies in force as transactions over the fleet: what a
// carrier proposes becomes a candidate revision, the proxies that it reaches are
// asked whether they would take it, and the pointer moves once they said yes. Its
// main type is [Manager]. The protocol is that of package txn; ballots and votes
// are those of internal/xds. docs/adr/0010-rollouts.md gives the reasons.
//
//	proposal ─▶ Apply (rejections) ─▶ revision.Decide ─▶ candidate
//	candidate ─▶ transaction {"revision", "fleet"} ─▶ pointer ─▶ Use
//	refused ─▶ Blame ─▶ rejections; the bystanders go on in a rollout of their own
//
// In the store, beside the revisions:
//
//	rollouts/state       rejections, and how the next rollout goes
//	rollouts/item/<id>   a rollout: the newest hundred
package rollout
