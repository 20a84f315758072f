package admin

import (
	"context"

	"meshlite.dev/internal/admin/adminapi"
)

// Rollouts is the manager of rollouts. Its methods may be called by many
// goroutines. Errors wrap those of adminapi; any other is an answer 500.
type Rollouts interface {
	RolloutHistory
	RolloutCommands
}

// RolloutHistory tells of rollouts. Every replica knows all of them.
type RolloutHistory interface {
	// Rollouts returns the open rollout and those before, newest first.
	Rollouts(ctx context.Context) (adminapi.Rollouts, error)
	// Rollout returns one with votes and log, or ErrNoRollout.
	Rollout(ctx context.Context, id string) (adminapi.RolloutDetail, error)
	// Revision returns the documents of one that is still kept, by number, hash or
	// eight and more digits of it, or ErrNoRevision.
	Revision(ctx context.Context, revision string) (adminapi.RevisionDocuments, error)
}

// RolloutCommands steers rollouts; any replica passes commands to the one that
// leads. Requests are checked already: options over the server's settings are
// valid, texts are short, names are well-formed. A method returns once what it
// asks for is on record; ErrNotNow says what stands in the way.
type RolloutCommands interface {
	// Start begins a rollout of what waits, or keeps the options for the next
	// change set where nothing does. While a rollout is open they are for the next
	// one. An ID that is known already is answered with that rollout.
	Start(ctx context.Context, req adminapi.StartRequest) (adminapi.StartResponse, error)
	// Undo begins a rollout to an earlier revision.
	Undo(ctx context.Context, req adminapi.UndoRequest) (adminapi.Rollout, error)
	// Decide settles what waits for a person. Repeating what was decided already
	// is no error.
	Decide(ctx context.Context, id string, verb adminapi.RolloutVerb, req adminapi.DecideRequest) (adminapi.Rollout, error)
}
