package amqp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"meshlite.dev/internal/events"
)

const (
	dialTimeout = 10 * time.Second
	heartbeat   = 10 * time.Second
	// closeTimeout is how long the broker may take to say good-bye.
	closeTimeout = 2 * time.Second
	// confirmTimeout is how long a broker that takes what it is sent may take to
	// confirm it.
	confirmTimeout = 30 * time.Second
)

// Broker dials. Make one with NewBroker.
type Broker struct {
	cfg        Config
	unroutable atomic.Uint64
	blocked    atomic.Pointer[string]
}

// NewBroker returns a broker over a valid configuration.
func NewBroker(cfg Config) *Broker { return &Broker{cfg: cfg} }

// Unroutable counts events that no queue was bound for.
func (b *Broker) Unroutable() uint64 { return b.unroutable.Load() }

// Blocked says why a connected broker takes nothing, such as its memory alarm;
// "" where it does.
func (b *Broker) Blocked() string {
	if why := b.blocked.Load(); why != nil {
		return *why
	}
	return ""
}

// session is a connection with a channel in confirm mode.
type session struct {
	broker  *Broker
	conn    *amqp091.Connection
	channel *amqp091.Channel
	closed  chan *amqp091.Error // of the channel
	blocks  chan amqp091.Blocking
	back    chan amqp091.Return
	blocked bool
	unhook  func() bool // ends what ends the session with its context
}

// Dial implements Dial.
func (b *Broker) Dial(ctx context.Context) (Session, error) {
	conn, err := b.Connect(ctx, "")
	if err != nil {
		return nil, err
	}
	s := &session{broker: b, conn: conn, blocks: conn.NotifyBlocked(make(chan amqp091.Blocking, 8))}
	// A write to a broker that takes nothing knows no context.
	s.unhook = context.AfterFunc(ctx, func() { CloseNow(conn) })
	err = DeclareExchange(conn, Exchange, amqp091.ExchangeTopic)
	if err == nil {
		s.channel, err = conn.Channel()
	}
	if err == nil {
		s.closed = s.channel.NotifyClose(make(chan *amqp091.Error, 1))
		s.back = s.channel.NotifyReturn(make(chan amqp091.Return, window))
		err = s.channel.Confirm(false)
	}
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("prepare the broker's exchange %s: %w", Exchange, err)
	}
	return s, nil
}

// Connect makes a connection; role stands behind its name, "" is nothing. For
// packages under this one.
func (b *Broker) Connect(ctx context.Context, role string) (*amqp091.Connection, error) {
	u, err := url.Parse(b.cfg.URL)
	if err != nil {
		return nil, errors.New("--amqp-url is no URL")
	}
	user, password, err := b.cfg.credentials()
	if err != nil {
		return nil, err
	}
	cfg := amqp091.Config{
		SASL: []amqp091.Authentication{&amqp091.PlainAuth{Username: user, Password: password}}, Heartbeat: heartbeat, Locale: "en_US",
		Properties: amqp091.Table{"connection_name": strings.TrimSpace(b.cfg.Name + " " + role), "product": "Meshlite"},
		Dial: func(network, addr string) (net.Conn, error) {
			d := net.Dialer{Timeout: dialTimeout}
			conn, err := d.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return conn, conn.SetDeadline(time.Now().Add(dialTimeout)) // the library lifts it once the connection is open
		},
	}
	if u.Scheme == "amqps" {
		if cfg.TLSClientConfig, err = b.cfg.tls(u.Hostname()); err != nil {
			return nil, err
		}
	}
	conn, err := amqp091.DialConfig(u.String(), cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to the broker at %s: %w%s", u.Host, err, hint(err, user))
	}
	return conn, nil
}

// hint says what may be wrong with a connection that is refused.
func hint(err error, user string) string {
	var e *amqp091.Error
	switch {
	case errors.Is(err, amqp091.ErrVhost), errors.As(err, &e) && e.Code == amqp091.NotAllowed:
		return "; check the virtual host, the path of --amqp-url, and the user's right to it"
	case errors.Is(err, amqp091.ErrCredentials), errors.As(err, &e) && e.Code == amqp091.AccessRefused:
		return fmt.Sprintf("; check --amqp-credentials-file: user %q is refused (guest may connect from the broker's own machine alone)", user)
	}
	return hintTLS(err)
}

// hintTLS is hint for a handshake that fails.
func hintTLS(err error) string {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var plain tls.RecordHeaderError
	switch {
	case errors.As(err, &unknown):
		return "; check --amqp-ca-file: it must hold the CA that signed the broker's certificate"
	case errors.As(err, &name):
		return "; the host of --amqp-url must be a name that the broker's certificate has"
	case errors.As(err, &plain):
		return "; check the port of --amqp-url: this one does not speak TLS"
	case strings.Contains(err.Error(), "remote error: tls: "): // of a type that crypto/tls keeps to itself
		return "; check --amqp-cert-file: the broker asks for a client's certificate, of a CA that it trusts"
	}
	return ""
}

