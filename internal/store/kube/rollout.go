package kube

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"meshlite.dev/internal/policy/v1alpha1"
	"meshlite.dev/internal/store"
)

// maxPins stand in the clear; more are packed, as an object holds about 1.5 MiB.
const maxPins = 2000

// rolloutOf makes the object of a pointer, of a set, whose pins are packed where
// they are many, or of any other value.
func rolloutOf(p place, value []byte) (*v1alpha1.PolicyRollout, error) {
	o := &v1alpha1.PolicyRollout{ObjectMeta: meta(p.name)}
	if p.key != pointerKey && !strings.HasPrefix(p.key, setPrefix) {
		o.Spec.Key, o.Spec.Value = p.key, value
		return o, nil
	}
	err := json.Unmarshal(value, &o.Spec)
	if err == nil && len(o.Spec.Pins) > maxPins {
		if value, err = json.Marshal(o.Spec.Pins); err == nil {
			o.Spec.Packed, err = pack(value)
			o.Spec.Pins = nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.key, err)
	}
	return o, nil
}

func (o *rollout) entry() (store.Entry, error) {
	if o.Spec.Key != "" {
		return entryOf(o.Spec.Key, o.Spec.Value, o.ResourceVersion)
	}
	key := setPrefix + o.Name
	if o.Name == pointerName {
		key = pointerKey
	}
	value, err := o.spec()
	if err != nil {
		return store.Entry{}, fmt.Errorf("%s: %w", key, err)
	}
	return entryOf(key, value, o.ResourceVersion)
}

// spec is the value of a set or pointer, unpacked.
func (o *rollout) spec() ([]byte, error) {
	spec := o.Spec
	if spec.Packed != nil {
		raw, err := unpack(spec.Packed)
		if err == nil {
			err = json.Unmarshal(raw, &spec.Pins)
		}
		if err != nil {
			return nil, err
		}
		spec.Packed = nil
	}
	return json.Marshal(spec)
}

func pack(value []byte) ([]byte, error) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(value)
	err = errors.Join(err, w.Close()) // before the bytes are whole
	return b.Bytes(), err
}

// maxUnpacked bounds what a packed set may come to.
const maxUnpacked = 64 << 20

func unpack(packed []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, maxUnpacked))
}
