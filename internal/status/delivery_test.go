package status_test

import (
	"strings"
	"testing"

	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/status"
)

// The worst that any replica says is told.
func TestDeliveriesOfAllReplicas(t *testing.T) {
	key := policy.Key{Kind: policy.KindEventSubscription, Namespace: "shop", Name: "mail"}
	says := func(reason, message string) status.Deliveries {
		return status.Deliveries{key: {Reason: reason, Message: message}}
	}
	good := says("", "")
	for _, tc := range []struct {
		name  string
		own   status.Deliveries
		peers []status.Deliveries
		want  string
	}{
		{"nobody has the role", nil, []status.Deliveries{nil}, "nobody"},
		{"this one delivers", good, nil, "/"},
		{"another one does", nil, []status.Deliveries{nil, good}, "/"},
		{"another one knows of none yet", nil, []status.Deliveries{{}}, "/"},
		{"this one knows of none yet", status.Deliveries{}, nil, "Interrupted/it begins"},
		{"all are paused", says("Paused", "why"), []status.Deliveries{says("Paused", "why")}, "Paused/why"},
		{"another one is interrupted", good, []status.Deliveries{good, says("Interrupted", "no disk")}, "Interrupted/on another server: no disk"},
		{"one is paused, another interrupted", says("Paused", "why"), []status.Deliveries{says("Interrupted", "no disk")}, "Interrupted/on another server: no disk"},
		{"they clash", says("Conflicted", "is that of a/b"), []status.Deliveries{says("Interrupted", "no disk")}, "Conflicted/is that of a/b"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			peers := map[string]status.Note{}
			for i, p := range tc.peers {
				raw, err := status.NewNote("abc", 1, 0, nil, nil, p).Encode()
				if err != nil {
					t.Fatal(err)
				}
				if peers[string(rune('a'+i))], err = status.DecodeNote(raw); err != nil {
					t.Fatal(err)
				}
			}
			got := "nobody"
			if d := (status.Document{Key: key, Role: "events"}).Deliver(tc.own, peers); d != nil {
				got = d.Reason + "/" + d.Message
			}
			if got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
			if d := (status.Document{Key: key}).Deliver(tc.own, peers); d != nil {
				t.Errorf("a document without the role: %+v", d)
			}
		})
	}
}

func TestANoteShortensWhatIsWrong(t *testing.T) {
	key := policy.Key{Kind: policy.KindEventSubscription, Namespace: "shop", Name: "mail"}
	n := status.NewNote("abc", 1, 0, nil, nil, status.Deliveries{key: {Reason: "Interrupted", Message: strings.Repeat("a", 10_000)}})
	if got := len(n.Troubled[key.String()].Message); got > 310 {
		t.Errorf("%d bytes", got)
	}
}
