package ops

import (
	"fmt"
	"io"
	"strings"
)

// Support lists what is not supported of a model. Its JSON form is part of the
// command line's contract.
type Support struct {
	// Running is what keeps the model from being run, and so from being trained.
	Running []Unsupported `json:"running"`
	// Training is what else keeps it from being trained: operators without a
	// gradient between what is trained and the outputs.
	Training []Unsupported `json:"training"`
}

// Unsupported is an operator that is not supported as some nodes use it.
type Unsupported struct {
	Domain string   `json:"domain"` // "ai.onnx" is the standard one
	Op     string   `json:"op"`     // "" where it is the whole model
	Opset  int64    `json:"opset"`  // of the domain
	Nodes  []string `json:"nodes"`
	Reason string   `json:"reason"`
	Help   string   `json:"help"` // what would help
}

// WriteText writes the lists for people.
func (s *Support) WriteText(w io.Writer) error {
	var b strings.Builder
	write(&b, "running", "everything is supported", s.Running)
	none := "everything is supported"
	if len(s.Running) > 0 {
		none = "nothing else is in the way"
	}
	write(&b, "training", none, s.Training)
	_, err := io.WriteString(w, b.String())
	return err
}

func write(b *strings.Builder, what, none string, list []Unsupported) {
	if len(list) == 0 {
		fmt.Fprintf(b, "%s: %s\n", what, none)
		return
	}
	fmt.Fprintf(b, "%s: not supported\n", what)
	for _, u := range list {
		name := "the model"
		if u.Op != "" {
			name = fmt.Sprintf("%s of %s, opset %d", u.Op, u.Domain, u.Opset)
		}
		fmt.Fprintf(b, "  %s: %s\n", name, u.Reason)
		for _, n := range u.Nodes {
			fmt.Fprintf(b, "    node %s\n", n)
		}
		if u.Help != "" {
			fmt.Fprintf(b, "    what helps: %s\n", u.Help)
		}
	}
}
