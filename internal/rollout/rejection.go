package rollout

import (
	"slices"

	"meshlite.dev/internal/policy"
)

// Rejection keeps one version of a document out of force until it is edited.
type Rejection struct {
	policy.Key
	Hash       string   `json:"hash,omitempty"`       // of the version; "" is the document's deletion
	Generation int64    `json:"generation,omitempty"` // of the version; 0 for a deletion
	Reason     string   `json:"reason"`
	Rollout    string   `json:"rollout"`
	Proxies    []string `json:"proxies,omitempty"` // that refused it
}

// Apply takes what rejections name out of a proposal: such a document stays as it
// is in force, and away where it is not. An edit lifts a rejection: kept are those
// that still name what is proposed. A version that takes the place of a rejected
// one counts on from that, so that no two versions share a generation.
func Apply(inForce policy.Revision, p policy.Proposal, rejections []Rejection) (out policy.Proposal, kept []Rejection) {
	byKey := map[policy.Key]Rejection{}
	for _, r := range rejections {
		byKey[r.Key] = r
	}
	live := documents(inForce)
	out.Refused = p.Refused
	proposed := map[policy.Key]bool{}
	for _, d := range p.Documents {
		proposed[d.Key] = true
		r, rejected := byKey[d.Key]
		now := live[d.Key]
		switch {
		case !rejected, now != nil && now.Hash == d.Hash:
			out.Documents = append(out.Documents, d)
		case r.Hash == d.Hash:
			kept = append(kept, r)
			if now != nil {
				out.Documents = append(out.Documents, now)
			}
		default:
			out.Documents = append(out.Documents, after(d, now, r))
		}
	}
	held := policy.Holding(p.Refused)
	for _, r := range rejections {
		if proposed[r.Key] {
			continue
		}
		now := live[r.Key]
		switch {
		case r.Hash == "" && now != nil && !held(now):
			out.Documents = append(out.Documents, now)
			kept = append(kept, r)
		case refused(p, r.Key), now != nil && held(now): // its next version cannot be read yet
			kept = append(kept, r)
		}
	}
	slices.SortFunc(kept, byName)
	return out, kept
}

func refused(p policy.Proposal, key policy.Key) bool {
	return slices.ContainsFunc(p.Refused, func(f policy.Refusal) bool { return f.Key == key })
}

// after numbers the version that follows a rejected one, unless its carrier does.
func after(d, now *policy.Document, r Rejection) *policy.Document {
	if d.Generation > 0 {
		return d
	}
	next := *d
	next.Generation = r.Generation + 1
	if now != nil {
		next.Generation = max(next.Generation, now.Generation+1)
	}
	return &next
}

// Blame says which of the changed documents refused messages come from; all of
// them where none is named. A policy is named as mesh.DocumentRef.String does.
func Blame(changed []policy.Key, before, after policy.Revision, policies []string) []policy.Key {
	olds, news := documents(before), documents(after)
	var blamed []policy.Key
	for _, key := range changed {
		for _, d := range []*policy.Document{news[key], olds[key]} {
			if d != nil && slices.Contains(policies, d.Ref().String()) {
				blamed = append(blamed, key)
				break
			}
		}
	}
	if len(blamed) == 0 {
		return changed
	}
	return blamed
}

// Reject returns rejections of the versions that a revision has of keys, in the
// place of others of these.
func Reject(rejections []Rejection, rev policy.Revision, keys []policy.Key, why Rejection) []Rejection {
	has := documents(rev)
	out := slices.DeleteFunc(slices.Clone(rejections), func(r Rejection) bool { return slices.Contains(keys, r.Key) })
	for _, key := range keys {
		r := why
		r.Key, r.Hash, r.Generation = key, "", 0
		if d := has[key]; d != nil {
			r.Hash, r.Generation = d.Hash, d.Generation
		}
		out = append(out, r)
	}
	slices.SortFunc(out, byName)
	return out
}

// TakeBack returns rejections of what an undo from one revision to another takes
// back, so that the carrier does not bring it in again. What the carrier proposes
// and is rejected already stays so.
func TakeBack(rejections []Rejection, from, to policy.Revision, keys []policy.Key, newest *policy.Proposal, why Rejection) []Rejection {
	var take []policy.Key
	for _, key := range keys {
		stands := func(r Rejection) bool { return r.Key == key && newest != nil && r.Hash == hashIn(*newest, key) }
		if !slices.ContainsFunc(rejections, stands) {
			take = append(take, key)
		}
	}
	return Reject(rejections, from, take, why)
}

func hashIn(p policy.Proposal, key policy.Key) string {
	for _, d := range p.Documents {
		if d.Key == key {
			return d.Hash
		}
	}
	return ""
}

func documents(rev policy.Revision) map[policy.Key]*policy.Document {
	out := make(map[policy.Key]*policy.Document, len(rev.Documents))
	for _, d := range rev.Documents {
		out[d.Key] = d
	}
	return out
}
