package queues

import (
	"fmt"
	"math"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

// A retry that is far off waits in a queue of the broker's, where nobody takes it,
// until it has been there for its time and the broker moves it back to the
// subscription's queue. All messages of one such queue wait for the same time, so
// none holds up another.
//
// They are quorum queues, whatever the subscription's queue is: of these alone
// the broker takes a message out only when the next queue has confirmed it
// (at-least-once, since RabbitMQ 3.10; it asks for reject-publish). A classic
// queue moves them without, and a broker that is killed then has neither.
// Nothing makes them expire: a quorum queue takes what it holds along with it,
// and its lease is not renewed by use. They go with the subscription.
const (
	// inMemory is the longest wait of a retry that is kept here, taken and not
	// acknowledged.
	inMemory = 5 * time.Second
	// shortest is the first step of the ladder of waits, and stepsBy how much
	// longer each next one is.
	shortest = time.Second
	stepsBy  = 1.2
	// longest is what a broker's timer can do: 49 days.
	longest = math.MaxUint32 * time.Millisecond
	// askedFor is the longest wait that a handler may ask for.
	askedFor = 10 * time.Minute
)

// step is the shortest wait of the ladder that is not under d.
func step(d time.Duration) time.Duration {
	ms := float64(shortest.Milliseconds())
	for ms < float64(d)/float64(time.Millisecond) {
		ms *= stepsBy
	}
	return min(time.Duration(math.Ceil(ms))*time.Millisecond, longest)
}

// steps are the waits of the ladder from one to another.
func steps(from, to time.Duration) (out []time.Duration) {
	for d := step(from); ; d = step(d + time.Millisecond) {
		out = append(out, d)
		if d >= to || d >= longest {
			return out
		}
	}
}

// delayQueue is where retries of a queue wait for so long.
func delayQueue(queue string, wait time.Duration) string {
	return fmt.Sprintf("%s.retry.%d", queue, wait.Milliseconds())
}

// delayArguments are those of such a queue.
func delayArguments(queue string, wait time.Duration) amqp091.Table {
	return amqp091.Table{
		amqp091.QueueTypeArg: amqp091.QueueTypeQuorum, amqp091.QueueMessageTTLArg: wait.Milliseconds(),
		"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue,
		"x-dead-letter-strategy": "at-least-once", amqp091.QueueOverflowArg: amqp091.QueueOverflowRejectPublish,
	}
}
