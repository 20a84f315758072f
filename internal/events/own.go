package events

import "time"

// Types of what the mesh does itself. Those of rollouts and transactions are
// milestones: each is told once of one object, with what is known by then.
const (
	RolloutStarted    = "mesh.rollout.started"
	RolloutPrepared   = "mesh.rollout.prepared"
	RolloutCommitted  = "mesh.rollout.committed"
	RolloutConfirmed  = "mesh.rollout.confirmed"
	RolloutAborted    = "mesh.rollout.aborted"
	RolloutRolledBack = "mesh.rollout.rolledback"
	RolloutHeuristic  = "mesh.rollout.heuristic"

	TransactionStarted    = "mesh.transaction.started"
	TransactionCommitted  = "mesh.transaction.committed"
	TransactionRolledBack = "mesh.transaction.rolledback"
	TransactionHeuristic  = "mesh.transaction.heuristic"

	GuardTripped  = "mesh.guard.tripped"
	GuardReleased = "mesh.guard.released"
)

// Rollout is the data of mesh.rollout events.
type Rollout struct {
	Rollout     string           `json:"rollout" doc:"its id, as meshctl rollout has it"`
	State       string           `json:"state" doc:"PENDING, COMMITTED, ROLLED_BACK or HEURISTIC"`
	Reason      string           `json:"reason,omitempty" doc:"why it was decided so"`
	Mode        string           `json:"mode" doc:"auto, direct or hold"`
	SkipVote    bool             `json:"skipVote" doc:"the sidecars were not asked, as by wanted it (--skip-vote)"`
	By          string           `json:"by,omitempty" doc:"the person who started it, as they said"`
	Source      string           `json:"source,omitempty" doc:"who proposed it: dir, consul, kube, or undo"`
	From        uint64           `json:"from" doc:"number of the revision before; 0: there was none"`
	Revision    uint64           `json:"revision,omitempty" doc:"its number, once it was in force"`
	Hash        string           `json:"hash" doc:"of the revision that it brings, or would have brought"`
	Documents   []DocumentChange `json:"documents" doc:"what it changes"`
	Votes       Votes            `json:"votes,omitzero" doc:"once sidecars that were asked have voted"`
	Blamed      []string         `json:"blamed,omitempty" doc:"of aborted: documents that it was refused for, KIND/NAMESPACE/NAME"`
	ConfirmBy   time.Time        `json:"confirmBy,omitzero" doc:"of committed: unless it is confirmed by then it is undone"`
	ConfirmedBy string           `json:"confirmedBy,omitempty" doc:"of confirmed: the person who did, as they said"`
	Undoes      string           `json:"undoes,omitempty" doc:"the rollout that it takes back"`
	UndoneBy    string           `json:"undoneBy,omitempty" doc:"of rolledback: the rollout that took it back"`
}

// DocumentChange is what a rollout does with one document.
type DocumentChange struct {
	Document string `json:"document" doc:"KIND/NAMESPACE/NAME"`
	Change   string `json:"change" doc:"add, change or remove"`
	From     int64  `json:"from,omitempty" doc:"its generation before"`
	To       int64  `json:"to,omitempty" doc:"its generation after"`
}

// Votes counts what sidecars said.
type Votes struct {
	Voters  int `json:"voters" doc:"sidecars that the change reaches"`
	Yes     int `json:"yes" doc:"could serve it"`
	No      int `json:"no" doc:"refused it"`
	Abstain int `json:"abstain" doc:"did not answer in time"`
}

// Transaction is the data of mesh.transaction events: those of applications.
type Transaction struct {
	Transaction  string        `json:"transaction" doc:"its id, as who began it chose"`
	Status       string        `json:"status" doc:"PENDING, COMMITTED, ROLLED_BACK or HEURISTIC"`
	Decision     string        `json:"decision,omitempty" doc:"of heuristic: commit or abort"`
	Reason       string        `json:"reason,omitempty" doc:"why it was decided so"`
	Participants []Participant `json:"participants" doc:"services that take part"`
	Started      time.Time     `json:"started" doc:"when it began"`
	Decided      time.Time     `json:"decided,omitzero" doc:"when it was"`
}

// Participant is a service in a transaction.
type Participant struct {
	Service string `json:"service" doc:"its name in the mesh"`
	Vote    string `json:"vote,omitempty" doc:"once decided: yes, no, abstain, or unasked"`
	Ending  string `json:"ending,omitempty" doc:"of heuristic: refused (it did otherwise) or resolved (a person took it so)"`
	Text    string `json:"text,omitempty" doc:"its own words"`
}

// Guard is the data of mesh.guard events.
type Guard struct {
	Service    string    `json:"service" doc:"its name in the catalog"`
	Datacenter string    `json:"datacenter,omitempty" doc:"where it is another than the mesh's own"`
	Reason     string    `json:"reason" doc:"why the loss is not believed"`
	Lost       []string  `json:"lost" doc:"ids of the instances that the catalog no longer names, and that are kept"`
	Since      time.Time `json:"since" doc:"of the loss"`
	Expires    time.Time `json:"expires,omitzero" doc:"when a confirming read alone ends it; missing: only a person does"`
	Replica    string    `json:"replica" doc:"the xds-server whose guard it is"`
}

func ownTypes() []Type {
	return []Type{
		{RolloutStarted, "A change of policies began to roll out.", Rollout{}},
		{RolloutPrepared, "The sidecars have voted for a rollout; where it is held, a person commits it. Not told where nobody is asked.", Rollout{}},
		{RolloutCommitted, "A rollout is decided, and its revision in force.", Rollout{}},
		{RolloutConfirmed, "A person confirmed a rollout that would have been undone.", Rollout{}},
		{RolloutAborted, "A rollout was given up before it was decided: it never came in force.", Rollout{}},
		{RolloutRolledBack, "A rollout that was in force is undone.", Rollout{}},
		{RolloutHeuristic, "A rollout was decided, and afterwards not all of it held: a person should look.", Rollout{}},
		{TransactionStarted, "A transaction of applications began.", Transaction{}},
		{TransactionCommitted, "A transaction is decided: every participant is told to commit, until it has.", Transaction{}},
		{TransactionRolledBack, "A transaction is decided: every participant that may hold something is told to roll back.", Transaction{}},
		{TransactionHeuristic, "A participant did otherwise than decided, or a person took it so: a person should look. Told again when more do.", Transaction{}},
		{GuardTripped, "The guard keeps instances that the catalog no longer names; told again when that changes.", Guard{}},
		{GuardReleased, "The guard holds nothing back of a service any more: its instances are back, or their loss is believed.", Guard{}},
	}
}
