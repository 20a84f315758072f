package teller

import (
	"strings"

	"meshlite.dev/internal/events/facts"
)

// memory is what was told last, by the kind of subject and the subject: of
// transactions there may be many.
type memory map[string]map[string]facts.Subject

// kindOf is the first word of a subject, "service/" of "service/web".
func kindOf(subject string) string {
	return subject[:strings.IndexByte(subject, '/')+1]
}

func (m memory) get(subject string) facts.Subject { return m[kindOf(subject)][subject] }

func (m memory) has(subject string) bool {
	_, ok := m[kindOf(subject)][subject]
	return ok
}

// set keeps what was told of a subject; nil is nothing. Of milestones only the
// version counts from now on.
func (m memory) set(subject string, now facts.Subject) {
	kind := kindOf(subject)
	if now == nil {
		delete(m[kind], subject)
		return
	}
	if m[kind] == nil {
		m[kind] = map[string]facts.Subject{}
	}
	m[kind][subject] = light(now)
}

// light is a subject as it is kept.
func light(s facts.Subject) facts.Subject {
	for name, f := range s {
		if f.Once && f.Data != nil {
			f.Data = nil
			s[name] = f
		}
	}
	return s
}
