package admin

import (
	"net/http"
	"reflect"
	"time"
)

// rolloutLook is how often a watched rollout is looked at: a vote and an
// acknowledgement have no event of their own.
const rolloutLook = 200 * time.Millisecond

// watchRollout streams a rollout as JSON lines, one each time it is another,
// until nothing more happens to it.
func (a *api) watchRollout(w http.ResponseWriter, r *http.Request) {
	d, err := a.rolloutOf(r)
	if err != nil {
		writeFailure(w, err)
		return
	}
	out, err := startLines(w)
	if err != nil {
		return
	}
	look, idle := time.NewTicker(rolloutLook), time.NewTicker(watchIdle)
	defer look.Stop()
	defer idle.Stop()
	shown := d.Rollout
	for err = out.line(shown); err == nil && shown.Open(); {
		select {
		case <-r.Context().Done():
			return
		case <-idle.C:
			err = out.line(nil)
		case <-look.C:
			if d, err = a.rolloutOf(r); err == nil && !reflect.DeepEqual(d.Rollout, shown) {
				shown = d.Rollout
				err = out.line(shown)
			}
		}
	}
}
