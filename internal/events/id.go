package events

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// ID is the id of a fact: the same wherever and whenever the same mesh tells
// the same of the same object. Version is the object's own, such as Consul's
// ModifyIndex or a generation.
func ID(mesh, typ, subject, version string, content []byte) string {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(mesh), []byte(typ), []byte(subject), []byte(version), content} {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(part)))
		h.Write(size[:]) // a hash never fails
		h.Write(part)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
