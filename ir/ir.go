// Package ir is the graph in memory: models, graphs, nodes and values with
// use lists, typed attributes, lazy weights, and the edits that rewrites make
// on them. It knows no protobuf and no operator.
package ir

import "slices"

// A Model is one ONNX model. Order of every list is the file's order.
type Model struct {
	IRVersion       int64
	Opsets          []Opset
	ProducerName    string
	ProducerVersion string
	Domain          string
	ModelVersion    int64
	Doc             string
	Graph           *Graph
	Functions       []*Function
	Metadata        Metadata

	// Extra is what the reader of the file keeps here for the writer: fields
	// that the graph does not model. Nobody else looks inside.
	Extra any
}

// Opset is one entry of opset_import. The domain "" is the standard one, for
// which files also write "ai.onnx".
type Opset struct {
	Domain  string
	Version int64
	Extra   any
}

// Function is a model-local function: a named graph whose inputs and outputs
// are positional. Values in its body carry no types.
type Function struct {
	Domain, Name, Overload string
	Doc                    string
	Opsets                 []Opset
	Attrs                  []string // names of attributes without default
	Defaults               []*Attr  // attributes with default
	Body                   *Graph
	Metadata               Metadata
	Extra                  any
}

// KV is one entry of metadata_props.
type KV struct {
	Key, Value string
	Extra      any
}

// Metadata is an ordered list of key-value pairs.
type Metadata []KV

// Get finds the value of the first entry with that key.
func (m Metadata) Get(key string) (string, bool) {
	for _, kv := range m {
		if kv.Key == key {
			return kv.Value, true
		}
	}
	return "", false
}

// Set replaces the first entry with that key, or appends one.
func (m *Metadata) Set(key, value string) {
	for i := range *m {
		if (*m)[i].Key == key {
			(*m)[i].Value = value
			return
		}
	}
	*m = append(*m, KV{Key: key, Value: value})
}

// Delete removes every entry with that key.
func (m *Metadata) Delete(key string) {
	*m = slices.DeleteFunc(*m, func(kv KV) bool { return kv.Key == key })
}

// CanonicalDomain maps the long name of the standard domain to "".
func CanonicalDomain(d string) string {
	if d == "ai.onnx" {
		return ""
	}
	return d
}

// Opset is the imported version of a domain, 0 where it is not imported.
func (m *Model) Opset(domain string) int64 { return opsetOf(m.Opsets, domain) }

// Opset is the version of a domain that the function imports, or 0.
func (f *Function) Opset(domain string) int64 { return opsetOf(f.Opsets, domain) }

func opsetOf(list []Opset, domain string) int64 {
	for _, o := range list {
		if CanonicalDomain(o.Domain) == CanonicalDomain(domain) {
			return o.Version
		}
	}
	return 0
}

// SetOpset imports a domain at a version, or changes the imported version.
func (m *Model) SetOpset(domain string, version int64) {
	for i, o := range m.Opsets {
		if CanonicalDomain(o.Domain) == CanonicalDomain(domain) {
			m.Opsets[i].Version = version
			return
		}
	}
	m.Opsets = append(m.Opsets, Opset{Domain: domain, Version: version})
}

// Graphs visits the main graph, the functions' bodies, and every sub-graph of
// these, outer before inner. It stops where visit returns false.
func (m *Model) Graphs(visit func(*Graph) bool) {
	if m.Graph != nil && !walkGraphs(m.Graph, visit) {
		return
	}
	for _, f := range m.Functions {
		if !walkGraphs(f.Body, visit) {
			return
		}
	}
}

func walkGraphs(g *Graph, visit func(*Graph) bool) bool {
	if !visit(g) {
		return false
	}
	for n := range g.Nodes() {
		for _, sub := range n.Subgraphs() {
			if !walkGraphs(sub, visit) {
				return false
			}
		}
	}
	return true
}
