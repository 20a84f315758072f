// Command sizes fails when a Go file is over 500 lines or a function over 100.
// Tests and generated code may be longer.
package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	maxFile     = 500
	maxFunction = 100
)

func main() {
	var faults []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || d.Name() == "generated" || len(path) > 1 && strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasPrefix(d.Name(), "zz_generated"):
			return nil
		}
		found, err := check(path)
		faults = append(faults, found...)
		return err
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "sizes:", err)
		os.Exit(2)
	}
	for _, f := range faults {
		fmt.Println(f)
	}
	if len(faults) > 0 {
		os.Exit(1)
	}
}

func check(path string) ([]string, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	head := bytes.SplitN(src, []byte("\n"), 6)
	for _, line := range head[:min(5, len(head))] {
		if bytes.HasPrefix(line, []byte("// Code generated")) {
			return nil, nil
		}
	}
	var faults []string
	if n := bytes.Count(src, []byte("\n")); n > maxFile {
		faults = append(faults, fmt.Sprintf("%s: %d lines; look for the second idea past %d", path, n, maxFile))
	}
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			faults = append(faults, long(fset, n, n.Name.Name)...)
		case *ast.FuncLit:
			faults = append(faults, long(fset, n, "a function literal")...)
		}
		return true
	})
	return faults, nil
}

func long(fset *token.FileSet, n ast.Node, name string) []string {
	from, to := fset.Position(n.Pos()), fset.Position(n.End())
	if lines := to.Line - from.Line + 1; lines > maxFunction {
		return []string{fmt.Sprintf("%s:%d: %s has %d lines; name its steps past %d", from.Filename, from.Line, name, lines, maxFunction)}
	}
	return nil
}
