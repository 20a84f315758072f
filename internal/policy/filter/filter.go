// Package filter compiles and runs the filters of EventSubscriptions: CEL
// expressions (https://cel.dev) over one event. It is pure; its main type is
// Filter.
//
// The language is CEL with its optional types and the string extensions of
// cel-go. A filter reads the variable event, a CloudEvent as JSON has it
// (event.type, event.subject, event.data.total); numbers compare whatever
// their type.
package filter

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/checker"
	"github.com/google/cel-go/ext"
)

// MaxCost bounds a filter in CEL's units of cost, by estimate when it is
// compiled and in fact when it runs. It is a tenth of what Kubernetes allows a
// call: cel-go keeps account of a loop in quadratic time, so that a loop of cost
// 1,000,000 ran for a minute, and one of 100,000 for less than a second (measured).
const MaxCost = 100_000

// assumedSize is how many elements, or characters, the estimate takes each part
// of an event to have. An event with more may still be filtered, as long as
// the cost in fact allows it.
const assumedSize = 1024

// interruptEvery is how many steps of a loop pass between two looks at ctx.
const interruptEvery = 128

// maxNesting bounds what the parser, which recurses, has to follow.
const maxNesting = 32

// Filter decides which events are delivered. It is immutable and may be used
// from many goroutines.
type Filter struct{ program cel.Program }

// environment is the language of filters, made once: it does not change.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(
		cel.Variable("event", cel.MapType(cel.StringType, cel.DynType)),
		cel.CrossTypeNumericComparisons(true), // JSON's 100 is a double, the author's an int
		cel.DefaultUTCTimeZone(true),
		cel.OptionalTypes(),
		cel.ParserRecursionLimit(maxNesting),
		ext.Strings(ext.StringsVersion(4)),
	)
})

// Compile checks an expression. Its error says what is wrong, and where.
func Compile(expression string) (*Filter, error) {
	env, err := environment()
	if err != nil {
		return nil, fmt.Errorf("make the language of filters: %w", err)
	}
	ast, issues := env.Compile(expression)
	if issues.Err() != nil {
		return nil, errors.New(told(issues))
	}
	if out := ast.OutputType(); out != cel.BoolType && out != cel.DynType {
		return nil, fmt.Errorf("is %s, a filter is true or false", out)
	}
	estimate, err := env.EstimateCost(ast, sizes{})
	if err != nil {
		return nil, fmt.Errorf("estimate its cost: %w", err)
	}
	if estimate.Max > MaxCost {
		return nil, fmt.Errorf("may cost %d for a large event, over %d; do without a loop in a loop", estimate.Max, MaxCost)
	}
	program, err := env.Program(ast, cel.CostLimit(MaxCost), cel.InterruptCheckFrequency(interruptEvery), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, fmt.Errorf("make a program of it: %w", err)
	}
	return &Filter{program}, nil
}

// Match reports whether event passes. It returns an error where the expression
// has no answer for it: a field is missing, a type differs, or the event is so
// large that the cost exceeds MaxCost or ctx ends. It does not change event.
func (f *Filter) Match(ctx context.Context, event map[string]any) (bool, error) {
	out, _, err := f.program.ContextEval(ctx, map[string]any{"event": event})
	if err != nil {
		return false, fmt.Errorf("filter event: %w", err)
	}
	pass, ok := out.Value().(bool)
	if !ok {
		return false, fmt.Errorf("filter event: the filter is %v, not true or false", out.Type())
	}
	return pass, nil
}

// told puts the compiler's errors on one line.
func told(issues *cel.Issues) string {
	var all []string
	for _, e := range issues.Errors() {
		all = append(all, fmt.Sprintf("line %d, column %d: %s", e.Location.Line(), e.Location.Column()+1, strings.TrimPrefix(e.Message, "Syntax error: ")))
	}
	return strings.Join(all, "; ")
}

// sizes tells the estimate how large an event is.
type sizes struct{}

func (sizes) EstimateSize(checker.AstNode) *checker.SizeEstimate {
	return &checker.SizeEstimate{Min: 0, Max: assumedSize}
}

func (sizes) EstimateCallCost(string, string, *checker.AstNode, []checker.AstNode) *checker.CallEstimate {
	return nil // the standard's own
}
