package consulimport

import (
	"errors"
	"slices"
	"strings"

	"meshlite.dev/internal/policy/v1alpha1"
)

// errFilter is a filter beyond what subsets can say.
var errFilter = errors.New("only tags and meta that an instance must have, joined with and, make a subset")

// selection is what instances of a subset must have.
type selection struct {
	tags []v1alpha1.Tag
	meta map[string]v1alpha1.MetaValue
}

// parseFilter reads a filter expression of a subset: `"v2" in Service.Tags`,
// `Service.Tags contains "v2"`, `Service.Meta.version == v2`, and `and` of
// these, in parentheses or not.
// https://developer.hashicorp.com/consul/api-docs/features/filtering
func parseFilter(text string) (selection, error) {
	tokens, err := scanFilter(text)
	if err != nil {
		return selection{}, err
	}
	p := filterParser{tokens: tokens, out: selection{meta: map[string]v1alpha1.MetaValue{}}}
	if err := p.all(0); err != nil {
		return selection{}, err
	}
	if len(p.tokens) > 0 {
		return selection{}, errFilter
	}
	slices.Sort(p.out.tags)
	p.out.tags = slices.Compact(p.out.tags)
	return p.out, nil
}

// word is one token: quoted text is never an operator.
type word struct {
	text   string
	quoted bool
}

// scanFilter cuts a filter into words, parentheses and operators.
func scanFilter(text string) (words []word, err error) {
	for text != "" {
		switch c := text[0]; {
		case strings.ContainsRune(" \t\r\n", rune(c)):
			text = text[1:]
		case c == '(' || c == ')':
			words, text = append(words, word{text: text[:1]}), text[1:]
		case c == '"' || c == '`':
			end := strings.IndexByte(text[1:], c)
			if end < 0 || strings.ContainsRune(text[1:1+end], '\\') {
				return nil, errFilter
			}
			words, text = append(words, word{text[1 : 1+end], true}), text[end+2:]
		case strings.HasPrefix(text, "==") || strings.HasPrefix(text, "!="):
			words, text = append(words, word{text: text[:2]}), text[2:]
		case c == '=' || c == '!':
			return nil, errFilter
		default:
			end := strings.IndexAny(text, " \t\r\n()`\"=!")
			if end < 0 {
				end = len(text)
			}
			if open := strings.IndexByte(text[:end], '['); open >= 0 { // Service.Meta["a b"]
				shut := strings.IndexByte(text, ']')
				if shut < 0 {
					return nil, errFilter
				}
				end = shut + 1
			}
			words, text = append(words, word{text: text[:end]}), text[end:]
		}
	}
	return words, nil
}

type filterParser struct {
	tokens []word
	out    selection
}

func (p *filterParser) next() word {
	if len(p.tokens) == 0 {
		return word{}
	}
	w := p.tokens[0]
	p.tokens = p.tokens[1:]
	return w
}

// all reads terms joined with and, up to the end or a closing parenthesis.
func (p *filterParser) all(depth int) error {
	const deepest = 32
	if depth > deepest {
		return errFilter
	}
	for {
		if len(p.tokens) > 0 && p.tokens[0] == (word{text: "("}) {
			p.next()
			if err := p.all(depth + 1); err != nil {
				return err
			}
			if p.next() != (word{text: ")"}) {
				return errFilter
			}
		} else if err := p.term(); err != nil {
			return err
		}
		if len(p.tokens) == 0 || p.tokens[0] != (word{text: "and"}) {
			return nil
		}
		p.next()
	}
}

// term reads one comparison.
func (p *filterParser) term() error {
	left, op, right := p.next(), p.next(), p.next()
	switch {
	case op.quoted || left.text == "" || right.text == "" || isOperator(right):
		return errFilter
	case op.text == "in" && right == (word{text: "Service.Tags"}) && !isOperator(left):
		return p.tag(left.text)
	case op.text == "contains" && left == (word{text: "Service.Tags"}):
		return p.tag(right.text)
	case op.text == "==" && !left.quoted:
		key, ok := metaKey(left.text)
		if !ok {
			return errFilter
		}
		if before, twice := p.out.meta[key]; twice && string(before) != right.text {
			return errors.New("no instance has two values of one meta key")
		}
		p.out.meta[key] = v1alpha1.MetaValue(right.text)
		return nil
	}
	return errFilter
}

func (p *filterParser) tag(name string) error {
	p.out.tags = append(p.out.tags, v1alpha1.Tag(name))
	return nil
}

func isOperator(w word) bool {
	return !w.quoted && slices.Contains([]string{"(", ")", "and", "or", "not", "in", "contains", "matches", "is", "==", "!="}, w.text)
}

// metaKey returns the key of Service.Meta.key or Service.Meta["key"].
func metaKey(selector string) (string, bool) {
	if key, ok := strings.CutPrefix(selector, "Service.Meta."); ok {
		return key, key != "" && !strings.ContainsAny(key, `."[]`)
	}
	key, ok := strings.CutPrefix(selector, `Service.Meta["`)
	key, shut := strings.CutSuffix(key, `"]`)
	return key, ok && shut && key != "" && !strings.Contains(key, `"`)
}
