package policy_test

import (
	"testing"

	"meshlite.dev/internal/policy"
)

func TestMeshDefaultKeepsItsOwnRules(t *testing.T) {
	spec := policy.MeshDefault()
	if spec.Retry == nil || spec.Retry.Attempts == nil || *spec.Retry.Attempts != 2 {
		t.Fatalf("mesh-default lost its retries: %+v", spec.Retry)
	}
	if faults := policy.CheckMerged(spec); len(faults) > 0 {
		t.Errorf("mesh-default breaks %v", faults)
	}
}
