package mem_test

import (
	"testing"

	"meshlite.dev/internal/store"
	"meshlite.dev/internal/store/mem"
	"meshlite.dev/internal/store/storetest"
)

func TestContract(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return mem.New() })
}
