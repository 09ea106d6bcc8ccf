package adapter

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ErrNoMatch is what errors.Is finds in a *NoMatchError.
var ErrNoMatch = errors.New("nothing matched")

// NoMatchError says that no module of a model passes a selection, and what the
// model has instead.
type NoMatchError struct {
	// Wanted is what was asked for: the entries of target_modules, the
	// expression, or all-linear. It is empty where target_modules was null and
	// nothing stands in for it.
	Wanted []string
	// Near are names of modules that differ from a wanted one by little.
	Near []string
	// Modules are the last names of the linear layers, each once.
	Modules []string
	// Layers are those of layers_to_transform, where it is to blame: none is a
	// layer of the model, whose layers are HasLayers.
	Layers, HasLayers []int
	// OnlyHead says that the head, which all-linear leaves out, is the only
	// linear layer.
	OnlyHead bool
	// Reasons are modules that were named, and why each was left out.
	Reasons []Reason
	// Save is the entry of modules_to_save that names no module with parameters,
	// where that is the trouble; only Near says more then.
	Save string
	// ModelType is that of a model without default targets, "" where it is not
	// known; it counts where Wanted is empty.
	ModelType string
}

// Reason is why a module is no target.
type Reason struct{ Path, Why string }

// Is makes errors.Is(err, ErrNoMatch) true.
func (e *NoMatchError) Is(target error) bool { return target == ErrNoMatch }

// Error is PEFT's text, and what helps.
func (e *NoMatchError) Error() string {
	var b strings.Builder
	switch {
	case e.Save != "":
		fmt.Fprintf(&b, "modules_to_save %q: the model has no module of that name with weights.", e.Save)
	case e.OnlyHead:
		fmt.Fprintf(&b, "the model's only linear layer is its head, which all-linear leaves out: include the head, or name it")
	case len(e.Wanted) == 0:
		b.WriteString("Please specify `target_modules` in `peft_config`: ")
		if e.ModelType == "" {
			b.WriteString("the model's type is not known.")
		} else {
			fmt.Fprintf(&b, "models of type %q have no default.", e.ModelType)
		}
	case len(e.Layers) > 0:
		fmt.Fprintf(&b, "the model has no layer %s; %s.", numbers(e.Layers), layersThereAre(e.HasLayers))
	default:
		fmt.Fprintf(&b, "Target modules {%s} not found in the base model. Please check the target modules and try again.", strings.Join(e.Wanted, ", "))
	}
	if !e.OnlyHead && len(e.Layers) == 0 && e.Save == "" {
		b.WriteString(" " + modulesThereAre(e.Modules))
	}
	if len(e.Near) > 0 {
		fmt.Fprintf(&b, " Did you mean %s?", strings.Join(e.Near, ", "))
	}
	for i, r := range e.Reasons {
		if i == mostNames {
			fmt.Fprintf(&b, "\nand %d more", len(e.Reasons)-i)
			break
		}
		fmt.Fprintf(&b, "\n%s: %s", r.Path, r.Why)
	}
	return b.String()
}

// mostNames bounds the lists in messages.
const mostNames = 20

// modulesThereAre lists the first of the names.
func modulesThereAre(names []string) string {
	if len(names) == 0 {
		return "There are no linear layers."
	}
	more := ""
	if len(names) > mostNames {
		more = fmt.Sprintf(" and %d more", len(names)-mostNames)
		names = names[:mostNames]
	}
	return "Linear layers there are: " + strings.Join(names, ", ") + more + "."
}

func layersThereAre(layers []int) string {
	if len(layers) == 0 {
		return "no module's path has a number"
	}
	return "it has " + numbers(layers)
}

// numbers writes a list of layers, runs of three and more as 0 to 4.
func numbers(list []int) string {
	list = slices.Compact(slices.Sorted(slices.Values(list)))
	var parts []string
	for i := 0; i < len(list); {
		j := i
		for j+1 < len(list) && list[j+1] == list[j]+1 {
			j++
		}
		switch {
		case j > i+1:
			parts = append(parts, fmt.Sprintf("%d to %d", list[i], list[j]))
		default:
			for _, n := range list[i : j+1] {
				parts = append(parts, strconv.Itoa(n))
			}
		}
		i = j + 1
	}
	return strings.Join(parts, ", ")
}

// NoMatch is the error of a selection that none of the modules at paths passes.
func NoMatch(sel Selection, paths []string) *NoMatchError {
	e := &NoMatchError{Wanted: sel.Targets.List, Modules: lastNames(paths)}
	if r := sel.Targets.Regex; r != "" {
		e.Wanted = []string{r}
	}
	e.Near = Nearest(sel.Targets.List, paths)
	return e
}

// NoTargets is the error for target_modules null where nothing stands in for
// it: the model's type ("" for unknown) has no default. paths are the linear
// layers of the model.
func NoTargets(modelType string, paths []string) *NoMatchError {
	return &NoMatchError{ModelType: modelType, Modules: lastNames(paths)}
}

// NoModule is the error for an entry of modules_to_save that no module has; paths
// are the modules with parameters, and may name the modules around them too.
func NoModule(entry string, paths []string) *NoMatchError {
	var parts []string
	for _, p := range paths {
		parts = append(parts, strings.Split(p, ".")...)
	}
	return &NoMatchError{Save: entry, Near: Nearest([]string{entry}, parts)}
}

func lastNames(paths []string) []string {
	var names []string
	for _, p := range paths {
		if n := lastName(p); !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}

func lastName(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }

// Nearest are the last names in paths that differ from that of a wanted one by
// little.
func Nearest(wanted, paths []string) []string {
	var out []string
	for _, name := range lastNames(paths) {
		if slices.ContainsFunc(wanted, func(w string) bool {
			w = lastName(w)
			d := distance(strings.ToLower(w), strings.ToLower(name))
			return d > 0 && d <= 1+len(w)/4
		}) {
			out = append(out, name)
		}
	}
	return out
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := diag
			if a[i] != b[j] {
				d++
			}
			diag = row[j+1]
			row[j+1] = min(d, diag+1, row[j]+1)
		}
	}
	return row[len(b)]
}
