package queues

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

const (
	// window is how many messages of one publisher may wait for their confirms.
	window = 128
	// confirmTimeout is how long a broker that takes what it is sent may take to
	// confirm it.
	confirmTimeout = 30 * time.Second
)

// leaderless is what may be the matter with a quorum queue that does not answer.
const leaderless = "; where it stays so, a quorum queue has no leader: have its nodes back, or delete it on the broker, and it is made again"

// errUnroutable reports that a message went to no queue.
var errUnroutable = errors.New("no queue on the broker takes it")

// publisher puts messages onto queues and has each confirmed.
type publisher struct {
	line
	link  *link
	slots chan struct{}

	mu       sync.Mutex
	back     chan amqp091.Return // room for the whole window: the library waits otherwise
	returned uint64
}

// publisher makes one, once the broker takes what is sent: otherwise it does not
// even open a channel.
func (l *link) publisher(ctx context.Context) (*publisher, error) {
	if err := l.taking(ctx); err != nil {
		return nil, err
	}
	c, err := l.line(ctx)
	if err != nil {
		return nil, err
	}
	p := &publisher{line: c, link: l, slots: make(chan struct{}, window), back: c.NotifyReturn(make(chan amqp091.Return, window))}
	if err := within(ctx, c.conn, func() error { return c.Confirm(false) }); err != nil {
		c.end() //nolint:contextcheck // a channel is closed, whatever became of ctx
		return nil, fmt.Errorf("have the broker confirm what is published: %w", err)
	}
	return p, nil
}

// pending is a message that waits for its confirm.
type pending struct {
	*amqp091.DeferredConfirmation
	returned uint64 // messages that had come back before it
}

// put publishes a message and returns once the broker has it durably in a queue.
func (p *publisher) put(ctx context.Context, exchange, key string, m amqp091.Publishing) error {
	c, err := p.send(ctx, exchange, key, m)
	if err != nil {
		return err
	}
	return p.wait(ctx, c)
}

// send publishes; wait must follow. At most window may be between them.
func (p *publisher) send(ctx context.Context, exchange, key string, m amqp091.Publishing) (pending, error) {
	if err := p.link.taking(ctx); err != nil {
		return pending{}, err
	}
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return pending{}, ctx.Err()
	}
	c := pending{returned: p.returns()}
	err := within(ctx, p.conn, func() (err error) {
		c.DeferredConfirmation, err = p.PublishWithDeferredConfirmWithContext(ctx, exchange, key, true, false, m)
		return err
	})
	if err != nil {
		<-p.slots
		return pending{}, fmt.Errorf("publish: %w", err)
	}
	return c, nil
}

func (p *publisher) wait(ctx context.Context, c pending) error {
	defer func() { <-p.slots }()
	limit := time.NewTimer(confirmTimeout)
	defer limit.Stop()
	for {
		select {
		case <-c.Done():
			switch {
			case !c.Acked():
				return errors.New("the broker did not confirm a message")
			case p.returns() != c.returned: // another one's perhaps: then this one comes twice
				return errUnroutable
			}
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-limit.C:
			if _, lifted := p.link.state(); lifted == nil {
				return fmt.Errorf("the broker has not confirmed a message within %s%s", confirmTimeout, leaderless)
			}
			limit.Reset(confirmTimeout)
		}
	}
}

// returns counts what came back. A message comes back before it is confirmed.
func (p *publisher) returns() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		select {
		case _, ok := <-p.back:
			if !ok {
				return p.returned
			}
			p.returned++
		default:
			return p.returned
		}
	}
}
