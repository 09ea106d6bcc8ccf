package main

import (
	"bytes"
	"fmt"
	"go/format"
	"os"
	"path/filepath"
	"strings"
)

// asm is the text of one assembly file and of its declarations under way.
type asm struct {
	text, decls, data bytes.Buffer
	table             bytes.Buffer      // rows of the vector table, in Go
	consts            map[string]string // symbol of each constant by content
	args              map[string]string // operand of each argument of the function under way
	fn                string
	labels            int
	routines          []*routine
}

// An arg is a parameter of an assembly function, or a result.
type arg struct {
	name, typ string
	length    string // of an array, as an expression
	optional  bool   // it may be nil
}

// parse reads "n int, x, y [n]float32, z *float32" as arguments, x and y as
// pointers.
func parseArgs(list string) []arg {
	var out []arg
	var of arg
	fields := strings.Split(list, ", ")
	for i := len(fields) - 1; i >= 0; i-- {
		name, typ, typed := strings.Cut(fields[i], " ")
		if typed {
			of = arg{typ: typ}
			if length, elem, array := strings.Cut(typ, "]"); array {
				of.typ = "*" + elem
				of.length, of.optional = strings.CutSuffix(length[1:], "?")
			}
		}
		of.name = name
		out = append([]arg{of}, out...)
	}
	return out
}

// list writes arguments for Go, in the types that typ gives them.
func list(args []arg, typ func(arg) string) string {
	s := ""
	for i, p := range args {
		s += p.name
		if i == len(args)-1 {
			return s + " " + typ(p)
		}
		if typ(p) != typ(args[i+1]) {
			s += " " + typ(p)
		}
		s += ", "
	}
	return s
}

// pointer and slice are the types of an argument in assembly and in Go.
func (p arg) pointer() string { return p.typ }

func (p arg) slice() string {
	if p.length != "" {
		return "[]" + p.typ[1:]
	}
	return p.typ
}

// structs are the fields, of float64, of structs of package kernel that are
// parameters. Field F of s is the argument s_F.
var structs = map[string][]string{
	"adamWStep": {"rate", "unbias", "keep", "beta1", "beta2", "eps"},
}

// sizeOf is the size of what is no struct: all take eight bytes of the argument
// frame but the floats and bools, which are aligned to their size.
func sizeOf(typ string) int {
	switch typ {
	case "float32":
		return 4
	case "bool":
		return 1
	}
	return 8
}

// place gives arguments their places in the frame, from at on.
func (a *asm) place(args []arg, at int) (end int) {
	for _, p := range args {
		size, names := sizeOf(p.typ), []string{p.name}
		if fields, ok := structs[p.typ]; ok {
			names = nil
			for _, f := range fields {
				names = append(names, p.name+"_"+f)
			}
		}
		at = (at + size - 1) / size * size
		for _, name := range names {
			a.args[name] = fmt.Sprintf("%s+%d(FP)", name, at)
			at += size
		}
	}
	return at
}

// function begins a function: its comment, name and parameters stand in the
// declarations, and arguments are then named by a.arg. A result, of eight bytes,
// is called ret; several have a list with names.
func (a *asm) function(name, params, doc string, results ...string) {
	a.fn, a.labels, a.args = name, 0, map[string]string{}
	args := parseArgs(params)
	end, result := a.place(args, 0), strings.Join(results, "")
	switch {
	case strings.HasPrefix(result, "("):
		end = a.place(parseArgs(strings.Trim(result, "()")), end)
	case result != "":
		end = a.place([]arg{{name: "ret", typ: result}}, end)
	}
	if doc != "" {
		fmt.Fprintf(&a.decls, "\n%s//", comment(name+" "+doc))
	}
	signature := strings.TrimSpace(fmt.Sprintf("%s(%s) %s", name, list(args, arg.pointer), result))
	fmt.Fprintf(&a.decls, "\n//go:noescape\nfunc %s\n", signature)
	fmt.Fprintf(&a.text, "\n// func %s\nTEXT ·%s(SB), NOSPLIT, $0-%d\n", signature, name, end)
}

func comment(doc string) string {
	var b strings.Builder
	for _, line := range strings.Split(strings.TrimSpace(doc), "\n") {
		b.WriteString(strings.TrimRight("// "+line, " ") + "\n")
	}
	return b.String()
}

// arg is the operand of a parameter of the function under way.
func (a *asm) arg(name string) string {
	s, ok := a.args[name]
	if !ok {
		panic(a.fn + " has no parameter " + name)
	}
	return s
}

// op writes one instruction.
func (a *asm) op(name string, operands ...any) {
	s := make([]string, len(operands))
	for i, o := range operands {
		s[i] = fmt.Sprint(o)
	}
	fmt.Fprintf(&a.text, "\t%s %s\n", name, strings.Join(s, ", "))
}

// label makes a name for a place, and at puts the place here.
func (a *asm) label(name string) string {
	a.labels++
	return fmt.Sprintf("%s%d", name, a.labels)
}

func (a *asm) at(label string) { fmt.Fprintf(&a.text, "\n%s:\n", label) }

func (a *asm) ret() { a.text.WriteString("\tRET\n") }

// constant is a read-only symbol that holds the 32-bit words given.
func (a *asm) constant(words ...uint32) string {
	key := fmt.Sprint(words)
	if s, ok := a.consts[key]; ok {
		return s
	}
	if a.consts == nil {
		a.consts = map[string]string{}
	}
	name := fmt.Sprintf("c%d<>", len(a.consts))
	a.consts[key] = name
	for i, w := range words {
		fmt.Fprintf(&a.data, "DATA %s+%d(SB)/4, $0x%08x\n", name, 4*i, w)
	}
	fmt.Fprintf(&a.data, "GLOBL %s(SB), RODATA|NOPTR, $%d\n", name, 4*len(words))
	return name
}

const notice = "// Code generated by internal/kernel/_generate. DO NOT EDIT.\n"

// tags are build constraints of what is not for all machines of GOARCH.
var tags = map[string]string{
	"amd64": "!noasm",
	"arm64": "!noasm",
	"other": "noasm || !(amd64 || arm64)",
}

// save writes what there is of NAME_ARCH.s, NAME_stubs_ARCH.go and
// NAME_rows_ARCH.go.
func (a *asm) save(dir, name, arch string) error {
	head := notice + "\n//go:build " + tags[arch] + "\n\n"
	if a.text.Len() > 0 {
		text := head + "#include \"textflag.h\"\n\n" + a.data.String() + a.text.String()
		if err := os.WriteFile(filepath.Join(dir, name+"_"+arch+".s"), []byte(text), 0o644); err != nil {
			return err
		}
	}
	for part, code := range map[string]*bytes.Buffer{"stubs": &a.decls, "rows": &a.table} {
		if code.Len() == 0 {
			continue
		}
		text, err := format.Source([]byte(head + "package kernel\n" + code.String()))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name+"_"+part+"_"+arch+".go"), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
