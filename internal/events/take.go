package events

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// MaxBatch is how many events one request may have.
const MaxBatch = 1000

// Take reads what somebody publishes: one event in any of its forms, or a JSON
// array of them. Types of the mesh's own are refused. All are taken, or none.
func Take(in Input) ([]Event, error) {
	var all []Event
	var err error
	if IsBatch(in.ContentType) || !in.binary() && bytes.HasPrefix(bytes.TrimSpace(in.Body), []byte("[")) {
		all, err = ParseBatch(in)
	} else {
		all = make([]Event, 1)
		all[0], err = Parse(in)
	}
	switch {
	case err != nil:
		return nil, err
	case len(all) == 0:
		return nil, errors.New("the batch is empty")
	case len(all) > MaxBatch:
		return nil, fmt.Errorf("the batch has %d events: must have at most %d", len(all), MaxBatch)
	}
	for i := range all {
		if strings.HasPrefix(all[i].Type, Reserved) {
			return nil, fmt.Errorf("type: %.80q: types under %s are the mesh's own", all[i].Type, Reserved)
		}
	}
	return all, nil
}

// Receipts tell a publisher what was kept durably, in the order in which it came.
type Receipts struct {
	Events []Receipt `json:"events"`
}

// Receipt is one event that was kept.
type Receipt struct {
	ID       string `json:"id"`
	Source   string `json:"source"`
	Type     string `json:"type"`
	Sequence string `json:"sequence"` // its place in the log
}

// ReceiptsOf makes those of events that were kept.
func ReceiptsOf(kept []Event) Receipts {
	out := Receipts{Events: make([]Receipt, len(kept))}
	for i, e := range kept {
		out.Events[i] = Receipt{ID: e.ID, Source: e.Source, Type: e.Type, Sequence: e.Sequence}
	}
	return out
}
