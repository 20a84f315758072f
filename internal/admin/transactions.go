package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/txn/coordinator"
	"meshlite.dev/internal/txn/web"
)

// Transactions are those of applications.
type Transactions interface {
	// Coordinator runs here; nil while another replica has it, or nobody.
	Coordinator() *coordinator.Coordinator
	// Log is what happened to a transaction.
	Log(of txn.Record) []web.Entry
}

func (a *api) transactionPages(mux *http.ServeMux) {
	for path, page := range map[string]http.Handler{
		"/v1/transactions":          get(reply(a.transactions)),
		"/v1/transactions/{id}":     get(reply(a.transaction)),
		"/v1/transactions/{id}/log": get(reply(a.transactionLog)),
		"/v1/transactions/{id}/retry": post(a.audited(maxBody, a.settle("retried", func(ctx context.Context, c *coordinator.Coordinator, id txn.ID, req adminapi.TransactionRequest) (coordinator.View, error) {
			return c.Retry(ctx, id, req.Participant)
		}))),
		"/v1/transactions/{id}/abort": post(a.audited(maxBody, a.settle("aborted", func(ctx context.Context, c *coordinator.Coordinator, id txn.ID, req adminapi.TransactionRequest) (coordinator.View, error) {
			return c.Cancel(ctx, id, strings.TrimPrefix(by(req.By), " ")+because(req.Reason))
		}))),
		"/v1/transactions/{id}/resolve": post(a.audited(maxBody, a.settle("resolved", func(ctx context.Context, c *coordinator.Coordinator, id txn.ID, req adminapi.TransactionRequest) (coordinator.View, error) {
			return c.Resolve(ctx, id, req.Participant, strings.TrimPrefix(by(req.By), " ")+because(req.Reason))
		}))),
	} {
		mux.Handle(path, a.guarded(page))
	}
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

// coordinates returns the coordinator, or why there is none.
func (a *api) coordinates() (*coordinator.Coordinator, error) {
	if a.Transactions == nil {
		return nil, fail(http.StatusNotImplemented, "start xds-server with --roles xds,admin,transactions", "this server coordinates no transactions")
	}
	if c := a.Transactions.Coordinator(); c != nil {
		return c, nil
	}
	return nil, fail(http.StatusServiceUnavailable, "try again, or ask the replica that does", "this server does not coordinate transactions just now")
}

func transactionFailure(err error) error {
	switch {
	case errors.Is(err, coordinator.ErrUnknown):
		return fail(http.StatusNotFound, "one that is unknown was rolled back, or has ended everywhere; meshctl txn list shows those kept", "%v", err)
	case errors.Is(err, coordinator.ErrDecided):
		return fail(http.StatusConflict, "meshctl txn get shows where it stands", "%v", err)
	case errors.Is(err, coordinator.ErrStopped):
		return fail(http.StatusServiceUnavailable, "try again", "%v", err)
	}
	return err
}

// transactions lists them, newest first; status picks some.
func (a *api) transactions(r *http.Request) (any, error) {
	q, err := query(r, "status")
	if err != nil {
		return nil, err
	}
	known := []txn.Status{txn.Pending, txn.Committed, txn.RolledBack, txn.Heuristic}
	status := txn.Status(strings.ToUpper(q["status"]))
	if status != "" && !slices.Contains(known, status) {
		return nil, fail(http.StatusBadRequest, "use PENDING, COMMITTED, ROLLED_BACK or HEURISTIC", "parameter \"status\": %q is none", q["status"])
	}
	c, err := a.coordinates()
	if err != nil {
		return nil, err
	}
	views, err := c.List(r.Context())
	if err != nil {
		return nil, transactionFailure(err)
	}
	out := adminapi.Transactions{Items: []web.Transaction{}}
	for _, v := range slices.Backward(views) {
		if status == "" || v.Status() == status {
			out.Items = append(out.Items, web.Describe(v))
		}
	}
	return out, nil
}

func (a *api) transaction(r *http.Request) (any, error) {
	v, err := a.view(r)
	if err != nil {
		return nil, err
	}
	return web.Describe(v), nil
}

func (a *api) view(r *http.Request) (coordinator.View, error) {
	if _, err := query(r); err != nil {
		return coordinator.View{}, err
	}
	c, err := a.coordinates()
	if err != nil {
		return coordinator.View{}, err
	}
	v, err := c.Get(r.Context(), txn.ID(r.PathValue("id")))
	if err != nil {
		return v, transactionFailure(err)
	}
	return v, nil
}

func (a *api) transactionLog(r *http.Request) (any, error) {
	v, err := a.view(r)
	if err != nil {
		return nil, err
	}
	return adminapi.TransactionLog{ID: string(v.ID), Status: string(v.Status()), Items: a.Transactions.Log(v.Record)}, nil
}

// settle does what a person asks of a transaction.
func (a *api) settle(did string, do func(context.Context, *coordinator.Coordinator, txn.ID, adminapi.TransactionRequest) (coordinator.View, error)) change {
	return func(r *http.Request, body []byte) (any, string, error) {
		var req adminapi.TransactionRequest
		if err := decode(body, &req); err != nil {
			return nil, "", err
		}
		if err := errors.Join(saidBy(req.By), said("reason", req.Reason, maxReason)); err != nil {
			return nil, "", fail(http.StatusBadRequest, "say it shorter", "%v", err)
		}
		c, err := a.coordinates()
		if err != nil {
			return nil, "", err
		}
		id := txn.ID(r.PathValue("id"))
		v, err := c.Get(r.Context(), id)
		if _, part := v.Party(req.Participant); err == nil && req.Participant != "" && !part {
			return nil, "", fail(http.StatusBadRequest, "meshctl txn get shows its participants", "participant: %.80q takes no part in %s", req.Participant, id)
		}
		if err == nil {
			v, err = do(r.Context(), c, id, req)
		}
		if err != nil {
			return nil, "", transactionFailure(err)
		}
		return web.Describe(v), fmt.Sprintf("transaction %s %s%s", id, did, by(req.By)), nil
	}
}
