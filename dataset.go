package bonnx

import (
	"fmt"
	"iter"
	"math/rand/v2"

	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/train"
)

// DataOptions say how a data file is read.
type DataOptions struct {
	// Task is what the labels serve, "" to find it out from what the file and
	// the model have; Logits and LossOutput name outputs, as in TrainConfig.
	Task               Task
	Logits, LossOutput string
	// Feeds say how inputs are made that the file need not hold.
	Feeds map[string]train.FeedRule
	// SeqLen is the most positions of a sample; 0 leaves samples as they are
	// and cuts text into windows of 128.
	SeqLen int
	// Tokenizer makes ids of text: "bytes", or "" for none.
	Tokenizer string
}

// Validate reports what is wrong with o whatever the model.
func (o DataOptions) Validate() error {
	return train.Spec{Task: o.Task, SeqLen: o.SeqLen, Tokenizer: o.Tokenizer}.Validate()
}

// Dataset is a set of samples read for a model. It is immutable and safe for
// concurrent use.
type Dataset struct {
	samples  train.Data
	identity string
}

// OpenData reads a data file for the model: .npz with arrays named by graph
// input, .jsonl, or .txt.
func (m *Model) OpenData(path string, o DataOptions) (*Dataset, error) {
	spec := train.Spec{Task: o.Task, SeqLen: o.SeqLen, Tokenizer: o.Tokenizer, Feeds: o.Feeds}
	spec.Detect = func(held map[string]ops.Fact) (Task, error) {
		task, _, err := train.DetectTask(m.graph, m.set, train.LossConfig{Logits: o.Logits, LossOutput: o.LossOutput}, held)
		return task, m.wrap(err)
	}
	for _, v := range m.graph.Graph.Inputs {
		if v.Data == nil {
			spec.Inputs = append(spec.Inputs, train.Port{Name: v.Name, Type: v.Type})
		}
	}
	d, err := train.Open(path, spec)
	if err != nil {
		return nil, err
	}
	id, err := train.FileIdentity(path)
	if err != nil {
		return nil, err
	}
	return &Dataset{d, fmt.Sprintf("%s seq-len %d tokenizer %q", id, o.SeqLen, o.Tokenizer)}, nil
}

// Len is the number of samples.
func (d *Dataset) Len() int { return d.samples.Len() }

// Notes are remarks on what reading changed or left out.
func (d *Dataset) Notes() []string { return train.Notes(d.samples) }

// Split keeps the last fraction of the samples, at least one, for evaluation.
func (d *Dataset) Split(fraction float64) (first, last *Dataset, err error) {
	a, b, err := train.Split(d.samples, fraction)
	if err != nil {
		return nil, nil, err
	}
	id := fmt.Sprintf("%s split %g", d.identity, fraction)
	return &Dataset{a, id}, &Dataset{b, id}, nil
}

// Batches yields the samples in batches of size, in order, the last of them
// maybe short: once each time it is ranged over.
func (d *Dataset) Batches(size int) iter.Seq2[Batch, error] {
	return d.batches(size, func(i []int) {})
}

// Shuffled is Batches in an order that seed decides, the same each time.
func (d *Dataset) Shuffled(size int, seed uint64) iter.Seq2[Batch, error] {
	return d.batches(size, func(order []int) {
		r := rand.New(rand.NewPCG(seed, 0))
		r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	})
}

func (d *Dataset) batches(size int, arrange func(order []int)) iter.Seq2[Batch, error] {
	return func(yield func(Batch, error) bool) {
		order := make([]int, d.Len())
		for i := range order {
			order[i] = i
		}
		arrange(order)
		for size = max(size, 1); len(order) > 0; {
			n := min(size, len(order))
			b, err := d.samples.Batch(order[:n])
			if !yield(b, err) || err != nil {
				return
			}
			order = order[n:]
		}
	}
}
