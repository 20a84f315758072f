package kube

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"meshlite.dev/internal/kube"
	"meshlite.dev/internal/store"
)

// A lock is the Lease meshlite-NAME. A holder that has not renewed it for
// renewWithin stops; one that waits takes it when it has not seen a renewal for
// leaseFor. leaseFor + retryEvery < 15 s, which store.Locker promises.
const (
	leaseFor    = 10 * time.Second
	renewWithin = 6 * time.Second
	retryEvery  = 2 * time.Second
	handover    = time.Second // before a holder that gave the lock back asks again
)

var _ store.Locker = (*Store)(nil)

// Hold implements store.Locker.
func (s *Store) Hold(ctx context.Context, name string, do func(context.Context)) {
	for ctx.Err() == nil {
		if err := s.hold(ctx, name, do); err != nil {
			s.log.WarnContext(ctx, "lock not had; trying again", "lock", name, "err", err)
		}
		if !store.Rest(ctx, handover) {
			return
		}
	}
}

// hold waits for the lease, runs do once and gives the lease back.
func (s *Store) hold(ctx context.Context, name string, do func(context.Context)) error {
	// The election outlives ctx until do has returned: a lease that is given back
	// earlier would let the next holder in.
	election, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	lease := &watchedLease{log: s.log, Interface: &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: s.namespace, Name: "meshlite-" + strings.ReplaceAll(name, "/", "-")},
		Client:     s.leases,
		LockConfig: resourcelock.ResourceLockConfig{Identity: identity()},
	}}
	done := make(chan struct{})
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lease, LeaseDuration: leaseFor, RenewDeadline: renewWithin, RetryPeriod: retryEvery, ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(held context.Context) {
				defer close(done)
				defer end()
				work, stop := context.WithCancel(held)
				defer stop()
				defer context.AfterFunc(ctx, stop)()
				if work.Err() == nil && ctx.Err() == nil {
					do(work)
				}
			},
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return fmt.Errorf("hold %s: %w", name, err)
	}
	defer context.AfterFunc(ctx, func() {
		if !lease.taken.Load() {
			end() // nothing runs that has to be waited for
		}
	})()
	elector.Run(kube.WithLog(election, s.log))
	if lease.taken.Load() {
		<-done
	}
	return nil
}

// watchedLease knows whether this process has ever held the lease, which is
// exactly when the elector calls OnStartedLeading.
type watchedLease struct {
	resourcelock.Interface
	log   *slog.Logger
	told  string // the fault that was logged
	taken atomic.Bool
}

// Get implements resourcelock.Interface.
func (l *watchedLease) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	r, raw, err := l.Interface.Get(ctx)
	switch {
	case err == nil || apierrors.IsNotFound(err):
		l.told = ""
	case ctx.Err() == nil && err.Error() != l.told:
		l.told = err.Error()
		l.log.WarnContext(ctx, "a lock can be neither had nor kept; trying again", "lock", l.Describe(), "err", err)
	}
	return r, raw, err
}

// Create implements resourcelock.Interface.
func (l *watchedLease) Create(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	return l.note(r, l.Interface.Create(ctx, r))
}

// Update implements resourcelock.Interface.
func (l *watchedLease) Update(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	return l.note(r, l.Interface.Update(ctx, r))
}

func (l *watchedLease) note(r resourcelock.LeaderElectionRecord, err error) error {
	if err == nil && r.HolderIdentity == l.Identity() {
		l.taken.Store(true)
	}
	return err
}

// identity names a holder: the host, which in a pod is the pod's name, and a
// word that nobody else has.
func identity() string {
	host, err := os.Hostname()
	if err != nil {
		host = "xds-server"
	}
	return host + "-" + strings.ToLower(rand.Text()[:8])
}
