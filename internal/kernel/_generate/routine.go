package main

import (
	"fmt"
	"slices"
	"strings"
)

// A routine is a function of the file under way that is a field of package
// kernel's vector table. What the table's rows say of it follows from this.
type routine struct {
	isa    vecISA
	field  string // or FIELD.FORM where FIELD is a fast
	fn     string
	args   []arg
	result string

	// plain is a condition under which the twin in plain Go is called: a function
	// of the field's name.
	plain string

	// direct asks for a function of the field's name and 32 that calls the routine
	// of the row in use by its name: it is given arrays that lie on the stack, and
	// what a function value is given the compiler moves to the heap.
	direct bool
}

// forms are the fields of a fast, and how functions are called after them.
var forms = map[string]string{"vv": "VV", "vs": "VS", "sv": "SV", "rows": "Rows"}

// routine begins a function that is a field of the vector table. An array of
// its parameters is of type [LENGTH]T, LENGTH being an expression of Go with the
// other parameters, or of type [LENGTH?]T where it may be nil.
func (a *asm) routine(v vecISA, field, params, doc string, result ...string) *routine {
	group, form, _ := strings.Cut(field, ".")
	r := &routine{isa: v, field: field, fn: group + forms[form] + v.tag, args: parseArgs(params), result: strings.Join(result, "")}
	a.routines = append(a.routines, r)
	a.function(r.fn, params, doc, result...)
	return r
}

// params are those of the field: slices for arrays, and no n that says nothing
// but how long they are.
func (r *routine) params() []arg {
	if r.args[0].name == "n" {
		return r.args[1:]
	}
	return r.args
}

// signature is the field's type after func and its name.
func (r *routine) signature() string { return "(" + list(r.params(), arg.slice) + ") " + r.result }

// call calls the routine.
func (r *routine) call() string {
	begin := ""
	if r.args[0].name == "n" {
		begin = fmt.Sprintf("n := len(%s)\n", r.args[1].name)
	}
	operands := make([]string, len(r.args))
	for i, p := range r.args {
		switch {
		case p.length == "":
			operands[i] = p.name
		case p.optional:
			operands[i] = fmt.Sprintf("atOrNil(%s, %s)", p.name, p.length)
		default:
			operands[i] = fmt.Sprintf("at0(%s, %s)", p.name, p.length)
		}
	}
	return begin + r.returns() + r.fn + "(" + strings.Join(operands, ", ") + ")\n"
}

// twin calls the twin.
func (r *routine) twin() string {
	var names []string
	for _, p := range r.params() {
		names = append(names, p.name)
	}
	return r.returns() + r.field + "(" + strings.Join(names, ", ") + ")\n"
}

func (r *routine) returns() string {
	if r.result == "" {
		return ""
	}
	return "return "
}

// set is the extension's name in Go's names.
func (v vecISA) set() string { return strings.TrimSuffix(v.tag, "F32") }

// row is its row's name in the vector table.
func (v vecISA) row() string { return strings.ToLower(v.set()) }

// vectorTable writes the part of the vector table for the extensions, best
// first, and what is called directly.
func (a *asm) vectorTable(isas ...vecISA) {
	names := ""
	for _, v := range isas {
		names += "vectors" + v.set() + "(), "
	}
	fmt.Fprintf(&a.table, `
// platformVectors32 are the rows of the vector table written in assembly for
// this platform, best first.
func platformVectors32() []vecRow[float32] { return []vecRow[float32]{%s} }
`, names)
	for i := range isas {
		a.vectorRow(isas[i:])
	}
	for _, r := range distinct(a.routines) {
		if r.direct {
			a.directCall(r.field, isas)
		}
	}
}

// distinct are the first of the routines of each field.
func distinct(routines []*routine) []*routine {
	seen := map[string]bool{}
	return slices.DeleteFunc(slices.Clone(routines), func(r *routine) bool {
		was := seen[r.field]
		seen[r.field] = true
		return was
	})
}

// vectorRow writes the row of the first of the extensions. It has routines of
// the next where it has none of its own.
func (a *asm) vectorRow(isas []vecISA) {
	own := slices.DeleteFunc(slices.Clone(a.routines), func(r *routine) bool { return !slices.Contains(isas, r.isa) })
	fmt.Fprintf(&a.table, "\nfunc vectors%s() vecRow[float32] {\nreturn vecRow[float32]{\nname: %q, supported: has%s,\n",
		isas[0].set(), isas[0].row(), isas[0].set())
	under := ""
	for _, r := range distinct(own) {
		group, form, fast := strings.Cut(r.field, ".")
		if under != "" && (!fast || group != under) {
			a.table.WriteString("},\n")
			under = ""
		}
		if !fast {
			form = group
		} else if under == "" {
			fmt.Fprintf(&a.table, "%s: fast[float32]{\n", group)
			under = group
		}
		fmt.Fprintf(&a.table, "%s: func%s {\n", form, r.signature())
		if r.plain != "" {
			fmt.Fprintf(&a.table, "if %s {\n%sreturn\n}\n", r.plain, r.twin())
		}
		fmt.Fprintf(&a.table, "%s},\n", r.call())
	}
	a.table.WriteString("}\n}\n")
}

// directCall writes the function that calls the routine of the row in use.
func (a *asm) directCall(field string, isas []vecISA) {
	var first *routine
	cases := ""
	for _, r := range a.routines {
		if r.field != field {
			continue
		}
		if first == nil {
			first = r
		}
		if slices.Contains(isas, r.isa) {
			cases += fmt.Sprintf("case %q:\n%s", r.isa.row(), r.call())
		}
	}
	body := first.twin()
	if cases != "" {
		body = "switch vec32.name {\n" + cases + "default:\n" + body + "}\n"
	}
	fmt.Fprintf(&a.table, "\n// %s32 is %s of the row in use. Its arguments may be on the stack.\nfunc %s32%s {\n%s}\n",
		field, field, field, first.signature(), body)
}
