package bonnx

import "github.com/bonnx/bonnx/rewrite"

// Inspection is what Inspect found.
type Inspection = rewrite.Inspection

// Inspect lists linear layers, what each method would add, and the adapters
// that the model carries. Weights are read only where there is an adapter.
func (m *Model) Inspect() (*Inspection, error) {
	in, err := rewrite.Inspect(m.graph)
	if err != nil {
		return nil, m.wrap(invalidModel(err))
	}
	return in, nil
}
