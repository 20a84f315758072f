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

func TestLocks(t *testing.T) {
	storetest.RunLocker(t, func(*testing.T) storetest.Locks {
		s := mem.New()
		return storetest.Locks{Open: func(*testing.T) store.Locker { return s }}
	})
}

func TestFences(t *testing.T) {
	storetest.RunFencer(t, func(*testing.T) storetest.Fenced { return mem.New() })
}

func TestBoards(t *testing.T) {
	storetest.RunBoard(t, func(*testing.T) storetest.Boards {
		s := mem.New()
		return storetest.Boards{Open: func(*testing.T) store.Board { return s }}
	})
}
