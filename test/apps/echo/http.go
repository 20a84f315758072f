package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

type app struct {
	name string

	mu       sync.Mutex
	fail     behaviour
	health   int
	requests map[string]int
	urls     map[string]int // of HTTP requests, host and path
	inFlight int
	most     int
}

// behaviour is how requests are answered; the zero value is healthy.
type behaviour struct {
	status  int // 0 means 200
	percent int // of requests that get status or reset, 0 means all
	delay   time.Duration
	reset   bool
	at      string // only the instance of this name; "" is all
}

func parseBehaviour(q url.Values) (b behaviour, err error) {
	number := func(key string) int {
		if v := q.Get(key); v != "" && err == nil {
			var n int
			n, err = strconv.Atoi(v)
			return n
		}
		return 0
	}
	b = behaviour{status: number("status"), percent: number("percent"), reset: q.Get("reset") == "true", at: q.Get("at")}
	if v := q.Get("delay"); v != "" && err == nil {
		b.delay, err = time.ParseDuration(v)
	}
	return b, err
}

// Counts is the answer of GET /counts.
type Counts struct {
	Total    int            `json:"total"`
	Methods  map[string]int `json:"methods"`
	URLs     map[string]int `json:"urls"` // of HTTP requests, host and path
	InFlight int            `json:"inFlight"`
	Most     int            `json:"most"` // most at once since the last POST /counts
}

func (a *app) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /fail", a.setFail)
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		a.mu.Lock()
		status := a.health
		a.mu.Unlock()
		w.WriteHeader(max(status, http.StatusOK))
	})
	mux.HandleFunc("GET /counts", func(w http.ResponseWriter, _ *http.Request) { a.writeCounts(w, false) })
	mux.HandleFunc("POST /counts", func(w http.ResponseWriter, _ *http.Request) { a.writeCounts(w, true) })
	mux.HandleFunc("/", a.answer)
	return mux
}

func (a *app) setFail(w http.ResponseWriter, r *http.Request) {
	b, err := parseBehaviour(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	health, _ := strconv.Atoi(r.URL.Query().Get("health"))
	a.mu.Lock()
	a.fail, a.health = b, health
	a.mu.Unlock()
}

func (a *app) writeCounts(w http.ResponseWriter, reset bool) {
	a.mu.Lock()
	c := Counts{Methods: map[string]int{}, URLs: maps.Clone(a.urls), InFlight: a.inFlight, Most: a.most}
	for m, n := range a.requests {
		c.Methods[m] = n
		c.Total += n
	}
	if reset {
		a.requests, a.urls, a.most = nil, nil, a.inFlight
	}
	a.mu.Unlock()
	_ = json.NewEncoder(w).Encode(c)
}

// enter counts a request and returns how it is to be answered.
func (a *app) enter(method string) behaviour {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.requests == nil {
		a.requests = map[string]int{}
	}
	a.requests[method]++
	a.inFlight++
	a.most = max(a.most, a.inFlight)
	return a.fail
}

func (a *app) visited(url string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.urls == nil {
		a.urls = map[string]int{}
	}
	a.urls[url]++
}

func (a *app) leave() {
	a.mu.Lock()
	a.inFlight--
	a.mu.Unlock()
}

func (a *app) answer(w http.ResponseWriter, r *http.Request) {
	b := a.enter(r.Method)
	a.visited(r.Host + r.URL.Path)
	defer a.leave()
	own, err := parseBehaviour(r.URL.Query())
	if err == nil && own != (behaviour{}) {
		b = own
	}
	if b.at != "" && b.at != a.name {
		b = behaviour{}
	}
	if b.delay > 0 {
		select {
		case <-time.After(b.delay):
		case <-r.Context().Done():
			return
		}
	}
	hit := b.percent == 0 || rand.IntN(100) < b.percent
	if b.reset && hit {
		panic(http.ErrAbortHandler) // net/http's way to drop the connection
	}
	w.Header().Set("x-instance", a.name)
	for _, h := range r.URL.Query()["header"] {
		if !hit || own.at != "" && own.at != a.name {
			break
		}
		if k, v, ok := strings.Cut(h, ":"); ok {
			w.Header().Set(k, v)
		}
	}
	if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		if err := a.webSocket(w, r); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
		return
	}
	if b.status != 0 && hit {
		w.WriteHeader(b.status)
		fmt.Fprintf(w, "%s was told to answer %d\n", a.name, b.status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"instance": a.name, "method": r.Method, "host": r.Host, "path": r.URL.Path, "query": r.URL.RawQuery,
		"proto": r.Proto, "headers": r.Header,
	})
}
