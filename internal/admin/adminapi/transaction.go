package adminapi

import "meshlite.dev/internal/txn/web"

// Transactions is the answer of GET /v1/transactions: those of applications that
// the coordinator remembers, newest first.
type Transactions struct {
	Items []web.Transaction `json:"items"`
}

// TransactionLog is the answer of GET /v1/transactions/ID/log: what happened since
// this server coordinates.
type TransactionLog struct {
	ID     string      `json:"id"`
	Status string      `json:"status"`
	Items  []web.Entry `json:"items"`
}

// TransactionRequest is the body of POST /v1/transactions/ID/retry, abort and
// resolve.
type TransactionRequest struct {
	Participant string `json:"participant,omitempty"` // of retry and resolve; "" is all
	By          string `json:"by,omitempty"`          // who asks
	Reason      string `json:"reason,omitempty"`
}
