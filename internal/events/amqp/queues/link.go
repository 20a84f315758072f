package queues

import (
	"context"
	"fmt"
	"sync"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"meshlite.dev/internal/events/amqp"
)

const (
	// closeTimeout is how long a broker may take over what its caller gave up.
	closeTimeout = 2 * time.Second
	// redial is how long a fault of the connection stands for all who want it.
	redial = 500 * time.Millisecond
)

// link is a connection that many share, made anew once it has ended.
type link struct {
	dial func(context.Context) (*amqp091.Connection, error)
	turn chan struct{} // holds one token: its owner may dial
	conn *amqp091.Connection
	err  error // of the last dial, at failed
	at   time.Time

	watches sync.WaitGroup

	mu     sync.Mutex
	why    string        // the broker takes nothing; "" it does
	lifted chan struct{} // closed when it does again
}

func newLink(dial func(context.Context) (*amqp091.Connection, error)) *link {
	l := &link{dial: dial, turn: make(chan struct{}, 1)}
	l.turn <- struct{}{}
	return l
}

// connection returns the one that is open, or dials.
func (l *link) connection(ctx context.Context) (*amqp091.Connection, error) {
	select {
	case <-l.turn:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { l.turn <- struct{}{} }()
	switch {
	case l.conn != nil && !l.conn.IsClosed():
		return l.conn, nil
	case l.err != nil && time.Since(l.at) < redial:
		return nil, l.err
	}
	conn, err := l.dial(ctx)
	if err != nil {
		if ctx.Err() == nil {
			l.err, l.at = err, time.Now()
		}
		return nil, err
	}
	l.conn, l.err = conn, nil
	blocks := conn.NotifyBlocked(make(chan amqp091.Blocking, 1))
	l.watches.Go(func() {
		for b := range blocks {
			l.block(b)
		}
		l.block(amqp091.Blocking{}) // the connection has ended
	})
	return conn, nil
}

func (l *link) block(b amqp091.Blocking) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lifted != nil {
		close(l.lifted)
		l.lifted = nil
	}
	if b.Active {
		l.why, l.lifted = b.Reason, make(chan struct{})
	}
}

// state is why the broker takes nothing, and what is closed once it does; nil:
// it does.
func (l *link) state() (why string, lifted <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.why, l.lifted
}

// taking waits until the broker takes what is sent.
func (l *link) taking(ctx context.Context) error {
	for {
		why, lifted := l.state()
		if lifted == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the broker takes nothing: %s: %w", why, ctx.Err())
		case <-lifted:
		}
	}
}

// close ends the connection.
func (l *link) close() {
	<-l.turn
	defer func() { l.turn <- struct{}{} }()
	if l.conn != nil {
		amqp.CloseNow(l.conn)
	}
	l.watches.Wait()
}

// within does something with a connection that knows no context: a while after
// ctx it ends the connection where it is not done.
func within(ctx context.Context, conn *amqp091.Connection, do func() error) error {
	done := make(chan struct{})
	defer close(done)
	defer context.AfterFunc(ctx, func() {
		limit := time.NewTimer(closeTimeout)
		defer limit.Stop()
		select {
		case <-done:
		case <-limit.C:
			amqp.CloseNow(conn)
		}
	})()
	return do()
}

// line is a channel of a connection.
type line struct {
	*amqp091.Channel
	conn *amqp091.Connection
}

func (l *link) line(ctx context.Context) (line, error) {
	conn, err := l.connection(ctx)
	if err != nil {
		return line{}, err
	}
	c := line{conn: conn}
	err = within(ctx, conn, func() (err error) {
		c.Channel, err = conn.Channel()
		return err
	})
	if err != nil {
		return line{}, fmt.Errorf("open a channel to the broker: %w", err)
	}
	return c, nil
}

// end closes the channel: what was taken over it and not acknowledged goes back.
func (c line) end() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = within(ctx, c.conn, c.Close) // it is gone either way
}

// each does something over a channel of its own. A refusal ends a channel, so
// nothing else may depend on it.
func (l *link) each(ctx context.Context, do func(line) error) error {
	c, err := l.line(ctx)
	if err != nil {
		return err
	}
	defer c.end() //nolint:contextcheck // a channel is closed, whatever became of ctx
	return within(ctx, c.conn, func() error { return do(c) })
}
