package policy

import (
	"fmt"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Selector chooses documents by their labels. The zero value chooses all.
type Selector struct{ by labels.Selector }

// ParseSelector reads what kubectl takes for -l: "team=shop,tier!=web", "tier in
// (web, api)", "team", "!team"; commas join, "" chooses all. An error says which
// part is wrong, and what may stand there.
func ParseSelector(text string) (Selector, error) {
	by, err := labels.Parse(text, field.WithPath(field.NewPath("label")))
	if err != nil {
		return Selector{}, fmt.Errorf("%.80q: %w; such as team=shop, tier!=web, tier in (web, api), team or !team, with commas between", text, err)
	}
	return Selector{by}, nil
}

// Matches reports whether the labels are such; nil is a document without any.
func (s Selector) Matches(of map[string]string) bool {
	return s.by == nil || s.by.Matches(labels.Set(of))
}
