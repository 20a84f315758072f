package resource

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// validate applies Envoy's own field rules (protoc-gen-validate) to m and to
// every message packed into an Any below it, which ValidateAll itself passes
// over. It returns all faults, joined.
func validate(m proto.Message) error {
	var faults []error
	if v, ok := m.(interface{ ValidateAll() error }); ok {
		if err := v.ValidateAll(); err != nil {
			faults = append(faults, err)
		}
	}
	return errors.Join(append(faults, validatePacked(m.ProtoReflect())...)...)
}

// validatePacked looks for Any below m.
func validatePacked(m protoreflect.Message) (faults []error) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap():
			if f.MapValue().Message() != nil {
				v.Map().Range(func(_ protoreflect.MapKey, e protoreflect.Value) bool {
					faults = append(faults, validateChild(e.Message())...)
					return true
				})
			}
		case f.Message() == nil:
		case f.IsList():
			for i := range v.List().Len() {
				faults = append(faults, validateChild(v.List().Get(i).Message())...)
			}
		default:
			faults = append(faults, validateChild(v.Message())...)
		}
		return true
	})
	return faults
}

func validateChild(m protoreflect.Message) []error {
	packed, ok := m.Interface().(*anypb.Any)
	if !ok {
		return validatePacked(m)
	}
	inner, err := packed.UnmarshalNew()
	if err != nil {
		return []error{fmt.Errorf("%s: %w", packed.GetTypeUrl(), err)}
	}
	if err := validate(inner); err != nil {
		return []error{fmt.Errorf("%s: %w", packed.GetTypeUrl(), err)}
	}
	return nil
}
