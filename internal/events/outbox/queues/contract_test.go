package queues_test

import (
	"encoding/json"
	"slices"
	"testing"

	"meshlite.dev/internal/events"
	"meshlite.dev/internal/events/dispatch"
	"meshlite.dev/internal/events/dispatch/dispatchtest"
	"meshlite.dev/internal/events/outbox"
)

func TestContract(t *testing.T) {
	dispatchtest.Run(t, func(t *testing.T) *dispatchtest.Setup {
		p := newPlace(t, outbox.DefaultLimits())
		return &dispatchtest.Setup{
			Backend: p.Backend,
			Restart: func() dispatch.Backend { p.restart(); return p.Backend },
			Publish: func(all ...events.Event) {
				if _, err := p.log.Append(func(uint64) []events.Event { return slices.Clone(all) }, nil); err != nil {
					t.Fatal(err)
				}
			},
			Told: func() (told []events.Event) {
				page, err := p.log.Read(0, 1000)
				p.must(err)
				for _, rec := range page {
					var e events.Event
					var head struct{ ID, Type string }
					p.must(json.Unmarshal(rec.JSON, &head))
					if e.ID, e.Type = head.ID, head.Type; e.Type == events.DeliveryDeadLettered {
						told = append(told, e)
					}
				}
				return told
			},
		}
	})
}
