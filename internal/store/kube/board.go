package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"meshlite.dev/internal/policy/v1alpha1"
	"meshlite.dev/internal/store"
)

// A note is a PolicyRollout with the label boardLabel. Its writer touches it
// every touchEvery; a reader forgets, and deletes, one that it has not seen
// touched for untouched. No clock but the reader's own counts.
const (
	boardLabel      = "meshlite.dev/board"
	touchAnnotation = "meshlite.dev/touched" // how often; a change is all that counts
	touchEvery      = 5 * time.Second
	untouched       = 20 * time.Second
	lookEvery       = 2 * time.Second
	goodbye         = 2 * time.Second
)

var _ store.Board = (*Store)(nil)

// Post implements store.Board.
func (s *Store) Post(ctx context.Context, board string, notes <-chan []byte, heard func(map[string][]byte)) {
	p := &poster{Store: s, board: strings.ReplaceAll(board, "/", "-"), name: identity(), seen: map[string]sighting{}}
	defer p.leave(ctx)
	look, touch := time.NewTicker(lookEvery), time.NewTicker(touchEvery)
	defer look.Stop()
	defer touch.Stop()
	p.look(ctx, heard)
	for {
		select {
		case <-ctx.Done():
			return
		case p.note = <-notes:
			p.dirty = true
			p.write(ctx)
		case <-touch.C:
			p.write(ctx)
		case <-look.C:
			if p.dirty {
				p.write(ctx)
			}
			p.look(ctx, heard)
		}
	}
}

// poster is one that posts on a board.
type poster struct {
	*Store
	board, name string

	note    []byte // nil: none yet
	dirty   bool   // note is not written
	posted  bool   // the object is there, as far as is known
	touches int
	seen    map[string]sighting // notes of others, by object
	last    map[string][]byte   // heard last
	told    string              // the fault that was logged
}

// sighting is when a note was last seen to differ.
type sighting struct {
	version string
	at      time.Time
}

// write keeps the note where others look, and fresh.
func (p *poster) write(ctx context.Context) {
	if p.note == nil {
		return
	}
	p.touches++
	err := p.try(ctx)
	if apierrors.IsNotFound(err) || apierrors.IsAlreadyExists(err) { // others thought this one dead, or it was written after all
		p.posted = apierrors.IsAlreadyExists(err)
		p.dirty = true
		err = p.try(ctx)
	}
	if err == nil {
		p.posted, p.dirty = true, false
	}
	p.tell(ctx, err)
}

func (p *poster) try(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if !p.posted {
		packed, err := pack(p.note)
		if err != nil {
			return err
		}
		_, err = p.rollouts.Create(ctx, &v1alpha1.PolicyRollout{
			ObjectMeta: metav1.ObjectMeta{Name: p.object(), Labels: map[string]string{boardLabel: p.board}},
			Spec:       v1alpha1.PolicyRolloutSpec{Key: "boards/" + p.board + "/" + p.name, Value: packed},
		}, metav1.CreateOptions{})
		return err
	}
	change := map[string]any{"metadata": map[string]any{"annotations": map[string]string{touchAnnotation: fmt.Sprint(p.touches)}}}
	if p.dirty {
		packed, err := pack(p.note)
		if err != nil {
			return err
		}
		change["spec"] = map[string]any{"value": packed}
	}
	body, err := json.Marshal(change)
	if err != nil {
		return err
	}
	_, err = p.rollouts.Patch(ctx, p.object(), types.MergePatchType, body, metav1.PatchOptions{})
	return err
}

func (p *poster) object() string { return "board-" + strings.ToLower(p.board+"-"+p.name) }

// look reads the notes of the others.
func (p *poster) look(ctx context.Context, heard func(map[string][]byte)) {
	list, err := call(ctx, func(ctx context.Context) (*rolloutList, error) {
		return p.rollouts.List(ctx, metav1.ListOptions{LabelSelector: labels.Set{boardLabel: p.board}.String()})
	})
	if err != nil {
		p.tell(ctx, err)
		return
	}
	now := time.Now()
	out, seen := map[string][]byte{}, map[string]sighting{}
	for _, o := range list.Items {
		if o.Name == p.object() {
			continue
		}
		last, known := p.seen[o.Name]
		if !known || last.version != o.ResourceVersion {
			last = sighting{o.ResourceVersion, now}
		}
		seen[o.Name] = last
		if now.Sub(last.at) >= untouched {
			p.bury(ctx, o.Name, o.ResourceVersion)
			continue
		}
		note, err := unpack(o.Spec.Value)
		if err != nil { // its writer is the one to be mended
			p.tell(ctx, fmt.Errorf("the note %s: %w", o.Name, err))
			continue
		}
		out[o.Name] = note
	}
	p.seen = seen
	if ctx.Err() == nil && (p.last == nil || !maps.EqualFunc(out, p.last, bytes.Equal)) {
		p.last = out
		heard(out)
	}
}

// bury deletes the note of a dead replica, unless it stirs.
func (p *poster) bury(ctx context.Context, name, resourceVersion string) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := p.rollouts.Delete(ctx, name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &resourceVersion}})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		p.tell(ctx, err)
	}
}

// leave takes the own note away, even though ctx has ended.
func (p *poster) leave(ctx context.Context) {
	if !p.posted {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbye)
	defer cancel()
	if err := p.rollouts.Delete(ctx, p.object(), metav1.DeleteOptions{}); err != nil {
		p.log.DebugContext(ctx, "note not taken away; it is forgotten", "board", p.board, "err", err)
	}
}

// tell logs a fault once, for as long as it lasts.
func (p *poster) tell(ctx context.Context, err error) {
	switch {
	case err == nil:
		p.told = ""
	case ctx.Err() != nil || errors.Is(err, context.Canceled) || err.Error() == p.told:
	default:
		p.told = err.Error()
		p.log.WarnContext(ctx, "the replicas' board cannot be used; trying again", "board", p.board, "err", err)
	}
}
