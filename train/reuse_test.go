package train

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/internal/testmodel"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/tensor"
)

// someData is the same kind of samples in every form that data has, for a
// decoder of the ports.
func someData(t *testing.T, ports []Port) map[string]Data {
	t.Helper()
	mask := testutil.RandomInts(2, 0, 2, 7, 5)
	windows := map[string]*tensor.Tensor{"input_ids": testutil.RandomInts(1, 0, 40, 7, 5)}
	masked := map[string]*tensor.Tensor{"input_ids": windows["input_ids"], "attention_mask": mask}
	var lines strings.Builder
	for i := range 9 {
		fmt.Fprintf(&lines, "{\"input_ids\":[1%s]}\n", strings.Repeat(",3", 1+i%4))
	}
	spec := Spec{Inputs: ports, Task: CausalLM}
	cut := spec
	cut.SeqLen = 4
	all := map[string]Data{}
	var err error
	for name, open := range map[string]func() (Data, error){
		"arrays":             func() (Data, error) { return FromTensors(windows, spec) },
		"arrays with a mask": func() (Data, error) { return FromTensors(masked, spec) },
		"text":               func() (Data, error) { return Open(write(t, "d.txt", strings.Repeat("1 2 3 4 5 ", 7)), cut) },
		"lines":              func() (Data, error) { return Open(write(t, "d.jsonl", lines.String()), spec) },
	} {
		if all[name], err = open(); err != nil {
			t.Fatal(err)
		}
	}
	if all["split"], _, err = Split(all["arrays with a mask"], 0.3); err != nil {
		t.Fatal(err)
	}
	if all["split twice"], _, err = Split(all["split"], 0.3); err != nil {
		t.Fatal(err)
	}
	return all
}

// decoderPorts are inputs of which the data holds one or two.
func decoderPorts(t *testing.T) []Port {
	t.Helper()
	m, err := testmodel.SmallDecoder.Model()
	if err != nil {
		t.Fatal(err)
	}
	return fedPorts(m)
}

// filledLoop is a run of data with everything made that the ports ask for.
func filledLoop(t *testing.T, data Source, ports []Port, c Config) *loop {
	t.Helper()
	l := &loop{c: c, data: data, w: watchers{}, sum: &Summary{}}
	if err := l.fillIn(append(ports[:len(ports):len(ports)], Port{LabelsInput, nil}), nil); err != nil {
		t.Fatal(err)
	}
	return l
}

func sameBatch(t *testing.T, what string, got, want Batch) {
	t.Helper()
	if len(got.Feeds) != len(want.Feeds) || got.Tokens != want.Tokens {
		t.Errorf("%s: %d feeds and %d tokens, want %d and %d", what, len(got.Feeds), got.Tokens, len(want.Feeds), want.Tokens)
	}
	for name, w := range want.Feeds {
		if g := got.Feeds[name]; g == nil || !g.Equal(w) {
			t.Errorf("%s: %q is %v, or has other values than %v", what, name, g, w)
		}
	}
}

// TestUsedMemory: the batches of a run are those that the data gives in memory
// of their own, through short ones, samples of other lengths and epochs.
func TestUsedMemory(t *testing.T) {
	ports := decoderPorts(t)
	for name, d := range someData(t, ports) {
		t.Run(name, func(t *testing.T) {
			c := Config{BatchSize: 2, Accumulate: 2, Epochs: 3, Seed: 5}
			c.Task = CausalLM
			l := filledLoop(t, Samples(d), ports, c)
			f, err := l.data.feed(c, place{})
			if err != nil {
				t.Fatal(err)
			}
			defer f.close()
			for epoch := range 3 {
				order := make([]int, d.Len())
				for i := range order {
					order[i] = i
				}
				rand.New(rand.NewPCG(5, uint64(epoch))).Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
				for len(order) > 0 {
					p, err := f.next()
					if err != nil || p.epoch != epoch {
						t.Fatalf("epoch %d, want %d (%v)", p.epoch, epoch, err)
					}
					for i, got := range p.batches {
						n := min(2, len(order))
						raw, err := d.Batch(order[:n])
						if err != nil {
							t.Fatal(err)
						}
						want, err := l.data.(filled).f.fill(raw)
						if err != nil {
							t.Fatal(err)
						}
						sameBatch(t, fmt.Sprintf("epoch %d, batch %d", epoch, i), got, want)
						order = order[n:]
					}
				}
			}
		})
	}
}

// TestPortionsAreKept: the batches of a range test stay as they are while the
// next ones are made.
func TestPortionsAreKept(t *testing.T) {
	ports := decoderPorts(t)
	c := Config{BatchSize: 1, Accumulate: 2, Seed: 5}
	c.Task = CausalLM
	d := someData(t, ports)["arrays with a mask"]
	l := filledLoop(t, Samples(d), ports, c)
	got, err := l.firstPortions(3)
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.data.feed(c, place{})
	if err != nil {
		t.Fatal(err)
	}
	for i, portion := range got {
		p, err := f.next()
		if err != nil {
			t.Fatal(err)
		}
		for k := range portion {
			sameBatch(t, fmt.Sprintf("portion %d, batch %d", i, k), portion[k], p.batches[k])
		}
	}
}
