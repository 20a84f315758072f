// Package txn is two-phase commit as a pure function: [Step] takes the state of
// one transaction and one input and gives the next state, the record to keep and
// the calls to make. It knows no clock, network, disk or goroutine. What makes it
// run is txn/coordinator, over a journal of txn/journal; fleets of proxies and
// HTTP services are both participants of it. docs/adr/0008-transactions.md gives
// the reasons.
//
//	             every vote that the rule wants
//	           ┌───────────────────────────────▶ Committing ──┐ every party
//	Begin      │  (the forced record is the decision)         │ has ended
//	─────▶ Preparing                                          ├──────────▶ Done
//	           │  a no, the deadline, Cancel,                 │
//	           └───────────────────────────────▶ Aborting ────┘
//	              Recover: presumed abort            ▲            │
//	                                                 └────────────┘
//	                                        a late yes: it gets its roll-back
//
// A party's vote and its ending are apart:
//
//	vote    Unasked ─▶ Asked ─▶ Yes | No | Abstain     Abstain ─▶ Asked: Rejoin
//	ending  Open ─▶ Owed ─▶ Acked                      told, and done as decided
//	        Open ─▶ Spared                             an abort owes it nothing
//	                Owed ─▶ Refused ─▶ Acked           Retry healed it
//	                        Refused, Owed ─▶ Resolved  a person closed it
//
// What holds always:
//
//   - The caller writes Decision.Record as Decision.Write says before it performs
//     Decision.Actions. A journal gives back the newest record of a transaction,
//     and State{Record: r} with Recover goes on from there, repeating calls.
//   - Nothing but the forced record of Committing is a decision to commit. A
//     transaction without one was rolled back: one that is unknown, too. The way
//     from Committing leads forward only, the one from Aborting never to a commit.
//   - Whoever was asked may be prepared, whatever came back, and gets the decision
//     until it acknowledges. After Recover that is everybody: whom the last term
//     asked is not in the journal.
//   - An answer to another term than the state's is dropped; the newer term has
//     sent its own call.
//   - A party that refuses the decision makes the transaction HEURISTIC until it
//     acknowledges after all; closing it by hand does not hide it.
package txn
