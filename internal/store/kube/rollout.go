package kube

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshlite.dev/internal/policy/v1alpha1"
	"meshlite.dev/internal/store"
)

// maxPins stand in the clear; more are packed, as an object holds about 1.5 MiB.
const maxPins = 2000

// setRecord is the value of revisions/<hash>, pointerRecord that of revision.
type (
	setRecord struct {
		Pins []v1alpha1.Pin `json:"pins"`
	}
	pointerRecord struct {
		Hash    string `json:"hash"`
		Number  uint64 `json:"number"`
		Builder string `json:"builder"`
	}
)

func rolloutOf(p place, value []byte) (*v1alpha1.PolicyRollout, error) {
	o := &v1alpha1.PolicyRollout{ObjectMeta: metav1.ObjectMeta{Name: p.name}}
	var err error
	switch {
	case p.key == pointerKey:
		var rec pointerRecord
		err = json.Unmarshal(value, &rec)
		o.Spec.Hash, o.Spec.Number, o.Spec.Builder = rec.Hash, rec.Number, rec.Builder
	case strings.HasPrefix(p.key, setPrefix):
		var rec setRecord
		err = json.Unmarshal(value, &rec)
		if o.Spec.Documents = len(rec.Pins); o.Spec.Documents <= maxPins {
			o.Spec.Pins = rec.Pins
		} else if err == nil {
			o.Spec.Packed, err = pack(value)
		}
	default:
		o.Spec.Key, o.Spec.Value = p.key, value
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.key, err)
	}
	return o, nil
}

func (o *rollout) entry() (store.Entry, error) {
	var key string
	var value []byte
	var err error
	switch {
	case o.Name == pointerName:
		key = pointerKey
		value, err = json.Marshal(pointerRecord{o.Spec.Hash, o.Spec.Number, o.Spec.Builder})
	case o.Spec.Key != "":
		key, value = o.Spec.Key, o.Spec.Value
	case o.Spec.Packed != nil:
		key = setPrefix + o.Name
		value, err = unpack(o.Spec.Packed)
	default:
		key = setPrefix + o.Name
		value, err = json.Marshal(setRecord{o.Spec.Pins})
	}
	if err != nil {
		return store.Entry{}, fmt.Errorf("%s: %w", key, err)
	}
	return entryOf(key, value, o.ResourceVersion)
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
