package policy

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
)

// maxProgram bounds a compiled regex, in instructions over bytes. Envoy's limit
// is 100 unless its runtime says otherwise; ours says 32768 (xds/bootstrap), as
// Envoy's program is not quite the one that is counted here.
const maxProgram = 8192

// maxByte is the last character that a regex can name: Envoy's RE2 compares
// bytes (measured: \x{100} is refused, \pL has the letters of Latin-1 alone).
const maxByte = 0xff

// checkRegex says what keeps text from being a regex of Envoy (RE2); "" is
// nothing. It returns the number of its groups.
func checkRegex(text string) (groups int, fault string) {
	if at := strings.IndexFunc(text, func(r rune) bool { return r > 0x7e }); at >= 0 {
		return 0, fmt.Sprintf("must be ASCII, as Envoy compares bytes: write what byte %d starts as \\x and two digits for each byte, in a path as %%XX", at+1)
	}
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return 0, "is not a regex (RE2): " + regexFault(err)
	}
	if fault := foreign(text); fault != "" {
		return 0, fault
	}
	program, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return 0, "is not a regex (RE2): " + err.Error()
	}
	if n := instructions(program); n > maxProgram {
		return 0, fmt.Sprintf("is too large: it compiles to %d instructions, over %d; use fewer or smaller repetitions", n, maxProgram)
	}
	return tree.MaxCap(), ""
}

// regexFault is the library's words without its own name in front.
func regexFault(err error) string {
	var e *syntax.Error
	if errors.As(err, &e) {
		return fmt.Sprintf("%s: %s", e.Code, text(e.Expr))
	}
	return err.Error()
}

// classes are the names in \p{} that every RE2 knows: categories of Unicode.
// Go knows more: scripts of later versions, long names such as Letter.
var classes = regexp.MustCompile(`^\^?(C[cfos]?|L[lmotu]?|M[cen]?|N[dlo]?|P[cdefios]?|S[ckmo]?|Z[lps]?)$`)

// foreign finds an escape that Go takes and Envoy does not, and says what
// would be right.
func foreign(text string) string {
	for i := 0; i+1 < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		i++ // what is escaped starts no escape
		name, found := strings.CutPrefix(text[i+1:], "{")
		if !found {
			continue
		}
		name, _, _ = strings.Cut(name, "}")
		switch text[i] {
		case 'x':
			if n, err := strconv.ParseUint(name, 16, 32); err == nil && n > maxByte {
				return `has \x{` + name + `}, and Envoy compares bytes: \x{ff} is the last`
			}
		case 'p', 'P':
			if !classes.MatchString(name) {
				return `has the class ` + name + `, and Envoy knows categories such as \p{Lu} alone`
			}
		}
	}
	return ""
}

// instructions counts as Envoy does: one for each range of bytes.
func instructions(p *syntax.Prog) int {
	n := 0
	for i := range p.Inst {
		n++
		if ranges := p.Inst[i].Rune; p.Inst[i].Op == syntax.InstRune {
			for at := 2; at < len(ranges) && ranges[at] <= maxByte; at += 2 {
				n++
			}
		}
	}
	return n
}

// checkSubstitution says what keeps text from being a substitution of a regex
// with so many groups; "" is nothing. RE2 knows \0 to \9 and \\; Envoy takes
// anything else and then leaves the path as it is (RE2's CheckRewriteString).
func checkSubstitution(text string, groups int) string {
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		i++
		switch {
		case i == len(text):
			return `ends with \: write \\ for the character itself`
		case text[i] == '\\':
		case text[i] < '0' || text[i] > '9':
			return fmt.Sprintf(`has \%c: \0 to \9 are groups, \\ is the character itself`, text[i])
		case int(text[i]-'0') > groups:
			return fmt.Sprintf(`has \%c, and the pattern has %d groups`, text[i], groups)
		}
	}
	return ""
}
