package policy

import (
	"encoding/json"
	"fmt"
)

// Text is the document as carriers keep it: Canonical, with its labels and
// annotations where it has any.
func (d *Document) Text() ([]byte, error) {
	if len(d.Labels) == 0 && len(d.Annotations) == 0 {
		return d.Canonical, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(d.Canonical, &fields); err != nil {
		return nil, fmt.Errorf("write %s: %w", d.Key, err)
	}
	meta, err := json.Marshal(struct {
		Annotations map[string]string `json:"annotations,omitempty"`
		Labels      map[string]string `json:"labels,omitempty"`
		Name        string            `json:"name"`
		Namespace   string            `json:"namespace"`
	}{d.Annotations, d.Labels, d.Name, d.Namespace})
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", d.Key, err)
	}
	fields["metadata"] = meta
	return json.Marshal(fields)
}

// Labels are those of every document, the refused ones too.
func (p Proposal) Labels() map[Key]map[string]string {
	out := map[Key]map[string]string{}
	for _, r := range p.Refused {
		if len(r.Labels) > 0 {
			out[r.Key] = r.Labels
		}
	}
	for _, d := range p.Documents {
		if len(d.Labels) > 0 {
			out[d.Key] = d.Labels
		}
	}
	return out
}
