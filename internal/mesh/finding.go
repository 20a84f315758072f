package mesh

import (
	"cmp"
	"slices"
)

// Severity of a finding. `meshctl` exits with 79 from Warning up.
type Severity string

// The severities, gravest first.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
	Info    Severity = "info"
)

// Codes of findings. They are stable: scripts and dashboards use them.
const (
	CodeTriesExceedTimeout  = "MESH0001"
	CodeAmplification       = "MESH0002"
	CodeShorterThanCallee   = "MESH0003"
	CodeUnsafeRetry         = "MESH0004"
	CodeTimeoutOnLongLived  = "MESH0005"
	CodeEjectionInert       = "MESH0006"
	CodeLimitsBelowLoad     = "MESH0007"
	CodeTargetNotFound      = "MESH0008"
	CodeEmptySubset         = "MESH0009"
	CodeShadowedRule        = "MESH0010"
	CodeFieldTooNew         = "MESH0011"
	CodeTimedOutTryRetried  = "MESH0012"
	CodeNotADNSLabel        = "MESH0013"
	CodeConflicted          = "MESH0014"
	CodeProtocolDisagreed   = "MESH0015"
	CodeReservedName        = "MESH0016"
	CodeAnswersWideBudget   = "MESH0017"
	CodeInvalidMerge        = "MESH0018" // the merged result breaks a rule; the last good stays
	CodeInvalidDocument     = "MESH0019" // a document was refused; its last good generation stays in force
	CodeInvalidCatalogEntry = "MESH0020" // an instance or definition of the catalog was skipped
	CodeNotPermitted        = "MESH0021" // the document's namespace has no right to its target
	CodeUnresolvedRef       = "MESH0022" // a backend, subset or mirror that does not exist
	CodeNotAttachable       = "MESH0023" // a field that cannot attach to this target, such as limits to a rule
)

// Finding is something an operator should look at.
type Finding struct {
	Code     string   `json:"code"`
	Severity Severity `json:"severity"`
	Document string   `json:"document,omitempty"` // "rp/default/orders@3", or the catalog's file
	Path     string   `json:"path,omitempty"`     // field path in the document
	Service  string   `json:"service,omitempty"`
	Message  string   `json:"message"`
	Hint     string   `json:"hint,omitempty"` // what to do
}

// SortFindings orders findings by code, service, document, path and message,
// in place, and drops repetitions.
func SortFindings(fs []Finding) []Finding {
	slices.SortFunc(fs, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.Service, b.Service),
			cmp.Compare(a.Document, b.Document), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Message, b.Message))
	})
	return slices.Compact(fs)
}
