// Package pmap is an immutable sorted map: editing one key of a thousand costs
// what one key costs, and a reader keeps the version it started with. It wraps
// go-immutable-radix so that no library type appears in the packages that use it.
package pmap

import (
	"iter"

	iradix "github.com/hashicorp/go-immutable-radix/v2"
)

// Map is an immutable map from string to V, iterated in byte order of the
// keys. The zero value is an empty map. Maps may be shared by goroutines.
type Map[V any] struct{ tree *iradix.Tree[V] }

// From returns a map with the entries of m.
func From[V any](m map[string]V) Map[V] {
	txn := iradix.New[V]().Txn()
	for k, v := range m {
		txn.Insert([]byte(k), v)
	}
	return Map[V]{txn.Commit()}
}

// Get returns the value stored under key, and whether there is one.
func (m Map[V]) Get(key string) (V, bool) {
	if m.tree == nil {
		var zero V
		return zero, false
	}
	return m.tree.Get([]byte(key))
}

// Has reports whether key is in the map.
func (m Map[V]) Has(key string) bool {
	_, ok := m.Get(key)
	return ok
}

// Set returns a map in which key holds v; m is unchanged.
func (m Map[V]) Set(key string, v V) Map[V] {
	tree, _, _ := m.orEmpty().Insert([]byte(key), v)
	return Map[V]{tree}
}

// Delete returns a map without key; m is unchanged.
func (m Map[V]) Delete(key string) Map[V] {
	tree, _, _ := m.orEmpty().Delete([]byte(key))
	return Map[V]{tree}
}

// Len returns the number of entries.
func (m Map[V]) Len() int {
	if m.tree == nil {
		return 0
	}
	return m.tree.Len()
}

// All yields the entries in byte order of their keys.
func (m Map[V]) All() iter.Seq2[string, V] {
	return m.Prefix("")
}

// Prefix yields the entries whose keys start with prefix, in byte order.
func (m Map[V]) Prefix(prefix string) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		if m.tree == nil {
			return
		}
		it := m.tree.Root().Iterator()
		it.SeekPrefix([]byte(prefix))
		for k, v, ok := it.Next(); ok; k, v, ok = it.Next() {
			if !yield(string(k), v) {
				return
			}
		}
	}
}

// Edit applies many changes at once, cheaper than a chain of Set and Delete.
func (m Map[V]) Edit(change func(set func(key string, v V), del func(key string))) Map[V] {
	txn := m.orEmpty().Txn()
	change(
		func(k string, v V) { txn.Insert([]byte(k), v) },
		func(k string) { txn.Delete([]byte(k)) },
	)
	return Map[V]{txn.Commit()}
}

func (m Map[V]) orEmpty() *iradix.Tree[V] {
	if m.tree == nil {
		return iradix.New[V]()
	}
	return m.tree
}
