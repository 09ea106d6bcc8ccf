package rewrite

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/bonnx/bonnx/ir"
)

// BaseMismatchError says that an adapter was made for another base model.
type BaseMismatchError struct {
	Adapter string // the fingerprint that the adapter carries
	Model   string // that of the model at hand
}

// Error names both fingerprints.
func (e *BaseMismatchError) Error() string {
	return fmt.Sprintf("the adapter was made for another base model: it carries fingerprint %s, this model's is %s", e.Adapter, e.Model)
}

// named is a weight under the path that the adapter has for it.
type named struct {
	path   string
	weight *Weight
}

// fingerprint is SHA-256 over paths and weights, the latter in the orientation
// (in, out), so that it is the same however an exporter laid them out. One
// weight at a time is read.
func fingerprint(list []named) (string, error) {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b named) int { return cmp.Compare(a.path, b.path) })
	h := sha256.New()
	for _, n := range list {
		w, err := n.weight.Read()
		if err != nil {
			return "", fmt.Errorf("%s: %w", n.path, err)
		}
		fmt.Fprintf(h, "%q %v\n", n.path, w)
		h.Write(w.Bytes()) // never fails
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}

// Fingerprint identifies the base under the modules at paths: SHA-256 over the
// paths and the bytes of their weights. It is the same for a model and for that
// model with adapters.
func Fingerprint(m *ir.Model, paths []string) (string, error) {
	found, err := Find(m)
	if err != nil {
		return "", err
	}
	var list []named
	for _, p := range paths {
		l := found.At(p)
		if l == nil {
			return "", fmt.Errorf("the model has no linear layer %q", p)
		}
		list = append(list, named{p, l.Weight})
	}
	return fingerprint(list)
}

// fingerprint is that of the adapter's base.
func (a *Adapter) fingerprint() (string, error) {
	list := make([]named, len(a.Targets))
	for i, t := range a.Targets {
		list[i] = named{t.Path, t.Weight}
	}
	return fingerprint(list)
}