// DeclareExchange makes sure of a durable exchange. One that is there is never
// made anew: of another kind it is an error.
func DeclareExchange(conn *amqp091.Connection, name, kind string) error {
	check, err := conn.Channel() // a channel ends with the first refusal
	if err != nil {
		return err
	}
	err = check.ExchangeDeclarePassive(name, kind, true, false, false, false, nil)
	var e *amqp091.Error
	missing := errors.As(err, &e) && e.Code == amqp091.NotFound
	if err != nil && !missing {
		return err
	}
	if err == nil {
		if err := check.Close(); err != nil {
			return err
		}
	}
	// Passive says that there is one, not of which kind; declaring the same again
	// changes nothing.
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	err = ch.ExchangeDeclare(name, kind, true, false, false, false, nil)
	switch {
	case err == nil:
		return ch.Close()
	case errors.As(err, &e) && e.Code == amqp091.PreconditionFailed:
		return fmt.Errorf("there is one of another kind, and it is left alone: %s; delete it on the broker, or have its owner make it a durable %s exchange", e.Reason, kind)
	case errors.As(err, &e) && e.Code == amqp091.AccessRefused && !missing:
		return nil // it is there, and declaring is not this user's right
	}
	return err
}

// Close implements Session.
func (s *session) Close() {
	s.unhook()
	s.broker.blocked.Store(nil)
	CloseNow(s.conn)
}

// CloseNow does not let a broker that answers no more hold it up.
func CloseNow(conn *amqp091.Connection) {
	_ = conn.CloseDeadline(time.Now().Add(closeTimeout)) // it is gone either way
}

// Idle implements Session.
func (s *session) Idle(ctx context.Context, wake <-chan struct{}) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-wake:
			return nil
		case b := <-s.blocks:
			s.block(b)
		case err := <-s.closed:
			return ended(err)
		case <-s.back:
			s.broker.unroutable.Add(1)
		}
	}
}

func (s *session) block(b amqp091.Blocking) {
	s.blocked = b.Active
	if !b.Active {
		s.broker.blocked.Store(nil)
		return
	}
	why := "the broker takes nothing: " + b.Reason
	s.broker.blocked.Store(&why)
}

func ended(err *amqp091.Error) error {
	if err == nil {
		return errors.New("the connection to the broker is closed")
	}
	return fmt.Errorf("the broker ended the connection: %w", err)
}

// Publish implements Session.
func (s *session) Publish(ctx context.Context, all []events.Record) (confirmed int, err error) {
	if err := s.unblocked(ctx); err != nil {
		return 0, err
	}
	s.drain()
	confirms := make([]*amqp091.DeferredConfirmation, 0, len(all))
	var failed error
	for _, rec := range all {
		key, m, err := messageOf(rec)
		if err != nil {
			return 0, err
		}
		c, err := s.channel.PublishWithDeferredConfirmWithContext(ctx, Exchange, key, true, false, m)
		if err != nil {
			failed = fmt.Errorf("publish: %w", err)
			break
		}
		confirms = append(confirms, c)
	}
	for _, c := range confirms {
		acked, err := s.await(ctx, c)
		if err != nil {
			return confirmed, err
		}
		if !acked {
			return confirmed, s.unconfirmed()
		}
		confirmed++
	}
	return confirmed, failed
}

// drain counts what came back meanwhile: the library waits for room for more.
func (s *session) drain() {
	for {
		select {
		case <-s.back:
			s.broker.unroutable.Add(1)
		default:
			return
		}
	}
}

// unconfirmed says why an event was not confirmed: the library tells it of all
// that are under way when a connection ends.
func (s *session) unconfirmed() error {
	select {
	case err := <-s.closed:
		return ended(err)
	default:
		return errors.New("the broker did not confirm an event; it is sent again")
	}
}

// unblocked waits until the broker takes something.
func (s *session) unblocked(ctx context.Context) error {
	for {
		select {
		case b := <-s.blocks:
			s.block(b)
			continue
		default:
		}
		if !s.blocked {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case b := <-s.blocks:
			s.block(b)
		case err := <-s.closed:
			return ended(err)
		}
	}
}

// await waits for one confirm. While the broker is blocked it takes as long as
// that does.
func (s *session) await(ctx context.Context, c *amqp091.DeferredConfirmation) (acked bool, err error) {
	limit := time.NewTimer(confirmTimeout)
	defer limit.Stop()
	for {
		select {
		case <-c.Done():
			return c.Acked(), nil
		case <-s.back:
			s.broker.unroutable.Add(1)
		case b := <-s.blocks:
			s.block(b)
		case err := <-s.closed:
			if c.Acked() {
				return true, nil
			}
			return false, ended(err)
		case <-ctx.Done():
			return false, ctx.Err()
		case <-limit.C:
			if !s.blocked {
				return false, fmt.Errorf("the broker has not confirmed an event within %s", confirmTimeout)
			}
			limit.Reset(confirmTimeout)
		}
	}
}

// messageOf is an event as it goes to the broker.
func messageOf(rec events.Record) (key string, m amqp091.Publishing, err error) {
	var e struct {
		ID            string    `json:"id"`
		Type          string    `json:"type"`
		Time          time.Time `json:"time"`
		CorrelationID any       `json:"correlationid"`
	}
	if err := json.Unmarshal(rec.JSON, &e); err != nil {
		return "", m, fmt.Errorf("read event %d: %w", rec.Sequence, err)
	}
	m = amqp091.Publishing{
		ContentType: events.ContentType, DeliveryMode: amqp091.Persistent, MessageId: e.ID, Type: e.Type, Timestamp: e.Time,
		AppId: "meshlite", Body: rec.JSON,
	}
	if id, ok := e.CorrelationID.(string); ok && len(id) <= events.MaxID {
		m.CorrelationId = id
	}
	return e.Type, m, nil
}
