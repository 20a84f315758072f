package dump

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/cncf/xds/go/udpa/annotations"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protopath"
	"google.golang.org/protobuf/reflect/protorange"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// Redacted stands where Envoy's API marks a field as sensitive, as in Envoy's
// own config dump.
const Redacted = "[redacted]"

// JSON returns body, a message of typeURL as resource.Resource carries it, in
// protobuf's JSON with the field names of Envoy's documentation. The same body
// gives the same text. What the API marks as sensitive is redacted. No body
// gives no JSON.
func JSON(typeURL string, body []byte) (json.RawMessage, error) {
	if body == nil {
		return nil, nil
	}
	mt, err := protoregistry.GlobalTypes.FindMessageByURL(typeURL)
	if err != nil {
		return nil, fmt.Errorf("type %s: %w", typeURL, err)
	}
	m := mt.New().Interface()
	if err := proto.Unmarshal(body, m); err != nil {
		return nil, fmt.Errorf("decode %s: %w", typeURL, err)
	}
	if err := redact(m); err != nil {
		return nil, fmt.Errorf("redact %s: %w", typeURL, err)
	}
	raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", typeURL, err)
	}
	var out bytes.Buffer // protojson varies its blanks on purpose
	if err := json.Compact(&out, raw); err != nil {
		return nil, fmt.Errorf("encode %s: %w", typeURL, err)
	}
	return out.Bytes(), nil
}

// redact replaces every text below a field that is marked
// (udpa.annotations.sensitive), inside Any too.
func redact(m proto.Message) error {
	return protorange.Options{Stable: true}.Range(m.ProtoReflect(), func(p protopath.Values) error {
		if !sensitive(p.Path) {
			return nil
		}
		last, parent := p.Index(-1), p.Index(-2)
		value, text := redactedValue(last.Value)
		if !text {
			return nil
		}
		switch last.Step.Kind() {
		case protopath.FieldAccessStep:
			parent.Value.Message().Set(last.Step.FieldDescriptor(), value)
		case protopath.ListIndexStep:
			parent.Value.List().Set(last.Step.ListIndex(), value)
		case protopath.MapIndexStep:
			parent.Value.Map().Set(last.Step.MapIndex(), value)
		default: // the other steps lead to messages
		}
		return nil
	}, nil)
}

func sensitive(path protopath.Path) bool {
	for _, step := range path {
		if step.Kind() != protopath.FieldAccessStep {
			continue
		}
		if marked, _ := proto.GetExtension(step.FieldDescriptor().Options(), annotations.E_Sensitive).(bool); marked {
			return true
		}
	}
	return false
}

func redactedValue(v protoreflect.Value) (protoreflect.Value, bool) {
	switch v.Interface().(type) {
	case string:
		return protoreflect.ValueOfString(Redacted), true
	case []byte:
		return protoreflect.ValueOfBytes([]byte(Redacted)), true
	default:
		return v, false
	}
}
